"""Chapter 8 as a typed result: networks that lack a digit, fine-tuned on it in several ways. No torch.

A digit counts as a network does elsewhere: arrays have the left-out digits first, their seeds averaged. "Old" are the
nine others. "Masked": the new digit's logit is left out, so that it is never predicted. What code of an earlier day did
not measure is None. `results.lora()` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.measured import History, Origin
from rankstudy.study.experiments import blocks
from rankstudy.study.experiments import lora as chapter8
from rankstudy.study.questions import Result

LORA_RANK = 4  # the rank that stands for LoRA where one must
NAMES = {"full": "full", "last": "last layer", "row": "new output"}  # of methods, as readers call them
VARIANTS = {"lora": "α/r", "rslora": "α/√r (rsLoRA)", "pissa": "PiSSA start"}
SPLITS = ("train", "test", "validation")  # as the looks are stored


@dataclass(frozen=True)
class Accuracy:
    """Of one split, fractions, (digits,) each."""

    new: np.ndarray
    old: np.ndarray
    overall: np.ndarray  # on all ten
    harmonic: np.ndarray  # mean of new and old, what learning rate and moment are chosen by
    old_masked: np.ndarray | None
    by_digit: np.ndarray  # (digits, 10) of each digit's images


@dataclass(frozen=True)
class Steps:
    """A fine-tuning, step by step, on the images watched; fractions and nats."""

    steps: np.ndarray  # (looks,)
    new_accuracy: Mapping[str, np.ndarray]  # split -> (digits, looks)
    old_accuracy: Mapping[str, np.ndarray]  # split -> (digits, looks)
    new_loss: Mapping[str, np.ndarray]  # split -> (digits, looks)
    old_loss: Mapping[str, np.ndarray]  # split -> (digits, looks)
    old_masked: np.ndarray | None  # (digits, looks) of the test images
    by_digit: np.ndarray | None  # (digits, looks, 10) of the test images


@dataclass(frozen=True)
class Update:
    """What a fine-tuning added, ΔW, where it stopped; by layer, from the input side."""

    norm: np.ndarray  # (digits, layers) ‖ΔW‖ ÷ ‖W‖
    energy_rank: np.ndarray  # (digits, layers) directions that hold 90 % of ‖ΔW‖²
    share: np.ndarray  # (digits, layers) of ‖ΔW‖² along W's ten leading directions on both sides
    chance: np.ndarray  # (digits, layers) what an update without preference would have there
    spectrum: np.ndarray  # (digits, layers, values) singular values, largest first


@dataclass(frozen=True)
class Condition:
    """One way of fine-tuning."""

    method: str  # "lora", "full", "last" or "row"
    rank: int  # 0 where there is none
    replay: bool  # half of each batch from a memory of old images
    learning_rate: float
    tried: np.ndarray  # (rates,) learning rates
    scores: np.ndarray  # (rates,) harmonic mean on validation data at each
    at_boundary: bool  # whether the best rate is the lowest or highest tried
    train: Accuracy  # where it stopped
    test: Accuracy  # where it stopped
    end: Accuracy  # of the test set, after the last step
    path: Steps
    update: Update

    @property
    def label(self) -> str:
        return label(self.method, self.rank)


@dataclass(frozen=True)
class Variant:
    """A variant of LoRA with replay, where it stopped."""

    name: str  # of VARIANTS
    rank: int
    learning_rate: float
    test: Accuracy


@dataclass(frozen=True)
class Costs:
    """Of fine-tuning by each method; bytes are counted, seconds measured."""

    labels: list[str]  # (methods,)
    batch_size: int
    rank: int  # of the adapter whose latency, and speed at each width, was measured
    trainable: np.ndarray  # (methods,) parameters
    gradients: np.ndarray  # (methods,) bytes, as are the next four
    optimizer: np.ndarray  # (methods,)
    activations: np.ndarray  # (methods,)
    memory: np.ndarray  # (methods,) of a training step in all, with the weights
    checkpoint: np.ndarray  # (methods,) on disk
    flops: np.ndarray  # (methods,) of a training step
    seconds: np.ndarray  # (methods, rounds) of a training step
    latency: np.ndarray  # (base, unmerged, merged; batches; median and interquartile range) seconds
    batches: np.ndarray  # (batches,) images
    widths: np.ndarray  # (widths,)
    width_seconds: np.ndarray  # (widths; full, LoRA; rounds)
    width_flops: np.ndarray  # (widths; full, LoRA)

    def at(self, method: str) -> int:
        """Row of a label: "full", "LoRA r = 4"."""
        return self.labels.index(method)

    @property
    def unmerged(self) -> np.ndarray:
        """(batches,) median time of a forward pass with the adapter beside the weights, over the base network's."""
        return self.latency[1, :, 0] / self.latency[0, :, 0]

    @property
    def merged(self) -> np.ndarray:
        """(batches,) the same with the adapter merged into the weights."""
        return self.latency[2, :, 0] / self.latency[0, :, 0]

    def ratio(self, method: str) -> np.ndarray:
        """(rounds,) time of a step over that of full fine-tuning in the same round."""
        return self.seconds[self.at(method)] / self.seconds[self.at("full")]


