"""Chapter 6: it computes, is told and executes under smoke; its helpers keep their laws."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rankstudy import config
from rankstudy.book.chapters import low_rank_training_claims, rates
from rankstudy.book.chapters import statements as claims
from rankstudy.study import engine
from rankstudy.study.experiments import inference, low_rank_training
from rankstudy.study.experiments.low_rank_training import DENSE, PLAIN

CHAPTER = Path(__file__).parents[1] / "report" / "06-low-rank-training.qmd"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        patch.setenv("RANKSTUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield patch


@pytest.fixture(scope="module")
def chapter(results):
    from rankstudy.book.chapters.low_rank_training import Chapter

    return Chapter()


def test_what_was_named_in_advance_is_corrected_for_being_several(chapter):
    tested = [claim for claim in chapter.claims() if claim.confirmatory and np.isfinite(claim.p)]
    assert tested and all(claim.evidence.endswith("after Holm's correction") for claim in tested)


def test_the_chapter_is_told_from_its_result(chapter):
    assert all(isinstance(value, str) and value for value in chapter.text.values())
    assert all(claim.verdict in claims.VERDICTS for claim in chapter.claims())
    for draw in (
        chapter.curves,
        chapter.arms_figure,
        chapter.costs,
        chapter.ladder_figure,
        chapter.inference,
        chapter.speed,
    ):
        assert draw().axes
    for tell in (
        chapter.memory,
        chapter.accuracies,
        chapter.convergence,
        chapter.tuning,
        chapter.latencies,
        chapter.published,
    ):
        assert tell().count("\n") > 2


class TwoArms:
    """The epochs in which each network of two arms first reached each level."""

    networks = 3

    def __init__(self, dense, low):
        self.epochs = {DENSE: dense, PLAIN: low}

    def reached(self, name, level):
        return (self.epochs[name] if level <= 0.95 else []), []

    def history(self, name):
        return {"seeds": np.arange(3)}


@pytest.mark.parametrize(
    ("dense", "low", "words"),
    [
        ([2, 3, 2], [5, 6, 5], "needs more epochs"),
        ([5, 6, 5], [2, 3, 2], "needs fewer epochs"),
        ([2, 3, 2], [2, 2, 3], "not decided"),
        ([2, 3], [2, 2, 3], "Not every network reached a validation accuracy of 90 %"),
    ],
)
def test_convergence_is_told_as_it_was(dense, low, words):
    said = low_rank_training_claims.convergence(TwoArms(dense, low))
    assert words in said and ("95 %" in said or "90 %" in said)


def speeds(*medians, spread=0.1):
    speed = np.array(medians)
    return {"speedup": speed, "low": speed - spread, "high": speed + spread}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (speeds(2.0, 4.0, 8.0), "the highest at the largest batch"),
        (speeds(2.0, 8.0, 7.9), "not told apart"),
        (speeds(2.0, 8.0, 3.0), "lies between the ratio of bytes"),
        (speeds(2.0, 8.0, 1.0), "Why is open"),
    ],
)
def test_the_speed_at_the_largest_batch_is_told_as_it_was(found, words):
    said = low_rank_training_claims.largest_batch(np.array([1, 64, 1024]), found, 1.5, 12.0)
    assert words in said and ("likely" in said) == ("There it lies" in said)


@pytest.mark.parametrize(
    ("low", "high", "words"), [(1.1, 1.3, "gain more"), (0.7, 0.9, "costs more"), (0.9, 1.1, "neither")]
)
def test_the_speed_of_one_image_is_told_as_it_was(low, high, words):
    assert words in low_rank_training_claims.small_batch(1, (low + high) / 2, low, high)


def test_the_range_of_speeds_names_its_batches():
    said = low_rank_training_claims.speed_range(np.array([1, 8, 64]), np.array([2.0, 9.0, 0.5]))
    assert "0.5 (batch 64) to 9.0 (batch 8)" in said


def test_a_rate_at_the_edge_of_those_tried_is_named():
    tried = {"learning_rate": np.array([1e-3, 3e-3, 1e-2])}
    arms = {"warm": (1e-2, tried), "dense": (3e-3, tried), "fixed": (1e-3, {})}
    found = [
        name for name, (rate, tuning) in arms.items() if rates.arm_at_edge({"learning_rate": rate, "tuning": tuning})
    ]
    assert found == ["warm"] and rates.warning(found).endswith("in mind: warm.")
    assert "lies between others" in rates.warning([])
    assert rates.scores([1e-3, np.nan, 1e-2], [0.9, 0.1, 0.95], 1) == "0.001: 90.0 %; 0.01: 95.0 %"


class Finals:
    """Final accuracies of the four combinations of spectral initialisation and Frobenius decay."""

    rank = 4

    def __init__(self, **finals):
        self.finals = finals

    def final(self, name, split):
        return np.array(self.finals[name.replace(" ", "_")])


@pytest.mark.parametrize(
    ("both", "words"),
    [
        ((0.95, 0.951, 0.949), "adds more to (or takes less from)"),
        ((0.90, 0.901, 0.899), "adds less to (or takes more from)"),
        ((0.95, 0.90, 0.94), "does more or less"),
    ],
)
def test_main_effects_are_averages_and_the_interaction_is_a_difference_of_effects(both, words):
    finals = Finals(
        low_rank=(0.90, 0.901, 0.902),
        spectral=(0.91, 0.912, 0.911),
        decay=(0.92, 0.921, 0.922),
        **{"spectral_+_decay": both},
    )
    spectral, decay, interaction = low_rank_training_claims._factorial(finals)
    assert words in interaction.sentence and "with decay and" in interaction.evidence
    assert "averaged over" in spectral.sentence and "averaged over both initialisations" in decay.sentence


def test_the_qmd_executes(results, chapter):
    from rankstudy.book.preview import execute

    execute(CHAPTER)


def test_the_rank_comes_from_chapter_5(results, chapter):
    from rankstudy.study import questions

    assert chapter.rank == questions.result("approximation")["rank"]
    assert chapter.arms[PLAIN]["rank"] == chapter.rank
    assert chapter.arms[DENSE]["rank"] is None


def test_formula_and_count_of_parameters_agree(chapter):
    for held in chapter.result["memory"].values():
        assert held["parameters"] == held["formula"] == held["weights"] / inference.FLOAT


def test_dense_epochs_that_an_arm_begins_with_are_told(chapter):
    dense, own = chapter.epochs("trained")
    assert dense > 0 and f"{dense} dense epochs" in chapter.meanings() and f"{dense + own} in all" in chapter.meanings()
    (claim,) = (claim for claim in chapter.claims() if claim.name == "low-rank-trained")
    assert f"({dense} dense epochs, then {own} in low rank)" in claim.sentence
    assert f"{dense + own} epochs in all" in claim.evidence


def test_a_changed_accuracy_flips_the_claim(chapter, monkeypatch):
    def verdict(shift: float) -> str:
        accuracy = chapter.history(DENSE)["test_accuracy"]
        moved = {**chapter.arms[PLAIN], "history": {**chapter.history(PLAIN), "test_accuracy": accuracy + shift}}
        monkeypatch.setitem(chapter.arms, PLAIN, moved)
        found = {claim.name: claim.verdict for claim in chapter.claims()}
        return found["low-rank-costs-accuracy"]

    assert [verdict(-0.1), verdict(0.1)] == ["holds", "fails"]


def test_operations_and_bytes_at_full_size():
    shapes = [(1024, 1024)]
    assert inference.operations(shapes, None, 3) == 2 * 3 * 1024 * 1024
    assert inference.operations(shapes, None, 1) == 16 * inference.operations(shapes, 32, 1)
    assert inference.operations(shapes, 512, 1) == inference.operations(shapes, None, 1)  # break-even
    assert inference.moved(shapes, None, 1) == 4 * (1024 * 1024 + 2 * 1024)
    assert inference.moved(shapes, 32, 1) == 4 * (2 * 32 * 1024 + 2 * (1024 + 32))


def test_an_arm_that_begins_dense_trains_as_long_in_all():
    settings = low_rank_training.CONFIGS["smoke"]
    run = low_rank_training.make(low_rank_training.Arm("warm", start="warm"), settings, 4, 1)
    assert run.start is not None and run.start.network.rank is None and run.network.rank == 4
    assert run.training.epochs + run.start.training.epochs == settings.training.epochs
    assert run.start.seed == run.seed == 1


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
def test_the_plan_names_every_training(profile):
    settings = low_rank_training.CONFIGS[profile]
    plan = low_rank_training.plan(settings)
    planned = {replace(run, training=replace(run.training, learning_rate=0.0)) for run in plan}
    rank = low_rank_training.approximation.known_rank(settings.approximation, settings.expected_rank)
    for arm in settings.arms:
        for seed in range(settings.seeds):
            run = low_rank_training.make(arm, settings, rank, seed)
            assert replace(run, training=replace(run.training, learning_rate=0.0)) in planned
    assert engine.TUNING_SEED not in range(settings.seeds)


def test_names_of_arms_are_unique():
    for settings in low_rank_training.CONFIGS.values():
        names = [arm.name for arm in settings.arms]
        assert len(set(names)) == len(names) and {DENSE, PLAIN} <= set(names)


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

    from rankstudy import config, layers

    model = layers.build(config.Network((7, 6, 5), rank=3), 0)
    merged = inference.merged(model)
    images = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(merged(images).detach(), model(images).detach(), rtol=1e-4, atol=1e-6)
