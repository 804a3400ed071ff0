"""Chapter 8: one digit is left out, the network learns the other nine, and then it is fine-tuned on that digit.

The left-out digit is the block: arms are compared on the same networks, which differ in the digit they lack and in
their seed. Learning rates are tuned on networks of another seed, for the harmonic mean of new and old accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankstudy import config
from rankstudy.study import engine, jobs, typed
from rankstudy.study.engine import Histories
from rankstudy.study.experiments import blocks, overheads
from rankstudy.study.experiments import training as training_experiment
from rankstudy.study.experiments.blocks import Arm, Block, Finetuning
from rankstudy.study.jobs import Job
from rankstudy.study.profiles import QUICK, SMOKE, scaled
from rankstudy.study.typed import Flags, Floats, Integers


@dataclass(frozen=True)
class Scores:
    """The evidence for the learning rates."""

    learning_rate: Floats  # (arms, rates) NaN where fewer were tried
    score: Floats  # (arms, rates) harmonic mean of new and old validation accuracy, mean over the tuning networks
    at_boundary: Flags | None = None  # (arms,) whether the best rate is the lowest or highest that was tried


@dataclass(frozen=True)
class Ablation:
    """Variants of LoRA on the same networks."""

    rank: Integers  # (arms,)
    variant: list[str]  # (arms,) "lora", "rslora" or "pissa"
    learning_rate: Floats  # (arms,)
    control: int  # which of the chapter's arms the shared learning rate was tuned for
    digits: Integers  # (digits,)
    confusion: Integers  # (digits, seeds, arms, 10, 10) of the test set


@dataclass(frozen=True, kw_only=True)
class LoRA(blocks.FineTuned):
    """Chapter 8's result: of all networks, (digits, seeds, arms, …)."""

    base: Histories  # of the networks before fine-tuning, those of the first digit first
    replay: Flags  # (arms,)
    rank: Integers  # (arms,) 0 where there is none
    learning_rate: Floats  # (arms,)
    tuning: Scores
    steps: Integers  # (looks,) at which the networks were looked at
    ablation: Ablation
    costs: overheads.Costs


@dataclass(frozen=True)
class Config(Job[LoRA]):
    NAME = "lora"
    ANSWER = LoRA

    network: config.Network
    training: config.Training  # on nine digits
    data: config.Data
    digits: tuple[int, ...]  # left out, one at a time
    seeds: int  # per digit
    finetuning: Finetuning
    arms: tuple[Arm, ...]
    learning_rates: tuple[tuple[str, tuple[float, ...]], ...]  # `Arm.kind` -> tried, each twice the one before
    tuning_digits: tuple[int, ...]
    ablation: tuple[Arm, ...]  # variants of LoRA, at `ablation_rate` but for PiSSA, which is tuned
    ablation_digits: tuple[int, ...]
    costs: overheads.Config

    def selection(self) -> str:
        return self.data.name

    def compute(self) -> LoRA:
        return compute(self)


def _arms(ranks: Sequence[int]) -> tuple[Arm, ...]:
    methods = [("lora", rank) for rank in ranks] + [("full", None), ("last", None), ("row", None)]
    return tuple(Arm(method, rank, replay) for replay in (False, True) for method, rank in methods)


def _ablation(ranks: Sequence[int], pissa: int) -> tuple[Arm, ...]:
    """Scales α/r and α/√r, each with one α for all ranks, equal at rank ALPHA, and the start from W's own leading
    directions; with replay."""
    scalings = (("lora", ALPHA), ("rslora", ALPHA**0.5))
    arms = [Arm("lora", rank, True, alpha, scaling) for scaling, alpha in scalings for rank in ranks]
    return (*arms, Arm("lora", pissa, True, initialisation="pissa"))


ALPHA = 4.0  # of the ablation: both scales are 1 at rank 4
FULL = Config(
    config.Network(training_experiment.WIDTHS),
    config.Training(4, 128),
    config.Data("mnist"),
    digits=tuple(range(10)),
    seeds=2,
    finetuning=Finetuning(steps=126, looks=20),
    arms=_arms((1, 4, 16)),
    learning_rates=(
        ("lora", engine.factor2(2.5e-4, 8e-3)),
        ("full", engine.factor2(5e-5, 1.6e-3)),
        ("last", engine.factor2(2.5e-4, 8e-3)),
        ("row", engine.factor2(5e-4, 1.6e-2)),
        ("lora, replay", engine.factor2(1e-3, 3.2e-2)),
        ("full, replay", engine.factor2(2e-4, 6.4e-3)),
        ("last, replay", engine.factor2(5e-3, 0.16)),
        ("row, replay", engine.factor2(2e-2, 0.64)),
    ),
    tuning_digits=(0, 2, 4, 6, 8),
    ablation=_ablation((1, 4, 16), 4),
    ablation_digits=tuple(range(10)),
    costs=overheads.Config(),
)
CONFIGS = {
    "smoke": replace(
        scaled(FULL, SMOKE),
        training=config.Training(6, 32, learning_rate=3e-3),
        digits=(3, 8),
        seeds=1,
        finetuning=Finetuning(steps=24, looks=6, batch_size=32, memory=10, watch=(20, 3)),
        learning_rates=tuple(
            (kind, rates)
            for method, rates in (("lora", (0.01, 0.02)), ("full", (3e-3,)), ("last", (0.03,)), ("row", (0.03,)))
            for kind in (method, f"{method}, replay")
        ),
        tuning_digits=(5,),
        ablation_digits=(3, 8),
        costs=overheads.Config(batches=(1, 64), rounds=2, steps=2, seconds=0.01, widths=(32, 64)),
    ),
    "quick": replace(
        scaled(FULL, QUICK),
        digits=(0, 2, 4, 7, 9),
        seeds=1,
        finetuning=Finetuning(steps=42, looks=14, watch=(100, 20), train_size=2000),
        tuning_digits=(5,),
        ablation_digits=(2, 7),
        costs=overheads.Config(batches=(1, 128), rounds=5, steps=4, seconds=0.1, widths=(64, 256, 1024)),
    ),
    "full": FULL,
}


