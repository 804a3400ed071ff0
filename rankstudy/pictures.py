"""What the files of a data set hold: its official pictures and labels, as bytes.

- The usual four idx files, an own `.npz`, or the fallback: scikit-learn's copy of the UCI handwritten digits, resized.
- Own pictures are `images` (N, 28, 28) or (N, 784), bytes or numbers in [0, 1], and `labels` (N,) 0..9; `test_images`
  and `test_labels` are the test set where they are given, else a fixed sixth is cut off.

NumPy only, but for the fallback's resizing. Where files are found is `sources`' business.
"""

from __future__ import annotations

import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rankstudy import UsageError, sources
from rankstudy.registry import DATASETS, FALLBACK

SPLIT_SEED = 20181104  # of the permutations that cut off a validation split, and a test set where there is none
SIDE = 28  # pixels
CLASSES = 10


class Source(NamedTuple):
    """The official pictures of a data set, as bytes."""

    train_images: np.ndarray  # (N, 784) uint8
    train_labels: np.ndarray  # (N,) int64, 0..9
    test_images: np.ndarray
    test_labels: np.ndarray


def official(name: str) -> int:
    """Pictures of the official training set, from which training and validation split are taken."""
    return len(read(name).train_labels) if sources.is_own(name) else DATASETS[name].size


def read(name: str) -> Source:
    """The official training and test sets.

    Raises:
        UsageError: a file is missing, truncated or not what its name says; the message has the remedy.
    """
    if name != FALLBACK and not sources.is_own(name) and sources.found(name) is None:
        raise UsageError(sources.damage(name) or sources.missing(name))
    return _read(name, sources.checksum(name))


@lru_cache(maxsize=1)
def _read(name: str, checksum: str) -> Source:
    """Remembered as long as the files hold the same."""
    if sources.is_own(name):
        return _own(Path(name).expanduser())
    if name == FALLBACK:
        return _digits()
    parts = [_idx(path) for path in sources.found(name) or ()]
    for (images, labels), what in zip((parts[:2], parts[2:]), ("training", "test"), strict=True):
        if images.shape[1:] != (SIDE, SIDE) or labels.shape != images.shape[:1]:
            raise UsageError(
                f"the {what} set of {DATASETS[name].label} has pictures {images.shape} and labels {labels.shape}"
            )
    return _source(*parts)


def _idx(path: Path) -> np.ndarray:
    """An idx file of bytes: two zeros, 8, the number of dimensions, each size in 4 bytes, the values."""
    content = sources.content(path)
    count = content[3] if len(content) > 3 and content[:3] == b"\0\0\x08" else 0
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(count))
    if not count or len(content) != 4 + 4 * count + int(np.prod(shape)):
        raise UsageError(f"the file {path} is truncated or no idx file of bytes ({len(content)} bytes)")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * count).reshape(shape)


def _source(train_images: np.ndarray, train_labels: np.ndarray, images: np.ndarray, labels: np.ndarray) -> Source:
    pixels = SIDE * SIDE
    train = train_images.reshape(-1, pixels), train_labels.astype(np.int64)
    return Source(*train, images.reshape(-1, pixels), labels.astype(np.int64))


def _own(path: Path) -> Source:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            given = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{path} cannot be read as .npz ({error})") from error
    images, labels = _pair(path, given, "images", "labels")
    if "test_images" in given:
        return _source(images, labels, *_pair(path, given, "test_images", "test_labels"))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    test, train = order[: len(order) // 6], order[len(order) // 6 :]
    if not len(test):
        raise UsageError(f"{path} holds {len(labels)} images; at least 6 are needed to cut off a test set")
    return _source(images[train], labels[train], images[test], labels[test])


def _pair(path: Path, given: dict[str, np.ndarray], images: str, labels: str) -> tuple[np.ndarray, np.ndarray]:
    for name in (images, labels):
        if name not in given:
            raise UsageError(f"{path} has no array {name!r}; it has {', '.join(given) or 'none'}")
    x, y = given[images], given[labels]
    if x.shape[1:] not in ((SIDE, SIDE), (SIDE * SIDE,)) or not len(x):
        raise UsageError(f"{images} of {path} has shape {x.shape}; allowed are (N, 28, 28) and (N, 784)")
    if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        raise UsageError(f"{labels} of {path} is {y.dtype} of shape {y.shape}; it must hold {len(x)} whole numbers")
    if y.min() < 0 or y.max() >= CLASSES:
        raise UsageError(f"{labels} of {path} go from {y.min()} to {y.max()}; allowed are 0 to {CLASSES - 1}")
    if x.dtype != np.uint8:
        if not np.issubdtype(x.dtype, np.floating) or not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
            raise UsageError(f"{images} of {path} is {x.dtype}; allowed are uint8, or floating point numbers in [0, 1]")
        x = np.rint(x * 255).astype(np.uint8)
    return x, y


def _digits() -> Source:
    """1,797 real pictures of 8×8, resized to 28×28."""
    import torch
    from sklearn.datasets import load_digits

    source = load_digits()
    pictures = torch.from_numpy(source.images).float() / 16.0  # (1797, 8, 8), 0..16
    large = torch.nn.functional.interpolate(pictures[:, None], size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    images, labels = (large * 255).round().to(torch.uint8).numpy(), source.target
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED)).numpy()
    test, train = order[:360], order[360:]
    return _source(images[train], labels[train], images[test], labels[test])
