"""A published bound tested: SGD with weight decay forgets, so the rank of what it remembers is bounded.

A step is W ← (1 − μλ)·W − μ·G, with G of rank ≤ B, the batch size. After k steps W is a matrix of rank ≤ kB plus
(1 − μλ)^k times what it was, so at relative error ε its rank is at most about B·log(1/ε)/(μλ) (Galanti et al. 2022,
theorem 3.4; their λ is half of torch's), whatever was learned. With momentum β a gradient acts 1/(1 − β) times as long
and as much: μ/(1 − β) takes the place of μ. Every arm is trained for the same number of decay times
μλ·steps, since what is left of W₀ is a function of that alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankstudy import config
from rankstudy.spectrum import Spectrum, energy_rank
from rankstudy.study import engine
from rankstudy.study.engine import Histories
from rankstudy.study.typed import Floats, Integers

OPTIMIZERS = {0.0: "sgd", 0.9: "momentum"}  # by β
ERRORS = (0.1, 0.01)  # ε, relative error in Frobenius norm


@dataclass(frozen=True)
class Decay:
    network: config.Network
    data: config.Data
    times: float  # μλ·steps
    images: int  # in an epoch; the training split has as many, but the stand-in's size is its own
    # (B, μ, λ, β), the first is the base that others differ from; none: skip
    arms: tuple[tuple[int, float, float, float], ...]
    seeds: int

    def runs(self, arm: tuple[int, float, float, float]) -> list[engine.Run]:
        batch, rate, decay, momentum = arm
        epochs = max(1, round(self.times * (1 - momentum) / (rate * decay) * batch / self.images))
        optimizer = OPTIMIZERS[momentum]
        training = config.Training(epochs, batch, optimizer, rate, weight_decay=decay, schedule="constant")
        run = engine.Run(self.network, training, self.data, 0)
        return [replace(run, seed=seed) for seed in engine.seeds(self.seeds)]


def plan(settings: Decay) -> list[engine.Run]:
    """The trainings."""
    return [run for arm in settings.arms for run in settings.runs(arm)]


@dataclass(frozen=True)
class Bound:
    """Ranks beside the published bound; without fields where the profile has no such trainings."""

    arms: Floats | None = None  # (A, 4): B, μ, λ, β
    bound: Floats | None = None  # (A, errors) of the rank
    left: Floats | None = None  # (A,) the factor on W₀ at the end
    # (A, seeds, layers, errors) of "weights", of what is "learned" (W without what is left of W₀), and of "initial"
    ranks: dict[str, Floats] | None = None
    limits: Integers | None = None  # (layers,) min(out, in)
    history: dict[str, Histories] | None = None  # by the arm's number


def compute(settings: Decay) -> Bound:
    if not settings.arms:
        return Bound()
    engine.trained([run for arm in settings.arms for run in settings.runs(arm)])
    ranks: dict[str, list[np.ndarray]] = {"weights": [], "learned": [], "initial": []}
    left, histories = [], {}
    for index, arm in enumerate(settings.arms):
        found = engine.trained(settings.runs(arm))
        steps = found[0].run.training.epochs * -(-engine.training_images(found[0].run) // arm[0])
        left.append(remainder(*arm[1:], steps))
        histories[str(index)] = engine.histories(found)
        ranks["weights"].append(_ranks([each.weights for each in found]))
        ranks["initial"].append(_ranks([each.initial for each in found]))
        learned = [[w - left[-1] * w0 for w, w0 in zip(each.weights, each.initial, strict=True)] for each in found]
        ranks["learned"].append(_ranks(learned))
    return Bound(
        arms=np.array(settings.arms, dtype=float),
        bound=np.array([[bound(*arm, error) for error in ERRORS] for arm in settings.arms]),
        left=np.array(left),
        ranks={name: np.stack(values) for name, values in ranks.items()},
        limits=np.array([min(shape) for shape in settings.network.shapes()]),
        history=histories,
    )


def bound(batch: int, rate: float, decay: float, momentum: float, error: float) -> float:
    """B·k, with k the fewest steps after which (1 − μλ/(1 − β))^k ≤ ε."""
    return batch * np.ceil(np.log(error) / np.log1p(-rate * decay / (1 - momentum)))


def remainder(rate: float, decay: float, momentum: float, steps: int) -> float:
    """The factor on W₀ after so many steps of v ← β·v + λ·W, W ← W − μ·v, as torch takes them, without gradients."""
    weight, velocity = 1.0, 0.0
    for _ in range(steps):
        velocity = momentum * velocity + decay * weight
        weight -= rate * velocity
    return weight


def _ranks(networks_of_layers: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """(seeds, layers, errors) smallest rank within each relative error."""
    return np.array(
        [
            [[float(energy_rank(spectrum, 1 - error**2)) for error in ERRORS] for spectrum in map(Spectrum.of, layers)]
            for layers in networks_of_layers
        ]
    )
