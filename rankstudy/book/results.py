"""The results of each chapter, typed: `results.rank()`, `results.training()`. Nothing here imports torch.

Each is what the chapter shows under the current profile, and is computed where it is missing.
"""

from __future__ import annotations

from typing import Any

from rankstudy.book import approximation as chapter5
from rankstudy.book import claims, conversion, intrinsic, measured, views
from rankstudy.study import questions


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


def low_rank_training() -> views.LowRankTraining:
    """Chapter 6's result likewise."""
    return views.low_rank_training(questions.result("low_rank_training"))


def lora() -> views.LoRA:
    """Chapter 8's result likewise."""
    return views.lora(questions.result("lora"))


def origin(experiment: str) -> measured.Origin:
    """Where the numbers of a chapter come from, before it has a typed result of its own."""
    return conversion.origin(questions.result(experiment))


def intrinsic_dimension() -> intrinsic.IntrinsicDimension:
    """The appendix's result on intrinsic dimension likewise."""
    return intrinsic.typed(questions.result("intrinsic_dimension"))


def book() -> dict[str, Any]:
    """The result of every family of hypotheses, by the family's name; None where none is published yet."""
    there = questions.published() if questions.profile() == "published" else questions.known()
    return {family: globals()[family]() if family in there else None for family in claims.FAMILIES}
