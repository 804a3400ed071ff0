"""Labelled pictures as tensors, in three splits, with digits removed or labels redrawn on request; and their loaders.

- Pictures are rows: (N, 784) float32, normalised by one scalar mean and standard deviation, on the device at once.
  A batch is one gather; nothing runs per picture.
- The validation split is cut off the official training set by one fixed permutation, so it is the same in every study.
- Which data sets there are, `registry.DATASETS` says; where their files are, `sources`; what these hold, `pictures`.

torch is imported by what needs it, so that the render path can ask `available()` without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankstudy import UsageError, config, pictures, sources
from rankstudy.pictures import SPLIT_SEED
from rankstudy.registry import DATASETS, FALLBACK
from rankstudy.sources import checksum, folder

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

MNIST = "mnist"
_UNREACHABLE: set[Path] = set()  # folders that a download could not fill: tried, and said, once a process


@dataclass(frozen=True)
class Split:
    images: torch.Tensor  # (N, 784) float32, normalised
    labels: torch.Tensor  # (N,) int64, 0..9

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels at whole numbers of any shape: one gather each."""
        return self.images[index], self.labels[index]


@dataclass(frozen=True)
class Dataset:
    name: str  # a key of `registry.DATASETS`, or the path of an .npz
    checksum: str  # of the source, not of the selection
    train: Split
    validation: Split
    test: Split


def available() -> str:
    """The data set that a study uses as things stand, without downloading: RANKSTUDY_DATASET, or MNIST where its
    files are, or the fallback.

    Raises:
        UsageError: RANKSTUDY_DATASET is neither a data set nor an .npz.

    >>> available() in DATASETS or sources.is_own(available())
    True
    """
    wanted = _wanted()
    return wanted or (MNIST if sources.there(MNIST) else FALLBACK)


def prepare() -> str:
    """`available()`, after an attempt to download what is missing.

    Raises:
        UsageError: the data set that RANKSTUDY_DATASET names is not there and cannot be downloaded, or is damaged.

    >>> name = prepare()  # "mnist", or "digits" where MNIST cannot be had
    """
    wanted = _wanted()
    name, root = wanted or MNIST, folder()
    if sources.there(name):
        return name
    if sources.is_own(name):
        raise UsageError(f"RANKSTUDY_DATASET is {name!r}, and there is no such file")
    if not wanted and root in _UNREACHABLE:
        return FALLBACK
    try:
        sources.download(name, root)
    except Exception as error:  # whatever the network or the disk does, the study goes on with the fallback
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        if wanted:
            raise UsageError(f"{sources.missing(name)}. It cannot be downloaded either ({reason})") from error
        _UNREACHABLE.add(root)
        print(
            f"rankstudy: {sources.missing(name)}. It cannot be downloaded either ({reason}).\n"
            "rankstudy: THE FALLBACK DATA SET is used, 1,797 digits of scikit-learn, and says nothing about MNIST.",
            file=sys.stderr,
        )
        return FALLBACK
    return name


def _wanted() -> str:
    """RANKSTUDY_DATASET, checked; empty where it is not set."""
    wanted = os.environ.get("RANKSTUDY_DATASET", "").strip()
    if not wanted:
        return ""
    try:
        return sources.checked(wanted if sources.is_own(wanted) else wanted.lower(), "RANKSTUDY_DATASET")
    except ValueError as error:
        raise UsageError(str(error)) from None


