"""Chapter 8, its controls, and what they compute with."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankstudy import config, finetuning, layers, lora
from rankstudy.book import claims, lora_tables, notebook, plots, results
from rankstudy.book import frontier as told_frontier
from rankstudy.book import lora as told_lora
from rankstudy.book.missing import Missing
from rankstudy.data import Split
from rankstudy.factorization import break_even_rank, eckart_young_error
from rankstudy.study.example import example_network
from rankstudy.study.experiments import blocks, directions, frontier, updates
from rankstudy.study.experiments import lora as experiment
from rankstudy.study.experiments.blocks import Finetuning, harmonic

ROOT = Path(__file__).parents[1]
WIDTHS = (20, 16, 12, 10)


@pytest.fixture(scope="module")
def smoke(smoke_store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_RESULTS", str(smoke_store))
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        yield {name: getattr(results, name)() for name in ("lora", "frontier", "directions")}


def network(seed: int = 0) -> layers.MLP:
    return layers.build(config.Network(WIDTHS), seed)


def images(count: int = 200, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    centres = torch.randn(10, WIDTHS[0], generator=generator)
    return Split(centres[labels] + 0.3 * torch.randn(count, WIDTHS[0], generator=generator), labels)


# the chapter


@pytest.mark.parametrize("page", ["08-lora.qmd", "evidence/08-lora.qmd"])
def test_the_page_and_its_evidence_are_whole_under_smoke(smoke, page, tmp_path):
    """Few networks, other shapes, the fallback data set: nothing is missing, and it says what it is."""
    shown = notebook.markdown(notebook.execute(ROOT / "report" / page), tmp_path)
    assert "nan" not in re.sub(r"[A-Za-z]nan|nan[A-Za-z]", "", shown) and "no value" not in shown
    assert "This is not MNIST" in shown and "rofile smoke" in shown


@pytest.mark.parametrize("name", ["lora", "frontier", "directions"])
def test_every_hypothesis_is_decided_or_said_not_to_be_measured(smoke, name):
    found = claims.judged(smoke[name])
    assert found and all(each.verdict in claims.VERDICTS for each in found)
    missing = claims.judged(Missing(name))
    assert {each.hypothesis.id for each in missing} == {each.hypothesis.id for each in found}
    assert {each.verdict for each in missing} == {"inconclusive"}


def test_what_is_not_published_yet_is_said_in_place_of_a_figure_or_a_table():
    frontier = Missing("frontier")
    for show in (plots.frontier, plots.by_setting, lora_tables.frontier, lora_tables.settings):
        shown = show(frontier)
        assert "Not run" in shown._repr_markdown_()
    for table in (lora_tables.directions, lora_tables.columns, lora_tables.intruders):
        assert "Not run" in table(Missing("directions"))


def test_results_that_did_not_mask_are_still_told(smoke):
    """As the first edition's were."""
    found = smoke["lora"]
    blind = dataclasses.replace(
        found,
        tilted=None,
        before=dataclasses.replace(found.before, old_masked=None),
        conditions=tuple(
            dataclasses.replace(
                each,
                test=dataclasses.replace(each.test, old_masked=None),
                end=dataclasses.replace(each.end, old_masked=None),
                path=dataclasses.replace(each.path, old_masked=None, by_digit=None),
            )
            for each in found.conditions
        ),
    )
    verdicts = {each.hypothesis.id: each for each in claims.judged(blind)}
    assert verdicts["masked-forgetting"].size() == "no result under this profile"
    assert '"lines":[[' in plots.explorer(blind).html and "null" in plots.explorer(blind).html
    assert "one offset" in lora_tables.summary(blind)


def test_accuracies_are_shares_of_the_right_rows():
    confusion = np.zeros((1, 2, 10, 10), dtype=int)
    confusion[0, :, range(10), range(10)] = 8
    confusion[0, :, 3, 5] = 8  # half of the threes are taken for fives
    masked = confusion.copy()
    masked[0, :, 4, 4] = 0
    masked[0, :, 4, 9] = 8
    found = told_lora.accuracy(confusion, [3], masked)
    assert found.new.tolist() == [0.5] and found.old.tolist() == [1.0] and found.old_masked.tolist() == [8 / 9]
    assert found.harmonic.tolist() == [pytest.approx(2 / 3)] and found.overall.tolist() == [pytest.approx(80 / 88)]
    found = told_lora.accuracy(confusion, [5])
    assert found.new.tolist() == [1.0] and found.old.tolist() == [pytest.approx(72 / 80)] and found.old_masked is None


