"""Chapter 6's control: every layer as B·C, against a dense network of fewer units with as many parameters.

At each rank both are tuned alike, trained alike and timed in turns: what is compared is how the parameters are spent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rankstudy import config
from rankstudy.study import engine, jobs
from rankstudy.study.engine import Histories, Run, Tuning
from rankstudy.study.experiments import approximation, inference, low_rank_training
from rankstudy.study.experiments.training import parameters
from rankstudy.study.jobs import Job
from rankstudy.study.profiles import QUICK, SMOKE, scaled
from rankstudy.study.typed import Floats, Integers

if TYPE_CHECKING:
    from torch import Tensor, nn

KINDS = ("factorised", "narrow")


@dataclass(frozen=True)
class Networks:
    """One condition's networks at their tuned learning rate."""

    widths: list[int]
    parameters: int
    history: Histories
    learning_rate: float
    tuning: Tuning
    right: Integers  # (test images,) how many of the networks classify each correctly


@dataclass(frozen=True)
class Speed:
    """Seconds, measured in turns: all networks in one block, then in the next."""

    step: Floats  # (kinds, ranks, blocks) of a training step on a batch
    forward: Floats  # (kinds, ranks, batches, blocks) of a forward pass
    batches: Integers  # images in a forward pass
    batch_size: int  # images in a training step
    device: str
    threads: int


@dataclass(frozen=True)
class Narrow:
    """Networks by rank, ascending, of either kind."""

    rank: int  # chapter 5's effective rank, one of those below
    ranks: Integers  # (ranks,)
    factorised: list[Networks]
    narrow: list[Networks]
    speed: Speed


@dataclass(frozen=True)
class Turns(Job[Speed]):
    """How long networks of either kind take, whatever their weights are."""

    NAME = "narrow_speed"
    ANSWER = Speed

    networks: tuple[tuple[config.Network, ...], ...]  # (kinds, ranks)
    training: config.Training
    batches: tuple[int, ...]
    seconds: float  # of each measurement, about
    dataset: str

    @classmethod
    def modules(cls) -> tuple[str, ...]:
        return ("study.experiments.narrow", "study.experiments.inference", "layers")

    def selection(self) -> str:
        return self.dataset

    def compute(self) -> Speed:
        return timed(self)


@dataclass(frozen=True)
class Config(Job[Narrow]):
    NAME = "narrow"
    ANSWER = Narrow

    approximation: approximation.Config  # where the architecture, the data and the effective rank come from
    training: config.Training
    scales: tuple[float, ...]  # ranks as multiples of the effective rank, ascending; 1 among them
    factorised_rates: tuple[float, ...]  # learning rates tried; a product of two factors begins smaller, so higher ones
    narrow_rates: tuple[float, ...]
    seeds: int
    batches: tuple[int, ...]  # images per forward pass when latency is measured
    seconds: float  # per measurement of a time
    expected_rank: int = 32  # to plan with, as long as chapter 5 has not been computed

    def selection(self) -> str:
        return self.approximation.overfitting.data.name

    def compute(self) -> Narrow:
        return compute(self)

    def rates(self, kind: str) -> tuple[float, ...]:
        return self.factorised_rates if kind == "factorised" else self.narrow_rates


_CHAPTER = low_rank_training.CONFIGS["full"]
FULL = Config(
    approximation=_CHAPTER.approximation,
    training=_CHAPTER.training,
    scales=(0.25, 0.5, 1.0, 2.0),
    factorised_rates=_CHAPTER.learning_rates,
    narrow_rates=tuple(rate / 2 for rate in _CHAPTER.learning_rates),
    seeds=10,
    batches=(1, 64, 1024),
    seconds=0.5,
)
CONFIGS = {
    "smoke": replace(
        scaled(FULL, SMOKE),
        approximation=approximation.CONFIGS["smoke"],
        scales=(0.5, 1.0),
        seconds=0.002,
        batches=(1, 64),
    ),
    "quick": replace(
        scaled(FULL, QUICK), approximation=approximation.CONFIGS["quick"], scales=(0.25, 1.0), seconds=0.1
    ),
    "full": FULL,
}


def plan(settings: Config) -> list[Run]:
    ladder = conditions(settings, approximation.known_rank(settings.approximation, settings.expected_rank))
    return [*grids(settings, ladder), *(run for each in ladder for run in runs(settings, each[1]))]


def compute(settings: Config) -> Narrow:
    rank = jobs.answer(settings.approximation).rank
    ladder = conditions(settings, rank)
    engine.trained(grids(settings, ladder))
    tuned = [_tuned(settings, kind, network) for kind, network in ladder]
    engine.trained([run for chosen, _ in tuned for run in chosen])
    found = [networks(chosen, evidence) for chosen, evidence in tuned]
    half = len(found) // 2
    both = tuple(tuple(network for own, network in ladder if own == kind) for kind in KINDS)
    return Narrow(
        rank=rank,
        ranks=np.array([network.rank for network in both[0]]),
        factorised=found[:half],
        narrow=found[half:],
        speed=jobs.answer(Turns(both, settings.training, settings.batches, settings.seconds, settings.selection())),
    )


