"""Chapter 4: a network that is too large, trained until it overfits, and the questions of chapter 3 again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rankstudy import config
from rankstudy.study import engine, jobs
from rankstudy.study.engine import Histories, Tuning
from rankstudy.study.experiments import arms, battery, decay
from rankstudy.study.experiments.arms import Arm, Arms, Measured
from rankstudy.study.experiments.decay import Bound, Decay
from rankstudy.study.jobs import Job

# the criterion, stated before any of these networks was trained
MEMORISED = 0.999  # training accuracy at the end, at least
EXCESS = 0.05  # by how much the test loss at the end exceeds its minimum over epochs, at least


@dataclass(frozen=True)
class Size:
    """The networks of one size."""

    widths: list[int]
    history: Histories
    ranks: battery.Ranks


@dataclass(frozen=True)
class Overfitting:
    """Chapter 4's result; each of the groups by activation."""

    big: Measured
    activations: dict[str, Measured]
    decay: dict[str, Measured]
    undecayed: dict[str, Measured]
    shuffled: dict[str, Measured]
    unshuffled: dict[str, Measured]
    bound: Bound
    ladder: list[Size]
    faster_decay: dict[str, Measured] | None = None
    faster_undecayed: dict[str, Measured] | None = None


@dataclass(frozen=True)
class Config(Job[Overfitting]):
    NAME = "overfitting"
    ANSWER = Overfitting

    network: config.Network  # the big one
    training: config.Training
    data: config.Data
    seeds: int
    observe: bool  # write down the ranks after each epoch; if not, some arm of `activations` should
    activations: Arms  # overfitted too
    decay: Arms  # the ReLU arm of `activations` with weight decay: the control
    undecayed: Arms  # trained as `decay` is, but without it: what it is compared with
    shuffled: Arms  # the ReLU arm with labels that mean nothing: pure memorisation
    unshuffled: Arms  # trained as `shuffled` is, with true labels: what it is compared with
    bound: Decay  # SGD with weight decay, for Galanti's bound; no arms: left out
    images: int  # whose features are measured, of each of training and test set
    faster_decay: Arms | None = None  # `decay` at FASTER times the learning rate; None: left out
    faster_undecayed: Arms | None = None
    ladder: tuple[tuple[int, ...], ...] = ()  # widths of other sizes, narrower and deeper, trained as the big one is
    ladder_seeds: int = 2

    def selection(self) -> str:
        return self.data.name

    def compute(self) -> Overfitting:
        return compute(self)


FASTER = 3  # weight decay forgets by rate × decay a step, so the same decay should do this much more

WIDTHS = (784, 1024, 1024, 1024, 10)


