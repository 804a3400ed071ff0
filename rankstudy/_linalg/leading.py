"""The leading factors of a matrix of a checkpoint, on a GPU where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankstudy._linalg import gram
from rankstudy.factorization import Factors, truncated_svd


def leading_factors(matrix: np.ndarray, rank: int, device: Any = None) -> Factors:
    """`factorization.truncated_svd`, by the device if there is one."""
    if device is None:
        return truncated_svd(matrix, rank)
    import torch

    u, s, vt = torch.linalg.svd(gram.sent(matrix, device), full_matrices=False)
    root = s[:rank].sqrt()
    return Factors((u[:, :rank] * root).cpu().numpy(), (root[:, None] * vt[:rank]).cpu().numpy())
