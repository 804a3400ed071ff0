"""What rounding the entries of a matrix to their format can make of its singular values.

The public names are `rankstudy.rank`'s.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from rankstudy._linalg.arrays import frobenius, matrices

FLOAT32_EPS = float(np.finfo(np.float32).eps)
DEVIATIONS = 3.0  # of a Gaussian: the part of the floor that a chance of 1e-3 adds


class Format(NamedTuple):
    """A binary floating-point format."""

    eps: float  # spacing of its numbers from 1 to 2
    smallest: float  # spacing of its numbers around 0


FORMATS = {
    "float64": Format(2.0**-52, 2.0**-1074),
    "float32": Format(2.0**-23, 2.0**-149),
    "float16": Format(2.0**-10, 2.0**-24),
    "bfloat16": Format(2.0**-7, 2.0**-133),
    "float8_e4m3fn": Format(2.0**-3, 2.0**-9),
    "float8_e5m2": Format(2.0**-2, 2.0**-16),
}


def is_coarse(eps: float) -> bool:
    """Whether max(m, n)·eps·σ₁ says nothing of matrices in this format: whether it is coarser than float32."""
    return eps > FLOAT32_EPS


def rounding_floor(*operands: Any, dtype: Any = None) -> Any:
    """A bound on ‖E‖₂, E the rounding errors of the entries of a matrix, or of a difference of matrices.

    Singular values below it may be rounding and nothing else: by Weyl's inequality rounding moves none by more than
    ‖E‖₂. It is the rank tolerance of formats coarser than float32 (`rank_tolerance`); of a difference W − W₀ the noise
    comes from rounding W and W₀, not from rounding what is left of them, so both are handed over:
    `matrix_rank(w - w0, tol=rounding_floor(w, w0))`, with w - w0 in float64.

    Derivation: the error of an entry x lies within half the spacing of the format's numbers at x, h = ½·eps·2^⌊log₂|x|⌋
    (½ of the smallest subnormal at least), and is taken to be uniform there and independent of the others: deviation
    s = h/√3. A random matrix of such a profile of deviations has norm E‖E‖ ≈ max row norm + max column norm of s
    (exact for equal ones as m, n → ∞; in general the leading terms of Bandeira & van Handel, Ann. Probab. 44, 2016,
    thm 3.1). A uniform variable on ±h is a √(2/π)·h-Lipschitz function of a Gaussian one, so ‖E‖ exceeds its mean by t
    with probability ≤ exp(−t²π/(4·max h²)) (Gaussian concentration; Boucheron, Lugosi & Massart 2013, thm 5.6): here
    t = 3·max h, probability 1e-3. Of two operands the squares of h add up. Never more than √(‖h‖₁‖h‖_∞), which bounds
    ‖E‖₂ whatever the errors are (and is the smaller one for diagonal matrices and a few entries).

    The errors are not independent where few numbers repeat in a pattern (all entries 0.1): E then has that pattern, and
    its norm is up to √(m·n)·h.

    Args:
        operands: (..., m, n) each, of one shape: one matrix, or those that were subtracted.
        dtype: what the entries were rounded to, where the arrays no longer say so (bfloat16 read into float32): a
            torch or NumPy dtype or its name, one of float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2; or
            a list with one for each operand. Default: each operand's own. Integers are exact.

    Returns:
        A float for one matrix, else (...,) float64, in the units of the entries.

    Raises:
        ValueError: an operand that is not finite real matrices, none at all, different shapes, an unknown dtype.

    >>> w = np.random.default_rng(0).standard_normal((300, 200))
    >>> round(rounding_floor(w, dtype="bfloat16"), 2), round(float(np.linalg.svd(w, compute_uv=False).min()), 1)
    (0.11, 3.5)
    """
    halves = _half_spacings(operands, dtype)
    total = sum(halves)  # what cannot be exceeded
    likely = reduce(np.hypot, halves)
    rows, columns = (frobenius(likely, axis).max(-1, initial=0.0) for axis in (-1, -2))
    expected = (rows + columns) / np.sqrt(3) + DEVIATIONS * likely.max((-2, -1), initial=0.0)
    certain = np.sqrt(total.sum(-1).max(-1, initial=0.0)) * np.sqrt(total.sum(-2).max(-1, initial=0.0))
    floor = np.minimum(expected, certain)
    return float(floor) if floor.ndim == 0 else floor


def rounding_norm(*operands: Any, dtype: Any = None) -> Any:
    """‖E‖_F to be expected of the same rounding errors: √(Σh²/3). Arguments, result and errors as `rounding_floor`.

    Of a difference it is less where most entries changed by less than the spacing: the two errors then are nearly the
    same. What rounding adds has full rank, so no factors of low rank come much closer to W − W₀ than this.

    >>> w = np.random.default_rng(0).standard_normal((300, 200))
    >>> rounding_norm(w, dtype="float16") < rounding_norm(w, dtype="bfloat16")  # which has 3 bits less
    True
    """
    size = frobenius(reduce(np.hypot, _half_spacings(operands, dtype))) / np.sqrt(3)
    return float(size) if size.ndim == 0 else size


def _half_spacings(operands: tuple[Any, ...], dtype: Any) -> list[np.ndarray]:
    """(..., m, n) of each operand: half the spacing of its format at its entries; 0 where it is whole numbers."""
    if not operands:
        raise ValueError("operands must be one matrix or more; found none")
    named = list(dtype) if isinstance(dtype, (list, tuple)) else [dtype] * len(operands)
    if len(named) != len(operands):
        raise ValueError(f"dtype must be one, or one for each of {len(operands)} operands; found {len(named)}")
    checked = [matrices(each, "a" if len(operands) == 1 else f"operand {i}") for i, each in enumerate(operands, 1)]
    if len({each.values.shape for each in checked}) > 1:
        raise ValueError(f"operands must have one shape; found {', '.join(str(x.values.shape) for x in checked)}")
    halves = []
    for each, given in zip(checked, named, strict=True):
        own = Format(0.0, 0.0) if each.integers is not None else Format(each.eps, each.smallest)
        halves.append(half_spacing(each.values, own if given is None else _named(given)))
    return halves


def half_spacing(values: np.ndarray, form: Format) -> np.ndarray:
    """Half the distance of neighbouring numbers of the format at each value: how far it may have been rounded."""
    exponents = np.frexp(values)[1]  # 2^(e − 1) ≤ |x| < 2^e
    return np.where(values == 0, form.smallest / 2, np.maximum(np.ldexp(form.eps / 4, exponents), form.smallest / 2))


def _named(dtype: Any) -> Format:
    name = str(dtype).removeprefix("torch.")
    if name not in FORMATS and isinstance(dtype, (type, np.dtype)):
        name = np.dtype(dtype).name
    if name not in FORMATS:
        raise ValueError(f"dtype must be one of {', '.join(FORMATS)}; found {dtype!r}")
    return FORMATS[name]