@dataclass(frozen=True)
class LoRA:
    """Chapter 8."""

    origin: Origin
    widths: tuple[int, ...]
    digits: np.ndarray  # (digits,) left out, one at a time
    seeds: int  # per digit
    steps: int  # of a fine-tuning
    batch_size: int  # images
    memory_images: int  # of each old digit that may be replayed
    base: History  # of the networks before fine-tuning; networks are (digits · seeds), not digits
    before: Accuracy  # of the test set, not fine-tuned
    tilted: Accuracy | None  # not fine-tuned, with the best single offset on the new digit's logit
    conditions: tuple[Condition, ...]
    variants: tuple[Variant, ...]
    costs: Costs
    activations: np.ndarray  # (LoRA ranks,), bytes of these kept for the backward pass
    activations_full: int
    step_ratio: np.ndarray  # (rounds,), time of a LoRA step over one of full fine-tuning in the same round

    def of(self, method: str, rank: int = 0, *, replay: bool) -> Condition:
        """A condition; LoRA without a rank is that of rank `self.rank`."""
        wanted = (method, rank or (self.rank if method == "lora" else 0), replay)
        (found,) = (each for each in self.conditions if (each.method, each.rank, each.replay) == wanted)
        return found

    def alike(self, *, replay: bool) -> list[Condition]:
        """The conditions with replay, or those without."""
        return [each for each in self.conditions if each.replay == replay]

    def variant(self, name: str, rank: int) -> Variant | None:
        """A variant, where it was run."""
        return next((each for each in self.variants if (each.name, each.rank) == (name, rank)), None)

    @property
    def ranks(self) -> list[int]:
        """Of LoRA."""
        return sorted({each.rank for each in self.conditions if each.rank})

    @property
    def rank(self) -> int:
        """The rank that stands for LoRA."""
        return min(self.ranks, key=lambda rank: abs(rank - LORA_RANK))

    @property
    def square(self) -> list[int]:
        """Indices of the square layers."""
        return [index for index, (inp, out) in enumerate(zip(self.widths, self.widths[1:], strict=False)) if inp == out]

    # what the home page tells, of LoRA with replay

    @property
    def new_accuracy(self) -> np.ndarray:
        return self.of("lora", replay=True).test.new

    @property
    def old_accuracy(self) -> np.ndarray:
        return self.of("lora", replay=True).test.old

    @property
    def trainable(self) -> int:
        return int(self.costs.trainable[self.costs.at(label("lora", self.rank))])

    @property
    def trainable_full(self) -> int:
        return int(self.costs.trainable[self.costs.at("full")])

    @property
    def memory(self) -> int:
        return int(self.costs.memory[self.costs.at(label("lora", self.rank))])

    @property
    def memory_full(self) -> int:
        return int(self.costs.memory[self.costs.at("full")])


def label(method: str, rank: int = 0) -> str:
    """What readers call a method.

    >>> label("lora", 4), label("row")
    ('LoRA r = 4', 'new output')
    """
    return f"LoRA r = {rank}" if method == "lora" else NAMES[method]


def typed(result: Result) -> LoRA:
    found, config = result.typed, result.config
    digits = np.array(config["digits"])
    costs = _costs(found.costs)
    rank = min((int(rank) for rank in found.rank if rank), key=lambda rank: abs(rank - LORA_RANK))
    lora, full = costs.at(label("lora", rank)), costs.at("full")
    return LoRA(
        origin=conversion.origin(result),
        widths=tuple(config["network"]["widths"]),
        digits=digits,
        seeds=int(config["seeds"]),
        steps=int(found.steps[-1]),
        batch_size=int(config["finetuning"]["batch_size"]),
        memory_images=int(config["finetuning"]["memory"]),
        base=conversion.history(found.base),
        before=accuracy(found.confusion_before[:, :, 1], digits, _split(found.confusion_before_masked, 1)),
        tilted=None if found.confusion_offset is None else accuracy(found.confusion_offset[:, :, 1], digits),
        conditions=tuple(
            _condition(found, config["arms"][index]["method"], digits, index) for index in range(len(found.rank))
        ),
        variants=tuple(_variants(found.ablation)),
        costs=costs,
        activations=costs.activations[[i for i, name in enumerate(costs.labels) if name.startswith("LoRA")]],
        activations_full=int(costs.activations[full]),
        step_ratio=costs.seconds[lora] / costs.seconds[full],
    )


