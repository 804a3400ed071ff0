"""Chapter 6: what is asked, what is counted and timed, and what its hypotheses make of it."""

from __future__ import annotations

import mmap
from dataclasses import replace
from functools import partial
from itertools import groupby

import numpy as np
import pytest

from rankstudy import config
from rankstudy.book import claims, results
from rankstudy.book.low_rank_controls import BLOCK
from rankstudy.book.low_rank_training import USUAL
from rankstudy.study import engine
from rankstudy.study.experiments import inference, large_batches, low_rank_training, narrow
from rankstudy.study.experiments.low_rank_training import DENSE, PLAIN
from rankstudy.study.experiments.training import parameters


@pytest.fixture(scope="module")
def smoke(smoke_store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        patch.setenv("RANKSTUDY_RESULTS", str(smoke_store))
        yield patch


@pytest.fixture(scope="module")
def low_rank(smoke):
    return results.low_rank_training()


@pytest.fixture(scope="module")
def against(smoke):
    return results.narrow()


@pytest.fixture(scope="module")
def large(smoke):
    return results.large_batches()


def verdict(result, hypothesis: str) -> str:
    (found,) = (each for each in claims.judged(result, {}) if each.hypothesis.id == hypothesis)
    return found.verdict


# the chapter's own networks


def test_the_rank_comes_from_chapter_5(low_rank):
    assert low_rank.rank == results.approximation().rank
    assert low_rank.conditions[PLAIN].rank == low_rank.rank
    assert low_rank.conditions[DENSE].rank is None


def test_networks_whose_results_are_read_have_seeds_of_their_own(low_rank, against):
    for history in (low_rank.dense, low_rank.low_rank, *against.factorised.histories, *against.narrow.histories):
        assert min(history.seeds) >= engine.FIRST_SEED and engine.TUNING_SEED not in history.seeds


def test_formula_and_count_of_parameters_agree(low_rank):
    for held in low_rank.memory.values():
        assert held.parameters == held.formula == held.weights / inference.FLOAT
    assert low_rank.parameters == low_rank.rank * sum(out + inp for out, inp in low_rank.shapes)


def test_an_arm_that_begins_dense_trains_as_long_in_all():
    settings = low_rank_training.CONFIGS["smoke"]
    run = low_rank_training.make(low_rank_training.Arm("warm", start="warm"), settings, 4, 101)
    assert run.start is not None and run.start.network.rank is None and run.network.rank == 4
    assert run.training.epochs + run.start.training.epochs == settings.training.epochs
    assert run.start.seed == run.seed == 101


def test_dense_epochs_that_a_condition_begins_with_are_kept(low_rank):
    warm, trained = (low_rank.conditions[each] for each in ("dense warm-up, then low rank", "truncate, then fine-tune"))
    assert warm.dense_epochs + warm.history.epochs == low_rank.dense.epochs
    assert trained.dense_epochs > 0 and (trained.dense_seconds > 0).all()
    assert low_rank.conditions[PLAIN].dense_epochs == 0


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
@pytest.mark.parametrize("experiment", [low_rank_training, narrow], ids=lambda module: module.__name__[-6:])
def test_the_plan_names_every_training(experiment, profile):
    def at_no_rate(runs):
        return {replace(run, training=replace(run.training, learning_rate=0.0)) for run in runs}

    settings = experiment.CONFIGS[profile]
    rank = low_rank_training.approximation.known_rank(settings.approximation, settings.expected_rank)
    if experiment is narrow:
        asked = [run for _, each in narrow.conditions(settings, rank) for run in narrow.runs(settings, each)]
    else:
        seeds = engine.seeds(settings.seeds)
        asked = [low_rank_training.make(arm, settings, rank, seed) for arm in settings.arms for seed in seeds]
    assert at_no_rate(asked) <= at_no_rate(experiment.plan(settings))


def test_the_story_s_conditions_are_asked_under_every_profile():
    for settings in low_rank_training.CONFIGS.values():
        names = [arm.name for arm in settings.arms]
        assert len(set(names)) == len(names) and names[:2] == [DENSE, PLAIN]


def test_epochs_and_seconds_to_a_level_are_those_of_the_first_epoch_there(low_rank):
    reached = np.array([[0.1, 0.5, 0.96, 0.97, 0.97], [0.1, 0.96, 0.8, 0.96, 0.96]])
    seconds = np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 4.0, 6.0, 8.0]])
    history = replace(low_rank.dense, validation_accuracy=reached)
    each = replace(low_rank.conditions[DENSE], history=history, seconds=seconds)
    changed = replace(low_rank, conditions={DENSE: each, PLAIN: each})
    assert changed.level == 0.95
    assert list(changed.epochs(history)) == [2, 1] and list(changed.seconds(DENSE)) == [2.0, 2.0]


