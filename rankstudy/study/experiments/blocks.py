"""A network that lacks a digit, fine-tuned on it by every arm: what each arm learns and what it forgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rankstudy import config, data
from rankstudy.study import engine
from rankstudy.study.experiments import updates
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Floats, Integers

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rankstudy.layers import MLP


@dataclass(frozen=True)
class Arm:
    """What may move while the network is fine-tuned, and on what."""

    method: str  # "lora": adapters on every layer; "full"; "last": the last layer; "row": the digit's own output
    rank: int | None = None  # "lora" only
    replay: bool = False  # half of each batch comes from a small memory of the old digits
    alpha: float | None = None  # LoRA's α; None: the rank
    scaling: str = "lora"  # or "rslora"
    initialisation: str = "zero"  # or "pissa"

    @property
    def kind(self) -> str:
        """Arms that are tuned over the same learning rates: "lora", or "lora, replay"."""
        return self.method + (", replay" if self.replay else "")

    def options(self) -> dict[str, Any]:
        """What `finetuning.adapt` is told."""
        if self.method != "lora":
            return {}
        return {name: getattr(self, name) for name in ("rank", "alpha", "scaling", "initialisation")}


@dataclass(frozen=True)
class Finetuning:
    """How a network is fine-tuned, and where and on what it is looked at meanwhile."""

    steps: int
    looks: int  # steps at which it is looked at, denser at the beginning; the start comes on top
    batch_size: int = 128  # images
    memory: int = 60  # images of each old digit that may be replayed
    watch: tuple[int, int] = (300, 60)  # images of the new digit, and of each old one, looked at, of each split
    train_size: int | None = None  # training images on which the stopped network is evaluated; None: all

    def at(self) -> list[int]:
        return [0, *np.unique(np.ceil(self.steps * np.linspace(0, 1, self.looks + 1)[1:] ** 1.5).astype(int)).tolist()]


@dataclass(frozen=True)
class FineTuned:
    """Every arm's fine-tuning of one network; with more axes in front of many networks. None: only validation data
    were looked at, or by code that did not count it yet. "Masked": the new digit's logit is never the largest."""

    loss: Floats | None = None  # (…, arms; train, test, validation; looks; new, old digits) float32, nats
    accuracy: Floats | None = None  # the same, fraction
    right: Integers | None = None  # (…, arms; train, test, validation; looks; 10) of each digit's images watched
    masked: Integers | None = None  # (…, arms; train, test, validation; looks; 10) the same, masked
    watched: Integers | None = None  # (…; train, test, validation; 10) images of each digit that are watched
    stopped: Integers | None = None  # (…, arms) the look at which the validation score was best
    confusion: Integers | None = None  # (…, arms; train, test; 10, 10) where it stopped
    confusion_masked: Integers | None = None  # (…, arms; train, test; 10, 10) there, masked
    confusion_end: Integers | None = None  # (…, arms; 10, 10) of the test set, after the last step
    confusion_end_masked: Integers | None = None  # (…, arms; 10, 10) there, masked
    confusion_before: Integers | None = None  # (…; train, test; 10, 10) before fine-tuning
    confusion_before_masked: Integers | None = None  # (…; train, test; 10, 10) there, masked
    offset: Floats | None = None  # (…,) added to the new digit's logit of the network before fine-tuning, see `tilt`
    confusion_offset: Integers | None = None  # (…; train, test; 10, 10) of the network with that offset
    merging: Floats | None = None  # (…, arms, 2) largest difference of an image's logits, largest ratio to its bound
    update_spectrum: Floats | None = None  # (…, arms, layers, KEPT) of ΔW, see `updates`
    update_norm: Floats | None = None  # (…, arms, layers)
    update_rank: Floats | None = None  # (…, arms, layers)
    update_share: Floats | None = None  # (…, arms, layers, [measured, by chance])
    validation_score: Floats | None = None  # (arms,) the best harmonic mean of new and old accuracy


