"""Intervals against SciPy's own, and numbers as they are printed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from rankstudy.book import stats
from rankstudy.book.stats import Estimate, benjamini_hochberg, estimate, holm, number_text, paired

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12).filter(lambda x: np.std(x) > 1e-6)


@given(st.floats(-1, 1), st.floats(1e-4, 0.5))
def test_a_rounded_difference_prints_as_before(mean, half):
    seen = Estimate(mean, half, 5).printed()
    assert seen.half == pytest.approx(half, rel=0.06) and abs(seen.mean - mean) <= 0.06 * half
    alone = Estimate(mean, math.nan, 1)
    assert alone.printed() is alone


def test_words_and_numbers_are_listed():
    told = [stats.listed(each) for each in (["a"], ["a", "b"], [200, 300, 1500])]
    assert told == ["a", "a and b", f"200, 300 and {number_text(1500)}"]


@given(VALUES)
def test_interval_and_p_are_those_of_the_t_test(values):
    found = estimate(values)
    test = scipy.stats.ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(0.95)
    assert found.low == pytest.approx(low, rel=1e-9, abs=1e-9) and found.high == pytest.approx(high, rel=1e-9, abs=1e-9)
    assert found.p == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)


@given(VALUES, st.randoms())
def test_pairing_is_the_paired_t_test(values, random):
    other = [value + random.uniform(-1, 1) for value in values]
    if np.std(np.subtract(values, other)) < 1e-6:
        return
    assert paired(values, other).p == pytest.approx(scipy.stats.ttest_rel(values, other).pvalue, rel=1e-6, abs=1e-12)


def test_coverage_is_what_it_says():
    """Of 4,000 intervals over three normal values, 95 % cover the truth; binomial error 0.35 points, so ± 1.4."""
    draws = np.random.default_rng(0).normal(1.0, 2.0, (4000, 3))
    covered = np.mean([(found := estimate(row)).low <= 1.0 <= found.high for row in draws])
    assert abs(covered - 0.95) < 0.014


def test_one_network_has_no_interval():
    found = estimate([0.5])
    assert math.isnan(found.half) and found.percent() == "50 %"
    assert "no value" in estimate([math.nan, 1.0]).text()
    for bad in ([], [[1.0]]):
        with pytest.raises(ValueError, match="values"):
            estimate(bad)
    with pytest.raises(ValueError, match="same seeds"):
        paired([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Estimate(0.98314, 0.00112, 5).percent(), "98.31 ± 0.11 %"),
        (Estimate(12345.6, 78.9, 5).text(), "12\u202f346 ± 79"),
        (Estimate(-0.0031, 0.0012, 5).points(), "−0.31 ± 0.12 points"),
        (Estimate(0.0031, 0.0012, 5).points(), "+0.31 ± 0.12 points"),
        (Estimate(1.0, 0.0, 5).text(), "1 ± 0"),
        (number_text(-0.0001, 2), "0.00"),
        (number_text(-3.456, 2), "−3.46"),
        (stats.signed(2.0, 1), "+2.0"),
        (Estimate(194.5, 0.0, 5).short(), "194.5"),
        (Estimate(225.25, 0.0, 5).short(), "225.25"),  # "225" beside 225.21 ± 0.09 would be less than it is
        (Estimate(1 / 3, 0.0, 5).short(), "0.33"),
        (stats.percent(0.5, 0), "50 %"),
    ],
)
def test_numbers_are_printed_one_way(found, text):
    assert found == text


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_statsmodels_rule(p):
    """Sorted ascending, the k-th is multiplied by (n − k), made monotone and cut at 1."""
    corrected = holm(p)
    order = np.argsort(p, kind="stable")
    expected = np.minimum(1, np.maximum.accumulate((len(p) - np.arange(len(p))) * np.array(p)[order]))
    assert np.allclose(np.array(corrected)[order], expected)
    assert all(c >= q for c, q in zip(corrected, p, strict=True))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_benjamini_hochberg_is_scipys(p):
    from scipy.stats import false_discovery_control

    assert np.allclose(benjamini_hochberg(p), false_discovery_control(p))


def test_band_is_the_interval_at_every_point():
    values = np.random.default_rng(1).normal(size=(4, 3))
    mean, low, high = stats.band(values)
    for column in range(3):
        found = estimate(values[:, column])
        assert (mean[column], low[column], high[column]) == pytest.approx((found.mean, found.low, found.high))


def test_a_simultaneous_band_is_bonferronis():
    values = np.random.default_rng(0).standard_normal((6, 4))
    mean, low, high = stats.band(values, simultaneous=True)
    half = scipy.stats.t.ppf(1 - 0.05 / 2 / 4, 5) * values.std(axis=0, ddof=1) / math.sqrt(6)
    np.testing.assert_allclose(high - mean, half)
    np.testing.assert_allclose(mean - low, half)