def bases(settings: Config, digits: Sequence[int], seeds: Sequence[int]) -> list[engine.Run]:
    """The networks that lack a digit: all seeds of the first digit first."""
    return blocks.bases(settings.network, settings.training, settings.data, digits, seeds)


def plan(settings: Config) -> list[engine.Run]:
    tuning = bases(settings, settings.tuning_digits, [engine.TUNING_SEED])
    return tuning + bases(settings, settings.digits, engine.seeds(settings.seeds))


def compute(settings: Config) -> LoRA:
    tuning = bases(settings, settings.tuning_digits, [engine.TUNING_SEED])
    chosen = bases(settings, settings.digits, engine.seeds(settings.seeds))
    found = engine.trained(tuning + chosen)[len(tuning) :]  # before the fine-tunings, which use another data set
    rates, evidence = tune(settings, settings.arms, tuning)
    return LoRA(
        **_finetunings(settings, chosen, settings.arms, rates),  # type: ignore[arg-type]
        base=engine.histories(found),
        replay=np.array([arm.replay for arm in settings.arms]),
        rank=np.array([arm.rank or 0 for arm in settings.arms]),
        learning_rate=np.array(rates),
        tuning=evidence,
        steps=np.array(settings.finetuning.at()),
        ablation=ablation(settings, rates, tuning),
        costs=overheads.compute(settings.costs, settings.network, settings.finetuning.batch_size),
    )


def _finetunings(
    settings: Config, runs: Sequence[engine.Run], arms: Sequence[Arm], rates: Sequence[float]
) -> dict[str, np.ndarray]:
    """Every arm on every network: the fields of `FineTuned`, arrays (digits, seeds, arms, …)."""
    pairs = tuple(zip(arms, rates, strict=True))
    values = [typed.values(each) for each in jobs.answers([Block(run, settings.finetuning, pairs) for run in runs])]
    stacked = {name: np.stack([value[name] for value in values]) for name in values[0]}
    return {name: array.reshape(-1, settings.seeds, *array.shape[1:]) for name, array in stacked.items()}


def ablation(settings: Config, rates: Sequence[float], tuning: Sequence[engine.Run]) -> Ablation:
    """Variants of LoRA on the same networks. Both scalings share the rate that was tuned at the rank nearest to ALPHA,
    where they are the same: what is asked of them is whether it serves other ranks. PiSSA has a rate of its own."""
    shared = min(
        (index for index, arm in enumerate(settings.arms) if arm.method == "lora" and arm.replay),
        key=lambda index: abs((settings.arms[index].rank or 0) - ALPHA),
    )
    pissa = [arm for arm in settings.ablation if arm.initialisation == "pissa"]
    tuned = dict(zip(pissa, tune(settings, pissa, tuning)[0], strict=True))
    chosen = [tuned.get(arm, rates[shared]) for arm in settings.ablation]
    runs = bases(settings, settings.ablation_digits, engine.seeds(settings.seeds))
    values = _finetunings(settings, runs, settings.ablation, chosen)
    return Ablation(
        rank=np.array([arm.rank for arm in settings.ablation]),
        variant=[arm.initialisation if arm in tuned else arm.scaling for arm in settings.ablation],
        learning_rate=np.array(chosen),
        control=shared,
        digits=np.array(settings.ablation_digits),
        confusion=values["confusion"][:, :, :, 1],
    )


def tune(settings: Config, arms: Sequence[Arm], runs: Sequence[engine.Run]) -> tuple[list[float], Scores]:
    """For each arm the learning rate with the best harmonic mean of new and old validation accuracy, mean over runs; by
    a parabola between those tried, see `engine.peak`."""
    tried = [dict(settings.learning_rates)[arm.kind] for arm in arms]
    pairs = tuple((arm, rate) for arm, rates in zip(arms, tried, strict=True) for rate in rates)
    found = jobs.answers([Block(run, settings.finetuning, pairs, validation_only=True) for run in runs])
    scores = iter(np.mean([typed.values(each)["validation_score"] for each in found], axis=0))
    evidence = {name: np.full((len(tried), max(map(len, tried))), np.nan) for name in ("learning_rate", "score")}
    for row, rates in enumerate(tried):
        evidence["learning_rate"][row, : len(rates)] = rates
        evidence["score"][row, : len(rates)] = [next(scores) for _ in rates]
    best = [engine.peak(rates, evidence["score"][row, : len(rates)]) for row, rates in enumerate(tried)]
    return [rate for rate, _ in best], Scores(**evidence, at_boundary=np.array([at for _, at in best]))
