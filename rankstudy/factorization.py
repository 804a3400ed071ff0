"""A ≈ B·C of a given rank: the truncated SVD, the alternating methods, and how far each is from the best possible.

Design choices:
- The truncated SVD is optimal (Eckart & Young 1936), so every other method is judged against it: an alternating method
  stops when its error is within a share of the least possible one, and a certificate says how far above it stayed.
- An alternating method works on A/‖A‖_F with one matrix at a time: errors are relative from the start, each matrix
  stops when it is done, and a batch gives exactly what each of its matrices gives alone.
- Factors are float64 NumPy arrays whatever came in; nothing is inverted, no step size is tuned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankstudy._linalg import alternating
from rankstudy._linalg.arrays import frobenius, matrices, non_negative, ratio_of, scaled, whole_number
from rankstudy._linalg.bounds import (
    Certificate,
    Factors,
    break_even_rank,
    certify,
    eckart_young_error,
    fitting,
    own_spectrum,
    residual_of,
    smallest_rank,
)
from rankstudy.spectrum import Spectrum

__all__ = [
    "Certificate",
    "Factors",
    "Fit",
    "allocate",
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
    """What an alternating method found, and how.

    `.factors.b` and `.factors.c` are B and C, `.errors` is ‖A − BC‖/‖A‖ after each half-step (the last one is that of
    the factors), `.gap` how far that is above the best possible, `.iterations` and `.stopped` how it ended.
    """

    factors: Factors
    certificate: Certificate
    errors: np.ndarray  # (..., half-steps): ‖A − BC‖/‖A‖ after each half-step; NaN once a matrix of a batch has
    #                     stopped. Their squares are right to rounding times (‖B‖‖C‖/‖A‖)²; the certificate is exact.
    iterations: np.ndarray  # (...,) int: updates of B and of C
    stopped: np.ndarray  # (...,) str: "tolerance": the gap is small enough; "stationary": an iteration gained no more
    #                      than rounding; "iterations": the limit

    @property
    def gap(self) -> np.ndarray:
        """‖A − BC‖ over the least possible error, less 1: (...,); NaN where that error is zero."""
        return self.certificate.gap


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

    >>> only_first = np.array([[1.0, 0.0]])  # the second input is always zero
    >>> weighted_svd(np.diag([1.0, 9.0]), 1, only_first).product().tolist()[0]
    [1.0, 0.0]
    """
    values = matrices(a).values
    rank = whole_number(rank, "rank", 0, min(values.shape[-2:]))
    u = np.linalg.svd(values @ _triangle(inputs, values), full_matrices=False)[0][..., :rank]
    return Factors(u, np.swapaxes(u, -1, -2) @ values)


def weighted_error(a: Any, factors: Factors, inputs: Any) -> np.ndarray:
    """‖X(A − BC)ᵀ‖_F / ‖XAᵀ‖_F (...,): the relative change of a layer's outputs on the inputs X (..., N, n); 0/0 is 0.

    Raises:
        ValueError: `a` or `inputs` not finite real matrices, or shapes that do not fit.

    >>> only_first = np.array([[1.0, 0.0]])
    >>> float(weighted_error(np.diag([1.0, 9.0]), truncated_svd(np.diag([1.0, 9.0]), 1), only_first))
    1.0
    """
    values = matrices(a).values
    rt = _triangle(inputs, values)
    return ratio_of(frobenius(residual_of(values, factors) @ rt), frobenius(values @ rt))


