"""Chapter 8 and what it computes with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankstudy import config, finetuning, layers, lora
from rankstudy.book import preview
from rankstudy.book.chapters import lora_claims
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.lora import Chapter
from rankstudy.book.chapters.lora_accuracies import MATCHED, Accuracies, kept
from rankstudy.book.chapters.lora_costs import Costs
from rankstudy.book.stats import Estimate
from rankstudy.data import Split
from rankstudy.study.experiments import lora as experiment
from rankstudy.study.experiments import updates
from rankstudy.study.experiments.blocks import Finetuning, harmonic

CHAPTER = Path(__file__).parents[1] / "report" / "08-lora.qmd"
WIDTHS = (20, 16, 12, 10)


@pytest.fixture(scope="module")
def chapter(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        yield Chapter()


def network(seed: int = 0) -> layers.MLP:
    return layers.build(config.Network(WIDTHS), seed)


def images(count: int = 200, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    centres = torch.randn(10, WIDTHS[0], generator=generator)
    return Split(centres[labels] + 0.3 * torch.randn(count, WIDTHS[0], generator=generator), labels)


# the chapter


def test_the_chapter_runs_from_top_to_bottom(chapter):
    preview.execute(CHAPTER)
    assert os.environ["RANKSTUDY_PROFILE"] == "smoke"


def test_every_claim_has_a_verdict_and_no_two_share_a_name(chapter):
    found = chapter.claims()
    assert len({claim.name for claim in found}) == len(found) >= 12


def test_what_was_named_in_advance_is_corrected_for_being_several(chapter):
    tested = [claim for claim in chapter.claims() if claim.confirmatory and np.isfinite(claim.p)]
    assert tested and all(claim.evidence.endswith("after Holm's correction") for claim in tested)


def test_every_text_is_ready_to_print(chapter):
    for name, text in {**chapter.text, **chapter.costs.text, **chapter.updates.text}.items():
        assert isinstance(text, str) and text and "nan" not in text and "np." not in text, name


def test_the_accuracies_are_those_of_the_confusions(chapter):
    """Overall accuracy is new and old accuracy, weighted by the images of each."""
    counts = chapter.result["confusion"][0, 0, :, 1].astype(int)  # first digit, test
    digit = chapter.found.digits[0]
    share = counts[..., digit, :].sum(-1) / counts.sum((-1, -2))
    new, old, overall = (chapter.found.reached[kind][0, ..., 1] for kind in ("new", "old", "overall"))
    np.testing.assert_allclose(overall, share * new + (1 - share) * old, atol=1e-12)


def test_the_base_networks_have_never_seen_the_new_digit(chapter):
    assert np.all(chapter.found.before["new"] == 0)


def test_fine_tuning_begins_at_the_base_network(chapter):
    """All arms of a digit have the same losses before the first step."""
    first = chapter.result["loss"][:, :, :, :, 0]
    assert np.ptp(first, axis=2).max() < 1e-5


def test_every_arm_learns_the_digit_it_is_tuned_on(chapter):
    """At the last step of a fine-tuning on one digit alone, that digit's training loss is lower than at first."""
    loss = chapter.result["loss"][:, :, :, 0, :, 0]
    assert np.all(loss[..., -1] < loss[..., 0])


def test_merging_stays_within_its_bound(chapter):
    assert 0 < np.max(chapter.result["merging"][..., 1]) <= 1


def test_memory_is_counted_as_the_formulas_say(chapter):
    """Adapters have r·(in + out) numbers a layer, gradients 4 bytes each, Adam two moments and a step per tensor."""
    found, shapes = chapter.result["costs"], experiment.CONFIGS["smoke"].network.shapes()
    for method, trained, gradients, optimizer in zip(
        found["methods"], found["trainable"], found["gradients"], found["optimizer"], strict=True
    ):
        if method.startswith("lora"):
            rank, tensors = int(method.split("-")[1]), 2 * len(shapes)
            assert trained == rank * sum(out + inp for out, inp in shapes)
            assert gradients == 4 * trained and optimizer == 8 * trained + 4 * tensors


