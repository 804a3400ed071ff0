"""What was expected of networks that overfit (docs/hypotheses/04.md)."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.numbers import per_layer
from rankstudy.book.overfitting import Overfitting, by_doubling

CRITERION = "sec-evidence-overfitting-criterion"
RANKS = "sec-evidence-overfitting-ranks"
SIZES = "sec-evidence-overfitting-sizes"
ACTIVATION = "sec-evidence-overfitting-activation"


@hypothesis(
    "overfitting-reached",
    "Every big network overfits by the criterion stated in advance: nearly all training images right, and a test loss "
    "that ends well above its lowest value.",
    family="overfitting",
    expects="every",
    evidence=CRITERION,
)
def reached(overfitting: Overfitting) -> np.ndarray:
    return overfitting.memorised


@hypothesis(
    "overfitting-accuracy-keeps",
    "From the epoch of its lowest test loss to the last one, a big network's test accuracy does not fall.",
    family="overfitting",
    expects="above",
    unit="points",
    scale=100,
    evidence=CRITERION,
)
def accuracy_keeps(overfitting: Overfitting) -> np.ndarray:
    return overfitting.big.history.test_accuracy[:, -1] - overfitting.accuracy_at_lowest


@hypothesis(
    "overfitting-full-rank",
    "Every weight matrix of the big networks has full rank at the float64 tolerance, and so has every matrix of the "
    "networks with other activation functions.",
    family="overfitting",
    expects="every",
    evidence=RANKS,
)
def full_rank(overfitting: Overfitting) -> np.ndarray:
    groups = [overfitting.big, *(each for each in overfitting.activations.values() if each.did_train)]
    return np.concatenate([(each.weights.rank_float64 == each.full_rank).all(axis=1) for each in groups])


@hypothesis(
    "overfitting-depth-update",
    "Between the equal layers of a deeper overfitted network, the entropy rank of the update falls with depth.",
    family="overfitting",
    expects="below",
    matters=1.0,
    unit="directions a layer",
    evidence=SIZES,
)
def depth_update(overfitting: Overfitting) -> np.ndarray | None:
    deep = overfitting.deep
    return per_layer(deep, deep.update.entropy_rank) if deep.did_train and len(deep.square) > 1 else None


@hypothesis(
    "overfitting-after-minimum",
    "In the square layers, the update's entropy rank rises between the epoch of the lowest validation loss and the "
    "last one.",
    family="overfitting",
    expects="above",
    matters=1.0,
    unit="points of full rank",
    scale=100,
    evidence="sec-evidence-overfitting-time",
)
def after_minimum(overfitting: Overfitting) -> np.ndarray | None:
    return overfitting.since_lowest if overfitting.observed.trajectory is not None else None


@hypothesis(
    "overfitting-tanh-square",
    "In the square layers of overfitted networks, the update has a lower entropy rank under tanh than under ReLU.",
    family="overfitting",
    expects="below",
    matters=10.0,
    unit="directions",
    evidence=ACTIVATION,
)
def tanh_square(overfitting: Overfitting) -> np.ndarray | None:
    groups = [overfitting.activations.get(name) for name in ("tanh", "relu")]
    if any(group is None or not group.did_train for group in groups):
        return None
    tanh, relu = (group.update.entropy_rank[:, group.square].mean(axis=1) for group in groups if group is not None)
    return tanh - relu


@hypothesis(
    "overfitting-width-square",
    "The wider the network, the smaller the share of full rank that its update takes in the square layers.",
    family="overfitting",
    tier="secondary",
    expects="below",
    matters=1.0,
    unit="points of full rank a doubling",
    scale=100,
    evidence=SIZES,
)
def width_square(overfitting: Overfitting) -> np.ndarray | None:
    return overfitting.by_doubling("square")


@hypothesis(
    "overfitting-width-first",
    "The wider the network, the smaller the share of full rank that its update takes in the first layer.",
    family="overfitting",
    expects="below",
    matters=1.0,
    unit="points of full rank a doubling",
    scale=100,
    evidence=SIZES,
)
def width_first(overfitting: Overfitting) -> np.ndarray | None:
    return overfitting.by_doubling("first")


@hypothesis(
    "overfitting-width-inputs",
    "In the first layer, the share of full rank that the update takes changes with the width as that of random errors "
    "on the same inputs does.",
    family="overfitting",
    expects="within",
    matters=2.0,
    unit="points of full rank a doubling",
    scale=100,
    evidence=SIZES,
)
def width_inputs(overfitting: Overfitting) -> np.ndarray | None:
    shares = [(size, size.share([0]), size.baseline_share([0])) for size in overfitting.widths]
    measured = [(size, share - baseline) for size, share, baseline in shares if baseline is not None]
    return by_doubling(measured) if len(measured) == len(shares) else None


@hypothesis(
    "overfitting-big-square",
    "At equal training, in the square layers, the big network's update takes a smaller share of full rank than that of "
    "a narrower network.",
    family="overfitting",
    expects="below",
    matters=1.0,
    unit="points of full rank",
    scale=100,
    evidence=SIZES,
)
def big_square(overfitting: Overfitting) -> np.ndarray | None:
    narrow, wide = overfitting.narrower, overfitting.widths[-1]
    return _difference(narrow.share(narrow.square), wide.share(wide.square))


@hypothesis(
    "overfitting-big-first",
    "At equal training, in the first layer, the big network's update takes a smaller share of full rank than that of a "
    "narrower network.",
    family="overfitting",
    expects="below",
    matters=1.0,
    unit="points of full rank",
    scale=100,
    evidence=SIZES,
)
def big_first(overfitting: Overfitting) -> np.ndarray | None:
    return _difference(overfitting.narrower.share([0]), overfitting.widths[-1].share([0]))


def _difference(narrow: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """(networks,) wide less narrow. Networks of two shapes share nothing but the order of images."""
    count = min(len(narrow), len(wide))
    return wide[:count] - narrow[:count]
