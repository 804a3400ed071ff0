"""Chapter 5: it computes, is told and executes under smoke; its helpers keep their laws."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstudy import config, factorization
from rankstudy.book import claims, notebook
from rankstudy.book import results as told
from rankstudy.study import jobs, questions
from rankstudy.study.experiments import approximation, overfitting, truncation

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results(smoke_store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        patch.setenv("RANKSTUDY_RESULTS", str(smoke_store))
        yield patch


@pytest.fixture(scope="module")
def stored(results):
    return questions.result("approximation")


@pytest.fixture(scope="module")
def view(results):
    return told.approximation()


@pytest.fixture(scope="module")
def published():
    """The committed results of the full study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "published")
        return told.approximation()


def verdicts(view) -> dict[str, str]:
    return {each.hypothesis.id: each.verdict for each in claims.judged(view)}


def test_the_view_has_what_is_stored(published, view, stored):
    sweep = stored.config["sweep"]
    np.testing.assert_array_equal(view.full.test_accuracy, stored["original"][:, 1, 2])
    np.testing.assert_array_equal(view.truncated.train_loss, stored["truncated"][:, :, 0, 0])
    np.testing.assert_array_equal(view.ways["activation_aware"].validation_accuracy, stored["weighted"][:, :, 1, 1])
    assert view.rank == stored["rank"] and view.ranks[view.at] == view.rank and list(view.ranks) == list(sweep["ranks"])
    for found in (view, published):
        networks, ranks = found.truncated.test_accuracy.shape
        assert found.error.shape == found.update_error.shape == found.output_error.shape == (networks, ranks, 4)
        assert found.change("test").shape == (networks, ranks) and not found.change("test")[:, -1].any()
        assert found.gain("update").shape == found.gain("allocated").shape == (networks, len(found.compared))
        assert found.fits["least_squares"].ratio.min() >= 1 - 1e-6
        assert abs(found.images).max() == 1 and len(found.images) == ranks
        assert found.compared[found.below] < found.rank or found.below == 0


def test_errors_are_what_the_spectra_leave(published):
    """At a few ranks, by the definition: ‖W − BC‖² is the sum of the squared singular values beyond r."""
    for errors, kind in ((published.error, "weights"), (published.update_error, "update")):
        for rank in (1, 32, 512):
            for layer, values in enumerate(published.spectra[kind]):
                squares = values.astype(float) ** 2
                expected = np.sqrt(squares[:, rank:].sum(axis=1) / squares.sum(axis=1))
                np.testing.assert_allclose(errors[:, list(published.ranks).index(rank), layer], expected, atol=1e-6)
    np.testing.assert_allclose(published.average_error, published.error.sum(axis=2) / 4)


def test_a_rank_within_a_limit_is_the_smallest(published):
    (limit,) = published.average_error[:1, published.at].tolist()
    assert published.rank_within([limit + 1e-9])[0, 0] == published.rank
    assert published.rank_within([limit - 1e-9])[0, 0] == published.rank + 1
    assert published.rank_within([0.0], layer=3).max() == 10


def test_numbers_of_the_factors(published):
    dense, rank = 784 * 1024 + 2 * 1024**2 + 10 * 1024, published.rank
    factors = rank * (784 + 1024 + 2 * 2048 + 1034)
    assert published.numbers[published.at] == pytest.approx(factors / dense)


def test_a_mean_gain_is_the_area_between_the_curves(view):
    plain = view.truncated.test_accuracy[:, view.tried(view.compared)]
    better = dataclasses.replace(view.ways["update"], test_accuracy=plain + 0.03)
    shifted = dataclasses.replace(view, ways={**view.ways, "update": better})
    np.testing.assert_allclose(shifted.mean_gain("update"), 0.03)


def _scores(found, field, name, shift):
    scores = getattr(found, field)
    return dataclasses.replace(found, **{field: dataclasses.replace(scores, **{name: getattr(scores, name) + shift})})


def _ratio(found, times):
    fits = found.fits["least_squares"]
    return dataclasses.replace(found, fits={"least_squares": dataclasses.replace(fits, ratio=times * fits.ratio)})


