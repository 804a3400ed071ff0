"""The rank of a matrix: the textbook elimination, and one that is right.

The numerical rank is the number of singular values > τ, τ = max(m, n)·eps·σ₁ with the eps of the dtype the matrix came
in (Golub & Van Loan, Matrix Computations, 4th ed., §5.4.1; the default of MATLAB and NumPy). In formats coarser than
float32 that τ soon exceeds σ₁ (in bfloat16 from 128 rows on), and what rounding the entries can make of the singular
values takes its place (`rounding_floor`).

`method="svd"` counts them; `method="elimination"` finds the same count faster (`_linalg/inertia.py`). Pivots are not
singular values, so elimination that trusts its pivots, `eliminate`, gets it wrong on matrices where neither
`matrix_rank` does; `pivots` is its shortest form. An integer matrix has an exact rank (`_linalg/exact.py`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rankstudy._linalg.arrays import matrices, non_negative, positive_number, scaled
from rankstudy._linalg.exact import exact_rank
from rankstudy._linalg.inertia import count_above, count_by_svd
from rankstudy._linalg.rounding import is_coarse, rounding_floor, rounding_norm

__all__ = [
    "Elimination", "eliminate", "matrix_rank", "pivots", "rank_tolerance", "relative_tolerance", "rounding_floor",
    "rounding_norm",
]  # fmt: skip

METHODS = ("elimination", "svd")
PIVOTINGS = ("complete", "rook", "partial")


class Elimination(NamedTuple):
    """What `eliminate` found: `.rank`, and the signed `.pivots` that it counts, larger than `.tolerance`.

    a[rows][:, columns] has the pivots' rows and columns first; `.growth` is the largest number on the way over the
    largest of a.
    """

    rank: int  # number of pivots
    pivots: np.ndarray  # (rank,) float64, signed, in order of elimination
    rows: np.ndarray  # (m,) permutation
    columns: np.ndarray  # (n,) permutation
    growth: float  # max(|a_ij|, |u_ij|) / max|a_ij|, U the echelon form; 1 for a zero matrix
    tolerance: float  # what a pivot had to exceed


def pivots(a: Any, tol: float | None = None) -> np.ndarray:
    """The pivots above `tol` of Gaussian elimination with complete pivoting, in order: as many as the rank.

    The whole method on one screen. `tol` is `rank_tolerance(a)` if nothing is said; 0 counts what rounding leaves
    behind as well. `eliminate` finds the same numbers bit for bit, several times faster, and tells where they came
    from.

    >>> pivots([[1, 2], [2, 4]]).tolist()
    [4.0]
    """
    u, found = matrices(a, ndim=2).values.copy(), []
    tol = rank_tolerance(a) if tol is None else tol
    while u.size:
        # the largest entry that is left
        i, j = divmod(int(np.abs(u).argmax()), u.shape[1])
        if abs(u[i, j]) <= tol:
            break
        u[[0, i]] = u[[i, 0]]
        u[:, [0, j]] = u[:, [j, 0]]
        found.append(u[0, 0])
        u = u[1:, 1:] - np.outer(u[1:, 0] / u[0, 0], u[0, 1:])
    return np.array(found)


def eliminate(a: Any, *, pivoting: str = "complete", tol: float | None = None) -> Elimination:
    """Gaussian elimination to row echelon form, as the textbook has it: right in exact arithmetic.

    In floating point, noise passes for pivots, most of all with partial pivoting (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd ed., ch. 9): a 2048×2048 matrix of rank 1500 gives about 1520. The textbook knows no
    singular value, so its default tolerance is max(m, n)·eps·max|a_ij| (of formats coarser than float32, where that
    says nothing, `rounding_floor`); `tol=rank_tolerance(a)` helps, and is still not proof; `tol=0` keeps going and
    shows the noise. `matrix_rank` is the one to trust.

    Args:
        a: (m, n).
        pivoting: where the next pivot comes from. "partial": the largest entry of the next column, which is passed over
            if that is ≤ tol; "rook": an entry that is the largest of its row and column; "complete": the largest left.
        tol: what a pivot must exceed.

    Raises:
        ValueError: as `matrix_rank`; an unknown `pivoting`.

    >>> found = eliminate([[0, 2], [2, 3], [3, 6]])
    >>> found.rank, found.pivots.tolist(), found.rows.tolist(), found.columns.tolist()
    (2, [6.0, -1.0], [2, 0, 1], [1, 0])
    """
    _one_of(pivoting, "pivoting", PIVOTINGS)
    checked = matrices(a, ndim=2)
    work, exponent = scaled(checked.values)
    scratch = np.empty_like(work)
    start = largest = float(np.abs(work).max(initial=0.0))
    m, n = work.shape
    if tol is None and is_coarse(checked.eps):
        tolerance = np.ldexp(rounding_floor(a), -exponent)
    elif tol is None:
        tolerance = max(m, n) * checked.eps * start
    else:
        with np.errstate(over="ignore"):
            tolerance = np.ldexp(positive_number(tol, "tol", zero=True), -exponent)
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
    growth = largest / start if start else 1.0
    given = float(np.ldexp(tolerance, exponent)) if tol is None else float(tol)
    return Elimination(len(pivots), np.ldexp(pivots, exponent), rows, columns, growth, given)


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
    """What a singular value of each matrix must exceed to count: the one home of the rank tolerance.

    Of float64 and float32, and of integers taken as float64: τ = max(m, n)·eps·σ₁. It is a convention: about what an
    SVD *computed* in that precision may be wrong by. Of coarser formats (float16, bfloat16, float8): `rounding_floor`,
    what rounding the *entries* can make, since the linear algebra here is float64 in any case. A float64 array that
    holds numbers of another format gets float64's tolerance: then hand over `rounding_floor(a, dtype="bfloat16")`. A
    difference of two matrices in a coarse format needs `rounding_floor(w, w0)`.

    Args:
        a: (..., m, n).

    Returns:
        A float for one matrix, else a (...,) float64 array, in the units of `a`; 0 where m or n is 0.

    Raises:
        ValueError: as `matrix_rank`.

    >>> float(rank_tolerance(np.eye(100)) / np.finfo(float).eps)
    100.0
    """
    checked = matrices(a)
    if is_coarse(checked.eps):
        return rounding_floor(a)
    values, exponents = scaled(checked.values)
    norms = np.linalg.norm(values, 2, axis=(-2, -1)) if values.size else np.zeros(values.shape[:-2])
    tolerance = np.ldexp(relative_tolerance(values.shape, checked.eps) * norms, exponents)
    return float(tolerance) if values.ndim == 2 else tolerance


def matrix_rank(a: Any, *, method: str = "elimination", tol: Any = None) -> Any:
    """The number of singular values > tol of each matrix; of an integer matrix, by default, the exact rank.

    Args:
        a: (..., m, n) NumPy array, torch tensor on any device, or nested list.
        method: "elimination", or "svd", the reference.
        tol: absolute, a number or one per matrix (...,); None: `rank_tolerance(a)`. Below that of float64, rounding
            decides, and the SVD is used.

    Returns:
        An int for one matrix, else a (...,) int64 NumPy array.

    Raises:
        ValueError: NaN, infinite, complex or otherwise non-real entries, fewer than two axes, an unknown `method`, a
            negative `tol`; the message names the argument and what was found.

    >>> matrix_rank(np.ones((3, 4))), matrix_rank(np.diag([1.0, 1e-3, 0.0]), tol=0.01)
    (1, 1)
    >>> matrix_rank(np.stack([np.eye(3), np.zeros((3, 3))])).tolist()
    [3, 0]
    """
    values, eps, integers, _ = matrices(a)
    _one_of(method, "method", METHODS)
    *batch, m, n = values.shape
    absolute = None if tol is None else np.broadcast_to(non_negative(tol, "tol", tuple(batch)), batch)
    if absolute is None and is_coarse(eps):
        absolute = np.asarray(rounding_floor(a))
    if values.size == 0:
        ranks = np.zeros(values.shape[:-2], dtype=np.int64)
    elif method == "elimination" and integers is not None and tol is None:
        ranks = exact_rank(integers)
    else:
        values, exponents = scaled(values)
        unit = relative_tolerance(values.shape, eps)
        with np.errstate(over="ignore"):  # entries are ≤ 1 now, so m·n is as good as anything above it
            limits = None if absolute is None else np.minimum(np.ldexp(absolute, -exponents), m * n)
        count = count_by_svd if method == "svd" else count_above
        ranks = count(values, unit, limits)
    return int(ranks) if values.ndim == 2 else ranks


def _one_of(value: Any, name: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; found {value!r}")


def relative_tolerance(shape: tuple[int, ...], eps: float) -> float:
    """τ/σ₁ = max(m, n)·eps of (..., m, n) matrices.

    >>> relative_tolerance((300, 200), 1e-7) == 300 * 1e-7
    True
    """
    return max(shape[-2:]) * eps