def test_full_has_every_digit_every_arm_and_its_rates_tuned():
    full = experiment.CONFIGS["full"]
    assert full.digits == tuple(range(10)) and full.seeds == 3 and len(full.arms) == 16
    assert all(len(rates) > 1 for _, rates in full.learning_rates)


# what is said of the data


class Arms:
    """What each rank forgets more (−) or less (+) than full fine-tuning does, ± 0.03 over `n` of ten digits; the best
    rate of the middle rank is at the edge of those tried, or none is."""

    middle, digits = "LoRA r = 4", range(10)

    def __init__(self, gains: dict[int, float], edge: bool = False, n: int = 10, step: float | None = None):
        self.gains, self.ranks, self.edge, self.n, self.step = gains, list(gains), edge, n, step

    def at_edge(self, label, replay):
        return self.edge and label == self.middle

    def matched_gain(self, arm, control, replay):
        return Estimate(self.gains[int(arm.rpartition(" ")[2])], 0.03, self.n)

    def neighbours(self, label, replay):
        return self.step


def made(verdict: str) -> list[claims.Claim]:
    names = ("lora-forgets-less", "lora-step-slower", "lora-activations")
    return [claims.Claim(name, verdict, "A sentence.", "n = 10") for name in names]


def test_fine_tunings_that_leave_no_worse_a_classifier_are_counted_and_named():
    kept = np.array([[True, False], [False, False], [True, False]])
    said = lora_claims.collapse_exceptions(["LoRA r = 2", "full fine-tuning"], kept)
    assert "2 of 6" in said and "in arm LoRA r = 2 (2 of 3 digits)" in said and "the other 4 are worse" in said
    every = lora_claims.collapse_exceptions(["LoRA r = 2", "full fine-tuning"], np.ones((3, 2), dtype=bool))
    assert "6 of 6" in every and "in arms" in every and "no fine-tuning made it worse" in every


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ({1: 0.1, 4: 0.05}, "it does too at every rank tried: agreeing"),
        ({1: -0.1, 4: -0.05}, "it forgets more at every rank tried: differing. Why"),
        ({1: -0.1, 2: 0.02, 4: -0.05}, "its forgetting is more at r = 1 and 4, not decided at r = 2. Why"),
        ({1: -0.1, 2: 0.05, 4: 0.0}, "more at r = 1, less at r = 2, not decided at r = 4. Why"),
        ({4: 0.01}, "is open over the ranks: its forgetting is not decided at r = 4"),
    ],
)
def test_forgetting_is_compared_with_what_was_published_at_every_rank(gains, words):
    said = lora_claims.forgets_less(Arms(gains), "mnist")
    assert words in said and ("agreeing" in said) + ("differing" in said) + ("is open over" in said) == 1
    assert ("Why it should" in said) == any(gain < -0.03 for gain in gains.values())
    assert "not MNIST" in lora_claims.forgets_less(Arms(gains), "digits")


def test_a_rank_decides_nothing_at_the_edge_of_the_rates_or_where_few_digits_get_there():
    gains = {1: -0.1, 4: -0.1}
    edge = lora_claims.forgets_less(Arms(gains, edge=True), "mnist")
    assert "more at r = 1, not decided at r = 4 (the best rate of LoRA r = 4 is at the edge" in edge
    assert lora_claims.by_rank(Arms(gains, n=4), [1, 4]) == {"not decided": [1, 4]}
    assert lora_claims.by_rank(Arms(gains, n=5), [1, 4]) == {"more": [1, 4]}


@pytest.mark.parametrize(("step", "told"), [(0.2, True), (0.05, False), (None, False)])
def test_coarse_rates_are_told_where_they_matter_more_than_what_is_compared(step, told):
    assert ("20.0 points or more" in lora_claims.forgets_less(Arms({4: -0.1}, step=step), "mnist")) == told


