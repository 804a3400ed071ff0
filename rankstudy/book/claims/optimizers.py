"""What was expected of updates under several optimisers: docs/hypotheses/03.md, points 1, 14 and 16."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.optimizers import (
    Group,
    Optimizers,
    best,
    did_train,
    equal_accuracy,
    equal_distance,
    equal_epochs,
    over_rates,
    slopes,
)

SECTION = "sec-evidence-rank-optimizers"
TOP = "sec-evidence-rank-top"
OUTLIERS = "sec-evidence-rank-outliers"


def _measured(values: np.ndarray | None) -> np.ndarray | None:
    """Without the networks in which it could not be measured; None if two are not left."""
    if values is None:
        return None
    left = values[np.isfinite(values)]
    return left if len(left) > 1 else None


def _both(group: Group, first: str, second: str) -> bool:
    return first in group.followed and second in group.followed


@hypothesis(
    "optimizers-adam-sgd-distance",
    "At equal distance from the start, the square layers' updates have a higher entropy rank under Adam than "
    "under SGD.",
    family="optimizers",
    tier="primary",
    expects="above",
    matters=10.0,
    unit="directions",
    evidence=SECTION,
)
def adam_sgd_distance(optimizers: Optimizers) -> np.ndarray | None:
    group = optimizers.task2
    return _measured(equal_distance(group.followed["adam"], group.followed["sgd"], group.square))


@hypothesis(
    "optimizers-adam-sgd-accuracy",
    "At equal validation accuracy, the square layers' updates have a higher entropy rank under Adam than under SGD.",
    family="optimizers",
    expects="above",
    matters=10.0,
    unit="directions",
    evidence=SECTION,
)
def adam_sgd_accuracy(optimizers: Optimizers) -> np.ndarray | None:
    group = optimizers.task2
    adam, sgd = (equal_accuracy(group.followed[name], group.square) for name in ("adam", "sgd"))
    return _measured(adam - sgd)


@hypothesis(
    "optimizers-adam-sgd-epochs",
    "After equally many epochs, each at its best rate, the square layers' updates have a higher entropy rank under "
    "Adam than under SGD.",
    family="optimizers",
    expects="above",
    matters=10.0,
    unit="directions",
    evidence=SECTION,
)
def adam_sgd_epochs(optimizers: Optimizers) -> np.ndarray | None:
    group = optimizers.task2
    adam, sgd = (equal_epochs(group.followed[name], group.square) for name in ("adam", "sgd"))
    return _measured(adam - sgd)


@hypothesis(
    "optimizers-muon-adam",
    "At equal distance, the square layers' updates have a higher entropy rank under Muon than under Adam.",
    family="optimizers",
    expects="above",
    matters=10.0,
    unit="directions",
    evidence=SECTION,
)
def muon_adam(optimizers: Optimizers) -> np.ndarray | None:
    group = optimizers.task2
    if not _both(group, "muon", "adam"):
        return None
    return _measured(equal_distance(group.followed["muon"], group.followed["adam"], group.square))


@hypothesis(
    "optimizers-depth-distance",
    "At equal distance, the update of Task 2's third layer has a lower entropy rank than that of the second, under "
    "Adam.",
    family="optimizers",
    tier="secondary",
    expects="below",
    matters=5.0,
    unit="directions",
    evidence=SECTION,
)
def depth_distance(optimizers: Optimizers) -> np.ndarray | None:
    group = optimizers.task2
    return _measured(over_rates(slopes(group.followed["adam"], group.square)))


@hypothesis(
    "optimizers-depth-rates",
    "After the last epoch, too, the update of the third layer has a lower entropy rank than that of the second, at "
    "every learning rate of Adam.",
    family="optimizers",
    expects="every",
    evidence=SECTION,
)
def depth_rates(optimizers: Optimizers) -> np.ndarray | None:
    group = optimizers.task2
    adam = group.followed["adam"]
    last = adam.entropy_rank[:, :, -1][..., group.square]
    kept = np.where(did_train(adam), last[..., -1] - last[..., 0], np.nan)
    means = np.array([np.nanmean(row) for row in kept if np.isfinite(row).any()])
    return (means < 0)[None] if len(means) else None


@hypothesis(
    "optimizers-deep-distance",
    "At equal distance, the entropy rank of the update falls with depth between the deeper network's square layers, "
    "under Adam.",
    family="optimizers",
    tier="secondary",
    expects="below",
    matters=1.0,
    unit="directions a layer",
    evidence=SECTION,
)
def deep_distance(optimizers: Optimizers) -> np.ndarray | None:
    group = optimizers.deep
    return _measured(over_rates(slopes(group.followed["adam"], group.square)))


@hypothesis(
    "optimizers-sgd-inputs",
    "Under SGD, the square layers' updates have a lower entropy rank than random errors on the same inputs make.",
    family="optimizers",
    expects="below",
    matters=10.0,
    unit="directions",
    evidence="sec-evidence-rank-inputs",
)
def sgd_inputs(optimizers: Optimizers) -> np.ndarray | None:
    group = optimizers.task2
    sgd = group.followed["sgd"]
    beyond = sgd.entropy_rank[:, :, -1] - np.minimum(sgd.before, sgd.after)
    return _measured(over_rates(np.where(did_train(sgd), beyond[..., group.square].mean(axis=2), np.nan)))


@hypothesis(
    "optimizers-outliers-muon",
    "Muon's updates have fewer outliers in the square layers than Adam's.",
    family="optimizers",
    expects="below",
    matters=1.0,
    unit="outliers",
    evidence=OUTLIERS,
)
def outliers_muon(optimizers: Optimizers) -> np.ndarray | None:
    group = optimizers.task2
    if not _both(group, "muon", "adam"):
        return None
    muon, adam = (
        each.shuffled[best(each)][:, group.square].mean(axis=1)
        for each in (group.followed["muon"], group.followed["adam"])
    )
    return _measured(muon - adam)


@hypothesis(
    "optimizers-outliers-classes",
    "With ten classes the square layers' updates have more outliers than with two, under Adam.",
    family="optimizers",
    expects="above",
    matters=1.0,
    unit="outliers",
    evidence=OUTLIERS,
)
def outliers_classes(optimizers: Optimizers) -> np.ndarray | None:
    classes, counts = optimizers.classes, optimizers.classes.shuffled[..., optimizers.task2.square].mean(axis=2)
    if not {2, 10} <= set(classes.classes.tolist()):
        return None
    ten, two = (counts[classes.classes.tolist().index(count)] for count in (10, 2))
    return _measured(ten - two)


@hypothesis(
    "optimizers-top-settles",
    "Half-way through training under Adam, the leading directions of the square layers are mostly the final ones.",
    family="optimizers",
    expects="above",
    unit="of the span, beyond a half",
    evidence=TOP,
)
def top_settles(optimizers: Optimizers) -> np.ndarray | None:
    group = optimizers.task2
    adam = group.followed["adam"]
    half = (adam.settled.shape[2] - 1) // 2
    share = adam.settled[:, :, half][..., group.square].mean(axis=2) - 0.5
    return _measured(over_rates(np.where(did_train(adam), share, np.nan)))


@hypothesis(
    "optimizers-alignment",
    "After training, the leading directions that a hidden layer writes and the next square layer reads overlap little "
    "more than random ones, under Adam.",
    family="optimizers",
    expects="within",
    matters=0.1,
    unit="of the span",
    evidence=TOP,
)
def alignment(optimizers: Optimizers) -> np.ndarray | None:
    group = optimizers.task2
    adam = group.followed["adam"]
    pairs = [layer - 1 for layer in group.square]  # what the layer before writes
    beyond = adam.aligned[:, :, -1][..., pairs].mean(axis=2) - optimizers.top / group.widths[group.square[0]]
    return _measured(over_rates(np.where(did_train(adam), beyond, np.nan)))
