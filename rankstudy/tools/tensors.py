"""Tensors of a checkpoint, one at a time, without running anything that a file may hold.

safetensors are read with NumPy, so torch is imported only for what needs it: a torch file, a module, float8.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from rankstudy import UsageError

HEADER_BYTES = 100_000_000  # what the safetensors format allows
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
         "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}  # fmt: skip  # bytes an element, by the format's names
# spacing of the floating-point numbers around 1
EPS = {"F64": 2.0**-52, "F32": 2.0**-23, "F16": 2.0**-10, "BF16": 2.0**-7, "F8_E4M3": 2.0**-3, "F8_E5M2": 2.0**-2}
FORMATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
           "F8_E5M2": "float8_e5m2"}  # fmt: skip  # by the names of rank.rounding_floor
_SEEK = Lock()
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
          "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}  # fmt: skip


class Entry(NamedTuple):
    """A tensor that has not been read yet."""

    dtype: str  # as safetensors names it
    shape: tuple[int, ...]
    read: Callable[[], bytes]  # its elements, little-endian, row-major

    def values(self) -> np.ndarray:
        """The tensor; low precisions become float32, which holds them exactly."""
        content = self.read()
        if self.dtype == "BF16":
            bits = np.frombuffer(content, "<u2").astype(np.uint32) << 16
            return bits.view(np.float32).reshape(self.shape)
        if self.dtype.startswith("F8"):
            import torch

            kind = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}[self.dtype]
            flat = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(kind)
            return flat.float().numpy().reshape(self.shape)
        return np.frombuffer(content, _NUMPY[self.dtype]).reshape(self.shape)


def encode(array: np.ndarray, dtype: str) -> bytes:
    """An array as the bytes of a tensor of that dtype, rounded to nearest."""
    if dtype in _NUMPY:
        return np.ascontiguousarray(array, _NUMPY[dtype]).tobytes()
    import torch

    kinds = {"BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
    rounded = torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(kinds[dtype])
    return rounded.view(torch.uint8).numpy().tobytes()


@contextmanager
def opened(source: Any, name: str = "FILE") -> Iterator[tuple[dict[str, Entry], list[str]]]:
    """The tensors of a checkpoint file, a `torch.nn.Module` or a mapping of arrays, by name; and what is no tensor.

    Raises:
        UsageError: the file is missing, empty, a folder, damaged, no checkpoint, or a pickle that wants to run code.
    """
    if not isinstance(source, (str, Path)):
        yield _from_memory(source.state_dict() if hasattr(source, "state_dict") else source, name)
        return
    path = Path(source)
    if path.is_dir():
        raise UsageError(f"{name} {path} is a folder; name a checkpoint file in it")
    try:
        file = open(path, "rb")
    except OSError as error:
        raise UsageError(f"{name} {path} cannot be read: {error.strerror}") from error
    with file:
        start = file.read(8)
        if not start:
            raise UsageError(f"{name} {path} is empty")
        if start[:2] == b"PK" or start[:1] == b"\x80":
            yield _from_memory(_torch_load(path, name, mmap=start[:2] == b"PK"), name)
        else:
            yield _from_safetensors(file, start, path, name), []


def _from_safetensors(file: Any, start: bytes, path: Path, name: str) -> dict[str, Entry]:
    size = path.stat().st_size
    try:
        (length,) = struct.unpack("<Q", start)
        if not 2 <= length <= min(HEADER_BYTES, size - 8):
            raise ValueError("no header")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        entries, end = {}, 0
        for tensor, found in header.items():
            shape, (begin, stop) = tuple(found["shape"]), found["data_offsets"]
            elements = 1
            for side in shape:  # Python's integers do not overflow
                if not isinstance(side, int) or side < 0:
                    raise ValueError(f"{tensor} has shape {list(shape)}")
                elements *= side
            if found["dtype"] not in SIZES:
                raise ValueError(f"{tensor} has the unknown dtype {found['dtype']}")
            if not 0 <= begin <= stop <= size - 8 - length or elements * SIZES[found["dtype"]] != stop - begin:
                raise ValueError(f"{tensor} of shape {list(shape)} does not fit its {stop - begin} bytes")
            entries[tensor] = Entry(found["dtype"], shape, _reader(file, 8 + length + begin, stop - begin))
            end = max(end, stop)
        if end != size - 8 - length:
            raise ValueError(f"{size - 8 - length - end} bytes belong to no tensor")
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise UsageError(f"{name} {path} is no checkpoint (safetensors, or torch's state dict): {error}") from error
    return entries


def _reader(file: Any, offset: int, length: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with _SEEK:  # several threads read one file
            file.seek(offset)
            return file.read(length)

    return read


def _torch_load(path: Path, name: str, mmap: bool) -> Any:
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():  # torch's remarks on the format; what matters is an error
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)  # the old format has no mmap
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{name} {path} is a pickle that holds more than tensors and may run code; it is not loaded. "
            "Save model.state_dict() instead"
        ) from error
    except (RuntimeError, ValueError, EOFError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{name} {path} is no checkpoint (safetensors, or torch's state dict): {reason}") from error


def _from_memory(source: Any, name: str) -> tuple[dict[str, Entry], list[str]]:
    if not isinstance(source, Mapping):
        raise UsageError(f"{name} holds {type(source).__name__}; a checkpoint maps names to tensors")
    entries: dict[str, Entry] = {}
    other: list[str] = []
    for key, value in source.items():
        if isinstance(value, Mapping):  # {"state_dict": {…}, "epoch": 3}
            inner, rest = _from_memory(value, name)
            entries.update({f"{key}.{each}": entry for each, entry in inner.items()})
            other += [f"{key}.{each}" for each in rest]
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            kind = {np.dtype(text): dtype for dtype, text in _NUMPY.items()}[value.dtype]
            entries[str(key)] = Entry(kind, value.shape, value.tobytes)
        elif hasattr(value, "untyped_storage"):
            entries[str(key)] = _torch_entry(value, str(key), name)
        else:
            other.append(str(key))
    return entries, other


def _torch_entry(tensor: Any, key: str, name: str) -> Entry:
    import torch

    kinds = {
        torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
        torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.int64: "I64", torch.int32: "I32",
        torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    }  # fmt: skip
    if tensor.dtype not in kinds:
        raise UsageError(f"{name} has {key} of dtype {tensor.dtype}; real numbers are needed")

    def read() -> bytes:
        plain = tensor.detach().cpu().contiguous()
        return plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""

    return Entry(kinds[tensor.dtype], tuple(tensor.shape), read)
