"""Chapter 4: what its result is asked, and the sentence that each answer prints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rankstudy.book.chapters import rank_views
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.rank_views import Arm, average, did_train
from rankstudy.book.stats import Estimate, estimate, number_text, paired, percent
from rankstudy.study.experiments import overfitting


def stated(
    base: Arm, same: Arm | None, big: Arm, true: Arm, shuffled: Arm, decays: Sequence[tuple[Arm, Arm]]
) -> list[claims.Claim]:
    """On Task 2's network, one of its shape trained as the big one is, the big one, networks trained alike on true and
    on shuffled labels, and pairs with and without weight decay, the lower learning rate first."""
    return [
        _met(big),
        _full_rank(big),
        _lower(base, same, big),
        *_against_shuffled(true, shuffled),
        *_with_decay(*decays[0]),
        *_at_a_higher_rate(decays),
    ]


def difference(base: Arm, big: Arm, matrix: str, name: str) -> Estimate:
    """The big one − Task 2's, as fractions of full rank. Networks of two shapes share nothing: any pairing does."""
    pair = [average(arm, matrix, name, normalised=True) for arm in (big, base)]
    count = min(map(len, pair))
    return paired(pair[0][:count], pair[1][:count])


def _met(big: Arm) -> claims.Claim:
    history = big["history"]
    met = overfitting.overfitted(history)
    train = rank_views.final(big, "train_accuracy").percent()
    excess = estimate(overfitting.excess(history["test_loss"])).percent()
    memorised, above = percent(overfitting.MEMORISED, 1), percent(overfitting.EXCESS, 0)
    asked = f"training accuracy ≥ {memorised}, test loss {above} above its minimum"
    return claims.every(
        "overfitting-criterion",
        met,
        holds=f"Every big network is overfitted by the criterion stated in advance ({asked}).",
        fails=f"Only {int(met.sum())} of {len(met)} big networks meet the criterion for overfitting stated in "
        f"advance ({asked}).",
        evidence=f"n = {len(met)} networks, training accuracy {train}, excess {excess}",
    )


def _full_rank(big: Arm) -> claims.Claim:
    mean = estimate(average(big, "weights", "elimination_float64")).text(1)
    full_rank = number_text(float(big["ranks"]["limits"].mean()), 1)
    full = (big["ranks"]["weights"]["elimination_float64"] == big["ranks"]["limits"]).all(axis=1)
    return claims.every(
        "overfitting-full-rank",
        full,
        holds="Every weight matrix of the big networks has full rank at the float64 tolerance.",
        fails=f"{int((~full).sum())} of {len(full)} big networks have a matrix short of full rank at the "
        "float64 tolerance.",
        evidence=f"n = {len(full)} networks, mean over layers {mean} of {full_rank}",
    )


def _lower(base: Arm, same: Arm | None, big: Arm) -> claims.Claim:
    effect = difference(base, big, "update", "effective_rank")
    equal = difference(same, big, "update", "effective_rank") if same else None
    start = difference(base, big, "initial", "effective_rank")
    text = f"{effect.points()} of full rank, and {start.points()} between the random starts"
    if equal:
        text += f"; at equal training {equal.points()}"
    return claims.compare(
        "overfitting-update-lower",
        effect,
        above=False,
        holds=f"As a share of full rank, the big network's update has the lower effective rank ({text}).",
        fails=f"As a share of full rank, the big network's update has the higher effective rank ({text}).",
        open=f"As shares of full rank, the effective ranks of the two updates do not differ for certain ({text}).",
        evidence=f"n = {effect.n} networks each, Task 2's tuned and the big ones not; at equal training "
        + (f"n = {equal.n}" if equal else "not measured"),
        confirmatory=True,
    )


def _against_shuffled(true: Arm, shuffled: Arm) -> list[claims.Claim]:
    if not (did_train(true) and did_train(shuffled)):
        return []
    effect = paired(
        average(shuffled, "update", "effective_rank", normalised=True),
        average(true, "update", "effective_rank", normalised=True),
    )
    text = f"{effect.points()} of full rank"
    return [
        claims.compare(
            "overfitting-shuffled-higher",
            effect,
            holds=f"Meaningless labels take an update of higher effective rank than true labels do ({text}).",
            fails=f"Meaningless labels take an update of lower effective rank than true labels do ({text}).",
            open=f"Whether meaningless labels take an update of another effective rank is open ({text}).",
            evidence=f"n = {effect.n} pairs of networks with the same initial weights, images, rate and epochs",
            confirmatory=True,
        )
    ]


def by_decay(decay: Arm, none: Arm) -> np.ndarray:
    """(networks,) what weight decay adds to the effective rank of the trained weights, a fraction of full rank."""
    with_it, without = (average(arm, "weights", "effective_rank", normalised=True) for arm in (decay, none))
    return with_it - without


def _with_decay(decay: Arm, none: Arm) -> list[claims.Claim]:
    if not (did_train(none) and did_train(decay)):
        return []
    effect = estimate(by_decay(decay, none))
    text = f"{effect.points()} of full rank"
    return [
        claims.compare(
            "overfitting-decay-lower",
            effect,
            above=False,
            holds=f"Weight decay lowers the effective rank of the trained weights ({text}).",
            fails=f"Weight decay raises the effective rank of the trained weights ({text}).",
            open=f"Whether weight decay changes the effective rank of the trained weights is open ({text}).",
            evidence=f"n = {effect.n} pairs of networks with the same initial weights, order of images and learning "
            f"rate, {decay['learning_rate']:g}",
            confirmatory=True,
        )
    ]


def _at_a_higher_rate(decays: Sequence[tuple[Arm, Arm]]) -> list[claims.Claim]:
    """Of weight decay a share rate × decay of the weights is forgotten at each step: so the rate should matter."""
    if len(decays) < 2 or not all(did_train(arm) for pair in decays for arm in pair):
        return []
    (lower, _), (higher, _) = decays
    effect = paired(by_decay(*decays[1]), by_decay(*decays[0]))
    rates = f"at a learning rate of {higher['learning_rate']:g} than at one of {lower['learning_rate']:g}"
    text = f"by {effect.points()} of full rank"
    return [
        claims.compare(
            "overfitting-decay-rate",
            effect,
            above=False,
            holds=f"The same weight decay lowers the effective rank by more {rates} ({text}).",
            fails=f"The same weight decay lowers the effective rank by less {rates} ({text}).",
            open=f"Whether the same weight decay lowers the effective rank by more {rates} is open ({text}).",
            evidence=f"n = {effect.n} seeds, each with and without weight decay at both rates",
        )
    ]
