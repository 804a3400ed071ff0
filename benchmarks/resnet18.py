"""`analyze` on a network that is not ours: torchvision's ResNet-18 as constructed, after some training, and the update.

It is trained on digits at 64×64 pixels (MNIST, or else the stand-in): a checkpoint with a known past that needs no
download. The result goes into the README, between its markers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, interpolate
from torchvision.models import resnet18

import rankstudy
from benchmarks import report
from rankstudy import config, data

SHOWN = ("conv1.weight", "layer1.0.conv1.weight", "layer2.0.conv1.weight", "layer3.0.conv1.weight",
         "layer4.1.conv2.weight", "fc.weight")  # fmt: skip
BATCH, SIDE = 32, 64  # images, pixels


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks resnet18", description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args(arguments).steps
    begun = time.perf_counter()
    torch.manual_seed(0)
    model = resnet18(weights=None)
    name = data.available()
    images = data.load(config.Data(name), "cpu").train
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.safetensors", Path(folder) / "after.safetensors"
        save_file(model.state_dict(), before)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        for step in range(steps):
            batch = slice(step * BATCH % len(images.labels), step * BATCH % len(images.labels) + BATCH)
            pixels = images.images[batch].view(-1, 1, 28, 28).expand(-1, 3, -1, -1)
            loss = cross_entropy(model(interpolate(pixels, SIDE)), images.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        save_file(model.state_dict(), after)
        found = [rankstudy.analyze(*files, rank_error=0.05) for files in ((before,), (after,), (after, before))]
    heads = ["matrix", "m × n", "full rank?", "stable rank: before", "after", "update",
             "rank for 5 % error: before", "after", "update"]  # fmt: skip
    rows: list[list] = [heads]
    for constructed, trained, update in zip(*(each.matrices for each in found), strict=True):
        if constructed.name in SHOWN:
            three = (constructed, trained, update)
            full = "yes" if all(m.rank == min(m.shape) for m in three[:2]) else "no"
            rows.append([constructed.name, "×".join(map(str, constructed.shape)), full,
                         *(f"{m.stable_rank:.1f}" for m in three), *(m.needed_rank for m in three)])  # fmt: skip
    title = f"ResNet-18, {steps} steps of AdamW on {name}, batches of {BATCH}, last loss {loss.item():.2f}"
    report("resnet18", [], time.perf_counter() - begun, {title: rows})
