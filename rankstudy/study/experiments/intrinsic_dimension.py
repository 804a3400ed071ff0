"""Chapter 9: how few random directions a network needs (Li et al. 2018), and what pre-training changes about that."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from rankstudy import config
from rankstudy.study import engine
from rankstudy.study.engine import Histories, Tuning
from rankstudy.study.experiments import subspaces, transfer
from rankstudy.study.experiments.crossing import crossing
from rankstudy.study.experiments.subspaces import Asked, ByDimension
from rankstudy.study.experiments.training import parameters
from rankstudy.study.experiments.transfer import Moved, Transfer
from rankstudy.study.jobs import Job
from rankstudy.study.profiles import QUICK, SMOKE, scaled
from rankstudy.study.typed import Floats, Integers

SPLITS = ("train", "validation", "test")


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
    bias: bool = False  # in the subspace runs; the baseline has none
    projection: str = "partition"

    def runs(self) -> tuple[engine.Run, ...]:
        """One for each dimension, rate and seed still to be set."""
        run = engine.Run(self.network, self.training, self.data, 0, bias=self.bias)
        return tuple(subspaces.in_dimension(run, each, projection=self.projection) for each in self.dimensions)

    def direct_runs(self) -> list[engine.Run]:
        return [engine.Run(self.network, self.direct, self.data, seed) for seed in engine.seeds(self.seeds)]

    def asked(self) -> Asked:
        """What `measured` asks `subspaces.curve` for."""
        return Asked(self.runs(), self.learning_rates, self.seeds)


@dataclass(frozen=True)
class Measured:
    """A curve, its baseline and the intrinsic dimensions of each seed."""

    dimension: Integers  # (dimensions,)
    learning_rate: Floats  # (dimensions,)
    tuning: Tuning
    history: Histories  # (dimensions, seeds, epochs + 1)
    direct: Histories  # (seeds, epochs + 1) of all parameters
    parameters: int
    intrinsic: dict[str, dict[str, Floats]]  # split -> "absolute" or "relative" -> (seeds,), see `intrinsic`
    widths: list[int] | None = None  # of a network of the grid
    fraction: float | None = None  # of shuffled labels


@dataclass(frozen=True)
class IntrinsicDimension:
    """The result of the appendix on intrinsic dimension."""

    curve: Measured
    transfer: list[Moved]  # old and new digits together; empty: not done
    ablations: dict[str, Measured]  # by what is changed
    grid: list[Measured]  # other widths
    shuffled: list[Measured]
    alone: list[Moved] = field(default_factory=list)  # the new digits alone; empty: not done


@dataclass(frozen=True)
class Config(Job[IntrinsicDimension]):
    NAME = "intrinsic_dimension"
    ANSWER = IntrinsicDimension

    curve: Curve
    alone: Transfer  # the new digits, so that what is left to learn is the same for every θ₀
    transfer: Transfer | None = None  # old and new ones together
    ablations: tuple[tuple[str, Curve], ...] = ()  # what is changed, and the curve with it changed
    grid: tuple[Curve, ...] = ()  # widths and depths
    shuffled: tuple[Curve, ...] = ()  # fractions of shuffled labels, read by their training accuracy

    def selection(self) -> str:
        return self.curve.data.name

    def compute(self) -> IntrinsicDimension:
        return compute(self)


NETWORK = config.Network((784, 200, 200, 10))  # that of Li et al. 2018, figure 2, without its biases
MNIST = config.Data("mnist")
OLD = replace(MNIST, only=(0, 1, 2, 3, 4))
NEW = (5, 6, 7, 8, 9)
RATES = engine.factor2(0.15, 0.6)  # tried in subspaces, where the first edition found hardly a difference around 0.3
DIRECT = engine.factor2(1e-3, 4e-3)  # tried for all parameters
HE = 6**0.5  # gain to variance 2/in, ours being 1/(3·in)
# Keras 2.1.5, which the authors' code asks for, cuts He's Gaussian at two standard deviations and does not make up for
# it: this is the standard deviation of a standard Gaussian so cut
TRUNCATED = 0.8796


def _full(training: config.Training) -> Config:
    """`training`: in subspaces and of all parameters, each at learning rates of its own."""
    curve = Curve(NETWORK, training, training, MNIST, (100, 300, 500, 600, 750, 1500), RATES, 5)
    alone = Transfer(
        network=NETWORK,
        pretraining=config.Training(5),
        old=replace(OLD, train_size=10_000),
        training=training,
        data=replace(MNIST, only=NEW, train_size=5_000),
        new=NEW,
        dimensions=(20, 50, 100, 200, 400, 800),
        learning_rates=RATES,
        direct_rates=DIRECT,
        seeds=10,
        arms=(
            ("pre-trained", False),
            ("scratch", False),
            ("shuffled", False),
            ("entries", False),
            ("pre-trained", True),
            ("scratch", True),
        ),
    )
    joint = replace(
        alone,
        data=replace(MNIST, train_size=10_000),
        dimensions=(100, 200, 400, 800),
        seeds=3,
        arms=alone.arms[:2],
    )
    few = replace(curve, learning_rates=(0.3,), seeds=3)
    larger = replace(NETWORK, gain=HE * TRUNCATED)
    memory = replace(few, training=config.Training(60), direct=config.Training(60), dimensions=(1_000, 1_500, 2_000))
    return Config(
        curve,
        alone,
        joint,
        ablations=(
            ("Fastfood", replace(few, projection="fastfood", dimensions=(300,))),
            ("biases", replace(few, bias=True, dimensions=(500,))),
            ("truncated He initialisation", replace(few, network=larger, dimensions=(500, 600, 750))),
        ),
        # the network that the published 750 belongs to
        grid=(replace(few, network=config.Network((784, 400, 400, 10)), dimensions=(400, 500, 600, 750)),),
        # few images, many epochs: labels that nothing but memory can tell
        shuffled=(replace(memory, learning_rates=(0.1,), data=replace(MNIST, train_size=1_000, shuffled_labels=1.0)),),
    )


FULL = _full(config.Training(6))


def _few(settings: Config, curve: tuple[int, ...], moved: tuple[int, ...]) -> Config:
    """The same with these dimensions alone on the main curve, and of each transfer."""
    return replace(
        settings,
        curve=replace(settings.curve, dimensions=curve),
        alone=replace(settings.alone, dimensions=moved),
        transfer=settings.transfer and replace(settings.transfer, dimensions=moved),
    )


def _quick() -> Config:
    """What the appendix begins with; the rest, which nothing in the story needs, is left to `full`."""
    alone = replace(FULL.alone, arms=FULL.alone.arms[:4])
    return _few(scaled(Config(FULL.curve, alone), QUICK), (300, 750, 1500), (100, 400))


def _smoke() -> Config:
    """On few images, so in small batches; otherwise no network would learn anything."""
    few = _full(config.Training(4, batch_size=32, learning_rate=3e-3))
    return _few(scaled(few, replace(SMOKE, epochs=4)), (100, 500), (20, 300))


CONFIGS = {"smoke": _smoke(), "quick": _quick(), "full": FULL}


def _curves(settings: Config) -> list[Curve]:
    return [settings.curve, *(curve for _, curve in settings.ablations), *settings.grid, *settings.shuffled]


def _transfers(settings: Config) -> list[Transfer]:
    return [each for each in (settings.alone, settings.transfer) if each is not None]


def _asked(settings: Config) -> list[Asked]:
    """All that `subspaces.curve` will be asked for."""
    moved = [each for transferred in _transfers(settings) for each in transferred.asked()]
    return [*(curve.asked() for curve in _curves(settings)), *moved]


def _direct(settings: Config) -> list[engine.Run]:
    """The trainings of all parameters: baselines, and what transfers start from."""
    runs = [run for curve in _curves(settings) for run in curve.direct_runs()]
    return list(dict.fromkeys([*runs, *(run for moved in _transfers(settings) for run in moved.pretrainings())]))


def plan(settings: Config) -> list[engine.Run]:
    return [*_direct(settings), *(run for asked in _asked(settings) for run in asked.planned())]


def compute(settings: Config) -> IntrinsicDimension:
    engine.trained(sorted(_direct(settings), key=engine.Run.operations, reverse=True))
    transfer.ready(_transfers(settings))
    subspaces.prepare(_asked(settings))
    return IntrinsicDimension(
        curve=measured(settings.curve),
        transfer=transfer.measured(settings.transfer) if settings.transfer else [],
        ablations={name: measured(curve) for name, curve in settings.ablations},
        grid=[replace(measured(curve), widths=list(curve.network.widths)) for curve in settings.grid],
        shuffled=[replace(measured(curve), fraction=curve.data.shuffled_labels) for curve in settings.shuffled],
        alone=transfer.measured(settings.alone),
    )


def measured(curve: Curve) -> Measured:
    """The curve and its baseline."""
    found = subspaces.curve(curve.asked())
    direct = engine.histories(engine.trained(curve.direct_runs()))
    return Measured(
        dimension=found.dimension,
        learning_rate=found.learning_rate,
        tuning=found.tuning,
        history=found.history,
        direct=direct,
        parameters=parameters(curve.network),
        intrinsic={split: intrinsic(found, direct, split) for split in SPLITS},
    )


def intrinsic(found: ByDimension, direct: Histories, split: str) -> dict[str, Floats]:
    """d_int90 of each seed by both definitions: accuracy 0.90, and 90 % of what training all parameters reaches."""
    accuracy = getattr(found.history, f"{split}_accuracy")[:, :, -1].T  # (seeds, R)
    own = getattr(direct, f"{split}_accuracy")[:, -1]
    return {
        "absolute": crossing(found.dimension, accuracy, np.full(len(own), 0.9)),
        "relative": crossing(found.dimension, accuracy, 0.9 * own),
    }
