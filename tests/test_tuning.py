"""Learning rates are tuned by a parabola through the mean of a few seeds, and a study is scaled and never cut."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstudy import config
from rankstudy.study import engine, questions
from rankstudy.study.profiles import Scale, scaled

RATES = engine.factor2(1e-3, 1.6e-2)


@given(st.floats(-6.5, -4.6), st.floats(0.01, 1), st.permutations(range(5)))
def test_the_vertex_of_a_parabola_is_found_to_two_digits(centre, curvature, order):
    """Wherever it lies between the rates, in whichever order they are given."""
    rates = np.array(RATES)[order]
    found, at_boundary = engine.peak(rates, 0.98 - curvature * (np.log(rates) - centre) ** 2)
    assert found == pytest.approx(np.exp(centre), rel=0.06) and not at_boundary


def test_at_the_boundary_the_best_rate_is_taken_and_said():
    assert engine.peak(RATES, [1, 2, 3, 4, 5]) == (1.6e-2, True)
    assert engine.peak(RATES, [5, 4, 3, 2, 1]) == (1e-3, True)
    assert engine.peak([3e-3], [0.9]) == (3e-3, False)


def test_what_diverged_is_never_chosen_and_bends_no_parabola():
    assert engine.peak(RATES, [0.9, 0.95, 0.96, np.nan, np.nan]) == (4e-3, False)
    assert engine.peak(RATES, [np.nan] * 5) == (1e-3, True)


@given(st.integers(0, 4), st.floats(-3, 3))
def test_equal_scores_and_shifts_change_nothing(best, shift):
    score = np.zeros(5)
    score[best] = 1
    assert engine.peak(RATES, score) == engine.peak(RATES, score + shift)
    assert engine.peak(RATES, np.ones(5))[0] == RATES[0]


def test_tuned_for_what_is_judged(monkeypatch, tmp_path):
    """Accuracy and loss may want different rates; seeds of their own, two at each rate."""
    run = engine.Run(config.Network((64, 8, 10)), config.Training(1), config.Data("digits", validation_size=200), 0)
    asked = engine.grid(run, RATES)
    assert {each.seed for each in asked} == {9000, 9001} and len(asked) == 10
    assert set(engine.seeds(50)).isdisjoint({each.seed for each in asked}) and min(engine.seeds(3)) == 100

    class Found:
        def __init__(self, each):
            rate = each.training.learning_rate
            self.history = {
                "validation_accuracy": [-((np.log(rate) - np.log(4e-3)) ** 2)],
                "validation_loss": [(np.log(rate) - np.log(2e-3)) ** 2],
            }

    monkeypatch.setattr(engine, "trained", lambda runs: [Found(each) for each in runs])
    assert engine.tune(run, RATES)[0] == pytest.approx(4e-3)
    rate, evidence = engine.tune(run, RATES, metric="loss")
    assert rate == pytest.approx(2e-3) and evidence.validation_loss.shape == (5, 2) and not evidence.at_boundary


@dataclasses.dataclass(frozen=True)
class Study:
    network: config.Network
    training: config.Training
    groups: tuple[config.Data, ...]
    seeds: int
    null_seeds: int
    warm_epochs: int
    learning_rates: tuple[float, ...]
    rates: tuple[tuple[str, tuple[float, ...]], ...]
    ranks: tuple[int, ...]


STUDY = Study(
    config.Network((784, 512, 512, 10), rank=8),
    config.Training(10, 64),
    (config.Data("mnist"), config.Data("mnist", train_size=100)),
    10,
    5,
    2,
    RATES,
    (("relu", RATES), ("tanh", RATES[:1])),
    (1, 2, 4, 8),
)


def test_scaled_is_the_same_with_less_of_each():
    small = scaled(STUDY, Scale(seeds=3, epochs=1, train_size=1000, width=64, rates=1))
    assert small == Study(
        config.Network((784, 64, 64, 10), rank=8),
        config.Training(1, 64),
        (config.Data("mnist", train_size=1000), config.Data("mnist", train_size=100)),
        3,
        3,
        1,
        (4e-3,),
        (("relu", (4e-3,)), ("tanh", RATES[:1])),
        (1, 2, 4, 8),
    )
    assert scaled(STUDY, Scale()) == STUDY


def test_an_experiment_has_a_chapter_and_a_chapter_its_experiments(monkeypatch):
    from rankstudy.study import contents

    monkeypatch.setattr(questions, "CONTROLS", {"decay": "04", "inputs": "03"})
    known = list(questions.known())
    assert known[known.index("rank") + 1] == "inputs" and known[known.index("overfitting") + 1] == "decay"
    assert contents.experiments(["3"]) == ["rank", "inputs"] and contents.number("inputs") == "03"
    assert contents.experiments(["report/04-overfitting.qmd"]) == ["overfitting", "decay"]
    assert contents.experiments(["decay"]) == ["decay"] and contents.experiments(["rank"]) == ["rank"]
    assert contents.experiments([]) == known == contents.experiments(["index"])
