"""What was expected of training in random subspaces: see docs/hypotheses/09.md."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.intrinsic import IntrinsicDimension, ratio

PRETRAINING, CURVE = "sec-intrinsic-pretraining", "sec-intrinsic-dimensions"
FIFTH = 0.32  # log₂: a fifth fewer


@hypothesis(
    "pretraining-alone",
    "With the new digits alone to learn, a network pre-trained on other digits needs fewer dimensions than a random "
    "one to 90 % of what training all parameters reaches.",
    family="intrinsic_dimension",
    expects="below",
    tier="primary",
    matters=FIFTH,
    unit="(log₂)",
    evidence=PRETRAINING,
)
def alone(intrinsic: IntrinsicDimension) -> np.ndarray | None:
    return _against_scratch(intrinsic, 0.9)


@hypothesis(
    "pretraining-alone-80",
    "With the new digits alone to learn, a network pre-trained on other digits needs fewer dimensions than a random "
    "one to 80 % of what training all parameters reaches.",
    family="intrinsic_dimension",
    expects="below",
    matters=FIFTH,
    unit="(log₂)",
    evidence=PRETRAINING,
)
def alone_80(intrinsic: IntrinsicDimension) -> np.ndarray | None:
    return _against_scratch(intrinsic, 0.8)


@hypothesis(
    "pretraining-alone-95",
    "With the new digits alone to learn, a network pre-trained on other digits needs fewer dimensions than a random "
    "one to 95 % of what training all parameters reaches.",
    family="intrinsic_dimension",
    expects="below",
    matters=FIFTH,
    unit="(log₂)",
    evidence=PRETRAINING,
)
def alone_95(intrinsic: IntrinsicDimension) -> np.ndarray | None:
    return _against_scratch(intrinsic, 0.95)


@hypothesis(
    "pretraining-entries",
    "Pre-trained weights need fewer dimensions than the same weights in random order, to 90 % of what training all "
    "parameters from scratch reaches.",
    family="intrinsic_dimension",
    expects="below",
    matters=FIFTH,
    unit="(log₂)",
    evidence=PRETRAINING,
)
def entries(intrinsic: IntrinsicDimension) -> np.ndarray | None:
    return ratio(intrinsic.alone.get("pre-trained"), intrinsic.alone.get("entries"), 0.9)


@hypothesis(
    "pretraining-labels",
    "Pre-training on true labels leaves fewer dimensions to learn than pre-training on shuffled ones, to 90 % of what "
    "training all parameters from scratch reaches.",
    family="intrinsic_dimension",
    expects="below",
    matters=FIFTH,
    unit="(log₂)",
    evidence=PRETRAINING,
)
def labels(intrinsic: IntrinsicDimension) -> np.ndarray | None:
    return ratio(intrinsic.alone.get("pre-trained"), intrinsic.alone.get("shuffled"), 0.9)


@hypothesis(
    "pretraining-scales",
    "From pre-trained weights, one trained scale per layer, counted, lowers the dimension further, to 90 % of what "
    "training all parameters from scratch reaches.",
    family="intrinsic_dimension",
    expects="below",
    matters=0.1,
    unit="(log₂)",
    evidence=PRETRAINING,
)
def scales(intrinsic: IntrinsicDimension) -> np.ndarray | None:
    return ratio(intrinsic.alone.get("pre-trained, scales"), intrinsic.alone.get("pre-trained"), 0.9)


@hypothesis(
    "pretraining-joint",
    "With old and new digits together, a network that is pre-trained on the old ones needs fewer dimensions than a "
    "random one to 90 % of what training all parameters from scratch reaches.",
    family="intrinsic_dimension",
    expects="below",
    matters=FIFTH,
    unit="(log₂)",
    evidence=PRETRAINING,
)
def joint(intrinsic: IntrinsicDimension) -> np.ndarray | None:
    return ratio(intrinsic.joint.get("pre-trained"), intrinsic.joint.get("scratch"), 0.9)


@hypothesis(
    "intrinsic-few",
    "The network reads 90 % of the test images correctly after training in fewer random directions than 1 % of its "
    "parameters.",
    family="intrinsic_dimension",
    expects="every",
    evidence=CURVE,
)
def few(intrinsic: IntrinsicDimension) -> np.ndarray:
    return np.nan_to_num(intrinsic.curve.absolute, nan=np.inf) < intrinsic.curve.parameters / 100


@hypothesis(
    "intrinsic-projection",
    "Another kind of random projection, Fastfood, changes the test accuracy at one dimension by less than two points.",
    family="intrinsic_dimension",
    expects="within",
    matters=2,
    unit="points",
    scale=100,
    evidence=CURVE,
)
def projection(intrinsic: IntrinsicDimension) -> np.ndarray | None:
    other = intrinsic.changes.get("Fastfood")
    if other is None or (same := intrinsic.curve.at(int(other.dimension[0]))) is None:
        return None
    changed = other.test_accuracy[:, 0]
    return changed - same[: len(changed)]


@hypothesis(
    "intrinsic-start",
    "Larger initial weights, drawn as the published code draws them, need more dimensions to a test accuracy of 0.90.",
    family="intrinsic_dimension",
    expects="above",
    matters=0.1,
    unit="(log₂)",
    evidence=CURVE,
)
def start(intrinsic: IntrinsicDimension) -> np.ndarray | None:
    larger = intrinsic.changes.get("truncated He initialisation")
    if larger is None:
        return None
    found = np.log2(larger.absolute / intrinsic.curve.absolute[: len(larger.absolute)])
    return found if np.isfinite(found).all() else None


def _against_scratch(intrinsic: IntrinsicDimension, level: float) -> np.ndarray | None:
    return ratio(intrinsic.alone.get("pre-trained"), intrinsic.alone.get("scratch"), level)
