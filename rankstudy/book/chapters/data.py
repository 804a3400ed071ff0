"""Chapter 1: what its result looks like."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, banner, conclude, table
from rankstudy.book.stats import number_text, percent
from rankstudy.study import questions


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("data")

    def banner(self) -> Markdown:
        return banner(self.result)

    @cached_property
    def text(self) -> dict[str, str]:
        r = self.result
        counts = {name: int(np.sum(found)) for name, found in r["counts"].items()}
        return {
            **{name: number_text(count) for name, count in counts.items()},
            "always_zero": number_text(r["always_zero"]["official"]),
            "always_zero_train": number_text(r["always_zero"]["train"]),
            "lit_in_test_only": number_text(r["lit_in_test_only"]),
            "largest": percent(max(c.max() / c.sum() for c in r["counts"].values())),
            "smallest": percent(min(c.min() / c.sum() for c in r["counts"].values())),
            "mean": number_text(r["normalised"]["mean"], 3),
            "std": number_text(r["normalised"]["std"], 3),
            "speed": number_text(r["images_per_second"] / 1e6, 1),
            "megabytes": number_text(r["bytes"] / 1e6),
        }

    def examples(self) -> figures.Figure:
        pixels = self.result["examples"]  # (10, examples, 28, 28)
        return figures.pictures(pixels.swapaxes(0, 1).reshape(-1, 28, 28), [str(digit) for digit in range(10)])

    def counts(self) -> Markdown:
        rows = [
            [name, number_text(int(found.sum())), *(number_text(int(count)) for count in found)]
            for name, found in self.result["counts"].items()
        ]
        return table(["split", "images", *map(str, range(10))], rows)

    def mean_picture(self) -> figures.Figure:
        figure, axes = figures.panels(1, 1, size=(2.6, 2.4))
        shown = axes[0, 0].imshow(self.result["mean_picture"], cmap="gray_r")
        axes[0, 0].axis("off")
        figure.colorbar(shown, ax=axes[0, 0], label="normalised grey value")
        return figure

    def claims(self) -> list[claims.Claim]:
        r = self.result
        return [
            claims.Claim(
                "data-dead-pixels",
                "holds" if r["always_zero"]["official"] > 0 else "fails",
                f"{self.text['always_zero']} of the 784 pixels are the same in every training image, so the data "
                "matrix cannot have full column rank."
                if r["always_zero"]["official"] > 0
                else "Every pixel varies over the training images.",
                f"counted over {number_text(int(r['counts']['train'].sum() + r['counts']['validation'].sum()))} images",
            )
        ]

    def conclusion(self) -> Markdown:
        return conclude(self.claims())
