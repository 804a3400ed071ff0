"""Chapter 4: the criterion by hand, paths against the engine's trainings, verdicts that follow, its pages."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rankstudy import config
from rankstudy.book import claims, notebook, paths, plots, results
from rankstudy.book.missing import Missing
from rankstudy.spectrum import Spectrum, effective_rank, input_baseline
from rankstudy.study import engine, questions
from rankstudy.study.experiments import baselines, decay, labels, overfitting
from rankstudy.study.experiments import paths as walking
from rankstudy.study.experiments.paths import Paths, Walk

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def smoke(smoke_store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_RESULTS", str(smoke_store))
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        yield


def verdicts(result) -> dict[str, str]:
    return {each.hypothesis.id: each.verdict for each in claims.judged(result)}


# the criterion


@pytest.mark.parametrize(
    ("train_accuracy", "test_loss", "expected"),
    [
        (0.999, [2.3, 1.0, 1.05], True),  # exactly at both bounds
        (0.9989, [2.3, 1.0, 1.5], False),  # better before, but not memorised
        (1.0, [2.3, 1.0, 1.04], False),  # memorised, but hardly worse
        (1.0, [0.5, 1.0, 1.01], False),  # the loss before training does not count
        (1.0, [2.3, 1.2, 0.9], False),  # still getting better
    ],
)
def test_the_criterion_by_hand(train_accuracy, test_loss, expected):
    accuracy, loss = np.array([[0.1, 0.9, train_accuracy]]), np.array([test_loss])
    assert overfitting.overfitted(accuracy, loss).tolist() == [expected]


# paths


def walk(**changes) -> Walk:
    small = Walk(config.Network((784, 32, 32, 10)), config.Training(3, 50), config.Data("digits", 200, 200), seed=4)
    return replace(small, **changes)


@pytest.mark.parametrize("training", [config.Training(3, 50), config.Training(3, 50, "adamw", weight_decay=1.0)])
def test_a_walk_ends_where_the_engine_ends(training):
    """The same steps on the same batches: to the bit."""
    asked = walk(training=training)
    path = walking.walked(asked)
    (alone,) = engine.trained([engine.Run(asked.network, training, asked.data, asked.seed)])
    for name in engine.METRICS:
        assert path.history[name][-1] == alone.history[name][-1]
    left = path.kept[-1]
    for layer, (w, w0) in enumerate(zip(alone.weights, alone.initial, strict=True)):
        learned = w.astype(float) - left * w0.astype(float)
        assert path.distance[-1, layer] == pytest.approx(np.linalg.norm(learned) / np.linalg.norm(w0))
        assert path.entropy_rank[-1, layer] == pytest.approx(effective_rank(learned))
        assert path.weights_entropy_rank[-1, layer] == pytest.approx(effective_rank(w.astype(float)))
        assert path.update_entropy_rank[-1, layer] == pytest.approx(effective_rank(w.astype(float) - w0.astype(float)))
    assert path.steps[0] == 1 and path.steps[-1] == 3 * 4 and (np.diff(path.steps) > 0).all()


def test_what_is_left_of_a_weight_is_what_torch_leaves():
    """Without gradients a step of AdamW is the decay alone."""
    import torch
    from torch.optim.lr_scheduler import LambdaLR

    from rankstudy.training import share_of_peak

    training, steps = config.Training(1, 50, "adamw", learning_rate=0.02, weight_decay=0.5), 40
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=0.02, weight_decay=0.5)
    schedule = LambdaLR(optimizer, share_of_peak(training, steps))
    expected = [1.0]
    for _ in range(steps):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        schedule.step()
        expected.append(weight.item())
    np.testing.assert_allclose(walking.kept(training, steps), expected, rtol=1e-12)
    assert (walking.kept(config.Training(1), steps) == 1).all()
    with pytest.raises(ValueError, match="optimizer must be adamw"):
        walking.kept(config.Training(1, weight_decay=0.1), steps)


def test_shuffled_labels_can_be_memorised_and_labels_drawn_anew_cannot():
    """Few images, many epochs; and the data set that others use keeps its labels."""
    asked = walk(data=config.Data("digits", 60, 200), training=config.Training(80, 10, learning_rate=3e-3))
    before = engine.dataset_on_device(asked.data).train.labels.clone()
    shuffled = walking.walked(replace(asked, data=replace(asked.data, shuffled_labels=1.0)))
    anew = walking.walked(replace(asked, anew=True))
    assert shuffled.history["train_accuracy"][-1] == 1
    assert anew.history["train_accuracy"][-1] < 0.6
    assert (engine.dataset_on_device(asked.data).train.labels == before).all()


@pytest.mark.parametrize("profile", labels.CONFIGS)
def test_conditions_differ_in_their_labels_alone(profile):
    settings = labels.CONFIGS[profile]
    for true, shuffled, anew in zip(*(settings.walks(name) for name in labels.CONDITIONS), strict=True):
        assert [replace(each, data=replace(each.data, shuffled_labels=0.0)) for each in shuffled] == true
        assert [replace(each, anew=False) for each in anew] == true and anew != true != shuffled
        assert [each.seed for each in true] == list(engine.seeds(settings.seeds))


@pytest.mark.parametrize("profile", decay.CONFIGS)
def test_weight_decay_is_all_that_differs(profile):
    settings = decay.CONFIGS[profile]
    assert settings.weight_decays[0] == 0 and len(settings.weight_decays) == 3
    none, *others = (settings.walks(each) for each in settings.weight_decays)
    for chosen in others:
        assert [replace(each, training=replace(each.training, weight_decay=0.0)) for each in chosen] == none


def made(distance: np.ndarray, rank: np.ndarray, left: float = 1.0) -> Paths:
    """Paths of networks, (networks, looks), in three equal layers."""
    d, r = (np.repeat(np.asarray(each, dtype=float)[:, :, None], 3, axis=2) for each in (distance, rank))
    none = np.zeros(d.shape[:2])
    history = engine.Histories(none, none + 1, none, none, none, none, seeds=np.arange(len(d)))
    return Paths(np.arange(d.shape[1]), history, np.full(d.shape[1], left), d, r, r, r, r)


def ranks(distance: np.ndarray) -> np.ndarray:
    return 100 + 20 * np.log(distance)


SLOW, FAST = np.geomspace(0.05, 0.9, 30)[None], np.geomspace(0.2, 2.0, 7)[None]


def test_the_same_way_at_another_speed_makes_no_difference():
    found = paths.at_equal_distance(made(FAST, ranks(FAST)), made(SLOW, ranks(SLOW)))
    np.testing.assert_allclose(found, 0, atol=1e-9)


def test_a_difference_at_equal_distance_is_found_whatever_the_epochs_say():
    higher, lower = made(SLOW, ranks(SLOW) + 7), made(FAST, ranks(FAST))
    assert higher.entropy_rank[0, -1, 0] < lower.entropy_rank[0, -1, 0]
    np.testing.assert_allclose(paths.at_equal_distance(higher, lower), 7)
    back = made(np.array([[0.2, 0.5, 0.4, 1.0]]), ranks(np.array([[0.2, 0.5, 0.5, 1.0]])) + np.array([[7, 7, 99, 7]]))
    np.testing.assert_allclose(paths.at_equal_distance(back, lower), 7)  # a step back is left out


def test_paths_that_do_not_meet_are_not_compared():
    near, far = np.array([[0.1, 0.2]]), np.array([[0.3, 0.4]])
    assert np.isnan(paths.at_equal_distance(made(near, near), made(far, far))).all()
    handful = np.array([[0.01, 0.09]])  # before NEAREST
    assert np.isnan(paths.at_equal_distance(made(handful, handful), made(handful, handful))).all()
    diverged = made(far * np.nan, far)
    assert np.isnan(paths.at_equal_distance(diverged, made(far, far))).all()
    some = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[9.0, np.nan], [9.0, 9.0]])]
    np.testing.assert_allclose(paths.over_rates(some, [0, 1]), [1.5, 3.5])
    assert paths.over_rates(some[1:], [0, 1]) is None


NOISE = 0.1 * np.arange(4)[:, None]


@pytest.mark.parametrize(("added", "verdict"), [(20, "supported"), (-20, "refuted"), (5, "inconclusive")])
def test_verdicts_on_labels_follow_the_ranks_at_equal_distance(added, verdict):
    found = results.labels()
    base = made(np.repeat(SLOW, 4, axis=0), ranks(SLOW) + NOISE)
    other = made(np.repeat(FAST, 4, axis=0), ranks(FAST) + added + 2 * NOISE - 0.15)
    view = replace(found, widths=(784, 8, 8, 8), true=(base,), shuffled=(other,), anew=(base,))
    asked = verdicts(view)
    assert asked["labels-shuffled-higher"] == asked["labels-memorising"] == asked["labels-first-layer"] == verdict
    assert asked["labels-memorised"] == "supported"  # of those made here


@pytest.mark.parametrize(("added", "verdict"), [(-20, "supported"), (20, "refuted")])
def test_verdicts_on_weight_decay_follow_what_was_learned(added, verdict):
    found = results.decay()
    base = made(np.repeat(SLOW, 4, axis=0), ranks(SLOW) + NOISE)
    other = made(np.repeat(FAST, 4, axis=0), ranks(FAST) + added + 2 * NOISE, left=0.4)
    view = replace(found, widths=(784, 8, 8, 8), paths=(base, base, other))
    assert verdicts(view)["decay-learned-lower"] == verdict
    assert verdicts(view)["decay-learned-little"] == "refuted"  # the same paths: not lower by what matters
    np.testing.assert_allclose(view.kept, [1, 1, 0.4])


# sizes


def test_the_baseline_is_that_of_the_networks_own_inputs():
    settings = questions.settings("overfitting")
    runs = overfitting.runs(settings)[0][:1]
    measured = baselines.Baselines(tuple(runs), 150).compute()
    (trained,) = engine.trained(runs)
    pictures = engine.dataset_on_device(settings.data).train.images[:150].double().numpy()
    given = [pictures]
    for weight in trained.weights[:-1]:
        given.append(np.maximum(given[-1] @ weight.T.astype(float), 0))
    for layer, (x, w) in enumerate(zip(given, trained.weights, strict=True)):
        alone = effective_rank(input_baseline(Spectrum.of(x), w.shape[0], draws=50, seed=1))
        spread = 5 * alone.std() / baselines.DRAWS**0.5  # of a mean of few draws
        assert measured.after[0, layer] == pytest.approx(alone.mean(), abs=spread) and spread < 0.25 * alone.mean()
    assert measured.before.shape == measured.after.shape and measured.before[0, 0] == measured.after[0, 0]
    assert (measured.before[0, 1:] != measured.after[0, 1:]).all()


def test_every_size_is_told_with_the_big_one_among_them():
    view = results.overfitting()
    assert [size.label for size in view.sizes] == ["3 × 16", "1 × 32", "3 × 32", "6 × 32", "3 × 64"]
    assert [size.label for size in view.widths] == ["3 × 16", "3 × 32", "3 × 64"] and view.deep.label == "6 × 32"
    assert view.sizes[0].parameters == 784 * 16 + 16 * 16 * 2 + 160
    assert view.narrower.label == "3 × 32" and view.by_size("excess").shape == (2, 5)
    np.testing.assert_array_equal(view.sizes[-1].excess, view.excess)
    assert all(size.baseline is not None for size in view.sizes)


def sized(view, squares, firsts, baseline=None):
    """The view with these shares of full rank in the square and the first layers of its three widths."""
    changed = []
    for size, square, first, random in zip(view.widths, squares, firsts, baseline or firsts, strict=True):
        share = np.tile([first, *[square] * 2, 0.9], (4, 1)) + 1e-3 * np.arange(4)[:, None]
        update = replace(size.update, entropy_rank=share * size.full_rank)
        after = np.tile([random, 0.5, 0.5, 0.9], (4, 1)) * size.full_rank
        history = replace(size.history, train_accuracy=np.ones((4, 3)), seeds=np.arange(4))
        errors = baselines.Baseline(before=after, after=after)
        changed.append(replace(size, update=update, history=history, baseline=errors))
    return replace(view, sizes=tuple(changed))


def test_claims_on_width_follow_the_layer_they_are_about():
    view = results.overfitting()
    found = verdicts(sized(view, (0.4, 0.5, 0.6), (0.7, 0.6, 0.5)))
    names = ("width-square", "big-square", "width-first", "big-first", "width-inputs")
    assert [found[f"overfitting-{name}"] for name in names] == ["refuted"] * 2 + ["supported"] * 3
    found = verdicts(sized(view, (0.6, 0.5, 0.4), (0.5, 0.6, 0.7), baseline=(0.5, 0.5, 0.5)))
    assert [found[f"overfitting-{name}"] for name in names] == ["supported"] * 2 + ["refuted"] * 3
    without = [replace(size, baseline=None) for size in view.sizes]
    assert verdicts(replace(view, sizes=tuple(without)))["overfitting-width-inputs"] == "inconclusive"


def test_the_turn_is_looked_for_after_training_began():
    view = results.overfitting()
    loss = np.tile([0.1, 0.9, 0.5, 0.6], (2, 1))
    accuracy = np.tile([0.1, 0.5, 0.7, 0.8], (2, 1))
    history = replace(view.big.history, test_loss=loss, test_accuracy=accuracy, seeds=np.arange(2))
    turned = replace(view, big=replace(view.big, history=history))
    assert turned.lowest.tolist() == [2, 2] and turned.accuracy_at_lowest.tolist() == [0.7, 0.7]
    assert verdicts(turned)["overfitting-accuracy-keeps"] == "supported"


# first edition and pages


def test_the_first_editions_results_can_still_be_read():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "published")
        view = results.overfitting()
    assert view.memorised.all() and view.observed.trajectory is not None and len(view.widths) == 3


@pytest.mark.parametrize("drawing", ["turn", "by_width", "learned_by_distance"])
def test_figures_draw_what_there_is(drawing):
    view, found = results.overfitting(), results.labels()
    made = {
        "turn": lambda: plots.turn(view.big.history),
        "by_width": lambda: plots.by_width(view.widths),
        "learned_by_distance": lambda: plots.learned_by_distance(found),
    }[drawing]()
    assert len(made.svgs()) == 2 and all("nan" not in each for each in made.svgs())
    assert not plots.learned_by_distance(Missing("labels")).svgs()


@pytest.mark.parametrize("page", ["04-overfitting.qmd", "evidence/04-overfitting.qmd"])
def test_the_page_and_its_evidence_are_whole_under_smoke(page, tmp_path):
    """Under few networks of other shapes: it says what it is."""
    shown = notebook.markdown(notebook.execute(ROOT / "report" / page), tmp_path)
    assert "nan" not in re.sub(r"[A-Za-z]nan|nan[A-Za-z]", "", shown) and "no value" not in shown
    assert "This is not MNIST" in shown and "rofile smoke" in shown
