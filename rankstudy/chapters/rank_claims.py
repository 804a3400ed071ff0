"""Chapter 3: what its result is asked, and the sentence that each answer prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rankstudy import claims
from rankstudy.chapters import rank_views
from rankstudy.chapters.rank_views import NAMES, Arm, average, did_train, ranks, slope
from rankstudy.intervals import estimate, number_text, paired


def stated(
    base: Arm, shallow: Mapping[str, Arm], deep: Mapping[str, Arm], inputs: Mapping[str, Any]
) -> list[claims.Claim]:
    """The claims of the chapter, those named in advance corrected for being several."""
    return claims.corrected(
        [
            _full_rank(base),
            _update_is_low(base),
            _outliers(base),
            *_depth(deep["relu"]),
            *_tanh(shallow["relu"], shallow["tanh"]),
            _bounded_by_images(inputs),
        ]
    )


def _bounded_by_images(inputs: Mapping[str, Any]) -> claims.Claim:
    found, bound = np.asarray(inputs["sgd_float64"]["rank_float64"]), inputs["images"]["rank_float64"]
    return claims.every(
        "rank-bounded-by-images",
        found <= bound,
        holds=f"Under plain SGD the rank of the first layer's update stays within the rank of the images ({bound}).",
        fails=f"Under plain SGD the rank of the first layer's update exceeds the rank of the images ({bound}).",
        least=1,  # a theorem: one network can only refute it
        evidence=f"n = {len(found)} networks trained in double precision, ranks {rank_views.spread(found)}",
    )


def _full_rank(base: Arm) -> claims.Claim:
    found = ranks(base, "weights", "elimination_float64")
    mean, full_rank = estimate(found.mean(axis=1)).text(1), number_text(float(base["ranks"]["limits"].mean()), 1)
    full = (found == base["ranks"]["limits"]).all(axis=1)
    return claims.every(
        "rank-weights-full",
        full,
        holds="At the float64 tolerance every weight matrix of Task 2's networks has full rank: the plain rank "
        "does not tell a trained matrix from a random one.",
        fails=f"At the float64 tolerance {int((~full).sum())} of {len(full)} networks have a matrix short of full "
        "rank.",
        evidence=f"n = {len(full)} networks, mean over layers {mean} of {full_rank}",
    )


def _update_is_low(base: Arm) -> claims.Claim:
    update = average(base, "update", "effective_rank", normalised=True)
    initial = average(base, "initial", "effective_rank", normalised=True)
    effect = paired(update, initial)
    text = f"{estimate(update).percent()} of full rank against {estimate(initial).percent()}"
    return claims.compare(
        "rank-update-lower",
        effect,
        above=False,
        holds=f"What training adds has a lower effective rank than the random matrix it is added to: {text}.",
        fails=f"What training adds has no lower effective rank than the random matrix it is added to: {text}.",
        open=f"Whether what training adds has a lower effective rank than the initialisation is open: {text}.",
        evidence=f"n = {effect.n} networks, difference {effect.points()}",
        confirmatory=True,
    )


def _outliers(base: Arm) -> claims.Claim:
    found = ranks(base, "weights", "outliers_initialisation")
    null = ranks(base, "initial", "outliers_initialisation")
    met = (found > null).all(axis=1)
    mean = estimate(found.mean(axis=1))
    return claims.every(
        "rank-outliers",
        met,
        holds="In every layer of every network training lifts singular values above the edge of the random "
        f"initialisation, {mean.text()} of them on the mean over layers.",
        fails="Not every layer of every network has more singular values above the edge of the random "
        f"initialisation than before training; on the mean over layers there are {mean.text()}.",
        evidence=f"n = {len(met)} networks",
    )


def _depth(deep: Arm) -> list[claims.Claim]:
    if not did_train(deep):
        return []
    change = estimate(slope(deep, "update", "effective_rank"))
    text = f"{change.points()} of full rank per layer"
    return [
        claims.compare(
            "rank-depth-falls",
            change,
            above=False,
            holds=f"The effective rank of the update falls with depth between equal square layers ({text}).",
            fails=f"The effective rank of the update rises with depth between equal square layers ({text}).",
            open=f"Between equal square layers the effective rank of the update has no sure trend ({text}).",
            evidence=f"n = {change.n} networks of {len(rank_views.square(deep))} square layers",
            confirmatory=True,
        )
    ]


def _tanh(relu: Arm, tanh: Arm) -> list[claims.Claim]:
    if not (did_train(relu) and did_train(tanh)):
        return []
    effect = paired(*(average(arm, "update", "effective_rank", normalised=True) for arm in (tanh, relu)))
    text = f"{effect.points()} of full rank"
    return [
        claims.compare(
            "rank-tanh-relu",
            effect,
            above=False,
            holds=f"tanh's update has a lower effective rank than ReLU's ({text}).",
            fails=f"tanh's update has a higher effective rank than ReLU's ({text}).",
            open=f"The effective ranks of tanh's and ReLU's updates do not differ for certain ({text}).",
            evidence=f"n = {effect.n} pairs of networks with the same initial weights and order of images, learning "
            f"rates {_both_rates(tanh, relu)}",
            confirmatory=True,
        )
    ]


def _both_rates(tanh: Arm, relu: Arm) -> str:
    return f"{tanh['learning_rate']:g} and {relu['learning_rate']:g}"


def rates(groups: Mapping[str, Mapping[str, Arm]]) -> str:
    """tanh against ReLU in every group of arms, and whether they had the same learning rate there."""
    parts = []
    for label, arms in groups.items():
        if not (did_train(arms["relu"]) and "tanh" in arms and did_train(arms["tanh"])):
            continue
        tanh, relu = (average(arms[name], "update", "effective_rank", normalised=True) for name in ("tanh", "relu"))
        effect = paired(tanh, relu)
        parts.append(f"{effect.points()} ({label}, rates {_both_rates(arms['tanh'], arms['relu'])})")
    if not parts:
        return "tanh and ReLU cannot be compared under this profile."
    return (
        "A learning rate of its own is part of an arm, and so is what it does to the rank, and so is where it starts: "
        "the order of the activations may be another in each comparison. The effective rank of tanh's update less that "
        f"of ReLU's is, of full rank, {', '.join(parts)}."
    )


def null(base: Arm) -> str:
    """Whether the numerical rank tells a trained network from an untrained one."""
    change = paired(average(base, "weights", "elimination_float64"), average(base, "initial", "elimination_float64"))
    before = estimate(average(base, "initial", "elimination_float64")).text(1)
    if abs(change.mean) < 1:
        verdict = "it does not tell a trained network from an untrained one"
    else:
        verdict = f"training {'raised' if change.mean > 0 else 'lowered'} it by {number_text(abs(change.mean), 1)}"
    return f"Before training it is {before}: {verdict}."


def where(base: Arm) -> str:
    """Whether the update has the lower effective rank than what it is added to, and the numbers."""
    update, initial = (average(base, name, "effective_rank", normalised=True) for name in ("update", "initial"))
    change = paired(update, initial)
    if change.high < 0:
        begin = "In the update: its"
    else:
        begin = "Not in the update: its" if change.low > 0 else "Whether it is in the update is not decided: its"
    parts = []
    for name in ("effective_rank", "stable_rank"):
        found = [
            estimate(average(base, matrix, name, normalised=True)).percent()
            for matrix in ("update", "initial", "weights")
        ]
        parts.append(f"{NAMES[name]} is {found[0]} of full rank, against {found[1]} before training and {found[2]} "
                     "after")  # fmt: skip
    return f"{begin} {parts[0]}; its {parts[1]}."
