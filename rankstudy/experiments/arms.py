"""Groups of networks that differ in their activation alone, each arm at a learning rate of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rankstudy import config
from rankstudy.experiments import battery, features, networks, trajectory


@dataclass(frozen=True)
class Arms:
    network: config.Network  # its activation is replaced
    training: config.Training  # its learning rate is replaced
    data: config.Data
    rates: tuple[tuple[str, tuple[float, ...]], ...]  # (activation, rates tried on the validation split); one: taken
    seeds: int
    matched: bool = False  # gains that keep the signal's size from layer to layer, instead of equal initial weights
    observed: tuple[str, ...] = ()  # activations whose ranks are written down after each epoch

    def run(self, activation: str) -> networks.Run:
        gain = matched_gain(activation) if self.matched else self.network.gain
        network = replace(self.network, activation=activation, gain=gain)
        observe = trajectory.NAME if activation in self.observed else ""
        return networks.Run(network, self.training, self.data, 0, observe=observe)


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


def plan(arms: Arms) -> list[networks.Run]:
    """The trainings, those of the search for learning rates under seeds that stand for them."""
    planned = []
    for activation, rates in arms.rates:
        run = arms.run(activation)
        if len(rates) > 1:
            planned += [replace(run, seed=-1 - index, observe="") for index in range(len(rates))]
        planned += [replace(run, seed=seed) for seed in range(arms.seeds)]
    return planned


def seconds_to_measure(run: networks.Run, images: int) -> float:
    """Of the battery and of the features of one network, from the cubes of their shorter sides."""
    work = sum(max(shape) * min(shape) ** 2 for shape in run.network.shapes())
    features = 4 * images * sum(width**2 for width in run.network.widths)
    return 1e-9 * (3 * work + features / 2)


def runs(arms: Arms) -> dict[str, tuple[list[networks.Run], dict[str, Any]]]:
    """activation -> its networks at its own learning rate, and the evidence for that rate."""
    searched = [(arms.run(activation), rates) for activation, rates in arms.rates if len(rates) > 1]
    networks.trained([each for run, rates in searched for each in networks.grid(replace(run, observe=""), rates)])
    found = {}
    for activation, rates in arms.rates:
        run, evidence, rate = arms.run(activation), {}, rates[0]
        if len(rates) > 1:
            rate, evidence = networks.tune(replace(run, observe=""), rates)
        tuned = replace(run, training=replace(run.training, learning_rate=rate))
        found[activation] = ([replace(tuned, seed=seed) for seed in range(arms.seeds)], evidence)
    return found


def compute(arms: Arms, images: int) -> dict[str, Any]:
    """activation -> history, battery of ranks and ranks of the features."""
    tuned = runs(arms)
    networks.trained([run for chosen, _ in tuned.values() for run in chosen])  # all at once, where there are many hands
    return {
        activation: measured(networks.trained(chosen), images, evidence)
        for activation, (chosen, evidence) in tuned.items()
    }


def measured(found: Sequence[networks.Trained], images: int, evidence: dict[str, Any]) -> dict[str, Any]:
    """What is kept of one arm."""
    return {
        "history": networks.histories(found),
        "tuning": evidence,
        "learning_rate": found[0].run.training.learning_rate,
        "gain": found[0].run.network.gain,
        "ranks": battery.measure(found),
        "features": features.measure(found, images),
        "trajectory": trajectory.stacked(found),
    }
