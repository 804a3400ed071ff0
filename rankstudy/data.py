"""MNIST as tensors, with digits removed or labels shuffled on request, and the offline stand-in.

- Pictures are rows: (N, 784) float32, normalised by one scalar mean and standard deviation, on the device at once.
  A batch is one gather; nothing runs per picture.
- The validation split is cut off the official training set by one fixed permutation, so it is the same in every study.
- The stand-in is scikit-learn's copy of the UCI handwritten digits (1,797 real pictures of 8×8), resized to 28×28.

torch is imported by what needs it, so that the render path can ask `available()` without it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rankstudy import UsageError, config

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

MEAN, STD = 0.1307, 0.3081  # of MNIST's 60,000 training pictures, pixel values in [0, 1]
SPLIT_SEED = 20181104  # of the permutation that cuts off the validation split

# file -> SHA-256 of the four files that torchvision unpacks
MNIST_FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"

# data set -> what identifies its content in the key of a result
CHECKSUMS = {
    "mnist": hashlib.sha256("".join(MNIST_FILES.values()).encode()).hexdigest(),
    "digits": DIGITS_SHA256,
}


_UNREACHABLE: set[Path] = set()  # folders that a download could not fill: tried, and said, once a process


@dataclass(frozen=True)
class Split:
    images: torch.Tensor  # (N, 784) float32, normalised
    labels: torch.Tensor  # (N,) int64, 0..9

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    name: str  # "mnist" or "digits"
    checksum: str  # of the source, not of the selection
    train: Split
    validation: Split
    test: Split


def folder() -> Path:
    """Where MNIST is looked for: RANKSTUDY_DATA, or else `data/`."""
    return Path(os.environ.get("RANKSTUDY_DATA") or "data")


def available() -> str:
    """The data set that a study uses as things stand, without downloading: RANKSTUDY_DATASET, or MNIST where its
    files are, or the stand-in.

    Raises:
        UsageError: RANKSTUDY_DATASET is neither "mnist" nor "digits".
    """
    wanted = os.environ.get("RANKSTUDY_DATASET", "").strip().lower()
    if wanted and wanted not in CHECKSUMS:
        raise UsageError(f"RANKSTUDY_DATASET is {wanted!r}; allowed are mnist and digits")
    if wanted:
        return wanted
    return "mnist" if _files_there(folder()) else "digits"


def prepare() -> str:
    """`available()`, after an attempt to download MNIST where its files are missing.

    Raises:
        UsageError: RANKSTUDY_DATASET=mnist, and MNIST is not there and cannot be downloaded; or a file is damaged.
    """
    if os.environ.get("RANKSTUDY_DATASET", "").strip().lower() == "digits":
        return "digits"
    available()  # a wrong RANKSTUDY_DATASET is said before anything is downloaded
    root = folder()
    if not _files_there(root) and not os.environ.get("RANKSTUDY_DATASET") and root in _UNREACHABLE:
        return "digits"
    if not _files_there(root):
        try:
            _download(root)
        except Exception as error:  # whatever the network or the disk does, the study goes on with the stand-in
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
            if os.environ.get("RANKSTUDY_DATASET"):
                raise UsageError(
                    f"MNIST is not in {root / 'MNIST' / 'raw'} and cannot be downloaded ({reason}); "
                    "set RANKSTUDY_DATA to a folder that has it, or RANKSTUDY_DATASET=digits for the stand-in"
                ) from error
            _UNREACHABLE.add(root)
            print(
                f"rankstudy: MNIST cannot be had ({reason}).\n"
                "rankstudy: THE STAND-IN is used, 1,797 digits of scikit-learn. Set RANKSTUDY_DATA to MNIST's folder.",
                file=sys.stderr,
            )
            return "digits"
    return available()


def load(selection: config.Data, device: torch.device | str = "cpu") -> Dataset:
    """The three splits on the device.

    Raises:
        UsageError: a file is missing, truncated or not MNIST's (named, with the remedy).
        ValueError: the selection asks for more pictures than there are, or leaves a split empty.
    """
    import torch

    if selection.name not in CHECKSUMS:
        raise ValueError(f"selection.name is {selection.name!r}; allowed are mnist and digits")
    images, labels, test_images, test_labels = _source(selection.name, folder())
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    held_out = selection.validation_size
    if not 0 < held_out < len(labels):
        raise ValueError(f"selection.validation_size is {held_out}; allowed are 1 to {len(labels) - 1}")
    train, validation = order[: len(labels) - held_out], order[len(labels) - held_out :]
    splits = {
        "train": _select(images[train], labels[train], selection),
        "validation": _select(images[validation], labels[validation], selection),
        "test": _select(test_images, test_labels, selection),
    }
    size = selection.train_size
    if size is not None:
        if not 0 < size <= len(splits["train"][1]):
            raise ValueError(f"selection.train_size is {size}; allowed are 1 to {len(splits['train'][1])}")
        splits["train"] = tuple(part[:size] for part in splits["train"])
    if selection.shuffled_labels:
        pictures, digits = splits["train"]
        splits["train"] = (pictures, _shuffle(digits, selection.shuffled_labels))
    for name, (_, digits) in splits.items():
        if not len(digits):
            raise ValueError(f"selection {selection} leaves the {name} split empty")
    parts = {k: Split(_normalised(x).to(device), y.to(device)) for k, (x, y) in splits.items()}
    return Dataset(name=selection.name, checksum=CHECKSUMS[selection.name], **parts)


def loaders(dataset: Dataset, batch_size: int, seed: int = 0) -> tuple[DataLoader, DataLoader, DataLoader]:
    """The three splits as ordinary `DataLoader`s, the training one shuffled.

    The sampler hands whole batches of indices to the data set (`batch_size=None` switches off the item-by-item
    collation), so a batch is one gather, as in `training.train`; the orders are the same as there for the same seed.
    """
    import torch
    from torch.utils.data import BatchSampler, DataLoader, Sampler, SequentialSampler, TensorDataset

    class Permutation(Sampler):  # RandomSampler throws a second permutation away after each epoch
        def __init__(self, n: int) -> None:
            self.n, self.generator = n, torch.Generator().manual_seed(seed)

        def __iter__(self) -> Iterator[int]:
            yield from torch.randperm(self.n, generator=self.generator).tolist()

        def __len__(self) -> int:
            return self.n

    def loader(split: Split, shuffle: bool) -> DataLoader:
        pairs = TensorDataset(split.images, split.labels)
        sampler = Permutation(len(pairs)) if shuffle else SequentialSampler(pairs)
        return DataLoader(pairs, sampler=BatchSampler(sampler, batch_size, drop_last=False), batch_size=None)

    return loader(dataset.train, True), loader(dataset.validation, False), loader(dataset.test, False)


@lru_cache(maxsize=1)
def _source(name: str, root: Path) -> tuple[torch.Tensor, ...]:
    """(N, 784) uint8 pictures and (N,) int64 labels of the official training and test sets."""
    return _digits() if name == "digits" else _mnist(root)


def _mnist(root: Path) -> tuple[torch.Tensor, ...]:
    raw = root / "MNIST" / "raw"
    for name, expected in MNIST_FILES.items():
        path = raw / name
        remedy = (
            f"remove {raw} to download it again, or set RANKSTUDY_DATA to a folder with MNIST in torchvision's layout"
        )
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise UsageError(f"MNIST's file {path} cannot be read ({error.strerror}); {remedy}") from error
        if found != expected:
            raise UsageError(
                f"MNIST's file {path} is truncated, corrupt or not MNIST's ({path.stat().st_size} bytes); {remedy}"
            )
    from torchvision.datasets import MNIST

    parts = []
    for train in (True, False):
        official = MNIST(str(root), train=train)
        parts += [official.data.reshape(-1, 784), official.targets]
    return tuple(parts)


def _digits() -> tuple[torch.Tensor, ...]:
    import torch
    from sklearn.datasets import load_digits

    source = load_digits()
    pictures = torch.from_numpy(source.images).float() / 16.0  # (1797, 8, 8), 0..16
    labels = torch.from_numpy(source.target).long()
    large = torch.nn.functional.interpolate(pictures[:, None], size=(28, 28), mode="bilinear", align_corners=False)
    bytes_ = (large * 255).round().to(torch.uint8).reshape(-1, 784)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    test, train = order[:360], order[360:]
    return bytes_[train], labels[train], bytes_[test], labels[test]


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

    if not 0 <= fraction <= 1:
        raise ValueError(f"selection.shuffled_labels is {fraction}; allowed are 0 to 1")
    generator = torch.Generator().manual_seed(SPLIT_SEED + 1)
    chosen = torch.randperm(len(labels), generator=generator)[: round(fraction * len(labels))]
    shuffled = labels.clone()
    shuffled[chosen] = labels[chosen[torch.randperm(len(chosen), generator=generator)]]
    return shuffled


def _normalised(images: torch.Tensor) -> torch.Tensor:
    return images.float().div_(255).sub_(MEAN).div_(STD)


def _files_there(root: Path) -> bool:
    return all((root / "MNIST" / "raw" / name).is_file() for name in MNIST_FILES)


def _download(root: Path) -> None:
    """torchvision's download, into a temporary folder that takes the name `MNIST` only when it is whole."""
    from torchvision.datasets import MNIST

    root.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as scratch:
        socket.setdefaulttimeout(20)  # seconds; torchvision sets none, and a silent network would hang the study
        try:
            MNIST(scratch, download=True)
        finally:
            socket.setdefaulttimeout(timeout)
        target = root / "MNIST"
        if target.exists():  # incomplete, or we would not be here: keep it aside rather than delete it
            shutil.move(target, tempfile.mkdtemp(dir=root, prefix="MNIST-incomplete-"))
        os.replace(Path(scratch) / "MNIST", target)