def conditions(settings: Config, rank: int) -> list[tuple[str, config.Network]]:
    """(kind, network), by kind and then by rank."""
    whole = settings.approximation.overfitting.network
    ranks = sorted({low_rank_training.scaled(scale, rank) for scale in settings.scales})
    factors = [replace(whole, rank=each) for each in ranks]
    return [("factorised", each) for each in factors] + [("narrow", as_large(each)) for each in factors]


def as_large(network: config.Network) -> config.Network:
    """The dense network whose hidden layers have one width, with the number of parameters nearest to this one's.

    >>> as_large(config.Network((784, 1024, 1024, 1024, 10), rank=32)).widths
    (784, 190, 190, 190, 10)
    """
    first, *hidden, last = network.widths

    def dense(width: int) -> config.Network:
        return replace(network, widths=(first, *[width] * len(hidden), last), rank=None)

    wanted = parameters(network)
    return min((dense(width) for width in range(1, 2 * max(hidden))), key=lambda each: abs(parameters(each) - wanted))


def runs(settings: Config, network: config.Network) -> list[Run]:
    """A condition's trainings, at the learning rate of the settings."""
    data = settings.approximation.overfitting.data
    return [Run(network, settings.training, data, seed) for seed in engine.seeds(settings.seeds)]


def grids(settings: Config, ladder: Sequence[tuple[str, config.Network]]) -> list[Run]:
    """What the searches for all learning rates train."""
    searched = [(runs(settings, network)[0], settings.rates(kind)) for kind, network in ladder]
    return [run for first, rates in searched if len(rates) > 1 for run in engine.grid(first, rates)]


def _tuned(settings: Config, kind: str, network: config.Network) -> tuple[list[Run], Tuning]:
    rates, chosen = settings.rates(kind), runs(settings, network)
    rate, evidence = engine.tune(chosen[0], rates) if len(rates) > 1 else (rates[0], Tuning())
    return [run.at(rate) for run in chosen], evidence


def networks(chosen: Sequence[Run], evidence: Tuning) -> Networks:
    """What is kept of a condition's networks."""
    found, network = engine.trained(chosen), chosen[0].network
    return Networks(
        widths=list(network.widths),
        parameters=parameters(network),
        history=engine.histories(found),
        learning_rate=chosen[0].training.learning_rate,
        tuning=evidence,
        right=right(found),
    )


def right(found: Sequence[engine.Trained]) -> Integers:
    """(test images,) how many of the networks classify each correctly."""
    import torch

    test = engine.dataset_on_device(found[0].run.data).test
    with torch.no_grad():
        models = [each.model().to(test.images.device) for each in found]
        counts = sum((model(test.images).argmax(1) == test.labels).int() for model in models)
    return np.asarray(counts.cpu()).astype(np.int16)  # type: ignore[union-attr]


def timed(setting: Turns) -> Speed:
    import torch

    from rankstudy import device, layers

    where, kinds = device.choose(), range(len(KINDS))
    shape = (len(KINDS), len(setting.networks[0]))
    each = {(kind, row): setting.networks[kind][row] for kind in kinds for row in range(shape[1])}
    models = {f"{kind} {row}": layers.build(network, 0).to(where) for (kind, row), network in each.items()}
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> Tensor:
        return torch.randn(count, setting.networks[0][0].widths[0], generator=generator).to(where)

    def blocks(calls: Mapping[str, Callable[[], object]]) -> Floats:
        return np.array(list(inference.in_turns(calls, setting.seconds).values())).reshape(*shape, inference.BLOCKS)

    batch = images(setting.training.batch_size)
    steps = blocks({name: step(model, batch, setting.training) for name, model in models.items()})
    with torch.inference_mode():
        forward = [
            blocks({name: partial(model, given) for name, model in models.items()})
            for given in map(images, setting.batches)
        ]
    return Speed(
        step=steps,
        forward=np.stack(forward, axis=2),
        batches=np.array(setting.batches),
        batch_size=setting.training.batch_size,
        device=device.describe(where),
        threads=torch.get_num_threads(),
    )


def step(model: nn.Module, images: Tensor, training: config.Training) -> Callable[[], None]:
    """A training step on these images that leaves the weights as they are: its learning rate is 0."""
    import torch

    from rankstudy.registry import OPTIMIZERS
    from rankstudy.training import batch_loss

    groups: list[dict[str, object]] = [{"params": list(model.parameters())}]
    optimizer = OPTIMIZERS[training.optimizer].torch(groups, learning_rate=0.0, weight_decay=training.weight_decay)
    labels = torch.arange(len(images), device=images.device) % 10

    def once() -> None:
        optimizer.zero_grad()
        batch_loss(model, images, labels, training).backward()
        optimizer.step()

    return once