@dataclass(frozen=True)
class Block(Job[FineTuned]):
    """One network that lacks a digit, fine-tuned by every arm."""

    NAME = "lora-block"
    ANSWER = FineTuned
    SENT = True

    base: engine.Run
    finetuning: Finetuning
    arms: tuple[tuple[Arm, float], ...]  # with the learning rate
    validation_only: bool = False  # looked at on validation data alone, as tuning needs it

    def selection(self) -> str:
        return self.base.data.name

    def needs(self) -> list[Job]:
        return [self.base]

    def compute(self) -> FineTuned:
        return _block(self)


def bases(
    network: config.Network,
    training: config.Training,
    selection: config.Data,
    digits: Sequence[int],
    seeds: Sequence[int],
) -> list[engine.Run]:
    """The networks that lack a digit: all seeds of the first digit first."""
    return [
        engine.Run(network, training, replace(selection, without=(digit,)), seed) for digit in digits for seed in seeds
    ]


SPLITS = ("train", "test")


def harmonic(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Harmonic mean of two accuracies; 0 where both are, and where a network has diverged."""
    new, old = np.nan_to_num(new), np.nan_to_num(old)
    return 2 * new * old / np.maximum(new + old, 1e-12)


def old_and_new(dataset: data.Dataset, digit: int, memory: int) -> tuple[data.Split, data.Split]:
    """Training images of the new digit, all of them, and so many of each old one."""
    from rankstudy import finetuning

    new = finetuning.take(dataset.train, [None if other == digit else 0 for other in range(10)])
    return new, finetuning.take(dataset.train, [0 if other == digit else memory for other in range(10)])


def watch(split: data.Split, digit: int, images: tuple[int, int]) -> data.Split:
    """The first so many images of the new digit, and of each old one."""
    from rankstudy import finetuning

    return finetuning.take(split, [images[int(other != digit)] for other in range(10)])


def offsets(model: nn.Module, split: data.Split, digit: int, levels: Sequence[float]) -> list[float]:
    """What to add to the digit's logit so that it wins on such shares of its images in the split."""
    from rankstudy import finetuning

    own = finetuning.margins(model, watch(split, digit, (len(split), 0)), digit)
    return [float(-np.quantile(own, 1 - level)) for level in levels]


LEVELS = tuple(np.linspace(0.02, 1, 50).round(2).tolist())  # of the new digit's images, at which offsets are tried


def tilt(model: nn.Module, split: data.Split, digit: int) -> float:
    """The offset on the digit's logit with the best harmonic mean of new and old accuracy on the split: what can be had
    without any training."""
    from rankstudy import finetuning

    tried = offsets(model, split, digit, LEVELS)
    counts = finetuning.confusions(model, split, digit, tried)
    right, of = np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=2)
    old = np.arange(10) != digit
    new_accuracy = right[:, digit] / of[:, digit]
    return tried[int(np.argmax(harmonic(new_accuracy, right[:, old].sum(axis=1) / of[:, old].sum(axis=1))))]


def _block(block: Block) -> FineTuned:
    from rankstudy import device, layers

    dataset = engine.dataset_on_device(replace(block.base.data, without=(), train_size=None))
    (digit,) = block.base.data.without
    trained = engine.trained([block.base])[0]
    base = trained.model().to(device.choose())
    directions = updates.leading(trained.weights) if not block.validation_only else []
    watched = {
        split: watch(getattr(dataset, split), digit, block.finetuning.watch)
        for split in ("validation", *(() if block.validation_only else SPLITS))
    }
    whole = {} if block.validation_only else {"train": dataset.train, "test": dataset.test}
    if whole and block.finetuning.train_size is not None:
        size = block.finetuning.train_size
        whole["train"] = data.Split(dataset.train.images[:size], dataset.train.labels[:size])
    new, old = old_and_new(dataset, digit, block.finetuning.memory)
    found = []
    for arm, rate in block.arms:
        model, seen = _finetuned(base, arm, rate, block, digit, new, old if arm.replay else None, watched, whole)
        if whole:
            seen |= updates.measure(trained.weights, [w.cpu().numpy() for w in layers.weights(model)], directions)
        found.append(seen)
    value = FineTuned(**{name: np.stack([each[name] for each in found]) for name in found[0]})
    if not whole:
        return value
    offset = tilt(base, watched["validation"], digit)
    before, masked, tilted = _confusions(base, whole, digit, (0.0, -np.inf, offset))
    return replace(
        value,
        watched=np.stack([np.bincount(watched[name].labels.cpu(), minlength=10) for name in (*SPLITS, "validation")]),
        confusion_before=before,
        confusion_before_masked=masked,
        offset=np.array(offset),
        confusion_offset=tilted,
    )