def test_the_base_networks_have_never_seen_the_new_digit(smoke):
    assert np.all(smoke["lora"].before.new == 0)


def test_every_fine_tuning_begins_at_the_base_network_and_lowers_the_loss_of_its_digit(smoke):
    conditions = smoke["lora"].conditions
    starts = np.array([each.path.new_loss["test"][:, 0] for each in conditions])
    assert np.ptp(starts, axis=0).max() < 1e-5
    for each in conditions:
        loss = each.path.new_loss["train"]
        assert np.all(loss[:, -1] < loss[:, 0]), each.label


def test_masking_the_new_logit_costs_no_old_digit_anything(smoke):
    """An image that is right with all ten logits is right with nine of them, if it is no image of the tenth."""
    for each in smoke["lora"].conditions:
        assert np.all(each.test.old_masked >= each.test.old) and np.all(
            each.path.old_masked >= each.path.old_accuracy["test"] - 1e-6
        )
    for each in smoke["frontier"].methods:
        reached = np.isfinite(each.old)
        assert np.all(each.old_masked[reached] >= each.old[reached] - 1e-9)


@pytest.mark.parametrize(
    ("old", "masked", "verdict"),
    [
        ((0.9, 0.7), (0.9, 0.88), "supported"),
        ((0.9, 0.7), (0.9, 0.72), "refuted"),
        ((0.9, 0.7), (0.9, 0.8), "inconclusive"),
    ],
)
def test_masked_forgetting_asks_for_more_than_half(smoke, old, masked, verdict):
    def accuracy(found, place):
        noise = 0.005 * place * np.resize([-1, 1], 10)
        return dataclasses.replace(
            found, old=np.full(10, old[place]) + noise, old_masked=np.full(10, masked[place]) - noise
        )

    found = smoke["lora"]
    alone = found.of("lora", replay=False)
    planted = dataclasses.replace(
        found,
        before=accuracy(found.before, 0),
        conditions=(dataclasses.replace(alone, test=accuracy(alone.test, 1)),),
    )
    test = {each.id: each for each in claims.stated("lora")}["masked-forgetting"]
    assert claims.judge(test, test.test(planted)).verdict == verdict


@pytest.mark.parametrize(("ratio", "verdict"), [(1.2, "supported"), (0.8, "refuted"), (1.0, "inconclusive")])
def test_a_step_is_slower_where_it_takes_longer(smoke, ratio, verdict):
    """Whichever it is on the machine that computed."""
    planted = dataclasses.replace(smoke["lora"], step_ratio=ratio + 0.01 * np.resize([-1, 1], 10))
    (found,) = (each for each in claims.judged(planted) if each.hypothesis.id == "lora-step-slower")
    assert found.verdict == verdict


def test_memory_is_counted_as_the_formulas_say(smoke):
    """Adapters have r·(in + out) numbers a layer, gradients 4 bytes each, Adam two moments and a step per tensor."""
    costs, shapes = smoke["lora"].costs, experiment.CONFIGS["smoke"].network.shapes()
    for label, trained, gradients, optimizer in zip(
        costs.labels, costs.trainable, costs.gradients, costs.optimizer, strict=True
    ):
        if label.startswith("LoRA"):
            rank, tensors = int(label.rpartition(" ")[2]), 2 * len(shapes)
            assert trained == rank * sum(out + inp for out, inp in shapes)
            assert gradients == 4 * trained and optimizer == 8 * trained + 4 * tensors


def test_the_full_study_has_every_digit_and_equally_many_points_for_each_method():
    full = experiment.CONFIGS["full"]
    assert full.digits == tuple(range(10)) and len(full.arms) == 12
    assert {kind for kind, _ in full.learning_rates} == {arm.kind for arm in full.arms}
    for _, rates in full.learning_rates:
        np.testing.assert_allclose(np.divide(rates[1:], rates[:-1]), 2)
    methods = frontier.CONFIGS["full"].methods
    assert len({len(method.learning_rates) for method in methods}) == 1 and len(methods) == 6
    for method in methods:
        steps = np.divide(method.learning_rates[1:], method.learning_rates[:-1])
        np.testing.assert_allclose(steps, 2**0.5, rtol=0.01)


