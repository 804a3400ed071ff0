"""What was expected of labels that say nothing (docs/hypotheses/04.md)."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.paths import Labels, over_rates
from rankstudy.study.experiments.overfitting import MEMORISED

LABELS = "sec-evidence-overfitting-labels"


@hypothesis(
    "labels-shuffled-higher",
    "At equal distance from the start, in the square layers, shuffled labels make an update of higher entropy rank "
    "than true ones.",
    family="labels",
    tier="primary",
    expects="above",
    matters=5.0,
    unit="directions",
    evidence=LABELS,
)
def shuffled_higher(labels: Labels) -> np.ndarray | None:
    return over_rates(labels.at_equal_distance("shuffled", "true"), labels.square)


@hypothesis(
    "labels-memorising",
    "At equal distance from the start, in the square layers, labels that can be memorised make an update of higher "
    "entropy rank than labels drawn anew in every epoch.",
    family="labels",
    expects="above",
    matters=5.0,
    unit="directions",
    evidence=LABELS,
)
def memorising(labels: Labels) -> np.ndarray | None:
    return over_rates(labels.at_equal_distance("shuffled", "anew"), labels.square)


@hypothesis(
    "labels-anew-higher",
    "At equal distance from the start, in the square layers, labels drawn anew in every epoch make an update of "
    "higher entropy rank than true ones.",
    family="labels",
    expects="above",
    matters=5.0,
    unit="directions",
    evidence=LABELS,
)
def anew_higher(labels: Labels) -> np.ndarray | None:
    return over_rates(labels.at_equal_distance("anew", "true"), labels.square)


@hypothesis(
    "labels-equal-epochs",
    "After as many epochs, in the square layers, shuffled labels make an update of higher entropy rank than true ones.",
    family="labels",
    expects="above",
    matters=5.0,
    unit="directions",
    evidence=LABELS,
)
def equal_epochs(labels: Labels) -> np.ndarray | None:
    return over_rates(labels.at_the_end("shuffled", "true"), labels.square)


@hypothesis(
    "labels-first-layer",
    "At equal distance from the start, in the first layer, shuffled labels make an update of higher entropy rank than "
    "true ones.",
    family="labels",
    expects="above",
    matters=5.0,
    unit="directions",
    evidence=LABELS,
)
def first_layer(labels: Labels) -> np.ndarray | None:
    return over_rates(labels.at_equal_distance("shuffled", "true"), [0])


@hypothesis(
    "labels-memorised",
    "Every network with shuffled labels ends with nearly all of them right, as many as the criterion for overfitting "
    "asks for.",
    family="labels",
    expects="every",
    evidence=LABELS,
)
def memorised(labels: Labels) -> np.ndarray:
    return labels.end("shuffled", "train_accuracy") >= MEMORISED
