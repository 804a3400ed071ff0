"""Chapter 5: it computes, is told and executes under smoke; its helpers keep their laws."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstudy import config, factorization
from rankstudy.book.chapters import statements as claims
from rankstudy.study import jobs
from rankstudy.study.experiments import approximation, overfitting, truncation
from rankstudy.study.questions import on

CHAPTER = Path(__file__).parents[1] / "report" / "05-approximation.qmd"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        patch.setenv("RANKSTUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield patch


@pytest.fixture(scope="module")
def chapter(results):
    from rankstudy.book.chapters.approximation import Chapter

    return Chapter()


def test_the_chapter_is_told_from_its_result(chapter):
    assert all(isinstance(value, str) and value for value in chapter.text.values())
    assert all(claim.verdict in claims.VERDICTS for claim in chapter.claims())
    drawn = (chapter.convergence, chapter.errors, chapter.accuracies, chapter.ways, chapter.spectra_figure)
    for draw in (*drawn, chapter.lengths.figure, chapter.lengths.curves):
        assert draw().axes
    told = (chapter.certificates, chapter.thresholds, chapter.criteria, chapter.allotments)
    for tell in (*told, chapter.lengths.rows):
        assert tell().count("\n") > 2


def test_what_was_named_in_advance_is_corrected_for_being_several(chapter):
    tested = [claim for claim in chapter.claims() if claim.confirmatory and np.isfinite(claim.p)]
    assert tested and all(claim.evidence.endswith("after Holm's correction") for claim in tested)


def test_the_player_is_well_formed_and_says_what_was_measured(chapter):
    """As XML, so that nothing is left open; every number at every stop is the result's."""
    from rankstudy.book.chapters import approximation_player

    page = ElementTree.fromstring(approximation_player.html(chapter))
    slider, ranks = page.find(".//input"), chapter.settings["sweep"]["ranks"]
    assert slider.attrib["type"] == "range" and int(slider.attrib["max"]) == len(ranks) - 1
    assert page.find(".//label").attrib["for"] == slider.attrib["id"]
    assert all(image.attrib["alt"] for image in page.iter("img"))
    stops = [stop["shown"] for stop in json.loads(page.find("script").text)]
    whole = chapter.full_rank
    for rank, stop, measured in zip(ranks, stops, chapter.result["truncated"][0, :, 1], strict=True):
        assert int(stop["rank"].split()[0]) == rank
        percents = [float(stop[split].removesuffix(" %")) for split in truncation.SPLITS]
        np.testing.assert_allclose(percents, 100 * measured, atol=0.0051)
        np.testing.assert_allclose(float(stop["error"]), chapter.bound("weights", 0, min(rank, whole))[0], atol=5.1e-4)
    start = stops[ranks.index(chapter.rank)]
    written = {entry.attrib["class"]: entry.text for entry in page.iter("dd")}
    assert written == {name: start[name] for name in written} and len(written) == 6
    assert page.find(".//b[@class='rank']").text == start["rank"] and int(slider.attrib["value"]) == ranks.index(
        chapter.rank
    )


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


def test_the_qmd_executes(results, chapter):
    from rankstudy.book.preview import execute

    execute(CHAPTER)


def test_sweeps_fit_together():
    for settings in approximation.CONFIGS.values():
        sweep = settings.sweep
        assert list(sweep.ranks) == sorted(set(sweep.ranks))
        assert {*sweep.compared, *sweep.sequential} <= set(sweep.ranks) and set(sweep.traced) <= set(sweep.alternating)
        assert max(sweep.ranks) >= max(min(shape) for shape in settings.overfitting.network.shapes())


def test_the_rank_is_chosen_on_validation_data_alone(chapter):
    result, tolerance = chapter.result, chapter.settings["tolerance"]
    ranks = list(chapter.settings["sweep"]["ranks"])
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


def test_truncations_alone_are_those_of_the_whole_sweep(chapter):
    settings = approximation.CONFIGS["smoke"]
    run = overfitting.runs(on(settings.overfitting, chapter.result.data))[0][0]
    alone = jobs.answer(truncation.Piece(run, settings.sweep.truncations()))
    whole = chapter.result
    np.testing.assert_array_equal(alone.truncated, whole["truncated"][0])
    np.testing.assert_array_equal(alone.original, whole["original"][0])
    np.testing.assert_array_equal(alone.update, whole["update"][0, 1::2])


def test_a_higher_rank_of_the_long_training_decides_the_claim(chapter, monkeypatch):
    def verdict(own_rank) -> str:
        monkeypatch.setitem(chapter.lengths.arms[-1], "own_rank", np.array(own_rank))
        monkeypatch.setitem(chapter.lengths.arms[0], "own_rank", np.array([8, 8]))
        return chapter.lengths.stated()[0].verdict

    assert [verdict([16, 16]), verdict([4, 4]), verdict([4, 16])] == ["holds", "fails", "open"]


def test_what_keeping_the_start_saves_decides_the_claim(chapter, monkeypatch):
    """Cutting only W − W₀ loses nothing in either arm; what cutting W loses, the verdict follows."""
    lengths = chapter.lengths
    tried = list(chapter.settings["sweep"]["ranks"]).index(lengths.above)

    def verdict(short: float, long: float) -> str:
        for arm, lost in ((lengths.arms[0], short), (lengths.arms[-1], long)):
            truncated, update = np.array(arm["truncated"]), np.array(arm["update"])
            truncated[:, tried, 1] = arm["original"][:, 1] - lost
            update[:, :, 1] = arm["original"][:, None, 1]
            monkeypatch.setitem(arm, "truncated", truncated)
            monkeypatch.setitem(arm, "update", update)
        return lengths.stated()[1].verdict

    assert [verdict(0.2, 0.1), verdict(0.1, 0.2), verdict(0.1, 0.1)] == ["holds", "fails", "open"]


def test_a_worse_cut_flips_the_claim(chapter, monkeypatch):
    def verdict(shift: float) -> str:
        index = list(chapter.settings["sweep"]["ranks"]).index(chapter.rank)
        truncated = np.array(chapter.result["truncated"])
        truncated[:, index, 1, 2] = chapter.original(2) + shift
        monkeypatch.setitem(chapter.result.value, "truncated", truncated)
        return {claim.name: claim.verdict for claim in chapter.claims()}["approximation-norm-misleads"]

    assert [verdict(0.0), verdict(-0.1)] == ["holds", "fails"]


def test_stored_spectra_and_fits_agree(chapter):
    """A certified error is never below the bound that the stored float32 spectrum gives."""
    fits = chapter.result["alternating"]["least_squares"]["error"]
    bound = chapter.average_error(np.array(chapter.settings["sweep"]["alternating"]))
    assert (fits.mean(axis=2) >= bound - 1e-5).all()


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
