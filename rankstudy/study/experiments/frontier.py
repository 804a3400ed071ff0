"""Chapter 8's control of forgetting: all that each way of fine-tuning can reach, learned against kept, without replay.

A method is not one point but as many as there are learning rates, lengths and moments to stop at. Every method gets
equally many, centred on where it does well; the pages choose among them on validation data of other digits. Beside the
methods stand what needs no training: a larger logit for the new digit (`blocks.tilt`), and a share of the update,
θ₀ + t·ΔW. Every point is also read with the new digit's logit masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rankstudy import config
from rankstudy.study import engine, jobs, typed
from rankstudy.study.experiments import blocks
from rankstudy.study.experiments import lora as chapter8
from rankstudy.study.experiments.blocks import Arm, Finetuning
from rankstudy.study.jobs import Job
from rankstudy.study.profiles import QUICK, SMOKE, scaled
from rankstudy.study.typed import Floats, Integers

if TYPE_CHECKING:
    import torch

    from rankstudy import data, finetuning
    from rankstudy.layers import MLP

SPLITS = ("validation", "test")
SHARES = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)  # t of θ₀ + t·ΔW; 1 is the last look


@dataclass(frozen=True)
class Method:
    """A way of fine-tuning, and the learning rates that it is tried at."""

    arm: Arm
    learning_rates: tuple[float, ...]


@dataclass(frozen=True)
class Points:
    """What one network reaches; with digits and seeds in front of many. Right answers are images counted on what is
    watched: of the new digit, of the old ones, and of the old ones with the new digit's logit masked."""

    right: Integers  # (…, methods, rates, lengths, looks; validation, test; new, old, old masked)
    loss: Floats  # (…, methods, rates, lengths, looks; validation, test; new, old) float32, nats; NaN: diverged
    shared: Integers  # (…, methods, rates, lengths, SHARES; validation, test; new, old, old masked) at θ₀ + t·ΔW
    tilted: Integers  # (…, offsets; validation, test; new, old) of the untrained network with offsets on its logit
    images: Integers  # (…; validation, test; new, old) watched


@dataclass(frozen=True, kw_only=True)
class Frontier(Points):
    """The control's result: `Points` of all networks, (digits, seeds, …)."""

    steps: Integers  # (lengths, looks) after which the networks were looked at
    learning_rate: Floats  # (methods, rates)


@dataclass(frozen=True)
class Walk(Job[Points]):
    """One network that lacks a digit, fine-tuned on it by every method, at every rate, for every length."""

    NAME = "frontier-network"
    ANSWER = Points
    SENT = True

    base: engine.Run
    methods: tuple[Method, ...]
    lengths: tuple[Finetuning, ...]

    def selection(self) -> str:
        return self.base.data.name

    def needs(self) -> list[Job]:
        return [self.base]

    def compute(self) -> Points:
        return _walk(self)


@dataclass(frozen=True)
class Config(Job[Frontier]):
    NAME = "frontier"
    ANSWER = Frontier

    network: config.Network
    training: config.Training  # on nine digits
    data: config.Data
    digits: tuple[int, ...]  # left out, one at a time
    seeds: int  # per digit
    methods: tuple[Method, ...]
    lengths: tuple[Finetuning, ...]

    def selection(self) -> str:
        return self.data.name

    def compute(self) -> Frontier:
        return compute(self)


def _around(centre: float, count: int = 11) -> tuple[float, ...]:
    """Learning rates √2 apart.

    >>> _around(1e-3, 3)
    (0.000707, 0.001, 0.00141)
    """
    return tuple(float(f"{centre * 2 ** ((step - count // 2) / 2):.3g}") for step in range(count))


_FIXED = chapter8.ALPHA  # α for all ranks; at rank 4 it is the rank


def _methods(faster: float = 1.0, count: int = 11) -> tuple[Method, ...]:
    """Every method at rates around its own centre, for fine-tunings that are so much shorter."""
    centres = (
        (Arm("full"), 1e-4),
        (Arm("lora", 1), 1e-3),
        (Arm("lora", 4), 5e-4),
        (Arm("lora", 16), 2.5e-4),
        (Arm("lora", 1, alpha=_FIXED), 4e-4),
        (Arm("lora", 16, alpha=_FIXED), 5e-4),
    )
    return tuple(Method(arm, _around(faster * centre, count)) for arm, centre in centres)


FULL = Config(
    chapter8.FULL.network,
    chapter8.FULL.training,
    chapter8.FULL.data,
    digits=tuple(range(10)),
    seeds=1,
    methods=_methods(),
    lengths=(Finetuning(steps=126, looks=20), Finetuning(steps=504, looks=20)),
)
CONFIGS = {
    "smoke": replace(
        scaled(FULL, SMOKE),
        training=config.Training(6, 32, learning_rate=3e-3),
        digits=(3, 8),
        seeds=1,
        methods=_methods(40, count=2),
        lengths=tuple(Finetuning(steps, looks=6, batch_size=32, watch=(20, 3)) for steps in (12, 24)),
    ),
    "quick": replace(
        scaled(FULL, QUICK),
        digits=(0, 2, 4, 7, 9),
        seeds=1,
        methods=_methods(4, count=3),
        lengths=tuple(Finetuning(steps, looks=7, watch=(100, 20)) for steps in (42, 84)),
    ),
    "full": FULL,
}


