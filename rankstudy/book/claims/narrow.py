"""What was expected of low rank against fewer neurons, at as many parameters: `docs/hypotheses/06.md`."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.low_rank_controls import Narrow

EVIDENCE = "sec-evidence-low-rank-narrow"


@hypothesis(
    "narrow-accuracy",
    "At the effective rank, the low-rank network is at least 0.1 points more accurate on test data than a dense "
    "network with as many parameters.",
    family="narrow",
    expects="above",
    tier="primary",
    matters=0.1,
    unit="points",
    scale=100,
    evidence=EVIDENCE,
)
def accuracy(narrow: Narrow) -> np.ndarray:
    return narrow.gain()[:, narrow.at]


@hypothesis(
    "narrow-low-end",
    "At a quarter of the effective rank, the low-rank network is less accurate on test data than a dense network with "
    "as many parameters.",
    family="narrow",
    expects="below",
    unit="points",
    scale=100,
    evidence=EVIDENCE,
)
def low_end(narrow: Narrow) -> np.ndarray:
    return narrow.gain()[:, 0]


@hypothesis(
    "narrow-loss",
    "At the effective rank, the low-rank network has a lower test loss than a dense network with as many parameters.",
    family="narrow",
    expects="below",
    unit="nats",
    evidence=EVIDENCE,
)
def loss(narrow: Narrow) -> np.ndarray:
    return narrow.loss_change[:, narrow.at]


@hypothesis(
    "narrow-step",
    "At the effective rank, a training step of the low-rank network takes longer than one of a dense network with as "
    "many parameters, by the lower quartile over repetitions.",
    family="narrow",
    expects="every",
    evidence=EVIDENCE,
)
def step(narrow: Narrow) -> np.ndarray:
    return narrow.step_quartiles[:1, narrow.at] > 1


@hypothesis(
    "narrow-latency",
    "At the effective rank, a forward pass of one image takes the low-rank network longer than a dense network with as "
    "many parameters, by the lower quartile over repetitions.",
    family="narrow",
    expects="every",
    evidence=EVIDENCE,
)
def latency(narrow: Narrow) -> np.ndarray:
    return narrow.forward_quartiles[:1, narrow.at, 0] > 1
