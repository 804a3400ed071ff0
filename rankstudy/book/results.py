"""The results of each chapter, typed: `results.rank()`, `results.training()`. Nothing here imports torch.

Each is what the chapter shows under the current profile, and is computed where it is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rankstudy.book import approximation as chapter5
from rankstudy.book import conversion, low_rank_controls, measured, views
from rankstudy.book import low_rank_training as chapter6
from rankstudy.book.missing import Missing
from rankstudy.study import questions

View = TypeVar("View")


def data() -> views.Data:
    """Chapter 1's result under the current profile, computed where it is missing."""
    return views.data(questions.result("data"))


def rank() -> measured.Rank:
    """Chapter 3's result under the current profile, computed where it is missing."""
    return conversion.rank(questions.result("rank"))


def training() -> measured.Training:
    """Chapter 2's result under the current profile, computed where it is missing."""
    return conversion.training(questions.result("training"))


def overfitting() -> views.Overfitting:
    """Chapter 4's result as the home page tells it, under the current profile, computed where it is missing."""
    return views.overfitting(questions.result("overfitting"))


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


def lora() -> views.LoRA:
    """Chapter 8's result likewise."""
    return views.lora(questions.result("lora"))


def origin(experiment: str) -> measured.Origin:
    """Where the numbers of a chapter come from, before it has a typed result of its own."""
    return conversion.origin(questions.result(experiment))


def _published(control: str, typed: Callable[[questions.Result], View]) -> View | Missing:
    """A control's result; `Missing` under `published` as long as it is not."""
    if questions.profile() == "published" and control not in questions.published():
        return Missing(control)
    return typed(questions.result(control))
