"""Hypotheses are decided by their intervals, numbers print by one rule, results are typed and lose nothing."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re

import numpy as np
import pytest

from rankstudy.book import claims, listing, numbers, results, tables, told, views
from rankstudy.book.claims import Hypothesis, judge
from rankstudy.book.stats import Estimate, interval_text, short
from rankstudy.study import questions
from rankstudy.study.example import example_network


@pytest.fixture(scope="module", autouse=True)
def published():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "published")
        yield


@pytest.fixture(scope="module")
def rank():
    return results.rank()


def asked(expects, matters=0.0, scale=1.0, tier="secondary"):
    return Hypothesis("a", "A.", "rank", tier, expects, matters, "", scale, "sec-a", lambda _: None)


TIGHT = np.array([-0.1, 0.0, 0.1])  # Student's half-width 0.25


@pytest.mark.parametrize(
    ("expects", "matters", "values", "verdict"),
    [
        ("above", 0.0, 2 + TIGHT, "supported"),
        ("above", 0.0, -2 + TIGHT, "refuted"),
        ("above", 0.0, TIGHT, "inconclusive"),
        ("above", 3.0, 2 + TIGHT, "refuted"),
        ("above", 2.0, 2 + TIGHT, "inconclusive"),
        ("below", 0.0, -2 + TIGHT, "supported"),
        ("below", 0.0, 2 + TIGHT, "refuted"),
        ("below", 3.0, -2 + TIGHT, "refuted"),
        ("within", 1.0, TIGHT, "supported"),
        ("within", 1.0, 2 + TIGHT, "refuted"),
        ("within", 0.1, TIGHT, "inconclusive"),
        ("above", 0.0, np.array([2.0]), "inconclusive"),
        ("every", 0.0, np.array([True, True]), "supported"),
        ("every", 0.0, np.array([[True, False], [True, True]]), "refuted"),
        ("above", 0.0, None, "inconclusive"),
    ],
)
def test_the_interval_decides(expects, matters, values, verdict):
    assert judge(asked(expects, matters), values).verdict == verdict


def test_p_is_a_t_test_against_what_matters():
    from scipy.stats import ttest_1samp

    values = np.array([2.1, 2.6, 1.7, 2.2])
    for expects, limit in (("above", 1.0), ("below", -1.0)):
        assert judge(asked(expects, 1.0), values).p == pytest.approx(ttest_1samp(values, limit).pvalue, rel=1e-9)
    both = max(ttest_1samp(0.1 * values, 3.0).pvalue, ttest_1samp(0.1 * values, -3.0).pvalue)
    assert judge(asked("within", 3.0), 0.1 * values).p == pytest.approx(both, rel=1e-9)


def test_what_does_not_survive_the_correction_is_inconclusive():
    effect = Estimate(1.0, 0.5, 5)
    alone = [claims.Judged(asked("above"), "supported", effect, p=0.03)]
    assert claims.corrected(alone)[0].verdict == "supported"
    weak = claims.Judged(asked("above"), "supported", effect, p=0.9)
    several = claims.corrected([*alone, *[weak] * 3, claims.Judged(asked("every"), "supported", None, (2, 2))])
    assert [each.verdict for each in several] == ["inconclusive"] * 4 + ["supported"]
    assert several[0].p == pytest.approx(0.12) and several[-1].p is None
    first = claims.corrected([claims.Judged(asked("above", tier="primary"), "supported", effect, p=0.01)])[0]
    assert (first.verdict, first.p) == ("inconclusive", pytest.approx(0.08))  # one of the eight of the book
    described = claims.corrected([claims.Judged(asked("above", tier="descriptive"), "supported", effect, p=0.04)])[0]
    assert (described.verdict, described.p) == ("supported", None)


@pytest.mark.parametrize(
    ("expects", "matters", "values", "word"),
    [
        ("above", 3.0, 2 + TIGHT, "refuted: 3 would matter"),  # as expected, but too little
        ("below", 0.05, -0.01 + TIGHT / 100, "refuted: 0.05 would matter"),
        ("above", 3.0, -2 + TIGHT, "refuted"),
        ("above", 1.0, 2 + TIGHT, "supported"),
        ("within", 1.0, 2 + TIGHT, "refuted"),
        ("above", 0.0, None, "not measured yet"),
        ("every", 0.0, np.array([True, False]), "refuted"),
    ],
)
def test_a_verdict_says_what_it_is_about(expects, matters, values, word):
    found = judge(asked(expects, matters), values)
    assert found.word == word
    assert word in tables.hypotheses([found]).replace("\u00a0", " ")


def test_few_hypotheses_are_confirmatory():
    stated = [each for family in claims.FAMILIES for each in claims.stated(family)]
    tiers = [each.tier for each in stated]
    assert tiers.count("primary") <= claims.PRIMARY and tiers.count("secondary") <= 20


def test_layers_are_averaged_within_a_network_first():
    values = np.array([[0.0, 4.0], [1.0, 5.0], [2.0, 6.0]])
    found = judge(asked("above", scale=100), values)
    assert found.n == 3 and found.effect.mean == pytest.approx(300)


def test_two_hypotheses_cannot_share_an_id(monkeypatch):
    monkeypatch.setattr(claims, "REGISTRY", {})
    register = claims.hypothesis("twice", "S.", family="rank", expects="above", evidence="sec-a")
    register(lambda _: None)
    with pytest.raises(ValueError, match="two hypotheses 'twice'"):
        claims.hypothesis("twice", "S.", family="rank", expects="above", evidence="sec-a")
    with pytest.raises(ValueError, match="within matters = 0"):
        claims.hypothesis("other", "S.", family="rank", expects="within", evidence="sec-a")


def test_verdicts_can_be_planted(rank, monkeypatch):
    assert {each.verdict for each in claims.judged(rank, {"*": "refuted"})} == {"refuted"}
    monkeypatch.setenv(claims.PLANT, "rank-full=inconclusive")
    found = {each.hypothesis.id: each.verdict for each in claims.judged(rank)}
    assert found.pop("rank-full") == "inconclusive" and "supported" in found.values()
    monkeypatch.setenv(claims.PLANT, "false")
    with pytest.raises(ValueError, match="'false'"):
        claims.judged(rank)


@pytest.mark.parametrize("family", claims.FAMILIES)
def test_a_flipped_result_flips_its_verdict_and_not_its_sentence(family, rank):
    """Mutations of the result itself, for every hypothesis with an effect."""
    if family != "rank":
        pytest.skip("has no effect to flip")
    before = {each.hypothesis.id: each for each in claims.judged(rank)}
    group = rank.task2
    flipped = dataclasses.replace(
        rank, task2=dataclasses.replace(group, initial=group.update, update=group.initial, weights=group.initial)
    )
    after = {each.hypothesis.id: each for each in claims.judged(flipped)}
    assert (before["rank-update-lower"].verdict, after["rank-update-lower"].verdict) == ("supported", "refuted")
    assert after["rank-update-lower"].effect.mean == pytest.approx(-before["rank-update-lower"].effect.mean)
    assert after["rank-outliers"].verdict == "refuted"
    assert [a.hypothesis.sentence for a in after.values()] == [b.hypothesis.sentence for b in before.values()]


def test_a_condition_that_did_not_train_decides_nothing(rank):
    deep = rank.deep["relu"]
    history = dataclasses.replace(deep.history, train_accuracy=0 * deep.history.train_accuracy)
    untrained = dataclasses.replace(rank, deep={"relu": dataclasses.replace(deep, history=history)})
    found = {each.hypothesis.id: each for each in claims.judged(untrained)}
    assert found["rank-depth-update"].verdict == "inconclusive"
    assert found["rank-depth-update"].size() == "no result under this profile"


def test_what_a_profile_leaves_out_is_said_and_decides_nothing(rank):
    """As under `quick`, which has no variance-preserving condition."""
    fewer = dataclasses.replace(rank, matched={})
    found = {each.hypothesis.id: each for each in claims.judged(fewer)}
    assert found["rank-tanh-matched"].verdict == "inconclusive"
    assert "no result under this profile" in tables.hypotheses(list(found.values()))
    assert tables.conditions(fewer.matched) == "*Not run under this profile.*"


def test_the_typed_result_has_the_stored_numbers(rank):
    stored = questions.result("rank").value
    for matrix in ("initial", "weights", "update"):
        for field, name in (
            ("rank_float64", "elimination_float64"),
            ("entropy_rank", "effective_rank"),
            ("stable_rank", "stable_rank"),
            ("energy_rank_90", "energy_rank_90"),
            ("outliers", "outliers_initialisation"),
        ):
            for typed, nested in (
                (rank.task2, stored["base"]),
                *((rank.activations[name_], stored["shallow"][name_]) for name_ in stored["shallow"]),
                *((rank.deep[name_], stored["deep"][name_]) for name_ in stored["deep"]),
            ):
                got = getattr(getattr(typed, matrix), field)
                np.testing.assert_array_equal(got, nested["ranks"][matrix][name])
                assert got.shape == (typed.n, len(typed.shapes))
    np.testing.assert_array_equal(rank.pivots.partial_float32, stored["pivots"]["partial"]["float32"])
    np.testing.assert_array_equal(rank.copies["update"].shuffled, stored["nulls"]["update"]["shuffle"])
    np.testing.assert_array_equal(
        rank.activations["relu"].trajectory.update_entropy_rank,
        stored["shallow"]["relu"]["trajectory"]["update.effective_rank"],
    )
    assert (rank.known.partial, rank.known.rank) == (stored["textbook"]["rank_partial"], stored["textbook"]["rank"])
    assert rank.images.update("adam", "float64").rank_float64.tolist() == list(
        stored["inputs"]["adam_float64"]["rank_float64"]
    )
    training = results.training()
    np.testing.assert_array_equal(
        training.history.test_loss, questions.result("training").value["history"]["test_loss"]
    )


def test_every_field_of_a_result_says_its_shape_or_is_a_plain_value():
    for name, kind in [*inspect.getmembers(results, inspect.isclass), *inspect.getmembers(views, inspect.isclass)]:
        if not dataclasses.is_dataclass(kind) or kind.__module__ not in (results.__name__, views.__name__):
            continue
        source = inspect.getsource(kind)
        shared = re.search(r"\([a-z0-9 +,]*\)|\([a-z]+\([a-z, ]+\),\)", kind.__doc__ or "")
        for field in dataclasses.fields(kind):
            if field.type == "np.ndarray" and not shared:
                assert re.search(rf"^    {field.name}: np\.ndarray  # \(.*\)", source, re.M), f"{name}.{field.name}"


@pytest.mark.parametrize(
    ("values", "text", "tip"),
    [
        ([147.26, 145.9, 147.0], "147", "146.7 ± 1.8, n = 3"),
        ([194.5, 194.5], "194.5", "the same in all 2 networks"),
        ([9.66, 9.71, 9.64], "9.7", "9.670 ± 0.090, n = 3"),
        ([0.561, 0.555, 0.566], "0.56", "0.561 ± 0.014, n = 3"),
        ([3.0], "3", "one network, so no interval"),
    ],
)
def test_a_mean_prints_two_useful_digits_and_keeps_its_interval(values, text, tip):
    assert numbers.mean(np.array(values)).replace("\u00a0", " ") == f'[{text}]{{.number data-tip="{tip}"}}'


@pytest.mark.parametrize(
    ("values", "begins", "tip"),
    [
        ([0.984, 0.983, 0.985], "[98.4 %]", "98.40 ± 0.25 %"),
        ([0.99982, 0.99983, 0.9998], "[99.98 %]", "99.98 ± 0.01 %"),
        ([0.6707, 0.6708, 0.671], "[67 %]", "67.08 ± 0.04 %"),
        ([1.0, 0.9999, 1.0], "[99.99", "99.98 to 100 %"),
    ],
)
def test_a_percentage_has_two_decimals_at_most_and_never_leaves_its_range(values, begins, tip):
    found = numbers.percent(np.array(values)).replace("\u00a0", " ")
    assert found.startswith(begins[:-1]) and tip in found


def test_errors_and_points_say_the_same_change_in_the_readers_units():
    before, after = np.array([0.98, 0.98]), np.array([0.977, 0.977])
    assert numbers.points(after, before).startswith("[−0.3")
    assert numbers.errors(after, before).replace("\u00a0", " ").startswith("[+15 %]")
    assert numbers.ratio(after, before).startswith("[1.00]")
    assert numbers.less(after, before) != numbers.change(after, before)
    assert numbers.count_of(np.array([True, False])).replace("\u00a0", " ") == "1 of 2"
    assert numbers.spread(np.array([253, 256])) == "253 to 256" and numbers.spread(np.array([10, 10])) == "10"


@pytest.mark.parametrize("value", [0.00123, 0.56, 9.66, 13.4, 146.7, 12345.6, 0.0, -3.1])
def test_a_short_number_is_within_half_a_unit_of_its_last_digit(value):
    text = short(value).replace("−", "-").replace("\u202f", "")
    places = len(text.partition(".")[2])
    assert abs(float(text) - value) <= 0.5 * 10.0**-places + 1e-12


def test_an_interval_prints_by_one_rule_in_text_and_table():
    found = Estimate(849.2, 1470.3, 5)
    assert interval_text(found) == "849 ± 1\u202f470"
    assert "849\u00a0±\u00a01\u202f470" in tables.show(["", "x"], [["a", found]])
    assert interval_text(Estimate(1.0, math.nan, 1)) == "1"


def test_a_listing_is_the_code_itself():
    text = listing.listing("rank.rank_tolerance", docstring=False)
    assert 'file="rankstudy/rank.py"' in text and "def rank_tolerance(a: Any) -> Any:" in text
    shown = text.split("```python\n")[1].split("\n```")[0]
    assert "singular" not in shown and shown.splitlines()[-1].strip().startswith("return")
    _, source = listing.source("layers.LowRankLinear.forward")
    assert source.startswith("def forward(") and "return" in source
    for name, message in (
        ("rank.nothing", "defines no 'nothing'"),
        ("nowhere.f", "no module"),
        ("rank.eliminate", "at most"),
    ):
        with pytest.raises(ValueError, match=message):
            listing.listing(name)


def test_the_example_network_is_a_trained_one_of_full_rank():
    """What chapter 3 says of it: it is the same for every reader."""
    from rankstudy.rank import eliminate, matrix_rank, rank_tolerance
    from rankstudy.spectrum import effective_rank

    network = example_network()
    assert network.test_accuracy == network.origin["test_accuracy"] > 0.98
    for start, end in zip(network.initial, network.trained, strict=True):
        assert start.dtype == end.dtype == np.float32
        assert matrix_rank(end) == min(end.shape) == eliminate(end, tol=rank_tolerance(end)).rank
    start, end = network.initial[1], network.trained[1]
    shuffled = np.random.default_rng(0).permutation((end - start).ravel()).reshape(end.shape)
    assert effective_rank(end - start) < effective_rank(end) < effective_rank(start)
    assert effective_rank(shuffled) == pytest.approx(effective_rank(start), rel=0.02)


def test_a_page_is_told_verdicts_and_provenance(rank):
    text = told.page(rank, results.training())
    assert '"rank-full": {"verdict": "supported"' in text and '"training-reaches-95"' in text
    assert re.search(r'Published results of [^"]* · MNIST · ', text)
    origin = dataclasses.replace(rank.origin, data="digits", computed_under="smoke", profile="smoke", stale=True)
    assert "fallback data set" in told.provenance(origin) and "changed since" in told.provenance(origin)
    assert told.warning(origin).startswith("This is not MNIST") and told.warning(rank.origin) == ""
