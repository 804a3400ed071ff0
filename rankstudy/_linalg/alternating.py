"""The alternating methods for ‖A − BC‖_F on one matrix of norm 1: each yields what its half-steps explain of ‖A‖².

They know nothing of batches, certificates or scales: `rankstudy.factorization` is the public side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np

from rankstudy._linalg.arrays import FLOAT64_EPS, frobenius

# Per iteration: ‖A‖² − ‖A − BC‖² after the update of B and after that of C, and a call that gives (B, C).
Steps = Iterator[tuple[float, float, Callable[[], tuple[np.ndarray, np.ndarray]]]]

_SMALL_TAIL = 1e-3  # an error about as small is lost in ‖A‖² − ‖BC‖²: below this A − BC is formed
_REDUCTION = 0.1  # of the gradient's norm, at which an update by conjugate gradients ends


def run(
    steps: Steps, a: np.ndarray, tail: float, tol: float, max_iterations: int
) -> tuple[np.ndarray, np.ndarray, list[float], str]:
    """Iterate until the error is within `tol` of `tail`, or stands still, or `max_iterations` are done.

    Args:
        tail: the least possible error; tol: by what share of it the error may exceed it, rounding aside.

    Returns:
        b (m, rank), c (rank, n), the error after each half-step, and why it stopped.
    """
    total = float(np.vdot(a, a))
    rounding = max(a.shape) * FLOAT64_EPS  # of the sums behind a squared error: less than this is no progress
    small = tail < _SMALL_TAIL
    errors: list[float] = []
    while True:
        *explained, factors = next(steps)
        errors += [max(total - each, 0.0) ** 0.5 for each in explained]
        if small:
            b, c = factors()
            errors[-1] = float(np.linalg.norm(a - b @ c))
            errors[-2] = min([max(errors[-2:]), *errors[-3:-2]])  # lies between its neighbours
        stands_still = len(errors) > 2 and errors[-3] ** 2 - errors[-1] ** 2 <= rounding * (
            errors[-1] ** 2 if small else total
        )
        # entries of B and C, and sums of their products, are right to eps: so is B·C to rounding times ‖B‖‖C‖
        # (Higham 2002, §3.5), which is more than ‖A‖ where factors are ill-conditioned and cancel
        size = frobenius(b) * frobenius(c) if small and stands_still else 1.0
        if errors[-1] <= (1 + tol) * tail + 10 * rounding * max(size, 1.0):
            stopped = "tolerance"
        elif stands_still:
            stopped = "stationary"
        elif len(errors) == 2 * max_iterations:
            stopped = "iterations"
        else:
            continue
        return *factors(), errors, stopped


def alternate(a: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, ...]:
    """One iteration of least squares: the best B for C = Qᵀ, then the best C for that B.

    With orthonormal columns in Q the first is B = A·Q. An orthonormal basis P of its columns (QR) makes the next one as
    easy, C = Pᵀ·A, and leaves the product as it is. So nothing is inverted, no condition number is squared, and it is
    subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4).

    Args:
        a: (m, n); q: (n, k), orthonormal columns.

    Returns:
        p (m, k) and the triangle of B = P·triangle; then q (n, k) and the triangle of C = (Q·triangle)ᵀ.
    """
    p, b_triangle = np.linalg.qr(a @ q)
    q, c_triangle = np.linalg.qr(a.T @ p)
    return p, b_triangle, q, c_triangle


def least_squares(
    a: np.ndarray, rank: int, b: np.ndarray, c: np.ndarray, rng: np.random.Generator, columns: int
) -> Steps:
    """`alternate`, of which the best part of rank `rank` counts (Rayleigh–Ritz).

    With more columns than the rank, C also spans what it spanned the iteration before (but for the random start): block
    Krylov iteration, restarted (Musco & Musco 2015), which comes within a share ε of the best error in the order of
    1/√ε iterations where subspace iteration needs 1/ε, whatever the gaps. No error grows: C spans the best rows so far.

    Args:
        a: (m, n); b: (m, k) and c: (k, n) with k ≤ rank, to go on from. Only c is used.
        columns: of the basis, rank or more, as far as min(m, n) allows; rank: the textbook's alternation.
    """
    columns = min(columns, *a.shape)
    q = np.linalg.qr(np.concatenate([c, rng.standard_normal((columns - len(c), a.shape[1]))]).T)[0]  # (n, columns)
    before = q[:, :0]
    for iteration in count():
        space = np.linalg.qr(np.concatenate([q, before], axis=1))[0] if before.size else q
        p, b_triangle, right, c_triangle = alternate(a, space)
        u, s, vt = np.linalg.svd(c_triangle.T)

        def factors(p=p, u=u, s=s, vt=vt, right=right) -> tuple[np.ndarray, np.ndarray]:
            return p @ u[:, :rank], (s[:rank, None] * vt[:rank]) @ right.T

        yield _best_part(b_triangle, rank), float((s[:rank] ** 2).sum()), factors
        if columns > rank and iteration:
            before = q
        q = (right @ vt.T)[:, :columns]


def _best_part(triangle: np.ndarray, rank: int) -> float:
    """Sum of the `rank` largest squared singular values."""
    excess = max(min(triangle.shape) - rank, 0)
    return float(np.linalg.eigvalsh(triangle @ triangle.T)[excess:].sum())


def gradient(a: np.ndarray, rank: int, b: np.ndarray, c: np.ndarray, rng: np.random.Generator, steps: int) -> Steps:
    """Gradient steps, alternately in B and in C, which start balanced.

    Args:
        a: (m, n); b: (m, k) and c: (k, n) with k ≤ rank, to go on from.
        steps: of an update, at most; see `descend`.
    """
    b, c = _balanced(b, c)
    fresh = rng.standard_normal((rank - len(c), a.shape[1]))
    fresh /= frobenius(fresh, 1)[:, None]
    fresh = _balanced((a - b @ c) @ fresh.T, fresh)[1]  # as large as suits the columns of b that will go with them
    b = np.concatenate([b, np.zeros((len(a), len(fresh)))], axis=1)  # the product stays as it is
    c = np.concatenate([c, fresh])
    nearly = (1 - _SMALL_TAIL**2) * float(np.vdot(a, a))
    after_c = 0.0
    while True:
        near = after_c >= nearly
        b, after_b = descend(b, *_normal(a, b, c, near), steps)
        ct, after_c = descend(c.T, *_normal(a.T, c.T, b.T, near), steps)
        c = ct.T
        yield after_b, after_c, lambda b=b, c=c: (b, c)


def _normal(a: np.ndarray, x: np.ndarray, c: np.ndarray, near: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half the negative gradient (A − x·C)·Cᵀ of ‖A − x·C‖², A·Cᵀ and C·Cᵀ.

    As A·Cᵀ − x·(C·Cᵀ) it is cheaper, and all rounding of a product where x·C is `near` A: an error of eps·‖x‖‖C‖² in
    it moves x·C by κ(C) times as much as rounding must. So there A − x·C is formed (iterative refinement).
    """
    target, gram = a @ c.T, c @ c.T
    return (a - x @ c) @ c.T if near else target - x @ gram, target, gram


