"""Chapter 4: the criterion by hand, ranks while training, and the chapter under `smoke`, top to bottom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rankstudy.book.chapters import bound, overfitting_claims
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.sizes import Sizes
from rankstudy.registry import OPTIMIZERS
from rankstudy.study import engine, observers, questions
from rankstudy.study.experiments import arms, battery, decay, overfitting

CHAPTER = Path(__file__).parents[1] / "report" / "04-overfitting.qmd"


@pytest.fixture(scope="module", autouse=True)
def results(tmp_path_factory):
    """A store of its own, under `smoke`, for all tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        yield


@pytest.fixture(scope="module")
def chapter():
    from rankstudy.book.chapters.overfitting import Chapter

    return Chapter()


@pytest.fixture(scope="module")
def found():
    settings = questions.settings("overfitting")
    return engine.trained(overfitting.runs(settings)[0])


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
    history = {"train_accuracy": np.array([[0.1, 0.9, train_accuracy]]), "test_loss": np.array([test_loss])}
    assert overfitting.overfitted(history).tolist() == [expected]


def test_the_last_epoch_observed_is_the_network_that_was_stored(found):
    measured, seen = battery.measure(found), arms.trajectory(found)
    for matrix in ("weights", "update"):
        for name in observers.DEFINITIONS:
            wanted = getattr(getattr(measured, matrix), name)
            np.testing.assert_allclose(seen[f"{matrix}.{name}"][:, -1], wanted, rtol=1e-4)


def test_before_training_there_is_no_update(found):
    seen = arms.trajectory(found)
    assert all((seen[f"update.{name}"][:, 0] == 0).all() for name in observers.DEFINITIONS)
    assert all((seen[f"update.{name}"][:, 1:] > 0).all() for name in observers.DEFINITIONS)


NAMES = ("activations", "decay", "undecayed", "shuffled", "unshuffled")


@pytest.mark.parametrize("profile", overfitting.CONFIGS)
def test_the_controls_differ_from_the_arm_in_one_thing(profile):
    settings = overfitting.CONFIGS[profile]
    groups = overfitting.groups(settings)
    arm, decayed, undecayed, shuffled, alike = (groups[name] for name in NAMES)
    pairs = [(decayed, undecayed)]
    if "faster_decay" in groups:
        pairs.append((groups["faster_decay"], groups["faster_undecayed"]))
    for with_it, without in pairs:
        # AdamW without decay is Adam
        assert with_it.training.weight_decay > 0 and with_it.training.optimizer == "adamw"
        assert replace(with_it, training=without.training, observed=without.observed) == without
        assert replace(with_it.training, weight_decay=0.0, optimizer="adam") == without.training == arm.training
        assert (without.network, without.data, without.seeds) == (arm.network, arm.data, arm.seeds)
        ((_, rates),) = without.rates
        assert len(rates) == 1, "one rate for both, so that the decay alone differs"
    ((_, lower),) = undecayed.rates
    assert set(lower) <= set(dict(arm.rates)["relu"])
    assert shuffled.data.shuffled_labels == 1 and replace(shuffled, data=arm.data) == alike
    assert (alike.network, alike.data, alike.training.weight_decay) == (arm.network, arm.data, 0)
    assert [len(rates) for _, rates in shuffled.rates] == [1], "no validation set can choose a rate for such labels"


def test_text_is_ready_to_print(chapter):
    assert all(isinstance(value, str) and value and "nan" not in value for value in chapter.text.values())


