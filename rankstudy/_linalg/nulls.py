"""What noise alone would show: the Marchenko–Pastur law, and simulated copies of a matrix without its structure.

The public names are `rankstudy.spectrum`'s.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import Any, Literal

import numpy as np
from scipy.integrate import quad
from scipy.linalg import eigh
from scipy.optimize import brentq

from rankstudy._linalg.arrays import matrices, non_negative, positive_number, whole_number


def marchenko_pastur_edge(shape: tuple[int, int], std: Any) -> np.ndarray:
    """std·(√m + √n): the limit of the largest singular value of an m×n matrix of independent entries, mean 0.

    Marchenko & Pastur 1967; that σ₁ converges to it: Yin, Bai & Krishnaiah 1988. The largest singular value of a
    finite matrix fluctuates about it by some std·min(m, n)^(-1/6): see `null_quantile` for a test.

    Args:
        shape: (m, n).
        std: standard deviation of the entries, a number or one per matrix (...,).

    Raises:
        ValueError: a side that is no whole number ≥ 0; std not finite numbers ≥ 0.

    >>> float(marchenko_pastur_edge((100, 400), 0.5))
    15.0
    """
    m, n = sides(shape)
    return non_negative(std, "std") * (np.sqrt(m) + np.sqrt(n))


@lru_cache
def marchenko_pastur_median(ratio: float) -> float:
    """Median of the squared singular values of an m×n matrix of unit variance, divided by n ≥ m, as m/n → `ratio`.

    The law lives on (1 ± √ratio)². With x = 1 + ratio − 2√ratio·cos t its density becomes smooth in t ∈ (0, π), also
    where the matrix is square and the law itself is unbounded at 0.
    """

    def x(t: float) -> float:
        return 1 + ratio - 2 * np.sqrt(ratio) * np.cos(t)

    def excess(t: float) -> float:
        return quad(lambda u: 2 / np.pi * np.sin(u) ** 2 / x(u), 0, t)[0] - 0.5

    # the median's t is 0.83 at ratio 1 and grows to π/2; at t = 0 a square matrix would have 0/0
    return float(x(brentq(excess, 0.5, np.pi)))


def null_largest(a: Any, null: Literal["signs", "shuffle"], *, draws: int = 99, seed: int = 0) -> np.ndarray:
    """Largest singular values of random copies of `a` without its structure: (..., draws), ascending.

    Args:
        a: (..., m, n).
        null: "signs": every entry keeps its magnitude and draws its sign, so the variance profile stays and a mean
            goes. "shuffle": the entries less their mean, in random order (a mean would be an outlier of its own).
        draws: how many copies. All matrices of a batch use the same signs or the same order, so that a batch gives
            what each of its matrices gives alone.
        seed: of the draws.

    Raises:
        ValueError: `a` is not finite real matrices, unknown null, fewer than 1 draw, negative seed.

    >>> null_largest(np.ones((20, 10)), "signs", draws=5).shape
    (5,)
    """
    values = matrices(a).values
    if null not in ("signs", "shuffle"):
        raise ValueError(f'null must be "signs" or "shuffle"; found {null!r}')
    draws = whole_number(draws, "draws", 1)
    rng = np.random.default_rng(whole_number(seed, "seed", 0))
    m, n = values.shape[-2:]
    if m * n == 0:
        return np.zeros((*values.shape[:-2], draws))
    if null == "shuffle":
        values = values - values.mean((-2, -1), keepdims=True)
    entries = values.reshape(-1, m * n)
    largest = np.empty((len(entries), draws))
    for draw in range(draws):
        if null == "signs":
            copies = entries * rng.choice((-1.0, 1.0), size=m * n)
        else:
            copies = entries[:, rng.permutation(m * n)]
        largest[:, draw] = [_largest_singular_value(copy.reshape(m, n)) for copy in copies]
    return np.sort(largest, axis=-1).reshape(*values.shape[:-2], draws)


def _largest_singular_value(a: np.ndarray) -> float:
    """σ₁ of (m, n) as the root of the largest eigenvalue of the smaller Gram matrix.

    Squaring costs small singular values their digits, never the largest; one eigenvalue is several times cheaper than
    an SVD.
    """
    peak = np.abs(a).max()
    if peak == 0:
        return 0.0
    a = (a if a.shape[0] <= a.shape[1] else a.T) / peak
    last = len(a) - 1
    return float(peak * np.sqrt(eigh(a @ a.T, eigvals_only=True, subset_by_index=(last, last))[0]))


def null_quantile(
    a: Any, null: Literal["signs", "shuffle"], *, level: float = 0.99, draws: int = 99, seed: int = 0
) -> np.ndarray:
    """`level` quantile of the null's largest singular value (...,), to count the singular values above it.

    It is the ⌈level·(draws + 1)⌉-th smallest of the draws, so independent symmetric entries exceed it with probability
    1 − level or less at any size, by "signs" ("shuffle": exchangeable ones, once centred): Barnard's Monte Carlo test.
    99 draws are the fewest that reach 0.99.

    Raises:
        ValueError: as `null_largest`; level outside (0, 1) or too high for so few draws.

    >>> bool(np.linalg.norm(np.ones((20, 10)), 2) > null_quantile(np.ones((20, 10)), "signs"))  # more than chance makes
    True
    """
    draws = whole_number(draws, "draws", 1)
    position = ceil(round(positive_number(level, "level") * (draws + 1), 9))  # rounding is no reason for one more
    if position > draws:
        raise ValueError(f"level must be at most draws/(draws + 1) = {draws / (draws + 1):.4g}; found {level!r}")
    return null_largest(a, null, draws=draws, seed=seed)[..., position - 1]


def sides(shape: Any) -> tuple[int, int]:
    """(m, n) as two whole numbers ≥ 0."""
    try:
        m, n = shape
    except (TypeError, ValueError):
        raise ValueError(f"shape must be two sides (m, n); found {shape!r}") from None
    return whole_number(m, "shape", 0), whole_number(n, "shape", 0)
