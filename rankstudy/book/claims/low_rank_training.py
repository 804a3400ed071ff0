"""What was expected of training in low rank from the start, at chapter 5's effective rank: `docs/hypotheses/06.md`."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.low_rank_training import LowRankTraining
from rankstudy.study.experiments.low_rank_training import DENSE, PLAIN

MEMORY = "sec-evidence-low-rank-memory"
LEARNING = "sec-evidence-low-rank-learning"
INFERENCE = "sec-evidence-low-rank-inference"


@hypothesis(
    "low-rank-fewer",
    "At the effective rank, the low-rank network has fewer parameters than the dense one.",
    family="low_rank_training",
    expects="every",
    evidence=MEMORY,
)
def fewer(low_rank: LowRankTraining) -> np.ndarray:
    return np.array([low_rank.parameters < low_rank.dense_parameters])


@hypothesis(
    "low-rank-slower",
    "Trained in low rank from the start, the network takes more epochs to the same validation accuracy.",
    family="low_rank_training",
    expects="above",
    unit="epochs",
    evidence=LEARNING,
)
def slower(low_rank: LowRankTraining) -> np.ndarray | None:
    if low_rank.level is None:
        return None
    return low_rank.epochs(low_rank.low_rank) - low_rank.epochs(low_rank.dense)


@hypothesis(
    "low-rank-seconds",
    "Trained in low rank from the start, the network takes fewer seconds of training to the same validation accuracy.",
    family="low_rank_training",
    expects="below",
    unit="seconds",
    evidence=LEARNING,
)
def fewer_seconds(low_rank: LowRankTraining) -> np.ndarray | None:
    if low_rank.level is None:
        return None
    return low_rank.seconds(PLAIN) - low_rank.seconds(DENSE)


@hypothesis(
    "low-rank-costs-accuracy",
    "Trained in low rank from the start, the network is less accurate on test data than the dense one.",
    family="low_rank_training",
    expects="below",
    tier="secondary",
    unit="points",
    scale=100,
    evidence=LEARNING,
)
def costs_accuracy(low_rank: LowRankTraining) -> np.ndarray:
    return low_rank.low_rank.test_accuracy[:, -1] - low_rank.dense.test_accuracy[:, -1]


@hypothesis(
    "low-rank-within-half-a-point",
    "Trained in low rank from the start, the network stays within half a point of the dense one on test data.",
    family="low_rank_training",
    expects="within",
    tier="secondary",
    matters=0.5,
    unit="points",
    scale=100,
    evidence=LEARNING,
)
def within_half_a_point(low_rank: LowRankTraining) -> np.ndarray:
    return costs_accuracy(low_rank)


@hypothesis(
    "low-rank-faster",
    "On many images at once, a forward pass of the low-rank network takes less time than one of the dense network, by "
    "the lower quartile over repetitions.",
    family="low_rank_training",
    expects="every",
    evidence=INFERENCE,
)
def faster(low_rank: LowRankTraining) -> np.ndarray:
    return low_rank.speedup_quartiles[[low_rank.usual], 0] > 1


@hypothesis(
    "low-rank-below-operations",
    "At every batch size, a forward pass of the low-rank network is faster than dense by a smaller factor than its "
    "operations are fewer, by the upper quartile over repetitions.",
    family="low_rank_training",
    expects="every",
    evidence=INFERENCE,
)
def below_operations(low_rank: LowRankTraining) -> np.ndarray:
    return low_rank.speedup_quartiles[:, 1] < low_rank.operations_ratio()
