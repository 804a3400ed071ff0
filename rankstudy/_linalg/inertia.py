"""How many singular values exceed τ, without computing them: elimination and Sylvester's law of inertia.

Pivots are not singular values, so no answer here rests on the size of a pivot.

- A float32 tolerance is coarse enough for AᵀA − τ²I in float64: its LDLᵀ has as many positive pivots as there are
  singular values > τ. That is the ordinary case, a trained layer.
- A float64 tolerance is not. First an LU of A with randomly mixed columns (signs and a cosine transform): where a
  leading block is far above τ and what is left beyond it is far below, the size of that block is the rank.
- Otherwise QR, the part far above τ eliminated, and LDLᵀ of [[−τI, Vᵀ], [V, −τI]] for the rest V.
- Up to some size LAPACK's SVD costs no more than asking first, and is asked.

Nothing is random: the mixing and the start vectors have a fixed seed.

All products go through SciPy's BLAS, not NumPy's `@`: each brings its own threads, and those of the one go on spinning
for a while after their work and take the cores from the other (measured: up to a factor 3 on two cores).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import fft
from scipy.linalg import blas, lapack, solve_triangular

from rankstudy._linalg.arrays import FLOAT64_EPS

_SEED = 0  # of the mixing and of the start vectors
_SMALL_GRAM, _SMALL_LU = 200, 384  # shorter side, and root of m·n, up to which the SVD is asked (benchmarks/rank.py)
_TALL = 4  # m/n from which QR comes first, as it does in LAPACK's SVD (measured, as above)
_BLOCK = 128  # columns a step of the QR: 10 % faster than LAPACK's own 32 from side 2048 on
_CLEAR = 30.0  # a block whose smallest singular value is above _CLEAR·τ is far above τ
_NEGLIGIBLE = 0.03  # rows of norm ≤ _NEGLIGIBLE·τ are left out
_HOPELESS = 10.0  # pivots of the rest above _HOPELESS·τ: it will not turn out far below τ (measured, as above)
_LARGEST_SOLUTION = 1e6  # ‖T‖ up to which rounding I + TᵀT leaves enough of I: eps·‖T‖² ≤ 2.3e-4

Operator = Callable[[np.ndarray], np.ndarray]


def count_above(values: np.ndarray, unit: float, limits: np.ndarray | None) -> np.ndarray:
    """(..., m, n) with entries ≤ 1 -> (...,) number of singular values > limits, or > unit·σ₁ where limits is None."""
    m, n = values.shape[-2:]
    short, long = sorted((m, n))
    size = short if long >= _TALL * short else (short * long) ** 0.5
    if short <= _SMALL_GRAM or (size <= _SMALL_LU and not _gram_suffices(unit, short)):
        return count_by_svd(values, unit, limits)
    stack = values.reshape(-1, m, n) if m >= n else values.reshape(-1, m, n).swapaxes(-1, -2)
    each = [None] * len(stack) if limits is None else limits.ravel()
    counts = [_count(x, unit, t) for x, t in zip(stack, each, strict=True)]
    return np.array(counts, dtype=np.int64).reshape(values.shape[:-2])


def _gram_suffices(ratio: float, n: int) -> bool:
    """Whether forming AᵀA in float64 moves τ² by less than 1e-3 of itself, τ = ratio·σ₁."""
    return n * FLOAT64_EPS <= 1e-3 * ratio**2


def count_by_svd(values: np.ndarray, unit: float, limits: np.ndarray | float | None) -> np.ndarray:
    """What `count_above` counts, by the definition."""
    s = np.linalg.svd(values, compute_uv=False)
    tau = unit * s[..., :1] if limits is None else np.asarray(limits)[..., None]
    return (s > tau).sum(axis=-1)


def _count(a: np.ndarray, unit: float, tau: float | None) -> int:
    """The number of singular values > τ of one (m, n) matrix, m ≥ n; `tau` None: τ = unit·σ₁."""
    m, n = a.shape
    if not a.any():
        return 0
    if tau is None and _gram_suffices(unit, n):
        return _count_by_gram(a, unit, None)
    sigma = np.sqrt(_largest_eigenvalue(_gram_of(a), n, steps=6))
    ratio = unit if tau is None else tau / sigma
    if _gram_suffices(ratio, n):
        return _count_by_gram(a, unit, tau)
    if ratio < 0.9 * max(m, n) * FLOAT64_EPS:  # finer than float64's own τ, where an LU's rounding is no longer small
        return int(count_by_svd(a, unit, tau))
    mixed = _mix_columns(_triangle(a) if m >= _TALL * n else a)
    rank = _clear_rank(mixed, ratio * sigma)
    return _count_near(mixed, unit, tau) if rank is None else rank


def _count_by_gram(a: np.ndarray, unit: float, tau: float | None) -> int:
    """The same, where τ is coarse enough for AᵀA − τ²I."""
    gram = _gram(a.T)  # (n, n)
    if tau is None:
        whole = gram + np.tril(gram, -1).T  # dsymv would need no copy, and wakes all threads for the smallest matrix
        tau = unit * np.sqrt(_largest_eigenvalue(lambda x: _times(whole, x), len(gram)))
    gram.flat[:: len(gram) + 1] -= tau**2
    return _positive_eigenvalues(gram)


def _mix_columns(a: np.ndarray) -> np.ndarray:
    """(m, n) `a` times a random orthogonal matrix: same singular values, and no column matters more than another.

    Twice signs and a cosine transform. Once is not enough: where the first columns dominate, what comes of them are
    slow cosines, nearly dependent.
    """
    for signs in np.random.default_rng(_SEED).choice([-1.0, 1.0], (2, a.shape[1])):
        a = fft.dct(a * signs, axis=1, norm="ortho")
    return np.asfortranarray(a)  # as LAPACK reads it


def _clear_rank(a: np.ndarray, tau: float) -> int | None:
    """The number of singular values > τ of (m, n) `a`, if a gap around τ makes it plain; `tau` within a factor 2.

    P·A = L·U, split after k pivots. Of A's singular values, σ_k ≥ σ_min(L₁₁U₁₁), and σ_{k+1} ≤ the norm of A between
    the left and right null spaces of its first k rows and columns: with H = L₂₁L₁₁⁻¹, T = U₁₁⁻¹U₁₂, S = L₂₂U₂₂ that is
    ‖(I+HHᵀ)^-½ S (I+TᵀT)^-½‖. Without the outer factors S is larger by up to ‖H‖·‖T‖, which is how rounding errors
    come to look like pivots.
    """
    lu = lapack.dgetrf(a)[0]  # (m, n)
    n = a.shape[1]
    pivots = np.abs(np.diagonal(lu))
    low = pivots <= 10 * _CLEAR * tau
    k = int(low.argmax()) if low.any() else n
    if k == 0 or pivots[k:].max(initial=0.0) > _HOPELESS * tau:
        return None
    block = np.asfortranarray(lu[:k, :k])
    if _smallest_singular_value(block, factored=True) < 4 * _CLEAR * tau:
        return None
    if k == n:
        return n
    h = _solve(block, lu[k:, :k].T, trans=1, lower=True, unit_diagonal=True).T  # (m − k, k)
    t = _solve(block, lu[:k, k:])  # (k, n − k)
    if max(_norm(h), _norm(t)) > _LARGEST_SOLUTION:
        return None
    shrink_left, shrink_right = _inverse_of_identity_plus(h), _inverse_of_identity_plus(t.T)
    lower, upper = np.tril(lu[k:, k:], -1), np.triu(lu[k:n, k:])
    np.fill_diagonal(lower, 1.0)
    y = np.random.default_rng(_SEED).standard_normal(n - k)
    for _ in range(6):  # power iteration on SᵀH⁻¹S x = λ(I+TᵀT)x; λ is its Rayleigh quotient
        x = shrink_right(y)
        z = _times(upper.T, _times(lower.T, shrink_left(_times(lower, _times(upper, x)))))
        norm = np.linalg.norm(z)
        eigenvalue = (x @ z) / (x @ y)
        if norm == 0:
            break
        y = z / norm
    return k if eigenvalue <= (tau / 4) ** 2 else None


def _count_near(a: np.ndarray, unit: float, tau: float | None) -> int:
    """The number of singular values > τ of (m, n) `a`, m ≥ n, wherever they lie.

    Eliminating from [[−τI, Rᵀ], [R, −τI]] a block R₁₁ with k singular values ≫ τ adds k positive pivots (Haynsworth
    1968) and leaves the same form with V = R₂₂(I+TᵀT)^-½, T = R₁₁⁻¹R₁₂, up to (τ/σ_min(R₁₁))² ≤ 1.1e-3 of τ. Rows at
    the bottom whose norm is f·τ in all are left out: that moves τ² by less than f² of itself.
    """
    n = a.shape[1]
    r = _triangle(a)
    if tau is None:
        tau = unit * np.sqrt(_largest_eigenvalue(_gram_of(r), n))
    left_out = np.sqrt(np.cumsum((r**2).sum(axis=1)[::-1]))[::-1] <= _NEGLIGIBLE * tau  # (n,) rows i and below
    end = n - int(left_out.sum())
    low = np.abs(np.diagonal(r)) <= 10 * n * tau
    k = min(int(low.argmax()) if low.any() else n, end)
    v = r[:end]
    while k:
        block = np.asfortranarray(r[:k, :k])
        t = _solve(block, r[:k, k:])  # (k, n − k)
        if _smallest_singular_value(block) >= _CLEAR * tau and _norm(t) <= _LARGEST_SOLUTION:
            v = _solve(_cholesky_of_identity_plus(t.T), r[k:end, k:].T, lower=True).T  # (end − k, n − k)
            break
        k = 3 * k // 4
    rest = len(v)
    if rest == 0:
        return k
    if _gram_suffices(tau / np.sqrt(_largest_eigenvalue(_gram_of(v.T), rest, steps=6)), rest):
        return k + _count_by_gram(v.T, unit, tau)
    bordered = np.zeros((2 * rest, 2 * rest), order="F")
    np.fill_diagonal(bordered, -tau)
    bordered[rest:, :rest] = _triangle(v.T)  # the lower triangle is all LAPACK reads
    return k + _positive_eigenvalues(bordered)


def _triangle(a: np.ndarray) -> np.ndarray:
    """(m, n), m ≥ n -> (n, n) R of its QR factorization."""
    n = a.shape[1]
    return np.triu(lapack.dgeqrt(min(_BLOCK, n), a)[0][:n])


def _positive_eigenvalues(s: np.ndarray) -> int:
    """Of the symmetric (n, n) `s`, lower triangle read: the positive pivots of its LDLᵀ (Bunch & Kaufman 1977).

    A 2×2 pivot, marked by negative entries in `swaps`, has one positive and one negative eigenvalue.
    """
    ldl, swaps, _ = lapack.dsytrf(s, lower=1, lwork=64 * len(s))
    return int(((swaps > 0) & (np.diagonal(ldl) > 0)).sum() + (swaps < 0).sum() // 2)


def _largest_eigenvalue(apply: Operator, n: int, steps: int = 300, rtol: float = 1e-6) -> float:
    """λmax of a positive semidefinite (n, n) operator by Lanczos with full reorthogonalisation.

    Never too large. Stops when the residual, a bound on the distance to an eigenvalue, is below rtol·λ, or after
    `steps`; six steps from a random start are right within a factor 2 (Kuczyński & Woźniakowski 1992).
    """
    steps = min(steps, n)
    basis = np.empty((steps, n))
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    q = np.random.default_rng(_SEED).standard_normal(n)
    q /= np.linalg.norm(q)
    k, check = 0, 5
    while True:
        basis[k] = q
        w = apply(q)
        diagonal[k] = q @ w
        for _ in range(2):
            w -= _times(basis[: k + 1].T, _times(basis[: k + 1], w))
        beta = np.linalg.norm(w)
        beside[k] = beta
        k += 1
        last = k == steps or beta <= FLOAT64_EPS * diagonal[0]
        if last or k >= check:
            check = k + 5 + k // 3
            values, vectors, _ = lapack.dstev(diagonal[:k], beside[: max(k - 1, 1)])
            if last or beta * abs(vectors[-1, -1]) <= rtol * values[-1]:
                break
        q = w / beta
    return max(float(values[-1]), 0.0)


def _smallest_singular_value(block: np.ndarray, factored: bool = False) -> float:
    """σ_min, roughly, of triangular U in the (k, k) `block`, or of L·U where both are packed in it; k ≥ 1."""
    unit_lower = {"lower": True, "unit_diagonal": True}

    def inverse_gram(x: np.ndarray) -> np.ndarray:
        x = _solve(block, x, trans=1)
        if factored:
            x = _solve(block, _solve(block, x, trans=1, **unit_lower), **unit_lower)
        return _solve(block, x)

    return _largest_eigenvalue(inverse_gram, len(block), steps=6) ** -0.5


def _solve(t: np.ndarray, b: np.ndarray, **options: Any) -> np.ndarray:
    if b.size == 0:  # SciPy before 1.14 hands it to LAPACK, which refuses
        return np.zeros(b.shape)
    return solve_triangular(t, b, check_finite=False, **options)


def _cholesky_of_identity_plus(t: np.ndarray) -> np.ndarray:
    """Lower C with CCᵀ = I + TTᵀ, for (p, k) `t`."""
    gram = _gram(t)
    gram.flat[:: len(gram) + 1] += 1.0
    return lapack.dpotrf(gram, lower=1)[0]


def _inverse_of_identity_plus(t: np.ndarray) -> Operator:
    """x ↦ (I + TTᵀ)⁻¹x for (p, k) `t`, by the smaller of a p×p and a k×k factor (Woodbury)."""
    tall = t.shape[0] > t.shape[1]
    root = _cholesky_of_identity_plus(t.T if tall else t)

    def solve(x: np.ndarray) -> np.ndarray:
        return _solve(root, _solve(root, x, lower=True), lower=True, trans=1)

    return (lambda x: x - _times(t, solve(_times(t.T, x)))) if tall else solve


def _gram(a: np.ndarray) -> np.ndarray:
    """The lower triangle of a·aᵀ, (m, m) in Fortran's order; the upper one is zero."""
    if 0 in a.shape:  # BLAS refuses
        return np.zeros((len(a), len(a)), order="F")
    a, trans = _for_blas(a)
    return blas.dsyrk(1.0, a, trans=trans, lower=1)


def _times(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """a·x for a vector x."""
    if 0 in a.shape:
        return np.zeros(len(a))
    a, trans = _for_blas(a)
    return blas.dgemv(1.0, a, x, trans=trans)


def _for_blas(a: np.ndarray) -> tuple[np.ndarray, bool]:
    """The array or its transpose, whichever BLAS reads without a copy, and whether it is the transpose."""
    return (a.T, True) if a.flags.c_contiguous and not a.flags.f_contiguous else (a, False)


def _norm(a: np.ndarray) -> float:
    """The Frobenius norm."""
    return float(np.sqrt(np.einsum("ij,ij", a, a)))


def _gram_of(a: np.ndarray) -> Operator:
    """x ↦ AᵀA·x"""
    return lambda x: _times(a.T, _times(a, x))