def test_the_explorer_shows_what_was_measured_without_the_web(smoke):
    found = smoke["lora"]
    made = plots.explorer(found)
    content = json.loads(re.search(r'<script type="application/json">(.*?)</script>', made.html)[1])
    methods = found.alike(replay=True)
    for place, digit in enumerate(content["digits"]):
        for row, method in enumerate(methods):
            for replay in (False, True):
                path = found.of(method.method, method.rank, replay=replay).path
                lines, bars = (content["shown"][place][row][replay][name] for name in ("lines", "bars"))
                chosen = slice(None) if digit is None else [place - 1]
                for shown, values in zip(
                    lines, (path.new_accuracy["test"], path.old_accuracy["test"], path.old_masked), strict=True
                ):
                    np.testing.assert_allclose(shown, 100 * values[chosen].mean(axis=0), atol=0.051)
                assert (bars is None) == (digit is None)
                if bars:
                    np.testing.assert_allclose(bars, 100 * path.by_digit[place - 1], atol=0.51)
    assert "http" not in made.html and len(made.static.figures) == 2
    assert made.html.count("<label") == 4  # each input has its name


def test_what_the_exercises_say(monkeypatch):
    """An adapter of rank 16 is no saving at the output; rank 4 holds more of an update than of a random start."""
    assert break_even_rank(10, 256) < 16 < break_even_rank(256, 256)
    network = example_network()
    start, end = network.initial[1].astype(float), network.trained[1].astype(float)
    kept = [1 - eckart_young_error(matrix, 4, relative=True) ** 2 for matrix in (end - start, start)]
    assert kept[0] > 3 * kept[1]
    monkeypatch.setenv("RANKSTUDY_PROFILE", "published")
    found = results.lora()
    assert (found.before.harmonic == 0).all() and (found.of("full", replay=False).test.harmonic > 0).all()


# the frontier


def test_a_moment_is_where_the_level_is_crossed_or_a_better_one_later():
    def path(*points):
        return np.array([[[new, old], [new, old / 2]] for new, old in points])

    falling = path((0.0, 1.0), (0.8, 0.6), (1.0, 0.2))
    np.testing.assert_allclose(told_frontier.moment(falling, 0.9), [[0.9, 0.4], [0.9, 0.2]])
    recovering = path((0.0, 1.0), (1.0, 0.2), (0.95, 0.7), (0.85, 0.8))
    assert told_frontier.moment(recovering, 0.9)[0, 1] == pytest.approx(0.75)
    assert np.isnan(told_frontier.moment(falling, 1.1)).all()


def test_a_setting_is_chosen_on_the_other_digits_validation_images():
    """Four digits, two settings: the first suits the even places on validation data, the second the odd ones."""
    stopped = np.zeros((4, 1, 2, 1, 1, 2, 3))
    stopped[::2, :, 0, :, :, 0, 1] = stopped[1::2, :, 1, :, :, 0, 1] = 1
    stopped[:, :, 0, :, :, 1, 1], stopped[:, :, 1, :, :, 1, 1] = 0.3, 0.7  # what the test images say
    read, choice = told_frontier._crossed(stopped, np.array([0, 2, 5, 7]))
    assert choice.tolist() == [[0], [1]]
    np.testing.assert_allclose(read[:, 0, 1], [0.7, 0.3, 0.7, 0.3])
    turned = stopped.copy()
    turned[..., 1, :] = 1 - turned[..., 1, :]
    assert told_frontier._crossed(turned, np.array([0, 2, 5, 7]))[1].tolist() == choice.tolist()


def test_a_comparison_leaves_out_who_never_got_there_and_needs_half_of_the_digits(smoke):
    found = dataclasses.replace(smoke["frontier"], digits=np.arange(4))
    one = np.full((4, len(found.levels)), 0.5)
    other = one.copy()
    other[:2] = np.nan
    assert found.difference(one, other).tolist() == [0, 0]
    other[2] = np.nan
    assert found.difference(one, other) is None


def test_a_share_of_the_way_is_a_share_of_the_way():
    base, end = network(0), network(1)
    ends = layers.weights(end)
    half = frontier._between(base, ends, 0.5)
    for own, first, last in zip(layers.weights(half), layers.weights(base), ends, strict=True):
        torch.testing.assert_close(own, (first + last) / 2)
    assert all(torch.equal(a, b) for a, b in zip(layers.weights(base), layers.weights(network(0)), strict=True))


# one logit


@given(st.integers(0, 9), st.integers(0, 1000))
def test_an_offset_moves_one_threshold(digit, seed):
    model, split = network(seed), images()
    none, plain, all_of_them = finetuning.confusions(model, split, digit, [-np.inf, 0.0, np.inf])
    assert none[:, digit].sum() == 0 and all_of_them[:, digit].sum() == len(split)
    np.testing.assert_array_equal(plain, finetuning.confusion(model, split))
    reading = finetuning.reading(model, split, digit)
    np.testing.assert_array_equal(reading.right, np.diagonal(plain))
    np.testing.assert_array_equal(reading.masked, np.diagonal(none))


