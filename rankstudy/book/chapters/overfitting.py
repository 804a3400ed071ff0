"""Chapter 4 as the pages that are still told the old way ask for it; its own page is told on `book.results`."""

from __future__ import annotations

from functools import cached_property

from rankstudy.book import overfitting
from rankstudy.book.chapters import statements
from rankstudy.book.chapters.common import over
from rankstudy.book.numbers import average
from rankstudy.book.stats import estimate, number_text
from rankstudy.study import questions


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("overfitting")
        self.view = overfitting.typed(self.result)

    @cached_property
    def text(self) -> dict[str, str]:
        big = self.view.big
        return {
            "over": over(big.n),
            "train": estimate(big.history.train_accuracy[:, -1]).percent(),
            "test": estimate(big.history.test_accuracy[:, -1]).percent(),
            "full_rank": number_text(float(big.full_rank.mean()), 1),
            "average64": average(big.weights.rank_float64).text(1),
            "big_update_effective_rank": average(big.update.entropy_rank / big.full_rank).percent(),
        }

    def claims(self) -> list[statements.Claim]:
        return statements.hypotheses(self.view)
