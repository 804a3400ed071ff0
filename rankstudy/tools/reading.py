"""Any checkpoint as tensors by name, one at a time, without running anything that a file may hold.

The format is found by content: safetensors first, since its first eight bytes, a length, may look like anything else;
then zip archives (torch's, NumPy's) and torch's older pickles. A folder is shards with an index, one checkpoint, or a
peft adapter. Nothing odd stops the rest: what cannot be read is in `left_out`, with the reason.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np

from rankstudy import UsageError
from rankstudy.tools import levels, peft
from rankstudy.tools.pickles import torch_load
from rankstudy.tools.tensors import BITS, Entry, from_numpy, from_torch, product

HEADER_BYTES = 100_000_000  # what the safetensors format allows
B, C = ".rankstudy_b", ".rankstudy_c"  # a compressed tensor NAME is stored as NAME.rankstudy_b and NAME.rankstudy_c
SINGLE = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin")
OTHER = {b"\x89HDF": "an HDF5 file", b"GGUF": "a GGUF file", b"\x1f\x8b": "a gzip file", b"\x93NUMPY": "a single array"}
_SEEK = Lock()


@dataclass
class Checkpoint:
    """What a source holds."""

    entries: dict[str, Entry] = field(default_factory=dict)  # in the order of the file
    left_out: dict[str, str] = field(default_factory=dict)  # name -> why it is no tensor, or not one of the model
    metadata: dict[str, str] = field(default_factory=dict)  # of a safetensors header
    files: dict[str, str] = field(default_factory=dict)  # of shards: tensor -> file name
    folder: Path | None = None  # of shards
    layers: dict[str, str] = field(default_factory=dict)  # of a module: tensor -> class of its layer, "buffer"
    bytes: int = 0  # on disk, where it is there
    adapter: bool = False
    aliases: dict[str, str] = field(default_factory=dict)  # a name that `compress` left to another one's tensor
    compressed: bool = False  # by `compress`

    def add(self, name: str, found: Entry | str) -> None:
        """A tensor, or why it is none."""
        if isinstance(found, str):
            self.left_out[name] = found
        else:
            self.entries[name] = found


@contextmanager
def opened(source: Any, name: str = "FILE", *, pairs: bool = True) -> Iterator[Checkpoint]:
    """The tensors of a checkpoint: a file, a folder, a `torch.nn.Module`, or a mapping of names to arrays.

    `pairs`: take the two factors of a LoRA adapter as the update that they stand for.

    Raises:
        UsageError: the source is missing, empty, damaged, no checkpoint, or a pickle that wants to run code.
    """
    with ExitStack() as stack:
        if isinstance(source, (str, Path)):
            found = _from_path(Path(source), name, stack)
        elif isinstance(source, type):
            raise UsageError(f"{name} is the class {source.__name__}; give one of its objects")
        elif hasattr(source, "state_dict"):
            found = _from_mapping(source.state_dict(), name)
            found.layers = levels.layers(source)
        else:
            found = _from_mapping(source, name)
        _join_factors(found, name)
        for alias, first in found.aliases.items():
            if first in found.entries and alias not in found.entries:
                place = found.entries[first].storage or ("shared", first)
                found.entries[first] = found.entries[alias] = found.entries[first]._replace(storage=place)
        levels.join_copies(found.entries)
        if pairs:
            peft.pair(found, Path(source) if isinstance(source, (str, Path)) else None)
        yield found


def _from_path(path: Path, name: str, stack: ExitStack) -> Checkpoint:
    try:
        if path.is_dir():
            return _from_folder(path, name, stack)
        file = stack.enter_context(open(path, "rb"))
        size = path.stat().st_size
        start = file.read(9)
        file.seek(0)
    except OSError as error:
        raise UsageError(f"{name} {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a null byte in the name
        raise UsageError(f"{name} {str(path)!r} cannot be read: {error}") from error
    if not start:
        raise UsageError(f"{name} {path} is empty")
    if len(start) == 9 and struct.unpack("<Q", start[:8])[0] <= size - 8 and start[8:] == b"{":
        found = _from_safetensors(file, path, name)
    elif start[:4] == b"PK\x03\x04":
        found = _from_zip(path, name, stack)
    elif start[:1] == b"\x80":
        found = _from_mapping(torch_load(path, name, mmap=False), f"{name} {path}")
    elif path.name.endswith(".index.json"):
        return _from_index(path, name, stack)
    else:
        what = next((f"is {text}; it" for magic, text in OTHER.items() if start.startswith(magic)), "")
        raise UsageError(
            f"{name} {path} {what} is no checkpoint (safetensors, torch's state dict, .npz, or a folder)".replace(
                "  ", " "
            )
        )
    found.bytes = size
    return found


def _from_folder(folder: Path, name: str, stack: ExitStack) -> Checkpoint:
    indexes = sorted(folder.glob("*.index.json"), key=lambda path: ("safetensors" not in path.name, path.name))
    if indexes:
        return _from_index(indexes[0], name, stack)
    single = [folder / each for each in SINGLE if (folder / each).is_file()]
    files = single[:1] or sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.pt")) or sorted(
        folder.glob("*.pth")
    )  # fmt: skip
    if not files:
        raise UsageError(f"{name} {folder} is a folder without a checkpoint (*.safetensors, pytorch_model.bin, *.pt)")
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:4])
        raise UsageError(
            f"{name} {folder} is a folder of {len(files)} checkpoints without an index ({names}); name one"
        )
    return _from_path(files[0], name, stack)


def _from_index(path: Path, name: str, stack: ExitStack) -> Checkpoint:
    """Shards, as `model.safetensors.index.json` lists them."""
    try:
        listed = json.loads(path.read_bytes())["weight_map"]
        if not listed or not all(isinstance(file, str) and Path(file).name == file for file in listed.values()):
            raise ValueError("weight_map must name files beside it")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise UsageError(f"{name} {path} is no index of shards: {error}") from error
    whole = Checkpoint(folder=path.parent)
    for file in dict.fromkeys(listed.values()):
        part = _from_path(path.parent / file, name, stack)
        _join_factors(part, name)
        whole.bytes += part.bytes
        whole.metadata |= part.metadata
        whole.left_out |= part.left_out
        whole.aliases |= part.aliases
        whole.compressed |= part.compressed
        for tensor, entry in part.entries.items():
            if tensor in whole.entries:
                raise UsageError(f"{name} {path}: {tensor} is in {whole.files[tensor]} and in {file}")
            whole.entries[tensor], whole.files[tensor] = entry, file
    known = {*whole.entries, *whole.left_out, *whole.aliases}
    missing = [tensor for tensor in listed if tensor not in known and not tensor.endswith((B, C))]
    whole.left_out |= dict.fromkeys(missing, "in the index, but in no shard")
    return whole


def _from_safetensors(file: BinaryIO, path: Path, name: str) -> Checkpoint:
    size = path.stat().st_size
    found = Checkpoint()
    try:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", None) or {}
        found.metadata = {str(key): str(value) for key, value in metadata.items()}
        end = 0
        for tensor, told in header.items():
            shape, (begin, stop), dtype = tuple(told["shape"]), told["data_offsets"], told["dtype"]
            if not all(type(number) is int and number >= 0 for number in (*shape, begin, stop)):  # true is no side
                raise ValueError(f"{tensor} has shape {list(shape)} and offsets {[begin, stop]}")
            elements = math.prod(shape)  # Python's integers do not overflow
            if not 0 <= begin <= stop <= size - 8 - length:
                raise ValueError(f"{tensor} lies outside the file")
            end = max(end, stop)
            if dtype not in BITS:
                found.left_out[tensor] = f"dtype {dtype} is not known"
                continue
            if -(-elements * BITS[dtype] // 8) != stop - begin:
                raise ValueError(f"{tensor} of shape {list(shape)} does not fit its {stop - begin} bytes")
            place = (str(path), begin, stop) if stop > begin else None
            found.entries[tensor] = Entry(dtype, shape, _reader(file, 8 + length + begin, stop - begin), place)
        if end != size - 8 - length:
            raise ValueError(f"{size - 8 - length - end} bytes belong to no tensor")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UsageError(f"{name} {path} is no checkpoint (damaged safetensors): {reason}") from error
    return found


def _reader(file: BinaryIO, offset: int, length: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with _SEEK:  # several threads read one file
            file.seek(offset)
            return file.read(length)

    return read


def _from_zip(path: Path, name: str, stack: ExitStack) -> Checkpoint:
    import zipfile

    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise UsageError(f"{name} {path} is no checkpoint (a damaged zip archive): {error}") from error
    if any(member.flag_bits & 1 for member in members):
        raise UsageError(f"{name} {path} is no checkpoint that can be read: the archive is encrypted")
    if any(member.filename.endswith("data.pkl") for member in members):
        if any("/code/" in member.filename for member in members):
            raise UsageError(f"{name} {path} is a TorchScript program; save its state_dict() and name that file")
        return _from_mapping(torch_load(path, name, mmap=True), f"{name} {path}")
    arrays = [member.filename for member in members if member.filename.endswith(".npy")]
    if not arrays:
        raise UsageError(f"{name} {path} is no checkpoint: a zip archive without torch's data.pkl or NumPy's .npy")
    found, lock = Checkpoint(), Lock()
    for member in arrays:
        found.add(member.removesuffix(".npy"), _npy(archive, member, lock))
    return found


def _npy(archive: Any, member: str, lock: Lock) -> Entry | str:
    """An array of an .npz, of which only the header is read now."""
    from numpy.lib import format as npy

    def load() -> np.ndarray:
        with lock, archive.open(member) as file:
            return npy.read_array(file, allow_pickle=False)

    try:
        with archive.open(member) as file:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = header(file)
    except Exception as error:  # whatever a damaged member makes zlib, zipfile or NumPy say
        return f"damaged: {error}"[:80]
    like = from_numpy(np.empty((0,) * max(1, len(shape)), dtype)) if not dtype.hasobject else "no numbers: objects"
    if isinstance(like, str):
        return like

    def read() -> bytes:
        try:
            return from_numpy(load()).read()
        except Exception as error:
            raise UsageError(f"the array {member.removesuffix('.npy')} is damaged: {error}") from error

    return Entry(like.dtype, tuple(shape), read)


def _from_mapping(source: Any, name: str) -> Checkpoint:
    if not isinstance(source, Mapping):
        raise UsageError(f"{name} holds {type(source).__name__}; a checkpoint maps names to tensors")
    found = Checkpoint()
    for key, value in levels.flat(source, found.left_out):
        if isinstance(value, np.ndarray):
            found.add(key, from_numpy(value))
        elif hasattr(value, "untyped_storage"):
            found.add(key, from_torch(value))
        else:
            found.left_out[key] = "no tensor"
    return found


def _join_factors(found: Checkpoint, name: str) -> None:
    """What `compress` has factorised before, as the matrices that it stands for."""
    if "rankstudy" not in found.metadata:
        return
    try:
        told = json.loads(found.metadata.pop("rankstudy"))
        for tensor, shape in told["shapes"].items():
            b, c = found.entries.pop(tensor + B), found.entries.pop(tensor + C)
            if (
                len(b.shape) != 2
                or b.shape[1] != c.shape[0]
                or (b.shape[0], c.size) != (shape[0], b.shape[1] * (math.prod(shape[1:])))
            ):
                raise ValueError(f"{tensor} of shape {shape} has factors {b.shape} and {c.shape}")
            found.entries[tensor] = product(b, c, b.dtype, tuple(shape))
        found.aliases |= told.get("tied", {})
        found.compressed = True
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{name} says that rankstudy compressed it, and does not fit what it says: {error}") from error
