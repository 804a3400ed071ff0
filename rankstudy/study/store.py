"""Results on disk: keyed by what was asked, written once, verified when read.

- One safetensors file a record: the arrays are its tensors, everything else is JSON in its header. No pickle.
- `<root>/<kind>/<key>-<hash>.safetensors`. The key is the question (experiment, config, checksum of the data); the
  hash is of the file's bytes, so a damaged file betrays itself by its name, and nothing is ever overwritten.
- A file appears under its name only when it is whole: temporary file in the same folder, fsync, `os.replace`.
- Several records may share a key (another code, another device). `find` takes the newest whose digest is asked for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import lzma
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load as _load_tensors
from safetensors.numpy import save as _save_tensors

from rankstudy import UsageError, registry
from rankstudy.files import write_atomically

FORMAT = 1  # of a record; a record of another format is not read
SUFFIX = ".safetensors"
KINDS = ("trained", "measured")
UNFINISHED = "unfinished"  # the kind of the snapshots of trainings that still go on, or were killed
FIELDS = ("kind", "experiment", "key", "config", "data", "digest", "provenance")  # of a record's header


@dataclass(frozen=True)
class Question:
    """What a result answers. Equal questions have equal keys."""

    kind: str  # "trained": networks, with their weights; "measured": what chapters read
    experiment: str  # name of the experiment
    config: object  # frozen dataclass
    data: str  # checksum of the data set
    version: int = 1  # of what the fields of the result mean

    @property
    def key(self) -> str:
        asked = plain(self.config)
        # an activation or optimiser is in the key with what it does, so that its name may not change its meaning
        content = canonical([self.experiment, asked, self.data, registry.named(asked)])
        return hashlib.sha256(content.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Record:
    """A result with where it comes from."""

    kind: str
    experiment: str
    key: str
    config: Any  # plain values
    data: str  # checksum of the data set
    digest: str  # of the computing code
    provenance: Mapping[str, Any]  # device, versions, commit, seconds, created (seconds since 1970) …
    version: int = 1
    # nested; NumPy arrays (read-only) and plain values
    value: Mapping[str, Any] = dataclasses.field(repr=False, default_factory=dict)
    path: Path = Path()  # in the store; of what is published: nowhere


class Store:
    def __init__(self, root: str | Path):
        self.root = Path(root)

    def find(self, question: Question, digest: str | None = None) -> Record | None:
        """The newest intact record of the question, computed by the code with that digest (None: by any code)."""
        paths = sorted((self.root / question.kind).glob(f"{question.key}-*{SUFFIX}"))
        found = [record for path in paths if (record := self.read(path)) and digest in (None, record.digest)]
        return max(found, key=lambda record: record.provenance["created"], default=None)

    def put(
        self, question: Question, digest: str, provenance: Mapping[str, object], value: Mapping[str, object]
    ) -> Record:
        """Write a record and return it as `find` would.

        Raises:
            UsageError: the folder cannot be written (read-only, disk full, permission denied).
            TypeError: the value holds something that is neither an array nor plain.
        """
        arrays: dict[str, np.ndarray] = {}
        tree = _split(value, "", arrays)
        header = {
            "format": FORMAT,
            "kind": question.kind,
            "experiment": question.experiment,
            "key": question.key,
            "config": plain(question.config),
            "data": question.data,
            "version": question.version,
            "digest": digest,
            "provenance": {"created": time.time(), "seconds": 0.0, **provenance},
            "value": tree,
        }
        content = _save_tensors(arrays, metadata={"record": canonical(header)})
        path = self.root / question.kind / f"{question.key}-{digest_of(content)}{SUFFIX}"
        try:
            write_atomically(path, content)
        except OSError as error:
            raise UsageError(
                f"the result of {question.experiment} cannot be written to {path.parent}: {error.strerror}"
            ) from error
        record = self.read(path)
        assert record is not None, f"{path} was written and cannot be read back"
        return record

    def discard(self, question: Question, keep: Record | None = None) -> None:
        """Remove the records of a question but one; for states on the way to a result, never for a result."""
        if question.kind != UNFINISHED:
            raise ValueError(f"question must be of kind {UNFINISHED!r}, got {question.kind!r}")
        for path in (self.root / question.kind).glob(f"{question.key}-*{SUFFIX}"):
            if keep is None or path != keep.path:
                path.unlink(missing_ok=True)

    def read(self, path: Path) -> Record | None:
        """The record in a file; None where it is damaged (it is set aside, and stderr says so) or of another format.

        Raises:
            UsageError: the file is there and may not be read. That says nothing about what is in it.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            return decode(path.name, content, path)
        except ValueError:
            self._set_aside(path)
            return None

    def records(self, kind: str | None = None) -> Iterator[Record]:
        """Every record, without its arrays and without verification, oldest first."""
        found = []
        for folder in KINDS if kind is None else (kind,):
            for path in (self.root / folder).glob(f"*{SUFFIX}"):
                if (header := self._header(path)) is not None:
                    fields = {name: header[name] for name in FIELDS} | {"version": header.get("version", 1)}
                    found.append(Record(**fields, path=path))
        yield from sorted(found, key=lambda record: (record.provenance["created"], record.path.name))

    @contextmanager
    def lock(self, question: Question) -> Iterator[None]:
        """Held while a question is being answered, so that nobody answers it twice at once."""
        folder = self.root / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{question.key}.lock")
            lock.acquire()
        except OSError as error:
            raise UsageError(f"the store {self.root} cannot be written: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()

    def _header(self, path: Path) -> dict[str, Any] | None:
        try:
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if not 0 < length <= path.stat().st_size - 8:
                    raise ValueError("no header")
                header = json.loads(json.loads(file.read(length))["__metadata__"]["record"])
                _ = [header[name] for name in FIELDS], header["provenance"]["created"]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(path, error) from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            self._set_aside(path)
            return None
        return header if header.get("format") == FORMAT else None

    def _set_aside(self, path: Path) -> None:
        target = self.root / "damaged" / path.name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
            where = f"set aside as {target}"
        except OSError as error:
            where = f"left where it is ({error.strerror})"
        print(f"rankstudy: the stored result {path.name} is damaged: {where}, and computed again", file=sys.stderr)


def decode(name: str, content: bytes, path: Path = Path()) -> Record | None:
    """The record in the bytes of a file of that name; None if it is of another format.

    Raises:
        ValueError: the bytes are not those that the name stands for, or no record's.
    """
    if not name.endswith(f"-{digest_of(content)}{SUFFIX}"):
        raise ValueError(f"{name} is damaged")
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["record"])
        if header["format"] != FORMAT:
            return None
        arrays = _load_tensors(content)
        for array in arrays.values():
            array.flags.writeable = False
        fields = {field: header[field] for field in FIELDS} | {"version": header.get("version", 1)}
        _ = header["provenance"]["created"], header["provenance"]["seconds"]
        return Record(**fields, value=_join(header["value"], "", arrays), path=path)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise ValueError(f"{name} is no record ({type(error).__name__})") from error


