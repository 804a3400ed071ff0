"""Chapter 3 as the pages that are still told the old way ask for it; its own page is told on `book.results`."""

from __future__ import annotations

from functools import cached_property

from rankstudy.book import conversion
from rankstudy.book.chapters import rank_views, statements
from rankstudy.book.chapters.common import over
from rankstudy.book.chapters.rank_views import average
from rankstudy.book.stats import estimate, number_text
from rankstudy.study import questions


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("rank")
        self.base = self.result["base"]

    @cached_property
    def text(self) -> dict[str, str]:
        base = self.base
        return {
            "over": over(len(base["history"]["seeds"])),
            "train": rank_views.final(base, "train_accuracy").percent(),
            "test": rank_views.final(base, "test_accuracy").percent(),
            "full_rank": number_text(float(base["ranks"]["limits"].mean()), 1),
            "average64": estimate(average(base, "weights", "elimination_float64")).text(1),
            "update_effective_rank": estimate(average(base, "update", "effective_rank", normalised=True)).percent(),
        }

    def claims(self) -> list[statements.Claim]:
        return statements.hypotheses(conversion.rank(self.result))
