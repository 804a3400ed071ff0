"""What was expected of weight decay (docs/hypotheses/04.md)."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.paths import Decay

DECAY = "sec-evidence-overfitting-decay"


@hypothesis(
    "decay-learned-lower",
    "At equal distance, in the square layers, what is learned under weight decay, W − k·W₀, has a lower entropy rank "
    "than without it.",
    family="decay",
    tier="secondary",
    expects="below",
    matters=5.0,
    unit="directions",
    evidence=DECAY,
)
def learned_lower(decay: Decay) -> np.ndarray | None:
    return _measured(decay.less_than_none[:, -1])


@hypothesis(
    "decay-learned-little",
    "At equal distance, in the square layers, what is learned has a lower entropy rank under a tenth of that weight "
    "decay, too.",
    family="decay",
    expects="below",
    matters=5.0,
    unit="directions",
    evidence=DECAY,
)
def learned_little(decay: Decay) -> np.ndarray | None:
    return _measured(decay.less_than_none[:, 1])


@hypothesis(
    "decay-weights-lower",
    "After as many epochs, in the square layers, the trained weights W have a lower entropy rank with weight decay "
    "than without it.",
    family="decay",
    expects="below",
    matters=5.0,
    unit="directions",
    evidence=DECAY,
)
def weights_lower(decay: Decay) -> np.ndarray:
    ranks = decay.end("weights_entropy_rank", decay.square)
    return ranks[:, -1] - ranks[:, 0]


def _measured(values: np.ndarray) -> np.ndarray | None:
    """None where some pair of paths has no distance in common."""
    return values if np.isfinite(values).all() else None
