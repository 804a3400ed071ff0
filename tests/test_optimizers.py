"""Chapter 3's controls: what is observed, measured and compared, on matrices whose answer is known; and under smoke."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rankstudy import config, device, registry
from rankstudy.book import claims, results, told
from rankstudy.book import optimizers as view
from rankstudy.book.missing import Missing
from rankstudy.spectrum import effective_rank, outlier_rank, stable_rank
from rankstudy.study import engine, jobs, observers, questions, typed
from rankstudy.study.experiments import chance, dissection, optimizers, rank, training

ROUND = np.random.default_rng(0)


@pytest.fixture(scope="module", autouse=True)
def store(smoke_store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_RESULTS", str(smoke_store))
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        yield


@pytest.fixture(scope="module")
def found():
    return results.optimizers()


@pytest.fixture(scope="module")
def taken():
    return results.dissection()


def test_the_networks_are_those_of_chapters_2_and_3():
    assert optimizers.WIDTHS == training.WIDTHS and optimizers.DEEP == rank.DEEP
    assert dissection.FULL.base == training.FULL


def test_every_setting_is_trained_from_the_same_seeds_on_the_same_images():
    planned = optimizers.plan(optimizers.FULL)
    assert {run.seed for run in planned} == set(engine.seeds(10))
    assert len({(run.training.epochs, run.training.batch_size, run.training.schedule) for run in planned}) == 1
    assert {len(rates) for group in (optimizers.FULL.task2, optimizers.FULL.deep) for _, rates in group.rates} == {4}


def test_motion_is_what_it_says(found):
    """Of one stored run, measured again from its weights."""
    run = optimizers.runs(questions.settings("optimizers"), "task2")["adam"][0][0]
    (trained,) = engine.trained([run])
    top = []
    for layer, (w, w0) in enumerate(zip(trained.weights, trained.initial, strict=True)):
        update = (w - w0).astype(np.float64)
        for name, expected in (
            ("distance", np.linalg.norm(update) / np.linalg.norm(w0)),
            ("entropy_rank", effective_rank(update)),
            ("stable_rank", stable_rank(update)),
            ("outliers", outlier_rank(update, "entries")),
        ):
            assert trained.history[f"observed.{name}"][-1, layer] == pytest.approx(expected, rel=1e-4), name
            assert trained.history[f"observed.{name}"][0, layer] == 0
        u, _, vt = np.linalg.svd(w.astype(np.float64), full_matrices=False)
        right = trained.history[f"observed.right_{layer}"][-1]
        assert observers.overlap(vt[: right.shape[1]].T, right) == pytest.approx(1, abs=1e-3)
        top.append((u[:, :10], vt[:10].T))
    written, read = top[0][0], top[1][1]
    assert trained.history["observed.aligned"][-1, 0] == pytest.approx(observers.overlap(written, read), abs=1e-3)


def test_an_overlap_is_one_of_the_same_span_and_k_over_n_at_random():
    q = np.linalg.qr(ROUND.standard_normal((100, 20)))[0]
    turned = q @ np.linalg.qr(ROUND.standard_normal((20, 20)))[0]
    assert observers.overlap(q, turned) == pytest.approx(1)
    others = [np.linalg.qr(ROUND.standard_normal((100, 20)))[0] for _ in range(50)]
    assert np.mean([observers.overlap(q, each) for each in others]) == pytest.approx(0.2, abs=0.02)


def test_directions_settle_on_the_final_ones(found):
    for followed in found.task2.followed.values():
        np.testing.assert_allclose(followed.settled[:, :, -1], 1, atol=1e-5)
        assert (followed.settled > -1e-9).all() and (followed.settled <= 1 + 1e-5).all()


def test_outliers_are_counted_against_the_entries_in_random_order():
    noise = ROUND.standard_normal((60, 80))
    u, v = (np.linalg.qr(ROUND.standard_normal((side, 3)))[0] for side in (60, 80))
    assert chance.outliers(noise) <= 1 and chance.outliers(noise + 60 * u @ v.T) == 3
    assert chance.outliers(np.zeros((4, 5))) == 0


def test_random_errors_take_over_the_spectrum_of_the_inputs():
    """The inputs of each layer are those that the network computes; on narrow ones an update is narrow."""
    weights = [ROUND.standard_normal((30, 20)).astype(np.float32), ROUND.standard_normal((5, 30)).astype(np.float32)]
    images = ROUND.standard_normal((200, 20)).astype(np.float32)
    first, second = chance.inputs(weights, images)
    given = np.maximum(images @ weights[0].T, 0)
    np.testing.assert_allclose(first.values, np.linalg.svd(images, compute_uv=False), rtol=1e-4)
    np.testing.assert_allclose(second.values, np.linalg.svd(given, compute_uv=False), rtol=1e-4)
    narrow = images * 0.5 ** np.arange(20, dtype=np.float32)
    (steep,) = chance.inputs(weights[:1], narrow)
    assert chance.random_errors(steep, 30, 3) < 6 < chance.random_errors(first, 30, 3)


def followed(distance, entropy_rank, accuracy=None):
    """From (rates, networks, epochs + 1, layers) numbers; every training ends at full training accuracy."""
    distance, entropy_rank = np.asarray(distance, float), np.asarray(entropy_rank, float)
    shape = distance.shape[:3]
    accuracies = np.ones(shape) if accuracy is None else np.asarray(accuracy, float)
    history = engine.Histories(*[accuracies] * 6)
    flat, last = np.zeros(distance.shape), np.zeros((*shape[:2], distance.shape[3]))
    return optimizers.Followed(
        np.arange(1.0, shape[0] + 1), history, distance, entropy_rank, flat, flat, flat, flat, last, last, last
    )


def test_at_equal_distance_a_law_of_the_distance_alone_makes_no_difference():
    """Both optimisers on 50 + 10·log d, at other rates; a shift of one is found as it is, and layers are averaged."""
    slow, fast = (scale * np.geomspace(0.01, 1, 9) for scale in (0.3, 1.5))
    distance = np.stack([slow, fast])[:, None, :, None].repeat(2, axis=3)
    law = 50 + 10 * np.log(distance)
    a, b = followed(distance, law), followed(0.7 * distance, 50 + 10 * np.log(0.7 * distance) - [4, 8])
    assert view.equal_distance(a, a, [0, 1])[0] == pytest.approx(0, abs=1e-9)
    assert view.equal_distance(a, b, [0])[0] == pytest.approx(4, abs=1e-6)
    assert view.equal_distance(a, b, [0, 1])[0] == pytest.approx(6, abs=1e-6)
    far = followed(1000 * distance, law)
    assert np.isnan(view.equal_distance(a, far, [0]))[0]  # they never are equally far


def test_at_equal_distance_layers_of_one_training_are_compared():
    distance = np.geomspace(0.01, 1, 9)[None, None, :, None] * [1.0, 0.8, 0.5]
    law = 50 + 10 * np.log(distance) - 3 * np.arange(3)
    assert view.slopes(followed(distance, law), [0, 1, 2])[0, 0] == pytest.approx(-3, abs=1e-6)
    assert np.isnan(view.slopes(followed(distance * [1, 1, 1000], law), [0, 1, 2]))[0, 0]


def test_at_equal_accuracy_the_first_epoch_counts_that_has_it():
    distance = np.geomspace(0.01, 1, 4)[None, None, :, None].repeat(2, axis=0)
    ranks = np.array([[[[0.0], [10], [20], [30]]], [[[0.0], [40], [50], [60]]]])
    accuracy = np.array([[[0.1, 0.5, 0.95, 0.99]], [[0.1, 0.2, 0.3, 0.92]]])  # the second never gets there
    assert view.equal_accuracy(followed(distance, ranks, accuracy), [0]).tolist() == [20]
    both = np.array([[[0.1, 0.5, 0.95, 0.99]], [[0.1, 0.94, 0.3, 0.99]]])
    assert view.equal_accuracy(followed(distance, ranks, both), [0]).tolist() == [30]
    assert np.isnan(view.equal_accuracy(followed(distance, ranks, accuracy), [0], accuracy=1.0)).all()


def test_after_equal_epochs_the_rate_counts_that_validation_likes():
    distance = np.ones((2, 1, 3, 1))
    ranks = np.array([[[[0.0], [1], [2]]], [[[0.0], [3], [4]]]])
    accuracy = np.array([[[0.1, 0.9, 0.97]], [[0.1, 0.9, 0.95]]])
    assert view.equal_epochs(followed(distance, ranks, accuracy), [0]).tolist() == [2]


def test_what_did_not_train_decides_nothing():
    distance = np.geomspace(0.01, 1, 9)[None, None, :, None]
    poor = followed(distance, 50 + 0 * distance, np.full((1, 1, 9), 0.5))
    fine = followed(distance, 40 + 0 * distance)
    assert np.isnan(view.equal_distance(poor, fine, [0])).all() and np.isnan(view.slopes(poor, [0])).all()
    assert np.isnan(view.equal_epochs(poor, [0])).all()


def test_a_training_that_diverged_is_no_error(monkeypatch):
    settings = questions.settings("optimizers")
    run = replace(optimizers.runs(settings, "task2")["sgd"][0][0].at(1e6), seed=9001)
    (trained,) = engine.trained([run])
    assert trained.history["diverged"]
    assert np.isnan(jobs.answer(optimizers.Ended(run)).before).all()
    kept = optimizers.followed([[run]])
    assert not view.did_train(kept).any() and np.isnan(kept.settled[0, 0, 0]).all()


def test_muon_steps_matrices_and_trains_alone_on_a_gpu(monkeypatch):
    import torch

    if not registry.OPTIMIZERS["muon"].there():
        pytest.skip("this torch has no Muon")
    run = engine.Run(config.Network((784, 16, 10)), config.Training(1, optimizer="muon"), config.Data("digits"), 0)
    monkeypatch.setattr(device, "choose", lambda: torch.device("cuda"))
    monkeypatch.setattr(device, "free_memory", lambda where: 1e12)
    adam = [replace(run, training=config.Training(1), seed=seed) for seed in range(3)]
    muon = [replace(run, seed=seed) for seed in range(2)]
    assert engine._batches([*muon, *adam]) == [adam, [muon[0]], [muon[1]]]


def _orthonormal(rng, rows):
    return np.linalg.qr(rng.standard_normal((rows, 3)))[0]


def test_taken_apart_and_put_together_a_network_is_itself():
    """Rank-3 updates whose outliers are all there is: keeping them is the network, removing them is the start."""
    rng = np.random.default_rng(1)
    images, test = (rng.standard_normal((300, 40)).astype(np.float32) for _ in range(2))
    initial = [rng.standard_normal(shape).astype(np.float32) / 6 for shape in ((32, 40), (32, 32), (10, 32))]
    low = [20 * _orthonormal(rng, len(w)) @ _orthonormal(rng, w.shape[1]).T for w in initial]
    weights = [(w + part).astype(np.float32) for w, part in zip(initial, low, strict=True)]
    labels = dissection.outputs(weights, test)[-1].argmax(axis=1)
    found = dissection.probed(initial, weights, images, test, labels, 2)
    assert found.outliers_update[:2].tolist() == [3, 3] and found.scores[1] == 1
    np.testing.assert_allclose(found.exchanged["update_kept_outliers"], found.scores, atol=1e-3)
    np.testing.assert_allclose(found.exchanged["update_removed_outliers"], found.start, atol=1e-3)
    np.testing.assert_allclose(found.exchanged["update_kept_next"], found.start, atol=1e-3)
    assert found.deleted.tenths.shape == (3, 10, 2) and found.deleted.random.shape == (3, 2)
    assert (found.deleted.tenths[:, -1, 1] > found.deleted.tenths[:, 0, 1]).all()  # the top is what was learned


def test_what_a_truncation_leaves_out_is_shared_out_whole():
    """With no update all of it is the start; on inputs without direction outputs are as wrong as weights."""
    rng = np.random.default_rng(2)
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in ((32, 40), (10, 32))]
    white = rng.standard_normal((20_000, 40)).astype(np.float32)
    found = dissection.probed(weights, weights, white, white, np.zeros(20_000, int), 1).left_out
    assert found.start[0] == pytest.approx(1, abs=1e-5)
    assert found.outputs[0] == pytest.approx(found.weights[0], rel=0.02)
    assert found.unrelated[0] == pytest.approx(found.weights[0], rel=0.02)
    far = [w + 1000 * rng.standard_normal(w.shape).astype(np.float32) for w in weights]
    moved = dissection.probed(weights, far, white[:500], white[:500], np.zeros(500, int), 1).left_out
    assert abs(moved.start[0]) < 0.01


def test_the_results_are_whole_under_smoke(found, taken):
    for group in (found.task2, found.deep):
        layers = len(group.widths) - 1
        for each in group.followed.values():
            assert each.distance.shape == each.settled.shape == (*each.history.train_loss.shape, layers)
            assert each.shuffled.shape == (*each.distance.shape[:2], layers)
    assert found.classes.shuffled.shape == (3, 2, 4) and set(found.task2.followed) <= set(registry.OPTIMIZERS)
    assert taken.networks.scores.shape == (2, 2) and taken.without_tenth.shape == (2, 10)
    assert set(taken.networks.exchanged) == set(dissection.EXCHANGES)
    for result in (found, taken):
        judged = claims.judged(result)
        assert judged and all(each.verdict in claims.VERDICTS for each in judged)
        kind = questions.module(result.origin.experiment).Config.ANSWER
        stored = questions.result(result.origin.experiment)
        np.testing.assert_equal(typed.values(typed.result(kind, stored.value)), typed.values(stored.typed))


def test_a_control_that_is_not_published_yet_decides_nothing(taken):
    for family in ("optimizers", "dissection"):
        verdicts = {each.verdict for each in claims.judged(Missing(family))}
        assert verdicts == {"inconclusive"}
    shown = told.page(taken, Missing("optimizers"))
    assert '"optimizers-adam-sgd-distance": {"verdict": "inconclusive"' in shown
