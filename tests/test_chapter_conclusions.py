"""Chapter 7's answers say what the data say."""

from __future__ import annotations

import numpy as np
import pytest

from rankstudy.book.chapters import answers
from rankstudy.book.chapters.common import over
from rankstudy.book.chapters.crossings import NONE


def arm(effective_rank: list[float], accuracy: float = 0.99) -> dict:
    """An arm of networks with two layers of full rank 100 whose updates have the effective rank given."""
    count = len(effective_rank)
    history = {f"{split}_accuracy": np.full((count, 2), accuracy) for split in ("train", "test")}
    ranks = {"limits": np.array([100, 100]), "update": {"effective_rank": np.tile(effective_rank, (2, 1)).T}}
    return {"history": history, "ranks": ranks}


@pytest.mark.parametrize(
    ("shuffled", "words"),
    [
        ([40.0, 42.0, 41.0], "what is learned matters"),
        ([10.0, 12.0, 11.0], "memorising did not take a higher rank"),
        ([10.0, 40.0, 20.0], "stay open"),
        ([40.0], "stay open"),
    ],
)
def test_the_explanation_follows_the_control(shuffled, words):
    """True labels at 20 to 22 % of full rank; shuffled ones above, below, or not to be told apart."""
    said = answers.why(arm([20.0, 22.0, 21.0]), arm(shuffled))
    endings = {"what is learned matters", "memorising did not take a higher rank", "stay open"}
    assert [ending for ending in endings if ending in said] == [words]
    assert f"n = {len(shuffled)}" in said and "training accuracy" in said and "test accuracy" in said


def test_labels_that_were_not_memorised_explain_nothing():
    said = answers.why(arm([20.0, 22.0, 21.0]), arm([40.0, 42.0, 41.0], accuracy=0.2))
    assert "not memorised" in said and "matters" not in said


def test_an_answer_names_its_networks_or_says_that_it_has_no_interval():
    assert over(5) == "mean ± 95 % interval over n = 5 networks"
    assert over(1) == "n = 1, so there is no interval"


def test_an_answer_on_fine_tuning_tells_the_ratio_only_where_there_is_one():
    class Lora:
        text = dict.fromkeys(
            [
                "middle",
                "over",
                "base_test",
                *(
                    f"{arm}_replay_{group}{split}"
                    for arm in ("lora", "full", "row")
                    for group in ("new", "old")
                    for split in ("", "_train")
                ),
            ],
            "x",
        )

    transfer = dict.fromkeys(["pre", "pre_train", "scratch", "scratch_train"], "10") | {"verdict": "V.", "seeds": "2"}
    assert "0.5 times as many" in answers._tuning(Lora, {**transfer, "times": "0.5"})
    assert "times as many" not in answers._tuning(Lora, {**transfer, "times": NONE})


@pytest.mark.parametrize(("ratios", "words"), [([1.0, 1.2], "none came closer"), ([0.9, 1.2], "1 came closer")])
def test_the_theorem_is_reported_as_checked(ratios, words):
    assert words in answers._svd({"competitors": 2, "ratios": np.array(ratios)})
