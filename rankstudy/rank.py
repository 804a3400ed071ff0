"""The rank of a matrix: the textbook elimination, and one that is right.

The numerical rank is the number of singular values > τ, τ = max(m, n)·eps·σ₁ with the eps of the dtype the matrix came
in (Golub & Van Loan, Matrix Computations, 4th ed., §5.4.1; the default of MATLAB and NumPy). `method="svd"` counts
them; `method="elimination"` finds the same count faster (`_inertia.py`). Pivots are not singular values, so elimination
that trusts its pivots, `eliminate`, gets it wrong on matrices where neither `matrix_rank` does. An integer matrix has
an exact rank (`_exact.py`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rankstudy._linalg.arrays import matrices, positive_number
from rankstudy._linalg.exact import exact_rank
from rankstudy._linalg.inertia import count_above, count_by_svd

METHODS = ("elimination", "svd")
PIVOTINGS = ("complete", "rook", "partial")


class Elimination(NamedTuple):
    """What `eliminate` found. a[rows][:, columns] has the pivots' rows and columns first."""

    rank: int  # number of pivots
    pivots: np.ndarray  # (rank,) float64, signed, in order of elimination
    rows: np.ndarray  # (m,) permutation
    columns: np.ndarray  # (n,) permutation
    growth: float  # max(|a_ij|, |u_ij|) / max|a_ij|, U the echelon form; 1 for a zero matrix
    tolerance: float  # what a pivot had to exceed


def eliminate(a: Any, *, pivoting: str = "complete", tol: float | None = None) -> Elimination:
    """Gaussian elimination to row echelon form, as the textbook has it: right in exact arithmetic.

    In floating point, noise passes for pivots, most of all with partial pivoting (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd ed., ch. 9): a 2048×2048 matrix of rank 1500 gives about 1520. The textbook knows no
    singular value, so its default tolerance is max(m, n)·eps·max|a_ij|; `tol=rank_tolerance(a)` helps, and is still not
    proof; `tol=0` keeps going and shows the noise. `matrix_rank` is the one to trust.

    Args:
        a: (m, n).
        pivoting: where the next pivot comes from. "partial": the largest entry of the next column, which is passed over
            if that is ≤ tol; "rook": an entry that is the largest of its row and column; "complete": the largest left.
        tol: what a pivot must exceed.

    Raises:
        ValueError: as `matrix_rank`; an unknown `pivoting`.
    """
    _one_of(pivoting, "pivoting", PIVOTINGS)
    values, eps, _ = matrices(a, ndim=2)
    work, scratch = values.copy(), np.empty_like(values)
    start = largest = float(np.abs(work).max(initial=0.0))
    m, n = work.shape
    tolerance = max(m, n) * eps * start if tol is None else positive_number(tol, "tol", zero=True)
    rows, columns = np.arange(m), np.arange(n)
    pivots, pivot_columns = [], []
    column = 0
    while (row := len(pivots)) < m and column < n:
        i, j = _find_pivot(work[row:, column:], pivoting)
        if not abs(work[row + i, column + j]) > tolerance:
            column = n if pivoting == "complete" else column + 1
            continue
        for array, place, other in ((work, row, row + i), (rows, row, row + i), (columns, column, column + j)):
            array[[place, other]] = array[[other, place]]
        work[:, [column, column + j]] = work[:, [column + j, column]]
        largest = max(largest, float(np.abs(work[row, column:]).max()))
        pivots.append(work[row, column])
        pivot_columns.append(column)
        rest, update = work[row + 1 :, column + 1 :], scratch[row + 1 :, column + 1 :]
        multipliers = work[row + 1 :, column] / pivots[-1]
        rest -= np.multiply(multipliers[:, None], work[row, column + 1 :], out=update)
        column += 1
    others = np.setdiff1d(np.arange(n), pivot_columns)
    columns = columns[np.concatenate([pivot_columns, others]).astype(np.intp)]
    return Elimination(len(pivots), np.array(pivots), rows, columns, largest / start if start else 1.0, tolerance)


def _find_pivot(rest: np.ndarray, pivoting: str) -> tuple[int, int]:
    """Row and column, within (m', n') `rest`, of the next pivot."""
    if pivoting == "complete":
        return divmod(int(np.abs(rest).argmax()), rest.shape[1])
    i, j = int(np.abs(rest[:, 0]).argmax()), 0
    while pivoting == "rook":
        best = int(np.abs(rest[i]).argmax())
        if not abs(rest[i, best]) > abs(rest[i, j]):
            break
        j = best
        best = int(np.abs(rest[:, j]).argmax())
        if not abs(rest[best, j]) > abs(rest[i, j]):
            break
        i = best
    return i, j


def rank_tolerance(a: Any) -> Any:
    """τ = max(m, n)·eps·σ₁ of each matrix, eps of the dtype `a` came in: the one home of the rank tolerance.

    Args:
        a: (..., m, n).

    Returns:
        A float for one matrix, else a (...,) float64 array, in the units of `a`; 0 where m or n is 0.

    Raises:
        ValueError: as `matrix_rank`.
    """
    values, eps, _ = matrices(a)
    values, exponents = _scaled(values)
    norms = np.linalg.norm(values, 2, axis=(-2, -1)) if values.size else np.zeros(values.shape[:-2])
    tolerance = np.ldexp(_relative_tolerance(values.shape, eps) * norms, exponents)
    return float(tolerance) if values.ndim == 2 else tolerance


def matrix_rank(a: Any, *, method: str = "elimination", tol: float | None = None) -> Any:
    """The number of singular values > tol of each matrix; of an integer matrix, by default, the exact rank.

    Args:
        a: (..., m, n) NumPy array, torch tensor on any device, or nested list.
        method: "elimination", or "svd", the reference.
        tol: absolute; None: `rank_tolerance(a)`. Below that of float64, rounding decides, and the SVD is used.

    Returns:
        An int for one matrix, else a (...,) int64 NumPy array.

    Raises:
        ValueError: NaN, infinite, complex or otherwise non-real entries, fewer than two axes, an unknown `method`, a
            negative `tol`; the message names the argument and what was found.
    """
    values, eps, integers = matrices(a)
    _one_of(method, "method", METHODS)
    absolute = None if tol is None else positive_number(tol, "tol", zero=True)
    m, n = values.shape[-2:]
    if values.size == 0:
        ranks = np.zeros(values.shape[:-2], dtype=np.int64)
    elif method == "elimination" and integers is not None and tol is None:
        ranks = exact_rank(integers)
    else:
        values, exponents = _scaled(values)
        unit = _relative_tolerance(values.shape, eps)
        with np.errstate(over="ignore"):  # entries are ≤ 1 now, so m·n is as good as anything above it
            limits = None if absolute is None else np.minimum(np.ldexp(absolute, -exponents), m * n)
        count = count_by_svd if method == "svd" else count_above
        ranks = count(values, unit, limits)
    return int(ranks) if values.ndim == 2 else ranks


def _one_of(value: Any, name: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; found {value!r}")


def _relative_tolerance(shape: tuple[int, ...], eps: float) -> float:
    """τ/σ₁."""
    return max(shape[-2:]) * eps


def _scaled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`values` over a power of two per matrix, exactly, so that the largest entry lies in [½, 1); and the exponents."""
    exponents = np.frexp(np.abs(values).max(axis=(-2, -1), initial=0.0))[1]
    return np.ldexp(values, -exponents[..., None, None]), exponents
