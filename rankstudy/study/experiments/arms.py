"""Groups of networks that differ in their activation alone, each at a learning rate of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankstudy import config
from rankstudy.registry import ACTIVATIONS
from rankstudy.study import engine, jobs
from rankstudy.study.engine import Histories, Run, Trained, Tuning
from rankstudy.study.experiments import battery, features
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Floats

Rates = tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Arms:
    network: config.Network  # its activation is replaced
    training: config.Training  # its learning rate is replaced
    data: config.Data
    rates: Rates  # (activation, rates tried on the validation split); one: taken
    seeds: int
    matched: bool = False  # gains that keep the signal's size from layer to layer, instead of equal initial weights
    observed: tuple[str, ...] = ()  # activations whose ranks are written down after each epoch

    def run(self, activation: str) -> Run:
        gain = ACTIVATIONS[activation].gain if self.matched else self.network.gain
        network = replace(self.network, activation=activation, gain=gain)
        observe = "ranks" if activation in self.observed else ""
        return Run(network, self.training, self.data, 0, observe=observe)


@dataclass(frozen=True)
class Measured:
    """What is kept of one arm's networks."""

    history: Histories
    learning_rate: float
    gain: float  # factor on torch's initialisation
    ranks: battery.Ranks
    features: features.Features
    trajectory: dict[str, Floats]  # what was observed -> (networks, epochs + 1, layers); empty where nothing was
    tuning: Tuning | None = None


@dataclass(frozen=True)
class Arm(Job[Measured]):
    """What is asked of one arm's networks."""

    NAME = "arm"
    ANSWER = Measured

    runs: tuple[Run, ...]
    images: int

    def selection(self) -> str:
        return self.runs[0].data.name

    def compute(self) -> Measured:
        found = engine.trained(self.runs)
        return Measured(
            history=engine.histories(found),
            learning_rate=found[0].run.training.learning_rate,
            gain=found[0].run.network.gain,
            ranks=battery.measure(found),
            features=features.measure(found, self.images),
            trajectory=trajectory(found),
        )


def plan(arms: Arms) -> list[Run]:
    """The trainings, at the first learning rate where the search has still to find it."""
    planned = []
    for activation, rates in arms.rates:
        run = arms.run(activation)
        if len(rates) > 1:
            planned += engine.grid(replace(run, observe=""), rates)
        planned += [replace(run, seed=seed) for seed in engine.seeds(arms.seeds)]
    return planned


def runs(arms: Arms) -> dict[str, tuple[list[Run], Tuning]]:
    """activation -> its networks at its own learning rate, and the evidence for that rate."""
    searched = [(arms.run(activation), rates) for activation, rates in arms.rates if len(rates) > 1]
    engine.trained([each for run, rates in searched for each in engine.grid(replace(run, observe=""), rates)])
    found = {}
    for activation, rates in arms.rates:
        run, evidence, rate = arms.run(activation), Tuning(), rates[0]
        if len(rates) > 1:
            rate, evidence = engine.tune(replace(run, observe=""), rates)
        found[activation] = ([replace(run.at(rate), seed=seed) for seed in engine.seeds(arms.seeds)], evidence)
    return found


def compute(groups: Mapping[str, Arms], images: int) -> dict[str, dict[str, Measured]]:
    """Group -> activation -> what is kept, with the evidence for its learning rate. All are trained before any is
    measured, so that many workers have enough to do."""
    tuned = {name: runs(group) for name, group in groups.items()}
    chosen = [each for group in tuned.values() for each, _ in group.values()]
    engine.trained([run for each in chosen for run in each])
    jobs.answers([Arm(tuple(each), images) for each in chosen])
    return {
        name: {
            activation: replace(jobs.answer(Arm(tuple(each), images)), tuning=evidence)
            for activation, (each, evidence) in group.items()
        }
        for name, group in tuned.items()
    }


def trajectory(found: Sequence[Trained]) -> dict[str, Floats]:
    """(networks, epochs + 1, layers) of everything that was observed; empty where nothing was."""
    names = [name for name in found[0].history if name.startswith("observed.")]
    return {name.removeprefix("observed."): np.stack([each.history[name] for each in found]) for name in names}
