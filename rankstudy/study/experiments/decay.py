"""A control of chapter 4: what is learned with weight decay and without it, at equal distance.

Weight decay shrinks what is left of the random start, which has a high rank, whatever is learned. So what is learned is
taken by itself, W − k·W₀ (`paths`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rankstudy import config
from rankstudy.study import engine, jobs
from rankstudy.study.experiments import paths
from rankstudy.study.experiments.paths import Paths, Walk
from rankstudy.study.jobs import Job
from rankstudy.study.profiles import QUICK, SMOKE, scaled
from rankstudy.study.typed import Floats


@dataclass(frozen=True)
class Decay:
    """The result."""

    weight_decays: Floats  # (decays,) λ, the first is 0
    learning_rate: float
    found: list[Paths]  # one entry per weight decay


@dataclass(frozen=True)
class Config(Job[Decay]):
    NAME = "decay"
    ANSWER = Decay

    network: config.Network
    training: config.Training  # its weight decay is replaced
    data: config.Data
    weight_decays: tuple[float, ...]  # λ, decoupled; the first is 0, which the others are compared with
    seeds: int

    def selection(self) -> str:
        return self.data.name

    def walks(self, weight_decay: float) -> list[Walk]:
        """The trainings with that λ."""
        training = replace(self.training, weight_decay=weight_decay)
        walk = Walk(self.network, training, self.data, 0)
        return paths.walks(walk, training.learning_rate, engine.seeds(self.seeds))

    def compute(self) -> Decay:
        jobs.prepare(plan(self))
        found = [paths.stacked(self.walks(decay)) for decay in self.weight_decays]
        return Decay(np.array(self.weight_decays), self.training.learning_rate, found)


FULL = Config(
    config.Network((784, 256, 256, 256, 10)),  # Task 2's shape
    config.Training(20, 64, "adamw", learning_rate=2e-3),  # without decay that is Adam
    config.Data("mnist", train_size=3000),
    (0.0, 0.1, 1.0),
    seeds=10,
)
CONFIGS = {
    "smoke": scaled(FULL, replace(SMOKE, epochs=8)),
    "quick": scaled(FULL, replace(QUICK, seeds=2, epochs=10, train_size=1000)),
    "full": FULL,
}


def plan(settings: Config) -> list[Walk]:
    """The trainings."""
    return [walk for decay in settings.weight_decays for walk in settings.walks(decay)]
