"""What was expected of training in low rank from the start, at chapter 5's effective rank."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.views import LowRankTraining

EVIDENCE = "sec-low-rank-training"


@hypothesis(
    "low-rank-fewer",
    "At the effective rank, the low-rank network has fewer parameters than the dense one.",
    family="low_rank_training",
    expects="every",
    evidence=EVIDENCE,
)
def fewer(low_rank: LowRankTraining) -> np.ndarray:
    return np.array([low_rank.parameters < low_rank.dense_parameters])


@hypothesis(
    "low-rank-slower",
    "Trained in low rank from the start, the network takes more epochs to the same validation accuracy.",
    family="low_rank_training",
    expects="above",
    unit="epochs",
    evidence=EVIDENCE,
)
def slower(low_rank: LowRankTraining) -> np.ndarray | None:
    if low_rank.level is None:
        return None
    return low_rank.epochs(low_rank.low_rank) - low_rank.epochs(low_rank.dense)


@hypothesis(
    "low-rank-costs-accuracy",
    "Trained in low rank from the start, the network is less accurate on test data than the dense one.",
    family="low_rank_training",
    expects="below",
    unit="points",
    scale=100,
    evidence=EVIDENCE,
)
def costs_accuracy(low_rank: LowRankTraining) -> np.ndarray:
    return low_rank.low_rank.test_accuracy[:, -1] - low_rank.dense.test_accuracy[:, -1]


@hypothesis(
    "low-rank-within-a-point",
    "Trained in low rank from the start, the network stays within one point of the dense one on test data.",
    family="low_rank_training",
    expects="within",
    matters=1,
    unit="points",
    scale=100,
    evidence=EVIDENCE,
)
def within_a_point(low_rank: LowRankTraining) -> np.ndarray:
    return costs_accuracy(low_rank)


@hypothesis(
    "low-rank-faster",
    "On the largest batches, a forward pass of the low-rank network takes less time than one of the dense network, by "
    "the lower quartile over repetitions.",
    family="low_rank_training",
    expects="every",
    evidence=EVIDENCE,
)
def faster(low_rank: LowRankTraining) -> np.ndarray:
    return low_rank.speedup_quartiles[-1:, 0] > 1
