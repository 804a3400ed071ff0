"""Singular values and factors of one matrix of a checkpoint: by NumPy and SciPy, or by torch on a CUDA device.

Singular values come from the eigenvalues of the smaller Gram matrix in float64: for weights stored in float32 or less
that is as accurate as their own rounding and several times faster than an SVD; float64 weights, or errors below what a
Gram matrix can see, get the SVD. A device does the same, in float64 too; one that has no float64 is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import eigh

from rankstudy import device

GRAM_ERROR = 1e-5  # relative errors below this are out of a Gram matrix's sight: √eps, with room
BLOCK = 1 << 22  # elements that are upcast to float64 at once
SMALL = 1 << 21  # elements of a matrix that may share the machine with others


def accelerator() -> Any:
    """The CUDA device that is there, as a `torch.device`, or None: then torch need not even be imported.

    Raises:
        UsageError: RANKSTUDY_DEVICE asks for a CUDA device that this machine does not have.
    """
    if not device.has_cuda():
        return None
    chosen = device.choose()
    return chosen if chosen.type == "cuda" else None


def singular_values(matrix: np.ndarray, dtype: str = "F32", rank_error: float = 1.0, device: Any = None) -> np.ndarray:
    """(min(m, n),) float64, descending, of a matrix stored in `dtype`, to the accuracy of that dtype.

    Args:
        matrix: (m, n), of any floating-point type.
        dtype: as safetensors names it.
        rank_error: the smallest relative Frobenius error that the values are asked about.
        device: a `torch.device` with float64 that computes, or None: NumPy and SciPy do.
    """
    m, n = matrix.shape
    if min(m, n) == 0:
        return np.zeros(0)
    if dtype == "F64" or rank_error < GRAM_ERROR:
        if device is None:
            return np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
        import torch

        return torch.linalg.svdvals(sent(matrix, device)).cpu().numpy()
    scale = float(np.abs(matrix).max())
    if scale == 0:
        return np.zeros(min(m, n))
    tall = matrix if m >= n else matrix.T
    if device is not None:
        import torch

        values = torch.linalg.eigvalsh(_gram(tall, scale, lambda block: sent(block, device))).cpu().numpy()
    else:
        gram = _gram(tall, scale, lambda block: block.astype(np.float64))
        if matrix.size <= SMALL:  # NumPy lets other threads run meanwhile; SciPy does not, and needs no copy
            values = np.linalg.eigvalsh(gram)
        else:
            values = eigh(gram.T, eigvals_only=True, overwrite_a=True, check_finite=False, driver="evd")
    return np.sqrt(np.maximum(values[::-1], 0.0)) * scale


def _gram(tall: np.ndarray, scale: float, upcast: Callable[[np.ndarray], Any]) -> Any:
    """tallᵀ·tall/scale² in float64, (n, n), by blocks of rows: the matrix is never upcast as a whole."""
    m, n = tall.shape
    rows = max(1, BLOCK // n)
    gram = None
    for start in range(0, m, rows):
        block = upcast(tall[start : start + rows])
        block /= scale
        part = block.T @ block  # NumPy sees the symmetry and does half the work
        if gram is None:
            gram = part
        else:
            gram += part
    return gram


def sent(block: np.ndarray, device: Any) -> Any:
    """A float64 copy on the device; what travels has the precision of the block."""
    import torch

    return torch.tensor(block, device=device).double()