def plan(settings: Config) -> list[engine.Run]:
    return blocks.bases(
        settings.network, settings.training, settings.data, settings.digits, engine.seeds(settings.seeds)
    )


def compute(settings: Config) -> Frontier:
    runs = plan(settings)
    engine.trained(runs)  # before the fine-tunings, which use another data set
    found = [
        typed.values(each) for each in jobs.answers([Walk(run, settings.methods, settings.lengths) for run in runs])
    ]
    stacked = {name: np.stack([each[name] for each in found]) for name in found[0]}
    return Frontier(
        **{name: array.reshape(-1, settings.seeds, *array.shape[1:]) for name, array in stacked.items()},
        steps=np.array([length.at() for length in settings.lengths]),
        learning_rate=np.array([method.learning_rates for method in settings.methods]),
    )


def _walk(asked: Walk) -> Points:
    from rankstudy import device

    dataset = engine.dataset_on_device(replace(asked.base.data, without=(), train_size=None))
    (digit,) = asked.base.data.without
    base = engine.trained([asked.base])[0].model().to(device.choose())
    watched = [blocks.watch(getattr(dataset, name), digit, asked.lengths[0].watch) for name in SPLITS]
    new, _ = blocks.old_and_new(dataset, digit, 0)
    paths = [
        [[_path(base, asked, method.arm, rate, length, new, watched) for length in asked.lengths]
         for rate in method.learning_rates]
        for method in asked.methods
    ]  # fmt: skip
    looked, losses, shared = (np.array([[[p[i] for p in row] for row in rows] for rows in paths]) for i in range(3))
    return Points(
        right=looked.astype(np.int16),
        loss=losses.astype(np.float32),
        shared=shared.astype(np.int16),
        tilted=_tilted(base, watched, digit),
        images=np.stack([_counted(split, digit) for split in watched]),
    )


def _path(
    base: MLP,
    asked: Walk,
    arm: Arm,
    rate: float,
    length: Finetuning,
    new: data.Split,
    watched: Sequence[data.Split],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(looks; splits; 3) right answers, (looks; splits; 2) losses on the way, (SHARES; splits; 3) right answers along
    the straight line to where it ended."""
    from rankstudy import finetuning, layers

    (digit,), seed = asked.base.data.without, asked.base.seed
    model = finetuning.adapt(base, arm.method, digit, seed=seed, **arm.options())
    seen: list[list[finetuning.Reading]] = []
    finetuning.finetune(
        model,
        new,
        learning_rate=rate,
        steps=length.steps,
        batch_size=length.batch_size,
        seed=seed,
        look=lambda _: seen.append([finetuning.reading(model, split, digit) for split in watched]),
        at=length.at(),
    )
    ends = layers.weights(model)
    line = [[finetuning.reading(_between(base, ends, t), split, digit) for split in watched] for t in SHARES]
    return (
        np.array([[_right(each, digit) for each in row] for row in seen]),
        np.array([[each.loss for each in row] for row in seen]),
        np.array([[_right(each, digit) for each in row] for row in line]),
    )


def _between(base: MLP, ends: Sequence[torch.Tensor], share: float) -> MLP:
    """A copy of the network that has gone so much of the way to other weights."""
    import copy

    from rankstudy import layers

    model = copy.deepcopy(base)
    for weight, end in zip(layers.weights(model), ends, strict=True):
        weight.lerp_(end, share)
    return model


def _right(reading: finetuning.Reading, digit: int) -> np.ndarray:
    """(new, old, old masked); a network that has diverged has nothing right."""
    if np.isnan(reading.loss).any():
        return np.zeros(3, dtype=int)
    return np.append(blocks.new_and_old(reading.right, digit), reading.masked.sum())


def _tilted(base: MLP, watched: Sequence[data.Split], digit: int) -> np.ndarray:
    """(offsets; splits; new, old): offsets chosen on the first split, read on all."""
    from rankstudy import finetuning

    tried = blocks.offsets(base, watched[0], digit, blocks.LEVELS)
    counts = [np.diagonal(finetuning.confusions(base, split, digit, tried), axis1=1, axis2=2) for split in watched]
    return np.stack([blocks.new_and_old(each, digit) for each in counts], axis=1).astype(np.int16)


def _counted(split: data.Split, digit: int) -> np.ndarray:
    return blocks.new_and_old(np.bincount(split.labels.cpu(), minlength=10), digit)
