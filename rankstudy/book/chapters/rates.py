"""Learning rates that were chosen at the edge of those tried: a better one may lie beyond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rankstudy.book.stats import percent


def at_edge(rate: float, tried: Sequence[float] | np.ndarray) -> bool:
    """Whether the rate is the smallest or the largest of several that were tried; a NaN among them was not."""
    rates = np.asarray(tried, dtype=float)
    rates = rates[np.isfinite(rates)]
    return bool(len(rates) > 1 and rate in (rates.min(), rates.max()))


def arm_at_edge(arm: Mapping[str, Any]) -> bool:
    """The same of an arm, by its `learning_rate` and the evidence for it in `tuning`, empty where none was searched."""
    return at_edge(arm["learning_rate"], arm["tuning"]["learning_rate"] if arm["tuning"] else ())


def scores(tried: Sequence[float] | np.ndarray, found: Sequence[float] | np.ndarray, places: int) -> str:
    """What each rate that was tried scored, a fraction; a NaN was not tried."""
    pairs = [(rate, score) for rate, score in zip(tried, found, strict=True) if np.isfinite(rate)]
    return "; ".join(f"{rate:g}: {percent(score, places)}" for rate, score in pairs)


def mark(edge: bool) -> str:
    """What a table puts behind such a rate."""
    return " (edge)" if edge else ""


def warning(arms: Sequence[str]) -> str:
    """What the text says of the arms whose rate is at the edge."""
    if not arms:
        return "Where several rates were tried, the best one lies between others."
    return (
        "Where the best rate is the smallest or largest that was tried (edge), the arm might do better beyond it, and "
        f"a comparison with it is to be read with that in mind: {', '.join(arms)}."
    )
