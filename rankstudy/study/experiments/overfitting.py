"""Chapter 4: a network that is too large, trained until it overfits, and the questions of chapter 3 again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rankstudy import config
from rankstudy.study import engine, jobs
from rankstudy.study.engine import Histories, Tuning
from rankstudy.study.experiments import arms, battery
from rankstudy.study.experiments.arms import Arm, Arms, Measured
from rankstudy.study.experiments.baselines import Baseline, Baselines
from rankstudy.study.jobs import Job
from rankstudy.study.profiles import QUICK, SMOKE, scaled

# the criterion, stated before any of these networks was trained
MEMORISED = 0.999  # training accuracy at the end, at least
EXCESS = 0.05  # by how much the test loss at the end exceeds its minimum over epochs, at least


@dataclass(frozen=True)
class Size:
    """The networks of one size."""

    widths: list[int]
    history: Histories
    ranks: battery.Ranks
    baseline: Baseline | None = None


@dataclass(frozen=True)
class Overfitting:
    """Chapter 4's result. Baselines are missing in results of the first edition."""

    big: Measured
    activations: dict[str, Measured]  # a size between, by activation
    ladder: list[Size]
    baseline: Baseline | None = None  # of the big networks


@dataclass(frozen=True)
class Config(Job[Overfitting]):
    NAME = "overfitting"
    ANSWER = Overfitting

    network: config.Network  # the big one
    training: config.Training
    data: config.Data
    seeds: int
    activations: Arms  # overfitted too; the ranks of one of them are written down after each epoch
    images: int  # whose features are measured, of each of training and test set
    ladder: tuple[tuple[int, ...], ...]  # widths of other sizes, narrower and deeper, trained as the big one is
    ladder_seeds: int

    def selection(self) -> str:
        return self.data.name

    def compute(self) -> Overfitting:
        return compute(self)


WIDTHS = (784, 1024, 1024, 1024, 10)
# learning rates tried, so that the best one of an activation lies between others
_LOW, _HIGH = engine.factor2(1e-3, 4e-3), engine.factor2(5e-3, 2e-2)
_ACTIVATIONS = ("relu", "leaky_relu", "gelu", "tanh", "sigmoid", "identity")
FULL = Config(
    network=config.Network(WIDTHS),
    training=config.Training(15, 128),
    data=config.Data("mnist"),
    seeds=5,
    activations=Arms(
        config.Network((784, 512, 512, 512, 10)),  # memorises 5000 images in a third of the time
        config.Training(12, 64),
        config.Data("mnist", train_size=5000),
        tuple((name, _HIGH if name in ("sigmoid", "identity") else _LOW) for name in _ACTIVATIONS),
        seeds=5,
        observed=("relu",),
    ),
    images=2000,
    ladder=(
        *((784, *[width] * 3, 10) for width in (64, 256)),
        *((784, *[256] * depth, 10) for depth in (1, 6)),
    ),
    ladder_seeds=5,
)


_SMOKE = scaled(FULL, SMOKE)
_QUICK = scaled(FULL, replace(QUICK, seeds=2, epochs=9, train_size=1000))
CONFIGS = {
    # with few images a network overfits soon, if it is still shown them often enough
    "smoke": replace(
        _SMOKE,
        network=config.Network((784, 64, 64, 64, 10)),
        training=config.Training(20, 32, learning_rate=1e-2),
        activations=replace(_SMOKE.activations, training=config.Training(5, 32)),
        ladder=((784, 16, 16, 16, 10), (784, 32, 32, 32, 10), (784, 32, 10), (784, *[32] * 6, 10)),
    ),
    "quick": replace(
        _QUICK,
        network=config.Network((784, 512, 512, 512, 10)),
        training=config.Training(12, 32, learning_rate=3e-3),
        data=replace(_QUICK.data, train_size=2000),
        activations=replace(_QUICK.activations, training=config.Training(9, 32)),
    ),
    "full": FULL,
}


def plan(settings: Config) -> list[engine.Run]:
    return runs(settings)[0] + [run for chosen in ladder(settings) for run in chosen] + arms.plan(settings.activations)


def runs(settings: Config) -> tuple[list[engine.Run], Tuning]:
    """The overfitted networks, one a seed. Later chapters start from these.

    The learning rate is not tuned: what is wanted here is not the best network but one that memorises.
    """
    run = engine.Run(settings.network, settings.training, settings.data, 0)
    return [replace(run, seed=seed) for seed in engine.seeds(settings.seeds)], Tuning()


def ladder(settings: Config) -> list[list[engine.Run]]:
    """The networks of the other sizes, one list a size."""
    return [
        [
            engine.Run(replace(settings.network, widths=widths), settings.training, settings.data, seed)
            for seed in engine.seeds(settings.ladder_seeds)
        ]
        for widths in settings.ladder
    ]


def compute(settings: Config) -> Overfitting:
    big, sizes = runs(settings)[0], ladder(settings)
    tuned = [run for chosen, _ in arms.runs(settings.activations).values() for run in chosen]
    # all at once, the longest first: no worker waits for the end of a group
    engine.trained([*big, *(run for chosen in sizes for run in chosen), *tuned])
    baselines = [Baselines(tuple(chosen), settings.images) for chosen in (big, *sizes)]
    own, *others = jobs.answers(baselines)
    return Overfitting(
        big=jobs.answer(Arm(tuple(big), settings.images)),
        **arms.compute({"activations": settings.activations}, settings.images),
        ladder=[_measured(chosen, baseline) for chosen, baseline in zip(sizes, others, strict=True)],
        baseline=own,
    )


def _measured(chosen: list[engine.Run], baseline: Baseline) -> Size:
    found = engine.trained(chosen)
    return Size(list(chosen[0].network.widths), engine.histories(found), battery.measure(found), baseline)


def excess(test_loss: np.ndarray) -> np.ndarray:
    """By what fraction the last loss exceeds the lowest after training began; (seeds, epochs + 1) -> (seeds,)."""
    return test_loss[:, -1] / test_loss[:, 1:].min(axis=1) - 1


def overfitted(train_accuracy: np.ndarray, test_loss: np.ndarray) -> np.ndarray:
    """(seeds,) bool: whether each network meets the criterion; both (seeds, epochs + 1)."""
    return (train_accuracy[:, -1] >= MEMORISED) & (excess(test_loss) >= EXCESS)
