"""Where overfitting begins: networks of several widths and depths, trained as the big one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import rank_views
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, table
from rankstudy.book.stats import estimate, number_text, percent
from rankstudy.config import Network
from rankstudy.study.experiments.overfitting import EXCESS, MEMORISED, excess, overfitted
from rankstudy.study.experiments.training import parameters


class Sizes:
    """Arms that differ in size alone, the big network among them, by their number of parameters."""

    def __init__(self, ladder: Sequence[Mapping[str, Any]], big: Mapping[str, Any], widths: Sequence[int]) -> None:
        arms = [*ladder, {"widths": widths, "history": big["history"], "ranks": big["ranks"]}]
        self.arms = sorted(arms, key=lambda arm: self.parameters(arm))

    def of(self, widths: Sequence[int]) -> Mapping[str, Any] | None:
        """The arm of those widths, if there is one."""
        return next((arm for arm in self.arms if list(arm["widths"]) == list(widths)), None)

    @staticmethod
    def parameters(arm: Mapping[str, Any]) -> int:
        return parameters(Network(tuple(arm["widths"])))

    @staticmethod
    def label(arm: Mapping[str, Any]) -> str:
        hidden = arm["widths"][1:-1]
        return f"{len(hidden)} × {hidden[0]}"

    def rows(self) -> Markdown:
        shown = []
        for arm in self.arms:
            history, met = arm["history"], overfitted(arm["history"])
            shown.append(
                [
                    self.label(arm),
                    rank_views.final(arm, "train_accuracy").percent(2),
                    rank_views.final(arm, "test_accuracy").percent(2),
                    estimate(excess(history["test_loss"])).percent(1),
                    f"{int(met.sum())} of {len(met)}",
                    estimate(rank_views.average(arm, "update", "effective_rank", normalised=True)).percent(1),
                ]
            )
        headers = ["hidden layers", "train", "test", "excess", "overfitted"]
        return table([*headers, "effective rank"], shown)

    def figure(self) -> figures.Figure:
        """Excess of the test loss, and the effective rank of the update, against the parameters."""
        drawn, axes = figures.panels(1, 2, size=(7.0, 2.9))
        for axis in axes[0]:
            axis.set(xscale="log", xlabel="parameters")
        for depth, colour in zip(self._depths(), figures.COLOURS, strict=False):
            arms = [arm for arm in self.arms if len(arm["widths"]) - 2 == depth]
            x = [self.parameters(arm) for arm in arms]
            label = f"{depth} hidden layer" + ("s" if depth > 1 else "")
            for size, arm in zip(x, arms, strict=True):
                share = rank_views.average(arm, "update", "effective_rank", normalised=True)
                for axis, values in zip(axes[0], (excess(arm["history"]["test_loss"]), share), strict=True):
                    figures.points(axis, [size], 100 * values[:, None], label, colour)
                label = ""
        axes[0, 0].axhline(100 * EXCESS, color="black", linewidth=0.8, linestyle=":")
        axes[0, 0].set(ylabel="last test loss above lowest (%)")
        axes[0, 1].set(ylabel="effective rank of\nW − W₀ (% of full)", ylim=(0, 100))
        drawn.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return drawn

    def curves(self) -> figures.Figure:
        """Loss and accuracy per epoch, one column a split, one colour a size."""
        drawn, axes = figures.panels(2, 3, size=(7.0, 4.6), sharex=True, sharey="row")
        for column, split in enumerate(("train", "validation", "test")):
            for arm, colour in zip(self.arms, figures.COLOURS, strict=False):
                loss, accuracy = (arm["history"][f"{split}_{name}"] for name in ("loss", "accuracy"))
                epochs = np.arange(loss.shape[1])
                figures.curve(axes[0, column], epochs, loss, self.label(arm), colour)
                figures.curve(axes[1, column], epochs, 100 * accuracy, colour=colour)
            axes[0, column].set(yscale="log", title={"train": "training"}.get(split, split))
            axes[1, column].set(xlabel="epoch", ylim=(80, 100.3))
        axes[0, 0].set_ylabel("cross-entropy (nats)")
        axes[1, 0].set_ylabel("accuracy (%)")
        drawn.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return drawn

    def text(self) -> str:
        """The smallest that overfits, or that none does."""
        every = [bool(overfitted(arm["history"]).all()) for arm in self.arms]
        met = [arm for arm, all_seeds in zip(self.arms, every, strict=True) if all_seeds]
        asked = f"training accuracy ≥ {percent(MEMORISED, 1)}, test loss {percent(EXCESS, 0)} above its minimum"
        if not met:
            return f"None of the {len(self.arms)} sizes meets the criterion ({asked}) with every seed."
        first = met[0]
        smaller = [self.label(arm) for arm, all_seeds in zip(self.arms, every, strict=True) if not all_seeds]
        rest = f"; {', '.join(smaller)} do not, or not with every seed" if smaller else ""
        return (
            f"Of {len(self.arms)} sizes, {len(met)} meet the criterion ({asked}) with every seed; the smallest has "
            f"{self.label(first)} hidden units and {number_text(self.parameters(first))} parameters{rest}."
        )

    def claims(self) -> list[claims.Claim]:
        """Does the share of full rank that training uses fall as a network of three hidden layers gets wider?"""
        arms = [arm for arm in self.arms if len(arm["widths"]) == 5 and rank_views.did_train(arm)]
        if len(arms) < 2:
            return []
        shares = [rank_views.average(arm, "update", "effective_rank", normalised=True) for arm in arms]
        count = min(map(len, shares))
        doublings = np.log2([arm["widths"][1] for arm in arms])
        slopes = np.polyfit(doublings, np.stack([share[:count] for share in shares]), 1)[0].round(12)
        effect = estimate(slopes)
        text = f"{effect.points()} of full rank for each doubling of the width"
        return [
            claims.compare(
                "overfitting-width-share",
                effect,
                above=False,
                holds=f"The wider the network, the smaller the share of full rank that its update takes ({text}).",
                fails=f"The wider the network, the larger the share of full rank that its update takes ({text}).",
                open=f"Whether the share of full rank that the update takes changes with the width is open ({text}).",
                evidence=f"n = {count} seeds of {len(arms)} widths, three hidden layers each",
            )
        ]

    def _depths(self) -> list[int]:
        return sorted({len(arm["widths"]) - 2 for arm in self.arms})
