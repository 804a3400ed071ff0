"""Factors, and how far a product of them is from the best possible: the Eckart–Young bound.

The public names are `rankstudy.factorization`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rankstudy._linalg.arrays import frobenius, matrices, non_negative, ratio_of, scaled, whole_number
from rankstudy._linalg.rounding import FLOAT32_EPS
from rankstudy.spectrum import Spectrum, tolerance


@dataclass(frozen=True, eq=False)
class Factors:
    """A product B·C that is kept apart: (m + n)·rank numbers instead of m·n."""

    b: np.ndarray  # (..., m, rank)
    c: np.ndarray  # (..., rank, n)

    @property
    def rank(self) -> int:
        return self.b.shape[-1]

    def product(self) -> np.ndarray:
        """B·C (..., m, n)."""
        return self.b @ self.c

    def leading(self, rank: int) -> Factors:
        """The first `rank` columns of b and rows of c: of `truncated_svd` and `weighted_svd` the result at that rank.

        Raises:
            ValueError: a rank that is no whole number within 0..self.rank.
        """
        rank = whole_number(rank, "rank", 0, self.rank)
        return Factors(self.b[..., :rank], self.c[..., :rank, :])


@dataclass(frozen=True, eq=False)
class Certificate:
    """How far B·C is from the best approximation of its rank. Arrays of the batch shape (...,).

    0/0 counts as 0: nothing is missing from a zero matrix.
    """

    error: np.ndarray  # ‖A − BC‖_F / ‖A‖_F
    excess: np.ndarray  # (‖A − BC‖² − tail²) / ‖A‖²; rounding leaves some ±eps·max(m, n) of an optimal product
    ratio: np.ndarray  # ‖A − BC‖ / tail; NaN where the tail is zero: where rank ≥ the numerical rank

    @property
    def gap(self) -> np.ndarray:
        """Suboptimality gap (...,): by what share of the least possible error ‖A − BC‖ exceeds it; NaN as `ratio`."""
        return self.ratio - 1


def eckart_young_error(a: Any, rank: int, relative: bool = False) -> np.ndarray:
    """Smallest possible ‖A − BC‖_F at this rank (...,): the norm of the singular values after the first `rank`.

    Args:
        a: (..., m, n), or their `Spectrum`.
        relative: divide by ‖A‖_F (a zero matrix gives 0).

    Raises:
        ValueError: `a` is neither finite real matrices nor a `Spectrum`; rank no whole number within 0..min(m, n).

    >>> float(eckart_young_error(np.diag([5.0, 4.0, 3.0]), 1))
    5.0
    """
    spectrum = Spectrum.of(a)
    rank = whole_number(rank, "rank", 0, min(spectrum.shape))
    return _relative_tails(spectrum)[..., rank] if relative else spectrum.largest * np.sqrt(spectrum.tails()[..., rank])


def smallest_rank(a: Any, threshold: Any) -> np.ndarray:
    """Smallest rank whose relative Eckart–Young error is at most `threshold` (...,) int.

    Args:
        a: (..., m, n), or their `Spectrum`.
        threshold: of ‖A − BC‖_F / ‖A‖_F, ≥ 0, a number or one per matrix (...,).

    Raises:
        ValueError: `a` is neither finite real matrices nor a `Spectrum`; threshold negative or not finite.

    >>> int(smallest_rank(np.diag([4.0, 3.0]), 0.61))
    1
    """
    tails = _relative_tails(Spectrum.of(a))
    return (tails > non_negative(threshold, "threshold", tails.shape[:-1])[..., None]).sum(-1)


def break_even_rank(m: int, n: int) -> int:
    """Largest rank whose factors hold no more numbers than the m×n matrix: rank·(m + n) ≤ m·n.

    Raises:
        ValueError: a side that is no whole number ≥ 0.

    >>> break_even_rank(256, 256), break_even_rank(10, 256)
    (128, 9)
    """
    m, n = whole_number(m, "m", 0), whole_number(n, "n", 0)
    return m * n // max(m + n, 1)


def certify(a: Any, factors: Factors, *, spectrum: Spectrum | None = None) -> Certificate:
    """Compare any factors with the Eckart–Young bound of their rank.

    Args:
        a: (..., m, n).
        factors: b (..., m, rank), c (..., rank, n) with rank ≤ min(m, n), on the same batch.
        spectrum: the singular values of `a` where they are known already; else one SVD finds them.

    Raises:
        ValueError: `a` is not finite real matrices, factors that do not fit it, a spectrum that is not its own.

    >>> a = np.diag([2.0, 1.0])
    >>> round(float(certify(a, Factors(2 * np.eye(2)[:, :1], np.eye(2)[:1])).gap), 12)  # the best of rank 1
    0.0
    """
    values = matrices(a).values
    spectrum = own_spectrum(values, spectrum)
    unit, exponents = scaled(values)
    b, c = fitting(values, factors)
    half = -exponents[..., None, None] // 2
    with np.errstate(over="ignore", invalid="ignore"):  # factors of another scale: their error is infinite
        product = np.ldexp(b, half) @ np.ldexp(c, -exponents[..., None, None] - half)
        residual = np.ldexp(frobenius(unit - product), exponents)
    rank = whole_number(factors.rank, "factors.rank", 0, min(spectrum.shape))
    tail = eckart_young_error(spectrum, rank)
    norm = eckart_young_error(spectrum, 0)
    error, bound = ratio_of(residual, norm), ratio_of(tail, norm)
    following = spectrum.values[..., rank : rank + 1].sum(-1)  # σ_{rank+1}; 0 at full rank
    ratio = np.where(following > tolerance(spectrum), ratio_of(residual, tail), np.nan)[()]
    return Certificate(error, (error - bound) * (error + bound), ratio)


def _relative_tails(spectrum: Spectrum) -> np.ndarray:
    """Relative Eckart–Young error at ranks 0..min(m, n): (..., min(m, n) + 1)."""
    tails = spectrum.tails()
    return np.sqrt(ratio_of(tails, tails[..., :1]))


def own_spectrum(values: np.ndarray, spectrum: Spectrum | None) -> Spectrum:
    """The spectrum of `values`; a given one must fit in shape and norm, as far as a record in float32 can."""
    if spectrum is None:
        return Spectrum.of(values)
    if not isinstance(spectrum, Spectrum):
        raise ValueError(f"spectrum must be a Spectrum; found {type(spectrum).__name__}")
    if spectrum.shape != values.shape[-2:] or spectrum.values.shape[:-1] != values.shape[:-2]:
        raise ValueError(f"spectrum must be that of a; found shape {spectrum.values.shape[:-1] + spectrum.shape}")
    norm = frobenius(values)
    if (np.abs(eckart_young_error(spectrum, 0) - norm) > FLOAT32_EPS * norm).any():
        raise ValueError("spectrum must be that of a; found another Frobenius norm")
    return spectrum


def fitting(values: np.ndarray, factors: Factors, name: str = "factors") -> tuple[np.ndarray, np.ndarray]:
    """The factors' two arrays, whose product has the shape of `values`."""
    if not isinstance(factors, Factors):
        raise ValueError(f"{name} must be Factors; found {type(factors).__name__}")
    b, c = matrices(factors.b, f"{name}.b").values, matrices(factors.c, f"{name}.c").values
    if b.shape[:-1] + c.shape[-1:] != values.shape or c.shape[:-1] != values.shape[:-2] + b.shape[-1:]:
        raise ValueError(f"{name} must fit a of shape {values.shape}; found b {b.shape} and c {c.shape}")
    return b, c


def residual_of(values: np.ndarray, factors: Factors) -> np.ndarray:
    b, c = fitting(values, factors)
    return values - b @ c
