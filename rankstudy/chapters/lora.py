"""Chapter 8: what its result looks like. The unit of every interval is the left-out digit, its seeds averaged."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from rankstudy import claims, figures
from rankstudy.chapters import lora_figures
from rankstudy.chapters.common import Markdown, banner, conclude, table
from rankstudy.chapters.lora_costs import Costs, scientific
from rankstudy.experiments import study
from rankstudy.intervals import Estimate, estimate, number_text, paired, percent

MATCHED = 0.9  # accuracy on the new digit at which arms are compared
TRAIN, TEST, VALIDATION = range(3)
STOPPED, END = range(2)
NEW, OLD = range(2)


class Chapter:
    def __init__(self) -> None:
        self.result = study.result("lora")
        self.settings = self.result.config
        self.labels: list[str] = list(self.result["arms"])
        self.replay = np.asarray(self.result["replay"], dtype=bool)
        self.costs = Costs(self.result["costs"])

    def banner(self) -> Markdown:
        return banner(self.result)

    def arm(self, label: str, replay: bool) -> int:
        """Place of an arm among all."""
        return next(i for i, name in enumerate(self.labels) if name == label and self.replay[i] == replay)

    @cached_property
    def digits(self) -> list[int]:
        return list(self.settings["digits"])

    @cached_property
    def ranks(self) -> list[int]:
        return sorted({int(rank) for rank in self.result["rank"] if rank})

    @cached_property
    def middle(self) -> str:
        """The LoRA arm that stands for all where one must."""
        return f"LoRA r = {4 if 4 in self.ranks else self.ranks[-1]}"

    @cached_property
    def accuracy(self) -> dict[str, np.ndarray]:
        """ "new", "old", "overall" -> (digits, arms, [stopped, end], [train, test]), seeds averaged."""
        return self._accuracy(self.result["confusion"])

    @cached_property
    def before(self) -> dict[str, np.ndarray]:
        """The same before fine-tuning: (digits, [train, test])."""
        return self._accuracy(self.result["confusion_before"])

    def _accuracy(self, confusion: np.ndarray) -> dict[str, np.ndarray]:
        counts = np.asarray(confusion, dtype=float)  # (digits, seeds, …, 10, 10)
        right, of = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1)
        new = np.zeros(right.shape, dtype=bool)
        for row, digit in enumerate(self.digits):
            new[row, ..., digit] = True

        def share(chosen: np.ndarray) -> np.ndarray:
            return ((right * chosen).sum(axis=-1) / (of * chosen).sum(axis=-1)).mean(axis=1)

        return {"new": share(new), "old": share(~new), "overall": share(np.ones_like(new))}

    @cached_property
    def watched(self) -> np.ndarray:
        """Accuracy while fine-tuning: (digits, arms, [train, test, validation], looks, [new, old])."""
        return np.asarray(self.result["accuracy"], dtype=float).mean(axis=1)

    @cached_property
    def levels(self) -> np.ndarray:
        return np.array([*np.linspace(0.05, 0.95, 19), 0.97, 0.98])

    @cached_property
    def traded(self) -> np.ndarray:
        """(digits, arms, levels): old test accuracy that goes with a new one of each level; NaN: never reached.

        The moment is chosen on validation data, where the old accuracy is best among those that reach the level.
        """
        seen = np.asarray(self.result["accuracy"], dtype=float)  # (digits, seeds, arms, splits, looks, 2)
        found = [
            [lora_figures.kept(run[VALIDATION], run[TEST], level) for level in self.levels]
            for run in seen.reshape(-1, *seen.shape[3:])
        ]
        return np.array(found).reshape(*seen.shape[:3], -1).mean(axis=1)

    def matched(self, label: str, replay: bool) -> np.ndarray:
        """(digits,): `traded` at MATCHED."""
        return self.traded[:, self.arm(label, replay), int(np.argmin(abs(self.levels - MATCHED)))]

    def at(self, kind: str, label: str, replay: bool, when: int = STOPPED, split: int = 1) -> Estimate:
        return estimate(self.accuracy[kind][:, self.arm(label, replay), when, split])

    @cached_property
    def text(self) -> dict[str, str]:
        sentences = {claim.name: claim.sentence for claim in self.claims()}
        tuning, base = self.settings["finetuning"], self.result["base"]
        numbers = {
            "digits": ", ".join(map(str, self.digits)),
            "n": str(len(self.digits)),
            "seeds": str(self.settings["seeds"]),
            "networks": str(len(self.digits) * self.settings["seeds"]),
            "steps": str(tuning["steps"]),
            "batch": str(tuning["batch_size"]),
            "memory": str(tuning["memory"]),
            "memory_total": str(9 * tuning["memory"]),
            "epochs": str(self.settings["training"]["epochs"]),
            "base_images": number_text(self.settings["data"]["train_size"])
            if self.settings["data"]["train_size"]
            else "all",
            "widths": "–".join(map(str, self.settings["network"]["widths"])),
            "ranks": ", ".join(map(str, self.ranks)),
            "middle": self.middle,
            "matched": percent(MATCHED, 0),
            "base_test": estimate(self._by_digit(base["test_accuracy"][:, -1])).percent(),
            "base_train": estimate(self._by_digit(base["train_accuracy"][:, -1])).percent(),
            "base_overall": estimate(self.before["overall"][:, 1]).percent(),
            "tuning_digits": ", ".join(map(str, self.settings["tuning_digits"])),
            "forgets": sentences["lora-forgets-less"],
            "keeps_up": sentences["lora-keeps-up"],
            "step_sentence": sentences["lora-step-slower"],
            "activation_sentence": sentences["lora-activations"],
            "merge_difference": scientific(float(np.max(self.result["merging"][..., 0]))),
            "merge_ratio": scientific(float(np.max(self.result["merging"][..., 1]))),
        }
        for key, label in (
            ("lora", self.middle),
            ("full", "full fine-tuning"),
            ("last", "last layer"),
            ("row", "new output row"),
        ):
            for replay in (False, True):
                name = f"{key}_{'replay' if replay else 'alone'}"
                for when, moment in ((STOPPED, ""), (END, "_end")):
                    for kind in ("new", "old", "overall"):
                        numbers[f"{name}_{kind}{moment}"] = self.at(kind, label, replay, when).percent()
                        numbers[f"{name}_{kind}{moment}_train"] = self.at(kind, label, replay, when, 0).percent()
        return numbers

    def _by_digit(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values).reshape(len(self.digits), -1).mean(axis=1)

    # tables

    def rates(self) -> Markdown:
        """What each arm's learning rate was chosen from."""
        tried, scores = self.result["tuning"]["learning_rate"], self.result["tuning"]["score"]
        rows = []
        for index, label in enumerate(self.labels):
            cells = [
                f"{rate:g}: {percent(score, 1)}"
                for rate, score in zip(tried[index], scores[index], strict=True)
                if np.isfinite(rate)
            ]
            rows.append(
                [
                    label,
                    "yes" if self.replay[index] else "no",
                    f"{self.result['learning_rate'][index]:g}",
                    ", ".join(cells),
                ]
            )
        return table(["arm", "replay", "chosen", "harmonic mean at each rate"], rows)

    def by_digit(self, replay: bool) -> Markdown:
        """The headline: new / old test accuracy of each arm, one line per left-out digit."""
        arms = np.flatnonzero(self.replay == replay)
        rows = [
            [str(digit)]
            + [
                " / ".join(number_text(100 * self.accuracy[kind][row, index, STOPPED, 1], 1) for kind in ("new", "old"))
                for index in arms
            ]
            for row, digit in enumerate(self.digits)
        ]
        mean = [
            " / ".join(
                number_text(100 * self.accuracy[kind][:, index, STOPPED, 1].mean(), 1) for kind in ("new", "old")
            )
            for index in arms
        ]
        return table(["digit", *(self.labels[index].replace("LoRA ", "") for index in arms)], [*rows, ["mean", *mean]])

    def summary(self, replay: bool) -> Markdown:
        """Every arm at its best step, at equal new-digit accuracy and at the last step."""
        rows = []
        for label in self.labels[: len(self.labels) // 2]:
            old = self.matched(label, replay)
            reached = old[np.isfinite(old)]
            rows.append(
                [
                    label,
                    self.at("new", label, replay).percent(1),
                    self.at("old", label, replay).percent(1),
                    self.at("overall", label, replay).percent(1),
                    self.at("overall", label, replay, split=0).percent(1),
                    estimate(reached).percent(1)
                    + (f" ({len(reached)} of {len(old)})" if len(reached) < len(old) else "")
                    if len(reached)
                    else "not reached",
                    self.at("new", label, replay, END).percent(1),
                    self.at("old", label, replay, END).percent(1),
                ]
            )
        headers = [
            "arm",
            "new",
            "old",
            "all",
            "all, train",
            f"old at new {percent(MATCHED, 0)}",
            "end: new",
            "end: old",
        ]
        return table(headers, rows)

    # figures

    def curves(self) -> figures.Figure:
        return figures.learning_curves({"nine digits": self.result["base"]})

    def trade_off(self) -> figures.Figure:
        stopped = np.stack([self.accuracy[kind][:, :, STOPPED, 1] for kind in ("new", "old")], axis=-1)
        return lora_figures.trade_off(self.labels, self.replay, self.levels, self.traded, stopped)

    def steps(self, replay: bool) -> figures.Figure:
        arms = np.flatnonzero(self.replay == replay)
        loss = np.asarray(self.result["loss"], dtype=float).mean(axis=1)
        return lora_figures.by_step(
            [self.labels[index] for index in arms], self.result["steps"], loss[:, arms], self.watched[:, arms]
        )

    def forgetting(self) -> figures.Figure:
        """Which old digits are lost, at the best step of two arms without replay, and with it."""
        counts = np.asarray(self.result["confusion"], dtype=float)[:, :, :, STOPPED, 1]  # (digits, seeds, arms, 10, 10)
        before = np.asarray(self.result["confusion_before"], dtype=float)[:, :, 1]
        recall = [np.diagonal(c, axis1=-2, axis2=-1) / c.sum(axis=-1) for c in (before, counts)]
        titles, drops = [], []
        for label, replay in (("full fine-tuning", False), (self.middle, False), (self.middle, True)):
            drop = (recall[0] - recall[1][:, :, self.arm(label, replay)]).mean(axis=1)
            drop[np.arange(len(self.digits)), self.digits] = np.nan
            titles.append(f"{label}{', replay' if replay else ''}")
            drops.append(drop)
        return lora_figures.forgetting(titles, self.digits, np.stack(drops))

    # claims

    def claims(self) -> list[claims.Claim]:
        n = len(self.digits)
        moved = [index for index, name in enumerate(self.labels) if ("LoRA" in name or "full" in name)]
        end = self.accuracy["overall"][:, [index for index in moved if not self.replay[index]], END, 1]
        before = self.before["overall"][:, 1]
        alone = self._difference(self.middle, "full fine-tuning", False)
        replayed = paired(
            self.accuracy["overall"][:, self.arm(self.middle, True), STOPPED, 1],
            self.accuracy["overall"][:, self.arm("full fine-tuning", True), STOPPED, 1],
        )
        ranks = paired(
            self.accuracy["overall"][:, self.arm(f"LoRA r = {self.ranks[-1]}", True), STOPPED, 1],
            self.accuracy["overall"][:, self.arm(f"LoRA r = {self.ranks[0]}", True), STOPPED, 1],
        )
        ratio = np.max(np.asarray(self.result["merging"])[..., 1], axis=(1, 2))
        return [
            claims.every(
                "lora-collapse",
                end.max(axis=1) < before,
                holds="Trained to the last step on the new digit alone, every LoRA arm and full fine-tuning leave a "
                "worse classifier of the ten digits than there was before, for every digit.",
                fails="Trained to the last step on the new digit alone, LoRA or full fine-tuning does not always leave "
                "a worse classifier of the ten digits than there was before.",
                evidence=f"n = {n} digits; overall test accuracy {estimate(before).percent()} before, "
                f"{estimate(end.mean(axis=1)).percent()} after (mean over arms)",
                surprise=1,
            ),
            claims.compare(
                "lora-forgets-less",
                alone,
                holds=f"Without replay, {self.middle} forgets less than full fine-tuning at equal accuracy on the new "
                "digit.",
                fails=f"Without replay, {self.middle} forgets *more* than full fine-tuning at equal accuracy on the "
                "new digit: few parameters do not protect what a network knew.",
                open=f"Without replay, {self.middle} and full fine-tuning cannot be told apart by what they forget at "
                "equal accuracy on the new digit.",
                evidence=f"n = {alone.n} digits, old test accuracy when the new one is at least "
                f"{percent(MATCHED, 0)}: {alone.points()}",
                surprise=2,
                confirmatory=True,
            ),
            claims.compare(
                "lora-keeps-up",
                replayed,
                -0.01,
                holds=f"With replay, {self.middle} is within one point of full fine-tuning on the whole test set.",
                fails=f"With replay, {self.middle} is more than one point behind full fine-tuning on the test set.",
                open=f"With replay, whether {self.middle} is within one point of full fine-tuning is not decided here.",
                evidence=f"n = {n} digits, overall test accuracy: {replayed.points()}",
                confirmatory=True,
            ),
            claims.compare(
                "lora-rank",
                ranks,
                holds=f"With replay, rank {self.ranks[-1]} ends above rank {self.ranks[0]} on the whole test set.",
                fails=f"With replay, rank {self.ranks[-1]} ends below rank {self.ranks[0]} on the whole test set.",
                open=f"With replay, rank {self.ranks[-1]} and rank {self.ranks[0]} are not told apart on the test set.",
                evidence=f"n = {n} digits, overall test accuracy: {ranks.points()}",
            ),
            claims.every(
                "lora-merged",
                ratio <= 1,
                holds="Merging an adapter changes no logit by more than rounding allows.",
                fails="Merging an adapter changes some logit by more than rounding allows.",
                evidence=f"n = {ratio.size} digits, every LoRA arm; largest change ÷ its bound: "
                f"{scientific(float(ratio.max()))}",
            ),
            *self.costs.claims(),
        ]

    def _difference(self, arm: str, control: str, replay: bool) -> Estimate:
        """Paired difference in matched old accuracy, over the digits where both reach the level."""
        a, b = self.matched(arm, replay), self.matched(control, replay)
        both = np.isfinite(a) & np.isfinite(b)
        return paired(a[both], b[both]) if both.any() else Estimate(float("nan"), float("nan"), 0)

    def conclusion(self) -> Markdown:
        return conclude(self.claims())
