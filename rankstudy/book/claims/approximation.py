"""What was expected of trained matrices written as B·C."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.views import Approximation


@hypothesis(
    "approximation-bound",
    "Alternating least squares ends next to the smallest possible error in every layer, at every rank tried.",
    family="approximation",
    expects="every",
    evidence="sec-approximation",
)
def bound(approximation: Approximation) -> np.ndarray:
    return approximation.fit_reached.reshape(len(approximation.fit_reached), -1)


@hypothesis(
    "approximation-half-point",
    "At the effective rank, which validation data chose, the test accuracy stays within half a point of the whole "
    "network's.",
    family="approximation",
    expects="within",
    matters=0.5,
    unit="points",
    scale=100,
    evidence="sec-approximation",
)
def half_point(approximation: Approximation) -> np.ndarray:
    return approximation.truncated_test_accuracy[:, approximation.at] - approximation.test_accuracy


@hypothesis(
    "approximation-error-large",
    "At the effective rank, the matrices before the output differ from their approximations by more than half of their "
    "norm.",
    family="approximation",
    expects="above",
    matters=50,
    unit="%",
    scale=100,
    evidence="sec-approximation",
)
def error_large(approximation: Approximation) -> np.ndarray:
    return approximation.hidden_error[:, approximation.at]