def test_no_common_level_means_no_epochs(low_rank):
    plain = low_rank.conditions[PLAIN]
    poor = replace(plain, history=replace(plain.history, validation_accuracy=0 * plain.history.validation_accuracy))
    never = replace(low_rank, conditions={**low_rank.conditions, PLAIN: poor})
    assert never.level is None and np.isnan(never.epochs(never.dense)).all() and np.isnan(never.seconds(PLAIN)).all()
    assert {verdict(never, each) for each in ("low-rank-slower", "low-rank-seconds")} == {"inconclusive"}


def test_a_changed_accuracy_changes_the_verdict(low_rank):
    def shifted(by: float):
        accuracy = np.array([[0.9, 0.9], [0.9, 0.901], [0.9, 0.899]])
        dense = replace(low_rank.dense, seeds=np.arange(3), test_accuracy=accuracy)
        lower = replace(dense, test_accuracy=accuracy + by + np.array([[0.0], [1e-5], [-1e-5]]))
        made = {DENSE: dense, PLAIN: lower}
        return replace(
            low_rank,
            conditions={name: replace(low_rank.conditions[name], history=history) for name, history in made.items()},
        )

    assert [verdict(shifted(by), "low-rank-costs-accuracy") for by in (-0.1, 0.1)] == ["supported", "refuted"]
    assert [verdict(shifted(by), "low-rank-within-half-a-point") for by in (-0.004, -0.006)] == ["supported", "refuted"]


# against fewer neurons


@pytest.mark.parametrize("rank", [1, 8, 32, 128])
def test_the_narrow_network_has_as_many_parameters_as_units_allow(rank):
    whole = config.Network((784, 1024, 1024, 1024, 10), rank=rank)
    width = narrow.as_large(whole).widths[1]
    wanted = parameters(whole)
    off = {w: abs(parameters(config.Network((784, w, w, w, 10))) - wanted) for w in (width - 1, width, width + 1) if w}
    assert min(off, key=off.__getitem__) == width
    assert off[width] / wanted < 0.02 or rank == 1


def test_both_kinds_are_tuned_alike_and_are_as_large(against):
    settings = narrow.CONFIGS["full"]
    assert len(settings.factorised_rates) == len(settings.narrow_rates)
    assert settings.seeds >= 10 and 1.0 in settings.scales
    for wanted, (inputs, width, *_, classes) in zip(against.factorised.parameters, against.narrow.widths, strict=True):
        sizes = [parameters(config.Network((inputs, w, w, w, classes))) for w in (width, width + 1)]
        assert abs(sizes[0] - wanted) <= (sizes[1] - sizes[0]) / 2  # what units allow; at a small rank that is 4 %
    assert [len(set(widths[1:-1])) for widths in against.narrow.widths] == [1] * len(against.ranks)
    assert against.ranks[against.at] == against.rank