def accuracy(confusion: np.ndarray, digits: Sequence[int], masked: np.ndarray | None = None) -> Accuracy:
    """Out of counts of true by predicted, (digits, seeds, 10, 10), all ten logits and masked; seeds averaged."""
    right, of = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float), confusion.sum(axis=-1, dtype=float)
    new = np.arange(10) == np.asarray(digits)[:, None, None]

    def share(counts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        return (counts * chosen).sum(axis=-1) / (of * chosen).sum(axis=-1)

    found = {"new": share(right, new), "old": share(right, ~new), "overall": share(right, np.ones_like(new))}
    found["harmonic"] = blocks.harmonic(found["new"], found["old"])
    if masked is not None:
        found["old_masked"] = share(np.diagonal(masked, axis1=-2, axis2=-1).astype(float), ~new)
    means = {name: values.mean(axis=1) for name, values in found.items()}
    return Accuracy(**{"old_masked": None} | means, by_digit=(right / of).mean(axis=1))


def _split(counts: np.ndarray | None, split: int) -> np.ndarray | None:
    return None if counts is None else counts[:, :, split]


def _condition(found: chapter8.LoRA, method: str, digits: np.ndarray, index: int) -> Condition:
    def stopped(split: int) -> Accuracy:
        masked = None if found.confusion_masked is None else found.confusion_masked[:, :, index, split]
        return accuracy(found.confusion[:, :, index, split], digits, masked)

    tried = np.isfinite(found.tuning.learning_rate[index])
    rates, rate = found.tuning.learning_rate[index][tried], float(found.learning_rate[index])
    ends = len(rates) > 1 and rate in (rates.min(), rates.max())
    return Condition(
        method=method,
        rank=int(found.rank[index]),
        replay=bool(found.replay[index]),
        learning_rate=rate,
        tried=rates,
        scores=found.tuning.score[index][tried],
        at_boundary=bool(ends if found.tuning.at_boundary is None else found.tuning.at_boundary[index]),
        train=stopped(0),
        test=stopped(1),
        end=accuracy(
            found.confusion_end[:, :, index],
            digits,
            None if found.confusion_end_masked is None else found.confusion_end_masked[:, :, index],
        ),
        path=_path(found, digits, index),
        update=Update(
            norm=found.update_norm[:, :, index].mean(axis=1),
            energy_rank=found.update_rank[:, :, index].mean(axis=1),
            share=found.update_share[:, :, index, :, 0].mean(axis=1),
            chance=found.update_share[:, :, index, :, 1].mean(axis=1),
            spectrum=found.update_spectrum[:, :, index].mean(axis=1),
        ),
    )


def _path(found: chapter8.LoRA, digits: np.ndarray, index: int) -> Steps:
    """(digits, seeds, conditions; splits; looks; new, old), seeds averaged."""
    seen = {
        f"{group}_{what}": {
            name: getattr(found, what)[:, :, index, split, :, column].mean(axis=1) for split, name in enumerate(SPLITS)
        }
        for what in ("accuracy", "loss")
        for column, group in enumerate(("new", "old"))
    }
    masked = by_digit = None
    if found.masked is not None:
        of = found.watched[:, :, 1, None].astype(float)  # (digits, seeds, 1, 10)
        by_digit = (found.right[:, :, index, 1] / of).mean(axis=1)
        old = np.arange(10) != digits[:, None, None, None]
        right = (found.masked[:, :, index, 1] * old).sum(axis=-1)
        masked = (right / (of * old).sum(axis=-1)).mean(axis=1)
    return Steps(steps=found.steps, **seen, old_masked=masked, by_digit=by_digit)


def _variants(found: chapter8.Ablation) -> list[Variant]:
    return [
        Variant(name, int(rank), float(rate), accuracy(found.confusion[:, :, index], found.digits))
        for index, (name, rank, rate) in enumerate(zip(found.variant, found.rank, found.learning_rate, strict=True))
    ]


def _costs(found: Any) -> Costs:
    """`overheads.Costs` with the methods as readers call them."""
    names = [name.partition("-") for name in found.methods]
    same = ("batch_size", "rank", "trainable", "gradients", "optimizer", "activations", "checkpoint", "flops")
    same += ("latency", "batches", "widths", "width_seconds", "width_flops")
    return Costs(
        labels=[label(method, int(rank or 0)) for method, _, rank in names],
        memory=found.weights + found.gradients + found.optimizer + found.activations,
        seconds=found.step_seconds,
        **{name: getattr(found, name) for name in same},
    )
