"""Chapter 9: does pre-training lower the intrinsic dimension of what comes after (Aghajanyan et al. 2020)?

A network that has learnt some digits learns the others inside a random subspace, with the old ones kept in the data.
Overall accuracy would answer trivially: what counts is the harmonic mean of the accuracies on new and old digits, and
how much a subspace closes of the gap between the start and where training all parameters from scratch ends. One end for
every θ₀: a start from which nothing can be trained would else have little to reach.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rankstudy import config
from rankstudy.study import engine
from rankstudy.study.engine import Tuning
from rankstudy.study.experiments import subspaces
from rankstudy.study.experiments.crossing import crossing
from rankstudy.study.experiments.subspaces import Asked, ByDimension
from rankstudy.study.typed import Floats, Integers

CLOSED = 0.9  # of the gap
ORIGINS = ("pre-trained", "shuffled", "norm", "scratch")  # where θ₀ comes from; "shuffled": labels; "norm": that alone


@dataclass(frozen=True)
class Transfer:
    """One network, one split of the digits into old and new, several θ₀."""

    network: config.Network
    pretraining: config.Training  # of all parameters, on the old digits
    old: config.Data
    training: config.Training  # of the subspaces; its learning rate is one of `learning_rates`
    data: config.Data  # old and new digits
    new: tuple[int, ...]
    dimensions: tuple[int, ...]  # ascending
    learning_rates: tuple[float, ...]  # tried in each subspace on the validation split
    direct_rates: tuple[float, ...]  # the same for all parameters
    seeds: int
    arms: tuple[tuple[str, bool], ...]  # one of ORIGINS, and whether each layer has a scale of its own (SAID)

    def start(self, origin: str) -> engine.Run | None:
        """The pre-training that θ₀ comes from, its seed still to be set."""
        if origin == "scratch":
            return None
        old = replace(self.old, shuffled_labels=1.0) if origin == "shuffled" else self.old
        return engine.Run(self.network, self.pretraining, old, 0)

    def run(self, origin: str, dimension: int, scales: bool = False) -> engine.Run:
        """Its learning rate and seed still to be set; dimension 0 trains all parameters."""
        start, norm = self.start(origin), origin == "norm"
        run = engine.Run(self.network, self.training, self.data, 0, start, norm, observe="digits")
        return subspaces.in_dimension(run, dimension, scales=scales)

    def origins(self) -> list[str]:
        """Of the arms, and "scratch", whose end is the reference of all."""
        return list(dict.fromkeys([*(origin for origin, _ in self.arms), "scratch"]))

    def pretrainings(self) -> list[engine.Run]:
        seeds = [*engine.seeds(self.seeds), *([engine.TUNING_SEED] if len(self.learning_rates) > 1 else [])]
        starts = dict.fromkeys(start for origin, _ in self.arms if (start := self.start(origin)) is not None)
        return [replace(start, seed=seed) for start in starts for seed in seeds]

    def whole(self, origin: str) -> Asked:
        """All parameters, trained from one θ₀."""
        return Asked((self.run(origin, 0),), self.direct_rates, self.seeds)

    def inside(self, origin: str, scales: bool) -> Asked:
        """The subspaces of one arm."""
        runs = tuple(self.run(origin, dimension, scales) for dimension in self.dimensions)
        return Asked(runs, self.learning_rates, self.seeds)

    def asked(self) -> list[Asked]:
        """What `measured` asks `subspaces.curve` for."""
        return [*map(self.whole, self.origins()), *(self.inside(*arm) for arm in self.arms)]


BySplit = dict[str, Floats]


@dataclass(frozen=True)
class Moved:
    """One arm of a transfer. By split:"""

    origin: str
    scales: bool
    dimension: Integers  # (dimensions,)
    learning_rate: Floats  # (dimensions,)
    tuning: Tuning
    loss: BySplit  # (dimensions, seeds, epochs + 1) nats
    mean: BySplit  # (dimensions, seeds, epochs + 1) harmonic mean of new and old accuracy
    mean_all: BySplit  # (seeds, epochs + 1) the same when all parameters are trained from the same θ₀
    rate_all: Floats  # (1,) its learning rate
    closed: BySplit  # (dimensions, seeds) share of the gap after the last epoch
    d90: BySplit  # (seeds,) dimension that closes CLOSED of it


def measured(transfer: Transfer) -> list[Moved]:
    """Every arm of the transfer."""
    engine.trained(transfer.pretrainings())
    every = {origin: subspaces.curve(transfer.whole(origin)) for origin in transfer.origins()}
    end = {split: values[0, :, -1] for split, values in _means(every["scratch"], transfer.new).items()}
    found = []
    for origin, scales in transfer.arms:
        arm = subspaces.curve(transfer.inside(origin, scales))
        means = _means(arm, transfer.new)
        whole = _means(every[origin], transfer.new)
        closed = {split: gap_closed(means[split], end[split]) for split in means}
        threshold = np.full(transfer.seeds, CLOSED)
        found.append(
            Moved(
                origin=origin,
                scales=scales,
                dimension=arm.dimension,
                learning_rate=arm.learning_rate,
                tuning=arm.tuning,
                loss={split: getattr(arm.history, f"{split}_loss") for split in means},
                mean=means,
                mean_all={split: values[0] for split, values in whole.items()},
                rate_all=every[origin].learning_rate,
                closed=closed,
                d90={split: crossing(arm.dimension, values.T, threshold) for split, values in closed.items()},
            )
        )
    return found


def harmonic(digits: np.ndarray, new: tuple[int, ...]) -> np.ndarray:
    """(…,) harmonic mean of the mean accuracies on the new and on the old digits, from (…, 10); 0 if one of them is."""
    is_new = np.isin(np.arange(digits.shape[-1]), new)
    a, b = digits[..., is_new].mean(axis=-1), digits[..., ~is_new].mean(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.where(a * b > 0, 2 * a * b / (a + b), 0.0)


def gap_closed(means: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(R, seeds) share of the way from the start to `end`, (seeds,), gone by `means`, (R, seeds, epochs + 1)."""
    start = means[:, :, 0]
    return (means[:, :, -1] - start) / (end - start)


def _means(found: ByDimension, new: tuple[int, ...]) -> BySplit:
    return {split: harmonic(digits, new).astype(np.float32) for split, digits in found.digits.items()}