def test_the_chapter_s_low_rank_networks_are_among_them():
    """So the two experiments share their trainings, and say the same of them."""
    chapter, beside = low_rank_training.CONFIGS["full"], narrow.CONFIGS["full"]
    plain = low_rank_training.make(chapter.arms[1], chapter, 32, 100)
    assert plain in narrow.runs(beside, plain.network)[:1] or plain.at(0.0) in [
        run.at(0.0) for run in narrow.runs(beside, plain.network)
    ]
    assert narrow.plan(beside)[0].data == plain.data and beside.factorised_rates == chapter.learning_rates


def test_images_read_right_add_up_to_the_accuracy(against):
    for kind in (against.factorised, against.narrow):
        np.testing.assert_allclose(kind.right.mean(axis=1), kind.scores.test_accuracy.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(against.image_gain.mean(axis=0), against.gain().mean(axis=0), atol=1e-9)


def test_every_network_is_timed_at_every_batch(against):
    shape = (len(against.ranks), len(against.batches), inference.BLOCKS)
    for kind in (against.factorised, against.narrow):
        assert kind.forward.shape == shape and kind.step.shape == (shape[0], shape[2])
        assert (kind.forward > 0).all() and (kind.step > 0).all()


def test_a_timed_training_step_leaves_the_weights():
    import torch

    from rankstudy import layers

    model = layers.build(config.Network((6, 5, 10)), 0)
    before = [weight.clone() for weight in layers.weights(model)]
    once = narrow.step(model, torch.randn(7, 6), config.Training(1))
    once()
    assert all(torch.equal(a, b) for a, b in zip(before, layers.weights(model), strict=True))
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize(("by", "expected"), [(0.004, "supported"), (0.0, "refuted"), (-0.004, "refuted")])
def test_the_primary_hypothesis_asks_for_a_tenth_of_a_point(against, by, expected):
    noise = np.linspace(-1e-4, 1e-4, 10)[:, None] * np.ones(len(against.ranks))
    scores = {kind: replace(getattr(against, kind).scores, test_accuracy=0.97 + noise) for kind in narrow.KINDS}
    scores["factorised"] = replace(scores["factorised"], test_accuracy=0.97 + by - noise)
    made = {kind: replace(getattr(against, kind), scores=scores[kind]) for kind in narrow.KINDS}
    assert verdict(replace(against, **made), "narrow-accuracy") == expected


# inference


def test_operations_and_bytes_at_full_size():
    shapes = [(1024, 1024)]
    assert inference.operations(shapes, None, 3) == 2 * 3 * 1024 * 1024
    assert inference.operations(shapes, None, 1) == 16 * inference.operations(shapes, 32, 1)
    assert inference.operations(shapes, 512, 1) == inference.operations(shapes, None, 1)  # break-even
    assert inference.moved(shapes, None, 1) == 4 * (1024 * 1024 + 2 * 1024)
    assert inference.moved(shapes, 32, 1) == 4 * (2 * 32 * 1024 + 2 * (1024 + 32))


def test_the_usual_batch_is_the_nearest_that_was_timed(low_rank):
    assert low_rank.batches[low_rank.usual] == 64
    many = replace(low_rank, batches=np.array([1, 64, 256, USUAL, 8192]))
    assert many.batches[many.usual] == USUAL


def test_calls_take_turns():
    order = []
    calls = {name: partial(order.append, name) for name in "ab"}
    found = inference.in_turns(calls, 1e-9)  # one call a block
    assert {name: times.shape for name, times in found.items()} == dict.fromkeys("ab", (inference.BLOCKS,))
    turns = [name for name, _ in groupby(order)]
    assert turns[-2 * inference.BLOCKS :] == ["a", "b"] * inference.BLOCKS


def test_a_compiled_network_is_timed_beside_the_others(monkeypatch):
    """By torch's tracer alone: a compiler behind it takes a minute and changes nothing here but the times."""
    import torch

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    setting = inference.Setting(config.Network((8, 6, 4)), (2,), (1, 3), 0.001, compiled=True)
    found = inference.times(setting)
    assert not any("compiled" in variant for variant in found.layer)
    compiled = {variant for variant in found.network if "compiled" in variant}
    assert compiled == {"dense, compiled", "rank 2, compiled"}
    for variant in compiled:
        assert found.network[variant].median.shape == (2,) and (found.network[variant].median > 0).all()


def test_where_nothing_can_be_compiled_that_is_said(monkeypatch, capsys):
    import torch

    def broken(model):
        def call(images):
            raise RuntimeError("no C++ compiler")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    found = inference.times(inference.Setting(config.Network((8, 6, 4)), (2,), (1,), 0.001, compiled=True))
    assert set(found.network) == {"dense", "merged", "rank 2"}
    assert "torch.compile does not work here: no C++ compiler" in capsys.readouterr().err


def test_merging_keeps_the_outputs():
    import torch

    from rankstudy import layers

    model = layers.build(config.Network((7, 6, 5), rank=3), 0)
    merged = inference.merged(model)
    images = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(merged(images).detach(), model(images).detach(), rtol=1e-4, atol=1e-6)


# large batches


def test_each_way_is_measured_in_a_process_of_its_own(large):
    for way in large_batches.WAYS:
        for network in large_batches.NETWORKS:
            assert large.seconds[way][network].shape == (1, 2) == large.faults[way][network].shape
            assert (large.seconds[way][network] > 0).all()


def test_no_small_batch_answers_for_large_ones(large):
    assert not large.large.any()
    assert {each.verdict for each in claims.judged(large, {})} == {"inconclusive"}


@pytest.mark.parametrize(
    ("user", "kept", "expected"),
    [(20_000, 0, "supported"), (5_000, 0, "refuted"), (20_000, 300, "refuted"), (np.nan, np.nan, "inconclusive")],
)
def test_faults_are_compared_with_the_pages_of_a_layer(large, user, kept, expected):
    shape = {"dense": np.zeros((2, 4)), "low rank": np.zeros((2, 4))}
    changed = replace(
        large,
        widths=(784, 1024, 10),
        batches=np.array([4096, BLOCK // 4096]),
        page=4096,
        seconds={way: {name: 1 + each for name, each in shape.items()} for way in large_batches.WAYS},
        faults={
            way: {name: count + each for name, each in shape.items()}
            for way, count in zip(large_batches.WAYS, (user, kept), strict=True)
        },
    )
    assert list(changed.large) == [False, True] and changed.outputs[1] / changed.page == 8192
    assert verdict(changed, "large-batches-faults") == expected


def test_page_faults_are_counted_where_memory_is_touched():
    """Memory straight from the system, since malloc may hand out again what was touched before, of any size."""
    before = large_batches.page_faults()
    if np.isnan(before):
        pytest.skip("this system does not count page faults")
    with mmap.mmap(-1, 2**24) as fresh:
        fresh.write(b"1" * len(fresh))
        assert large_batches.page_faults() - before > 0


# a control that is not published yet


def test_what_is_not_published_is_no_value(monkeypatch):
    from rankstudy.book import numbers, plots, tables, told
    from rankstudy.study import questions

    monkeypatch.setenv("RANKSTUDY_PROFILE", "published")
    there = {name: record for name, record in questions.published().items() if name != "narrow"}
    monkeypatch.setattr(questions, "published", lambda: there)
    gone = results.narrow()
    assert {each.verdict for each in claims.judged(gone, {})} == {"inconclusive"}
    assert '"narrow-accuracy": {"verdict": "inconclusive"' in told.page(results.low_rank_training(), gone)
    assert "no value" in numbers.mean(100 * gone.gain()[:, gone.at]) and numbers.fixed(gone.rank / 2) == "no value"
    assert tables.down("rank", gone.ranks, {"points": gone.gain()}) == "*Not run under this profile.*"
    assert plots.by_rank(gone.ranks, {"low rank": gone.gain()}, "points")._repr_markdown_().startswith("*Not run")
