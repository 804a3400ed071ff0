"""Chapter 9, second half: what pre-training does to the intrinsic dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import intrinsic_figures
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, table
from rankstudy.book.chapters.crossings import dimension_text, log_ratio, times_text
from rankstudy.book.stats import Estimate, estimate, listed, number_text
from rankstudy.study.experiments.transfer import CLOSED

ORIGINS = {
    "pre-trained": "pre-trained on the old digits",
    "shuffled": "pre-trained on the old digits with shuffled labels",
    "norm": "random, each layer with the norm of the pre-trained one",
    "scratch": "random, as initialised",
}

SPLITS = {"test": "test data", "train": "training data"}
SHORT = {"pre-trained": "pre-trained", "shuffled": "shuffled labels", "norm": "same norms", "scratch": "from scratch"}


class Transfer:
    """The arms of the transfer experiment, as a chapter tells them."""

    def __init__(self, arms: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
        self.arms, self.settings = arms, settings

    def label(self, arm: Mapping[str, Any]) -> str:
        return SHORT[arm["origin"]] + (", scales" if arm["scales"] else "")

    def d90(self, arm: Mapping[str, Any], split: str) -> str:
        return dimension_text(arm["d90"][split], arm["dimension"], arm["closed"][split].T, CLOSED)

    def find(self, origin: str, scales: bool = False) -> Mapping[str, Any] | None:
        return next((arm for arm in self.arms if (arm["origin"], bool(arm["scales"])) == (origin, scales)), None)

    def ratio(self, one: tuple[str, bool], other: tuple[str, bool], split: str = "test") -> Estimate | None:
        """log₂ of d90(one)/d90(other) over seeds; None where an arm was not run."""
        a, b = self.find(*one), self.find(*other)
        return None if a is None or b is None else log_ratio(a["d90"][split], b["d90"][split])

    @cached_property
    def text(self) -> dict[str, str]:
        pre, scratch = self.find("pre-trained"), self.find("scratch")
        size = self.settings["data"]["train_size"]
        ratios = {split: self.ratio(("pre-trained", False), ("scratch", False), split) for split in ("train", "test")}
        return {
            "seeds": str(len(pre["d90"]["test"])),
            "dimensions": listed(pre["dimension"]),
            "images": number_text(size) if size else "all",
            "epochs": str(self.settings["training"]["epochs"]),
            "pretraining_epochs": str(self.settings["pretraining"]["epochs"]),
            "pre": self.d90(pre, "test"),
            "pre_train": self.d90(pre, "train"),
            "scratch": self.d90(scratch, "test"),
            "scratch_train": self.d90(scratch, "train"),
            "verdict": next(claim.sentence for claim in self.claims() if claim.name == "intrinsic-pretraining"),
            "times": times_text(ratios["test"]),
            "times_train": times_text(ratios["train"]),
            "controls": self._controls(),
            "end": estimate(scratch["mean_all"]["test"][:, -1].astype(float)).percent(),
        }

    def _controls(self) -> str:
        """What else the networks start from, and with scales or without: what this run has of it."""
        names = [ORIGINS[name] for name in ("norm", "shuffled") if self.find(name) is not None]
        scaled, scales = any(arm["scales"] for arm in self.arms), len(self.settings["network"]["widths"]) - 1
        told = f"Controls say what in the pre-trained weights matters: θ₀ is {', or '.join(names)}. " if names else ""
        return told + (
            f"Where a row says so, one scale per layer is trained too; the {scales} scales count in d."
            if scaled
            else "No scales were trained in this run."
        )

    def figure(self) -> figures.Figure:
        return intrinsic_figures.transfer(self.arms, [self.label(arm) for arm in self.arms], CLOSED)

    def learning(self) -> figures.Figure:
        arms = {}
        for arm in self.arms:
            score = {split: 100 * values for split, values in arm["mean"].items()}
            arms[self.label(arm).replace(", ", ",\n")] = {**arm, "score": score}
        return intrinsic_figures.learning(arms, "harmonic mean (%)")

    def table(self) -> Markdown:
        rows = []
        for arm in self.arms:
            ratio = self.ratio((arm["origin"], bool(arm["scales"])), ("scratch", False))
            start = estimate(arm["mean"]["test"][0, :, 0].astype(float))
            end = estimate(arm["mean_all"]["test"][:, -1].astype(float))
            described = ORIGINS[arm["origin"]] + (", one scale per layer" if arm["scales"] else "")
            dimensions = [self.d90(arm, split) for split in ("train", "test")]
            cells = [described, start.percent(), end.percent(), *dimensions]
            rows.append([*cells, "1" if arm is self.find("scratch") else times_text(ratio)])
        headers = ["θ₀", "start, test", "all parameters, test", "d90, train", "d90, test", "ratio to scratch, test"]
        return table(headers, rows)

    def claims(self) -> list[claims.Claim]:
        found = [
            self._compare(
                "intrinsic-pretraining",
                ("pre-trained", False),
                ("scratch", False),
                "Pre-training on the old digits lowers the dimension that learning the new ones takes, on test data.",
                "Pre-training on the old digits raises the dimension that learning the new ones takes, on test data.",
                "Whether pre-training on the old digits lowers the dimension of learning the new ones, on test data, "
                "is not decided.",
            ),
            self._compare(
                "intrinsic-pretraining-norm",
                ("pre-trained", False),
                ("norm", False),
                "It is what the weights have learnt and not how large they are: random weights of the same norms need "
                "more dimensions, on test data.",
                "Random weights of the same norms as the pre-trained ones need fewer dimensions than these, on test "
                "data.",
                "Whether random weights of the same norms need more dimensions than pre-trained ones, on test data, is "
                "not decided.",
            ),
            self._compare(
                "intrinsic-pretraining-labels",
                ("pre-trained", False),
                ("shuffled", False),
                "The labels matter: after pre-training on shuffled labels it takes more dimensions, on test data.",
                "After pre-training on shuffled labels it takes fewer dimensions than after true ones, on test data.",
                "Whether it takes more dimensions after pre-training on shuffled labels, on test data, is not decided.",
            ),
            self._compare(
                "intrinsic-scales",
                ("pre-trained", True),
                ("pre-trained", False),
                "From pre-trained weights, one trained scale per layer, counted, lowers the dimension further on test "
                "data.",
                "From pre-trained weights, one trained scale per layer does not pay for itself on test data: it takes "
                "more dimensions.",
                "Whether one trained scale per layer lowers the dimension from pre-trained weights, on test data, is "
                "not decided.",
            ),
        ]
        return [claim for claim in found if claim is not None]

    def _compare(
        self, name: str, one: tuple[str, bool], other: tuple[str, bool], holds: str, fails: str, undecided: str
    ) -> claims.Claim | None:
        """Whether the first arm needs fewer dimensions than the second; None where one was not run."""
        a, b, ratio = self.find(*one), self.find(*other), self.ratio(one, other)
        if ratio is None:
            return None
        evidence = f"n = {ratio.n} seeds"
        for split in ("test", "train"):
            found = self.ratio(one, other, split)
            evidence += f"; {SPLITS[split]}: d90 {self.d90(a, split)} against {self.d90(b, split)}"
            evidence += f", ratio {times_text(found)}" if np.isfinite(found.mean) else ""
        return claims.compare(name, ratio, above=False, holds=holds, fails=fails, open=undecided, evidence=evidence)
