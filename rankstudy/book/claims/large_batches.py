"""What was expected of large batches, where new pages of memory were a candidate: `docs/hypotheses/06.md`."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.low_rank_controls import LargeBatches

EVIDENCE = "sec-evidence-low-rank-batches"
USER, KEPT = "as it is", "memory kept"


@hypothesis(
    "large-batches-faults",
    "On batches whose layers give out 32 MiB or more, every forward pass of the low-rank network meets at least as "
    "many new pages as one layer's outputs fill; with memory kept, less than a hundredth of that.",
    family="large_batches",
    expects="every",
    evidence=EVIDENCE,
)
def faults(large: LargeBatches) -> np.ndarray | None:
    user, kept = (large.faults[way]["low rank"][large.large] for way in (USER, KEPT))
    if user.size == 0 or np.isnan(user).any():
        return None
    pages = large.outputs[large.large, None] / large.page
    return np.concatenate([user >= pages, kept < pages / 100])


@hypothesis(
    "large-batches-slower",
    "On the largest batch, the low-rank network takes longer as a user gets it than with memory kept, by the quartiles "
    "over repetitions.",
    family="large_batches",
    expects="every",
    evidence=EVIDENCE,
)
def slower(large: LargeBatches) -> np.ndarray | None:
    if not large.large[-1]:
        return None
    user, kept = (large.seconds[way]["low rank"][-1] for way in (USER, KEPT))
    return np.array([np.quantile(user, 0.25) > np.quantile(kept, 0.75)])


@hypothesis(
    "large-batches-no-fall",
    "With memory kept, the low-rank network's speed-up on the largest batch is at least nine tenths of that on the "
    "smallest, by medians.",
    family="large_batches",
    expects="every",
    evidence=EVIDENCE,
)
def no_fall(large: LargeBatches) -> np.ndarray | None:
    if not large.large[-1]:
        return None
    medians = large.median_speedup(KEPT)
    return np.array([medians[-1] >= 0.9 * medians[0]])
