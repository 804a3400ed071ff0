"""Chapter 5 as the pages that are still told the old way ask for it; its own page is told on `book.results`."""

from __future__ import annotations

from functools import cached_property

from rankstudy.book.approximation import typed
from rankstudy.book.chapters import statements
from rankstudy.book.chapters.common import over
from rankstudy.book.stats import estimate
from rankstudy.study import questions


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("approximation")
        self.view = typed(self.result)

    @cached_property
    def text(self) -> dict[str, str]:
        view = self.view
        truncated, full = view.truncated, view.full
        return {
            "rank": str(view.rank),
            "over": over(len(view.own_rank)),
            "train_original": estimate(full.train_accuracy).percent(),
            "train_cut": estimate(truncated.train_accuracy[:, view.at]).percent(),
            "test_original": estimate(full.test_accuracy).percent(),
            "test_cut": estimate(truncated.test_accuracy[:, view.at]).percent(),
        }

    def claims(self) -> list[statements.Claim]:
        return statements.hypotheses(self.view)
