"""How a dimension that was interpolated between measured ones is printed."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankstudy.book.stats import Estimate, estimate, number_text

NONE = "no value"  # of a ratio of dimensions that not every seed reached


def dimension_text(found: np.ndarray, dimension: np.ndarray, values: np.ndarray, level: Any) -> str:
    """Mean and interval over seeds, or on which side of the measured dimensions it lies, and for how many of them.

    Args:
        found: (S,) crossings, NaN where there is none.
        dimension: (R,) measured.
        values: (S, R) the curves.
        level: threshold, one or (S,).
    """
    if np.isfinite(found).all():
        return estimate(found).text(0)
    reached = values >= np.reshape(level, (-1, 1))
    sides = {
        f"at most {number_text(dimension[0])}": int(reached[:, 0].sum()),
        f"more than {number_text(dimension[-1])}": int((~reached.any(axis=1)).sum()),
    }
    # a single seed without a crossing leaves no mean to print, so the text says where those lie
    told = [
        side if count == len(found) else f"{side} for {count} of {len(found)} seeds"
        for side, count in sides.items()
        if count
    ]
    return " and ".join(told) or "not found for every seed"


def log_ratio(a: np.ndarray, b: np.ndarray) -> Estimate:
    """log₂(a/b) over seeds, paired: −1 is half as many."""
    return estimate(np.log2(np.asarray(a, dtype=float) / np.asarray(b, dtype=float)))


def times_text(ratio: Estimate) -> str:
    """A log₂ ratio as a factor with its interval, 0.50 (0.40 to 0.63)."""
    if not np.isfinite(ratio.mean):
        return NONE
    text = number_text(2**ratio.mean, 2)
    if not np.isfinite(ratio.half):
        return text
    return f"{text} (95 %: {number_text(2**ratio.low, 2)} to {number_text(2**ratio.high, 2)})"
