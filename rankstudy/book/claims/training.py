"""What was expected of Task 2's training."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.results import Training


@hypothesis(
    "training-reaches-95",
    "Every network of Task 2 reads at least 95 % of the test images correctly.",
    family="training",
    expects="every",
    evidence="sec-training",
)
def reaches_95(training: Training) -> np.ndarray:
    return training.history.test_accuracy[:, -1] >= 0.95