@pytest.mark.parametrize("slow, fast, verdicts", [(-0.02, -0.08, "holds holds"), (0.02, 0.08, "fails fails")])
def test_claims_on_decay_follow_the_ranks(chapter, monkeypatch, slow, fast, verdicts):
    """Each arm's ranks are those of its twin, and what decay adds."""
    added = {id(arm): value for pair, value in zip(chapter.decays, (slow, fast), strict=True) for arm in pair[:1]}
    noise = np.array([0.001, -0.001, 0.0])
    monkeypatch.setattr(
        overfitting_claims, "average", lambda arm, *_, **__: 0.5 + noise * (id(arm) in added) + added.get(id(arm), 0)
    )
    monkeypatch.setattr(overfitting_claims, "did_train", lambda _: True)
    found = [*overfitting_claims._with_decay(*chapter.decays[0]), *overfitting_claims._at_a_higher_rate(chapter.decays)]
    # the noise of the two rates cancels in their difference
    assert " ".join(claim.verdict for claim in found) == verdicts


def test_every_claim_is_decided(chapter):
    stated = chapter.claims()
    assert len({claim.name for claim in stated}) == len(stated) >= 3
    assert all(claim.verdict in claims.VERDICTS and claim.evidence for claim in stated)


def test_the_chapter_executes(chapter):
    preview = pytest.importorskip("rankstudy.book.preview")
    preview.execute(CHAPTER)


def test_galantis_bound_by_hand():
    """(1 − μλ)^k ≤ ε at μλ = ½: k = 4 for 0.1, 7 for 0.01; times B. Momentum ½ doubles μ."""
    assert decay.bound(16, 0.5, 1.0, 0.0, 0.1) == 16 * 4
    assert decay.bound(2, 0.5, 1.0, 0.0, 0.01) == 2 * 7
    assert decay.bound(2, 0.25, 1.0, 0.5, 0.01) == 2 * 7
    assert decay.bound(1, 0.01, 1e-3, 0.0, 0.01) == pytest.approx(np.log(100) / 1e-5, rel=1e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_what_is_left_of_a_weight_is_what_torch_leaves(momentum):
    import torch

    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=momentum, weight_decay=0.02)
    for _ in range(50):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    found = decay.remainder(0.1, 0.02, momentum, 50)
    assert found == pytest.approx(weight.item(), rel=200 * np.finfo(float).eps)
    if not momentum:
        assert found == pytest.approx((1 - 0.1 * 0.02) ** 50)


def test_at_matched_loss_the_bound_gets_what_it_explains_itself():
    """Ranks made as bound^0.25 · loss^0.5, with losses that go with the bound: alone it would get more."""
    losses, bounds = np.array([[1.0], [4.0], [8.0], [64.0]]), np.array([[16.0], [64.0], [1024.0], [4096.0]])
    history = {
        str(i): {"train_loss": np.tile(loss, (2, 3)), "train_accuracy": np.ones((2, 3))}
        for i, loss in enumerate(losses)
    }
    ranks = np.tile((bounds**0.25 * losses**0.5)[:, None, None, :], (1, 2, 3, 2))
    found = {
        "arms": np.zeros((4, 4)),
        "bound": np.tile(bounds, (1, 2)),
        "ranks": {"learned": ranks},
        "history": history,
    }
    assert bound.exponent(found, matched=True) == pytest.approx([0.25, 0.25])
    assert (bound.exponent(found) > 0.3).all()


@pytest.mark.parametrize("profile", overfitting.CONFIGS)
def test_the_arms_of_the_bound_last_equally_many_decay_times(profile):
    settings = overfitting.CONFIGS[profile].bound
    for arm in settings.arms:
        run = settings.runs(arm)[0]
        steps = run.training.epochs * settings.images / run.training.batch_size
        assert steps * arm[1] * arm[2] / (1 - arm[3]) == pytest.approx(settings.times, rel=0.02)
        optimizer = OPTIMIZERS[run.training.optimizer]
        assert (optimizer.options.get("momentum", 0.0), run.training.schedule) == (arm[3], "constant")


def test_ranks_within_an_error_are_ordered(chapter):
    """A smaller error takes a higher rank, and none exceeds the shape."""
    found = chapter.result["bound"]
    assert ((0 < found["left"]) & (found["left"] < 1)).all()
    for ranks in found["ranks"].values():
        assert (ranks <= found["limits"][:, None]).all() and (ranks[..., 0] <= ranks[..., 1]).all()


