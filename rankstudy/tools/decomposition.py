"""One decomposition of a matrix: its singular values and as many left singular vectors as a choice may need.

The eigenvectors of the smaller Gram matrix, formed in float64, are found in float32 where the errors in question allow:
that takes less than half the time of a float32 SVD. Singular values are the lengths of the matrix's projections on
them, right to about 1e-4·σ₁; the other factor is such a projection too, so that what float32 does to a vector costs
next to nothing, and the error that is reported is measured.

Products are SciPy's BLAS, as the eigenvectors are: NumPy has a library of its own, whose threads wait busily for more
after each product, so that eigenvectors found meanwhile took half as long again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.linalg import eigh, get_blas_funcs
from scipy.linalg.blas import dsyrk

from rankstudy._linalg.gram import GRAM_ERROR, accelerator, singular_values
from rankstudy._linalg.leading import leading_factors
from rankstudy.factorization import Factors
from rankstudy.tools.tensors import Entry, rounded
from rankstudy.tools.writing import Scratch

SINGLE_ERROR = 1e-2  # relative errors below this are too fine for vectors in float32
ROWS = 1 << 21  # elements that are upcast to float64 at once


class Decomposed:
    """A matrix with what is known of it. Vectors are found when they are asked for, together with the values."""

    def __init__(self, matrix: np.ndarray, dtype: str, rank_error: float = 1.0, vectors: bool = True) -> None:
        """
        Args:
            matrix: (m, n), finite.
            dtype: it is stored in.
            rank_error: the smallest relative error that matters.
            vectors: whether factors will be asked for; without, the values alone are found in less time.
        """
        self.matrix, self.dtype = matrix, dtype
        self.scale = float(np.abs(matrix).max()) or 1.0
        device = accelerator()
        precise = dtype == "F64" or rank_error < GRAM_ERROR
        self._factors: Factors | None = None
        self._basis: np.ndarray | None = None
        if not vectors:
            self.values = singular_values(matrix, dtype, rank_error, device)
        elif precise or device is not None:
            self._factors = leading_factors(np.asarray(matrix, np.float64) / self.scale, min(matrix.shape), device)
            self.values = (self._factors.b**2).sum(axis=0) * self.scale
        else:
            tall = matrix if self._is_tall() else matrix.T
            kind = np.float64 if rank_error < SINGLE_ERROR else np.float32
            gram = _gram(tall, self.scale).astype(kind)
            basis = eigh(gram, lower=True, overwrite_a=True, check_finite=False, driver="evd")[1]
            squares = sum(
                ((product(part, basis) / self.scale) ** 2).sum(axis=0, dtype=np.float64) for part in blocks(tall, kind)
            )
            order = np.argsort(-squares, kind="stable")
            self.values = np.sqrt(squares[order]) * self.scale
            self._basis = basis[:, order]

    def save(self, scratch: Scratch, name: str, rank: int) -> None:
        """Put the first `rank` vectors of the shorter side into a file, for `saved`."""
        if self._factors is not None:
            side = self._factors.c.T if self._is_tall() else self._factors.b
            basis = side[:, :rank] / np.sqrt(np.maximum((side[:, :rank] ** 2).sum(axis=0), 1e-300))
        else:
            basis = self._basis[:, :rank]
        scratch.put(name, basis)

    def factors(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """(m, rank) and (rank, n), float64, balanced."""
        if self._factors is not None:
            root = np.sqrt(self.scale)
            return self._factors.b[:, :rank] * root, self._factors.c[:rank] * root
        return projected(self.matrix, self._basis[:, :rank])

    def _is_tall(self) -> bool:
        return self.matrix.shape[0] >= self.matrix.shape[1]


def saved(matrix: np.ndarray, scratch: Scratch, name: str, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """(m, rank) and (rank, n), float64, from the vectors in the file: balanced, and exact projections of the matrix."""
    return projected(matrix, scratch.get(name)[:, :rank])


def projected(matrix: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors of the projection of a matrix on the orthonormal columns of `basis`, a basis of its shorter side.

    Balanced: the columns of one are as long as the rows of the other.
    """
    tall = matrix.shape[0] >= matrix.shape[1]
    parts = blocks(matrix if tall else matrix.T, basis.dtype)
    scale = float(np.abs(matrix).max()) or 1.0
    other = np.concatenate([product(part, basis) for part in parts])
    lengths = np.sqrt(((other / scale) ** 2).sum(axis=0, dtype=np.float64)) * scale
    root = np.sqrt(np.where(lengths > 0, lengths, 1.0))
    long, short = other / root, (basis * root).T
    return (long, short) if tall else (short.T, long.T)


def stored(factors: tuple[np.ndarray, np.ndarray], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The factors as float64 after they were stored."""
    return rounded(factors[0], dtype), rounded(factors[1], dtype)


def error(matrix: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """‖A − BC‖_F / ‖A‖_F, in float64 a few rows at a time; 0/0 is 0."""
    scale = float(np.abs(matrix).max()) or 1.0
    lost = whole = 0.0
    step = max(1, ROWS // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), step):
        part = matrix[start : start + step].astype(np.float64) / scale
        whole += float((part**2).sum())
        part -= product(b[start : start + step] / scale, c)
        lost += float((part**2).sum())
    return (lost / whole) ** 0.5 if whole else 0.0


def of_product(b: Entry, c: Entry, size: int) -> np.ndarray:
    """(size,) singular values of B·C, float64, from the small product of their triangles."""
    left, right = b.values().astype(np.float64), c.values().astype(np.float64)
    scales = [float(np.abs(each).max(initial=0.0)) or 1.0 for each in (left, right)]
    triangles = [np.asarray(np.linalg.qr(each, mode="r")) for each in (left / scales[0], (right / scales[1]).T)]
    small = triangles[0] @ triangles[1].T
    values = np.linalg.svd(small, compute_uv=False) * scales[0] * scales[1]
    return np.concatenate([values, np.zeros(max(0, size - len(values)))])[:size]


def blocks(tall: np.ndarray, kind: Any = np.float64) -> Iterator[np.ndarray]:
    """The matrix a few rows at a time, in another precision."""
    step = max(1, ROWS // max(1, tall.shape[1]))
    for start in range(0, len(tall), step):
        yield tall[start : start + step].astype(kind, copy=False)


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right, of float32 or float64; an array in C's order goes in as a transposed one, and nothing is copied."""
    if not (left.size and right.size):
        return left @ right
    (first, turned), (second, turned_too) = (
        (each, False) if each.flags.f_contiguous else (each.T, True) for each in (left, right)
    )
    return get_blas_funcs("gemm", (left, right))(1.0, first, second, trans_a=turned, trans_b=turned_too)


def _gram(tall: np.ndarray, scale: float) -> np.ndarray:
    """tallᵀ·tall/scale² in float64: its lower triangle."""
    gram = np.zeros((tall.shape[1],) * 2, order="F")
    for part in blocks(tall):
        gram = dsyrk(1.0, np.ascontiguousarray(part / scale).T, beta=1.0, c=gram, lower=True, overwrite_c=True)
    return gram
