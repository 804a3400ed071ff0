"""Groups of networks that differ in their activation alone, each arm at a learning rate of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rankstudy import config, data
from rankstudy.study import engine, provenance, questions
from rankstudy.study.experiments import battery, features, trajectory
from rankstudy.study.store import Question

COMPUTED_BY = ("study.experiments.arms", *provenance.TRAINED)  # what a record depends on


@dataclass(frozen=True)
class Arms:
    network: config.Network  # its activation is replaced
    training: config.Training  # its learning rate is replaced
    data: config.Data
    rates: tuple[tuple[str, tuple[float, ...]], ...]  # (activation, rates tried on the validation split); one: taken
    seeds: int
    matched: bool = False  # gains that keep the signal's size from layer to layer, instead of equal initial weights
    observed: tuple[str, ...] = ()  # activations whose ranks are written down after each epoch

    def run(self, activation: str) -> engine.Run:
        gain = matched_gain(activation) if self.matched else self.network.gain
        network = replace(self.network, activation=activation, gain=gain)
        observe = trajectory.NAME if activation in self.observed else ""
        return engine.Run(network, self.training, self.data, 0, observe=observe)


def matched_gain(activation: str) -> float:
    """The factor on torch's initialisation at which E[φ(z)²] = E[z²] = 1 is kept from layer to layer.

    Entries U(±1/√n) have variance 1/(3n), so n inputs of second moment q give pre-activations of variance gain²·q/3;
    q = E[φ(z)²] under z ~ N(0, 1), by Gauss and Hermite's quadrature. For ReLU it is He's rule, gain √6.
    """
    from scipy.special import erf

    functions = {
        "relu": lambda z: np.maximum(z, 0),
        "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
        "gelu": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
        "tanh": np.tanh,
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "identity": lambda z: z,
    }
    z, weight = np.polynomial.hermite_e.hermegauss(100)
    second = (weight * functions[activation](z) ** 2).sum() / weight.sum()
    return float(np.sqrt(3 / second))


def plan(arms: Arms) -> list[engine.Run]:
    """The trainings, at the first learning rate where the search has still to find it."""
    planned = []
    for activation, rates in arms.rates:
        run = arms.run(activation)
        if len(rates) > 1:
            planned += engine.grid(replace(run, observe=""), rates)
        planned += [replace(run, seed=seed) for seed in range(arms.seeds)]
    return planned


def runs(arms: Arms) -> dict[str, tuple[list[engine.Run], dict[str, Any]]]:
    """activation -> its networks at its own learning rate, and the evidence for that rate."""
    searched = [(arms.run(activation), rates) for activation, rates in arms.rates if len(rates) > 1]
    engine.trained([each for run, rates in searched for each in engine.grid(replace(run, observe=""), rates)])
    found = {}
    for activation, rates in arms.rates:
        run, evidence, rate = arms.run(activation), {}, rates[0]
        if len(rates) > 1:
            rate, evidence = engine.tune(replace(run, observe=""), rates)
        tuned = replace(run, training=replace(run.training, learning_rate=rate))
        found[activation] = ([replace(tuned, seed=seed) for seed in range(arms.seeds)], evidence)
    return found


def compute(groups: Mapping[str, Arms], images: int) -> dict[str, dict[str, Any]]:
    """Of each group: activation -> history, battery of ranks and ranks of the features, and the evidence for its
    learning rate. All are trained before any is measured, so that many hands have enough to do."""
    tuned = {name: runs(group) for name, group in groups.items()}
    chosen = [each for group in tuned.values() for each, _ in group.values()]
    engine.trained([run for each in chosen for run in each])
    questions.spread(measured, [(tuple(each), images) for each in chosen])
    return {
        name: {
            activation: {**measured(tuple(each), images), "tuning": evidence}
            for activation, (each, evidence) in group.items()
        }
        for name, group in tuned.items()
    }


@dataclass(frozen=True)
class Arm:
    """What is asked of one arm's networks."""

    runs: tuple[engine.Run, ...]
    images: int

    def question(self) -> Question:
        return Question("measured", "arm", self, data.CHECKSUMS[self.runs[0].data.name])


def measured(runs: tuple[engine.Run, ...], images: int) -> Mapping[str, Any]:
    """What is kept of one arm, from the store or measured."""
    arm = Arm(runs, images)
    return questions.obtain(arm.question(), provenance.digest(*COMPUTED_BY), lambda: _measure(arm)).value


def _measure(arm: Arm) -> dict[str, Any]:
    found = engine.trained(arm.runs)
    return {
        "history": engine.histories(found),
        "learning_rate": found[0].run.training.learning_rate,
        "gain": found[0].run.network.gain,
        "ranks": battery.measure(found),
        "features": features.measure(found, arm.images),
        "trajectory": trajectory.stacked(found),
    }