def test_every_size_is_told_with_the_big_one_among_them(chapter):
    sizes = chapter.sizes
    assert len(sizes.arms) == len(chapter.result["ladder"]) + 1 and chapter.big["history"] is not None
    counts = [sizes.parameters(arm) for arm in sizes.arms]
    assert counts == sorted(counts) and counts[0] == 784 * 16 + 16 * 16 * 2 + 160
    assert {sizes.label(arm) for arm in sizes.arms} == {"3 × 16", "4 × 16", "3 × 64"}
    rows = str(sizes.rows()).replace("\u00a0", " ")
    assert all(sizes.label(arm) in rows for arm in sizes.arms) and sizes.figure() and sizes.curves()


def made(width: int, share: float, *, met: bool = True, seeds: int = 3) -> dict:
    """An arm of three hidden layers whose update has that share of full rank."""
    loss = np.tile([2.3, 1.0, 1.5 if met else 0.9], (seeds, 1))
    history = {"train_accuracy": np.ones((seeds, 3)), "test_accuracy": np.ones((seeds, 3)), "test_loss": loss}
    noise = 1e-3 * np.arange(seeds)[:, None]
    ranks = {"limits": np.full(4, 10.0), "update": {"effective_rank": 10 * (share + noise) * np.ones((seeds, 4))}}
    return {"widths": [784, width, width, width, 10], "history": history, "ranks": ranks}


@pytest.mark.parametrize(
    ("shares", "verdict"), [((0.5, 0.4, 0.3), "holds"), ((0.3, 0.4, 0.5), "fails"), ((0.4, 0.4, 0.4), "open")]
)
def test_the_claim_on_width_follows_the_shares(shares, verdict):
    arms = [made(width, share) for width, share in zip((64, 128, 256), shares, strict=True)]
    if verdict == "open":
        for arm, seed in zip(arms, (0, 1, 2), strict=True):
            arm["ranks"]["update"]["effective_rank"][seed] += 1
    (claim,) = Sizes(arms[:2], arms[2], arms[2]["widths"]).claims()
    assert claim.verdict == verdict


def test_the_text_on_sizes_names_the_smallest_that_overfits():
    arms = [made(64, 0.5, met=False), made(128, 0.5), made(256, 0.5), made(256, 0.5, met=False)]
    text = Sizes([*arms[:2], arms[3]], arms[2], arms[2]["widths"]).text()
    assert "the smallest has 3 × 128 hidden units" in text and "3 × 64, 3 × 256 do not" in text
    none = [made(64, 0.5, met=False), made(128, 0.5, met=False)]
    assert "None of the 2 sizes" in Sizes(none[:1], none[1], none[1]["widths"]).text()


@pytest.mark.parametrize(("smallest", "rank", "verdict"), [(50.0, 8, "open"), (9.0, 8, "holds"), (7.0, 8, "fails")])
def test_a_bound_above_the_width_decides_nothing(smallest, rank, verdict):
    found = {
        "ranks": {"weights": np.full((2, 3, 1, 1), float(rank))},  # (arms, seeds, layers, errors)
        "bound": np.array([[smallest], [2 * smallest]]),
        "limits": np.array([10]),
        "arms": [(16, 0.1, 1e-3, 0.9)] * 2,
        "history": {str(arm): {"train_accuracy": np.ones((3, 2))} for arm in range(2)},
    }
    (claim,) = bound.stated(found)
    assert claim.verdict == verdict
    found["history"]["0"]["train_accuracy"][0] = 0.1  # a network that did not learn takes its arm's bound with it
    (claim,) = bound.stated(found)
    assert claim.verdict == ("open" if 2 * smallest >= 10 else "holds") and "each of 1 arms" in claim.evidence
    found["history"]["1"]["train_accuracy"][0] = 0.1
    assert bound.stated(found) == [] and bound.text(found) == "No arm learned."
