"""Chapter 3's control of optimisers as a typed result, and updates compared at equal distance, accuracy and epochs.

`results.optimizers()` makes it. Trainings that diverged or ended below `measured.TRAINED` take no part in comparisons;
what cannot be compared is NaN. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.measured import TRAINED, Origin
from rankstudy.book.missing import Missing
from rankstudy.book.numbers import fixed, words
from rankstudy.book.stats import Estimate, estimate, short
from rankstudy.book.tables import Markdown, of_control, percentage, show
from rankstudy.registry import OPTIMIZERS
from rankstudy.study.experiments import optimizers as experiment
from rankstudy.study.experiments.optimizers import Classes, Followed
from rankstudy.study.questions import Result

ACCURACY = 0.93  # on validation images, at which updates are compared
POINTS = 20  # distances at which they are compared, equally spaced in log
OVERLAP = np.log(1.25)  # of distances, below which there is nothing to compare


@dataclass(frozen=True)
class Group:
    """One network under several optimisers."""

    widths: tuple[int, ...]
    followed: Mapping[str, Followed]  # by optimiser, in the book's order

    @property
    def square(self) -> list[int]:
        """Indices of the layers of equal, square shape."""
        return [index for index, (inp, out) in enumerate(pairwise(self.widths)) if out == inp]


@dataclass(frozen=True)
class Optimizers:
    """The control."""

    origin: Origin
    task2: Group
    deep: Group
    classes: Classes
    top: int  # leading directions whose overlap is told
    images: int  # trained on


def typed(result: Result) -> Optimizers:
    found: experiment.Optimizers = result.typed
    groups = {
        name: Group(tuple(found.widths[name]), {each: followed[each] for each in OPTIMIZERS if each in followed})
        for name, followed in found.followed.items()
    }
    return Optimizers(
        conversion.origin(result),
        **groups,
        classes=found.classes,
        top=found.top,
        images=result.config["data"]["train_size"] or 0,
    )


def label(optimizer: str) -> str:
    """What readers call it."""
    return OPTIMIZERS[optimizer].label if optimizer in OPTIMIZERS else optimizer


@of_control
def optimisers(optimizers: Optimizers) -> Markdown:
    """How many Task 2's network was trained under, as a word."""
    return words(len(optimizers.task2.followed)) if not isinstance(optimizers, Missing) else Markdown("several")


def images(optimizers: Optimizers | Missing) -> Markdown:
    """How many training images were used; all of the fallback data set's."""
    return (
        fixed(optimizers.images)
        if not isinstance(optimizers, Missing) and optimizers.images
        else Markdown("all training")
    )


def did_train(followed: Followed) -> np.ndarray:
    """(rates, networks) whether it ended at the training accuracy that we ask for before we conclude from it."""
    return followed.history.train_accuracy[:, :, -1] >= TRAINED


def best(followed: Followed) -> int:
    """Index of the learning rate with the highest mean validation accuracy at the end."""
    score = followed.history.validation_accuracy[:, :, -1].mean(axis=1)
    return int(np.nan_to_num(score, nan=-1.0).argmax())


Line = tuple[np.ndarray, np.ndarray]  # log distance, ascending, and entropy rank there


def line(followed: Followed, rate: int, network: int, layer: int) -> Line:
    """Entropy rank of a layer's update over the log of its distance, after each epoch of one training."""
    distance = np.log(followed.distance[rate, network, 1:, layer])
    order = np.argsort(distance)
    return distance[order], followed.entropy_rank[rate, network, 1:, layer][order]


def lines(followed: Followed, network: int, layer: int) -> list[Line]:
    """Those of the rates at which this network trained."""
    rates = np.flatnonzero(did_train(followed)[:, network])
    return [line(followed, rate, network, layer) for rate in rates]


def at(drawn: Sequence[Line], distances: np.ndarray) -> np.ndarray:
    """Mean over lines at log distances, of those that pass there; NaN where none does."""
    values = np.array([np.interp(distances, x, y, left=np.nan, right=np.nan) for x, y in drawn])
    return _mean(values.reshape(len(drawn), len(distances)))


def equal_distance(first: Followed, second: Followed, layers: Sequence[int]) -> np.ndarray:
    """(networks,) first − second in entropy rank at equal distance, mean over layers; NaN where they do not overlap."""
    found = []
    for network in range(first.distance.shape[1]):
        pairs = [(lines(first, network, layer), lines(second, network, layer)) for layer in layers]
        found.append(np.mean([_difference(*pair) for pair in pairs]))
    return np.array(found)


