"""Chapter 8: one digit is left out, the network learns the other nine, and then it is fine-tuned on that digit.

The left-out digit is the block: arms are compared on the same networks, which differ in the digit they lack and in
their seed. Learning rates are tuned on networks of another seed, for the harmonic mean of new and old accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rankstudy import config
from rankstudy.experiments import networks, overheads
from rankstudy.experiments import training as training_experiment
from rankstudy.experiments.blocks import Arm, Block, Finetuning, answer


@dataclass(frozen=True)
class Config:
    network: config.Network
    training: config.Training  # on nine digits
    data: config.Data
    digits: tuple[int, ...]  # left out, one at a time
    seeds: int  # per digit
    finetuning: Finetuning
    arms: tuple[Arm, ...]
    learning_rates: tuple[tuple[str, tuple[float, ...]], ...]  # method -> tried
    tuning_digits: tuple[int, ...]
    costs: overheads.Config


def _arms(ranks: Sequence[int]) -> tuple[Arm, ...]:
    methods = [("lora", rank) for rank in ranks] + [("full", None), ("last", None), ("row", None)]
    return tuple(Arm(method, rank, replay) for replay in (False, True) for method, rank in methods)


_WIDE = config.Network(training_experiment.WIDTHS)
_RATES = (
    ("lora", (1e-3, 3e-3, 1e-2, 3e-2)),
    ("full", (1e-4, 3e-4, 1e-3, 3e-3)),
    ("last", (1e-3, 3e-3, 1e-2, 3e-2)),
    ("row", (1e-3, 3e-3, 1e-2, 3e-2)),
)
_FEW_RATES = (("lora", (1e-3, 3e-3, 1e-2)), ("full", (3e-4, 1e-3)), ("last", (1e-3, 1e-2)), ("row", (3e-3, 1e-2)))
CONFIGS = {
    "smoke": Config(
        config.Network((784, 32, 32, 32, 10)),
        config.Training(6, 32, learning_rate=3e-3),
        config.Data("mnist"),
        digits=(3, 8),
        seeds=1,
        finetuning=Finetuning(steps=24, looks=6, batch_size=32, memory=10, watch=(20, 3)),
        arms=_arms((1, 4)),
        learning_rates=(("lora", (1e-2, 3e-2)), ("full", (3e-3,)), ("last", (3e-2,)), ("row", (3e-2,))),
        tuning_digits=(5,),
        costs=overheads.Config(batches=(1, 64), rounds=2, steps=2, seconds=0.01, widths=(32, 64)),
    ),
    "quick": Config(
        _WIDE,
        config.Training(2, 128),
        config.Data("mnist", train_size=20000),
        digits=(0, 2, 4, 7, 9),
        seeds=1,
        finetuning=Finetuning(steps=42, looks=14, watch=(100, 20), train_size=5000),
        arms=_arms((1, 4, 16)),
        learning_rates=_FEW_RATES,
        tuning_digits=(5,),
        costs=overheads.Config(batches=(1, 128), rounds=5, steps=4, seconds=0.1, widths=(256, 1024)),
    ),
    "full": Config(
        _WIDE,
        config.Training(4, 128),
        config.Data("mnist"),
        digits=tuple(range(10)),
        seeds=3,
        finetuning=Finetuning(steps=126, looks=26),
        arms=_arms((1, 2, 4, 8, 16)),
        learning_rates=_RATES,
        tuning_digits=tuple(range(10)),
        costs=overheads.Config(),
    ),
}


def bases(settings: Config, digits: Sequence[int], seeds: Sequence[int]) -> list[networks.Run]:
    """The networks that lack a digit: all seeds of the first digit first."""
    return [
        networks.Run(settings.network, settings.training, replace(settings.data, without=(digit,)), seed)
        for digit in digits
        for seed in seeds
    ]


def plan(settings: Config) -> tuple[list[networks.Run], float]:
    """Trainings, and seconds of everything else on two cores."""
    tuning = bases(settings, settings.tuning_digits, [networks.TUNING_SEED])
    chosen = bases(settings, settings.digits, range(settings.seeds))
    tried = sum(len(dict(settings.learning_rates)[arm.method]) for arm in settings.arms) * len(tuning)
    step = 1.4e-8 * sum(out * inp for out, inp in settings.network.shapes())  # seconds
    looks = len(settings.finetuning.at()) * (settings.finetuning.watch[0] + 9 * settings.finetuning.watch[1])
    whole = 2 * ((settings.finetuning.train_size or 55_000) + 10_000)
    one = settings.finetuning.steps * step
    seconds = tried * (one + looks * step / 200) + len(settings.arms) * len(chosen) * (
        one + (3 * looks + whole) * step / 200
    )
    return tuning + chosen, seconds + 0.4 * len(tuning + chosen) + overheads.predicted(settings.costs)


def compute(settings: Config) -> dict[str, Any]:
    tuning = bases(settings, settings.tuning_digits, [networks.TUNING_SEED])
    chosen = bases(settings, settings.digits, range(settings.seeds))
    found = networks.trained(tuning + chosen)[len(tuning) :]  # before the fine-tunings, which use another data set
    rates, evidence = tune(settings, tuning)
    arms = tuple(zip(settings.arms, rates, strict=True))
    values = [answer(Block(base, settings.finetuning, arms)) for base in chosen]
    shape = (len(settings.digits), settings.seeds)

    def stacked(name: str) -> np.ndarray:  # (digits, seeds, arms, …)
        array = np.stack([value[name] for value in values])
        return array.reshape(*shape, *array.shape[1:])

    return {
        "base": networks.histories(found),
        "arms": [arm.label() for arm in settings.arms],
        "replay": np.array([arm.replay for arm in settings.arms]),
        "rank": np.array([arm.rank or 0 for arm in settings.arms]),
        "learning_rate": np.array(rates),
        "tuning": evidence,
        "steps": np.array(settings.finetuning.at()),
        **{name: stacked(name) for name in values[0]},
        "costs": overheads.compute(settings.costs, settings.network, settings.finetuning.batch_size),
    }


def tune(settings: Config, runs: Sequence[networks.Run]) -> tuple[list[float], dict[str, np.ndarray]]:
    """For each arm the learning rate with the best harmonic mean of new and old validation accuracy, mean over runs.

    Returns: the rates, and the evidence: `learning_rate` (arms, L), `score` (arms, L), NaN where fewer were tried.
    """
    tried = [dict(settings.learning_rates)[arm.method] for arm in settings.arms]
    arms = tuple((arm, rate) for arm, rates in zip(settings.arms, tried, strict=True) for rate in rates)
    blocks = [answer(Block(run, settings.finetuning, arms, validation_only=True)) for run in runs]
    scores = iter(np.mean([block["validation_score"] for block in blocks], axis=0))
    evidence = {name: np.full((len(tried), max(map(len, tried))), np.nan) for name in ("learning_rate", "score")}
    for row, rates in enumerate(tried):
        evidence["learning_rate"][row, : len(rates)] = rates
        evidence["score"][row, : len(rates)] = [next(scores) for _ in rates]
    best = np.nanargmax(evidence["score"], axis=1)
    return [float(rates[index]) for rates, index in zip(tried, best, strict=True)], evidence
