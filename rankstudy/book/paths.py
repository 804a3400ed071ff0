"""Chapter 4's controls as its page reads them: ways of training, compared where they are equally far from the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.measured import Origin
from rankstudy.study.experiments import decay as decay_experiment
from rankstudy.study.experiments import labels as labels_experiment
from rankstudy.study.experiments.paths import Paths
from rankstudy.study.questions import Result

POINTS = 21  # distances at which two paths are compared
NEAREST = 0.1  # of them: before it, an update is a handful of steps


def at_equal_distance(one: Paths, other: Paths) -> np.ndarray:
    """(networks, layers) entropy rank of what `one` learned less that of `other`, at equal distance from the start.

    Both are interpolated linearly in the logarithm of the distance and compared at POINTS distances, equally spaced in
    the logarithm, of the range from NEAREST on that both passed; paired by seed. NaN where there is no such range.
    """
    networks, _, layers = one.distance.shape
    found = np.full((networks, layers), np.nan)
    for network in range(networks):
        for layer in range(layers):
            (x, y), (other_x, other_y) = _path(one, network, layer), _path(other, network, layer)
            if not len(x) or not len(other_x):  # diverged at once
                continue
            low, high = max(x[0], other_x[0], np.log(NEAREST)), min(x[-1], other_x[-1])
            if low < high:
                at = np.linspace(low, high, POINTS)
                found[network, layer] = np.mean(np.interp(at, x, y) - np.interp(at, other_x, other_y))
    return found


def _path(paths: Paths, network: int, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of the distance, and the entropy rank, at each look that was further away than all before it."""
    distance = np.nan_to_num(paths.distance[network, :, layer])
    further = distance > np.concatenate([[0.0], np.maximum.accumulate(distance)[:-1]])
    return np.log(distance[further]), paths.entropy_rank[network, :, layer][further]


def over_rates(found: Sequence[np.ndarray], layers: Sequence[int]) -> np.ndarray | None:
    """(networks,) mean over learning rates and layers of (networks, layers) each; a rate at which some pair has no
    distance in common is left out, and None is what is left of none."""
    means = [each[:, list(layers)].mean(axis=1) for each in found]
    usable = [each for each in means if np.isfinite(each).all()]
    return np.mean(usable, axis=0) if usable else None


def ends(found: Sequence[Paths], measure: str, layers: Sequence[int] = ()) -> np.ndarray:
    """(networks, conditions) at the end: a field of the history, or of the path, mean over layers."""
    if not layers:
        return np.stack([getattr(paths.history, measure)[:, -1] for paths in found], axis=1)
    return np.stack([getattr(paths, measure)[:, -1, list(layers)].mean(axis=1) for paths in found], axis=1)


def square(widths: Sequence[int]) -> list[int]:
    """Indices of the square layers."""
    return [layer for layer, (inp, out) in enumerate(pairwise(widths)) if inp == out]


@dataclass(frozen=True)
class Labels:
    """Networks trained on true labels, on shuffled ones, and on labels that change with every epoch."""

    origin: Origin
    widths: tuple[int, ...]
    images: int | None  # trained on; None: all
    learning_rates: np.ndarray  # (rates,)
    true: tuple[Paths, ...]  # one entry per learning rate, as the next two
    shuffled: tuple[Paths, ...]
    anew: tuple[Paths, ...]

    @property
    def square(self) -> list[int]:
        """Indices of the square layers."""
        return square(self.widths)

    @property
    def conditions(self) -> dict[str, tuple[Paths, ...]]:
        """By the reader's name."""
        return {"true": self.true, "shuffled": self.shuffled, "drawn anew": self.anew}

    def at_equal_distance(self, one: str, other: str) -> list[np.ndarray]:
        """Per learning rate (networks, layers): entropy rank of the update under one condition less the other's."""
        return [at_equal_distance(a, b) for a, b in zip(getattr(self, one), getattr(self, other), strict=True)]

    def at_the_end(self, one: str, other: str) -> list[np.ndarray]:
        """The same after as many epochs, at whatever distance."""
        pairs = zip(getattr(self, one), getattr(self, other), strict=True)
        return [a.entropy_rank[:, -1] - b.entropy_rank[:, -1] for a, b in pairs]

    def by_rate(self, one: str, other: str, layers: Sequence[int]) -> np.ndarray:
        """(networks, rates) `at_equal_distance`, mean over layers."""
        return np.stack([each[:, list(layers)].mean(axis=1) for each in self.at_equal_distance(one, other)], axis=1)

    def end(self, condition: str, measure: str, layers: Sequence[int] = ()) -> np.ndarray:
        """(networks, rates) a history's field, or a path's (mean over layers), at the end."""
        return ends(getattr(self, condition), measure, layers)


@dataclass(frozen=True)
class Decay:
    """Networks trained with weight decay and without it."""

    origin: Origin
    widths: tuple[int, ...]
    images: int | None  # trained on; None: all
    learning_rate: float
    weight_decays: np.ndarray  # (decays,) λ, the first is 0
    paths: tuple[Paths, ...]  # one entry per weight decay

    @property
    def square(self) -> list[int]:
        """Indices of the square layers."""
        return square(self.widths)

    @property
    def conditions(self) -> dict[str, tuple[Paths, ...]]:
        """By the weight decay."""
        return {f"λ = {decay:g}": (paths,) for decay, paths in zip(self.weight_decays, self.paths, strict=True)}

    @property
    def kept(self) -> np.ndarray:
        """(decays,) what each leaves of the random start by itself."""
        return np.array([each.kept[-1] for each in self.paths])

    @property
    def less_than_none(self) -> np.ndarray:
        """(networks, decays) entropy rank of what square layers learned, at equal distance, less that without decay."""
        found = [at_equal_distance(each, self.paths[0])[:, self.square].mean(axis=1) for each in self.paths]
        return np.stack(found, axis=1)

    def end(self, measure: str, layers: Sequence[int] = ()) -> np.ndarray:
        """(networks, decays) a history's field, or a path's (mean over layers), at the end."""
        return ends(self.paths, measure, layers)


def labels(result: Result) -> Labels:
    """What the page reads, of a stored result."""
    found: labels_experiment.Labels = result.typed
    return Labels(
        conversion.origin(result),
        tuple(result.config["network"]["widths"]),
        _images(result),
        found.learning_rates,
        tuple(found.true),
        tuple(found.shuffled),
        tuple(found.anew),
    )


def decay(result: Result) -> Decay:
    """Likewise."""
    found: decay_experiment.Decay = result.typed
    return Decay(
        conversion.origin(result),
        tuple(result.config["network"]["widths"]),
        _images(result),
        found.learning_rate,
        found.weight_decays,
        tuple(found.found),
    )


def _images(result: Result) -> int | None:
    return result.config["data"]["train_size"]
