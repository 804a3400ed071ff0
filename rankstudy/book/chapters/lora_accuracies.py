"""Chapter 8's accuracies, from confusion matrices and from the looks taken while fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from rankstudy.book.chapters import rates
from rankstudy.book.stats import Estimate, estimate, paired
from rankstudy.study.questions import Result

MATCHED = 0.9  # accuracy on the new digit at which arms are compared
TRAIN, TEST, VALIDATION = range(3)
LEVELS = np.array([*np.linspace(0.05, 0.95, 19), 0.97, 0.98])


def shares(confusion: np.ndarray, digits: Sequence[int]) -> dict[str, np.ndarray]:
    """Accuracy on the "new" digit, on the "old" ones and "overall", from (digits, seeds, …, 10, 10); seeds averaged."""
    counts = np.asarray(confusion, dtype=float)
    right, of = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1)
    new = np.zeros(right.shape, dtype=bool)
    for row, digit in enumerate(digits):
        new[row, ..., digit] = True

    def share(chosen: np.ndarray) -> np.ndarray:
        return ((right * chosen).sum(axis=-1) / (of * chosen).sum(axis=-1)).mean(axis=1)

    return {"new": share(new), "old": share(~new), "overall": share(np.ones_like(new))}


def kept(chosen_by: np.ndarray, read_off: np.ndarray, level: float) -> float:
    """Old accuracy at the moment of a fine-tuning when it is best among those with a new accuracy of `level` or more.

    `chosen_by`, `read_off`: (looks, [new, old]), from the start on. The moment is chosen on the first, a look or,
    linear between two, where the level is crossed; the accuracy there is read off the second. NaN: never reached.
    """
    new = chosen_by[:, 0]
    moments = list(np.flatnonzero(new >= level).astype(float))
    for before in np.flatnonzero((new[:-1] >= level) != (new[1:] >= level)):
        moments.append(before + (level - new[before]) / (new[before + 1] - new[before]))
    if not moments:
        return float("nan")
    looks = np.arange(len(new))
    best = max(moments, key=lambda moment: np.interp(moment, looks, chosen_by[:, 1]))
    return float(np.interp(best, looks, read_off[:, 1]))


class Accuracies:
    """What each arm learned and kept; every array has the left-out digits first, their seeds averaged."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.labels: list[str] = list(result["arms"])
        self.replay = np.asarray(result["replay"], dtype=bool)
        self.digits: list[int] = list(result.config["digits"])
        self.ranks = sorted({int(rank) for rank in result["rank"] if rank})
        self.middle = f"LoRA r = {4 if 4 in self.ranks else self.ranks[-1]}"  # stands for LoRA where one arm must

    def arm(self, label: str, replay: bool) -> int:
        """Place of an arm among all."""
        return next(i for i, name in enumerate(self.labels) if name == label and self.replay[i] == replay)

    def at_edge(self, label: str, replay: bool) -> bool:
        """Whether the arm's best rate is the smallest or largest of several that were tried."""
        index = self.arm(label, replay)
        return rates.at_edge(self.result["learning_rate"][index], self.result["tuning"]["learning_rate"][index])

    def rate(self, label: str, replay: bool) -> float:
        """The learning rate that was chosen for an arm."""
        return float(self.result["learning_rate"][self.arm(label, replay)])

    def neighbours(self, label: str, replay: bool) -> float | None:
        """By how much the validation score changes at least from an arm's chosen rate to a neighbour of it among those
        tried; None: there is none."""
        tuning, index = self.result["tuning"], self.arm(label, replay)
        tried, scores = (np.asarray(tuning[name][index], dtype=float) for name in ("learning_rate", "score"))
        order = np.argsort(tried)[: int(np.isfinite(tried).sum())]  # a rate that was not tried is NaN, and last
        at = int(np.argmin(abs(tried[order] - self.rate(label, replay))))
        beside = [abs(scores[order[at]] - scores[order[i]]) for i in (at - 1, at + 1) if 0 <= i < len(order)]
        return float(min(beside)) if beside else None

    @cached_property
    def reached(self) -> dict[str, np.ndarray]:
        """Of "new", "old" and "overall": (digits, arms, [train, test]), where each fine-tuning stopped."""
        return shares(self.result["confusion"], self.digits)

    @cached_property
    def ended(self) -> dict[str, np.ndarray]:
        """The same after the last step: (digits, arms), test."""
        return shares(self.result["confusion_end"], self.digits)

    @cached_property
    def before(self) -> dict[str, np.ndarray]:
        """The same before fine-tuning: (digits, [train, test])."""
        return shares(self.result["confusion_before"], self.digits)

    @cached_property
    def recall(self) -> tuple[np.ndarray, np.ndarray]:
        """Test accuracy on every digit: before, (digits, 10), and where each arm stopped, (digits, arms, 10)."""
        counts = (self.result["confusion_before"][:, :, TEST], self.result["confusion"][:, :, :, TEST])
        before, after = (
            (np.diagonal(c, axis1=-2, axis2=-1) / c.sum(axis=-1, dtype=float)).mean(axis=1) for c in counts
        )
        return before, after

    @cached_property
    def traded(self) -> np.ndarray:
        """(digits, arms, levels): old test accuracy that goes with a new one of each level; NaN: never reached.

        The moment is chosen on validation data, where the old accuracy is best among those that reach the level.
        """
        seen = np.asarray(self.result["accuracy"], dtype=float)  # (digits, seeds, arms, splits, looks, 2)
        runs = seen.reshape(-1, *seen.shape[3:])
        found = [[kept(run[VALIDATION], run[TEST], level) for level in LEVELS] for run in runs]
        return np.array(found).reshape(*seen.shape[:3], -1).mean(axis=1)

    def matched(self, label: str, replay: bool) -> np.ndarray:
        """(digits,): `traded` at MATCHED."""
        return self.traded[:, self.arm(label, replay), int(np.argmin(abs(LEVELS - MATCHED)))]

    def values(self, kind: str, label: str, replay: bool, split: int = TEST) -> np.ndarray:
        """(digits,): where the fine-tunings of an arm stopped."""
        return self.reached[kind][:, self.arm(label, replay), split]

    def at(self, kind: str, label: str, replay: bool, split: int = TEST) -> Estimate:
        return estimate(self.values(kind, label, replay, split))

    def at_end(self, kind: str, label: str, replay: bool) -> Estimate:
        return estimate(self.ended[kind][:, self.arm(label, replay)])

    def gain(self, kind: str, arm: str, control: str, replay: bool) -> Estimate:
        """Paired difference of two arms where they stopped, on test data."""
        return paired(self.values(kind, arm, replay), self.values(kind, control, replay))

    def matched_gain(self, arm: str, control: str, replay: bool) -> Estimate:
        """Paired difference in `matched`, over the digits where both reach the level."""
        a, b = self.matched(arm, replay), self.matched(control, replay)
        both = np.isfinite(a) & np.isfinite(b)
        return paired(a[both], b[both]) if both.any() else Estimate(float("nan"), float("nan"), 0)
