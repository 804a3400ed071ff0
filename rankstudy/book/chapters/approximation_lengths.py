"""Chapter 5: the rank that is enough, of the same networks trained for fewer epochs."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, table
from rankstudy.book.stats import Estimate, estimate, paired

TRAIN, VALIDATION, TEST = range(3)


class Lengths:
    """One arm a length of training, paired by seed, the shortest first; the last one is the overfitted networks."""

    def __init__(self, chapter: Any) -> None:
        self.chapter, result = chapter, chapter.result
        epochs = chapter.settings["overfitting"]["training"]["epochs"]
        longest = {name: result[name] for name in ("original", "truncated", "update", "own_rank")}
        longest |= {"epochs": epochs, "update_ranks": np.asarray(chapter.settings["sweep"]["compared"])}
        self.arms = [*sorted(result["shorter"], key=lambda arm: arm["epochs"]), longest]

    @staticmethod
    def label(arm: Any) -> str:
        epochs = int(arm["epochs"])
        return f"{epochs} epoch" + ("s" if epochs > 1 else "")

    def more(self, arm: Any) -> Estimate:
        """By how much its effective rank exceeds that of the shortest training."""
        return paired(arm["own_rank"].astype(float), self.arms[0]["own_rank"].astype(float))

    @property
    def shown(self) -> list[int]:
        """The ranks of the figure."""
        return [rank for rank in self.chapter.settings["sweep"]["ranks"] if 8 <= rank < self.chapter.full_rank]

    def costs_more(self, rank: int, split: int) -> Estimate:
        """By how much the accuracy that a cut loses is larger after the longest training than after the shortest."""
        index = list(self.chapter.settings["sweep"]["ranks"]).index(rank)
        shortest, longest = (self.lost(arm, split)[:, index] for arm in (self.arms[0], self.arms[-1]))
        return paired(longest, shortest)

    def _where(self) -> str:
        """At which ranks the longer training loses more, and at which less."""
        said, both = [], True
        for split, name in ((TRAIN, "training"), (TEST, "test")):
            changes = {rank: self.costs_more(rank, split).printed() for rank in self.shown}
            more = [str(rank) for rank, change in changes.items() if change.low > 0]
            less = [str(rank) for rank, change in changes.items() if change.high < 0]
            pairs = (("more", more), ("less", less))
            parts = [f"{word} at r = {', '.join(ranks)}" for word, ranks in pairs if ranks]
            which = " and ".join(parts) or "neither more nor less"
            said.append(f"On {name} data a cut surely costs the longer training {which}.")
            both = both and bool(more) and bool(less)
        if both:
            said.append(
                "The curves cross, which was not expected: which training needs the higher rank hangs on what one is "
                "ready to lose."
            )
        return " ".join(said)

    def lost(self, arm: Any, split: int) -> np.ndarray:
        """(networks, ranks) accuracy below the whole network's."""
        return arm["original"][:, None, 1, split] - arm["truncated"][:, :, 1, split]

    def lost_with_start(self, arm: Any, split: int) -> np.ndarray:
        """(networks, update_ranks) the same where W₀ is kept and only W − W₀ is cut."""
        return arm["original"][:, None, 1, split] - arm["update"][:, :, 1, split]

    @cached_property
    def above(self) -> int:
        """The smallest rank above the effective rank at which the updates of all arms were cut."""
        common = set.intersection(*(set(map(int, arm["update_ranks"])) for arm in self.arms))
        return min((rank for rank in common if rank > self.chapter.rank), default=max(common))

    def _at(self, arm: Any, split: int) -> tuple[np.ndarray, np.ndarray]:
        """(networks,) accuracy lost there by cutting W, and by cutting W − W₀."""
        tried = list(self.chapter.settings["sweep"]["ranks"]).index(self.above)
        update = list(arm["update_ranks"]).index(self.above)
        return self.lost(arm, split)[:, tried], self.lost_with_start(arm, split)[:, update]

    def saved(self, split: int) -> Estimate:
        """How much more accuracy keeping W₀ saves there after the shortest training than after the longest."""
        shortest, longest = (np.subtract(*self._at(arm, split)) for arm in (self.arms[0], self.arms[-1]))
        return paired(shortest, longest)

    def _start(self) -> str:
        """What of the loss is W₀'s."""
        said = []
        for arm in self.arms:
            (w_train, u_train), (w_test, u_test) = (
                [estimate(lost).text(2, 100) for lost in self._at(arm, split)] for split in (TRAIN, TEST)
            )
            said.append(
                f"after {self.label(arm)} {u_train} points on training and {u_test} on test data, against {w_train} "
                f"and {w_test} for cutting W"
            )
        return f"At r = {self.above} it costs {'; '.join(said)}."

    def text(self) -> dict[str, str]:
        shortest, *_, longest = self.arms
        *others, last = [self.label(arm) for arm in self.arms[:-1]]
        return {
            "lengths": f"{', '.join(others)} and {last}" if others else last,
            "longest": self.label(longest),
            "length_ranks": "; ".join(
                f"{estimate(arm['own_rank'].astype(float)).text(1)} after {self.label(arm)}" for arm in self.arms
            ),
            "length_more": self.more(longest).text(1, sign=True),
            **{
                f"length_lost_{name}": self.costs_more(self.chapter.below, split).points()
                for name, split in (("train", TRAIN), ("test", TEST))
            },
            "shortest": self.label(shortest),
            "length_where": self._where(),
            "length_start": self._start(),
        }

    def rows(self) -> Markdown:
        below = self.chapter.below
        index = list(self.chapter.settings["sweep"]["ranks"]).index(below)
        rows = [
            [
                self.label(arm),
                *(estimate(arm["original"][:, 1, split]).percent(2) for split in (TRAIN, TEST)),
                estimate(arm["own_rank"].astype(float)).text(1),
                "–" if arm is self.arms[0] else self.more(arm).text(1, sign=True),
                *(estimate(self.lost(arm, split)[:, index]).text(2, 100) for split in (TRAIN, TEST)),
            ]
            for arm in self.arms
        ]
        at = f"lost at r = {below}"
        headers = ["trained for", "train", "test", "effective rank r", "more than the shortest"]
        return table([*headers, f"{at}, train", f"{at}, test"], rows)

    def figure(self) -> figures.Figure:
        """Accuracy lost against the rank, on training and on test data, one colour a length."""
        drawn, axes = figures.panels(1, 2, size=(7.0, 3.0), sharey=True)
        tolerance, whole = 100 * self.chapter.settings["tolerance"], self.chapter.full_rank
        tried = list(self.chapter.settings["sweep"]["ranks"])
        shown = [tried.index(rank) for rank in self.shown]
        for axis, split, title in ((axes[0, 0], TRAIN, "training"), (axes[0, 1], TEST, "test")):
            for arm, colour in zip(self.arms, figures.COLOURS, strict=False):
                kept = [index for index, rank in enumerate(arm["update_ranks"]) if rank in self.shown]
                values = 100 * self.lost_with_start(arm, split)[:, kept]
                ranks = arm["update_ranks"][kept]  # too few for a line
                figures.points(axis, ranks, values, colour=colour, marker="x", linestyle="none")
                figures.curve(axis, self.shown, 100 * self.lost(arm, split)[:, shown], self.label(arm), colour)
            axis.axhline(tolerance, color="black", linewidth=0.8, linestyle=":")
            axis.set(xscale="log", xlabel="rank r of every layer", title=title, ylim=(-2 * tolerance, 12 * tolerance))
            axis.set_xticks([rank for rank in (8, 16, 32, 64, 128, 256, 512) if rank < whole])
            axis.set_xticklabels([str(int(rank)) for rank in axis.get_xticks()])
            axis.minorticks_off()
        axes[0, 0].set_ylabel("accuracy lost (points)")
        for style, label in (("-", "W cut"), ("x", "only W − W₀ cut")):
            axes[0, 0].plot([], [], style, color="grey", label=label)
        drawn.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(self.arms) + 2)
        return drawn

    def curves(self) -> figures.Figure:
        return figures.learning_curves({self.label(arm): arm["history"] for arm in self.arms[:-1]})

    def stated(self) -> list[claims.Claim]:
        return [self._rank(), self._runs_through_the_start()]

    def _runs_through_the_start(self) -> claims.Claim:
        """Written when three networks a length had been looked at."""
        shortest, longest = (self.label(arm) for arm in (self.arms[0], self.arms[-1]))
        train, test = self.saved(TRAIN), self.saved(TEST)
        at = f"when all is cut to r = {self.above}"
        return claims.compare(
            "approximation-length-start",
            test,
            holds=f"After {shortest} of training keeping W₀ whole saves more test accuracy than after {longest}, {at}: "
            "a sign that more of what the network computes runs through its random start.",
            fails=f"After {shortest} of training keeping W₀ whole saves less test accuracy than after {longest}, {at}.",
            open=f"Whether keeping W₀ whole saves more test accuracy after {shortest} than after {longest}, {at}, is "
            "open.",
            evidence=f"n = {test.n} networks, paired difference {test.points()} on test and {train.points()} on "
            "training data; three networks a length were looked at before the claim was written",
            surprise=1,
        )

    def _rank(self) -> claims.Claim:
        """Written before the first such network was cut."""
        shortest, longest = (self.label(arm) for arm in (self.arms[0], self.arms[-1]))
        kept = f"keep their validation accuracy within {self.chapter.text['tolerance']}"
        change = self.more(self.arms[-1])
        return claims.compare(
            "approximation-length",
            change,
            holds=f"Trained for {longest} instead of {shortest}, the networks need a higher rank to {kept}.",
            fails=f"Trained for {longest} instead of {shortest}, the networks need a lower rank to {kept}.",
            open=f"Whether networks trained for {longest} instead of {shortest} need another rank to {kept} is open.",
            evidence=f"n = {change.n} networks, paired difference in rank {change.text(1, sign=True)}",
            surprise=1,
        )
