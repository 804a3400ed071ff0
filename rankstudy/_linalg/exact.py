"""The rank of an integer matrix over the rationals, with certainty.

Elimination modulo a prime p gives rank_p ≤ rank, and rank_p < rank only where p divides every minor of that order. A
minor of order r + 1 is at most the product of the r + 1 largest row norms (Hadamard), so once r = max rank_p and the
product of the primes tried exceeds that bound, some minor would have too many divisors: the rank is r.

A full-rank matrix needs one prime; a deficient one about r·log₂(row norm)/23 of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_PANEL = 64  # columns eliminated at a time: _PANEL products of residues < 2²³ add up to less than 2⁵³, exact in float64
_LARGEST = 2**23


def exact_rank(a: np.ndarray) -> np.ndarray:
    """(..., m, n) integers or booleans, m, n ≥ 1 -> (...,) int64 ranks."""
    *batch, m, n = a.shape
    stack = a.reshape(-1, m, n)
    if stack.dtype != np.uint64:  # whose upper half int64 lacks
        stack = stack.astype(np.int64)
    bounds = np.minimum(_log2_minors(stack), _log2_minors(stack.swapaxes(-1, -2)))  # (batch, min(m, n))
    ranks = np.zeros(len(stack), dtype=np.int64)
    tried = 0.0  # log2 of the product of the primes
    todo = np.arange(len(stack))
    primes = _primes()
    while len(todo):
        p = next(primes)
        ranks[todo] = np.maximum(ranks[todo], _rank_modulo(stack[todo], p))
        tried += np.log2(p)
        deficient = todo[ranks[todo] < min(m, n)]
        todo = deficient[bounds[deficient, ranks[deficient]] >= tried - 1e-6]
    return ranks.reshape(batch)


def _log2_minors(a: np.ndarray) -> np.ndarray:
    """(batch, m, n) -> (batch, min(m, n)): log2 of Hadamard's bound on minors of order 1, 2, ..."""
    norms = np.sqrt((a.astype(np.float64) ** 2).sum(axis=-1))
    largest = -np.sort(-np.log2(np.maximum(norms, 1.0)), axis=-1)
    return largest.cumsum(axis=-1)[:, : min(a.shape[-2:])]


def _primes() -> Iterator[int]:
    """Descending from 2²³; none repeats, and there are more than a matrix that fits in memory can use."""
    return filter(_is_prime, range(_LARGEST - 1, 2, -2))


def _is_prime(odd: int) -> bool:
    return all(odd % d for d in range(3, int(odd**0.5) + 1, 2))


def _rank_modulo(a: np.ndarray, p: int) -> np.ndarray:
    """(batch, m, n) integers -> (batch,) ranks modulo the prime p, by elimination in panels of columns.

    Rows are never swapped: `free` marks those that have not given a pivot. Residues are float64, so that the work is
    matrix products.
    """
    a = (a % a.dtype.type(p)).astype(np.float64)
    count, m, n = a.shape
    each = np.arange(count)
    free = np.ones((count, m), dtype=bool)
    for start in range(0, n, _PANEL):
        panel = a[:, :, start : start + _PANEL].copy()  # (batch, m, w)
        width = panel.shape[2]
        multipliers = np.zeros_like(panel)
        pivot_rows = np.zeros((count, width), dtype=np.intp)
        for j in range(width):
            candidates = free & (panel[:, :, j] != 0)
            found = candidates.any(axis=1)
            row = pivot_rows[:, j] = candidates.argmax(axis=1)
            free[each[found], row[found]] = False
            inverse = np.array([pow(int(x), -1, p) if x else 0 for x in panel[each, row, j] * found], dtype=np.float64)
            factor = _modulo(panel[:, :, j] * inverse[:, None], p)  # (batch, m)
            multipliers[:, :, j] = factor
            panel[:, :, j:] = _modulo(panel[:, :, j:] - factor[:, :, None] * panel[each, row, j:][:, None, :], p)
        if not free.any():
            break
        rest = a[:, :, start + width :]  # (batch, m, n')
        top = np.take_along_axis(rest, pivot_rows[:, :, None], axis=1)  # (batch, w, n')
        between = np.take_along_axis(multipliers, pivot_rows[:, :, None], axis=1)  # (batch, w, w)
        for i in range(1, width):
            top[:, i] = _modulo(top[:, i] - (between[:, i, None, :i] @ top[:, :i])[:, 0], p)
        rest[...] = _modulo(rest - multipliers @ top, p)
    return (~free).sum(axis=1)


def _modulo(x: np.ndarray, p: int) -> np.ndarray:
    """x modulo p within (−p, p), exactly 0 for multiples, for whole numbers |x| ≤ 2⁵³ − p; much faster than np.mod.

    The quotient may round up to a whole number, so that a residue near p comes out as one just below 0.
    """
    return x - p * np.floor(x / p)
