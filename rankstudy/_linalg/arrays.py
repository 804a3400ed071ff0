"""Where an argument becomes float64 NumPy matrices, and where its dtype decides eps.

Design choices:
- One door for every mathematical module: a NumPy array, a torch tensor on any device, or a nested list comes in, a
  read-only float64 array goes out, so no function can change what its caller gave it.
- torch is never imported here. Whoever passes a tensor has imported it already.
- All linear algebra is float64 on the CPU, but the tolerance belongs to the precision in which the matrix was *stored*:
  rounding to float32 has already moved its singular values by eps(float32)·σ₁.
- The scale of a matrix is taken out in one place too: by a power of two (`scaled`), which rounds nothing, or by the
  largest entry (`norm`), so that entries near 1e±300, whose squares are no float64, and subnormal ones do no harm.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

FLOAT64_EPS = float(np.finfo(np.float64).eps)


class Matrices(NamedTuple):
    """A checked argument."""

    values: np.ndarray  # (..., m, n) float64, read-only, finite
    eps: float  # spacing around 1 of the format the argument came in, at least float64's
    integers: np.ndarray | None  # (..., m, n) the argument itself where its dtype is integer or boolean, read-only
    smallest: float  # spacing around 0 of that format: its smallest subnormal


def _refuse(name: str, need: str, found: str) -> ValueError:
    return ValueError(f"{name} must be {need}; found {found}")


def _from_torch(a: Any, name: str, torch: Any) -> tuple[np.ndarray, Any]:
    """A torch tensor as a NumPy array of integers, booleans or float64, and what `finfo` says of its format."""
    a = a.detach()
    if a.layout != torch.strided or a.device.type == "meta":
        raise _refuse(name, "a dense array or tensor", f"a {a.layout} tensor on device {a.device.type}")
    a = a.cpu()
    if a.is_complex() or a.is_quantized:
        raise _refuse(name, "real", f"dtype {a.dtype}")
    if a.is_floating_point():
        return a.to(torch.float64).numpy(), torch.finfo(a.dtype)
    return a.numpy(), np.finfo(np.float64)


def _from_numpy(a: Any, name: str) -> tuple[np.ndarray, Any]:
    """Anything NumPy can read as an array of integers, booleans or floats, and what `finfo` says of its format."""
    if hasattr(a, "named_parameters") or isinstance(a, (str, Mapping)):
        inner = getattr(a, "named_parameters", lambda: ())()
        path = next((f', such as model.get_parameter("{path}")' for path, tensor in inner if tensor.ndim == 2), "")
        raise _refuse(
            name,
            f"one matrix, or a batch of them{path}; rankstudy.analyze(model) gives the ranks of all its matrices",
            type(a).__name__,
        )
    if np.ma.is_masked(a):
        raise _refuse(name, "free of masked entries", "a masked array")
    try:
        a = np.asarray(a)
    except (ValueError, TypeError) as error:
        raise _refuse(name, "an array", f"{type(a).__name__} ({error})") from error
    if a.dtype.kind not in "biuf":
        raise _refuse(name, "real numbers", f"dtype {a.dtype}")
    return a, np.finfo(a.dtype if a.dtype.kind == "f" else np.float64)


def matrices(a: Any, name: str = "a", *, ndim: int | None = None) -> Matrices:
    """`a` as float64 matrices over its last two axes.

    Args:
        a: (..., m, n) NumPy array, torch tensor on any device, or nested list; empty axes are welcome.
        name: what the caller calls it, for the message.
        ndim: the exact number of axes, where a batch makes no sense; None accepts two or more.

    Raises:
        ValueError: NaN or infinity, complex or non-numeric dtype, sparse or masked, fewer than two axes; the message
            names the argument and says what was found.
    """
    torch = sys.modules.get("torch")
    is_tensor = torch is not None and isinstance(a, torch.Tensor)
    array, form = _from_torch(a, name, torch) if is_tensor else _from_numpy(a, name)
    if array.ndim < 2 or (ndim is not None and array.ndim != ndim):
        need = "matrices over the last two axes" if ndim is None else f"an array of {ndim} axes"
        raise _refuse(name, need, f"shape {array.shape}")
    with np.errstate(over="ignore"):  # a longdouble beyond float64 becomes infinite, which the next line names
        values = array.astype(np.float64, copy=False)
    if not np.isfinite(values).all():
        raise _refuse(name, "finite", "NaN" if np.isnan(values).any() else "infinity")
    return Matrices(
        _read_only(values),
        max(float(form.eps), FLOAT64_EPS),
        None if array.dtype.kind == "f" else _read_only(array),
        float(form.tiny) * float(form.eps),
    )


def scaled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`values` over a power of two per matrix, exactly, so that the largest entry lies in [½, 1); and the exponents."""
    exponents = np.frexp(np.abs(values).max(axis=(-2, -1), initial=0.0))[1]
    return np.ldexp(values, -exponents[..., None, None]), exponents


def frobenius(a: np.ndarray, axis: int | tuple[int, int] = (-2, -1)) -> np.ndarray:
    """Root of the sum of squares over an axis or two, whatever the scale: by default of each matrix (...,)."""
    peak = np.maximum(a.max(axis, initial=0.0, keepdims=True), -a.min(axis, initial=0.0, keepdims=True))
    scaled = a / np.where(peak == 0, 1.0, peak)
    return (peak * np.sqrt(np.square(scaled, out=scaled).sum(axis, keepdims=True))).squeeze(axis)[()]


def ratio_of(x: Any, y: Any) -> Any:
    """x / y, where 0/0 is 0: nothing is missing from a zero matrix."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x == 0, 0.0, np.divide(x, y))[()]


def _read_only(a: np.ndarray) -> np.ndarray:
    view = a.view()
    view.flags.writeable = False
    return view


def whole_number(value: Any, name: str, minimum: int, maximum: int | None = None) -> int:
    """`value` as an int within [minimum, maximum].

    Raises:
        ValueError: not a whole number (fractions, booleans and strings included) or out of range.
    """
    limit = f"a whole number of at least {minimum}" + ("" if maximum is None else f" and at most {maximum}")
    try:
        number = operator.index(value)
    except TypeError:
        raise _refuse(name, limit, repr(value)) from None
    if isinstance(value, (bool, np.bool_)) or number < minimum or (maximum is not None and number > maximum):
        raise _refuse(name, limit, repr(value))
    return number


def positive_number(value: Any, name: str, *, zero: bool = False) -> float:
    """`value` as a finite float > 0 (≥ 0 with `zero`).

    Raises:
        ValueError: not one real number, NaN, infinite or too small.
    """
    need = "a finite number " + ("≥ 0" if zero else "> 0")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _refuse(name, need, repr(value)) from None
    if isinstance(value, (bool, np.bool_, str)) or not np.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise _refuse(name, need, repr(value))
    return number


def non_negative(value: Any, name: str, batch: tuple[int, ...] | None = None) -> np.ndarray:
    """Finite numbers ≥ 0 as float64: of any shape, or where `batch` is given one number, or one for each matrix.

    Raises:
        ValueError: anything else.
    """
    try:
        found = np.asarray(value)
    except (ValueError, TypeError):
        found = np.asarray(None)
    fits = batch is None or found.shape in ((), batch)
    if found.dtype.kind not in "iuf" or not fits or not (np.isfinite(found).all() and (found >= 0).all()):
        each = f", or {'×'.join(map(str, batch))} of them, one a matrix" if batch else ""
        raise _refuse(name, ("finite numbers ≥ 0" if batch is None else "a finite number ≥ 0") + each, repr(value))
    return found.astype(np.float64)
