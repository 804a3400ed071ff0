"""A ≈ B·C of a given rank: the truncated SVD, the alternating methods, and how far each is from the best possible.

Design choices:
- The truncated SVD is optimal (Eckart & Young 1936), so every other method is judged against it: a certificate with
  every result says how much of ‖A‖² it leaves over the bound.
- An alternating method works on A/‖A‖_F with one matrix at a time: errors are relative from the start, each matrix
  stops when it is done, and a batch gives exactly what each of its matrices gives alone.
- Factors are float64 NumPy arrays whatever came in; nothing is inverted, no step size is tuned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankstudy._linalg import alternating
from rankstudy._linalg.arrays import matrices, positive_number, whole_number
from rankstudy._linalg.bounds import (
    Certificate,
    Factors,
    break_even_rank,
    certify,
    eckart_young_error,
    fitting,
    frobenius,
    own_spectrum,
    residual_of,
    smallest_rank,
)
from rankstudy.spectrum import Spectrum, ratio_of

__all__ = [
    "Certificate",
    "Factors",
    "Fit",
    "alternating_gradient",
    "alternating_least_squares",
    "break_even_rank",
    "certify",
    "eckart_young_error",
    "smallest_rank",
    "truncated_svd",
    "weighted_error",
    "weighted_svd",
]


@dataclass(frozen=True, eq=False)
class Fit:
    """What an alternating method found, and how."""

    factors: Factors
    certificate: Certificate
    errors: np.ndarray  # (..., half-steps): ‖A − BC‖/‖A‖ after each half-step; NaN once a matrix of a batch has
    #                     stopped. Their squares are right to rounding times (‖B‖‖C‖/‖A‖)²; the certificate is exact.
    iterations: np.ndarray  # (...,) int: updates of B and of C
    stopped: np.ndarray  # (...,) str: "tolerance"; "stationary": an iteration gained no more than rounding;
    #                      "iterations": the limit


def truncated_svd(a: Any, rank: int) -> Factors:
    """The best approximation of this rank (Eckart & Young 1936), balanced: B = U·√Σ, C = √Σ·Vᵀ.

    Args:
        a: (..., m, n).
        rank: within 0..min(m, n).

    Raises:
        ValueError: `a` is not finite real matrices; rank no whole number within 0..min(m, n).

    >>> factors = truncated_svd(np.diag([3.0, 2.0, 1.0]), 2)
    >>> factors.product().round(6).diagonal().tolist()
    [3.0, 2.0, 0.0]
    """
    values = matrices(a).values
    rank = whole_number(rank, "rank", 0, min(values.shape[-2:]))
    u, s, vt = np.linalg.svd(values, full_matrices=False)
    root = np.sqrt(s[..., :rank])
    return Factors(u[..., :rank] * root[..., None, :], root[..., None] * vt[..., :rank, :])


def weighted_svd(a: Any, rank: int, inputs: Any) -> Factors:
    """The product of this rank that changes a layer's outputs least: it minimises ‖X(A − BC)ᵀ‖_F.

    With X = QR it is ‖(A − BC)Rᵀ‖_F, and BC = U_r·U_rᵀ·A, U from the SVD of A·Rᵀ, attains that matrix's Eckart–Young
    error. Nothing is inverted: X may have any rank (always-dark pixels), or no rows.

    Args:
        a: (..., m, n), weights (out, in).
        rank: within 0..min(m, n).
        inputs: X (..., N, n), one input a row. The R of its QR (numpy.linalg.qr(X, mode="r")) gives the same result:
            a sweep over ranks or layers needs it once.

    Raises:
        ValueError: `a` or `inputs` not finite real matrices, or not of the same n; rank no whole number within
            0..min(m, n).
    """
    values = matrices(a).values
    rank = whole_number(rank, "rank", 0, min(values.shape[-2:]))
    u = np.linalg.svd(values @ _triangle(inputs, values), full_matrices=False)[0][..., :rank]
    return Factors(u, np.swapaxes(u, -1, -2) @ values)


def weighted_error(a: Any, factors: Factors, inputs: Any) -> np.ndarray:
    """‖X(A − BC)ᵀ‖_F / ‖XAᵀ‖_F (...,): the relative change of a layer's outputs on the inputs X (..., N, n); 0/0 is 0.

    Raises:
        ValueError: `a` or `inputs` not finite real matrices, or shapes that do not fit.
    """
    values = matrices(a).values
    rt = _triangle(inputs, values)
    return ratio_of(frobenius(residual_of(values, factors) @ rt), frobenius(values @ rt))


def _triangle(inputs: Any, values: np.ndarray) -> np.ndarray:
    """Rᵀ (..., n, n) with RᵀR = XᵀX/‖X‖²: the scale of the inputs changes nothing, nor do rows of zeros."""
    x = matrices(inputs, "inputs").values
    n = values.shape[-1]
    if x.shape[-1] != n:
        raise ValueError(f"inputs must have {n} columns, as a has; found {x.shape[-1]}")
    if x.shape[-2] < n:
        x = np.concatenate([x, np.zeros((*x.shape[:-2], n - x.shape[-2], n))], axis=-2)
    r = np.linalg.qr(x, mode="r")
    return np.swapaxes(ratio_of(r, frobenius(r)[..., None, None]), -1, -2)


def alternating_least_squares(
    a: Any,
    rank: int,
    *,
    oversampling: int = 0,
    tol: float = 1e-4,
    max_iterations: int = 1000,
    start: Factors | None = None,
    seed: int = 0,
    spectrum: Spectrum | None = None,
) -> Fit:
    """Alternately the best B for this C and the best C for this B.

    Args:
        a: (..., m, n).
        rank: within 0..min(m, n).
        oversampling: columns beyond rank that are iterated too (as far as min(m, n) allows) and cut by a small SVD at
            the end: what helps on a flat spectrum, where the plain method is slow.
        tol: stop once (‖A − BC‖² − tail²)/‖A‖² ≤ tol.
        max_iterations: updates of B and of C.
        start: factors of at most this rank to go on from (the result at a smaller rank); default: random.
        seed: of the random start.
        spectrum: the singular values of `a` where they are known already; else one SVD finds them.

    Raises:
        ValueError: an argument that is not of its kind or range, `start` or `spectrum` not of this matrix.
    """
    columns = whole_number(oversampling, "oversampling", 0) + whole_number(rank, "rank", 0)

    def steps(*problem: Any) -> alternating.Steps:
        return alternating.least_squares(*problem, columns)

    return _fit(steps, a, rank, tol, max_iterations, start, seed, spectrum)


def alternating_gradient(
    a: Any,
    rank: int,
    *,
    tol: float = 1e-3,
    max_iterations: int = 1000,
    start: Factors | None = None,
    seed: int = 0,
    spectrum: Spectrum | None = None,
) -> Fit:
    """Gradient descent on ‖A − BC‖², alternately in B and in C, each step exactly as long as is best.

    Arguments and errors as `alternating_least_squares`; there is no learning rate.
    """
    return _fit(alternating.gradient, a, rank, tol, max_iterations, start, seed, spectrum)


def _fit(
    steps: Callable[..., alternating.Steps],
    a: Any,
    rank: int,
    tol: float,
    max_iterations: int,
    start: Factors | None,
    seed: int,
    spectrum: Spectrum | None,
) -> Fit:
    values = matrices(a).values
    *batch, m, n = values.shape
    rank = whole_number(rank, "rank", 0, min(m, n))
    tol = positive_number(tol, "tol", zero=True)
    max_iterations = whole_number(max_iterations, "max_iterations", 1)
    seed = whole_number(seed, "seed", 0)
    spectrum = own_spectrum(values, spectrum)
    start = Factors(np.zeros((*batch, m, 0)), np.zeros((*batch, 0, n))) if start is None else start
    b0, c0 = fitting(values, start, "start")
    whole_number(start.rank, "start.rank", 0, rank)

    norms, tails = frobenius(values), eckart_young_error(spectrum, rank, relative=True) ** 2
    b, c = np.empty((*batch, m, rank)), np.empty((*batch, rank, n))
    iterations, stopped = np.empty(batch, int), np.empty(batch, "U10")
    histories: list[list[float]] = []
    for i in np.ndindex(*batch):
        norm = norms[i] or 1.0
        problem = values[i] / norm, rank, b0[i] / norm, c0[i], np.random.default_rng(seed)
        b[i], c[i], history, stopped[i] = alternating.run(steps(*problem), problem[0], tails[i], tol, max_iterations)
        b[i] *= norm
        iterations[i] = len(history) // 2
        histories.append(history)
    errors = np.full((len(histories), max(map(len, histories), default=0)), np.nan)
    for row, history in zip(errors, histories, strict=True):
        row[: len(history)] = history
    factors = Factors(b, c)
    return Fit(
        factors,
        certify(values, factors, spectrum=spectrum),
        errors.reshape(*batch, errors.shape[1]),
        iterations[()],
        stopped[()],
    )
