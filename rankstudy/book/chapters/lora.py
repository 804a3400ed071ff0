"""Chapter 8: what its result looks like. The unit of every interval is the left-out digit, its seeds averaged."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import lora_claims, lora_figures, rates
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, banner, conclude, over, table
from rankstudy.book.chapters.lora_accuracies import LEVELS, MATCHED, TEST, TRAIN, Accuracies
from rankstudy.book.chapters.lora_costs import Costs, scientific
from rankstudy.book.chapters.lora_updates import Updates
from rankstudy.book.stats import estimate, number_text, percent
from rankstudy.study import questions

NAMES = {"full": "full fine-tuning", "last": "last layer", "row": "new output row"}


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("lora")
        self.settings = self.result.config
        self.found = Accuracies(self.result)
        self.costs = Costs(self.result["costs"])
        self.updates = Updates(self.result, self.found)

    def banner(self) -> Markdown:
        return banner(self.result)

    @cached_property
    def text(self) -> dict[str, str]:
        made = self.claims()
        found, settings, tuning = self.found, self.settings, self.settings["finetuning"]
        base = {split: self._by_digit(self.result["base"][f"{split}_accuracy"][:, -1]) for split in ("train", "test")}
        merging = np.max(self.result["merging"], axis=(0, 1, 2))
        size = settings["data"]["train_size"]
        return {
            "digits": ", ".join(map(str, found.digits)),
            "n": str(len(found.digits)),
            "over": over(len(found.digits), "digits"),
            "seeds": "1 seed" if settings["seeds"] == 1 else f"{settings['seeds']} seeds",
            "networks": str(len(found.digits) * settings["seeds"]),
            "steps": str(tuning["steps"]),
            "batch": str(tuning["batch_size"]),
            "memory": str(tuning["memory"]),
            "memory_total": str(9 * tuning["memory"]),
            "epochs": str(settings["training"]["epochs"]),
            "base_images": number_text(size) if size else "all",
            "widths": "–".join(map(str, settings["network"]["widths"])),
            "ranks": ", ".join(map(str, found.ranks)),
            "middle": found.middle,
            "matched": percent(MATCHED, 0),
            "base_train": estimate(base["train"]).percent(),
            "base_test": estimate(base["test"]).percent(),
            "base_overall": estimate(found.before["overall"][:, TEST]).percent(),
            "tuning_digits": ", ".join(map(str, settings["tuning_digits"])),
            "merge_difference": scientific(float(merging[0])),
            "merge_ratio": scientific(float(merging[1])),
            "edges": self.edges(),
            "pays": self.pays(),
            "biderman": lora_claims.forgets_less(found, self.result.data),
            "disadvantages": lora_claims.disadvantages(found, made, self.costs.text["activations_share"]),
            "example": str(found.digits[-1]),
            **{claim.name: claim.sentence for claim in made},
            **{f"{claim.name}-evidence": claim.evidence for claim in made},
            **self._accuracies(),
        }

    def _accuracies(self) -> dict[str, str]:
        """`<arm>_<alone|replay>_<new|old|overall>` with `_train` where that is meant."""
        texts = {}
        for key, label in {"lora": self.found.middle, **NAMES}.items():
            for replay, name in ((False, "alone"), (True, "replay")):
                for kind in ("new", "old", "overall"):
                    for split, data in ((TEST, ""), (TRAIN, "_train")):
                        texts[f"{key}_{name}_{kind}{data}"] = self.found.at(kind, label, replay, split).percent(1)
        return texts

    def _by_digit(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values).reshape(len(self.found.digits), -1).mean(axis=1)

    # tables

    def rates(self) -> Markdown:
        """What each arm's learning rate was chosen from."""
        tried, scores = self.result["tuning"]["learning_rate"], self.result["tuning"]["score"]
        rows = []
        for index, label in enumerate(self.found.labels):
            cells = rates.scores(tried[index], scores[index], 1)
            replay = "yes" if self.found.replay[index] else "no"
            edge = rates.mark(self.found.at_edge(label, self.found.replay[index]))
            rows.append([label, replay, f"{self.result['learning_rate'][index]:g}{edge}", cells])
        return table(["arm", "replay", "chosen", "harmonic mean at each rate"], rows)

    def edges(self) -> str:
        """Whether the best rates lie inside what was tried, and what it means where they do not."""
        found = [
            f"{label} {'with' if replay else 'without'} replay"
            for label, replay in zip(self.found.labels, self.found.replay, strict=True)
            if self.found.at_edge(label, replay)
        ]
        return rates.warning(found)

    def by_digit(self, replay: bool) -> Markdown:
        """The headline: new / old test accuracy of each arm, one line per left-out digit."""
        arms = np.flatnonzero(self.found.replay == replay)
        shown = {kind: 100 * self.found.reached[kind][:, arms, TEST] for kind in ("new", "old")}

        def cells(row: slice | int) -> list[str]:
            values = [np.atleast_2d(shown[kind][row]).mean(axis=0) for kind in ("new", "old")]
            return [f"{number_text(new, 1)} / {number_text(old, 1)}" for new, old in zip(*values, strict=True)]

        rows = [[str(digit), *cells(row)] for row, digit in enumerate(self.found.digits)]
        labels = [self.found.labels[index].replace("LoRA ", "") for index in arms]
        return table(["digit", *labels], [*rows, ["mean", *cells(slice(None))]])

    def summary(self, replay: bool) -> Markdown:
        """Every arm at its best step, at equal new-digit accuracy and at the last step."""
        rows = []
        for label in dict.fromkeys(self.found.labels):
            old = self.found.matched(label, replay)
            reached = old[np.isfinite(old)]
            of = f" ({len(reached)} of {len(old)})" if len(reached) < len(old) else ""
            stopped = [self.found.at(kind, label, replay).text(1, 100) for kind in ("new", "old", "overall")]
            train = self.found.at("overall", label, replay, split=TRAIN).text(1, 100)
            end = [self.found.at_end(kind, label, replay).text(1, 100) for kind in ("new", "old")]
            at = estimate(reached).text(1, 100) + of if len(reached) else "not reached"
            rows.append([label, *stopped, train, at, *end])
        matched = f"old at new {percent(MATCHED, 0)}"
        return table(["arm", "new", "old", "all", "all, train", matched, "end: new", "end: old"], rows)

    def answer(self) -> Markdown:
        """What two methods learn and forget: new and old digits, training and test data, without and with replay."""
        rows = []
        for replay, data in ((False, "new digit alone"), (True, f"with {self.text['memory_total']} old images")):
            for label in (self.found.middle, NAMES["full"]):
                cells = [
                    self.found.at(kind, label, replay, split).text(1, 100)
                    for kind in ("new", "old")
                    for split in (TRAIN, TEST)
                ]
                rows.append([f"{label}, {data}", *cells])
        return table(["fine-tuned", "new, train", "new, test", "old, train", "old, test"], rows, download=False)

    # figures

    def curves(self) -> figures.Figure:
        return figures.learning_curves({"nine digits": self.result["base"]})

    def trade_off(self) -> figures.Figure:
        stopped = np.stack([self.found.reached[kind][:, :, TEST] for kind in ("new", "old")], axis=-1)
        return lora_figures.trade_off(self.found.labels, self.found.replay, LEVELS, self.found.traded, stopped)

    def steps(self, replay: bool) -> figures.Figure:
        arms = np.flatnonzero(self.found.replay == replay)
        loss, accuracy = (np.asarray(self.result[k], dtype=float).mean(axis=1)[:, arms] for k in ("loss", "accuracy"))
        labels = [self.found.labels[index] for index in arms]
        return lora_figures.by_step(labels, self.result["steps"], loss, accuracy)

    def forgetting(self) -> figures.Figure:
        """Which old digits are lost, at the best step of two arms without replay, and with it."""
        arms = (("full fine-tuning", False), (self.found.middle, False), (self.found.middle, True))
        titles = [f"{label}{', replay' if replay else ''}" for label, replay in arms]
        return lora_figures.forgetting(titles, self.found.digits, np.stack([self._drop(*arm) for arm in arms]))

    def _drop(self, label: str, replay: bool) -> np.ndarray:
        """(digits, 10): accuracy lost on each old digit after learning a new one; NaN where a digit meets itself."""
        before, after = self.found.recall
        drop = before - after[:, self.found.arm(label, replay)]
        drop[np.arange(len(drop)), self.found.digits] = np.nan
        return drop

    def pays(self) -> str:
        """Which old digit loses most and which least, without replay."""
        told = []
        for label in ("full fine-tuning", self.found.middle):
            drop = self._drop(label, False)
            there = np.isfinite(drop)
            lost = np.where(there, drop, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
            lost[~there.any(axis=0)] = np.nan
            most, least = int(np.nanargmax(lost)), int(np.nanargmin(lost))
            told.append(
                f"{label} takes most from the digit {most} ({number_text(100 * lost[most], 1)} points) and least from "
                f"the digit {least} ({number_text(100 * lost[least], 1)})"
                if most != least
                else f"{label} takes the same from every old digit ({number_text(100 * lost[most], 1)} points)"
            )
        return f"Without replay, in the mean over the new digits, {told[0]}; {told[1]}."

    def confusions(self) -> figures.Figure:
        """The last digit's confusion matrices on the test set, seeds added up: before, and where three arms stopped."""
        shown = {"before": self.result["confusion_before"][-1, :, TEST]}
        for label, replay in (("full fine-tuning", False), (self.found.middle, False), (self.found.middle, True)):
            index = self.found.arm(label, replay)
            shown[label + ("\n+ replay" if replay else "")] = self.result["confusion"][-1, :, index, TEST]
        return lora_figures.confusions({title: counts.sum(axis=0, dtype=float) for title, counts in shown.items()})

    # claims

    def claims(self) -> list[claims.Claim]:
        one_rate = self.updates.at_one_rate(self.found.ranks[-1], self.found.ranks[0])
        found = [*lora_claims.forgetting(self.found), *lora_claims.with_replay(self.found, one_rate)]
        return claims.corrected([*found, *self.updates.claims(), lora_claims.merging(self.found), *self.costs.claims()])

    def conclusion(self) -> Markdown:
        return conclude(self.claims())
