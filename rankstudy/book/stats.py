"""Means over networks with Student-t intervals, and how they are printed everywhere.

The unit is the network: one value per seed, never per layer, epoch or digit. Arms of a comparison are paired by seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over n networks with its 95 % interval (NaN where n < 2). Prints as `98.31 ± 0.11`."""

    mean: float
    half: float  # half the width of the interval
    n: int
    p: float = math.nan  # two-sided t-test of mean 0; for paired differences

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    def printed(self) -> Estimate:
        """To the two significant digits of its half that are printed, for what decides on it: an interval that touches
        zero on the page shall not exclude it by a digit that nobody sees."""
        if not self.half > 0:
            return self
        places = 1 - math.floor(math.log10(self.half))
        return replace(self, mean=round(self.mean, places), half=round(self.half, places))

    def __str__(self) -> str:
        return self.text()

    def text(self, digits: int | None = None, scale: float = 1.0, unit: str = "", sign: bool = False) -> str:
        """`mean ± half unit`, both times `scale`; digits after the point, or as many as the interval bears."""
        if not math.isfinite(self.mean):
            return "no value"
        mean, half = self.mean * scale, self.half * scale
        places = digits if digits is not None else _places(mean, half)
        number = signed(mean, places) if sign else number_text(mean, places)
        spread = f" ± {number_text(half, places)}" if math.isfinite(half) else ""
        return f"{number}{spread}{' ' + unit if unit else ''}"

    def short(self, sign: bool = False) -> str:
        """The mean alone, to two useful digits; what is the same in every network and ends at a hundredth as it is."""
        if self.half == 0 and (100 * self.mean).is_integer():
            places = 0 if self.mean.is_integer() else 1 if (10 * self.mean).is_integer() else 2
            return signed(self.mean, places) if sign else number_text(self.mean, places)
        return short(self.mean, sign)

    def percent(self, digits: int | None = None, sign: bool = False) -> str:
        """A fraction in per cent."""
        return self.text(digits, 100.0, "%", sign)

    def points(self, digits: int | None = None) -> str:
        """A difference of fractions in percentage points, with its sign."""
        return self.text(digits, 100.0, "points", sign=True)


def interval_text(found: Estimate, unit: str = "", *, sign: bool = False, highest: float = math.inf) -> str:
    """The one rule by which an interval prints, in tips and tables: the half-width to two significant digits at most,
    the mean to the same place, percentages to two decimals at most; one that would pass `highest` by its two ends.

    >>> interval_text(Estimate(98.388, 0.0601, 10), "%")
    '98.39 ± 0.06 %'
    >>> interval_text(Estimate(99.9996, 0.001, 5), "%", highest=100)
    '99.99 to 100 %'
    """
    mean, half, after = found.mean, found.half, f" {unit}" if unit else ""
    if not math.isfinite(mean):
        return "no value"
    if not half > 0:  # one network, or the same in all of them
        return found.short(sign) + after
    places = _places(mean, half)
    if unit.startswith(("%", "points")):
        places = min(2, places)
    if mean + half > highest:
        low = math.floor((mean - half) * 10**places) / 10**places
        return f"{number_text(low, places)} to {number_text(highest)}{after}"
    half = max(half, 10.0**-places)  # never ± 0.00
    return Estimate(mean, half, found.n).text(places, unit=unit, sign=sign)


def estimate(values: Sequence[float] | np.ndarray) -> Estimate:
    """Mean and Student-t interval of one value per network; NaN values (diverged networks) make it NaN.

    Raises:
        ValueError: no values, or not one number per network.
    """
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"values must be one number per network, got shape {array.shape}")
    mean, n = float(array.mean()), array.size
    if n < 2:
        return Estimate(mean, math.nan, n)
    spread = float(array.std(ddof=1))
    # the same in every network, but for the rounding of what led to it
    error = 0.0 if spread <= 1e-12 * float(np.abs(array).max()) else spread / math.sqrt(n)
    half = t_quantile(n - 1) * error
    if error == 0:
        return Estimate(mean, half, n, 1.0 if mean == 0 else 0.0)
    return Estimate(mean, half, n, two_sided(mean / error, n - 1))


