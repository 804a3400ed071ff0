"""Checkpoints on disk: safetensors, one tensor at a time, in one file or in shards, whole or not at all."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rankstudy import UsageError
from rankstudy.files import fresh, write_atomically
from rankstudy.tools.reading import B, C, Checkpoint

FORMAT = "rankstudy-1"  # in the metadata of a compressed checkpoint
INDEX = "model.safetensors.index.json"
BESIDE = ("*.json", "*.txt", "*.model", "*.md")  # of a folder of shards: what goes with them, an index never


class File:
    """A safetensors file: the data go to a temporary file first, since the header is known at the end."""

    def __init__(self, out: Path) -> None:
        self.out, self.header, self.offset = out, {}, 0
        self.shapes: dict[str, list[int]] = {}  # of what is written as factors
        self.tied: dict[str, str] = {}  # alias -> the name that is written

    def __enter__(self) -> File:
        self.data = tempfile.TemporaryFile(dir=self.out.parent)
        return self

    def add(self, name: str, dtype: str, shape: Sequence[int], content: bytes) -> None:
        """One tensor."""
        place = [self.offset, self.offset + len(content)]
        self.header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": place}
        self.offset += len(content)
        self.data.write(content)

    def add_factors(self, name: str, dtype: str, shape: Sequence[int], b: bytes, c: bytes, rank: int) -> None:
        """One tensor as (m, rank) and (rank, n)."""
        rest = int(np.prod(shape[1:], dtype=object))
        self.add(name + B, dtype, (shape[0], rank), b)
        self.add(name + C, dtype, (rank, rest), c)
        self.shapes[name] = list(shape)

    def finish(self, metadata: Mapping[str, str], told: Mapping[str, Any] | None) -> None:
        """Put header and data together under the name; `told` is what `load_compressed` needs, if anything."""
        about = {"format": "pt", **metadata}
        if told is not None:
            about["rankstudy"] = json.dumps({"format": FORMAT, "shapes": self.shapes, "tied": self.tied, **told})
        text = json.dumps({"__metadata__": about, **self.header}).encode()
        text += b" " * (-len(text) % 8)  # the format wants the data aligned
        self.data.seek(0)
        chunks = iter(lambda: self.data.read(1 << 24), b"")
        write_atomically(self.out, itertools.chain([len(text).to_bytes(8, "little") + text], chunks))

    def __exit__(self, *_: object) -> None:
        self.data.close()


class Output:
    """One file, or a folder of shards named as those of the source."""

    def __init__(self, files: dict[str, File], of: Mapping[str, str]) -> None:
        self.files, self.of = files, of

    def file(self, name: str) -> File:
        """Where a tensor of the source goes."""
        return self.files[self.of.get(name, "")]

    def finish(self, metadata: Mapping[str, str], told: Mapping[str, Any] | None) -> None:
        """Write everything."""
        for file in self.files.values():
            file.finish(metadata, told)


def check(out: Path, source: Any, found: Checkpoint) -> None:
    """Raises: UsageError if nothing may be written there."""
    if isinstance(source, (str, Path)) and out.exists() and Path(source).exists() and out.samefile(source):
        raise UsageError(f"OUT {out} is FILE itself; name another file")
    if isinstance(source, (str, Path)) and Path(source).is_dir() and Path(source).resolve() in out.resolve().parents:
        raise UsageError(f"OUT {out} lies inside FILE; name another place")
    if out.exists() and any(out.samefile(found.folder / shard) for shard in set(found.files.values())):
        raise UsageError(f"OUT {out} is a shard of FILE; name another file")
    if not sharded(out, found) and not out.is_dir() and out.suffix != ".safetensors":
        raise UsageError(f"OUT {out} is to be a safetensors file; name it {out.with_name(out.name + '.safetensors')}")
    if out.is_dir() and not (sharded(out, found) and not any(out.iterdir())):
        raise UsageError(f"OUT {out} is a folder" + (" that is not empty" if sharded(out, found) else ""))
    if not out.parent.is_dir():
        raise UsageError(f"OUT {out}: there is no folder {out.parent}")


@contextmanager
def output(out: Path, found: Checkpoint) -> Iterator[Output]:
    """Where to write: a folder of shards if the source is one and OUT is not named *.safetensors."""
    with ExitStack() as stack:
        if not sharded(out, found):
            yield Output({"": stack.enter_context(File(out))}, {})
            return
        folder = stack.enter_context(fresh(out))
        names = {shard: str(Path(shard).with_suffix(".safetensors")) for shard in dict.fromkeys(found.files.values())}
        files = {shard: stack.enter_context(File(folder / name)) for shard, name in names.items()}
        yield Output(files, found.files)
        placed = {tensor: names[shard] for shard, file in files.items() for tensor in file.header}
        index = {"metadata": {"total_size": sum(file.offset for file in files.values())}, "weight_map": placed}
        (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
        for path in itertools.chain.from_iterable(found.folder.glob(pattern) for pattern in BESIDE):
            if path.is_file() and not path.name.endswith(".index.json"):
                shutil.copyfile(path, folder / path.name)


def sharded(out: Path, found: Checkpoint) -> bool:
    """Whether the output is a folder of shards."""
    return bool(found.files) and out.suffix != ".safetensors"


def size(out: Path) -> int:
    """Bytes of a file, or of the tensors in a folder."""
    return sum(path.stat().st_size for path in out.glob("*.safetensors")) if out.is_dir() else out.stat().st_size


class Scratch:
    """Arrays that are needed later, in a file that vanishes."""

    def __init__(self, folder: Path | None) -> None:
        self.file = tempfile.TemporaryFile(dir=folder)
        self.places: dict[str, tuple[int, tuple[int, ...], np.dtype]] = {}

    def put(self, name: str, array: np.ndarray) -> None:
        """Keep an array."""
        self.places[name] = self.file.seek(0, 2), array.shape, array.dtype
        self.file.write(np.ascontiguousarray(array).tobytes())

    def get(self, name: str) -> np.ndarray:
        """Have it back."""
        offset, shape, dtype = self.places[name]
        self.file.seek(offset)
        return np.frombuffer(self.file.read(dtype.itemsize * int(np.prod(shape))), dtype).reshape(shape)
