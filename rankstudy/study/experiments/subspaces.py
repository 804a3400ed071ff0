"""Trainings inside random subspaces of growing dimension, each at its own tuned learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankstudy.study import engine, typed
from rankstudy.study.engine import Histories, Run, Tuning


@dataclass(frozen=True)
class Asked:
    """Runs that differ in dimension, the learning rates that each may have, and how many seeds of each are wanted."""

    runs: tuple[Run, ...]
    learning_rates: tuple[float, ...]  # tried on the validation split; one only: taken as it is
    seeds: int

    def grid(self) -> list[Run]:
        """What the search for the learning rates trains, the rates of the first run first."""
        if len(self.learning_rates) == 1:
            return []
        seeds = range(engine.TUNING_SEED, engine.TUNING_SEED + engine.TUNING_SEEDS)
        return [run.seeded(seed).at(rate) for run in self.runs for rate in self.learning_rates for seed in seeds]

    def chosen(self, rates: Sequence[float]) -> list[Run]:
        """All seeds of the first run first, each run at its own rate."""
        pairs = zip(self.runs, rates, strict=True)
        return [run.at(rate).seeded(seed) for run, rate in pairs for seed in engine.seeds(self.seeds)]

    def planned(self) -> list[Run]:
        """The trainings, at the first learning rate where the search has still to find it."""
        return self.grid() + self.chosen([self.learning_rates[0]] * len(self.runs))


@dataclass(frozen=True)
class ByDimension:
    """What trainings in subspaces reached."""

    dimension: typed.Integers  # (dimensions,)
    learning_rate: typed.Floats  # (dimensions,)
    tuning: Tuning
    history: Histories  # (dimensions, seeds, epochs + 1)
    digits: dict[str, typed.Floats]  # split -> (dimensions, seeds, epochs + 1, 10) accuracy, where it was observed


def tune(asked: Asked) -> tuple[list[float], Tuning]:
    """For each run the rate that is best for the final validation accuracy, as `engine.tune` finds it."""
    runs, rates = asked.runs, asked.learning_rates
    if len(rates) == 1:
        return [rates[0]] * len(runs), Tuning()
    found = [each.history["validation_accuracy"][-1] for each in engine.trained(asked.grid())]
    accuracy = np.array(found).reshape(len(runs), len(rates), engine.TUNING_SEEDS).mean(axis=-1)
    best = [engine.peak(rates, each) for each in accuracy]
    evidence = Tuning(
        np.array(rates),
        accuracy,
        dimension=np.array([dimension(run) for run in runs]),
        at_boundary=any(at_boundary for _, at_boundary in best),
    )
    return [rate for rate, _ in best], evidence


def curve(asked: Asked) -> ByDimension:
    """Every run at its own tuned rate, with `engine.seeds`."""
    rates, evidence = tune(asked)
    found = engine.trained(asked.chosen(rates))

    def stacked(name: str) -> np.ndarray:
        values = np.stack([each.history[name] for each in found]).astype(np.float32)
        return values.reshape(len(asked.runs), asked.seeds, *values.shape[1:])

    observed = [name for name in found[0].history if name.startswith("observed.") and name.endswith("_digits")]
    return ByDimension(
        dimension=np.array([dimension(run) for run in asked.runs]),
        learning_rate=np.array(rates),
        tuning=evidence,
        history=Histories(**{name: stacked(name) for name in engine.METRICS}),
        digits={name.removeprefix("observed.").removesuffix("_digits"): stacked(name) for name in observed},
    )


def prepare(asked: Sequence[Asked]) -> None:
    """Train what `curve` will be asked for; all at once, the longest first, so that no worker waits for the end of a
    curve."""
    searched = [run for each in asked for run in each.grid()]
    engine.trained(sorted(searched, key=Run.operations, reverse=True))
    chosen = [run for each in asked for run in each.chosen(tune(each)[0])]
    engine.trained(sorted(chosen, key=Run.operations, reverse=True))


def dimension(run: Run) -> int:
    """Of the subspace that a run trains in; 0: all parameters."""
    return 0 if run.subspace is None else run.subspace.dimension


def in_dimension(run: Run, wanted: int, **options: object) -> Run:
    """The run in a subspace of that dimension; of dimension 0: with all parameters."""
    from rankstudy.config import Subspace

    return replace(run, subspace=Subspace(wanted, **options) if wanted else None)  # type: ignore[arg-type]
