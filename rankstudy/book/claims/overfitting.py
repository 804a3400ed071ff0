"""What was expected of networks that overfit."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.views import Overfitting


@hypothesis(
    "overfitting-reached",
    "Every big network overfits by the criterion stated in advance: nearly all training images right, and a test loss "
    "that ends well above its lowest value.",
    family="overfitting",
    expects="every",
    evidence="sec-overfitting-criterion",
)
def reached(overfitting: Overfitting) -> np.ndarray:
    return overfitting.memorised


@hypothesis(
    "overfitting-full-rank",
    "Every weight matrix of the big networks has full rank at the float64 tolerance, and so has every matrix of the "
    "networks with other activation functions.",
    family="overfitting",
    expects="every",
    evidence="sec-overfitting-rank",
)
def full_rank(overfitting: Overfitting) -> np.ndarray:
    groups = [overfitting.big, *(each for each in overfitting.activations.values() if each.did_train)]
    return np.concatenate([(each.weights.rank_float64 == each.full_rank).all(axis=1) for each in groups])
