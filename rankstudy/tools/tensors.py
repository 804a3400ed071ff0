"""One tensor of a checkpoint, before it is read: its dtype by the name that safetensors gives it, shape and bytes.

Everything is decoded with NumPy, the small floating-point formats too: torch is never imported to read a safetensors
file, least of all by several threads at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np

# bits an element, by the format's names
BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
        "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64, "I64": 64, "I32": 32, "I16": 16, "I8": 8,
        "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8}  # fmt: skip
# spacing of the floating-point numbers around 1, of the formats that hold weights
EPS = {"F64": 2.0**-52, "F32": 2.0**-23, "F16": 2.0**-10, "BF16": 2.0**-7, "F8_E4M3": 2.0**-3, "F8_E5M2": 2.0**-2}
FORMATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
           "F8_E5M2": "float8_e5m2"}  # fmt: skip  # by the names of rank.rounding_floor
INTEGERS = {"I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
          "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?", "C64": "<c8"}  # fmt: skip
_BY_NUMPY = {np.dtype(text): dtype for dtype, text in _NUMPY.items()}


class Entry(NamedTuple):
    """A tensor that has not been read yet."""

    dtype: str  # as safetensors names it
    shape: tuple[int, ...]
    read: Callable[[], bytes]  # its elements, little-endian, row-major
    storage: Hashable = None  # the same for tensors that share their memory
    factors: tuple[Entry, Entry] | None = None  # (m, r) and (r, n): the tensor is their product and is stored as them

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it is stored in."""
        if self.factors is not None:
            return sum(factor.nbytes for factor in self.factors)
        return -(-self.size * BITS.get(self.dtype, 8) // 8)

    def values(self) -> np.ndarray:
        """The tensor, read-only; low precisions become float32, which holds them exactly."""
        content = self.read()
        if self.dtype == "BF16":
            bits = np.frombuffer(content, "<u2").astype(np.uint32) << 16
            return bits.view(np.float32).reshape(self.shape)
        if self.dtype == "F8_E5M2":  # the upper half of a float16
            return (np.frombuffer(content, "u1").astype(np.uint16) << 8).view(np.float16).reshape(self.shape) * ONE
        if self.dtype == "F8_E4M3":
            return _E4M3[np.frombuffer(content, "u1")].reshape(self.shape)
        return np.frombuffer(content, _NUMPY[self.dtype]).reshape(self.shape)


ONE = np.float32(1)
REPEATED = 1 << 24  # elements of a view that repeats its memory, from which on it is not written out


def _e4m3() -> np.ndarray:
    """(256,) float32: the value of each byte (Micikevicius et al. 2022, table 1); no infinity, one NaN a sign."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    size = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    size[(code & 127) == 127] = np.nan
    return np.where(code < 128, size, -size).astype(np.float32)


_E4M3 = _e4m3()


def encode(array: np.ndarray, dtype: str) -> bytes:
    """An array as the bytes of a tensor of that dtype (F64, F32, F16, BF16), rounded to nearest, ties to even."""
    if dtype == "BF16":
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2").tobytes()
    with np.errstate(over="ignore"):  # whoever rounds looks at the error afterwards
        return np.ascontiguousarray(array, _NUMPY[dtype]).tobytes()


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """The array as float64 after it was stored in that dtype."""
    content = encode(array, dtype)
    return Entry(dtype, array.shape, lambda: content).values().astype(np.float64)


def product(b: Entry, c: Entry, dtype: str, shape: tuple[int, ...]) -> Entry:
    """The tensor that is stored as its factors."""

    def read() -> bytes:
        return encode(b.values().astype(np.float64) @ c.values().astype(np.float64), dtype)

    return Entry(dtype, shape, read, factors=(b, c))


def from_numpy(array: np.ndarray) -> Entry | str:
    """An entry, or why there is none. Big-endian numbers are turned round; their values stay."""
    kind = array.dtype.newbyteorder("<") if array.dtype.kind in "iufc" else array.dtype
    if array.dtype.name == "bfloat16":  # ml_dtypes
        return Entry("BF16", array.shape, lambda: np.ascontiguousarray(array).tobytes())
    if array.size > REPEATED and any(
        step == 0 and side > 1 for step, side in zip(array.strides, array.shape, strict=True)
    ):
        return "a view that repeats few numbers"
    if kind not in _BY_NUMPY:
        return f"dtype {array.dtype.name}" if array.dtype.kind in "fcV" else f"no numbers: dtype {array.dtype}"[:60]
    place = array.__array_interface__["data"][0], array.shape, array.strides
    return Entry(_BY_NUMPY[kind], array.shape, lambda: np.ascontiguousarray(array, kind).tobytes(), place)


def from_torch(tensor: Any) -> Entry | str:
    """An entry, or why there is none: sparse, quantised, without values, of a dtype that safetensors does not have."""
    import torch

    kinds = {
        "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
        "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fnuz": "F8_E4M3FNUZ",
        "float8_e5m2fnuz": "F8_E5M2FNUZ", "complex64": "C64", "int64": "I64", "int32": "I32", "int16": "I16",
        "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
    }  # fmt: skip
    if torch.nn.parameter.is_lazy(tensor):
        return "not initialised yet"
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_quantized:
        return f"quantised: dtype {kind}"
    if tensor.is_nested or tensor.layout != torch.strided:
        return f"not a dense tensor: {'nested' if tensor.is_nested else str(tensor.layout).removeprefix('torch.')}"
    if tensor.device.type == "meta":
        return "on the meta device: it has no values"
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
        return f"a {type(tensor).__name__}"
    if kind not in kinds:
        return f"dtype {kind}"
    if tensor.numel() > REPEATED and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "a view that repeats few numbers"

    def read() -> bytes:
        plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
        return plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""

    memory = tensor.untyped_storage().data_ptr()
    place = (memory, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()) if memory else None
    return Entry(kinds[kind], tuple(tensor.shape), read, place)
