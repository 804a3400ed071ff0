"""Chapter 7's answers say what the data say."""

from __future__ import annotations

import numpy as np
import pytest

from rankstudy.book.chapters import answers
from rankstudy.book.chapters.common import over
from rankstudy.book.chapters.crossings import NONE


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
