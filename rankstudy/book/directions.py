"""Chapter 8's control of directions as a typed result; digits come first, seeds averaged. No torch.

`results.directions()` makes it. NaN: the new digit was never learned to the level at which updates are compared.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from rankstudy.book import conversion, lora
from rankstudy.book.measured import Origin
from rankstudy.registry import OPTIMIZERS
from rankstudy.study.experiments import directions as experiment
from rankstudy.study.questions import Result

THRESHOLD = experiment.THRESHOLDS.index(0.5)  # of the cosine, at which intruders are compared
LEVEL = experiment.LEVEL  # of the new digit, below which a fine-tuning takes no part
FEWEST = 5  # digits that a comparison needs, where so many were left out


@dataclass(frozen=True)
class Update:
    """ΔW of one fine-tuning, at the first step at which the new digit is learned to the level."""

    label: str
    method: str  # "full" or "lora"
    rank: int  # 0 where there is none
    replay: bool
    optimizer: str  # a name of `registry.OPTIMIZERS`
    learning_rate: float
    reached: np.ndarray  # (digits,) steps
    new_accuracy: np.ndarray  # (digits,) on test images, as is the next
    old_accuracy: np.ndarray  # (digits,)
    norm: np.ndarray  # (digits, layers) ‖ΔW‖ ÷ ‖W‖
    energy_rank: np.ndarray  # (digits, layers) directions that hold 90 % of ‖ΔW‖²
    entropy_rank: np.ndarray  # (digits, layers)
    intruders: np.ndarray  # (digits, layers, thresholds) among the ten leading singular vectors of W + ΔW
    random: np.ndarray  # (digits, layers, thresholds) of the same singular values in random directions
    shrunk: np.ndarray  # (digits, layers, thresholds) of ΔW at the smallest norm among its likes


@dataclass(frozen=True)
class Columns:
    """What was added to the columns of LoRA's B."""

    small: bool  # B starts at small random numbers; else at zero
    frozen: bool  # A stays as it was drawn
    optimizer: str
    steps: int
    replay: bool
    learning_rate: float
    cosine: np.ndarray  # (digits, layers) mean |cos| of pairs of columns
    new_accuracy: np.ndarray  # (digits,) on test images, as is the next
    old_accuracy: np.ndarray  # (digits,)


@dataclass(frozen=True)
class Directions:
    """How many directions a fine-tuning uses, and what decides it."""

    origin: Origin
    digits: np.ndarray  # (digits,) left out, one at a time
    widths: tuple[int, ...]
    rank: int  # of the adapters whose columns were measured
    updates: tuple[Update, ...]
    columns: tuple[Columns, ...]

    @property
    def square(self) -> list[int]:
        """Indices of the square layers."""
        return [index for index, (inp, out) in enumerate(zip(self.widths, self.widths[1:], strict=False)) if inp == out]

    @property
    def replayed(self) -> Columns:
        """The columns of the one condition with replay; `columns[0]` is the same without."""
        (found,) = (each for each in self.columns if each.replay)
        return found

    def full(self, optimizer: str, *, replay: bool) -> list[Update]:
        """Full fine-tuning by an optimiser, the smallest learning rate first."""
        return [
            each for each in self.updates if (each.method, each.optimizer, each.replay) == ("full", optimizer, replay)
        ]

    def lora(self, rank: int, *, replay: bool) -> Update:
        (found,) = (each for each in self.updates if (each.rank, each.replay) == (rank, replay))
        return found

    def squares(self, values: np.ndarray) -> np.ndarray:
        """(digits,) mean over the square layers of (digits, layers)."""
        return values[:, self.square].mean(axis=1)

    def change(self, one: np.ndarray, other: np.ndarray) -> np.ndarray | None:
        """(digits,) one − other over the square layers, where both learned the digit; None where too few did."""
        found = self.squares(one - other)
        found = found[np.isfinite(found)]
        return found if len(found) >= min(FEWEST, len(self.digits)) else None

    def effect(self, factor: str, value: object, **within: object) -> np.ndarray | None:
        """(digits,) effect of a factor of `Columns` on the cosine in the square layers, without replay: the mean of the
        differences between conditions that agree in all else, where both learned the digit. `within`: only of
        conditions that have these values. None where too few digits were learned in any pair."""
        factors = ("small", "frozen", "optimizer", "steps")
        plain = [each for each in self.columns if not each.replay]
        plain = [each for each in plain if all(getattr(each, name) == wanted for name, wanted in within.items())]
        others = [name for name in factors if name != factor]
        pairs = [
            (has, has_not)
            for has in plain
            for has_not in plain
            if getattr(has, factor) == value != getattr(has_not, factor)
            and all(getattr(has, name) == getattr(has_not, name) for name in others)
        ]
        changes = []
        for has, has_not in pairs:
            learned = np.minimum(has.new_accuracy, has_not.new_accuracy) >= LEVEL
            if learned.sum() >= min(FEWEST, len(self.digits)):
                changes.append(np.where(learned, self.squares(has.cosine - has_not.cosine), np.nan))
        if not changes:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a digit that was learned in no pair
            found = np.nanmean(changes, axis=0)
        return found[np.isfinite(found)]


def typed(result: Result) -> Directions:
    found, config = result.typed, result.config
    updates = []
    for index, asked in enumerate(config["updates"]):
        arm, optimizer = asked["arm"], asked["optimizer"]
        rank = int(arm["rank"] or 0)

        def mean(name: str, index: int = index) -> np.ndarray:
            return getattr(found, name)[:, :, index].mean(axis=1)

        accuracy = mean("update_accuracy")
        updates.append(
            Update(
                label=f"{lora.label(arm['method'], rank)}, {OPTIMIZERS[optimizer].label}, {asked['learning_rate']:g}",
                method=arm["method"],
                rank=rank,
                replay=bool(arm["replay"]),
                optimizer=optimizer,
                learning_rate=float(asked["learning_rate"]),
                reached=mean("reached"),
                new_accuracy=accuracy[:, 0],
                old_accuracy=accuracy[:, 1],
                norm=mean("update_norm"),
                energy_rank=mean("update_energy_rank"),
                entropy_rank=mean("update_entropy_rank"),
                intruders=mean("intruders"),
                random=mean("random_intruders"),
                shrunk=mean("shrunk_intruders"),
            )
        )
    columns = [
        Columns(
            **{name: asked[name] for name in ("small", "frozen", "optimizer", "steps", "replay", "learning_rate")},
            cosine=found.cosine[:, :, index].mean(axis=1),
            new_accuracy=found.column_accuracy[:, :, index, 0].mean(axis=1),
            old_accuracy=found.column_accuracy[:, :, index, 1].mean(axis=1),
        )
        for index, asked in enumerate(config["columns"])
    ]
    return Directions(
        origin=conversion.origin(result),
        digits=np.array(config["digits"]),
        widths=tuple(config["network"]["widths"]),
        rank=int(config["rank"]),
        updates=tuple(updates),
        columns=tuple(columns),
    )
