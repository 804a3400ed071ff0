"""Chapter 9: how few random directions a network needs (Li et al. 2018), and what pre-training changes about that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rankstudy import config
from rankstudy.experiments import networks, subspaces
from rankstudy.experiments.training import parameters


@dataclass(frozen=True)
class Curve:
    """Accuracy against dimension of one network."""

    network: config.Network
    training: config.Training  # in the subspace; its learning rate is one of `learning_rates`
    direct: config.Training  # of all parameters, the baseline
    data: config.Data
    dimensions: tuple[int, ...]  # ascending
    learning_rates: tuple[float, ...]  # tried on the validation split at each dimension; one only: taken as it is
    seeds: int
    bias: bool = False

    def runs(self) -> list[subspaces.Run]:
        """One for each dimension, rate and seed still to be set."""
        return [
            subspaces.Run(self.network, self.training, self.data, dimension, 0, bias=self.bias)
            for dimension in self.dimensions
        ]

    def direct_runs(self) -> list[networks.Run]:
        return [networks.Run(self.network, self.direct, self.data, seed) for seed in range(self.seeds)]


@dataclass(frozen=True)
class Config:
    curve: Curve


NETWORK = config.Network((784, 200, 200, 10))  # that of Li et al. 2018, figure 2, without its biases
MNIST = config.Data("mnist")
CONFIGS = {
    "smoke": Config(
        Curve(
            config.Network((784, 32, 32, 10)),
            config.Training(6, 32),
            config.Training(6, 32, learning_rate=3e-3),
            MNIST,
            (10, 50, 200),
            (0.03, 0.1),
            2,
        )
    ),
    "quick": Config(
        Curve(
            NETWORK,
            config.Training(5),
            config.Training(5),
            replace(MNIST, train_size=10_000),
            (200, 500, 750, 1000, 1500),
            (0.1,),
            2,
        )
    ),
    "full": Config(
        Curve(
            NETWORK,
            config.Training(8),
            config.Training(8),
            MNIST,
            (50, 100, 200, 300, 400, 500, 600, 750, 1000, 1500),
            (0.02, 0.05, 0.15),
            5,
        )
    ),
}


def plan(settings: Config) -> tuple[list[networks.Run], float]:
    """Trainings of whole networks, and seconds of everything else: those in subspaces."""
    curve = settings.curve
    counted = subspaces.count(curve.runs(), curve.learning_rates, curve.seeds)
    return curve.direct_runs(), 0.5 + subspaces.predict(counted)


def compute(settings: Config) -> dict[str, Any]:
    return {"curve": measured(settings.curve)}


def measured(curve: Curve) -> dict[str, Any]:
    """The curve, its baseline and the intrinsic dimensions of each seed."""
    found = subspaces.curve(curve.runs(), curve.learning_rates, curve.seeds)
    direct = networks.histories(networks.trained(curve.direct_runs()))
    return {
        **found,
        "direct": direct,
        "parameters": parameters(curve.network),
        "intrinsic": {split: intrinsic(found, direct, split) for split in ("train", "test")},
    }


def intrinsic(found: dict[str, Any], direct: dict[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """d_int90 of each seed by both definitions: accuracy 0.90, and 90 % of what training all parameters reaches."""
    accuracy = found["history"][f"{split}_accuracy"][:, :, -1].T  # (seeds, R)
    own = direct[f"{split}_accuracy"][:, -1]
    return {
        "absolute": crossing(found["dimension"], accuracy, np.full(len(own), 0.9)),
        "relative": crossing(found["dimension"], accuracy, 0.9 * own),
    }


def crossing(dimension: Sequence[float], accuracy: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """(S,) the dimension at which each row of `accuracy` (S, R) first reaches its threshold (S,).

    Linear between the two measured dimensions around it. NaN where no dimension reaches it, and where the first one
    already does: then there is nothing to interpolate between.
    """
    d = np.asarray(dimension, dtype=float)
    found = np.full(len(accuracy), np.nan)
    for row, (values, level) in enumerate(zip(accuracy, threshold, strict=True)):
        reached = np.flatnonzero(values >= level)
        if len(reached) and (i := reached[0]) > 0:
            share = (level - values[i - 1]) / (values[i] - values[i - 1])
            found[row] = d[i - 1] + share * (d[i] - d[i - 1])
    return found
