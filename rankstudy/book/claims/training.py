"""What was expected of Task 2's training."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.measured import Training


@hypothesis(
    "training-reaches-95",
    "Every network of Task 2 reads at least 95 % of the test images correctly.",
    family="training",
    expects="every",
    evidence="sec-evidence-training-networks",
)
def reaches_95(training: Training) -> np.ndarray:
    return training.history.test_accuracy[:, -1] >= 0.95


@hypothesis(
    "training-gap",
    "After the last epoch the networks read a larger share of their training images correctly than of the test images.",
    family="training",
    expects="above",
    unit="points",
    scale=100,
    evidence="sec-evidence-training-epochs",
)
def gap(training: Training) -> np.ndarray:
    return training.history.train_accuracy[:, -1] - training.history.test_accuracy[:, -1]
