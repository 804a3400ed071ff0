"""The appendix on intrinsic dimension: crossings by hand, starts that are what they are called, verdicts that flip."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstudy.book import claims, intrinsic, results
from rankstudy.book.intrinsic import Start, needed, ratio
from rankstudy.book.published import INTRINSIC, INTRINSIC_ACCURACY, INTRINSIC_DIMENSION
from rankstudy.study import engine, jobs, questions, starts
from rankstudy.study.experiments import intrinsic_dimension, subspaces, transfer
from rankstudy.study.experiments.crossing import crossing


@pytest.fixture(scope="module", autouse=True)
def smoke(smoke_store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_RESULTS", str(smoke_store))
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        yield


@pytest.fixture(scope="module")
def found(smoke):
    return results.intrinsic_dimension()


@pytest.fixture(scope="module")
def published():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "published")
        yield results.intrinsic_dimension()


def test_crossing_by_hand():
    found = crossing([10, 20, 40], np.array([[0.1, 0.8, 1.0], [0.1, 0.5, 0.8], [0.95, 1.0, 1.0]]), np.full(3, 0.9))
    np.testing.assert_allclose(found, [30, np.nan, np.nan])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(0.05, 1))
def test_crossing_lies_where_the_line_reaches_the_threshold(values, level):
    d = np.arange(1, len(values) + 1) * 10.0
    (found,) = crossing(d, np.array([values]), np.array([level]))
    if np.isnan(found):
        assert values[0] >= level or max(values) < level
    else:
        assert np.interp(found, d, values) == pytest.approx(level)
        assert all(value < level for value, at in zip(values, d, strict=True) if at < found)


def test_what_was_published_crosses_where_it_says():
    """Between the dimensions that are kept of the published grid."""
    absolute = crossing(INTRINSIC_DIMENSION, INTRINSIC_ACCURACY, np.full(2, 0.9))
    for at, exact in zip(absolute, INTRINSIC[0].absolute, strict=True):
        below, above = INTRINSIC_DIMENSION[INTRINSIC_DIMENSION < at].max(), INTRINSIC_DIMENSION.max()
        assert below - 50 <= exact <= above and abs(at - exact) < 120
    assert INTRINSIC[1].absolute == (750,) and INTRINSIC[1].network == "784–400–400–10"  # where the 750 belongs


# the experiment


def test_a_stored_subspace_is_not_trained_again(monkeypatch):
    curve = questions.settings("intrinsic_dimension").curve
    run = replace(curve.runs()[0], training=replace(curve.training, epochs=1, learning_rate=0.1))
    (first,) = engine.trained([run])
    assert first.record.value["state"] == {}
    monkeypatch.setattr(engine, "_train", lambda *_: pytest.fail("trained again"))
    (again,) = engine.trained([run])
    np.testing.assert_array_equal(first.history["train_loss"], again.history["train_loss"])


def test_biases_are_put_back_at_zero():
    import torch

    curve = questions.settings("intrinsic_dimension").curve
    run = curve.runs()[1]
    biased = starts.inside(starts.model(run.network, 3, None, bias=True), run.subspace, 3).base
    assert sum(p.numel() for p in biased.parameters()) == 784 * 32 + 32 * 32 + 32 * 10 + 74
    assert torch.count_nonzero(biased.layers[0].bias) == 0


def test_the_entries_of_a_start_are_the_trained_ones_in_random_order():
    moved = questions.settings("intrinsic_dimension").alone
    (seed,) = list(engine.seeds(1))
    run = moved.pretrained("entries").seeded(seed)
    (trained,) = engine.trained([run])
    start = moved.start("entries").seeded(seed)
    jobs.answers([start])
    (scrambled,) = engine.trained([start])
    for before, after in zip(trained.weights, scrambled.weights, strict=True):
        np.testing.assert_array_equal(np.sort(before.ravel()), np.sort(after.ravel()))
        assert abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 0.2
    (inside,) = engine.trained([moved.run("entries", moved.dimensions[0]).at(0.1).seeded(seed)])
    assert inside.run.start == start
    begun = starts.model(moved.network, seed, scrambled.model())
    for weight, value in zip(begun.parameters(), scrambled.weights, strict=True):
        np.testing.assert_array_equal(weight.detach().numpy(), value)


def test_every_start_has_the_same_left_to_learn(found):
    """The new digits alone: whatever knows other digits knows none of these; all dimensions start from the same θ₀."""
    result = questions.result("intrinsic_dimension").typed
    for arm in result.alone:
        for split in ("train", "validation", "test"):
            start = arm.mean[split][:, :, 0]
            assert (start == start[:1]).all()
            assert start.mean() < 0.05 or arm.origin in ("scratch", "entries")
            np.testing.assert_array_equal(arm.mean_all[split], result.alone[0].mean_all[split])
    assert list(found.alone) == [
        "pre-trained", "scratch", "shuffled", "entries", "pre-trained, scales", "scratch, scales",
    ]  # fmt: skip
    labels = engine.dataset_on_device(questions.settings("intrinsic_dimension").alone.data).test.labels
    assert set(labels.tolist()) == set(intrinsic_dimension.NEW)


def test_scores_by_hand():
    digits = np.array([[1.0, 1.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(transfer.score(digits, (2, 3)), [2 * 0.5 / 1.5, 0, 0])
    alone = np.array([[np.nan, np.nan, 0.5, 0.7]])
    np.testing.assert_allclose(transfer.score(alone, (2, 3)), [0.6])


def test_rates_are_tuned_on_two_seeds_that_no_result_uses():
    curve = questions.settings("intrinsic_dimension").curve
    asked = replace(curve, learning_rates=(0.1, 0.2, 0.4), dimensions=(100,)).asked()
    seeds = {run.seed for run in asked.grid()}
    assert len(seeds) == 2 and not seeds & set(engine.seeds(10)) and len(asked.grid()) == 6
    (rate,), evidence = subspaces.tune(asked)
    assert evidence.validation_accuracy.shape == (1, 3) and 0.1 <= rate <= 0.4


def test_every_profile_is_in_order():
    for settings in intrinsic_dimension.CONFIGS.values():
        for curve in intrinsic_dimension._curves(settings):
            assert list(curve.dimensions) == sorted(set(curve.dimensions))
        for moved in intrinsic_dimension._transfers(settings):
            assert {origin for origin, _ in moved.arms} <= set(transfer.ORIGINS)
            assert {("pre-trained", False), ("scratch", False)} <= set(moved.arms)
    assert set(intrinsic_dimension.NEW) == set(intrinsic_dimension.CONFIGS["full"].alone.data.only)


# what the page reads


def test_more_dimensions_are_better_and_all_are_best(found, published):
    accuracy = found.curve.train_accuracy.mean(axis=0)
    assert accuracy[0] < accuracy[-1]
    full = published.curve.train_accuracy.mean(axis=0)
    assert (np.diff(full) > 0).all() and full[-1] < published.curve.direct.train_accuracy[:, -1].mean()


def test_the_committed_record_is_read_as_it_was_written(published):
    """An older design, in which the new digits never came alone: what it has not is not measured."""
    stored = questions.published()["intrinsic_dimension"].value
    np.testing.assert_allclose(published.curve.absolute, stored["curve"]["intrinsic"]["test"]["absolute"])
    np.testing.assert_allclose(published.curve.relative, stored["curve"]["intrinsic"]["test"]["relative"])
    judged = {each.hypothesis.id: each for each in claims.judged(published, planted={})}
    if not published.alone:
        assert judged["pretraining-alone"].verdict == "inconclusive" and judged["pretraining-alone"].effect is None
    assert np.isfinite(judged["pretraining-joint"].effect.mean)


@pytest.mark.parametrize(
    "values, expected",
    [
        ([[0.1, 0.2], [0.1, 0.3]], "more than 40"),
        ([[0.95, 1.0], [0.92, 1.0]], "at most 20"),
        ([[0.1, 0.95], [0.1, 0.2]], "not in every network"),
        ([[0.8, 1.0], [0.7, 1.0]], "30, 33"),
        ([[0.8, 1.0], [0.8, 1.0], [0.8, 1.0]], "30 ± 0"),
    ],
)
def test_a_crossing_that_is_not_there_says_on_which_side_it_lies(values, expected):
    values, d = np.array(values), np.array([20, 40])
    assert needed(crossing(d, values, np.full(len(values), 0.9)), d, values >= 0.9) == expected


def start(crosses: list[float]) -> Start:
    """Networks that reach a share of 0.9 at these dimensions, between 1 and 1000."""
    d = np.array([1, 1000])
    test = np.array([[0.9 - 1e-3 * (at - 1), 0.9 + 1e-3 * (1000 - at)] for at in crosses])
    return Start("", d, test, test, np.ones(len(crosses)))


@pytest.mark.parametrize(
    ("pretrained", "verdict"),
    [
        ([200.0, 210.0, 205.0] * 4, "supported"),
        ([390.0, 400.0, 410.0] * 4, "inconclusive"),
        ([800.0, 820.0, 810.0] * 4, "refuted"),
    ],
)
def test_pre_training_is_judged_by_the_new_digits_alone(found, pretrained, verdict):
    pair = {"pre-trained": start(pretrained), "scratch": start([500.0, 501.0, 502.0] * 4)}
    np.testing.assert_allclose(2 ** ratio(*pair.values(), 0.9)[:1], pretrained[0] / 500)
    judged = {each.hypothesis.id: each for each in claims.judged(dataclasses.replace(found, alone=pair), planted={})}
    assert judged["pretraining-alone"].verdict == verdict and judged["pretraining-alone"].n == 12
    assert judged["pretraining-entries"].effect is None  # that start was not run here
    other = {each.hypothesis.id: each for each in claims.judged(dataclasses.replace(found, joint=pair), planted={})}
    assert other["pretraining-joint"].verdict == verdict


def test_a_pair_of_which_one_does_not_cross_has_no_ratio():
    assert ratio(start([200.0, 5000.0]), start([200.0, 300.0]), 0.9) is None
    assert ratio(None, start([200.0, 300.0]), 0.9) is None


def test_the_table_has_our_rows_and_theirs(found, published):
    for each in (found, published):
        rows = each.dimensions()
        assert [row[1] for row in rows] == ["ours"] * (1 + len(each.others)) + ["published"] * len(INTRINSIC)
        assert len(each.starts(each.joint)) == len(each.joint)
    assert intrinsic.LEVELS == (0.8, 0.9, 0.95)