def _triangle(inputs: Any, values: np.ndarray) -> np.ndarray:
    """Rᵀ (..., n, n) with RᵀR = XᵀX/‖X‖²: the scale of the inputs changes nothing, nor do rows of zeros."""
    x, _ = scaled(matrices(inputs, "inputs").values)
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
    oversampling: int | None = None,
    tol: Any = 1e-4,
    max_iterations: int = 1000,
    start: Factors | None = None,
    seed: int = 0,
    spectrum: Spectrum | None = None,
) -> Fit:
    """Alternately the best B for this C and the best C for this B.

    Args:
        a: (..., m, n).
        rank: within 0..min(m, n).
        oversampling: columns beyond rank that are iterated too (as far as min(m, n) allows) and cut by a small SVD, C
            then also spanning what it spanned an iteration before: block Krylov iteration in disguise, which comes
            close in a few iterations where the textbook's alternation, `oversampling=0`, needs hundreds (a flat
            spectrum, singular values that differ little). None: a quarter of the rank, 10 at least; and where that
            makes half of all columns, all of them, for then one iteration, an SVD in effect, costs less than two.
        tol: stop once ‖A − BC‖ exceeds the least possible error by this share of it or less, a number or one per matrix
            (...,). Where the least possible error is zero: once it is rounding, max(m, n)·eps·‖A‖ times ten.
        max_iterations: updates of B and of C.
        start: factors of at most this rank to go on from (the result at a smaller rank); default: random.
        seed: of the random start.
        spectrum: the singular values of `a` where they are known already; else one SVD finds them.

    Raises:
        ValueError: an argument that is not of its kind or range, `start` or `spectrum` not of this matrix.

    >>> a = np.random.default_rng(0).normal(size=(60, 40))
    >>> fit = alternating_least_squares(a, 5)
    >>> bool(fit.gap <= 1e-4), str(fit.stopped), fit.factors.b.shape, fit.factors.c.shape
    (True, 'tolerance', (60, 5), (5, 40))
    """
    beyond = None if oversampling is None else whole_number(oversampling, "oversampling", 0)

    def steps(problem: np.ndarray, rank: int, *others: Any) -> alternating.Steps:
        columns = rank + (max(10, rank // 4) if beyond is None else beyond)
        if beyond is None and 2 * columns >= min(problem.shape):
            columns = min(problem.shape)
        return alternating.least_squares(problem, rank, *others, columns)

    return _fit(steps, a, rank, tol, max_iterations, start, seed, spectrum)


def alternating_gradient(
    a: Any,
    rank: int,
    *,
    steps: int = 100,
    tol: Any = 1e-2,
    max_iterations: int = 1000,
    start: Factors | None = None,
    seed: int = 0,
    spectrum: Spectrum | None = None,
) -> Fit:
    """Gradient steps on ‖A − BC‖², alternately in B and in C, each exactly as long as is best: no learning rate.

    Args:
        steps: of an update of B or C, at most. They are conjugate, so that none undoes another, and end when the
            gradient is a tenth of what it was. 1: the textbook's single step, which gets stuck far above the least
            possible error where singular values differ much. So do many, when the rank reaches down to singular values
            below some 1e-5·σ₁: `stopped` then says "iterations".

    Other arguments and errors as `alternating_least_squares`.

    >>> fit = alternating_gradient(np.random.default_rng(0).normal(size=(60, 40)), 5)
    >>> bool(fit.gap <= 1e-2)
    True
    """
    steps = whole_number(steps, "steps", 1)

    def descent(*problem: Any) -> alternating.Steps:
        return alternating.gradient(*problem, steps)

    return _fit(descent, a, rank, tol, max_iterations, start, seed, spectrum)


def _fit(
    steps: Callable[..., alternating.Steps],
    a: Any,
    rank: int,
    tol: Any,
    max_iterations: int,
    start: Factors | None,
    seed: int,
    spectrum: Spectrum | None,
) -> Fit:
    values = matrices(a).values
    *batch, m, n = values.shape
    rank = whole_number(rank, "rank", 0, min(m, n))
    tol = np.broadcast_to(non_negative(tol, "tol", tuple(batch)), batch)
    max_iterations = whole_number(max_iterations, "max_iterations", 1)
    seed = whole_number(seed, "seed", 0)
    spectrum = own_spectrum(values, spectrum)
    start = Factors(np.zeros((*batch, m, 0)), np.zeros((*batch, 0, n))) if start is None else start
    b0, c0 = fitting(values, start, "start")
    whole_number(start.rank, "start.rank", 0, rank)

    units, exponents = scaled(values)
    norms, tails = frobenius(units), eckart_young_error(spectrum, rank, relative=True)
    b, c = np.empty((*batch, m, rank)), np.empty((*batch, rank, n))
    iterations, stopped = np.empty(batch, int), np.empty(batch, "U10")
    histories: list[list[float]] = []
    for i in np.ndindex(*batch):
        norm = norms[i] or 1.0
        problem = units[i] / norm, rank, np.ldexp(b0[i] / norm, -exponents[i]), c0[i], np.random.default_rng(seed)
        b[i], c[i], history, stopped[i] = alternating.run(steps(*problem), problem[0], tails[i], tol[i], max_iterations)
        b[i] = np.ldexp(b[i] * norm, exponents[i])
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


def allocate(
    spectra: Sequence[Spectrum], budget: int, *, weights: Sequence[float] | None = None, minimum: int = 1
) -> list[int]:
    """One rank per layer within one budget of parameters, for the least Σ weight·(relative error)².

    A further rank of an (m, n) layer costs m + n numbers and saves weight·σ²/‖A‖². Singular values fall, so the best
    bargain is taken again and again, as long as it fits; one that does not ends its layer, and smaller ones may fill
    what is left. Where all layers cost the same, no other allocation is better. Else whatever else fits leaves less by
    no more than the first bargain that did not fit would have saved: finding the very best is a knapsack problem.

    Args:
        spectra: one per layer, with the shape (m, n) of its weight: of the weights, or of A·Rᵀ (`weighted_svd`) for
            errors of the outputs.
        budget: parameters of all factors together, at most.
        weights: what a layer's squared relative error counts, ≥ 0; default 1 each. ‖A‖² for absolute errors.
        minimum: the rank that each layer has at least, as far as it has it: at rank 0 it cuts the network through.

    Raises:
        ValueError: no layer; a spectrum that is none of one matrix; weights not finite numbers ≥ 0, one a layer; a
            budget that does not pay for the minimum.

    >>> wide, narrow = Spectrum([2.0, 1.0], (2, 8)), Spectrum([2.0, 1.9], (2, 2))
    >>> allocate([wide, narrow], budget=24)
    [1, 2]
    """
    minimum = whole_number(minimum, "minimum", 0)
    for each in spectra:
        if not isinstance(each, Spectrum) or each.values.ndim != 1:
            raise ValueError(f"spectra must be one Spectrum a layer, of one matrix each; found {each!r}")
    counts = non_negative(np.ones(len(spectra)) if weights is None else weights, "weights")
    if not spectra or counts.shape != (len(spectra),):
        raise ValueError(f"spectra and weights must be one each a layer; found {len(spectra)} and {counts.shape}")
    prices = [sum(each.shape) for each in spectra]
    ranks = [min(minimum, *each.shape) for each in spectra]
    left = whole_number(budget, "budget", 0) - sum(r * price for r, price in zip(ranks, prices, strict=True))
    if left < 0:
        raise ValueError(f"budget must pay for rank {minimum} in every layer, {budget - left} numbers; found {budget}")
    offers = []
    for layer, (each, price, count) in enumerate(zip(spectra, prices, counts, strict=True)):
        savings = count * ratio_of(each.scaled**2, each.tails()[0])
        offers += [(saved / max(price, 1), layer) for saved in savings[ranks[layer] :]]
    closed = set()
    for _, layer in sorted(offers, key=lambda offer: -offer[0]):
        if layer not in closed and prices[layer] <= left:
            left -= prices[layer]
            ranks[layer] += 1
        else:
            closed.add(layer)
    return ranks
