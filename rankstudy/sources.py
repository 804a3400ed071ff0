"""Where the files of a data set lie, and what is in them by checksum: the layouts that people have, or a download.

- Four idx files are found plain or as `.gz`, under torchvision's names or with a dot (`train-images.idx3-ubyte`, as on
  Kaggle), each also in a folder of its own name; in RANKSTUDY_DATA, one folder further down or up, in torchvision's
  `MNIST/raw`, and below `~/data` and `~/datasets` where RANKSTUDY_DATA is not set.
- MNIST and FashionMNIST name their files alike: MNIST is known by its checksums, the others by their folder.
- What a file's bytes mean is `pictures`' business. Nothing here decides a number: a result is keyed by the checksum.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import socket
import tempfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from rankstudy import UsageError
from rankstudy.registry import DATASETS, FALLBACK, Images, entry


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
    return name == FALLBACK or found(name) is not None


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
    files = found(name)
    if files is None:
        raise UsageError(missing(name))
    return hashlib.sha256("".join(_sha256(path) for path in files).encode()).hexdigest()


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


_FOUND: dict[tuple[str, Path], tuple[Path, ...]] = {}  # what was found once is looked for again only when it is gone


def found(name: str) -> tuple[Path, ...] | None:
    """The four files of a data set, wherever they are."""
    key = (name, folder())
    if key not in _FOUND or not all(path.is_file() for path in _FOUND[key]):
        _FOUND.pop(key, None)
        if (files := _look(*key)) is not None:
            _FOUND[key] = files
    return _FOUND.get(key)


def _look(name: str, root: Path) -> tuple[Path, ...] | None:
    images, seen = DATASETS[name], set()
    for place in _places(images, root):
        if place in seen:
            continue
        seen.add(place)
        paths = [path for file in images.files() if (path := next(_spellings(place, file), None)) is not None]
        if len(paths) < len(images.files()):
            continue
        if images.checksums:
            if all(_sha256(path) == known for path, known in zip(paths, images.checksums, strict=True)):
                return tuple(paths)
        elif images.stem or any(part.lower() == images.folder.lower() for part in place.parts):
            return tuple(paths)
    return None


def damage(name: str) -> str:
    """What is wrong with the files in the data set's own place; empty where there is none of them."""
    images, root = DATASETS[name], folder()
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


def content(path: Path) -> bytes:
    """Of a file, unpacked if it is a `.gz`.

    Raises: UsageError: it cannot be read, or is damaged.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except OSError as error:  # gzip.BadGzipFile too
        raise UsageError(f"the file {path} cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error) as error:
        raise UsageError(f"the file {path} is a damaged .gz ({error})") from error


@lru_cache(maxsize=64)
def _hash(path: Path, modified: int, size: int) -> str:
    return hashlib.sha256(content(path)).hexdigest()


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
