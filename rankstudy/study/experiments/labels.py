"""A control of chapter 4: true labels, shuffled ones, and labels that change with every epoch, at equal distance."""

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

CONDITIONS = ("true", "shuffled", "anew")


@dataclass(frozen=True)
class Labels:
    """The result; each condition has one entry per learning rate, in the order of `learning_rates`."""

    learning_rates: Floats  # (rates,)
    true: list[Paths]
    shuffled: list[Paths]  # one permutation for all epochs and all networks: it can be memorised
    anew: list[Paths]  # another permutation in every epoch: it cannot


@dataclass(frozen=True)
class Config(Job[Labels]):
    NAME = "labels"
    ANSWER = Labels

    network: config.Network
    training: config.Training  # its learning rate is replaced
    data: config.Data
    learning_rates: tuple[float, ...]
    seeds: int

    def selection(self) -> str:
        return self.data.name

    def walks(self, condition: str) -> list[list[Walk]]:
        """The trainings of one of CONDITIONS, a list per learning rate."""
        data = replace(self.data, shuffled_labels=1.0) if condition == "shuffled" else self.data
        walk = Walk(self.network, self.training, data, 0, anew=condition == "anew")
        return [paths.walks(walk, rate, engine.seeds(self.seeds)) for rate in self.learning_rates]

    def compute(self) -> Labels:
        jobs.prepare(plan(self))
        found = {each: [paths.stacked(chosen) for chosen in self.walks(each)] for each in CONDITIONS}
        return Labels(np.array(self.learning_rates), **found)


FULL = Config(
    config.Network((784, 256, 256, 256, 10)),  # Task 2's shape
    config.Training(50, 64),
    config.Data("mnist", train_size=3000),
    engine.factor2(5e-4, 2e-3),
    seeds=10,
)
CONFIGS = {
    "smoke": scaled(FULL, replace(SMOKE, epochs=8)),
    # fewer images and epochs, so few that paths of two networks still meet
    "quick": scaled(FULL, replace(QUICK, seeds=2, epochs=10, train_size=1000)),
    "full": FULL,
}


def plan(settings: Config) -> list[Walk]:
    """The trainings."""
    return [walk for condition in CONDITIONS for chosen in settings.walks(condition) for walk in chosen]