def _way(found, name, shift):
    moved = dataclasses.replace(found.ways[name], test_accuracy=found.ways[name].test_accuracy + shift)
    return dataclasses.replace(found, ways={**found.ways, name: moved})


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("approximation-bound", lambda v: _ratio(v, 1.1)),
        ("approximation-half-point", lambda v: _scores(v, "truncated", "test_accuracy", -0.02)),
        ("approximation-error-large", lambda v: dataclasses.replace(v, error=0.1 * v.error)),
        ("approximation-update-error", lambda v: dataclasses.replace(v, update_error=2 * v.error)),
        ("approximation-output-error", lambda v: dataclasses.replace(v, output_error=2 * v.error)),
        ("approximation-weighted", lambda v: _way(v, "activation_aware", -0.2)),
        ("approximation-update", lambda v: _way(v, "update", -0.2)),
        ("approximation-allocated", lambda v: _way(v, "allocated", -0.2)),
        ("approximation-length-start", lambda v: _way(v, "update", 0.2)),
    ],
)  # fmt: skip
def test_a_flipped_result_flips_its_verdict(published, claim, change):
    assert verdicts(published)[claim] == "supported"
    assert verdicts(change(published))[claim] == "refuted"


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("approximation-weighted-below", lambda v, sign: _way(v, "activation_aware", 0.1 * sign)),
        ("approximation-update-below", lambda v, sign: _way(v, "update", 0.1 * sign)),
        ("approximation-denoises", lambda v, sign: _scores(v, "full", "test_accuracy", -0.1 * sign)),
        ("approximation-length", lambda v, sign: dataclasses.replace(v, own_rank=v.own_rank + 100 * sign)),
    ],
)
def test_what_is_open_can_be_decided(published, claim, change):
    found = [verdicts(each)[claim] for each in (published, change(published, 1), change(published, -1))]
    assert found == ["inconclusive", "supported", "refuted"]


@pytest.mark.parametrize("page", ["report/05-approximation.qmd", "report/evidence/05-approximation.qmd"])
def test_the_pages_execute(results, stored, tmp_path, page):
    shown = notebook.markdown(notebook.execute(ROOT / page), tmp_path)
    assert "no value" not in shown and "nan" not in shown.lower().replace("nano", "").split()


def test_pictures_are_rows_of_the_cut_matrix():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((20, 9)) * rng.uniform(1, 3, (20, 1))
    found = truncation.pictures(weight, factorization.truncated_svd(weight, 9), (2, 9, 30))
    rows = found.rows
    assert np.linalg.norm(weight[rows], axis=1).min() >= np.delete(np.linalg.norm(weight, axis=1), rows).max()
    largest = np.abs(weight[rows]).max(axis=1, keepdims=True)
    for images, rank in zip(found.images, (2, 9, 9), strict=True):
        cut = factorization.truncated_svd(weight, rank).product()[rows]
        np.testing.assert_allclose(images / truncation.STEPS, (cut / largest).clip(-1, 1), atol=0.51 / truncation.STEPS)


def test_sweeps_fit_together():
    for settings in approximation.CONFIGS.values():
        sweep = settings.sweep
        assert list(sweep.ranks) == sorted(set(sweep.ranks))
        assert {*sweep.compared, *sweep.sequential} <= set(sweep.ranks) and set(sweep.traced) <= set(sweep.alternating)
        assert max(sweep.ranks) >= max(min(shape) for shape in settings.overfitting.network.shapes())


def test_the_rank_is_chosen_on_validation_data_alone(stored):
    result, tolerance = stored, stored.config["tolerance"]
    ranks = list(stored.config["sweep"]["ranks"])
    lost = result["original"][:, None, 1, 1] - result["truncated"][:, :, 1, 1]
    for row, own in zip(lost, result["own_rank"], strict=True):
        index = ranks.index(own)
        assert (row[index:-1] <= tolerance + 1e-9).all()
        assert index == 0 or row[index - 1] > tolerance
    assert result["rank"] == max(result["own_rank"])


def test_shorter_trainings_differ_in_their_length_alone():
    for settings in approximation.CONFIGS.values():
        long, _ = overfitting.runs(settings.overfitting)
        assert settings.shorter and max(settings.shorter) < settings.overfitting.training.epochs
        for epochs, chosen in zip(settings.shorter, approximation.shorter(settings), strict=True):
            for run, full in zip(chosen, long, strict=True):
                assert run.training.epochs == epochs and run.training.schedule == full.training.schedule
                assert replace(run, training=full.training, observe=full.observe) == full


