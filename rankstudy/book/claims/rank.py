"""What was expected of the rank of trained matrices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.measured import Networks, Rank
from rankstudy.book.numbers import per_layer

LAYERS = "sec-evidence-rank-layers"
DEPTH = "sec-evidence-rank-depth"
ACTIVATION = "sec-evidence-rank-activation"


@hypothesis(
    "rank-full",
    "Gaussian elimination finds as many pivots in every trained weight matrix as its shape allows.",
    family="rank",
    expects="every",
    evidence="sec-evidence-rank-elimination",
)
def full(rank: Rank) -> np.ndarray:
    counts = (rank.pivots.complete_float64, rank.pivots.complete_float32)
    counts += (rank.pivots.partial_float64, rank.pivots.partial_float32)
    return np.concatenate([each == rank.task2.full_rank for each in counts], axis=1)


@hypothesis(
    "rank-same-as-start",
    "The rank of every weight matrix is the same before training and after it.",
    family="rank",
    expects="every",
    evidence=LAYERS,
)
def same_as_start(rank: Rank) -> np.ndarray:
    return rank.task2.weights.rank_float64 == rank.task2.initial.rank_float64


@hypothesis(
    "rank-depth-full",
    "The square layers of the deeper network all have full rank at the float64 tolerance, whatever their depth.",
    family="rank",
    expects="every",
    evidence=DEPTH,
)
def depth_full(rank: Rank) -> np.ndarray:
    deep = rank.deep["relu"]
    return (deep.weights.rank_float64 == deep.full_rank)[:, deep.square]


@hypothesis(
    "rank-activation-full",
    "With every activation function, every trained weight matrix has full rank at the float64 tolerance.",
    family="rank",
    expects="every",
    evidence=ACTIVATION,
)
def activation_full(rank: Rank) -> np.ndarray:
    chosen = [each for each in rank.activations.values() if each.did_train]
    return np.concatenate([each.weights.rank_float64 == each.full_rank for each in chosen], axis=1)


@hypothesis(
    "rank-update-lower",
    "In the square layers, what training adds has a lower entropy rank than the random start.",
    family="rank",
    expects="below",
    tier="secondary",
    unit="directions",
    evidence=LAYERS,
)
def update_lower(rank: Rank) -> np.ndarray:
    return _square(rank.task2, rank.task2.update.entropy_rank - rank.task2.initial.entropy_rank)


@hypothesis(
    "rank-weights-lower",
    "In the square layers, the trained weights have a lower entropy rank than the random start.",
    family="rank",
    expects="below",
    unit="directions",
    evidence=LAYERS,
)
def weights_lower(rank: Rank) -> np.ndarray:
    return _square(rank.task2, rank.task2.weights.entropy_rank - rank.task2.initial.entropy_rank)


@hypothesis(
    "rank-outliers",
    "Every trained matrix has more singular values above the edge of its random start than the start itself.",
    family="rank",
    expects="every",
    evidence="sec-evidence-rank-spectra",
)
def outliers(rank: Rank) -> np.ndarray:
    return rank.task2.weights.outliers > rank.task2.initial.outliers


@hypothesis(
    "rank-depth-update",
    "Between equal layers, the entropy rank of what training adds falls with depth.",
    family="rank",
    expects="below",
    tier="secondary",
    unit="directions a layer",
    evidence=DEPTH,
)
def depth_update(rank: Rank) -> np.ndarray | None:
    deep = rank.deep["relu"]
    return per_layer(deep, deep.update.entropy_rank) if deep.did_train else None


@hypothesis(
    "rank-depth-weights",
    "Between equal layers, the entropy rank of the trained weights falls with depth.",
    family="rank",
    expects="below",
    unit="directions a layer",
    evidence=DEPTH,
)
def depth_weights(rank: Rank) -> np.ndarray | None:
    deep = rank.deep["relu"]
    return per_layer(deep, deep.weights.entropy_rank) if deep.did_train else None


@hypothesis(
    "rank-tanh-square",
    "In the square layers, what training adds has a lower entropy rank under tanh than under ReLU.",
    family="rank",
    expects="below",
    tier="secondary",
    unit="directions",
    evidence=ACTIVATION,
)
def tanh_square(rank: Rank) -> np.ndarray | None:
    return _tanh_less_relu(rank.activations)


@hypothesis(
    "rank-tanh-matched",
    "With variance-preserving initial weights, too, what training adds has a lower entropy rank under tanh.",
    family="rank",
    expects="below",
    unit="directions",
    evidence=ACTIVATION,
)
def tanh_matched(rank: Rank) -> np.ndarray | None:
    return _tanh_less_relu(rank.matched)


@hypothesis(
    "rank-images-bound",
    "Under plain SGD in double precision, the first layer's update has at most the rank of the images.",
    family="rank",
    expects="every",
    evidence="sec-evidence-rank-images",
)
def images_bound(rank: Rank) -> np.ndarray:
    return rank.images.update("sgd", "float64").rank_float64 <= rank.images.rank_float64


def _square(group: Networks, values: np.ndarray) -> np.ndarray:
    """(networks,) mean over the square layers."""
    return values[:, group.square].mean(axis=1)


def _tanh_less_relu(groups: Mapping[str, Networks]) -> np.ndarray | None:
    """(networks,) entropy rank of the update, mean over the square layers, paired by seed; None unless both trained."""
    if not all(name in groups and groups[name].did_train for name in ("tanh", "relu")):
        return None
    tanh, relu = (_square(groups[name], groups[name].update.entropy_rank) for name in ("tanh", "relu"))
    return tanh - relu


@hypothesis(
    "rank-partial-wrong",
    "In a matrix of known rank, above a tolerance from its largest entry, elimination counts too many pivots with "
    "partial pivoting, and not with complete.",
    family="rank",
    expects="every",
    evidence="sec-evidence-rank-elimination",
)
def partial_wrong(rank: Rank) -> np.ndarray:
    return np.array([[rank.known.partial > rank.known.rank, rank.known.complete == rank.known.rank]])
