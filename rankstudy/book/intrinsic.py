"""The appendix on intrinsic dimension: how many random directions a network needs, typed, without torch.

As in `results`, arrays have networks first. `results.intrinsic_dimension()` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.measured import History, Origin
from rankstudy.book.numbers import mean
from rankstudy.book.published import INTRINSIC
from rankstudy.book.stats import estimate, number_text
from rankstudy.book.tables import Markdown
from rankstudy.study.experiments.crossing import crossing
from rankstudy.study.experiments.intrinsic_dimension import Measured
from rankstudy.study.experiments.transfer import Moved
from rankstudy.study.questions import Result

LEVELS = (0.8, 0.9, 0.95)  # shares of what training all parameters from scratch reaches
ABSOLUTE = 0.9  # test accuracy: Li et al.'s threshold
STARTS = {
    "pre-trained": "pre-trained",
    "scratch": "random",
    "shuffled": "labels shuffled",
    "entries": "entries shuffled",
}


@dataclass(frozen=True)
class Curve:
    """A network in random subspaces of growing dimension."""

    network: str
    parameters: int
    dimension: np.ndarray  # (dimensions,)
    learning_rate: np.ndarray  # (dimensions,)
    histories: tuple[History, ...]  # one a dimension
    direct: History  # of all parameters

    @property
    def test_accuracy(self) -> np.ndarray:
        """(networks, dimensions) at the end."""
        return np.stack([each.test_accuracy[:, -1] for each in self.histories], axis=1)

    @property
    def train_accuracy(self) -> np.ndarray:
        """(networks, dimensions) at the end."""
        return np.stack([each.train_accuracy[:, -1] for each in self.histories], axis=1)

    @property
    def absolute(self) -> np.ndarray:
        """(networks,) dimension with a test accuracy of 0.90; NaN outside the dimensions tried."""
        return crossing(self.dimension, self.test_accuracy, np.full(len(self.direct.seeds), ABSOLUTE))

    @property
    def relative(self) -> np.ndarray:
        """(networks,) the same for 90 % of the network's own test accuracy with all parameters trained."""
        return crossing(self.dimension, self.test_accuracy, ABSOLUTE * self.direct.test_accuracy[:, -1])

    def takes(self) -> Markdown:
        """`absolute` for running text: 610, or on which side of the dimensions tried it lies."""
        if np.isfinite(self.absolute).all():
            return mean(self.absolute)
        return Markdown(needed(self.absolute, self.dimension, self.test_accuracy >= ABSOLUTE))

    def at(self, dimension: int) -> np.ndarray | None:
        """(networks,) test accuracy at the end in just this dimension; None where it was not tried."""
        found = np.flatnonzero(self.dimension == dimension)
        return self.test_accuracy[:, found[0]] if len(found) else None


@dataclass(frozen=True)
class Start:
    """Networks that go on from one θ₀ in subspaces; scores are accuracies on the new digits, or harmonic means of
    those on new and on old ones."""

    label: str
    dimension: np.ndarray  # (dimensions,)
    train: np.ndarray  # (networks, dimensions) share of `end` reached, on training data
    test: np.ndarray  # (networks, dimensions) the same on test data
    end: np.ndarray  # (networks,) test score of all parameters trained from scratch

    def needed(self, level: float) -> np.ndarray:
        """(networks,) dimension that reaches this share on test data; NaN outside the dimensions tried."""
        return crossing(self.dimension, self.test, np.full(len(self.test), level))


