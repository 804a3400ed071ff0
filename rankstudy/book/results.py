"""The results of each chapter, typed: `results.rank()`, `results.training()`. Nothing here imports torch.

Each is what the chapter shows under the current profile, and is computed where it is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rankstudy.book import approximation as chapter5
from rankstudy.book import claims, conversion, intrinsic, low_rank_controls, measured, paths, views
from rankstudy.book import directions as directions8
from rankstudy.book import dissection as dissection3
from rankstudy.book import frontier as frontier8
from rankstudy.book import lora as chapter8
from rankstudy.book import low_rank_training as chapter6
from rankstudy.book import optimizers as optimizers3
from rankstudy.book import overfitting as chapter4
from rankstudy.book.missing import Missing
from rankstudy.study import questions

View = TypeVar("View")


def data() -> views.Data:
    """Chapter 1's result under the current profile, computed where it is missing."""
    return views.data(questions.result("data"))


def rank() -> measured.Rank:
    """Chapter 3's result under the current profile, computed where it is missing."""
    return conversion.rank(questions.result("rank"))


def optimizers() -> optimizers3.Optimizers | Missing:
    """Chapter 3's control of optimisers likewise."""
    return _published("optimizers", optimizers3.typed)


def dissection() -> dissection3.Dissection | Missing:
    """Chapter 3's control of inputs and directions likewise."""
    return _published("dissection", dissection3.typed)


def training() -> measured.Training:
    """Chapter 2's result under the current profile, computed where it is missing."""
    return conversion.training(questions.result("training"))


def overfitting() -> chapter4.Overfitting:
    """Chapter 4's result under the current profile, computed where it is missing."""
    return chapter4.typed(questions.result("overfitting"))


def labels() -> paths.Labels | Missing:
    """Chapter 4's control of labels likewise."""
    return _published("labels", paths.labels)


def decay() -> paths.Decay | Missing:
    """Chapter 4's control of weight decay likewise."""
    return _published("decay", paths.decay)


def approximation() -> chapter5.Approximation:
    """Chapter 5's result under the current profile, computed where it is missing."""
    return chapter5.typed(questions.result("approximation"))


def low_rank_training() -> chapter6.LowRankTraining:
    """Chapter 6's result likewise."""
    return chapter6.low_rank_training(questions.result("low_rank_training"))


def narrow() -> low_rank_controls.Narrow | Missing:
    """Chapter 6's control of fewer neurons likewise."""
    return _published("narrow", low_rank_controls.narrow)


def large_batches() -> low_rank_controls.LargeBatches | Missing:
    """Chapter 6's control of large batches likewise."""
    return _published("large_batches", low_rank_controls.large_batches)


def lora() -> chapter8.LoRA:
    """Chapter 8's result likewise."""
    return chapter8.typed(questions.result("lora"))


def frontier() -> frontier8.Frontier | Missing:
    """Chapter 8's control of forgetting likewise."""
    return _published("frontier", frontier8.typed)


def directions() -> directions8.Directions | Missing:
    """Chapter 8's control of directions likewise."""
    return _published("directions", directions8.typed)


def intrinsic_dimension() -> intrinsic.IntrinsicDimension:
    """The appendix's result on intrinsic dimension likewise."""
    return intrinsic.typed(questions.result("intrinsic_dimension"))


def book() -> dict[str, Any]:
    """The result of every family of hypotheses, by the family's name, in the book's order."""
    return {family: globals()[family]() for family in claims.FAMILIES}


def _published(control: str, typed: Callable[[questions.Result], View]) -> View | Missing:
    """A control's result; `Missing` under `published` as long as it is not."""
    return Missing(control) if questions.missing(control) else typed(questions.result(control))