def test_truncations_alone_are_those_of_the_whole_sweep(stored):
    settings = approximation.CONFIGS["smoke"]
    run = overfitting.runs(questions.on(settings.overfitting, stored.data))[0][0]
    alone = jobs.answer(truncation.Piece(run, settings.sweep.truncations()))
    whole = stored
    np.testing.assert_array_equal(alone.truncated, whole["truncated"][0])
    np.testing.assert_array_equal(alone.original, whole["original"][0])
    np.testing.assert_array_equal(alone.update, whole["update"][0, 1::2])


def test_stored_spectra_and_fits_agree(stored, view):
    """A certified error is never below the bound that the stored float32 spectrum gives."""
    fits = stored["alternating"]["least_squares"]["error"]
    assert (fits >= view.error[:, view.tried(view.fitted)] - 1e-5).all()


@given(st.lists(st.lists(st.floats(-0.1, 1), min_size=5, max_size=5), min_size=1, max_size=3), st.floats(0, 0.5))
def test_enough_is_the_smallest_rank_that_stays_within_tolerance(rows, tolerance):
    ranks = (1, 2, 4, 8, 16)
    for row, found in zip(rows, approximation.enough(ranks, np.array(rows), tolerance), strict=True):
        index = ranks.index(found)
        assert all(value <= tolerance + 1e-12 for value in row[index:-1])
        if index:
            assert any(value > tolerance + 1e-12 for value in row[index - 1 : -1])


def test_the_budget_of_a_rank_is_what_it_costs_in_every_layer():
    weights = [np.zeros((4, 6)), np.zeros((4, 4)), np.zeros((2, 4))]
    assert [truncation.budget(weights, rank) for rank in (1, 3)] == [24, 3 * 10 + 3 * 8 + 2 * 6]


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_the_weighted_spectrum_is_that_of_the_outputs(shape):
    rng = np.random.default_rng(0)
    a, x = rng.standard_normal(shape), rng.standard_normal((30, shape[1]))
    factors = factorization.weighted_svd(a, min(shape), x)
    found = truncation.weighted_spectrum(factors, np.linalg.qr(x, mode="r"))
    np.testing.assert_allclose(found.values, np.linalg.svd(x @ a.T, compute_uv=False)[: min(shape)], rtol=1e-12)


def test_factors_at_full_rank_make_the_same_network():
    import torch

    from rankstudy import layers

    network = config.Network((9, 8, 7, 3))
    model = layers.build(network, 1)
    weights = [weight.numpy() for weight in layers.weights(model)]
    factors = [factorization.truncated_svd(weight, min(weight.shape)) for weight in weights]
    images = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    for cut in (truncation.cut(factors, 8), truncation.sequential(network, weights, images, 8)):
        rebuilt = truncation.assembled(network, cut)
        np.testing.assert_allclose(rebuilt(images).detach(), model(images).detach(), atol=1e-5)


def test_thin_factors_stay_apart():
    from rankstudy.layers import LowRankLinear

    network = config.Network((20, 20, 3))
    factors = [factorization.truncated_svd(np.eye(20), 4), factorization.truncated_svd(np.eye(3, 20), 3)]
    model = truncation.assembled(network, factors)
    assert isinstance(model.layers[0], LowRankLinear) and not isinstance(model.layers[1], LowRankLinear)


def test_layers_fitted_one_after_the_other_meet_compressed_inputs():
    """On these images, the sequential fit of the second layer is the best for what the cut first layer gives it."""
    import torch

    from rankstudy import layers

    network = config.Network((9, 8, 7, 3))
    weights = [weight.numpy() for weight in layers.weights(layers.build(network, 1))]
    images = torch.randn(50, 9, generator=torch.Generator().manual_seed(0))
    found = truncation.sequential(network, weights, images, 3)
    inputs = truncation.layer_inputs(truncation.assembled(network, [found[0], *weights[1:]]), images)[1]
    best = factorization.weighted_svd(weights[1], 3, inputs)
    np.testing.assert_allclose(found[1].product(), best.product(), atol=1e-5)
