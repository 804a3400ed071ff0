"""What most people write: torchvision's MNIST and transforms, a DataLoader, nn.Sequential, torch's Adam as it comes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import MNIST

from rankstudy import config, data
from rankstudy.layers import build, weights


def loaders(batch_size: int) -> tuple[DataLoader, DataLoader]:
    """Training images (those of our training split) and test images."""
    root = str(data.folder())
    mean, std = data.scaling("mnist")
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((mean,), (std,))])
    official, test = MNIST(root, train=True, transform=transform), MNIST(root, train=False, transform=transform)
    held_out = config.Data("mnist").validation_size
    order = torch.randperm(len(official), generator=torch.Generator().manual_seed(data.SPLIT_SEED))
    train = Subset(official, order[: len(official) - held_out].tolist())
    return (
        DataLoader(train, batch_size=batch_size, shuffle=True, num_workers=2),
        DataLoader(test, batch_size=1000, num_workers=2),
    )


def network(configuration: config.Network, seed: int) -> nn.Sequential:
    """The same network with the same initial weights, as an `nn.Sequential` of ReLU layers."""
    layers: list[nn.Module] = [nn.Flatten()]
    for weight in weights(build(configuration, seed)):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight.data = weight.clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def training(
    configuration: config.Network,
    settings: config.Training,
    seed: int,
    train: DataLoader,
    test: DataLoader,
) -> Iterator[float]:
    """Train, and hand out the test accuracy after each epoch."""
    torch.manual_seed(seed)
    model = network(configuration, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    while True:
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(x).argmax(1) == y).sum().item() for x, y in test)
        yield right / len(test.dataset)