def _finetuned(
    base: MLP,
    arm: Arm,
    rate: float,
    block: Block,
    digit: int,
    new: data.Split,
    old: data.Split | None,
    watched: Mapping[str, data.Split],
    whole: Mapping[str, data.Split],
) -> tuple[nn.Module, dict[str, np.ndarray]]:
    """One fine-tuning: the network where its validation score was best, and what was seen on the way and there."""
    from rankstudy import finetuning

    settings, seed = block.finetuning, block.base.seed
    model = finetuning.adapt(base, arm.method, digit, seed=seed, **arm.options())
    seen: dict[str, list[finetuning.Reading]] = {split: [] for split in watched}
    groups = {
        name: new_and_old(np.bincount(split.labels.cpu(), minlength=10), digit) for name, split in watched.items()
    }
    scores: list[float] = []
    best: dict[str, torch.Tensor] = {}

    def accuracy(split: str, reading: finetuning.Reading) -> np.ndarray:
        diverged = np.isnan(reading.loss).any()
        return np.full(2, np.nan) if diverged else new_and_old(reading.right, digit) / groups[split]

    def look(step: int) -> None:
        for split, images in watched.items():
            seen[split].append(finetuning.reading(model, images, digit))
        score = float(harmonic(*accuracy("validation", seen["validation"][-1])))
        if whole and score > max(scores, default=-1.0):
            best.update({name: value.detach().clone() for name, value in model.state_dict().items()})
        scores.append(score)

    finetuning.finetune(
        model,
        new,
        old,
        learning_rate=rate,
        steps=settings.steps,
        batch_size=settings.batch_size,
        seed=seed,
        look=look,
        at=settings.at(),
    )
    if not whole:
        return model, {"validation_score": np.array(max(scores))}
    stopped = int(np.argmax(scores))
    end, end_masked = finetuning.confusions(model, whole["test"], digit, (0.0, -np.inf)).astype(np.int16)
    model.load_state_dict(best)
    confusion, confusion_masked = _confusions(model, whole, digit, (0.0, -np.inf))
    names = (*SPLITS, "validation")
    merging = np.zeros(2)
    if arm.method == "lora":
        difference, bound = finetuning.merging_error(model, watched["test"].images)
        merging = np.array([difference.max(), (difference / bound).max()])
    return model, {
        "loss": np.array([[each.loss for each in seen[name]] for name in names], dtype=np.float32),
        "accuracy": np.array([[accuracy(name, each) for each in seen[name]] for name in names], dtype=np.float32),
        "right": np.array([[each.right for each in seen[name]] for name in names], dtype=np.int16),
        "masked": np.array([[each.masked for each in seen[name]] for name in names], dtype=np.int16),
        "stopped": np.array(stopped),
        "confusion": confusion,
        "confusion_masked": confusion_masked,
        "confusion_end": end,
        "confusion_end_masked": end_masked,
        "merging": merging,
    }


def new_and_old(counts: np.ndarray, digit: int) -> np.ndarray:
    """(…, 2): of counts (…, 10) the new digit's, and the sum of the others'."""
    own = counts[..., digit]
    return np.stack([own, counts.sum(axis=-1) - own], axis=-1)


def _confusions(model: nn.Module, whole: Mapping[str, data.Split], digit: int, offsets: Sequence[float]) -> np.ndarray:
    """(offsets; train, test; 10, 10), with each offset added to the new digit's logit."""
    from rankstudy import finetuning

    counts = [finetuning.confusions(model, whole[split], digit, offsets) for split in SPLITS]
    return np.stack(counts, axis=1).astype(np.int16)