def _balanced(b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each column of b and row of c scaled to one norm, for the steps' condition; the product stays as it is."""
    columns, rows = frobenius(b, 0), frobenius(c, 1)
    used = (columns > 0) & (rows > 0)
    scale = np.sqrt(np.divide(rows, columns, out=np.ones(len(rows)), where=used))
    return b * scale, c / scale[:, None]


def descend(
    x: np.ndarray, rest: np.ndarray, target: np.ndarray, gram: np.ndarray, steps: int
) -> tuple[np.ndarray, float]:
    """Down ‖A − x·C‖² from x, given `_normal`'s three; the new x and ‖A‖² − ‖A − x·C‖².

    The first step goes along the gradient, exactly as long as is best: the error is a parabola there. Each further one
    is turned so as not to undo those before it (conjugate gradients; Hestenes & Stiefel 1952), until the gradient is a
    tenth of what it was.
    """
    way, size = rest, float(np.vdot(rest, rest))
    enough = _REDUCTION**2 * size
    for _ in range(steps):
        bend = way @ gram
        curvature = float(np.vdot(bend, way))  # ‖way·C‖²
        if not curvature > 0:
            break
        length = size / curvature
        x, rest = x + length * way, rest - length * bend
        before, size = size, float(np.vdot(rest, rest))
        if size <= enough:
            break
        way = rest + (size / before) * way
    return x, float(2 * np.vdot(target, x) - np.vdot(x.T @ x, gram))
