"""Chapter 9: crossings by hand, and the chapter under `smoke`, top to bottom."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstudy.book.chapters import crossings, intrinsic_figures, intrinsic_published, li2018, rates
from rankstudy.book.chapters.intrinsic_networks import Ablations, Grid, final
from rankstudy.book.stats import estimate
from rankstudy.study import engine, questions, starts
from rankstudy.study.experiments import intrinsic_dimension, subspaces, transfer
from rankstudy.study.experiments.crossing import crossing

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
    from rankstudy.book.chapters.intrinsic_dimension import Chapter

    return Chapter()


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


def test_published_points_cross_where_the_paper_says():
    """Their d_int90 is the first dimension of their grid at or above 0.90: 750 for the first seed."""
    assert li2018.DIMENSION[(li2018.SEEDS[0] >= 0.9).argmax()] == li2018.D_INT90
    assert abs(li2018.SEEDS[1] - li2018.SEEDS[2]).max() <= 0.003  # why they count as one run
    assert li2018.at(np.array([750, 7])).shape == (2, 2) and np.isnan(li2018.at(np.array([7]))).all()


def test_a_stored_subspace_is_not_trained_again(monkeypatch):
    curve = questions.settings("intrinsic_dimension").curve
    run = replace(curve.runs()[0], training=replace(curve.training, epochs=1, learning_rate=0.1))
    (first,) = engine.trained([run])
    assert first.record.value["state"] == {}
    monkeypatch.setattr(engine, "_train", lambda *_: pytest.fail("trained again"))
    (again,) = engine.trained([run])
    np.testing.assert_array_equal(first.history["train_loss"], again.history["train_loss"])


def test_runs_start_where_they_are_told():
    import torch

    curve = questions.settings("intrinsic_dimension").curve
    start = engine.Run(curve.network, replace(curve.direct, epochs=1), curve.data, 7)
    run = replace(curve.runs()[1], seed=3, start=start)
    (found,) = engine.trained([start])

    def begun(**options):
        return starts.inside(starts.model(run.network, run.seed, **options), run.subspace, run.seed).base

    ended = found.weights
    for weight, value in zip(begun(source=found.model()).parameters(), ended, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    random = begun(source=found.model(), only_norm=True)
    for weight, value in zip(random.parameters(), ended, strict=True):
        assert weight.norm().item() == pytest.approx(np.linalg.norm(value), rel=1e-5)
        assert abs(np.corrcoef(weight.numpy().ravel(), value.ravel())[0, 1]) < 0.3
    biased = begun(source=None, bias=True)
    assert sum(p.numel() for p in biased.parameters()) == 784 * 32 + 32 * 32 + 32 * 10 + 74
    assert torch.count_nonzero(biased.layers[0].bias) == 0


def test_accuracy_per_digit_adds_up():
    curve = questions.settings("intrinsic_dimension").curve
    run = replace(curve.runs()[1], training=replace(curve.training, epochs=1, learning_rate=0.1), observe="digits")
    found = engine.trained([run])[0].history
    labels = engine.dataset_on_device(run.data).test.labels.numpy()
    shares = np.bincount(labels, minlength=10) / len(labels)
    np.testing.assert_allclose(found["observed.test_digits"] @ shares, found["test_accuracy"], atol=1e-6)


def test_rates_are_chosen_on_validation_data_with_another_seed():
    curve = questions.settings("intrinsic_dimension").curve
    rates, evidence = subspaces.tune(curve.asked())
    best = evidence.validation_accuracy.argmax(axis=1)
    assert rates == [curve.learning_rates[i] for i in best]
    assert engine.TUNING_SEED not in range(curve.seeds)


def test_every_claim_is_decided_and_printed(chapter):
    found = chapter.claims()
    assert len({claim.name for claim in found}) == len(found) >= 2
    assert "nan" not in str(chapter.conclusion())
    published = next(claim for claim in found if claim.name == "intrinsic-published-curve")
    assert published.verdict == "open"  # the stand-in is not MNIST


def test_text_is_ready_to_print(chapter):
    assert all(isinstance(value, str) and value and "nan" not in value for value in chapter.text.values())


def test_more_dimensions_are_better_and_all_are_best(chapter):
    accuracy = final(chapter.curve, "train").mean(axis=0)
    assert accuracy[0] < accuracy[-1] < chapter.curve["direct"]["train_accuracy"][:, -1].mean()


def test_the_chapter_executes(chapter):
    preview = pytest.importorskip("rankstudy.book.preview")
    preview.execute(CHAPTER)


def test_harmonic_mean_by_hand():
    digits = np.array([[1.0, 1.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(transfer.harmonic(digits, (2, 3)), [2 * 0.5 / 1.5, 0, 0])


def test_the_gap_is_measured_from_the_start_to_the_common_end():
    means = np.array(
        [[[0.0, 0.3, 0.45], [0.1, 0.2, 0.5]], [[0.0, 0.5, 0.9], [0.1, 0.9, 1.0]]]
    )  # (R, seeds, epochs + 1)
    np.testing.assert_allclose(transfer.gap_closed(means, np.array([0.9, 0.9])), [[0.5, 0.5], [1.0, 0.9 / 0.8]])


def test_every_arm_begins_where_it_should(chapter):
    """A network pre-trained on the old digits knows none of the new ones; all dimensions start from the same θ₀."""
    for arm in (*chapter.transfer.arms, *chapter.left_out.arms):
        for split in ("train", "validation", "test"):
            start = arm["mean"][split][:, :, 0]
            assert (start == start[:1]).all()
            assert (start == 0).all() or arm["origin"] in ("scratch", "norm")


def test_sizes_agree_with_what_they_count(chapter):
    """The rank that is enough keeps the accuracy, and ranks are ordered as their definitions say."""
    found = chapter.result["sizes"]
    assert (found["parameters"] == chapter.curve["parameters"]).all()
    assert (found["stable"] <= found["entropy"]).all() and (found["entropy"] <= found["numerical"]).all()
    assert (found["low_rank"] <= found["parameters"]).all() and (found["rank"] >= 1).all()
    assert (found["lora"] == 784 + 32 + 32 + 32 + 32 + 10).all()


@pytest.mark.parametrize(
    "values, level, expected",
    [
        ([[0.1, 0.2], [0.1, 0.3]], 0.9, "more than 40"),
        ([[0.95, 1.0], [0.92, 1.0]], 0.9, "at most 20"),
        ([[0.1, 0.95], [0.1, 0.2]], 0.9, "more than 40 for 1 of 2 seeds"),
        ([[0.1, 0.95], [0.95, 1.0]], 0.9, "at most 20 for 1 of 2 seeds"),
        ([[0.1, 0.2], [0.95, 1.0]], 0.9, "at most 20 for 1 of 2 seeds and more than 40 for 1 of 2 seeds"),
        ([[0.8, 1.0], [0.8, 1.0]], np.array([0.9, 0.9]), "30 ± 0"),
    ],
)
def test_a_crossing_that_is_not_there_says_on_which_side_it_lies(values, level, expected):
    values, d = np.array(values), np.array([20, 40])
    found = crossing(d, values, np.broadcast_to(level, 2))
    assert crossings.dimension_text(found, d, values, level) == expected


def curve(dimension: list[int], accuracy: list[list[float]], absolute: list[float] | None = None) -> dict:
    """A curve with (seeds, dimensions) test accuracies and its crossings of 0.90."""
    return {
        "dimension": np.array(dimension),
        "history": {"test_accuracy": np.array(accuracy).T[:, :, None]},
        "intrinsic": {"test": {"absolute": np.array(absolute if absolute else [np.nan] * len(accuracy))}},
    }


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ([-0.001, 0.0, 0.001], "explained by it"),
        ([-0.05, -0.04, -0.05], "open: between ours and ours with it"),
        ([-0.09, 0.0, 0.03], "differing"),  # no effect for certain
        ([0.021, 0.022, 0.021], "differing"),  # an effect, and not enough of one
    ],
)
def test_what_a_change_explains_is_decided_by_its_own_seeds(changed, verdict):
    theirs = li2018.at(np.array([200]))[:, 0].mean()
    main = curve([200], [[theirs + 0.03], [theirs + 0.031], [theirs + 0.03]])
    ablations = Ablations(main, {"it": curve([200], [[theirs + each] for each in changed])})
    difference = estimate(final(main, "test")[:, 0] - theirs)
    assert intrinsic_published.near(difference, 200, ablations) == verdict


@pytest.mark.parametrize(
    ("at_200", "further"), [([-0.05, -0.04, -0.05], True), ([-0.09, 0.0, 0.03], False), ([0.0, 0.001, 0.0], False)]
)
def test_a_change_that_explains_is_said_to_go_too_far_where_it_does(at_200, further):
    far, near, unchanged = (li2018.at(np.array([d])).mean() for d in (200, 300, 100))
    ours = [[far + 0.03, near + 0.03, unchanged + 0.04], [far + 0.031, near + 0.031, unchanged + 0.041]]
    main = curve([200, 300, 100], [*ours, ours[0]])
    changed = curve([200, 300], [[far + each, near + 0.001 * i] for i, each in enumerate(at_200)])
    ablations = Ablations(main, {"it": changed})
    theirs = {200: far, 300: near, 100: unchanged}
    differences = {d: estimate(final(main, "test")[:, i] - theirs[d]) for i, d in enumerate(theirs)}
    text = intrinsic_published.beside(differences, ablations, "mnist")
    assert "surely higher than the published mean at 3 and surely lower at 0" in text
    assert "explained at d = 300" in text or "explained at d = 200 and 300" in text
    assert ("At d = 200 the same change goes further" in text) == further
    assert "At d = 100 it was not run" in text
    assert "No change explains" in intrinsic_published.beside(differences, Ablations(main, {}), "mnist")
    assert "surely" not in intrinsic_published.beside(differences, ablations, "digits")


def test_ours_is_compared_at_every_dimension_that_both_have():
    """None is left out, a small one neither: `li2018` has 100, and not 7."""
    from rankstudy.book.chapters.intrinsic_dimension import Chapter

    found = Chapter.differences.func(SimpleNamespace(curve=curve([7, 100, 200], [[0.1, 0.6, 0.7], [0.1, 0.6, 0.8]])))
    assert list(found) == [100, 200]
    assert found[100].mean == pytest.approx(0.6 - li2018.at(np.array([100])).mean())


@pytest.mark.parametrize(
    ("direct", "verdict"),
    [([0.98, 0.981], "No: 1\u202f500"), ([0.8, 0.801], "More than all"), ([0.85, 0.95], "This run")],
)
def test_the_largest_subspace_is_told_beside_all_parameters(direct, verdict):
    from rankstudy.book.chapters.intrinsic_dimension import Chapter

    part = {**curve([200, 1500], [[0.7, 0.94], [0.7, 0.941]]), "direct": {"test_accuracy": np.array([direct]).T}}
    text = Chapter._all(SimpleNamespace(curve=part))
    assert text.startswith(verdict) and "94.05" in text and f"parameters {50 * sum(direct):.0f}" in text


def test_years_are_those_of_the_references(chapter):
    bib = (CHAPTER.parent / "references.bib").read_text(encoding="utf-8")
    for key, made in (("aghajanyan2020", chapter.aghajanyan()), ("li2018", chapter.li())):
        (entry,) = re.findall(rf"^@\w+\{{{key},.*$", bib, re.M)
        (year,) = re.findall(r"year=\{(\d{4})\}", entry)
        assert f"et al. {year}" in made


def test_each_dimension_is_told_with_its_data(chapter):
    """Claims rest on test data and show training data beside them; a bracket says which data it is of."""
    for claim in chapter.transfer.claims():
        assert "on test data" in claim.sentence
        assert "; test data: " in claim.evidence and "; training data: " in claim.evidence
    assert chapter.left_out_text().count("(training data: ") == 2


@pytest.mark.parametrize(
    ("own", "word"),
    [([-0.001, 0.0, 0.001], "agrees with"), ([-0.05, -0.04, -0.05], "differs from"), ([-0.09, 0.0, 0.03], "open")],
)
def test_the_sentence_on_the_published_weights_says_what_their_runs_say(own, word):
    theirs = li2018.at(np.array([200]))[:, 0].mean()
    changed = {"truncated He initialisation": curve([200, 300], [[theirs + each, 0.9] for each in own])}
    told = intrinsic_published.weights(Ablations(curve([200], [[0.8]] * 3), changed))
    assert word in told and "reaches 0.90" not in told


def test_the_sentence_on_the_published_weights_tells_how_far_they_move_the_crossing():
    accuracy = [[0.8]] * 3
    changed = {"truncated He initialisation": curve([200], accuracy, [700.0, 710.0, 690.0])}
    told = intrinsic_published.weights(Ablations(curve([200], accuracy, [600.0, 610.0, 590.0]), changed))
    assert "from 600 ± 25 to 700 ± 25 (change +100 ± 0, paired)" in told


@pytest.mark.parametrize(
    ("own", "verdicts", "verdict"),
    [
        ([760.0, 770.0, 765.0], {}, "explained by it"),
        ([760.0, np.nan, 765.0], {600: "explained by it", 750: "agreeing"}, "explained by it (rows above)"),
        ([760.0, np.nan, 765.0], {600: "explained by it", 750: "open"}, "differing"),
        ([760.0, np.nan, 765.0], {500: "explained by it", 750: "agreeing"}, "differing"),  # not between the two
    ],
)
def test_the_crossing_is_explained_by_its_own_seeds_or_by_the_rows_between(own, verdicts, verdict):
    accuracy = [[0.8]] * 3
    main = curve([200], accuracy, [590.0, 592.0, 591.0])
    ablations = Ablations(main, {"it": curve([200], accuracy, own)})
    found = estimate(main["intrinsic"]["test"]["absolute"])
    assert intrinsic_published.crosses(found, 749, 850, ablations, verdicts) == verdict


@pytest.mark.parametrize(
    ("other", "verdict"),
    [([600.0, 610.0], "holds"), ([600.0, 900.0], "open"), ([6000.0, 6001.0], "fails"), ([600.0], "open")],
)
def test_a_spread_is_decided_by_the_intervals(other, verdict):
    def network(found):
        return {"parameters": 10, "widths": [4, len(found), 2], **curve([200], [[0.8]] * len(found), found)}

    for first, second in (([590.0, 591.0], other), (other, [590.0, 591.0])):
        assert Grid(network(first), [1], [network(second)]).within() == verdict


def test_a_rate_at_the_edge_is_marked():
    tried = [0.1, np.nan, 0.3, 1.0]  # NaN: not tried for this arm
    assert [rates.at_edge(rate, tried) for rate in (0.1, 0.3, 1.0)] == [True, False, True]
    assert not rates.at_edge(0.1, [0.1, np.nan]) and not rates.at_edge(0.1, ())
    assert rates.mark(True) and not rates.mark(False)


def test_a_ratio_is_printed_as_a_factor():
    text = crossings.times_text(crossings.log_ratio([100, 120, 80], [200, 240, 160]))
    assert text == "0.50 (95 %: 0.50 to 0.50)"
    assert crossings.times_text(crossings.log_ratio([100, np.nan], [200, 240])) == "no value"


def test_every_profile_is_in_order():
    for settings in intrinsic_dimension.CONFIGS.values():
        curves = intrinsic_dimension._curves(settings)
        assert all(list(curve.dimensions) == sorted(set(curve.dimensions)) for curve in curves)
        assert {origin for origin, _ in settings.transfer.arms} <= set(transfer.ORIGINS)
        main = set(settings.curve.dimensions)
        assert all(
            set(changed.dimensions) <= main and changed.seeds <= settings.curve.seeds
            for _, changed in settings.ablations
        )


@pytest.mark.parametrize("count", [1, 3, 4, 5, 7])
def test_learning_curves_are_never_more_than_three_abreast(count):
    curves = dict.fromkeys(intrinsic_figures.STYLES, np.ones((1, 2, 3)))
    arm = {"dimension": np.array([5]), "loss": curves, "score": curves}
    figure = intrinsic_figures.learning({f"arm {i}": arm for i in range(count)})
    drawn = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title() for axis in drawn if axis.get_title()] == [f"arm {i}" for i in range(count)]
    assert len(drawn) == 2 * count
    assert "×" not in "".join(label.get_text() for axis in drawn for label in axis.get_yticklabels(which="both"))
    assert max(axis.get_subplotspec().get_gridspec().ncols for axis in drawn) <= 3


@pytest.mark.parametrize(
    ("points", "verdict"), [((0.001, -0.001), "holds"), ((0.05, -0.03), "open"), ((0.05, 0.052), "fails")]
)
def test_each_verdict_on_the_published_curve_can_be_told(points, verdict):
    from rankstudy.book.chapters.intrinsic_dimension import Chapter

    found = SimpleNamespace(differences={750: estimate(points)}, seeds=2, result=SimpleNamespace(data="mnist"))
    claim = Chapter._near_published(found)
    assert (claim.verdict, "surely so at d = 750" in claim.sentence) == (verdict, verdict == "fails")
