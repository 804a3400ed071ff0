"""Chapter 6 as the pages that are still told the old way ask for it; its own page is told on `book.results`."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from rankstudy.book.chapters import statements
from rankstudy.book.chapters.common import over
from rankstudy.book.low_rank_training import CONDITIONS, low_rank_training
from rankstudy.book.stats import Estimate, number_text, paired, percent
from rankstudy.study import questions
from rankstudy.study.experiments.inference import BLOCKS
from rankstudy.study.experiments.low_rank_training import DENSE, PLAIN


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("low_rank_training")
        self.view = low_rank_training(self.result)
        self.arms: dict[str, Any] = dict(self.result["arms"])
        self.rank, self.shapes = self.view.rank, self.view.shapes
        self.networks = len(self.view.low_rank.seeds)

    def against(self, name: str, control: str = DENSE, split: str = "test") -> Estimate:
        """Difference in final accuracy, paired by seed."""
        arm, other = (
            getattr(self.view.conditions[CONDITIONS[each]].history, f"{split}_accuracy")[:, -1]
            for each in (name, control)
        )
        return paired(arm, other)

    def epoch_seconds(self, name: str) -> np.ndarray:
        return self.view.epoch_seconds(name)

    @cached_property
    def text(self) -> dict[str, str]:
        view = self.view
        low, high = view.speedup_quartiles[-1]
        return {
            "rank": str(view.rank),
            "over": over(self.networks),
            "saved": percent(1 - view.parameters / view.dense_parameters, 1),
            "difference_train": self.against(PLAIN, split="train").points(),
            "difference_test": self.against(PLAIN).points(),
            "last_batch": number_text(int(view.batches[-1])),
            "many": number_text(view.speedup[-1], 1),
            "many_quartiles": f"{number_text(low, 2)} to {number_text(high, 2)}",
            "turns": str(BLOCKS),
        }

    def claims(self) -> list[statements.Claim]:
        return statements.hypotheses(self.view)
