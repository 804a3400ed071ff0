"""Chapter 3: the battery on trained networks, the matched gain, and the chapter under `smoke`, top to bottom."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rankstudy import registry
from rankstudy.book import claims, notebook
from rankstudy.book import results as typed_results
from rankstudy.config import Network
from rankstudy.registry import ACTIVATIONS
from rankstudy.spectrum import Spectrum, effective_rank, numerical_rank, stable_rank
from rankstudy.study import engine, jobs, questions, typed
from rankstudy.study.experiments import arms, battery, features, inputs, rank, training

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def results(smoke_store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_RESULTS", str(smoke_store))
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        yield


@pytest.fixture(scope="module")
def result():
    return questions.result("rank")


@pytest.fixture(scope="module")
def found():
    settings = questions.settings("rank")
    return engine.trained(arms.runs(settings.shallow)["relu"][0])


def test_the_ranks_of_features_are_those_of_their_singular_values(found):
    measured = features.measure(found, 300)
    centred = measured.test.centred
    pictures = engine.dataset_on_device(found[0].run.data).test.images[: measured.images]
    for seed, each in enumerate(found):
        layers = [pictures, *each.model().features(pictures)]
        for index, layer in enumerate(layers):
            values = layer.detach().double().numpy()
            spectrum = Spectrum.of(values - values.mean(axis=0))
            assert centred.numerical_rank_float32[seed, index] == numerical_rank(spectrum, features.FLOAT32_EPS)
            assert centred.effective_rank[seed, index] == pytest.approx(effective_rank(spectrum), rel=1e-6)
            assert centred.stable_rank[seed, index] == pytest.approx(stable_rank(spectrum), rel=1e-6)


def test_an_arm_is_measured_once_and_its_record_is_known(result, monkeypatch):
    settings = questions.settings("rank")
    runs = tuple(arms.runs(settings.shallow)["relu"][0])
    arm = arms.Arm(runs, settings.images)
    record = jobs.record(arm)
    assert record is not None and questions.accepted(record)
    monkeypatch.setattr(arms.Arm, "compute", lambda self: pytest.fail("measured again"))
    again = jobs.answer(arm)
    for name, values in result["shallow"]["relu"]["ranks"]["update"].items():
        np.testing.assert_array_equal(getattr(again.ranks.update, name), values)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_matched_gain_keeps_the_size_of_the_signal(activation):
    """Behind many units with z ~ N(0, 1) the next layer has variance 1 again, within 4 standard errors."""
    from scipy.special import erf

    functions = {
        "relu": lambda z: np.maximum(z, 0),
        "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
        "gelu": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
        "tanh": np.tanh,
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "identity": lambda z: z,
    }
    generator = np.random.default_rng(0)
    width = 1000
    squares = functions[activation](generator.standard_normal(200_000)) ** 2
    gain = registry.ACTIVATIONS[activation].gain
    variance = gain**2 / 3 * squares.mean()
    assert abs(variance - 1) < 4 * gain**2 / 3 * squares.std() / np.sqrt(squares.size)
    std = battery.initial_std(Network((width, width), activation, gain=gain))[0]
    assert std**2 * width * squares.mean() == pytest.approx(variance)


def test_initial_std_is_that_of_the_weights_as_built():
    from rankstudy import layers

    network = Network((400, 300, 200), gain=1.5)
    for weight, std in zip(layers.weights(layers.build(network, 0)), battery.initial_std(network), strict=True):
        assert weight.std().item() == pytest.approx(std, rel=0.02)


def test_the_battery_measures_each_network_as_if_alone(found):
    together, alone = (typed.values(battery.measure(networks)) for networks in (found, found[1:]))
    for matrix in battery.MATRICES:
        for name, values in together[matrix].items():
            np.testing.assert_allclose(values[1], alone[matrix][name][0], rtol=1e-12, err_msg=name)


def test_the_battery_knows_the_three_matrices(found):
    measured = battery.measure(found)
    for seed, each in enumerate(found):
        for layer, (w, w0) in enumerate(zip(each.weights, each.initial, strict=True)):
            for matrix, a in (("weights", w), ("initial", w0), ("update", w - w0)):
                ranks = getattr(measured, matrix)
                assert ranks.elimination_float64[seed, layer] == np.linalg.matrix_rank(a.astype(float))
                assert ranks.stable_rank[seed, layer] == pytest.approx(stable_rank(a.astype(float)))
    assert (measured.weights.effective_rank <= measured.limits).all()


def test_a_chapter_compares_arms_on_equal_terms():
    """Arms of a group share data, epochs, initial weights and order of images."""
    for chosen in (rank.CONFIGS["full"].shallow, rank.CONFIGS["quick"].deep):
        planned = arms.plan(chosen)
        assert len({(run.data, run.training.epochs, run.network.widths, run.network.gain) for run in planned}) == 1


@pytest.mark.parametrize("profile", rank.CONFIGS)
def test_every_arm_trains_for_as_many_epochs_as_the_text_says(profile):
    settings = rank.CONFIGS[profile]
    groups = (settings.shallow, settings.deep, settings.matched)
    assert len({(group.training.epochs, group.data) for group in groups}) == 1


def test_a_null_finds_what_was_planted(found):
    """Random matrices rarely have an outlier; with a strong part of low rank they have some."""
    generator = np.random.default_rng(0)
    noise = [generator.standard_normal((64, 64)) for _ in range(2)]
    u, v = (np.linalg.qr(generator.standard_normal((64, 3)))[0] for _ in range(2))

    trained = SimpleNamespace(initial=noise, weights=[w + 100 * u @ v.T for w in noise])
    counted = battery.outliers([trained, trained])
    for null in battery.NULLS:
        assert (counted["initial"][null] <= 1).all()
        assert (counted["weights"][null] >= 1).all() and (counted["update"][null] >= 1).all()


def test_the_chapter_asks_of_its_first_networks_one_by_one_what_the_battery_asks_of_all(result):
    settings = questions.settings("rank")
    chosen = training.runs(settings.base)[0][: settings.null_seeds]
    nulls = result["nulls"]
    for seed, each in enumerate(chosen):
        alone = battery.outliers(engine.trained([each]))
        for matrix, null in itertools.product(battery.MATRICES, battery.NULLS):
            np.testing.assert_array_equal(nulls[matrix][null][seed], alone[matrix][null][0])
            assert nulls[matrix][null].shape == (settings.null_seeds, len(settings.base.network.shapes()))


def test_the_bounds_of_the_images_by_hand():
    """Four pixels: constant, equal to another one, and two of their own."""
    images = np.array([[1, 0, 0, 2], [1, 3, 3, 0], [1, 4, 4, 4], [1, 6, 6, 8], [1, 2, 2, 5]], dtype=np.float32)
    found = inputs.bounds(images)
    assert found == inputs.Bounds(rank_float64=3, rank_float32=3, constant=1, distinct=3, count=5)


def test_sgd_stays_in_the_span_of_the_images_and_adam_in_that_of_the_distinct_pixels(result):
    found = result["inputs"]
    assert (found["sgd_float64"]["rank_float64"] <= found["images"]["rank_float64"]).all()
    assert (found["adam_float64"]["rank_float64"] <= found["images"]["distinct"]).all()


def test_the_product_of_all_layers_is_what_a_linear_network_computes():
    import torch

    settings = questions.settings("rank")
    trained = engine.trained(arms.runs(settings.shallow)["identity"][0])[:1]
    product = np.linalg.multi_dot([w.astype(float) for w in reversed(trained[0].weights)])
    x = torch.randn(5, 784, generator=torch.Generator().manual_seed(0))
    logits = trained[0].model()(x).detach().numpy()
    np.testing.assert_allclose(x.numpy() @ product.T, logits, atol=1e-4)
    ranks = battery.products(trained)["weights"]
    assert ranks.effective_rank[0, -1] <= 10 and ranks.effective_rank.shape == (1, 4)


def test_the_textbook_counts_rounding_errors_as_rank():
    """512×392 of rank 250: one pivot too many with partial pivoting, on the matrix that `quick` shows."""
    found = rank.textbook(*rank.CONFIGS["quick"].textbook)
    assert found.rank_ours == found.rank_svd == found.rank == 250
    assert (found.partial[250:] > found.singular_values[250:]).mean() > 0.5


def test_pivots_are_counted_at_the_tolerance_of_each_precision():
    """Rank 3, rounded to float32: three pivots by that tolerance, and the rounding as well by the finer one."""
    generator = np.random.default_rng(0)
    low = (generator.standard_normal((20, 3)) @ generator.standard_normal((3, 30))).astype(np.float32)
    full = generator.standard_normal((4, 20)).astype(np.float32)
    counts = rank.pivots([SimpleNamespace(weights=[low, full])])
    for pivoting in ("partial", "complete"):
        assert counts[pivoting]["float32"].tolist() == [[3, 4]]
        assert counts[pivoting]["float64"].tolist() == [[20, 4]]


@pytest.mark.parametrize("page", ["03-rank.qmd", "evidence/03-rank.qmd"])
def test_the_page_and_its_evidence_are_whole_under_smoke(page, tmp_path):
    """Few networks, other shapes, the fallback data set: nothing is missing, and it says what it is."""
    shown = notebook.markdown(notebook.execute(ROOT / "report" / page), tmp_path)
    assert "nan" not in re.sub(r"[A-Za-z]nan|nan[A-Za-z]", "", shown) and "no value" not in shown
    assert "This is not MNIST" in shown and "rofile smoke" in shown


def test_hypotheses_are_decided_under_smoke():
    found = {each.hypothesis.id: each for each in claims.judged(typed_results.rank())}
    assert all(each.verdict in claims.VERDICTS for each in found.values())
    assert found["rank-images-bound"].verdict == "supported"  # a theorem
