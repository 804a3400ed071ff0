"""A control of chapter 3: is the rank of an update the optimiser's, the distance's or the layer's?

Task 2's network and the deeper one under several optimisers, each at several learning rates, watched after each epoch.
The rate is constant, so that the network after each epoch is itself the end of a shorter training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankstudy import config
from rankstudy.registry import OPTIMIZERS
from rankstudy.study import engine, jobs, observers
from rankstudy.study.engine import Histories, Run, Trained
from rankstudy.study.experiments import chance
from rankstudy.study.jobs import Job
from rankstudy.study.profiles import QUICK, SMOKE, Scale, scaled
from rankstudy.study.typed import Floats, Integers

DRAWS = 3  # of random errors: their entropy rank hardly varies between draws
WIDTHS = (784, 256, 256, 256, 10)  # chapter 2's and chapter 3's networks; by value, so that no change there
DEEP = (784, 256, 256, 256, 256, 256, 256, 256, 10)  # makes these results stale


@dataclass(frozen=True)
class Ending:
    """Of one network at the end of its training, (layers,) each; NaN where it diverged."""

    outliers: Floats  # of the update: singular values above the largest one of entry-shuffled copies
    before: Floats  # entropy rank of random errors on the inputs of the untrained network
    after: Floats  # … of the trained one


@dataclass(frozen=True)
class Ended(Job[Ending]):
    """What is asked of one network at the end of its training."""

    NAME = "update-ending"
    ANSWER = Ending

    run: Run

    def selection(self) -> str:
        return self.run.data.name

    def compute(self) -> Ending:
        (found,) = engine.trained([self.run])
        if found.history["diverged"]:
            return Ending(*np.full((3, len(found.weights)), np.nan))
        images = engine.dataset_on_device(self.run.data).train.images.cpu().numpy()
        counts = [chance.outliers(w - w0) for w, w0 in zip(found.weights, found.initial, strict=True)]
        before, after = (
            [
                chance.random_errors(spectrum, len(w), DRAWS)
                for w, spectrum in zip(weights, chance.inputs(weights, images), strict=True)
            ]
            for weights in (found.initial, found.weights)
        )
        return Ending(np.array(counts, dtype=np.float64), np.array(before), np.array(after))


@dataclass(frozen=True)
class Followed:
    """Networks by one optimiser, by learning rate and epoch; NaN from where one diverged. Column 0: before training."""

    learning_rate: Floats  # (rates,)
    history: Histories  # (rates, networks, epochs + 1)
    distance: Floats  # (rates, networks, epochs + 1, layers) ‖W − W₀‖/‖W₀‖
    entropy_rank: Floats  # (rates, networks, epochs + 1, layers) of W − W₀
    stable_rank: Floats  # (rates, networks, epochs + 1, layers) of W − W₀
    outliers: Floats  # (rates, networks, epochs + 1, layers) above Marchenko and Pastur's edge of such entries
    aligned: Floats  # (rates, networks, epochs + 1, layers − 1) overlap of what a layer writes, the next one reads
    settled: Floats  # (rates, networks, epochs + 1, layers) overlap of W's leading right vectors with the final ones
    shuffled: Floats  # (rates, networks, layers) outliers of the final update above entry-shuffled copies
    before: Floats  # (rates, networks, layers) entropy rank of random errors on the inputs, before training
    after: Floats  # (rates, networks, layers) … after it


@dataclass(frozen=True)
class Classes:
    """Outliers of the update by the number of classes, under Adam."""

    classes: Integers  # (counts,)
    shuffled: Floats  # (counts, networks, layers)
    test_accuracy: Floats  # (counts, networks) at the end


@dataclass(frozen=True)
class Optimizers:
    """The control's result."""

    widths: dict[str, list[int]]  # network -> units a layer
    followed: dict[str, dict[str, Followed]]  # "task2" or "deep" -> optimiser
    classes: Classes
    top: int  # leading directions whose overlap is told


@dataclass(frozen=True)
class Group:
    """One network under several optimisers."""

    network: config.Network
    rates: tuple[tuple[str, tuple[float, ...]], ...]  # (optimiser, its learning rates)
    seeds: int


@dataclass(frozen=True)
class Config(Job[Optimizers]):
    NAME = "optimizers"
    ANSWER = Optimizers

    task2: Group
    deep: Group
    training: config.Training  # its optimiser and learning rate are replaced
    data: config.Data
    classes: tuple[int, ...]  # so many of the first digits alone
    classes_rate: float  # Adam's learning rate there
    classes_seeds: int

    def selection(self) -> str:
        return self.data.name

    def compute(self) -> Optimizers:
        return compute(self)