@pytest.mark.parametrize("verdict", claims.VERDICTS)
def test_the_disadvantages_are_those_that_were_found(verdict):
    said = lora_claims.disadvantages(Arms({1: 0.0, 4: -0.1}), made(verdict), "105 %")
    assert ("at some rank only" in said) == (verdict == "fails")
    assert "more at r = 4, not decided at r = 1 (LoRA r = 4: n = 10)." in said
    assert "edge of those tried" in lora_claims.disadvantages(Arms({4: -0.1}, edge=True), made(verdict), "105 %")


def test_the_claim_on_forgetting_names_every_rank(chapter):
    (claim,) = (claim for claim in lora_claims.forgetting(chapter.found) if claim.name == "lora-forgets-less")
    others = [rank for rank in chapter.found.ranks if f"LoRA r = {rank}" != chapter.found.middle]
    assert claim.confirmatory and others
    assert claim.sentence.endswith(f"other ranks: {lora_claims.told(lora_claims.by_rank(chapter.found, others))}.")


def test_two_ranks_at_their_own_rates_are_told_at_one_rate_too(chapter, monkeypatch):
    (low, *_, high) = chapter.found.ranks
    gains = chapter.updates.at_one_rate(high, low)
    assert set(gains) == {"α/r", "α/√r"} and chapter.updates.at_one_rate(high, 999) == {}
    for same in (True, False):
        rates = {f"LoRA r = {high}": 0.003, f"LoRA r = {low}": 0.003 if same else 0.01}
        monkeypatch.setattr(type(chapter.found), "rate", lambda self, label, replay, r=rates: r.get(label, 0.1))
        found = {claim.name: claim for claim in lora_claims.with_replay(chapter.found, gains)}["lora-rank"]
        assert same != ("each at its own rate, 0.003 and 0.01; at one rate" in found.evidence)
        assert same != ("each at its own rate; at one rate" in found.sentence)
    told = lora_claims.same_rate({"a": Estimate(0.1, 0.05, 9), "b": Estimate(-0.1, 0.05, 9), "c": Estimate(0, 0.05, 9)})
    assert told.endswith("above with a as scale, below with b as scale, not told apart with c as scale")


def test_the_nearest_rates_are_those_beside_the_chosen_one():
    found = object.__new__(Accuracies)
    found.labels, found.replay = ["arm", "lone"], np.array([False, False])
    tried, score = [[1e-3, 3e-3, 1e-2, np.nan], [0.1, *[np.nan] * 3]], [[0.5, 0.9, 0.8, np.nan], [0.7, *[np.nan] * 3]]
    found.result = {"learning_rate": [3e-3, 0.1], "tuning": {"learning_rate": tried, "score": score}}
    assert found.neighbours("arm", False) == pytest.approx(0.1) and found.neighbours("lone", False) is None


def test_merging_is_told_with_its_number(chapter):
    claim = lora_claims.merging(chapter.found)
    assert chapter.text["merge_difference"] in claim.sentence and chapter.text["merge_ratio"] in claim.evidence
    assert claim.verdict == "holds" and "no more than rounding allows" in claim.sentence


def test_latencies_at_the_smallest_batch_are_told_with_their_spread():
    costs = object.__new__(Costs)
    costs.found = {"batches": [1, 16], "latency": [[[100, 40], [1, 1]], [[450, 9], [1, 1]], [[90, 8], [1, 1]]]}
    assert "batch 1 the base network's interquartile range is 40 %" in costs._rough()
    assert "5.00 times as long there" in costs._rough()


def test_a_comparison_with_a_rate_at_the_edge_is_no_surprise(chapter, monkeypatch):
    for edge in (True, False):
        monkeypatch.setattr(type(chapter.found), "at_edge", lambda self, label, replay, edge=edge: edge)
        found = {claim.name: claim for claim in lora_claims.forgetting(chapter.found)}
        for name in ("lora-forgets-less", "lora-rank-forgets"):
            assert (found[name].surprise == 0) == edge == ("edge of those tried" in found[name].sentence)