def _difference(first: Sequence[Line], second: Sequence[Line]) -> float:
    if not first or not second:
        return np.nan
    low = max(min(x[0] for x, _ in each) for each in (first, second))
    high = min(max(x[-1] for x, _ in each) for each in (first, second))
    if high - low < OVERLAP:
        return np.nan
    places = np.linspace(low, high, POINTS)
    return float(_mean(at(first, places) - at(second, places)))


def equal_accuracy(followed: Followed, layers: Sequence[int], accuracy: float = ACCURACY) -> np.ndarray:
    """(networks,) entropy rank at the first epoch with that validation accuracy, mean over rates and layers."""
    reached = followed.history.validation_accuracy[:, :, 1:] >= accuracy  # (rates, networks, epochs)
    counts = reached.any(axis=2) & did_train(followed)
    epoch = 1 + reached.argmax(axis=2)
    ranks = np.take_along_axis(followed.entropy_rank, epoch[:, :, None, None], axis=2)[:, :, 0, :]
    return _mean(np.where(counts, ranks[:, :, list(layers)].mean(axis=2), np.nan))


def equal_epochs(followed: Followed, layers: Sequence[int]) -> np.ndarray:
    """(networks,) entropy rank after the last epoch at the best rate, mean over layers."""
    ranks = followed.entropy_rank[:, :, -1, list(layers)].mean(axis=2)
    return np.where(did_train(followed), ranks, np.nan)[best(followed)]


def slopes(followed: Followed, layers: Sequence[int]) -> np.ndarray:
    """(rates, networks) change of the entropy rank from layer to layer at equal distance within one training."""
    trained = did_train(followed)
    found = np.full(trained.shape, np.nan)
    for rate, network in np.argwhere(trained):
        drawn = [line(followed, rate, network, layer) for layer in layers]
        low, high = max(x[0] for x, _ in drawn), min(x[-1] for x, _ in drawn)
        if high - low >= OVERLAP:
            places = np.linspace(low, high, POINTS)
            values = np.array([np.interp(places, x, y) for x, y in drawn])  # (layers, POINTS)
            found[rate, network] = np.polyfit(np.arange(len(layers)), values, 1)[0].mean()
    return found


