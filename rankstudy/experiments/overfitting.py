"""Chapter 4: a network that is too large, trained until it overfits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rankstudy import config
from rankstudy.experiments import networks


@dataclass(frozen=True)
class Config:
    network: config.Network
    training: config.Training
    data: config.Data
    seeds: int


WIDTHS = (784, 1024, 1024, 1024, 10)
_SMALL = config.Network((784, 64, 64, 64, 10))
CONFIGS = {
    "smoke": Config(_SMALL, config.Training(20, 32, learning_rate=3e-3), config.Data("mnist"), 2),
    "quick": Config(config.Network(WIDTHS), config.Training(12, 64), config.Data("mnist", train_size=4000), 2),
    "full": Config(config.Network(WIDTHS), config.Training(15, 128), config.Data("mnist"), 5),
}


def plan(settings: Config) -> tuple[list[networks.Run], float]:
    """Trainings, and seconds of everything else."""
    chosen, _ = runs(settings)
    return chosen, 0.5


def runs(settings: Config) -> tuple[list[networks.Run], dict[str, Any]]:
    """The overfitted networks, one a seed. Later chapters start from these.

    The learning rate is not tuned: what is wanted here is not the best network but one that memorises.
    """
    run = networks.Run(settings.network, settings.training, settings.data, 0)
    return [replace(run, seed=seed) for seed in range(settings.seeds)], {}


def compute(settings: Config) -> dict[str, Any]:
    chosen, _ = runs(settings)
    return {"history": networks.histories(networks.trained(chosen))}
