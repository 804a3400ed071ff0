"""Matrices on which elimination, or a careless tolerance, goes wrong. Each is (n, n) float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.strategies import with_spectrum

FLOAT64_EPS = float(np.finfo(np.float64).eps)
PLATEAUS = (0.1, 0.5, 0.9, 1.1, 2.0, 10.0)  # singular values in units of the tolerance


def wilkinson(n: int) -> np.ndarray:
    """Partial pivoting's growth factor is 2ⁿ⁻¹ (Wilkinson 1961)."""
    a = np.eye(n) - np.tril(np.ones((n, n)), -1)
    a[:, -1] = 1.0
    return a


def kahan(n: int, angle: float) -> np.ndarray:
    """Triangular, with no small pivot and a tiny singular value (Kahan 1966)."""
    s, c = np.sin(angle), np.cos(angle)
    return (s ** np.arange(n))[:, None] * (np.eye(n) - c * np.triu(np.ones((n, n)), 1))


def hilbert(n: int) -> np.ndarray:
    i = np.arange(n)
    return 1.0 / (1 + i[:, None] + i)


def plateau(n: int, height: float, above: int, rng: np.random.Generator, eps: float = FLOAT64_EPS) -> np.ndarray:
    """`above` singular values of 1, all others `height` times τ = n·eps."""
    return with_spectrum(np.r_[np.ones(above), np.full(n - above, height * n * eps)], (n, n), rng)


def named(n: int, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """All of the above and their relatives, with names."""
    normal = rng.standard_normal
    yield "wilkinson", wilkinson(n)
    yield "wilkinson, transposed", wilkinson(n).T
    deficient = wilkinson(n)
    deficient[:, -1] = deficient[:, :-1].sum(axis=1)
    yield "wilkinson, deficient", deficient
    for angle in (0.5, 1.0, 1.2, 1.5):
        yield f"kahan {angle}", kahan(n, angle)
    yield "hilbert", hilbert(n)
    yield "vandermonde", np.vander(np.linspace(-1, 1, n))
    i = np.arange(n)
    yield "gaussian kernel", np.exp(-((i[:, None] - i) ** 2) / (2 * (n / 20) ** 2))
    yield "upper ones", np.triu(np.ones((n, n)))
    yield "ones", np.ones((n, n))
    yield "permutation", np.eye(n)[rng.permutation(n)]
    yield "diagonal of zeros and ones", np.diag(np.arange(n) % 3 == 0).astype(float)
    single = np.zeros((n, n))
    single[0, 0] = 1.0
    yield "one entry", single
    yield "dominant entry", single + 1e-30 * normal((n, n))
    columns = np.zeros((n, n))
    columns[:, : n // 10] = normal((n, n // 10))
    yield "zero columns", columns
    yield "gap", normal((n, n // 2)) @ normal((n // 2, n))
    for decades in (8, 12, 17, 30, 300):
        scale = np.logspace(0, -decades, n)
        yield f"graded over {decades} decades", with_spectrum(scale, (n, n), rng)
        yield f"rows over {decades} decades", scale[:, None] * normal((n, n))
        yield f"columns over {decades} decades", normal((n, n)) * scale
        yield f"rows and columns over {decades} decades", scale[:, None] * normal((n, n)) * scale[rng.permutation(n)]
    for height in PLATEAUS:
        for above in (1, n // 2, n - 1):
            yield f"{above} and a plateau at {height} τ", plateau(n, height, above, rng)