@pytest.mark.parametrize("level", [0.25, 0.5, 0.9])
def test_an_offset_is_found_for_a_share_of_the_new_digits_images(level):
    model, split = network(3), images(400)
    (by,) = blocks.offsets(model, split, 7, [level])
    (counts,) = finetuning.confusions(model, split, 7, [by])
    assert counts[7, 7] / counts[7].sum() == pytest.approx(level, abs=1 / 40)


def test_the_best_offset_is_at_least_as_good_as_any_that_was_tried():
    model, split = network(5), images(400)
    best = blocks.tilt(model, split, 2)

    def score(by):
        (counts,) = finetuning.confusions(model, split, 2, [by])
        right, of = np.diagonal(counts).astype(float), counts.sum(axis=1)
        return harmonic(right[2] / of[2], (right.sum() - right[2]) / (of.sum() - of[2]))

    assert score(best) == max(score(by) for by in blocks.offsets(model, split, 2, blocks.LEVELS))


# directions


def test_parallel_columns_are_told_from_random_ones():
    generator = np.random.default_rng(0)
    column = generator.standard_normal((200, 1))
    assert directions.parallel(column * generator.standard_normal((1, 8))) == pytest.approx(1)
    assert directions.parallel(generator.standard_normal((200, 40))) == pytest.approx((2 / np.pi / 200) ** 0.5, rel=0.1)
    assert directions.parallel(np.zeros((5, 3))) == 0


def test_an_intruder_is_a_new_leading_direction():
    generator = np.random.default_rng(0)
    old = generator.standard_normal((40, 60))
    u, _, vh = np.linalg.svd(old, full_matrices=False)
    assert directions.intruders(u, old).tolist() == [0] * len(directions.THRESHOLDS)
    known = old + 50 * np.outer(u[:, 3], vh[3])  # an old direction, stronger
    assert directions.intruders(u, known).tolist() == [0] * len(directions.THRESHOLDS)
    mixed = u.sum(axis=1) / 40**0.5  # at |cos| 0.16 to each old one
    assert directions.intruders(u, old + 500 * np.outer(mixed, vh[5])).min() >= 1


def test_turned_updates_keep_their_singular_values():
    values = np.array([5.0, 2.0, 0.5])
    turned = directions.turned(values, (12, 20), np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.svd(turned, compute_uv=False)[:4], [*values, 0], atol=1e-12)


def test_a_factors_effect_is_what_was_planted(smoke):
    found = smoke["directions"]
    planted = tuple(
        dataclasses.replace(
            each,
            cosine=np.full_like(each.cosine, 0.5 + 0.2 * each.small - 0.1 * each.frozen),
            new_accuracy=np.ones_like(each.new_accuracy),
        )
        for each in found.columns
    )
    found = dataclasses.replace(found, columns=planted)
    np.testing.assert_allclose(found.effect("small", True), 0.2)
    np.testing.assert_allclose(found.effect("frozen", True), -0.1)
    np.testing.assert_allclose(found.effect("optimizer", "adam"), 0, atol=1e-12)
    # without the pairs in which the digit was not learned, here those of Adam with a frozen A, which are far off
    off = tuple(
        dataclasses.replace(each, cosine=each.cosine + 9, new_accuracy=0 * each.new_accuracy)
        if each.frozen and each.optimizer == "adam"
        else each
        for each in planted
    )
    unlearned = dataclasses.replace(found, columns=off)
    np.testing.assert_allclose(unlearned.effect("frozen", True), -0.1)
    assert unlearned.effect("frozen", True, optimizer="adam") is None


def test_updates_are_compared_once_the_digit_is_learned(smoke):
    """Where it never was there is no update, and the comparison says so."""
    found = smoke["directions"]
    for each in found.updates:
        reached = np.isfinite(each.reached)
        assert np.isfinite(each.energy_rank).all(axis=1).tolist() == reached.tolist()
        assert (each.energy_rank[reached] >= 1).all()
        if each.rank == 1:
            assert (each.energy_rank[reached] == 1).all()
    never = dataclasses.replace(found, updates=(dataclasses.replace(found.updates[0], reached=np.full(2, np.nan)),))
    nothing = np.full_like(never.updates[0].energy_rank, np.nan)
    assert never.change(nothing, nothing) is None


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
