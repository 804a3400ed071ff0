"""Chapter 8's control of forgetting as a typed result: what each method keeps at each accuracy on the new digit.

A method's learning rate and length are chosen on half of the digits and read on the other half, then the other way
round. The moment is chosen on each network's own validation images; what is read are test images. Digits come first,
seeds averaged; NaN: the new digit was never learned so far. `results.frontier()` makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstudy.book import conversion, lora
from rankstudy.book.measured import Origin
from rankstudy.study.questions import Result

LEVELS = np.array([0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98])  # accuracies on the new digit
COMPARED = 0.9  # the one at which methods are compared
FEWEST = 0.5  # share of the digits that must get there for a comparison
NEW, OLD, MASKED = range(3)


@dataclass(frozen=True)
class Kept:
    """Accuracy of one method on test images, (digits, levels) each."""

    label: str
    method: str  # "full" or "lora"
    rank: int  # 0 where there is none
    alpha: float  # LoRA's α; 0 where there is none
    old: np.ndarray
    old_masked: np.ndarray
    new: np.ndarray  # near the level, which is one of validation images
    old_shares: np.ndarray  # along θ₀ + t·ΔW, in place of stopping early
    old_by_setting: np.ndarray  # (digits, rates, lengths) at COMPARED, every setting tried
    learning_rates: np.ndarray  # (rates,)
    chosen: np.ndarray  # (halves, levels) learning rates
    chosen_steps: np.ndarray  # (halves, levels) lengths


@dataclass(frozen=True)
class Frontier:
    """What is learned against what is kept, without replay."""

    origin: Origin
    digits: np.ndarray  # (digits,) left out, one at a time
    steps: np.ndarray  # (lengths,) of the fine-tunings
    levels: np.ndarray  # (levels,) accuracies on the new digit
    methods: tuple[Kept, ...]
    tilted: np.ndarray  # (digits, levels) old accuracy of a single offset on the new digit's logit
    before: np.ndarray  # (digits,) old accuracy, not fine-tuned
    before_masked: np.ndarray  # (digits,) the same, masked

    @property
    def at(self) -> int:
        """Place of COMPARED among the levels."""
        return int(np.argmin(abs(self.levels - COMPARED)))

    def of(self, method: str, rank: int = 0, alpha: float = 0.0) -> Kept:
        """A method; LoRA without α is that with α = r."""
        wanted = (method, rank, alpha or rank)
        (found,) = (each for each in self.methods if (each.method, each.rank, each.alpha) == wanted)
        return found

    def difference(self, one: np.ndarray, other: np.ndarray) -> np.ndarray | None:
        """(digits,) one − other of (digits, levels) at COMPARED, digits left out where one of them never got there;
        None where that leaves too few."""
        both = (one - other)[:, self.at]
        both = both[np.isfinite(both)]
        return both if len(both) >= max(2, FEWEST * len(self.digits)) else None


def typed(result: Result) -> Frontier:
    found, config = result.typed, result.config
    digits = np.array(config["digits"])
    of = found.images.astype(float)  # (digits, seeds; validation, test; new, old)
    three = np.concatenate([of, of[..., 1:]], axis=-1)  # new, old, old masked
    looked = found.right / three[:, :, None, None, None, None]
    starts = looked[:, :, :1, :1, :1, :1]
    shared = found.shared / three[:, :, None, None, None, None]
    begin = np.broadcast_to(starts, (*shared.shape[:5], 1, *shared.shape[6:]))
    line = np.concatenate([begin, shared, looked[..., -1:, :, :]], axis=5)
    return Frontier(
        origin=conversion.origin(result),
        digits=digits,
        steps=found.steps[:, -1],
        levels=LEVELS,
        methods=tuple(
            _kept(method, looked[:, :, index], line[:, :, index], digits, found.steps[:, -1])
            for index, method in enumerate(config["methods"])
        ),
        tilted=_along(found.tilted / of[:, :, None], LEVELS)[..., 1, OLD].mean(axis=1),
        before=starts[..., 1, OLD].reshape(len(digits), -1).mean(axis=1),
        before_masked=starts[..., 1, MASKED].reshape(len(digits), -1).mean(axis=1),
    )


def _kept(method: dict, looked: np.ndarray, line: np.ndarray, digits: np.ndarray, lengths: np.ndarray) -> Kept:
    """`looked`, `line`: (digits, seeds, rates, lengths, points; splits; new, old, old masked)."""
    arm, rates = method["arm"], np.array(method["learning_rates"])
    rank = int(arm["rank"] or 0)
    alpha = float(arm["alpha"] or rank)
    name = lora.label(arm["method"], rank) + (f", α = {alpha:g}" if alpha != rank else "")
    stopped = _along(looked, LEVELS)  # (digits, seeds, rates, lengths, levels; splits; 3)
    read, choice = _crossed(stopped, digits)
    shares, _ = _crossed(_along(line, LEVELS), digits)
    return Kept(
        label=name,
        method=arm["method"],
        rank=rank,
        alpha=alpha,
        old=read[..., OLD],
        old_masked=read[..., MASKED],
        new=read[..., NEW],
        old_shares=shares[..., OLD],
        old_by_setting=stopped[:, :, :, :, int(np.argmin(abs(LEVELS - COMPARED))), 1, OLD].mean(axis=1),
        learning_rates=rates,
        chosen=rates[choice // len(lengths)],
        chosen_steps=lengths[choice % len(lengths)],
    )


def _crossed(stopped: np.ndarray, digits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(digits, levels, 3) test accuracies at the setting that is best for the other half's digits on validation data,
    seeds averaged; and (halves, levels) which setting that is, counted over rates and lengths."""
    count, seeds, rates, lengths, levels = stopped.shape[:5]
    flat = stopped.reshape(count, seeds, rates * lengths, levels, 2, 3)
    read = np.full((count, levels, 3), np.nan)
    choice = np.zeros((2, levels), dtype=int)
    halves = np.argsort(np.argsort(digits)) % 2  # every other digit
    for half in (0, 1):
        judged = flat[halves == half] if (halves == half).any() else flat
        scores = np.nan_to_num(judged[..., 0, OLD]).mean(axis=(0, 1))  # (settings, levels); never learned counts 0
        choice[half] = scores.argmax(axis=0)
        for level in range(levels):
            chosen = flat[halves != half, :, choice[half, level], level, 1]
            read[halves != half, level] = chosen.mean(axis=1)
    return read, choice


def _along(paths: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """(…, levels; splits; groups) accuracies of paths (…, points; splits; groups) at the moment when a network's old
    validation accuracy is best among those that reach each level of new validation accuracy."""
    flat = paths.reshape(-1, *paths.shape[-3:])
    found = np.array([[moment(path, level) for level in levels] for path in flat])
    return found.reshape(*paths.shape[:-3], len(levels), *paths.shape[-2:])


def moment(path: np.ndarray, level: float) -> np.ndarray:
    """(splits, groups) of a path (points; validation and others; new, old, …), linear between two points where the
    level is crossed on validation data; NaN: never reached."""
    new = path[:, 0, NEW]
    moments = list(np.flatnonzero(new >= level).astype(float))
    for before in np.flatnonzero((new[:-1] >= level) != (new[1:] >= level)):
        moments.append(before + (level - new[before]) / (new[before + 1] - new[before]))
    if not moments:
        return np.full(path.shape[1:], np.nan)
    at = np.array(moments)
    low = np.minimum(at.astype(int), len(path) - 1)
    high, part = np.minimum(low + 1, len(path) - 1), (at - low)[:, None, None]
    values = (1 - part) * path[low] + part * path[high]
    return values[values[:, 0, OLD].argmax()]
