"""Chapter 6: the big network with every layer as B·C from the start, at the rank that chapter 5 found to be enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from rankstudy import config
from rankstudy.factorization import break_even_rank
from rankstudy.study import engine, jobs, profiles
from rankstudy.study.engine import Histories, Tuning
from rankstudy.study.experiments import approximation, inference, overfitting
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Floats

DENSE, PLAIN = "dense", "low rank"  # the control, and what the assignment asks for


@dataclass(frozen=True)
class Arm:
    """One way of training."""

    name: str
    scale: float | None = 1.0  # rank as a multiple of the effective rank; None: dense
    initialisation: str = "default"  # as in config.Network
    frobenius_decay: float = 0.0  # as in config.Training
    start: str = ""  # "": at the initialisation; "warm": after `warm_epochs` dense ones; "trained": chapter 5's network
    learning_rates: tuple[float, ...] = ()  # tried on validation data; one only: taken as it is; none: the study's


@dataclass(frozen=True)
class ArmResult:
    """One arm's networks at their tuned learning rate."""

    history: Histories
    learning_rate: float
    tuning: Tuning
    rank: int | None  # None: dense
    before: Floats  # (networks,) seconds of the dense training that the arm begins with; 0 where it begins at random


@dataclass(frozen=True)
class Memory:
    """What a network holds, counted."""

    parameters: int
    formula: int  # the same by the formula
    file: int  # bytes on disk
    flops: float  # of a training step, per image
    weights: int  # bytes of a training step on one batch, as are all below
    gradients: int
    optimizer: int
    activations: int
    peak: int


@dataclass(frozen=True)
class LowRankTraining:
    """Chapter 6's result."""

    rank: int  # chapter 5's
    images: int  # in the training split
    arms: dict[str, ArmResult]
    memory: dict[str, Memory]  # dense; "rank <r>": every layer factorised; "spared <r>": every layer but the last
    inference: inference.Inference


@dataclass(frozen=True)
class Config(Job[LowRankTraining]):
    NAME = "low_rank_training"
    ANSWER = LowRankTraining

    approximation: approximation.Config  # where the architecture, the data and the rank come from
    training: config.Training
    arms: tuple[Arm, ...]
    learning_rates: tuple[float, ...]
    seeds: int
    batches: tuple[int, ...]  # images per forward pass when latency is measured
    ranks: tuple[int, ...]  # at which latency is measured, besides those of the arms
    seconds: float  # per latency measurement
    compiled: bool = False  # measure latency by torch.compile too
    warm_epochs: int = 2  # of dense training, taken off the epochs of a "warm" arm
    tuned_epochs: int = 3  # of a "trained" arm
    expected_rank: int = 16  # to plan with, as long as chapter 5 has not been computed

    def selection(self) -> str:
        return self.approximation.overfitting.data.name

    def compute(self) -> LowRankTraining:
        return compute(self)


_SHAPE = (  # what the story tells
    # the factors' product begins smaller than a dense matrix, so higher rates are tried for it
    Arm(DENSE, None, learning_rates=engine.factor2(5e-4, 4e-3)),
    Arm(PLAIN),
)
_OTHERS = (  # other ways to the same rank, for the evidence
    Arm("variance", initialisation="variance"),
    Arm("spectral", initialisation="spectral"),  # with the next two and the plain arm: Khodak et al. 2021
    Arm("decay", frobenius_decay=1e-4),  # which was chosen in advance, and not tuned
    Arm("spectral + decay", initialisation="spectral", frobenius_decay=1e-4),
    Arm("warm", start="warm"),
    Arm("trained", start="trained", learning_rates=engine.factor2(1e-4, 8e-4)),
)
FULL = Config(
    approximation.CONFIGS["full"],
    replace(overfitting.CONFIGS["full"].training, epochs=6),
    (*_SHAPE, *_OTHERS),
    engine.factor2(1e-3, 8e-3),
    seeds=5,
    batches=(1, 8, 64, 256, 1024, 8192),
    ranks=(8, 128, 512),
    seconds=0.5,
    compiled=True,
)
CONFIGS = {
    "smoke": replace(
        profiles.scaled(FULL, profiles.SMOKE),
        approximation=approximation.CONFIGS["smoke"],
        arms=(
            *profiles.scaled(FULL.arms[:-1], profiles.SMOKE),
            replace(FULL.arms[-1], learning_rates=(1e-4, 1e-3)),
        ),  # one that is tuned
        training=config.Training(3, 32, learning_rate=3e-3),
        batches=(1, 64),
        ranks=(),
        seconds=0.002,
        compiled=False,
        tuned_epochs=1,
    ),
    "quick": replace(
        profiles.scaled(FULL, replace(profiles.QUICK, seeds=2)),
        approximation=approximation.CONFIGS["quick"],
        training=replace(overfitting.CONFIGS["quick"].training, epochs=6),
        batches=(1, 128, 1024),
        ranks=(128,),
        seconds=0.1,
        compiled=False,
    ),
    "full": FULL,
}


def plan(settings: Config) -> list[engine.Run]:
    rank = approximation.known_rank(settings.approximation, settings.expected_rank)
    runs = []
    for arm in settings.arms:
        first = [make(arm, settings, rank, seed) for seed in engine.seeds(settings.seeds)]
        runs += [run.start for run in first if run.start is not None]
        if len(_rates(arm, settings)) > 1:
            runs += _grid(arm, settings, rank)
        runs += first
    return runs