def exported(path: Path) -> dict[str, bytes]:
    """The files in an export, by their names inside a store, verified.

    Raises:
        UsageError: it cannot be read, or holds anything but intact records.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}  # checks each one's CRC
    except OSError as error:
        raise UsageError(f"FILE {path} cannot be read: {error.strerror}") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError) as error:
        # RuntimeError: encrypted, or packed in a way that zipfile does not know
        raise UsageError(f"FILE {path} is damaged, or no export of rankstudy ({error})") from error
    for name, content in contents.items():
        kind, _, stem = name.partition("/")
        key, _, rest = stem.partition("-")
        if kind != "measured" or not key.isalnum() or rest != f"{digest_of(content)}{SUFFIX}":
            raise UsageError(f"FILE {path} holds {name!r}, which is damaged or no result")
    return contents


def plain(value: object) -> Any:
    """A config as JSON values: a dataclass becomes its fields with its class name, a tuple a list."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a config holds {type(value).__name__} {value!r}; allowed are dataclasses and plain values")


def canonical(value: object) -> str:
    """JSON with one spelling for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"the stored result {path} cannot be read: {error.strerror}")


def digest_of(content: bytes) -> str:
    """The hash that a record's file name carries."""
    return hashlib.sha256(content).hexdigest()[:20]


def _split(value: object, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """Take the arrays out of a nested value; in the JSON that stays, an array is {"array": its path}."""
    if isinstance(value, Mapping):
        return {"map": {str(name): _split(item, f"{path}/{name}", arrays) for name, item in value.items()}}
    if isinstance(value, np.ndarray) and value.dtype != object and value.dtype.kind not in "US":
        arrays[path] = np.ascontiguousarray(value).reshape(value.shape)  # ascontiguousarray makes a 0-d array 1-d
        return {"array": path}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)) and not all(
        isinstance(item, (bool, int, float, str, type(None))) for item in value
    ):
        return {"list": [_split(item, f"{path}/{index}", arrays) for index, item in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str, list, tuple)):
        return {"plain": value}
    raise TypeError(
        f"a result holds {type(value).__name__} at {path or '/'}; allowed are NumPy arrays and plain values"
    )


def _join(tree: Any, path: str, arrays: Mapping[str, np.ndarray]) -> Any:
    ((form, content),) = tree.items()
    if form == "map":
        return {name: _join(item, path, arrays) for name, item in content.items()}
    if form == "list":
        return [_join(item, path, arrays) for item in content]
    return arrays[content] if form == "array" else content