GROUPS = ("task2", "deep")
ADAM, MUON = (1e-4, 3e-4, 1e-3, 3e-3), engine.factor2(1e-3, 8e-3)
FULL = Config(
    task2=Group(
        config.Network(WIDTHS),
        (
            ("adam", ADAM),
            ("sgd", engine.factor2(0.05, 0.4)),
            ("momentum", engine.factor2(0.005, 0.04)),
            ("muon", MUON),
        ),
        seeds=10,
    ),
    # plain SGD would stay on its first plateau for all of these epochs
    deep=Group(
        config.Network(DEEP), (("adam", ADAM), ("momentum", engine.factor2(0.01, 0.08)), ("muon", MUON)), seeds=5
    ),
    training=config.Training(8, 128, schedule="constant"),
    data=config.Data("mnist", train_size=10_000),
    classes=(2, 5, 10),
    classes_rate=1e-3,
    classes_seeds=5,
)


def _scaled(scale: Scale, batch: int) -> Config:
    """In smaller batches, so that there are as many steps."""
    few = scaled(FULL, scale)
    return replace(few, training=replace(few.training, batch_size=batch))


CONFIGS = {
    "full": FULL,
    "quick": _scaled(replace(QUICK, seeds=2, rates=2, train_size=3000), 32),
    "smoke": _scaled(replace(SMOKE, epochs=3), 16),
}


def plan(settings: Config) -> list[Run]:
    """The trainings, the longest first."""
    groups = [run for name in reversed(GROUPS) for each in runs(settings, name).values() for row in each for run in row]
    return groups + [run for row in class_runs(settings) for run in row]


def runs(settings: Config, name: str) -> dict[str, list[list[Run]]]:
    """Optimiser -> for each of its rates the trainings by seed; those that the installed torch has."""
    group: Group = getattr(settings, name)
    found = {}
    for optimizer, rates in group.rates:
        if not OPTIMIZERS[optimizer].there():
            continue
        trained = replace(settings.training, optimizer=optimizer)
        run = Run(group.network, trained, settings.data, 0, observe="motion")
        found[optimizer] = [[replace(run.at(rate), seed=seed) for seed in engine.seeds(group.seeds)] for rate in rates]
    return found


def class_runs(settings: Config) -> list[list[Run]]:
    """For each number of classes the trainings by seed; of all ten the ones there are, where the rate is among them."""
    trained = replace(settings.training, optimizer="adam", learning_rate=settings.classes_rate)
    return [
        [
            Run(settings.task2.network, trained, _digits(settings.data, count), seed, observe="motion")
            for seed in engine.seeds(settings.classes_seeds)
        ]
        for count in settings.classes
    ]


def _digits(data: config.Data, count: int) -> config.Data:
    return data if count == 10 else replace(data, only=tuple(range(count)))


def compute(settings: Config) -> Optimizers:
    groups = {name: runs(settings, name) for name in GROUPS}
    fewer = class_runs(settings)
    every = list(dict.fromkeys(plan(settings)))
    engine.trained(every)
    jobs.prepare([Ended(run) for run in every])
    return Optimizers(
        widths={name: list(getattr(settings, name).network.widths) for name in GROUPS},
        followed={
            name: {optimizer: followed(rows) for optimizer, rows in group.items()} for name, group in groups.items()
        },
        classes=Classes(
            np.array(settings.classes),
            np.array([[_ending(run).outliers for run in row] for row in fewer]),
            np.array([[each.history["test_accuracy"][-1] for each in engine.trained(row)] for row in fewer]),
        ),
        top=observers.TOP,
    )


def followed(rows: Sequence[Sequence[Run]]) -> Followed:
    """What is kept of one optimiser's trainings, a row a learning rate."""
    found = [engine.trained(row) for row in rows]
    ends = [[_ending(run) for run in row] for row in rows]

    def stacked(name: str) -> np.ndarray:
        return np.array([[each.history[name] for each in row] for row in found])

    return Followed(
        learning_rate=np.array([row[0].training.learning_rate for row in rows]),
        history=Histories(
            **{name: stacked(name) for name in (*engine.METRICS, "seconds")},
            seeds=np.array([run.seed for run in rows[0]]),
        ),
        **{
            name: stacked(f"observed.{name}")
            for name in ("distance", "entropy_rank", "stable_rank", "outliers", "aligned")
        },
        settled=np.array([[settled(each) for each in row] for row in found]),
        shuffled=np.array([[each.outliers for each in row] for row in ends]),
        before=np.array([[each.before for each in row] for row in ends]),
        after=np.array([[each.after for each in row] for row in ends]),
    )


def _ending(run: Run) -> Ending:
    return jobs.answer(Ended(run))


def settled(found: Trained) -> np.ndarray:
    """(epochs + 1, layers) overlap of the leading right vectors after each epoch with those after the last."""
    vectors = [found.history[f"observed.right_{layer}"] for layer in range(len(found.run.network.shapes()))]
    return np.array([[observers.overlap(now, each[-1]) for now in each] for each in vectors]).T