def paired(arm: Sequence[float] | np.ndarray, control: Sequence[float] | np.ndarray) -> Estimate:
    """Mean difference arm − control over seeds, with its interval and p-value.

    Raises:
        ValueError: the arms have different numbers of seeds.
    """
    a, b = np.asarray(arm, dtype=float), np.asarray(control, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"arm and control must have the same seeds, got shapes {a.shape} and {b.shape}")
    return estimate(a - b)


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for being several (Holm 1979), in the given order."""
    order = sorted(range(len(p)), key=lambda index: p[index])
    corrected, largest = [0.0] * len(p), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        corrected[index] = largest
    return corrected


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """p-values corrected so that below a level q at most a share q of what is called found is not (Benjamini and
    Hochberg 1995), in the given order.

    >>> benjamini_hochberg([0.01, 0.04, 0.5])
    [0.03, 0.06, 0.5]
    """
    order = sorted(range(len(p)), key=lambda index: p[index], reverse=True)
    corrected, smallest = [0.0] * len(p), 1.0
    for place, index in enumerate(order):
        smallest = min(smallest, p[index] * len(p) / (len(p) - place))
        corrected[index] = smallest
    return corrected


def band(values: np.ndarray, simultaneous: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, low and high over axis 0 (networks), for curves; low and high are the mean where n < 2.

    `simultaneous`: the band holds the whole curve at once, by Bonferroni's correction over its points.
    """
    array = np.asarray(values, dtype=float)
    mean, n = array.mean(axis=0), array.shape[0]
    if n < 2:
        return mean, mean, mean
    quantile = t_quantile(n - 1, array[0].size if simultaneous else 1)
    half = quantile * array.std(axis=0, ddof=1) / math.sqrt(n)
    return mean, mean - half, mean + half


def listed(items: Sequence[str | float]) -> str:
    """200, 300 and 1 500."""
    *first, last = [each if isinstance(each, str) else number_text(each) for each in items]
    return f"{', '.join(first)} and {last}" if first else last


def number_text(value: float, places: int = 0) -> str:
    """A number as printed in prose: thousands apart, a real minus sign, no minus before zero."""
    if not math.isfinite(value):
        return "no value"
    text = f"{value:,.{places}f}".replace(",", "\u202f")
    if text.strip("-0.\u202f") == "":
        text = text.lstrip("-")
    return text.replace("-", "−")


def short(value: float, sign: bool = False) -> str:
    """Two useful digits: whole from 10 up (or one decimal where ten rounds to a tenth), else two significant ones."""
    size = abs(value)
    exact = float(value).is_integer()
    places = 0 if exact or size >= 10 or not math.isfinite(value) else 1 - math.floor(math.log10(size))
    return signed(value, places) if sign else number_text(value, places)


def signed(value: float, places: int = 0) -> str:
    text = number_text(value, places)
    return text if text.startswith("−") or text == "no value" else f"+{text}"


def percent(value: float, places: int = 1) -> str:
    """A fraction in per cent."""
    return f"{number_text(100 * value, places)} %"


def _places(mean: float, half: float) -> int:
    """Digits after the point: two significant ones of the interval, three of the mean where there is none."""
    if math.isfinite(half) and half > 0:
        return max(0, min(6, 1 - math.floor(math.log10(half))))
    if mean == 0:
        return 0
    return 0 if float(mean).is_integer() else max(0, min(6, 2 - math.floor(math.log10(abs(mean)))))


# Student's t from scipy.special: scipy.stats has the same, and takes a second to import in each chapter's kernel


def t_quantile(freedom: int, comparisons: int = 1) -> float:
    """What a CONFIDENCE interval multiplies the standard error by; of several at once with Bonferroni's correction."""
    return float(stdtrit(freedom, 1 - (1 - CONFIDENCE) / 2 / comparisons))


def two_sided(t: float, freedom: int) -> float:
    """p of a t at least as far from 0."""
    return float(2 * stdtr(freedom, -abs(t)))
