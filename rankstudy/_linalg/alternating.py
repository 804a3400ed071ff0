"""The alternating methods for ‖A − BC‖_F on one matrix of norm 1: each yields what its half-steps explain of ‖A‖².

They know nothing of batches, certificates or scales: `rankstudy.factorization` is the public side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from rankstudy._linalg.arrays import FLOAT64_EPS

# Per iteration: ‖A‖² − ‖A − BC‖² after the update of B and after that of C, and a call that gives (B, C).
Steps = Iterator[tuple[float, float, Callable[[], tuple[np.ndarray, np.ndarray]]]]


def run(
    steps: Steps, a: np.ndarray, tail: float, tol: float, max_iterations: int
) -> tuple[np.ndarray, np.ndarray, list[float], str]:
    """Iterate until the squared error is within `tol` of `tail`, or stands still, or `max_iterations` are done.

    Returns:
        b (m, rank), c (rank, n), the error after each half-step, and why it stopped.
    """
    total = float(np.vdot(a, a))
    rounding = max(a.shape) * FLOAT64_EPS  # of the sums behind a squared error: less than this is no progress
    squared: list[float] = []
    while True:
        after_b, after_c, factors = next(steps)
        squared += [total - after_b, total - after_c]
        if squared[-1] - tail <= tol:
            stopped = "tolerance"
        elif len(squared) > 2 and squared[-3] - squared[-1] <= rounding:
            stopped = "stationary"
        elif len(squared) == 2 * max_iterations:
            stopped = "iterations"
        else:
            continue
        return *factors(), [max(x, 0.0) ** 0.5 for x in squared], stopped


def least_squares(
    a: np.ndarray, rank: int, b: np.ndarray, c: np.ndarray, rng: np.random.Generator, columns: int
) -> Steps:
    """The best B for this C, then the best C for this B, of which the best part of rank `rank` counts.

    The factor just found is replaced by an orthonormal basis of its column space (QR), which leaves the next product as
    it is; its least-squares problem is then solved by one product, B = A·Q or C = Qᵀ·A, and no condition number is
    squared. So it is subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4).

    Args:
        a: (m, n); b: (m, k) and c: (k, n) with k ≤ rank, to go on from. Only c is used.
        columns: of the basis, rank or more, as far as min(m, n) allows.
    """
    columns = min(columns, *a.shape)
    q = np.linalg.qr(np.concatenate([c, rng.standard_normal((columns - len(c), a.shape[1]))]).T)[0]  # (n, columns)
    while True:
        basis, triangle = np.linalg.qr(a @ q)  # (m, columns), (columns, columns)
        after_b = _best_part(triangle, rank)
        q, triangle = np.linalg.qr(a.T @ basis)
        yield after_b, _best_part(triangle, rank), partial(_cut, basis, triangle.T @ q.T, rank)


def _best_part(triangle: np.ndarray, rank: int) -> float:
    """Sum of the `rank` largest squared singular values."""
    excess = len(triangle) - rank
    return float((np.linalg.eigvalsh(triangle @ triangle.T)[excess:] if excess > 0 else triangle**2).sum())


def _cut(basis: np.ndarray, c: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The best part of rank `rank` of basis·c, basis orthonormal."""
    if len(c) <= rank:
        return basis, c
    u = np.linalg.svd(c, full_matrices=False)[0][:, :rank]
    return basis @ u, u.T @ c


def gradient(a: np.ndarray, rank: int, b: np.ndarray, c: np.ndarray, rng: np.random.Generator) -> Steps:
    """Gradient descent, alternately in B and in C, by exact steps.

    Along the gradient G = (A − BC)·Cᵀ the squared error is a parabola with its minimum at ‖G‖²/‖GC‖².

    Args:
        a: (m, n); b: (m, k) and c: (k, n) with k ≤ rank, to go on from.
    """
    b, c = _balanced(b, c)
    fresh = rng.standard_normal((rank - len(c), a.shape[1]))
    fresh /= np.linalg.norm(fresh, axis=1, keepdims=True)
    fresh = _balanced((a - b @ c) @ fresh.T, fresh)[1]  # as large as suits the columns of b that will go with them
    b = np.concatenate([b, np.zeros((len(a), len(fresh)))], axis=1)  # the product stays as it is
    c = np.concatenate([c, fresh])
    while True:
        b, after_b = _exact_step(b, a @ c.T, c @ c.T)
        ct, after_c = _exact_step(c.T, a.T @ b, b.T @ b)
        c = ct.T
        yield after_b, after_c, lambda b=b, c=c: (b, c)


def _balanced(b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each column of b and row of c scaled to one norm, for the steps' condition; the product stays as it is."""
    columns, rows = np.linalg.norm(b, axis=0), np.linalg.norm(c, axis=1)
    used = (columns > 0) & (rows > 0)
    scale = np.sqrt(np.divide(rows, columns, out=np.ones(len(rows)), where=used))
    return b * scale, c / scale[:, None]


def _exact_step(x: np.ndarray, target: np.ndarray, gram: np.ndarray) -> tuple[np.ndarray, float]:
    """One step down ‖A − x·C‖² from x, given target = A·Cᵀ and gram = C·Cᵀ; the new x and ‖A‖² − ‖A − x·C‖²."""
    descent = target - x @ gram  # half the negative gradient
    curvature = np.vdot(descent @ gram, descent)  # ‖descent·C‖²
    if curvature > 0:
        x = x + descent * (np.vdot(descent, descent) / curvature)
    return x, float(2 * np.vdot(target, x) - np.vdot(x.T @ x, gram))
