"""Numbers for running text: `{python} mean(rank.task2.update.entropy_rank[:, 1])` prints 147 and keeps the interval.

Each helper returns a Markdown span, `[147]{.number data-tip="147.3 ± 1.3, n = 10"}`: the page shows two useful digits
(a count, or what is the same in every network, as it is), and the interval on hover, focus and touch. Values are one
per network, (networks,); of (networks, layers) the layers are averaged first, which only equal shapes deserve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rankstudy.book.measured import Networks
from rankstudy.book.stats import Estimate, estimate, interval_text, number_text, short
from rankstudy.book.tables import Markdown

NO_BREAK = "\u00a0"  # between a number and its unit

SMALL = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip

__all__ = [
    "average",
    "change",
    "count_of",
    "errors",
    "fixed",
    "less",
    "mean",
    "moved",
    "percent",
    "points",
    "quartiles",
    "ratio",
    "shape",
    "share",
    "slope",
    "spread",
    "words",
]


def mean(values: np.ndarray | None, unit: str = "") -> Markdown:
    """The mean over networks: 147, or 9.7, or 0.56; a value that is the same in every network as it is (194.5).

    None: of a control that is not published yet."""
    if values is None:
        return Markdown("(not measured yet)")
    return printed(average(values), unit)


def percent(values: np.ndarray) -> Markdown:
    """The mean of fractions over networks, in per cent: 98 %."""
    return printed(average(100 * np.asarray(values, dtype=float)), "%", bounded=True)


def points(values: np.ndarray, control: np.ndarray) -> Markdown:
    """Mean difference of fractions, paired by network, in percentage points and with its sign: −0.3 points."""
    return printed(average(100 * (np.asarray(values) - np.asarray(control))), "points", sign=True)


def errors(accuracies: np.ndarray, control: np.ndarray) -> Markdown:
    """Change in the number of errors against the control's, paired by network, with its sign: +23 %."""
    wrong, before = 1 - np.asarray(accuracies, dtype=float), 1 - np.asarray(control, dtype=float)
    return printed(average(100 * (wrong / before - 1)), "%", sign=True)


def ratio(values: np.ndarray, control: np.ndarray) -> Markdown:
    """Mean of values / control, paired by network."""
    return printed(average(np.asarray(values, dtype=float) / np.asarray(control, dtype=float)), "")


def change(values: np.ndarray | None, control: np.ndarray | float = 0.0, unit: str = "") -> Markdown:
    """Mean of values − control, paired by network, with its sign: −3.1. None: as in `mean`."""
    if values is None:
        return mean(None)
    return printed(average(np.asarray(values, dtype=float) - control), unit, sign=True)


def less(values: np.ndarray, control: np.ndarray, unit: str = "") -> Markdown:
    """Mean of control − values, paired by network, without a sign: for a bound sentence that says "fewer"."""
    return printed(average(np.asarray(control, dtype=float) - values), unit)


def slope(group: Networks, matrix: str, measure: str = "entropy_rank") -> Markdown:
    """Change of a measure of "initial", "weights" or "update" per layer, over the square layers, with its sign."""
    return printed(estimate(per_layer(group, getattr(getattr(group, matrix), measure))), "", sign=True)


def per_layer(group: Networks, values: np.ndarray) -> np.ndarray:
    """(networks,) change per layer over the square layers, by least squares in each network; values: like Measures."""
    chosen = values[:, group.square]
    return np.polyfit(np.arange(chosen.shape[1]), chosen.T, 1)[0].round(12)  # equal ranks have slope 0, not 1e-17


def quartiles(value: float, bounds: Sequence[float], unit: str = "") -> Markdown:
    """The median of repeated timings; `bounds`: the quartiles, on hover: 4.0."""
    after = NO_BREAK + unit if unit else ""
    low, high = short(bounds[0]), short(bounds[1])
    tip = f"half of the repetitions: {low} to {high}{after}".replace(" ", NO_BREAK)
    return Markdown(f'[{short(value)}{after}]{{.number data-tip="{tip}"}}')


def moved(group: Networks, layer: int) -> Markdown:
    """How far training moved a layer: mean of ‖W − W₀‖ / ‖W₀‖."""
    return ratio(group.update.norm[:, layer], group.initial.norm[:, layer])


def shape(sides: Sequence[int]) -> Markdown:
    """The sides of a matrix: 1024 × 784."""
    return Markdown(f"{NO_BREAK}×{NO_BREAK}".join(str(side) for side in sides))


def count_of(met: np.ndarray) -> Markdown:
    """How many of some yes-or-no answers are yes: 160 of 160."""
    met = np.asarray(met, dtype=bool)
    return Markdown(f"{number_text(met.sum())}{NO_BREAK}of{NO_BREAK}{number_text(met.size)}")


def spread(values: np.ndarray) -> Markdown:
    """A count that may differ between networks: 256, or 253 to 256."""
    low, high = number_text(np.min(values)), number_text(np.max(values))
    return Markdown(low if low == high else f"{low} to {high}")


def fixed(value: float, unit: str = "") -> Markdown:
    """A number that has no interval: a setting, a size, a value of one network. Whole numbers and 0.003 as they are."""
    text = _near_full(value) if unit == "%" else short(value)
    if "." in text and float(text.replace("−", "-")) == value:
        text = text.rstrip("0").rstrip(".")
    return Markdown(text + (NO_BREAK + unit if unit else ""))


def words(count: int) -> Markdown:
    """A small count as a word: six; from thirteen on in digits."""
    return Markdown(SMALL[count] if 0 <= count < len(SMALL) else number_text(count))


def share(part: float, whole: float) -> Markdown:
    """A count's share of another one, in per cent: 6.8 %."""
    return fixed(100 * part / whole, "%")


def average(values: np.ndarray) -> Estimate:
    """Mean over networks with its interval; of (networks, layers) the mean over layers is taken first."""
    array = np.asarray(values, dtype=float)
    return estimate(array if array.ndim == 1 else array.mean(axis=tuple(range(1, array.ndim))))


def printed(found: Estimate, unit: str = "", *, sign: bool = False, bounded: bool = False) -> Markdown:
    """An estimate of two digits with its interval on hover; `bounded`: a percentage that cannot pass 100."""
    text = _near_full(found.mean) if bounded and found.half != 0 else found.short(sign)
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
    places = min(2, 1 - math.floor(math.log10(missing))) if missing < 1 else 1
    return number_text(min(value, 99.99) if places == 2 else value, places)