def _config(
    widths: tuple[int, ...],
    training: config.Training,
    data: config.Data,
    seeds: int,
    observe: bool,
    images: int,
    arm: Arms,
    shuffled_epochs: int,
    bound: Decay,
    ladder: tuple[tuple[int, ...], ...] = (),
    ladder_seeds: int = 2,
    faster: bool = True,
) -> Config:
    """The controls follow from the arms: the same but for the one thing that is varied.

    With and without weight decay the rate is one and the same, the middle one of those tried. Validation data hardly
    tell the rates apart, and a rate of its own would change how much is forgotten, too.

    No rate can be tuned for shuffled labels on a validation set, of which they say nothing: the lowest is taken, at
    which most is memorised (what the validation set chose by chance was the highest, which memorised 92 %).
    """
    ((name, rates),) = (item for item in arm.rates if item[0] == "relu")
    middle = sorted(rates)[len(rates) // 2]
    lowest = replace(arm, rates=((name, (min(rates),)),), observed=())
    undecayed = replace(arm, rates=((name, (middle,)),))
    fast = replace(undecayed, rates=((name, (FASTER * middle,)),), observed=())
    decayed = replace(arm.training, optimizer="adamw", weight_decay=0.1)
    longer = replace(lowest, training=replace(arm.training, epochs=shuffled_epochs))
    return Config(
        network=config.Network(widths),
        training=training,
        data=data,
        seeds=seeds,
        observe=observe,
        activations=arm,
        decay=replace(undecayed, training=decayed, observed=()),
        undecayed=undecayed,
        faster_decay=replace(fast, training=decayed) if faster else None,
        faster_undecayed=fast if faster else None,
        shuffled=replace(longer, data=replace(arm.data, shuffled_labels=1.0)),
        unshuffled=longer,
        bound=bound,
        images=images,
        ladder=ladder,
        ladder_seeds=ladder_seeds,
    )


def _bound(arms: tuple[tuple[int, float, float, float], ...]) -> Decay:
    return Decay(
        config.Network((784, 128, 128, 128, 10)), config.Data("mnist", train_size=6000), 6.0, 6000, arms, seeds=3
    )


# batch, rate and decay, each alone halved or doubled (the batch by four); and two of them with momentum and an equal
# μ/(1 − β), which should change nothing
_VARIED = (
    (16, 0.1, 5e-3, 0.0),
    (4, 0.1, 5e-3, 0.0),
    (64, 0.1, 5e-3, 0.0),
    (16, 0.05, 5e-3, 0.0),
    (16, 0.2, 5e-3, 0.0),
    (16, 0.1, 2.5e-3, 0.0),
    (16, 0.1, 1e-2, 0.0),
    (16, 0.01, 5e-3, 0.9),
    (16, 0.02, 5e-3, 0.9),
)


# learning rates tried, so that the best one of an activation lies between others
_LOW, _HIGH = (5e-4, 2e-3, 6e-3), (2e-3, 6e-3, 2e-2)
_ACTIVATIONS = ("relu", "leaky_relu", "gelu", "tanh", "sigmoid", "identity")
CONFIGS = {
    "smoke": _config(
        (784, 64, 64, 64, 10),
        config.Training(20, 32, learning_rate=1e-2),
        config.Data("mnist"),
        2,
        True,
        200,
        Arms(
            config.Network((784, 32, 32, 32, 10)),
            config.Training(3, 32),
            config.Data("mnist"),
            tuple((name, (3e-3,)) for name in ("relu", "tanh", "identity")),
            2,
            observed=("relu",),
        ),
        4,
        Decay(
            config.Network((784, 32, 32, 32, 10)),
            config.Data("mnist"),
            times=1.0,
            images=1237,
            arms=((32, 0.1, 1e-2, 0.0), (16, 0.1, 1e-2, 0.0), (32, 0.01, 1e-2, 0.9)),
            seeds=2,
        ),
        ladder=((784, 16, 16, 16, 10), (784, 16, 16, 16, 16, 10)),
    ),
    "quick": _config(
        (784, 512, 512, 512, 10),
        config.Training(12, 32, learning_rate=3e-3),
        config.Data("mnist", train_size=2000, validation_size=1000),
        2,
        False,
        200,
        Arms(
            config.Network((784, 256, 256, 256, 10)),
            config.Training(9, 32),
            config.Data("mnist", train_size=1000, validation_size=1000),
            tuple((name, (2e-3,)) for name in ("relu", "tanh", "identity")),
            2,
            observed=("relu",),
        ),
        15,
        _bound(()),
        ladder=((784, 64, 64, 64, 10), (784, 256, 256, 256, 10)),
        faster=False,
    ),
    "full": _config(
        WIDTHS,
        config.Training(15, 128),
        config.Data("mnist"),
        5,
        True,
        2000,
        Arms(
            config.Network((784, 512, 512, 512, 10)),  # memorises 5000 images in a third of the time
            config.Training(12, 64),
            config.Data("mnist", train_size=5000),
            tuple((name, _HIGH if name in ("sigmoid", "identity") else _LOW) for name in _ACTIVATIONS),
            4,
        ),
        60,
        _bound(_VARIED),
        ladder=(
            *((784, *[width] * 3, 10) for width in (64, 256)),
            *((784, *[256] * depth, 10) for depth in (1, 6)),
        ),
        ladder_seeds=3,
    ),
}


def plan(settings: Config) -> list[engine.Run]:
    planned = runs(settings)[0] + [run for chosen in ladder(settings) for run in chosen]
    for group in groups(settings).values():
        planned += arms.plan(group)
    return planned + decay.plan(settings.bound)


def groups(settings: Config) -> dict[str, Arms]:
    """The arms that every question is asked of, beside the big network."""
    names = ("activations", "decay", "undecayed", "faster_decay", "faster_undecayed", "shuffled", "unshuffled")
    return {name: found for name in names if (found := getattr(settings, name)) is not None}


def runs(settings: Config) -> tuple[list[engine.Run], Tuning]:
    """The overfitted networks, one a seed. Later chapters start from these.

    The learning rate is not tuned: what is wanted here is not the best network but one that memorises.
    """
    observe = "ranks" if settings.observe else ""
    run = engine.Run(settings.network, settings.training, settings.data, 0, observe=observe)
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
    tuned = [run for group in groups(settings).values() for chosen, _ in arms.runs(group).values() for run in chosen]
    # all at once, the longest first: no worker waits for the end of a group
    engine.trained([*big, *tuned, *decay.plan(settings.bound), *(run for chosen in sizes for run in chosen)])
    return Overfitting(
        big=jobs.answer(Arm(tuple(big), settings.images)),
        **arms.compute(groups(settings), settings.images),
        bound=decay.compute(settings.bound),
        ladder=[_measured(chosen) for chosen in sizes],
    )


def _measured(chosen: list[engine.Run]) -> Size:
    found = engine.trained(chosen)
    return Size(list(chosen[0].network.widths), engine.histories(found), battery.measure(found))


def excess(test_loss: np.ndarray) -> np.ndarray:
    """By what fraction the last loss exceeds the lowest after training began; (seeds, epochs + 1) -> (seeds,)."""
    return test_loss[:, -1] / test_loss[:, 1:].min(axis=1) - 1


def overfitted(history: dict[str, np.ndarray]) -> np.ndarray:
    """(seeds,) bool: whether each network meets the criterion."""
    return (history["train_accuracy"][:, -1] >= MEMORISED) & (excess(history["test_loss"]) >= EXCESS)
