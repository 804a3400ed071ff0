"""Published and ours: what the tables call agreeing, differing, explained or open."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rankstudy.book.chapters import bound, published
from rankstudy.book.stats import Estimate


@pytest.mark.parametrize(
    ("ours", "sign", "verdict"),
    [
        (Estimate(2.0, 1.0, 3), 1, "agreeing"),
        (Estimate(2.0, 1.0, 3), -1, "differing"),
        (Estimate(-2.0, 1.0, 3), -1, "agreeing"),
        (Estimate(2.0, 3.0, 3), 1, "open"),
        (Estimate(2.0, math.nan, 1), 1, "open"),
        (Estimate(math.nan, math.nan, 3), 1, "open"),
        (None, 1, "open"),
    ],
)
def test_a_direction_agrees_if_the_whole_interval_does(ours, sign, verdict):
    assert published.direction(ours, sign) == verdict


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (Estimate(700.0, 60.0, 5), "agreeing"),
        (Estimate(600.0, 60.0, 5), "differing"),
        (Estimate(700.0, 400.0, 5), "open"),  # too wide to agree with anything
        (Estimate(math.nan, math.nan, 5), "open"),
        (None, "open"),
    ],
)
def test_a_value_agrees_if_a_narrow_interval_reaches_it(ours, verdict):
    assert published.value(ours, 750, 850) == verdict


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Estimate(0.01, 0.005, 3), "agreeing"),
        (Estimate(0.018, 0.005, 3), "open"),
        (Estimate(0.03, 0.005, 3), "differing"),
        (Estimate(-0.03, 0.005, 3), "differing"),
        (Estimate(0.0, 0.5, 3), "open"),
        (Estimate(0.0, math.nan, 1), "open"),
    ],
)
def test_an_accuracy_agrees_if_all_of_the_difference_is_small(difference, verdict):
    assert published.accuracy(difference) == verdict


def test_off_mnist_everything_is_open():
    rows = [["a", "1", "2", "agreeing"]]
    assert "agreeing" in published.compared(["x", "published", "ours"], rows, "mnist")
    assert "agreeing" not in published.compared(["x", "published", "ours"], rows, "digits")


def arms(powers: tuple[float, float, float], accuracy: float = 1.0) -> dict:
    """Beside the first, an arm for each of B, μ, λ doubled, whose ranks follow the given powers of 2; and one with
    momentum and another learning rate, which differs in two things and so has no say."""
    base = np.array([16, 0.1, 5e-3, 0.0])
    doubled = [base * np.where(np.arange(4) == each, 2, 1) for each in range(3)]
    varied = np.stack([base, *doubled, [16, 0.01, 5e-3, 0.9]])
    ranks = np.append(50 * 2.0 ** np.array([0, *powers]), 1.0)
    shaped = np.broadcast_to(ranks[:, None, None, None], (5, 2, 1, 2))
    return {
        "arms": varied,
        "bound": np.full((5, 2), 1000.0),
        "limits": np.array([256]),
        "ranks": {"weights": shaped, "learned": shaped},
        "history": {str(arm): {"train_accuracy": np.full((2, 1), accuracy)} for arm in range(5)},
    }


def test_galantis_directions_are_read_off_the_arms_that_differ_in_one_thing():
    found = arms((0.5, -0.5, 0.25))
    assert [bound.effect(found, column).mean for column in range(3)] == pytest.approx([0.5, -0.5, 0.25])
    lines = bound.published(found, "mnist").splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:6]] == [
        "open",  # no bound below the width
        "agreeing",
        "agreeing",
        "differing",
    ]


def test_collapsed_arms_say_nothing_of_galantis_directions():
    assert bound.effect(arms((0.5, -0.5, 0.25), accuracy=0.3), 0) is None


def test_an_exceeded_bound_does_not_agree():
    found = arms((0.5, -0.5, -0.5)) | {"bound": np.full((5, 2), 40.0)}
    assert bound.published(found, "mnist").splitlines()[2].split("|")[-2].strip() == "differing"