def load(selection: config.Data | str, device: torch.device | str = "cpu") -> Dataset:
    """The three splits on the device. `selection` may be just the name of a data set, which means all of it; 5,000
    training pictures are then the validation split, or a sixth where there are fewer than 30,000.

    Raises:
        UsageError: a file is missing, truncated or not what it should be (named, with the remedy).
        ValueError: the selection asks for more pictures than there are, or leaves a split empty.

    >>> dataset = load("digits")
    >>> dataset.train.images.shape, len(dataset.validation), len(dataset.test)
    (torch.Size([1198, 784]), 239, 360)
    """
    import torch

    if isinstance(selection, str):
        size = min(config.Data(selection).validation_size, pictures.official(selection) // 6)
        selection = config.Data(selection, validation_size=size)
    source = pictures.read(selection.name)
    images, labels, *test = (torch.from_numpy(part.copy()) for part in source)
    train, validation = _cut(len(labels), selection.validation_size)
    parts = {
        "train": (images[train], labels[train]),
        "validation": (images[validation], labels[validation]),
        "test": test,
    }
    scale, splits = scaling(selection.name), {}
    for name, part in parts.items():
        x, y = _select(part[0], part[1], selection)
        if name == "train":
            x, y = _first(x, y, selection)
        if not len(y):
            raise ValueError(f"selection {selection} leaves the {name} split empty")
        splits[name] = Split(_normalised(x, *scale).to(device), y.to(device))
    return Dataset(selection.name, checksum(selection.name), **splits)


def scaling(name: str) -> tuple[float, float]:
    """Mean and standard deviation by which the pictures of a data set, in [0, 1], are normalised."""
    if sources.is_own(name):
        grey = pictures.read(name).train_images / 255
        return float(grey.mean()), float(grey.std()) or 1.0
    return DATASETS[name].mean, DATASETS[name].std


def loader(split: Split, batch_size: int, *seeds: int) -> DataLoader:
    """The images of a split in batches, as an ordinary `DataLoader`.

    With a seed it shuffles, anew in every epoch: x (batch, 784), y (batch,). With several seeds a batch holds one for
    each, (seeds, batch, 784) and (seeds, batch), in the order that each seed has alone. Without a seed the images come
    in their own order. Every epoch uses every image; the last batch is smaller.

    `batch_size=None` switches off PyTorch's item-by-item collation: the sampler yields a batch's indices as one tensor,
    so that a batch is one gather.

    Raises: ValueError if batch_size is below 1.

    >>> images, labels = next(iter(loader(load("digits").train, 128, 0)))
    >>> images.shape, labels.shape
    (torch.Size([128, 784]), torch.Size([128]))
    """
    from torch.utils.data import DataLoader

    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size!r}")
    return DataLoader(split, sampler=Batches(split, batch_size, seeds), batch_size=None)


class Batches:
    """Which images make a batch: (batch,) indices, or (seeds, batch) in the order that each of several seeds has alone.

    Every pass shuffles anew; without seeds the images keep their order.
    """

    def __init__(self, split: Split, batch_size: int, seeds: Sequence[int]) -> None:
        import torch

        self.split, self.batch_size = split, batch_size
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def __iter__(self) -> Iterator[torch.Tensor]:
        import torch

        n = len(self.split)
        orders = [torch.randperm(n, generator=g) for g in self.generators]
        if not orders:
            orders = [torch.arange(n)]
        order = torch.stack(orders) if len(orders) > 1 else orders[0]
        order = order.to(self.split.labels.device)
        yield from order.split(self.batch_size, dim=-1)

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)


def loaders(dataset: Dataset, batch_size: int, seed: int = 0) -> tuple[DataLoader, DataLoader, DataLoader]:
    """The three splits as `loader`s, the training one shuffled in the order of the seed; `training.train` uses them.

    >>> train, validation, test = loaders(load("digits"), 128)
    >>> len(train), len(validation), len(test)
    (10, 2, 3)
    """
    return (
        loader(dataset.train, batch_size, seed),
        loader(dataset.validation, batch_size),
        loader(dataset.test, batch_size),
    )


def _cut(count: int, held_out: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the training and of the validation split, by one permutation that is always the same."""
    import torch

    if not 0 < held_out < count:
        raise ValueError(
            f"selection.validation_size is {held_out} ({config.Data.validation_size} unless it is given); of {count} "
            f"pictures 1 to {count - 1} can be held out, as in Data(name, validation_size={max(1, count // 6)})"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_SEED))
    return order[: count - held_out], order[count - held_out :]


def _first(images: torch.Tensor, labels: torch.Tensor, selection: config.Data) -> tuple[torch.Tensor, torch.Tensor]:
    """As many training pictures as are asked for, some labels permuted where that is asked for."""
    size = selection.train_size
    if size is not None and size > len(labels):
        raise ValueError(f"selection.train_size is {size}; allowed are 1 to {len(labels)}")
    images, labels = images[:size], labels[:size]
    return images, _shuffle(labels, selection.shuffled_labels) if selection.shuffled_labels else labels


def _select(images: torch.Tensor, labels: torch.Tensor, selection: config.Data) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    keep = torch.ones_like(labels, dtype=torch.bool)
    if selection.only:
        keep &= torch.isin(labels, torch.tensor(selection.only))
    if selection.without:
        keep &= ~torch.isin(labels, torch.tensor(selection.without))
    return images[keep], labels[keep]


def _shuffle(labels: torch.Tensor, fraction: float) -> torch.Tensor:
    """Permute the labels of a random `fraction` of the pictures among themselves."""
    import torch

    generator = torch.Generator().manual_seed(SPLIT_SEED + 1)
    chosen = torch.randperm(len(labels), generator=generator)[: round(fraction * len(labels))]
    shuffled = labels.clone()
    shuffled[chosen] = labels[chosen[torch.randperm(len(chosen), generator=generator)]]
    return shuffled


def _normalised(images: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    return images.float().div_(255).sub_(mean).div_(std)
