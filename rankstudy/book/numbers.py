"""Numbers for running text: `{python} mean(rank.task2.update.entropy_rank[:, 1])` prints 147 and keeps the interval.

Each helper returns a Markdown span, `[147]{.number data-tip="147.3 ± 1.3, n = 10"}`: the page shows two useful digits
(a count, or what is the same in every network, as it is), and the interval on hover, focus and touch. Values are one
per network, (networks,); of (networks, layers) the layers are averaged first, which only equal shapes deserve.
"""

from __future__ import annotations

import math

import numpy as np

from rankstudy.book.stats import Estimate, estimate, interval_text, number_text, short, signed
from rankstudy.book.tables import Markdown

NO_BREAK = "\u00a0"  # between a number and its unit

__all__ = [
    "average",
    "change",
    "count_of",
    "errors",
    "fixed",
    "mean",
    "percent",
    "points",
    "ratio",
    "share",
    "spread",
]


def mean(values: np.ndarray, unit: str = "") -> Markdown:
    """The mean over networks: 147, or 9.7, or 0.56; a value that is the same in every network as it is (194.5)."""
    return _printed(average(values), unit)


def percent(values: np.ndarray) -> Markdown:
    """The mean of fractions over networks, in per cent: 98 %."""
    return _printed(average(100 * np.asarray(values, dtype=float)), "%", bounded=True)


def points(values: np.ndarray, control: np.ndarray) -> Markdown:
    """Mean difference of fractions, paired by network, in percentage points and with its sign: −0.3 points."""
    return _printed(average(100 * (np.asarray(values) - np.asarray(control))), "points", sign=True)


def errors(accuracies: np.ndarray, control: np.ndarray) -> Markdown:
    """Change in the number of errors against the control's, paired by network, with its sign: +23 %."""
    wrong, before = 1 - np.asarray(accuracies, dtype=float), 1 - np.asarray(control, dtype=float)
    return _printed(average(100 * (wrong / before - 1)), "%", sign=True)


def ratio(values: np.ndarray, control: np.ndarray) -> Markdown:
    """Mean of values / control, paired by network."""
    return _printed(average(np.asarray(values, dtype=float) / np.asarray(control, dtype=float)), "")


def change(values: np.ndarray, control: np.ndarray | float = 0.0, unit: str = "") -> Markdown:
    """Mean of values − control, paired by network, with its sign: −3.1."""
    return _printed(average(np.asarray(values, dtype=float) - control), unit, sign=True)


def count_of(met: np.ndarray) -> Markdown:
    """How many of some yes-or-no answers are yes: 160 of 160."""
    met = np.asarray(met, dtype=bool)
    return Markdown(f"{number_text(met.sum())}{NO_BREAK}of{NO_BREAK}{number_text(met.size)}")


def spread(values: np.ndarray) -> Markdown:
    """A count that may differ between networks: 256, or 253 to 256."""
    low, high = number_text(np.min(values)), number_text(np.max(values))
    return Markdown(low if low == high else f"{low} to {high}")


def fixed(value: float, unit: str = "") -> Markdown:
    """A number that has no interval: a setting, a size, a value of one network. Whole numbers as they are."""
    return Markdown(short(value) + (NO_BREAK + unit if unit else ""))


def share(part: float, whole: float) -> Markdown:
    """A count's share of another one, in per cent: 6.8 %."""
    return fixed(100 * part / whole, "%")


def average(values: np.ndarray) -> Estimate:
    """Mean over networks with its interval; of (networks, layers) the mean over layers is taken first."""
    array = np.asarray(values, dtype=float)
    return estimate(array if array.ndim == 1 else array.mean(axis=tuple(range(1, array.ndim))))


def _printed(found: Estimate, unit: str, *, sign: bool = False, bounded: bool = False) -> Markdown:
    same = found.n > 1 and found.half == 0 and (10 * found.mean).is_integer()
    text = (signed if sign else number_text)(found.mean, 0 if found.mean.is_integer() else 1) if same else ""
    text = text or (_near_full(found.mean) if bounded else short(found.mean, sign))
    after = NO_BREAK + unit if unit else ""
    if found.n < 2:
        return Markdown(f'[{text}{after}]{{.number data-tip="one network, so no interval"}}')
    interval = interval_text(found, unit, sign=sign, highest=100.0 if bounded else math.inf)
    tip = f"{interval}, n = {found.n}" if found.half else f"the same in all {found.n} networks"
    return Markdown(f'[{text}{after}]{{.number data-tip="{tip.replace(" ", NO_BREAK)}"}}')


def _near_full(value: float) -> str:
    """A percentage near 100 keeps what tells it from 100: 98.5, 99.98."""
    missing = 100 - value
    if not 0 < missing < 10:
        return short(value)
    return number_text(value, min(2, 1 - math.floor(math.log10(missing)) if missing < 1 else 1))
