"""Shared Hypothesis strategies: matrices of known rank, float matrices, and the containers they come in.

Everything here draws NumPy arrays; `containers()` draws how to hand them over (NumPy or torch, float32 or float64).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


@dataclass(frozen=True)
class Container:
    """How an array is handed over: `Container("torch", "float32")(array)`."""

    library: str  # "numpy" or "torch"
    dtype: str  # "float32" or "float64"

    @property
    def eps(self) -> float:
        return float(np.finfo(self.dtype).eps)

    def __call__(self, array: np.ndarray) -> Any:
        array = np.array(array, dtype=self.dtype)
        if self.library == "numpy":
            return array
        import torch

        return torch.from_numpy(array)


CONTAINERS = [Container(library, dtype) for library in ("numpy", "torch") for dtype in ("float64", "float32")]


def containers() -> st.SearchStrategy[Container]:
    return st.sampled_from(CONTAINERS)


def to_numpy(a: Any) -> np.ndarray:
    """An array or tensor as NumPy, dtype kept."""
    return a.detach().cpu().numpy() if hasattr(a, "detach") else np.asarray(a)


@st.composite
def shapes(draw: st.DrawFn, min_side: int = 1, max_side: int = 10) -> tuple[int, int]:
    """(m, n): square, wide and tall; empty ones where min_side is 0."""
    side = st.integers(min_side, max_side)
    m = draw(side)
    return draw(st.sampled_from([(m, m), (m, draw(side)), (draw(side), m)]))


def batch_shapes(max_dims: int = 2, max_side: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    """Leading axes: none, one or two, sometimes of length zero."""
    return st.lists(st.integers(0, max_side), max_size=max_dims).map(tuple)


class KnownRank(NamedTuple):
    matrix: np.ndarray  # (m, n) int64
    rank: int


@st.composite
def known_rank_matrices(
    draw: st.DrawFn,
    shape: tuple[int, int] | None = None,
    rank: int | None = None,
    min_side: int = 1,
    max_side: int = 8,
    bound: int = 2,
) -> KnownRank:
    """P·[I_r 0; 0 0]·Q with P and Q unit triangular of small integers, rows and columns shuffled: rank r exactly.

    (An integer B·C only has rank ≤ r.) Entries of P and Q lie within ±bound, so the product's stay within r·bound².
    """
    m, n = shape or draw(shapes(min_side, max_side))
    r = draw(st.integers(0, min(m, n))) if rank is None else rank
    entries = st.integers(-bound, bound)
    p = np.tril(draw(hnp.arrays(np.int64, (m, r), elements=entries)), -1) + np.eye(m, r, dtype=np.int64)
    q = np.triu(draw(hnp.arrays(np.int64, (r, n), elements=entries)), 1) + np.eye(r, n, dtype=np.int64)
    rows = draw(st.permutations(range(m)))
    columns = draw(st.permutations(range(n)))
    return KnownRank((p @ q)[np.ix_(rows, columns)], r)


def integer_matrices(min_side: int = 1, max_side: int = 8, bound: int = 3) -> st.SearchStrategy[np.ndarray]:
    """(m, n) int64, often singular because the entries are few."""
    return shapes(min_side, max_side).flatmap(
        lambda shape: hnp.arrays(np.int64, shape, elements=st.integers(-bound, bound))
    )


def float_matrices(
    min_side: int = 1,
    max_side: int = 8,
    bound: float = 1e3,
    shape: tuple[int, int] | None = None,
    batch: tuple[int, ...] = (),
) -> st.SearchStrategy[np.ndarray]:
    """(*batch, m, n) float64, entries exact in float32, zero or of magnitude within [1e-3, bound]."""
    magnitude = st.floats(float(np.float32(1e-3)), float(np.float32(bound)), width=32)
    entries = st.one_of(st.just(0.0), magnitude, magnitude.map(lambda x: -x))
    sides = shapes(min_side, max_side) if shape is None else st.just(shape)
    return sides.flatmap(lambda s: hnp.arrays(np.float64, (*batch, *s), elements=entries))


def orthogonal(n: int, rng: np.random.Generator) -> np.ndarray:
    """A Haar-distributed orthogonal (n, n) matrix (Mezzadri 2007: QR with the signs of R's diagonal taken out)."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.where(np.diagonal(r) < 0, -1.0, 1.0)


def with_spectrum(singular_values: Any, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """U·diag(σ)·Vᵀ with Haar U and V: (m, n) float64 with the given singular values (missing ones are 0)."""
    s = np.asarray(singular_values, dtype=np.float64)
    m, n = shape
    return (orthogonal(m, rng)[:, : len(s)] * s) @ orthogonal(n, rng)[:, : len(s)].T


class KnownSpectrum(NamedTuple):
    matrix: np.ndarray  # (m, n) float64
    singular_values: np.ndarray  # (min(m, n),) descending


@st.composite
def known_spectra(draw: st.DrawFn, min_side: int = 1, max_side: int = 10, ratio: float = 1e3) -> KnownSpectrum:
    """A matrix with Haar singular vectors and chosen singular values: positive ones within `ratio`, then zeros."""
    m, n = draw(shapes(min_side, max_side))
    r = draw(st.integers(0, min(m, n)))
    s = np.array(draw(st.lists(st.floats(1 / ratio, 1.0), min_size=r, max_size=r)))
    s = np.concatenate([np.sort(s)[::-1], np.zeros(min(m, n) - r)])
    return KnownSpectrum(with_spectrum(s, (m, n), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))), s)


def scales() -> st.SearchStrategy[float]:
    """Powers of two, which scale every entry without rounding."""
    return st.integers(-30, 30).map(lambda k: 2.0**k)


def rational_rank(matrix: Any) -> int:
    """Gaussian elimination over the rationals: the oracle. (m, n) integers or floats, slow."""
    rows = [[Fraction(x) for x in row] for row in np.asarray(matrix).tolist()]
    rank = 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((i for i in range(rank, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        for i in range(rank + 1, len(rows)):
            factor = rows[i][column] / rows[rank][column]
            rows[i] = [x - factor * y for x, y in zip(rows[i], rows[rank], strict=True)]
        rank += 1
    return rank
