"""Chapter 9: does pre-training lower the intrinsic dimension of what comes after (Aghajanyan et al. 2020)?

A network that has learnt some digits, or has not, learns others inside a random subspace. What is left to learn has to
be the same for both, so the new digits come alone and accuracy on them counts. A second task keeps the old digits in
the data: there the pre-trained network has less left to learn, and the score is the harmonic mean of the accuracies on
new and old digits, which is zero for a network that knows one group only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rankstudy import config
from rankstudy.study import engine, jobs
from rankstudy.study.engine import Tuning
from rankstudy.study.experiments import scrambled, subspaces
from rankstudy.study.experiments.scrambled import Scrambled
from rankstudy.study.experiments.subspaces import Asked, ByDimension
from rankstudy.study.typed import Floats, Integers

# where θ₀ comes from; "shuffled": pre-trained on shuffled labels; "entries": pre-trained, then put into random order
ORIGINS = ("pre-trained", "shuffled", "entries", "scratch")


@dataclass(frozen=True)
class Transfer:
    """One network, one task, several θ₀."""

    network: config.Network
    pretraining: config.Training  # of all parameters, on the old digits
    old: config.Data
    training: config.Training  # of the task; its learning rate is one of `learning_rates`
    data: config.Data  # of the task: the new digits, or old and new ones
    new: tuple[int, ...]
    dimensions: tuple[int, ...]  # ascending
    learning_rates: tuple[float, ...]  # tried in each subspace on the validation split
    direct_rates: tuple[float, ...]  # the same for all parameters
    seeds: int
    arms: tuple[tuple[str, bool], ...]  # one of ORIGINS, and whether each layer has a scale of its own (SAID)

    def pretrained(self, origin: str) -> engine.Run:
        """What has to be trained before θ₀ is there, its seed still to be set."""
        old = replace(self.old, shuffled_labels=1.0) if origin == "shuffled" else self.old
        return engine.Run(self.network, self.pretraining, old, 0)

    def start(self, origin: str) -> engine.Run | None:
        """What ends at θ₀, its seed still to be set; None: the random initialisation."""
        if origin == "scratch":
            return None
        run = self.pretrained(origin)
        return scrambled.of(run) if origin == "entries" else run

    def run(self, origin: str, dimension: int, scales: bool = False) -> engine.Run:
        """Its learning rate and seed still to be set; dimension 0 trains all parameters."""
        run = engine.Run(self.network, self.training, self.data, 0, self.start(origin), observe="digits")
        return subspaces.in_dimension(run, dimension, scales=scales)

    def all_seeds(self) -> list[int]:
        """Those that are read, and those of the search for learning rates."""
        searched = range(engine.TUNING_SEED, engine.TUNING_SEED + engine.TUNING_SEEDS)
        return [*engine.seeds(self.seeds), *(searched if len(self.learning_rates) > 1 else [])]

    def pretrainings(self) -> list[engine.Run]:
        origins = dict.fromkeys(origin for origin, _ in self.arms if origin != "scratch")
        runs = dict.fromkeys(self.pretrained(origin) for origin in origins)
        return [run.seeded(seed) for run in runs for seed in self.all_seeds()]

    def scrambles(self) -> list[Scrambled]:
        """What has to be put into random order once it is trained."""
        if not any(origin == "entries" for origin, _ in self.arms):
            return []
        return [scrambled.of(self.pretrained("entries").seeded(seed)) for seed in self.all_seeds()]

    def whole(self) -> Asked:
        """All parameters, trained from scratch: where every θ₀ is measured against."""
        return Asked((self.run("scratch", 0),), self.direct_rates, self.seeds)

    def inside(self, origin: str, scales: bool) -> Asked:
        """The subspaces of one arm."""
        runs = tuple(self.run(origin, dimension, scales) for dimension in self.dimensions)
        return Asked(runs, self.learning_rates, self.seeds)

    def asked(self) -> list[Asked]:
        """What `measured` asks `subspaces.curve` for."""
        return [self.whole(), *(self.inside(*arm) for arm in self.arms)]


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
    mean: BySplit  # (dimensions, seeds, epochs + 1) the score, see `score`
    mean_all: BySplit  # (seeds, epochs + 1) the same when all parameters are trained from scratch
    rate_all: Floats  # (1,) its learning rate


def ready(transfers: list[Transfer]) -> None:
    """Have in the store what the trainings of some transfers start from."""
    engine.trained([run for transfer in transfers for run in transfer.pretrainings()])
    jobs.answers([each for transfer in transfers for each in transfer.scrambles()])


def measured(transfer: Transfer) -> list[Moved]:
    """Every arm of the transfer."""
    ready([transfer])
    whole = subspaces.curve(transfer.whole())
    end = {split: values[0] for split, values in _scores(whole, transfer.new).items()}
    found = []
    for origin, scales in transfer.arms:
        arm = subspaces.curve(transfer.inside(origin, scales))
        scores = _scores(arm, transfer.new)
        found.append(
            Moved(
                origin=origin,
                scales=scales,
                dimension=arm.dimension,
                learning_rate=arm.learning_rate,
                tuning=arm.tuning,
                loss={split: getattr(arm.history, f"{split}_loss") for split in scores},
                mean=scores,
                mean_all=end,
                rate_all=whole.learning_rate,
            )
        )
    return found


def score(digits: np.ndarray, new: tuple[int, ...]) -> np.ndarray:
    """(…,) from accuracies on each digit (…, 10): the mean of the new digits where the data have no others (NaN), else
    its harmonic mean with that of the others, 0 if one of them is."""
    is_new = np.isin(np.arange(digits.shape[-1]), new)
    a, others = digits[..., is_new].mean(axis=-1), digits[..., ~is_new]
    if np.isnan(others).all():
        return a
    b = others.mean(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.where(a * b > 0, 2 * a * b / (a + b), 0.0)


def _scores(found: ByDimension, new: tuple[int, ...]) -> BySplit:
    return {split: score(digits, new).astype(np.float32) for split, digits in found.digits.items()}
