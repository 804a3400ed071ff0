"""Chapter 8's control of directions: how many a fine-tuning uses, and what decides it.

Three questions on the same networks. How many directions does full fine-tuning's ΔW have, by optimiser and learning
rate, at the same accuracy on the new digit? Why are the columns of LoRA's B nearly parallel without replay? Does an
update bring intruder dimensions (Shuttleworth et al. 2410.21228, algorithm 1), and would others of its size?
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rankstudy import config, spectrum
from rankstudy.study import engine, jobs, typed
from rankstudy.study.experiments import blocks
from rankstudy.study.experiments import lora as chapter8
from rankstudy.study.experiments.blocks import Arm
from rankstudy.study.jobs import Job
from rankstudy.study.profiles import QUICK, SMOKE, scaled
from rankstudy.study.typed import Floats

if TYPE_CHECKING:
    from torch import nn

    from rankstudy import data
    from rankstudy.layers import MLP

LEVEL = 0.9  # accuracy on the new digit's validation images at which updates are compared
LEADING = 10  # singular vectors of the tuned matrix that may be intruders
THRESHOLDS = (0.3, 0.5, 0.7, 0.9)  # cosine below which to all of the old ones it is one
DRAWS = 3  # of random directions
SMALL = 0.01  # ‖ΔW‖ ÷ ‖W‖ of a small start of B


@dataclass(frozen=True)
class Update:
    """A fine-tuning whose ΔW is measured once the new digit is learned to LEVEL."""

    arm: Arm
    optimizer: str  # a name of `registry.OPTIMIZERS`
    learning_rate: float


@dataclass(frozen=True)
class Columns:
    """A LoRA fine-tuning whose B is measured after the last step."""

    small: bool  # B starts at small random numbers; else at zero
    frozen: bool  # A stays as it is drawn
    optimizer: str
    learning_rate: float
    steps: int
    replay: bool = False


@dataclass(frozen=True)
class Measured:
    """Of one network; with digits and seeds in front of many. NaN: LEVEL was never reached."""

    reached: Floats  # (…, updates) steps until LEVEL
    update_accuracy: Floats  # (…, updates; new, old) of the test images watched, there
    update_norm: Floats  # (…, updates, layers) ‖ΔW‖ ÷ ‖W‖
    update_energy_rank: Floats  # (…, updates, layers) directions that hold 90 % of ‖ΔW‖²
    update_entropy_rank: Floats  # (…, updates, layers)
    intruders: Floats  # (…, updates, layers, THRESHOLDS) among the LEADING singular vectors of W + ΔW
    random_intruders: Floats  # (…, updates, layers, THRESHOLDS) of ΔW with its singular values in random directions
    shrunk_intruders: Floats  # (…, updates, layers, THRESHOLDS) of ΔW at the smallest norm among its likes
    cosine: Floats  # (…, columns, layers) mean |cos| of pairs of columns of what was added to B
    column_accuracy: Floats  # (…, columns; new, old) of the test images watched, at the end


@dataclass(frozen=True)
class Survey(Job[Measured]):
    """One network that lacks a digit, fine-tuned in every way."""

    NAME = "directions-network"
    ANSWER = Measured
    SENT = True

    base: engine.Run
    updates: tuple[Update, ...]
    columns: tuple[Columns, ...]
    rank: int  # of the adapters whose columns are measured
    steps: int  # at most, until LEVEL
    batch_size: int  # images
    memory: int  # images of each old digit that may be replayed
    watch: tuple[int, int]  # images of the new digit, and of each old one

    def selection(self) -> str:
        return self.base.data.name

    def needs(self) -> list[Job]:
        return [self.base]

    def compute(self) -> Measured:
        return _survey(self)


@dataclass(frozen=True)
class Config(Job[Measured]):
    NAME = "directions"
    ANSWER = Measured

    network: config.Network
    training: config.Training  # on nine digits
    data: config.Data
    digits: tuple[int, ...]  # left out, one at a time
    seeds: int  # per digit
    updates: tuple[Update, ...]
    columns: tuple[Columns, ...]
    rank: int = 16
    steps: int = 126
    batch_size: int = 128
    memory: int = 60
    watch: tuple[int, int] = (300, 60)

    def selection(self) -> str:
        return self.data.name

    def compute(self) -> Measured:
        return compute(self)


def _updates(faster: float = 1.0) -> tuple[Update, ...]:
    """Full fine-tuning by two optimisers at three rates, and LoRA of two ranks at one; without replay and with it."""
    rates = {"adam": (2.5e-4, 5e-4, 1e-3), "momentum": (5e-4, 1e-3, 2e-3)}
    found = []
    for replay in (False, True):
        full = Arm("full", replay=replay)
        found += [Update(full, name, faster * rate) for name, tried in rates.items() for rate in tried]
        adapters = ((Arm("lora", 1, replay), 3e-3), (Arm("lora", 16, replay), 1e-3))
        found += [Update(arm, "adam", faster * rate) for arm, rate in adapters]
    return tuple(found)


def _columns(lengths: tuple[int, int]) -> tuple[Columns, ...]:
    """Every combination without replay; and the plainest with it."""
    rates = {"adam": 1e-3, "momentum": 3e-3}
    ways = itertools.product((False, True), (False, True), rates, lengths)
    plain = [Columns(small, frozen, name, rates[name], steps) for small, frozen, name, steps in ways]
    return (*plain, replace(plain[0], replay=True))


FULL = Config(
    chapter8.FULL.network,
    chapter8.FULL.training,
    chapter8.FULL.data,
    digits=tuple(range(10)),
    seeds=1,
    updates=_updates(),
    columns=_columns((126, 500)),
)
CONFIGS = {
    "smoke": replace(
        scaled(FULL, SMOKE),
        training=config.Training(6, 32, learning_rate=3e-3),
        digits=(3, 8),
        seeds=1,
        updates=_updates(20),
        columns=_columns((12, 24)),
        steps=24,
        batch_size=32,
        memory=10,
        watch=(20, 3),
    ),
    "quick": replace(
        scaled(FULL, QUICK),
        digits=(0, 2, 4, 7, 9),
        seeds=1,
        updates=_updates(3),
        columns=_columns((20, 40)),
        steps=42,
        watch=(100, 20),
    ),
    "full": FULL,
}


def plan(settings: Config) -> list[engine.Run]:
    return blocks.bases(
        settings.network, settings.training, settings.data, settings.digits, engine.seeds(settings.seeds)
    )


def compute(settings: Config) -> Measured:
    runs = plan(settings)
    engine.trained(runs)  # before the fine-tunings, which use another data set
    asked = [
        Survey(
            run,
            settings.updates,
            settings.columns,
            settings.rank,
            settings.steps,
            settings.batch_size,
            settings.memory,
            settings.watch,
        )
        for run in runs
    ]
    found = [typed.values(each) for each in jobs.answers(asked)]
    stacked = {name: np.stack([each[name] for each in found]) for name in found[0]}
    return Measured(**{name: array.reshape(-1, settings.seeds, *array.shape[1:]) for name, array in stacked.items()})


def _survey(asked: Survey) -> Measured:
    from rankstudy import device

    dataset = engine.dataset_on_device(replace(asked.base.data, without=(), train_size=None))
    (digit,) = asked.base.data.without
    trained = engine.trained([asked.base])[0]
    base = trained.model().to(device.choose())
    splits = blocks.old_and_new(dataset, digit, asked.memory)
    test = blocks.watch(dataset.test, digit, asked.watch)
    validation = blocks.watch(dataset.validation, digit, (asked.watch[0], 0))
    ends = [_until_learned(base, asked, each, digit, splits, validation, test) for each in asked.updates]
    deltas = [[new - old for new, old in zip(end, trained.weights, strict=True)] for _, _, end in ends]
    columns = [_columns_of(base, asked, each, digit, splits, test) for each in asked.columns]
    return Measured(
        reached=np.array([step for step, _, _ in ends]),
        update_accuracy=np.array([accuracy for _, accuracy, _ in ends]),
        **_measured(
            trained.weights, deltas, [(each.optimizer, each.arm.replay) for each in asked.updates], asked.base.seed
        ),
        cosine=np.array([cosines for cosines, _ in columns]),
        column_accuracy=np.array([accuracy for _, accuracy in columns]),
    )


def _finetune(
    model: nn.Module,
    asked: Survey,
    splits: tuple[data.Split, data.Split],
    replay: bool,
    optimizer: str,
    rate: float,
    steps: int,
    look: Callable[[int], object] | None = None,
) -> None:
    from rankstudy import finetuning

    finetuning.finetune(
        model,
        splits[0],
        splits[1] if replay else None,
        learning_rate=rate,
        steps=steps,
        batch_size=asked.batch_size,
        seed=asked.base.seed,
        optimizer=optimizer,
        look=look,
        at=range(1, steps + 1) if look else (),
    )


def _until_learned(
    base: MLP,
    asked: Survey,
    update: Update,
    digit: int,
    splits: tuple[data.Split, data.Split],
    validation: data.Split,
    test: data.Split,
) -> tuple[float, np.ndarray, list[np.ndarray]]:
    """(step, test accuracy (new, old), weights) at the first step at which LEVEL is reached; NaN where it never is."""
    from rankstudy import finetuning, layers

    model = finetuning.adapt(base, update.arm.method, digit, seed=asked.base.seed, **update.arm.options())
    found: list[tuple[float, np.ndarray, list[np.ndarray]]] = []

    def look(step: int) -> None:
        if not found and finetuning.reading(model, validation, digit).right[digit] >= LEVEL * len(validation):
            weights = [np.array(weight.cpu(), dtype=np.float64) for weight in layers.weights(model)]
            found.append((float(step), finetuning.new_and_old(model, test, digit)[1], weights))

    _finetune(model, asked, splits, update.arm.replay, update.optimizer, update.learning_rate, asked.steps, look)
    if found:
        return found[0]
    never = [np.full(tuple(weight.shape), np.nan) for weight in layers.weights(base)]
    return np.nan, np.full(2, np.nan), never


def _columns_of(
    base: MLP,
    asked: Survey,
    columns: Columns,
    digit: int,
    splits: tuple[data.Split, data.Split],
    test: data.Split,
) -> tuple[list[float], np.ndarray]:
    """Mean |cos| of pairs of columns of what was added to each layer's B, and test accuracy (new, old)."""
    import torch

    from rankstudy import finetuning
    from rankstudy.lora import LoRALinear

    model = finetuning.adapt(base, "lora", digit, rank=asked.rank, seed=asked.base.seed)
    generator = torch.Generator().manual_seed(asked.base.seed)
    adapters = [layer for layer in model.layers if isinstance(layer, LoRALinear)]
    for layer in adapters:
        layer.lora_a.requires_grad_(not columns.frozen)
        if columns.small:
            with torch.no_grad():
                layer.lora_b.copy_(torch.randn(layer.lora_b.shape, generator=generator))
                layer.lora_b.mul_(SMALL * layer.base.weight.norm() / layer.delta().norm())
    starts = [layer.lora_b.detach().clone() for layer in adapters]
    _finetune(model, asked, splits, columns.replay, columns.optimizer, columns.learning_rate, columns.steps)
    added = [(layer.lora_b.detach() - start).cpu().numpy() for layer, start in zip(adapters, starts, strict=True)]
    return [parallel(each) for each in added], finetuning.new_and_old(model, test, digit)[1]