def compute(settings: Config) -> LowRankTraining:
    rank = jobs.answer(settings.approximation).rank
    network = settings.approximation.overfitting.network
    ranks = _latency_ranks(settings, rank)
    setting = inference.Setting(network, ranks, settings.batches, settings.seconds, settings.compiled)
    searched = [arm for arm in settings.arms if len(_rates(arm, settings)) > 1]
    engine.trained([run for arm in searched for run in _grid(arm, settings, rank)])
    engine.trained([run for arm in settings.arms for run in chosen(arm, settings, rank)[0]])
    return LowRankTraining(
        rank=rank,
        images=engine.training_images(make(settings.arms[0], settings, rank, 0)),
        arms={arm.name: trained(arm, settings, rank) for arm in settings.arms},
        memory=memory(network, settings.training, sorted({*ranks, break_even_rank(*network.shapes()[1])})),
        inference=jobs.answer(inference.Timing(setting, settings.selection())),
    )


def trained(arm: Arm, settings: Config, rank: int) -> ArmResult:
    """The arm's networks at their tuned learning rate."""
    runs, rate, evidence = chosen(arm, settings, rank)
    found = engine.trained(runs)
    starts = [engine.trained([run.start])[0] if run.start else None for run in runs]
    return ArmResult(
        history=engine.histories(found),
        learning_rate=rate,
        tuning=evidence,
        rank=runs[0].network.rank,
        before=np.array([start.history["seconds"][-1] if start else 0.0 for start in starts]),
    )


def chosen(arm: Arm, settings: Config, rank: int) -> tuple[list[engine.Run], float, Tuning]:
    """The arm's runs at their tuned learning rate, that rate, and the evidence for it."""
    rates = _rates(arm, settings)
    rate, evidence = rates[0], Tuning()
    if len(rates) > 1:
        rate, evidence = engine.tune(make(arm, settings, rank, engine.TUNING_SEED), rates)
    runs = [make(arm, settings, rank, seed) for seed in engine.seeds(settings.seeds)]
    return [replace(run, training=replace(run.training, learning_rate=rate)) for run in runs], rate, evidence


def make(arm: Arm, settings: Config, rank: int, seed: int) -> engine.Run:
    """The arm's run of that seed, at the first of its learning rates."""
    source = settings.approximation.overfitting
    own = None if arm.scale is None else scaled(arm.scale, rank)
    network = replace(source.network, rank=own, initialisation=arm.initialisation)
    rate = _rates(arm, settings)[0]
    training = replace(settings.training, learning_rate=rate, frobenius_decay=arm.frobenius_decay)
    run = engine.Run(network, training, source.data, seed)
    if arm.start == "warm":
        warm = replace(settings.training, epochs=settings.warm_epochs, schedule="constant")
        start = engine.Run(source.network, warm, source.data, seed)
        return replace(run, start=start, training=replace(training, epochs=training.epochs - settings.warm_epochs))
    if arm.start == "trained":
        chosen, _ = overfitting.runs(source)
        start = chosen[(seed - engine.FIRST_SEED) % len(chosen)]  # a tuning seed decides the order of the images only
        return replace(run, start=start, training=replace(training, epochs=settings.tuned_epochs))
    return run


def scaled(scale: float, rank: int) -> int:
    return max(1, round(scale * rank))


def memory(network: config.Network, training: config.Training, ranks: Sequence[int]) -> dict[str, Memory]:
    """What each variant holds, counted on modules that are never filled: dense, every layer factorised, and (`spared`)
    every layer but the last.
    """
    import torch
    from safetensors.torch import save

    from rankstudy import measure
    from rankstudy.layers import MLP

    shapes = network.shapes()
    variants: dict[str, list[int | None]] = {"dense": [None] * len(shapes)}
    for rank in ranks:
        variants[f"rank {rank}"] = [rank] * len(shapes)
        variants[f"spared {rank}"] = [rank] * (len(shapes) - 1) + [None]
    found = {}
    for name, each in variants.items():
        with torch.device("meta"):
            model = MLP(network.widths, network.activation, rank=each)
            images = torch.empty(training.batch_size, network.widths[0])
        state = {key: torch.zeros(tensor.shape) for key, tensor in model.state_dict().items()}
        found[name] = Memory(
            parameters=measure.parameters(model),
            formula=sum(m * n if r is None else r * (m + n) for r, (m, n) in zip(each, shapes, strict=True)),
            file=len(save(state)),
            flops=measure.flops(model, images, backward=True) / training.batch_size,
            **asdict(measure.training_memory(model, training, images)),
        )
    return found


def _rates(arm: Arm, settings: Config) -> tuple[float, ...]:
    return arm.learning_rates or settings.learning_rates


def _grid(arm: Arm, settings: Config, rank: int) -> list[engine.Run]:
    """What the search for the arm's learning rate trains."""
    return engine.grid(make(arm, settings, rank, engine.TUNING_SEED), _rates(arm, settings))


def _latency_ranks(settings: Config, rank: int) -> tuple[int, ...]:
    """The effective rank first, then the others in order."""
    others = {scaled(arm.scale, rank) for arm in settings.arms if arm.scale is not None} | set(settings.ranks)
    return (rank, *sorted(others - {rank}))