@dataclass(frozen=True)
class IntrinsicDimension:
    """The appendix."""

    origin: Origin
    curve: Curve
    changes: Mapping[str, Curve]  # the same network with one thing changed, by what it is
    others: tuple[Curve, ...]  # other widths
    memorised: Mapping[str, Curve]  # by share of shuffled labels; their training accuracy is what counts
    alone: Mapping[str, Start]  # the new digits alone, by θ₀ ("pre-trained", …; "pre-trained, scales"); empty: not run
    joint: Mapping[str, Start]  # old and new digits together

    def dimensions(self) -> list[list[str]]:
        """Rows of a table: network, whose, parameters, absolute and relative d90."""
        ours = [self.curve, *self.others]
        rows = [
            [
                curve.network,
                "ours",
                number_text(curve.parameters),
                needed(curve.absolute, curve.dimension, curve.test_accuracy >= ABSOLUTE),
                needed(
                    curve.relative,
                    curve.dimension,
                    curve.test_accuracy >= ABSOLUTE * curve.direct.test_accuracy[:, -1:],
                ),
            ]
            for curve in ours
        ]
        theirs = [
            [each.network, "published", number_text(each.parameters), _values(each.absolute), _values(each.relative)]
            for each in INTRINSIC
        ]
        return rows + theirs

    def memory(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What `plots.by_dimension` draws: share of shuffled labels -> dimensions, and training accuracies."""
        return {f"{name} shuffled": (each.dimension, each.train_accuracy) for name, each in self.memorised.items()}

    def starts(self, task: Mapping[str, Start]) -> list[list[str]]:
        """Rows of a table: θ₀, and the dimension that reaches each of LEVELS."""
        return [
            [each.label, *(needed(each.needed(level), each.dimension, each.test >= level) for level in LEVELS)]
            for each in task.values()
        ]


def shares(task: Mapping[str, Start], split: str = "test") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What `plots.by_dimension` draws: label -> dimensions, and the share of the end that each network reaches."""
    return {each.label: (each.dimension, getattr(each, split)) for each in task.values()}


def needed(found: np.ndarray, dimension: np.ndarray, reached: np.ndarray) -> str:
    """Dimensions that were needed, (networks,), as printed: mean and interval, both of two, or on which side of what
    was tried they lie; reached: (networks, dimensions)."""
    if np.isfinite(found).all():
        return _values(found) if len(found) < 3 else estimate(found).text(0)
    if reached[:, 0].all():
        return f"at most {number_text(dimension[0])}"
    if not reached.any():
        return f"more than {number_text(dimension[-1])}"
    return "not in every network"


def ratio(one: Start | None, other: Start | None, level: float) -> np.ndarray | None:
    """(networks,) log₂ of the dimensions that one start needs over the other's, paired by seed; None where one was not
    run, or some network did not cross the level within the dimensions tried."""
    if one is None or other is None:
        return None
    found = np.log2(one.needed(level) / other.needed(level))
    return found if np.isfinite(found).all() else None


def typed(result: Result) -> IntrinsicDimension:
    found = result.typed
    widths = result.config["curve"]["network"]["widths"]
    main = curve(found.curve, _name(widths))
    return IntrinsicDimension(
        origin=conversion.origin(result),
        curve=main,
        changes={name: curve(each, main.network) for name, each in found.ablations.items()},
        others=tuple(curve(each, _name(each.widths)) for each in found.grid),
        memorised={f"{100 * each.fraction:.0f}\u00a0%": curve(each, main.network) for each in found.shuffled},
        alone=starts(found.alone),
        joint=starts(found.transfer),
    )


def curve(found: Measured, network: str) -> Curve:
    fields = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy")
    direct = conversion.history(found.direct)
    each = [
        History(seeds=direct.seeds, **{name: getattr(found.history, name)[index] for name in fields})
        for index in range(len(found.dimension))
    ]
    return Curve(network, found.parameters, found.dimension, found.learning_rate, tuple(each), direct)


def starts(arms: Sequence[Moved]) -> dict[str, Start]:
    """Those whose θ₀ the book tells of, in its order; each against the end of all parameters from scratch."""
    ends = {arm.origin: arm.mean_all for arm in arms}
    chosen = {(arm.origin, bool(arm.scales)): arm for arm in arms}
    made = {}
    for scales in (False, True):
        for origin in STARTS:
            if (arm := chosen.get((origin, scales))) is None:
                continue
            end = {split: ends["scratch"][split][:, -1] for split in ("train", "test")}
            share = {split: (arm.mean[split][:, :, -1] / end[split]).T for split in end}
            name = f"{origin}, scales" if scales else origin
            label = STARTS[origin] + (", scales" if scales else "")
            made[name] = Start(label, arm.dimension, share["train"], share["test"], end["test"])
    return made


def _name(widths: Sequence[int]) -> str:
    return "–".join(map(str, widths))


def _values(values: Sequence[int] | np.ndarray) -> str:
    return ", ".join(number_text(value) for value in values)
