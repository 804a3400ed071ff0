"""Chapter 2: a plain ReLU network, several seeds, trained to at least 95 %."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rankstudy import config
from rankstudy.study import engine


@dataclass(frozen=True)
class Config:
    network: config.Network
    training: config.Training
    data: config.Data
    learning_rates: tuple[float, ...]  # tried on the validation split; one only: taken as it is
    seeds: int


# Task 2's network: three hidden layers, so that "how does rank change with depth" can be asked of it
WIDTHS = (784, 256, 256, 256, 10)
_SMALL = config.Network((784, 32, 32, 32, 10))
CONFIGS = {
    "smoke": Config(_SMALL, config.Training(4, 32, learning_rate=3e-3), config.Data("mnist"), (3e-3,), 2),
    "quick": Config(config.Network(WIDTHS), config.Training(3, 128), config.Data("mnist"), (1e-3,), 3),
    "full": Config(
        config.Network(WIDTHS), config.Training(10, 128), config.Data("mnist"), (3e-4, 1e-3, 3e-3, 1e-2), 10
    ),
}


def plan(settings: Config) -> list[engine.Run]:
    run = engine.Run(settings.network, settings.training, settings.data, 0)
    tuning = engine.grid(run, settings.learning_rates) if len(settings.learning_rates) > 1 else []
    return tuning + [replace(run, seed=seed) for seed in range(settings.seeds)]


def runs(settings: Config) -> tuple[list[engine.Run], dict[str, Any]]:
    """The chapter's networks at the tuned learning rate, and the evidence for it. Later chapters start from these."""
    run = engine.Run(settings.network, settings.training, settings.data, 0)
    rate, evidence = settings.learning_rates[0], {}
    if len(settings.learning_rates) > 1:
        rate, evidence = engine.tune(run, settings.learning_rates)
    tuned = replace(run, training=replace(run.training, learning_rate=rate))
    return [replace(tuned, seed=seed) for seed in range(settings.seeds)], evidence


def compute(settings: Config) -> dict[str, Any]:
    chosen, evidence = runs(settings)
    found = engine.trained(chosen)
    return {
        "history": engine.histories(found),
        "tuning": evidence,
        "learning_rate": chosen[0].training.learning_rate,
        "parameters": parameters(settings.network),
    }


def parameters(network: config.Network) -> int:
    """Number of weights of a network, dense or factorised."""
    shapes: Sequence[tuple[int, int]] = network.shapes()
    if network.rank is None:
        return sum(out * inp for out, inp in shapes)
    return sum(network.rank * (out + inp) for out, inp in shapes)
