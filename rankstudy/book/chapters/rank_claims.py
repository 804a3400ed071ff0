"""Chapter 3: what its result is asked, and the sentence that each answer prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rankstudy.book.chapters import rank_views
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.rank_views import ACTIVATIONS, NAMES, Arm, average, did_train, ranks, slope
from rankstudy.book.stats import Estimate, estimate, listed, number_text, paired


def stated(
    base: Arm,
    shallow: Mapping[str, Arm],
    deep: Mapping[str, Arm],
    matched: Mapping[str, Arm],
    inputs: Mapping[str, Any],
    nulls: Mapping[str, Any],
) -> list[claims.Claim]:
    """The claims of the chapter, those named in advance corrected for being several."""
    return claims.corrected(
        [
            _full_rank(base),
            _update_is_low(base),
            _outliers(base, nulls),
            *_depth(deep["relu"]),
            *_tanh(shallow, matched),
            _bounded_by_images(inputs),
        ]
    )


def _bounded_by_images(inputs: Mapping[str, Any]) -> claims.Claim:
    found, bound = np.asarray(inputs["sgd_float64"]["rank_float64"]), inputs["images"]["rank_float64"]
    return claims.every(
        "rank-bounded-by-images",
        found <= bound,
        holds="Under plain SGD in double precision the rank of the first layer's update stays within the rank of the "
        f"images ({bound}).",
        fails="Under plain SGD in double precision the rank of the first layer's update exceeds the rank of the "
        f"images ({bound}).",
        least=1,  # a theorem: one network can only refute it
        evidence=f"n = {len(found)} networks, ranks {rank_views.spread(found)}",
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
        evidence=f"n = {len(full)} networks, mean over layers {mean} of {full_rank}, the mean of "
        f"{', '.join(number_text(float(limit)) for limit in base['ranks']['limits'])}",
    )


def _update_is_low(base: Arm) -> claims.Claim:
    update = average(base, "update", "effective_rank", normalised=True)
    initial = average(base, "initial", "effective_rank", normalised=True)
    effect = paired(update, initial)
    hidden = [
        estimate(average(base, matrix, "effective_rank", normalised=True, hidden=True)).percent()
        for matrix in ("update", "initial")
    ]
    text = (
        f"{estimate(update).percent()} of full rank against {estimate(initial).percent()} on the mean over layers, "
        f"{hidden[0]} against {hidden[1]} without the output layer"
    )
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


def _outliers(base: Arm, nulls: Mapping[str, Any]) -> claims.Claim:
    found = ranks(base, "weights", "outliers_initialisation")
    null = ranks(base, "initial", "outliers_initialisation")
    met = (found > null).all(axis=1)
    mean = estimate(found.mean(axis=1))
    left = sorted(float(np.mean(values)) for values in nulls["weights"].values())
    return claims.every(
        "rank-outliers",
        met,
        holds="In every layer of every network training lifts singular values above the edge of the random "
        f"initialisation, {mean.text()} of them on the mean over layers.",
        fails="Not every layer of every network has more singular values above the edge of the random "
        f"initialisation than before training; on the mean over layers there are {mean.text()}.",
        evidence=f"n = {len(met)} networks; above what copies of W without its structure reach, which have its "
        f"scale, {number_text(left[0], 1)} to {number_text(left[-1], 1)}",
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


def _tanh(shallow: Mapping[str, Arm], matched: Mapping[str, Arm]) -> list[claims.Claim]:
    effect = _tanh_less_relu(shallow)
    if effect is None:
        return []
    rates = f"at learning rates of {_both_rates(shallow)}, each its own"
    text = f"{effect.points()} of full rank, {rates}" if _rates_differ(shallow) else f"{effect.points()} of full rank"
    other = _tanh_less_relu(matched)
    return [
        claims.compare(
            "rank-tanh-relu",
            effect,
            above=False,
            holds=f"tanh's update has a lower effective rank than ReLU's ({text}).",
            fails=f"tanh's update has a higher effective rank than ReLU's ({text}).",
            open=f"The effective ranks of tanh's and ReLU's updates do not differ for certain ({text}).",
            evidence=f"n = {effect.n} pairs of networks with the same initial weights and order of images"
            + ("" if other is None else f"; with matched gains, at {_both_rates(matched)}, {other.points()}"),
            confirmatory=True,
        )
    ]


def _tanh_less_relu(arms: Mapping[str, Arm]) -> Estimate | None:
    """Difference of the effective ranks of their updates, paired by seed, where both trained."""
    if not all(name in arms and did_train(arms[name]) for name in ("tanh", "relu")):
        return None
    return paired(*(average(arms[name], "update", "effective_rank", normalised=True) for name in ("tanh", "relu")))


def _rates_differ(arms: Mapping[str, Arm]) -> bool:
    return arms["tanh"]["learning_rate"] != arms["relu"]["learning_rate"]


def _both_rates(arms: Mapping[str, Arm]) -> str:
    return f"{arms['tanh']['learning_rate']:g} and {arms['relu']['learning_rate']:g}"


def rates(groups: Mapping[str, Mapping[str, Arm]]) -> str:
    """tanh against ReLU in every group of arms, and whether they had the same learning rate there."""
    found = {label: (_tanh_less_relu(arms), arms) for label, arms in groups.items()}
    parts = [
        f"{effect.points()} ({label}, rates {_both_rates(arms)})"
        for label, (effect, arms) in found.items()
        if effect is not None
    ]
    if not parts:
        return "tanh and ReLU cannot be compared under this profile."
    compared = [arms for effect, arms in found.values() if effect is not None]
    if all(arms["tanh"]["learning_rate"] == arms["relu"]["learning_rate"] for arms in compared):
        told = "tanh and ReLU take the same learning rate in every comparison, so the rate does not part them here."
    else:
        told = "A learning rate of its own is part of an arm, and so is what it does to the rank."
    return (
        f"{told} Where an arm starts matters too: the order of the activations may be another in each comparison. The "
        f"effective rank of tanh's update less that of ReLU's is, of full rank, {', '.join(parts)}."
    )


def always_below(groups: Mapping[str, Mapping[str, Arm]]) -> str:
    """Which activations have the lower effective rank of the update in every group, however they are ordered within."""
    orders = []
    for arms in groups.values():
        mean = {n: average(arm, "update", "effective_rank", normalised=True).mean() for n, arm in arms.items()
                if did_train(arm)}  # fmt: skip
        orders.append(sorted(mean, key=mean.get))
    common = set.intersection(*map(set, orders))
    orders = [[name for name in order if name in common] for order in orders]
    splits = [k for k in range(1, len(common)) if len({frozenset(order[:k]) for order in orders}) == 1]
    if len(orders) < 2 or not splits:
        return ""
    k = min(splits, key=lambda k: abs(k - len(common) / 2))  # the most even one says most
    lower, upper = ([ACTIVATIONS[n] for n in ACTIVATIONS if n in part] for part in (orders[0][:k], orders[0][k:]))
    same = all(order == orders[0] for order in orders)
    return (
        f"On the means, in each of the {len(orders)} comparisons ({', '.join(groups)}) {listed(lower)} "
        f"{'lies' if len(lower) == 1 else 'lie'} below {listed(upper)}"
        + ("; the order is the same in all." if same else "; within these the order changes.")
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
        hidden = estimate(average(base, "update", name, normalised=True, hidden=True)).percent()
        parts.append(f"{NAMES[name]} is {found[0]} of full rank, against {found[1]} before training and {found[2]} "
                     f"after ({hidden} for the update without the output layer)")  # fmt: skip
    return f"{begin} {parts[0]}; its {parts[1]}."