@pytest.mark.parametrize(("ratio", "words"), [(1.5, "takes longer"), (0.5, "faster one here"), (1.0, "not measurably")])
def test_the_narrowest_layers_are_told_as_they_were(ratio, words):
    costs = object.__new__(Costs)
    full = np.array([0.8, 1.0, 1.2])
    costs.found = {"widths": [64], "width_seconds": [[np.ones(3), ratio * (full if ratio == 1 else np.ones(3))]]}
    assert words in costs._narrow()


# fine-tuning


@pytest.mark.parametrize(("method", "rank"), [("lora", 2), ("full", None), ("last", None), ("row", None)])
def test_only_what_the_method_names_moves(method, rank):
    base, split = network(), images()
    model = finetuning.adapt(base, method, 3, rank=rank)
    np.testing.assert_allclose(model(split.images).detach(), base(split.images).detach(), rtol=1e-5, atol=1e-6)
    before = [weight.clone() for weight in layers.weights(model)]
    finetuning.finetune(model, split, learning_rate=1e-2, steps=5, batch_size=20, seed=0)
    moved = [(a != b).any(dim=1) for a, b in zip(before, layers.weights(model), strict=True)]
    if method in ("lora", "full"):
        assert all(rows.any() for rows in moved)
    else:
        assert not any(rows.any() for rows in moved[:-1])
        assert moved[-1].sum() == (1 if method == "row" else 10)
    assert all(torch.equal(a, b) for a, b in zip(layers.weights(base), layers.weights(network()), strict=True))


def test_the_output_row_trains_as_many_numbers_as_it_has():
    assert lora.trainable(finetuning.adapt(network(), "row", 3)).parameters == WIDTHS[-2]


def test_adapting_names_what_is_wrong():
    with pytest.raises(ValueError, match="method"):
        finetuning.adapt(network(), "all", 0)
    with pytest.raises(ValueError, match="rank"):
        finetuning.adapt(network(), "full", 0, rank=2)
    with pytest.raises(ValueError, match="rank"):
        finetuning.adapt(network(), "lora", 0)


def test_fine_tuning_repeats_bit_for_bit_and_lowers_the_loss():
    split, ends = images(), []
    for _ in range(2):
        model = finetuning.adapt(network(), "lora", 0, rank=2)
        first = finetuning.new_and_old(model, split, 0)
        finetuning.finetune(model, split, split, learning_rate=1e-2, steps=30, batch_size=20, seed=1)
        ends.append([weight.clone() for weight in layers.weights(model)])
        assert finetuning.new_and_old(model, split, 0)[0, 1] < first[0, 1]
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_the_looks_come_at_the_steps_asked_for():
    seen: list[int] = []
    model = finetuning.adapt(network(), "last", 0)
    options = {"learning_rate": 1e-3, "steps": 7, "batch_size": 30, "seed": 0}
    finetuning.finetune(model, images(), look=seen.append, at=(0, 3, 7), **options)
    assert seen == [0, 3, 7]


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 50))
def test_every_image_is_seen_before_one_comes_back(count, steps, size):
    order = finetuning._orders(count, steps, size, torch.Generator().manual_seed(0))
    assert order.shape == (steps, size)
    times = np.bincount(order.flatten().numpy(), minlength=count)
    assert times.max() - times.min() <= 1


def test_new_and_old_agree_with_the_confusion():
    model, split = network(), images()
    counts = finetuning.confusion(model, split)
    assert counts.sum() == len(split) and (counts.sum(axis=1) == 20).all()
    _, (new, old) = finetuning.new_and_old(model, split, 4)
    right = np.diagonal(counts)
    assert new == pytest.approx(right[4] / 20) and old == pytest.approx((right.sum() - right[4]) / 180)


def test_take_keeps_the_first_images_of_each_digit():
    split = images()
    some = finetuning.take(split, [3, 0, None, *[1] * 7])
    assert torch.bincount(some.labels, minlength=10).tolist() == [3, 0, 20, *[1] * 7]
    assert torch.equal(some.images[some.labels == 0], split.images[split.labels == 0][:3])


