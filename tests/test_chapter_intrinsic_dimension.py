"""Chapter 9: crossings by hand, and the chapter under `smoke`, top to bottom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstudy.chapters import li2018
from rankstudy.experiments import intrinsic_dimension, networks, study, subspaces

CHAPTER = Path(__file__).parents[1] / "report" / "09-intrinsic-dimension.qmd"


@pytest.fixture(scope="module", autouse=True)
def results(tmp_path_factory):
    """A store of its own, under `smoke`, for all tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        yield


@pytest.fixture(scope="module")
def chapter():
    from rankstudy.chapters.intrinsic_dimension import Chapter

    return Chapter()


def test_crossing_by_hand():
    found = intrinsic_dimension.crossing(
        [10, 20, 40], np.array([[0.1, 0.8, 1.0], [0.1, 0.5, 0.8], [0.95, 1.0, 1.0]]), np.full(3, 0.9)
    )
    np.testing.assert_allclose(found, [30, np.nan, np.nan])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(0.05, 1))
def test_crossing_lies_where_the_line_reaches_the_threshold(values, level):
    d = np.arange(1, len(values) + 1) * 10.0
    (found,) = intrinsic_dimension.crossing(d, np.array([values]), np.array([level]))
    if np.isnan(found):
        assert values[0] >= level or max(values) < level
    else:
        assert np.interp(found, d, values) == pytest.approx(level)
        assert all(value < level for value, at in zip(values, d, strict=True) if at < found)


def test_published_points_cross_where_the_paper_says():
    """Their d_int90 is the first dimension of their grid at or above 0.90: 750 for the first seed."""
    assert li2018.DIMENSION[(li2018.SEEDS[0] >= 0.9).argmax()] == li2018.D_INT90
    assert abs(li2018.SEEDS[1] - li2018.SEEDS[2]).max() <= 0.003  # why they count as one run
    assert li2018.at(np.array([750, 7])).shape == (2, 2) and np.isnan(li2018.at(np.array([7]))).all()


def test_a_stored_subspace_is_not_trained_again(monkeypatch):
    curve = study.settings("intrinsic_dimension").curve
    run = replace(curve.runs()[0], training=replace(curve.training, epochs=1, learning_rate=0.1))
    (first,) = subspaces.trained([run])
    monkeypatch.setattr(subspaces, "_train", lambda *_: pytest.fail("trained again"))
    (again,) = subspaces.trained([run])
    np.testing.assert_array_equal(first["train_loss"], again["train_loss"])


def test_runs_start_where_they_are_told():
    import torch

    curve = study.settings("intrinsic_dimension").curve
    start = networks.Run(curve.network, replace(curve.direct, epochs=1), curve.data, 7)
    run = replace(curve.runs()[1], seed=3, start=start)
    ended = networks.trained([start])[0].weights
    for weight, value in zip(subspaces._model(run).base.parameters(), ended, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    random = subspaces._model(replace(run, only_norm=True)).base
    for weight, value in zip(random.parameters(), ended, strict=True):
        assert weight.norm().item() == pytest.approx(np.linalg.norm(value), rel=1e-5)
        assert abs(np.corrcoef(weight.numpy().ravel(), value.ravel())[0, 1]) < 0.3
    biased = subspaces._model(replace(run, start=None, bias=True))
    assert sum(p.numel() for p in biased.base.parameters()) == 784 * 32 + 32 * 32 + 32 * 10 + 74
    assert torch.count_nonzero(biased.base.layers[0].bias) == 0


def test_accuracy_per_digit_adds_up():
    curve = study.settings("intrinsic_dimension").curve
    run = replace(curve.runs()[1], training=replace(curve.training, epochs=1, learning_rate=0.1), digits=True)
    (found,) = subspaces.trained([run])
    labels = networks.dataset_on_device(run.data).test.labels.numpy()
    shares = np.bincount(labels, minlength=10) / len(labels)
    np.testing.assert_allclose(found["observed.test_digits"] @ shares, found["test_accuracy"], atol=1e-6)


def test_rates_are_chosen_on_validation_data_with_another_seed():
    curve = study.settings("intrinsic_dimension").curve
    rates, evidence = subspaces.tune(curve.runs(), curve.learning_rates)
    best = evidence["validation_accuracy"].argmax(axis=1)
    assert rates == [curve.learning_rates[i] for i in best]
    assert networks.TUNING_SEED not in range(curve.seeds)


def test_every_claim_is_decided_and_printed(chapter):
    found = chapter.claims()
    assert len({claim.name for claim in found}) == len(found) >= 2
    assert "nan" not in str(chapter.conclusion())
    published = next(claim for claim in found if claim.name == "intrinsic-published-curve")
    assert published.verdict == "open"  # the stand-in is not MNIST


def test_text_is_ready_to_print(chapter):
    assert all(isinstance(value, str) and value and "nan" not in value for value in chapter.text.values())


def test_more_dimensions_are_better_and_all_are_best(chapter):
    accuracy = chapter.final("train").mean(axis=0)
    assert accuracy[0] < accuracy[-1] < chapter.curve["direct"]["train_accuracy"][:, -1].mean()


def test_the_chapter_executes(chapter):
    preview = pytest.importorskip("rankstudy.preview")
    preview.execute(CHAPTER)
