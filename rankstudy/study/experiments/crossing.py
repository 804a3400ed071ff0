"""Where a measured curve reaches a threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def crossing(dimension: Sequence[float] | np.ndarray, values: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """(S,) the dimension at which each row of `values` (S, R) first reaches its threshold (S,).

    Linear between the two measured dimensions around it. NaN where no dimension reaches it, and where the first one
    already does: then there is nothing to interpolate between.
    """
    d = np.asarray(dimension, dtype=float)
    found = np.full(len(values), np.nan)
    for row, (curve, level) in enumerate(zip(values, threshold, strict=True)):
        reached = np.flatnonzero(curve >= level)
        if len(reached) and (i := reached[0]) > 0:
            share = (level - curve[i - 1]) / (curve[i] - curve[i - 1])
            found[row] = d[i - 1] + share * (d[i] - d[i - 1])
    return found