def parallel(columns: np.ndarray) -> float:
    """Mean |cos| over all pairs of columns of (n, r): 1 where all are parallel, about √(2/πn) where they are random."""
    norms = np.linalg.norm(columns, axis=0)
    unit = columns / np.where(norms > 0, norms, 1)
    cosines = np.abs(unit.T @ unit)
    return float(cosines[np.triu_indices(len(cosines), 1)].mean())


def _measured(
    before: Sequence[np.ndarray], deltas: Sequence[Sequence[np.ndarray]], kinds: Sequence[tuple[str, bool]], seed: int
) -> dict[str, np.ndarray]:
    """Of every update's ΔW of every layer, as `Measured` has them; those of a kind are shrunk to one norm."""
    shape = (len(deltas), len(before))
    found = {name: np.full(shape, np.nan) for name in ("update_norm", "update_energy_rank", "update_entropy_rank")}
    names = ("intruders", "random_intruders", "shrunk_intruders")
    counts = {name: np.full((*shape, len(THRESHOLDS)), np.nan) for name in names}
    generator = np.random.default_rng(seed)
    norms = np.array([[np.linalg.norm(delta) for delta in row] for row in deltas])
    for layer, old in enumerate(np.asarray(weight, dtype=np.float64) for weight in before):
        left = np.linalg.svd(old, full_matrices=False)[0]
        for row, delta in enumerate(each[layer] for each in deltas):
            if not norms[row, layer] > 0:  # never learned
                continue
            values = np.linalg.svd(delta, compute_uv=False)
            measured = spectrum.Spectrum(values, delta.shape)
            found["update_norm"][row, layer] = norms[row, layer] / np.linalg.norm(old)
            found["update_energy_rank"][row, layer] = spectrum.energy_rank(measured, 0.9)
            found["update_entropy_rank"][row, layer] = spectrum.effective_rank(measured)
            counts["intruders"][row, layer] = intruders(left, old + delta)
            others = [intruders(left, old + turned(values, delta.shape, generator)) for _ in range(DRAWS)]
            counts["random_intruders"][row, layer] = np.mean(others, axis=0)
            smallest = np.nanmin(
                [norm for norm, kind in zip(norms[:, layer], kinds, strict=True) if kind == kinds[row]]
            )
            counts["shrunk_intruders"][row, layer] = intruders(left, old + smallest / norms[row, layer] * delta)
    return found | counts


def intruders(left: np.ndarray, tuned: np.ndarray) -> np.ndarray:
    """(THRESHOLDS,) how many of the LEADING left singular vectors of the tuned matrix have a smaller |cos| than that to
    all of the old matrix's, `left` (out, k): Shuttleworth et al. 2410.21228, algorithm 1."""
    leading = np.linalg.svd(tuned, full_matrices=False)[0][:, :LEADING]
    nearest = np.abs(left.T @ leading).max(axis=0)
    return (nearest[:, None] < np.array(THRESHOLDS)).sum(axis=0)


def turned(values: np.ndarray, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """A matrix (out, in) of these singular values in random directions."""
    kept = values[values > 1e-6 * values[0]]  # rounding of float32 weights is no direction
    u, v = (np.linalg.qr(generator.standard_normal((side, len(kept))))[0] for side in shape)
    return (u * kept) @ v.T
