"""Chapters 1, 6 and 8 as far as their pages and the home page tell them: typed views of their results, no torch.

As in `results`, arrays have networks first and layers count from the input side. `results.lora()` and its like
make them; a chapter that is told on this layer gets the rest of its fields with its page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.measured import History, Origin
from rankstudy.data import scaling
from rankstudy.study.experiments.low_rank_training import DENSE, PLAIN
from rankstudy.study.questions import Result

LEVELS = (0.98, 0.97, 0.95, 0.9)  # validation accuracies whose first epoch is compared, the most demanding first
LORA_RANK = 4  # the rank that stands for LoRA where one must


@dataclass(frozen=True)
class Data:
    """Chapter 1. Images are rows of 28 · 28 pixels."""

    origin: Origin
    counts: Mapping[str, np.ndarray]  # "train", "validation", "test" -> (10,) images of each digit
    examples: np.ndarray  # (10, examples, 28, 28) uint8, training images of each digit, grey values
    mean: float  # of all grey values, in [0, 1]; they are shifted by it
    std: float  # and divided by this
    mean_image: np.ndarray  # (28, 28), normalised, of the training images
    dark: np.ndarray  # (28, 28) bool, pixels that are dark in every training image
    always_dark: int  # pixels that are dark in every training and validation image
    lit_in_test_only: int  # of these, pixels that are lit in a test image
    normalised_mean: float  # of the training images after normalisation
    normalised_std: float
    images_per_second: float  # out of the training images' DataLoader
    bytes: int  # of the images of all three splits

    def size(self, *splits: str) -> int:
        """Images of these splits, or of all three."""
        return int(sum(self.counts[split].sum() for split in splits or self.counts))

    @property
    def different_columns(self) -> int:
        """At most as many different columns has the matrix of the images, one a row: the dark pixels share one."""
        return self.dark.size - max(0, int(self.dark.sum()) - 1)


@dataclass(frozen=True)
class LowRankTraining:
    """Chapter 6: the big network dense, and with every layer as B·C from the start."""

    origin: Origin
    rank: int  # chapter 5's effective rank
    images: int  # in the training split
    dense: History
    low_rank: History
    dense_parameters: int
    parameters: int
    batches: np.ndarray  # (batches,), images in a forward pass
    speedup: np.ndarray  # (batches,), of a forward pass over the dense network's, median of blocks
    speedup_quartiles: np.ndarray  # (batches, 2)

    @property
    def level(self) -> float | None:
        """The highest of LEVELS that every network reached on validation data; None if there is none."""
        lowest = min(float(each.validation_accuracy.max(axis=1).min()) for each in (self.dense, self.low_rank))
        return next((level for level in LEVELS if lowest >= level), None)

    def epochs(self, history: History) -> np.ndarray:
        """(networks,), the first epoch at `level`; NaN where there is no level."""
        if self.level is None:
            return np.full(len(history.seeds), np.nan)
        return (history.validation_accuracy >= self.level).argmax(axis=1).astype(float)


@dataclass(frozen=True)
class LoRA:
    """Chapter 8: LoRA of one rank on a digit that was left out, a few old images replayed. A digit counts as a network
    does elsewhere; its seeds are averaged."""

    origin: Origin
    rank: int
    new_accuracy: np.ndarray  # (digits,), test accuracy on the digit left out
    old_accuracy: np.ndarray  # (digits,), on the other nine
    trainable: int  # parameters
    trainable_full: int  # of full fine-tuning, as all that ends so
    memory: int  # bytes of a training step: weights, gradients, optimiser state, activations
    memory_full: int
    activations: np.ndarray  # (LoRA ranks,), bytes of these kept for the backward pass
    activations_full: int
    step_ratio: np.ndarray  # (rounds,), time of a training step over one of full fine-tuning in the same round


def data(result: Result) -> Data:
    found = result.typed
    mean, std = scaling(result.data)
    return Data(
        origin=conversion.origin(result),
        counts={split: found.counts[split] for split in ("train", "validation", "test")},
        examples=found.examples,
        mean=mean,
        std=std,
        mean_image=found.mean_picture,
        dark=found.mean_picture == found.mean_picture.min(),  # the mean of the darkest value, rounding included
        always_dark=found.always_zero["official"],
        lit_in_test_only=found.lit_in_test_only,
        normalised_mean=found.normalised["mean"],
        normalised_std=found.normalised["std"],
        images_per_second=found.images_per_second,
        bytes=found.bytes,
    )


def low_rank_training(result: Result) -> LowRankTraining:
    found = result.typed
    times = found.inference.network[f"rank {found.rank}"]
    dense, low_rank = (conversion.history(found.arms[name].history) for name in (DENSE, PLAIN))
    return LowRankTraining(
        origin=conversion.origin(result),
        rank=found.rank,
        images=found.images,
        dense=dense,
        low_rank=low_rank,
        dense_parameters=found.memory["dense"].parameters,
        parameters=found.memory[f"rank {found.rank}"].parameters,
        batches=found.inference.batches,
        speedup=times.speedup,
        speedup_quartiles=np.stack([times.low, times.high], axis=1),
    )


def lora(result: Result) -> LoRA:
    found, costs = result.typed, result.typed.costs
    rank = min((int(rank) for rank in found.rank if rank), key=lambda rank: abs(rank - LORA_RANK))
    (condition,) = np.flatnonzero((found.rank == rank) & found.replay)
    new, old = accuracies(found.confusion[:, :, condition, 1], result.config["digits"])
    full, row = costs.methods.index("full"), costs.methods.index(f"lora-{rank}")
    memory = costs.weights + costs.gradients + costs.optimizer + costs.activations
    return LoRA(
        origin=conversion.origin(result),
        rank=rank,
        new_accuracy=new,
        old_accuracy=old,
        trainable=int(costs.trainable[row]),
        trainable_full=int(costs.trainable[full]),
        memory=int(memory[row]),
        memory_full=int(memory[full]),
        activations=costs.activations[[index for index, name in enumerate(costs.methods) if name.startswith("lora-")]],
        activations_full=int(costs.activations[full]),
        step_ratio=costs.step_seconds[row] / costs.step_seconds[full],
    )


def accuracies(confusion: np.ndarray, digits: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(digits,) accuracy on the digit left out and (digits,) on the others, out of (digits, seeds, 10, 10) counts of
    true by predicted; seeds averaged."""
    right, of = np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1, dtype=float)
    new = np.arange(10) == np.asarray(digits)[:, None, None]
    return tuple(  # type: ignore[return-value]
        ((right * chosen).sum(axis=-1) / (of * chosen).sum(axis=-1)).mean(axis=1) for chosen in (new, ~new)
    )