@given(st.integers(0, 2**31), st.integers(1, 12), st.floats(0.01, 30))
def test_merged_and_unmerged_differ_by_no_more_than_the_bound(seed, rank, size):
    """However large the adapter; at tiny ones the bound still covers the rounding of the wide product."""
    model = lora.add_lora(network(seed % 1000), rank)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in model.layers:
            layer.lora_b.normal_(std=size, generator=generator)
    difference, bound = finetuning.merging_error(model, torch.randn(8, WIDTHS[0], generator=generator))
    assert (difference <= bound).all() and np.isfinite(bound).all()


def test_a_wrong_merge_breaks_the_bound(monkeypatch):
    model = lora.add_lora(network(), 2)
    with torch.no_grad():
        model.layers[0].lora_b.normal_()
    wrong = lora.merged(model)
    with torch.no_grad():
        wrong.layers[0].weight.mul_(1 + 1e-3)
    monkeypatch.setattr(finetuning, "merged", lambda _: wrong)
    difference, bound = finetuning.merging_error(model, images().images)
    assert (difference > bound).any()


# what the chapter reads off


def test_harmonic_rewards_neither_accuracy_alone():
    found = harmonic(np.array([1.0, 0.0, 0.8, np.nan, 0.0]), np.array([0.0, 1.0, 0.4, 0.9, 0.0]))
    np.testing.assert_allclose(found, [0, 0, 2 * 0.8 * 0.4 / 1.2, 0, 0])


def test_looks_begin_at_the_start_and_end_at_the_end():
    at = Finetuning(steps=42, looks=14).at()
    assert at[0] == 0 and at[-1] == 42 and at == sorted(set(at)) and len(at) == 15


def test_kept_reads_where_the_level_is_crossed_or_the_best_later_look():
    falling = np.array([[0.0, 1.0], [0.8, 0.6], [1.0, 0.2]])
    assert kept(falling, falling, MATCHED) == pytest.approx(0.4)
    recovering = np.array([[0.0, 1.0], [1.0, 0.2], [0.95, 0.7], [0.85, 0.8]])
    assert kept(recovering, recovering, MATCHED) == pytest.approx(0.75)
    assert np.isnan(kept(falling, falling, 1.1))
    other = np.array([[0.0, 0.9], [0.0, 0.5], [0.0, 0.1]])  # the moment comes from the first, the value from the second
    assert kept(falling, other, MATCHED) == pytest.approx(0.3)


# updates


def test_an_update_along_the_leading_directions_is_all_there_and_one_across_is_not():
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((12, 15))
    u, _, vh = np.linalg.svd(weight)
    (leading,) = updates.leading([weight], 3)
    inside, chance = updates.shares(u[:, :3] @ generator.standard_normal((3, 3)) @ vh[:3], leading)
    assert inside == pytest.approx(1) and chance == pytest.approx(9 / 180)
    assert updates.shares(np.outer(u[:, 5], vh[7]), leading)[0] == pytest.approx(0, abs=1e-12)
    random = [updates.shares(generator.standard_normal((12, 15)), leading)[0] for _ in range(2000)]
    assert abs(np.mean(random) - chance) < 4 * np.std(random) / np.sqrt(2000)


def test_an_update_of_a_lora_layer_has_its_rank():
    model = lora.add_lora(network(), 3)
    with torch.no_grad():
        for layer in model.layers:
            layer.lora_b.normal_()
    before = [weight.numpy() for weight in layers.weights(network())]
    after = [weight.numpy() for weight in layers.weights(model)]
    found = updates.measure(before, after, updates.leading(before))
    assert (found["update_rank"] <= 3).all()
    assert (found["update_spectrum"][:, 3:] < 1e-5 * found["update_spectrum"][:, :1]).all()
    nothing = updates.measure(before, before, updates.leading(before))
    assert not any(nothing[name].any() for name in ("update_spectrum", "update_norm", "update_rank"))


def test_both_scales_agree_at_the_rank_where_the_rate_was_tuned():
    for arm in experiment.CONFIGS["full"].ablation:
        if arm.rank == experiment.ALPHA and arm.initialisation == "zero":
            assert lora.add_lora(network(), **arm.options()).layers[0].scale == pytest.approx(1)
