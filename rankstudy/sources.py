"""Where the pictures lie: files in the layouts that people have, torchvision's download, an `.npz`, the fallback.

- Four idx files are found plain or as `.gz`, under torchvision's names or with a dot (`train-images.idx3-ubyte`, as on
  Kaggle), each also in a folder of its own name; in RANKSTUDY_DATA, one folder further down or up, in torchvision's
  `MNIST/raw`, and below `~/data` and `~/datasets` where RANKSTUDY_DATA is not set.
- MNIST and FashionMNIST name their files alike: MNIST is known by its checksums, the others by their folder.
- Own pictures are an `.npz` with `images` (N, 28, 28) or (N, 784), bytes or numbers in [0, 1], and `labels` (N,) 0..9;
  `test_images` and `test_labels` are the test set where they are given, else a fixed sixth is cut off.

NumPy only, but for the download and the fallback's resizing.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import socket
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rankstudy import UsageError
from rankstudy.registry import DATASETS, FALLBACK, Images, entry

SPLIT_SEED = 20181104  # of the permutations that cut off a validation split, and a test set where there is none
SIDE = 28  # pixels
CLASSES = 10


class Source(NamedTuple):
    """The official pictures of a data set, as bytes."""

    train_images: np.ndarray  # (N, 784) uint8
    train_labels: np.ndarray  # (N,) int64, 0..9
    test_images: np.ndarray
    test_labels: np.ndarray


def folder() -> Path:
    """Where data sets are looked for first and downloaded to: RANKSTUDY_DATA, or else `data/`."""
    return Path(os.environ.get("RANKSTUDY_DATA") or "data").expanduser()


def checked(name: str, argument: str) -> str:
    """The name, if it is a data set's or a path to an `.npz`.

    Raises:
        ValueError: it is neither; the message names the argument and says what is allowed.
    """
    if not is_own(name):
        try:
            entry(DATASETS, name, argument)
        except ValueError as error:
            raise ValueError(f"{error}, or the path of an .npz with images and labels") from None
    return name


def is_own(name: object) -> bool:
    """Whether the name is the path of own pictures."""
    return isinstance(name, str) and name.endswith(".npz")


def label(name: str) -> str:
    """What readers call the data set."""
    return Path(name).name if is_own(name) else entry(DATASETS, name, "name").label


def there(name: str) -> bool:
    """Whether the data set can be read without downloading."""
    if is_own(name):
        return Path(name).expanduser().is_file()
    return name == FALLBACK or _found(name, folder()) is not None


def checksum(name: str) -> str:
    """What identifies the content of a data set in the key of a result: SHA-256 over its files' own.

    Raises:
        UsageError: a file that has to be looked into is not there.
    """
    known = "" if is_own(name) else "".join(DATASETS[name].checksums)
    if known:
        return known if name == FALLBACK else hashlib.sha256(known.encode()).hexdigest()
    if is_own(name):
        return _sha256(Path(name).expanduser())
    files = _found(name, folder())
    if files is None:
        raise UsageError(missing(name))
    return hashlib.sha256("".join(_sha256(path) for path in files).encode()).hexdigest()


def official(name: str) -> int:
    """Pictures of the official training set, from which training and validation split are taken."""
    return len(read(name).train_labels) if is_own(name) else DATASETS[name].size


def read(name: str) -> Source:
    """The official training and test sets.

    Raises:
        UsageError: a file is missing, truncated or not what its name says; the message has the remedy.
    """
    return _read(name, folder())


@lru_cache(maxsize=1)
def _read(name: str, root: Path) -> Source:
    if is_own(name):
        return _own(Path(name).expanduser())
    if name == FALLBACK:
        return _digits()
    files = _found(name, root)
    if files is None:
        raise UsageError(_damage(name, root) or missing(name))
    parts = [_idx(path) for path in files]
    for (images, labels), what in zip((parts[:2], parts[2:]), ("training", "test"), strict=True):
        if images.shape[1:] != (SIDE, SIDE) or labels.shape != images.shape[:1]:
            raise UsageError(
                f"the {what} set of {DATASETS[name].label} has pictures {images.shape} and labels {labels.shape}"
            )
    return _source(*parts)


def missing(name: str) -> str:
    """Where the data set was looked for, and what to do."""
    root, images = folder(), entry(DATASETS, name, "name")
    return (
        f"{images.label} is not there: looked for {images.files()[0]} and three more, plain or .gz, in "
        f"{', '.join(map(str, _first(images, root)))}, one folder further down and in {root.absolute().parent}; "
        "set RANKSTUDY_DATA to a folder that has them, or RANKSTUDY_DATASET to another data set"
    )


def _first(images: Images, root: Path) -> list[Path]:
    return [root / images.folder / "raw", root / images.folder, root / "raw", root]


def _places(images: Images, root: Path) -> Iterator[Path]:
    yield from _first(images, root)
    above = root.absolute().parent
    usual = [] if os.environ.get("RANKSTUDY_DATA") else [Path.home() / "data", Path.home() / "datasets"]
    roots = [root, above, *usual]
    for base in roots:
        yield from _first(images, base)
        try:
            below = sorted(path for path in base.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError:
            continue
        for inner in below[:100]:  # a home folder may hold many
            yield from [inner / "raw", *_first(images, inner)]


def _spellings(place: Path, name: str) -> Iterator[Path]:
    dotted = name.replace("-idx", ".idx")
    for spelling in (name, dotted):
        for path in (place / spelling, place / f"{spelling}.gz", place / spelling / spelling):
            if path.is_file():
                yield path


@lru_cache(maxsize=8)
def _looked(name: str, root: Path, fresh: object) -> tuple[Path, ...] | None:
    images = DATASETS[name]
    seen = set()
    for place in _places(images, root):
        if place in seen:
            continue
        seen.add(place)
        paths = [next(_spellings(place, file), None) for file in images.files()]
        if any(path is None for path in paths):
            continue
        own = any(part.lower() == images.folder.lower() for part in place.parts) or bool(images.stem)
        if images.checksums:
            if all(_sha256(path) == known for path, known in zip(paths, images.checksums, strict=True)):
                return tuple(paths)
        elif own:
            return tuple(paths)
    return None


def _found(name: str, root: Path) -> tuple[Path, ...] | None:
    """The four files of a data set, wherever they are; looked for again when the folder has changed."""
    try:
        fresh = tuple(path.stat().st_mtime_ns for path in (root, *_first(DATASETS[name], root)) if path.exists())
    except OSError:
        fresh = ()
    found = _looked(name, root, fresh)
    return found if found is None or all(path.is_file() for path in found) else None


def _damage(name: str, root: Path) -> str:
    """What is wrong with the files in the data set's own place; empty where there is none of them."""
    images = DATASETS[name]
    for place in _first(images, root)[:2]:
        paths = [next(_spellings(place, file), None) for file in images.files()]
        if not any(paths):
            continue
        remedy = f"remove {place} to download it again, or set RANKSTUDY_DATA to a folder with {images.label}"
        for path, file, known in zip(paths, images.files(), images.checksums or [""] * 4, strict=True):
            if path is None:
                return f"{images.label}'s file {place / file} is missing; {remedy}"
            if known and _sha256(path) != known:
                size = path.stat().st_size
                what = f"truncated, corrupt or not {images.label}'s ({size} bytes)"
                return f"{images.label}'s file {path} is {what}; {remedy}"
    return ""


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except OSError as error:  # gzip.BadGzipFile too
        raise UsageError(f"the file {path} cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error) as error:
        raise UsageError(f"the file {path} is a damaged .gz ({error})") from error


@lru_cache(maxsize=64)
def _hash(path: Path, modified: int, size: int) -> str:
    return hashlib.sha256(_content(path)).hexdigest()


def _sha256(path: Path) -> str:
    """Of what is in the file, unpacked: a `.gz` is the same data set."""
    try:
        state = path.stat()
    except OSError as error:
        raise UsageError(f"the file {path} cannot be read ({error.strerror})") from error
    try:
        return _hash(path, state.st_mtime_ns, state.st_size)
    except UsageError:
        return ""


def _idx(path: Path) -> np.ndarray:
    """An idx file of bytes: two zeros, 8, the number of dimensions, each size in 4 bytes, the values."""
    content = _content(path)
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
    """scikit-learn's copy of the UCI handwritten digits, 1,797 real pictures of 8×8, resized to 28×28."""
    import torch
    from sklearn.datasets import load_digits

    source = load_digits()
    pictures = torch.from_numpy(source.images).float() / 16.0  # (1797, 8, 8), 0..16
    large = torch.nn.functional.interpolate(pictures[:, None], size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    images, labels = (large * 255).round().to(torch.uint8).numpy(), source.target
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED)).numpy()
    test, train = order[:360], order[360:]
    return _source(images[train], labels[train], images[test], labels[test])


def download(name: str, root: Path) -> None:
    """torchvision's download, into a temporary folder that takes the data set's name only when it is whole."""
    import torchvision.datasets

    images = entry(DATASETS, name, "name")
    root.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as scratch:
        socket.setdefaulttimeout(20)  # seconds; torchvision sets none, and a silent network would hang the study
        try:
            getattr(torchvision.datasets, images.torchvision)(scratch, download=True, **images.options)
        finally:
            socket.setdefaulttimeout(timeout)
        target = root / images.folder
        if target.exists():  # incomplete, or we would not be here: keep it aside rather than delete it
            shutil.move(target, tempfile.mkdtemp(dir=root, prefix=f"{images.folder}-incomplete-"))
        os.replace(Path(scratch) / images.folder, target)
