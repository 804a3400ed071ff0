"""The results of each chapter, typed: `results.rank()`, `results.training()`. Nothing here imports torch.

Each is what the chapter shows under the current profile, and is computed where it is missing.
"""

from __future__ import annotations

from rankstudy.book import approximation as chapter5
from rankstudy.book import conversion, measured, paths, views
from rankstudy.book import overfitting as chapter4
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


def overfitting() -> chapter4.Overfitting:
    """Chapter 4's result under the current profile, computed where it is missing."""
    return chapter4.typed(questions.result("overfitting"))


def labels() -> paths.Labels | None:
    """Chapter 4's control of labels likewise; None where it is not published yet."""
    return None if questions.missing("labels") else paths.labels(questions.result("labels"))


def decay() -> paths.Decay | None:
    """Chapter 4's control of weight decay likewise."""
    return None if questions.missing("decay") else paths.decay(questions.result("decay"))


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
