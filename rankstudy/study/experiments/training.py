"""Chapter 2: a plain ReLU network, several seeds, trained to at least 95 %."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rankstudy import config
from rankstudy.study import engine
from rankstudy.study.engine import Histories, Tuning
from rankstudy.study.jobs import Job
from rankstudy.study.profiles import QUICK, SMOKE, scaled


@dataclass(frozen=True)
class Training:
    """Chapter 2's result."""

    history: Histories
    tuning: Tuning
    learning_rate: float
    parameters: int  # weights of a network


@dataclass(frozen=True)
class Config(Job[Training]):
    NAME = "training"
    ANSWER = Training

    network: config.Network
    training: config.Training
    data: config.Data
    learning_rates: tuple[float, ...]  # tried on the validation split; one only: taken as it is
    seeds: int

    def selection(self) -> str:
        return self.data.name

    def compute(self) -> Training:
        return compute(self)


# Task 2's network: three hidden layers, so that "how does rank change with depth" can be asked of it
WIDTHS = (784, 256, 256, 256, 10)
FULL = Config(
    network=config.Network(WIDTHS),
    training=config.Training(10, 128),
    data=config.Data("mnist"),
    learning_rates=engine.factor2(2.5e-4, 4e-3),
    seeds=10,
)
CONFIGS = {
    "full": FULL,
    "quick": scaled(FULL, replace(QUICK, train_size=None, validation_size=None)),  # 95 % is asked for
    "smoke": scaled(replace(FULL, training=config.Training(4, 32), learning_rates=(3e-3,)), replace(SMOKE, epochs=4)),
}


def plan(settings: Config) -> list[engine.Run]:
    run = engine.Run(settings.network, settings.training, settings.data, 0)
    tuning = engine.grid(run, settings.learning_rates) if len(settings.learning_rates) > 1 else []
    return tuning + [replace(run, seed=seed) for seed in engine.seeds(settings.seeds)]


def runs(settings: Config) -> tuple[list[engine.Run], Tuning]:
    """The chapter's networks at the tuned learning rate, and the evidence for it. Later chapters start from these."""
    run = engine.Run(settings.network, settings.training, settings.data, 0)
    rate, evidence = settings.learning_rates[0], Tuning()
    if len(settings.learning_rates) > 1:
        rate, evidence = engine.tune(run, settings.learning_rates)
    tuned = replace(run, training=replace(run.training, learning_rate=rate))
    return [replace(tuned, seed=seed) for seed in engine.seeds(settings.seeds)], evidence


def compute(settings: Config) -> Training:
    chosen, evidence = runs(settings)
    found = engine.trained(chosen)
    rate = chosen[0].training.learning_rate
    return Training(engine.histories(found), evidence, rate, parameters(settings.network))


def parameters(network: config.Network) -> int:
    """Number of weights of a network, dense or factorised."""
    shapes: Sequence[tuple[int, int]] = network.shapes()
    if network.rank is None:
        return sum(out * inp for out, inp in shapes)
    return sum(network.rank * (out + inp) for out, inp in shapes)