def over_rates(values: np.ndarray) -> np.ndarray:
    """(networks,) mean of (rates, networks) over the rates that have a value."""
    return _mean(values)


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the first axis, of what is no NaN; NaN where nothing is."""
    counts = np.isfinite(values).sum(axis=0)
    return np.where(counts, np.nansum(values, axis=0) / np.maximum(counts, 1), np.nan)


# Tables of the evidence


def rates_table(optimizers: Optimizers | Missing, *, deep: bool = False) -> Markdown:
    """A row an optimiser and learning rate: how it trained, how far its square layers moved and with which rank.

    Means over the networks that trained.
    """
    group = optimizers.deep if deep else optimizers.task2
    first, last = group.square[0], group.square[-1]
    rows = []
    for name, followed in group.followed.items():
        for rate, kept in enumerate(did_train(followed)):
            row: list[object] = [f"{label(name)}, {followed.learning_rate[rate]:g}", f"{kept.sum()} of {len(kept)}"]
            if kept.any():
                row += [percentage(followed.history.test_accuracy[rate, kept, -1])]
                row += [estimate(followed.distance[rate, kept, -1, layer]) for layer in (first, last)]
                row += [estimate(followed.entropy_rank[rate, kept, -1, layer]) for layer in (0, first, last)]
            rows.append(row + [""] * (8 - len(row)))
    moved = [f"distance, layer {layer + 1}" for layer in (first, last)]
    ranks = [f"entropy rank, layer {layer + 1}" for layer in (0, first, last)]
    return show(["optimiser, rate", "trained", "test, %", *moved, *ranks], rows)


@of_control
def comparisons_table(optimizers: Optimizers) -> Markdown:
    """Differences of two optimisers in entropy rank over Task 2's square layers, at equal distance, validation accuracy
    and epochs."""
    group, rows = optimizers.task2, []
    for first, second in (("adam", "sgd"), ("adam", "momentum"), ("momentum", "sgd"), ("muon", "adam")):
        if first in group.followed and second in group.followed:
            a, b = group.followed[first], group.followed[second]
            found = [
                equal_distance(a, b, group.square),
                equal_accuracy(a, group.square) - equal_accuracy(b, group.square),
                equal_epochs(a, group.square) - equal_epochs(b, group.square),
            ]
            rows.append([f"{label(first)} − {label(second)}", *(_estimated(each) for each in found)])
    return show(["optimisers", "equal distance", f"{100 * ACCURACY:.0f} % validation accuracy", "equal epochs"], rows)


@of_control
def depth_table(optimizers: Optimizers) -> Markdown:
    """Change of the update's entropy rank a layer, over square layers: at equal distance and after the last epoch, the
    mean over rates and the range of the means at single rates."""
    rows = []
    for title, group in (("Task 2’s", optimizers.task2), ("deeper", optimizers.deep)):
        for name, followed in group.followed.items():
            here = slopes(followed, group.square)
            last = np.where(did_train(followed), _last_slopes(followed, group.square), np.nan)
            rows.append(
                [
                    f"{title}, {label(name)}",
                    _estimated(over_rates(here)),
                    _range(here),
                    _estimated(over_rates(last)),
                    _range(last),
                ]
            )
    heads = ["equal distance", "at single rates", "after the last epoch", "at single rates"]
    return show(["network, optimiser", *heads], rows)


@of_control
def inputs_table(optimizers: Optimizers, *, deep: bool = False) -> Markdown:
    """Entropy rank of the final update less the lower of the two baselines of random errors, by optimiser and layer;
    means over rates."""
    group, rows = (optimizers.deep if deep else optimizers.task2), []
    layers = [0, *group.square]
    for name, followed in group.followed.items():
        beyond = followed.entropy_rank[:, :, -1] - np.minimum(followed.before, followed.after)
        kept = np.where(did_train(followed)[..., None], beyond, np.nan)
        rows.append([label(name), *(_estimated(over_rates(kept[..., layer])) for layer in layers)])
    return show(["optimiser", *(f"layer {layer + 1}" for layer in layers)], rows)


@of_control
def outliers_table(optimizers: Optimizers) -> Markdown:
    """Outliers of the update above entry-shuffled copies, by layer: each optimiser at its best rate, then Adam by the
    number of classes."""
    group, classes = optimizers.task2, optimizers.classes
    counts = {label(name): each.shuffled[best(each)] for name, each in group.followed.items()}
    counts |= {f"Adam, {count} classes": classes.shuffled[index] for index, count in enumerate(classes.classes)}
    layers = range(len(group.widths) - 1)
    rows = [[name, *(_estimated(each[:, layer]) for layer in layers)] for name, each in counts.items()]
    return show(["condition", *(f"layer {layer + 1}" for layer in layers)], rows)


@of_control
def aligned_table(optimizers: Optimizers) -> Markdown:
    """Overlap of what a layer writes most strongly with what the next one reads, before training and after it, each
    optimiser at its best rate."""
    group, rows = optimizers.task2, []
    pairs = range(len(group.widths) - 2)
    for name, followed in group.followed.items():
        found = followed.aligned[best(followed)]
        cells = [_estimated(found[:, epoch, pair]) for pair in pairs for epoch in (0, -1)]
        rows.append([label(name), *cells])
    heads = [f"layers {pair + 1} and {pair + 2}, {when}" for pair in pairs for when in ("start", "end")]
    return show(["optimiser", *heads], rows)


def _last_slopes(followed: Followed, layers: Sequence[int]) -> np.ndarray:
    """(rates, networks) change of the entropy rank a layer after the last epoch."""
    last = followed.entropy_rank[:, :, -1][..., list(layers)]
    at_layer = np.arange(len(layers)) - (len(layers) - 1) / 2
    return (last * at_layer).sum(axis=2) / (at_layer**2).sum()


def _estimated(values: np.ndarray) -> Estimate | str:
    left = values[np.isfinite(values)]
    return estimate(left) if len(left) else "–"


def _range(values: np.ndarray) -> str:
    """Of the means over networks at single rates."""
    means = [row[np.isfinite(row)].mean() for row in values if np.isfinite(row).any()]
    return f"{short(min(means), True)} to {short(max(means), True)}" if means else "–"
