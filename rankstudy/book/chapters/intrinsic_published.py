"""Chapter 9: what the three papers report, beside ours, and whether it agrees by the rule of `published`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rankstudy.book.chapters import li2018
from rankstudy.book.chapters.common import Markdown
from rankstudy.book.chapters.crossings import times_text
from rankstudy.book.chapters.intrinsic_networks import Ablations
from rankstudy.book.chapters.published import (
    AGREES,
    CLOSE,
    DIFFERS,
    OPEN,
    accuracy,
    compared,
    direction,
    explained,
    less,
    value,
)
from rankstudy.book.stats import Estimate, estimate, listed, number_text, paired

NOT_RUN = "not run under this profile"
NO_CROSSING = "not between the dimensions tried for every seed"
BETWEEN = f"{OPEN}: between ours and ours with"  # a named change: enough and more, so nothing says how much of it
IN_DIRECTION = {AGREES: f"{AGREES} in direction"}  # where sizes cannot be compared
# Kamalakara et al. 2022: GPT-2 on LM1B at rank fraction 0.62, perplexity, secondary (from notes on the paper); the
# lower the better. ResNet-50 at rank 0.5, accuracy in per cent, secondary.
PERPLEXITY = {"full": 37.67, "he": 39.6, "spectral": 38.78}
RESNET = {"full": 76.39, "half": 76.13}


def li(chapter: Any) -> Markdown:
    """Li et al. 2018."""
    rows, verdicts = [], {}
    for d, difference in chapter.differences.items():
        theirs = li2018.at(np.array([d]))[:, 0]
        verdict = verdicts[d] = near(difference, d, chapter.ablations)
        ours, less_theirs = estimate(chapter.at(d, "test")).percent(), difference.text(None, 100.0, sign=True)
        published = f"{100 * theirs.min():.1f} to {100 * theirs.max():.1f} %"
        rows.append([f"test accuracy, d = {number_text(d)}", published, ours, less_theirs, verdict])
    runs = chapter.published_crossings
    found = estimate(chapter.curve["intrinsic"]["test"]["absolute"])
    low, high = min(runs.min(), li2018.D_INT90), max(runs.max(), li2018.D_INT90)
    verdict = crosses(found, low, high, chapter.ablations, verdicts)
    theirs_text = f"{li2018.D_INT90} (runs: {' and '.join(number_text(run) for run in runs)})"
    others = [["dimensions to 0.90, test", theirs_text, chapter.text["absolute"], verdict]]
    others += [_grid(chapter), _shuffled(chapter)]
    rows += [[*cells, "–", verdict] for *cells, verdict in others]
    return compared(["Li et al. 2018", "published", "ours", "ours − theirs, points"], rows, chapter.result.data)


def near(difference: Estimate, d: int, ablations: Ablations) -> str:
    """Ours − theirs at d within `CLOSE`; else what the changed networks say, each by the interval of its own seeds.

    A change with an effect explains the difference if the changed network agrees and ours is not within `CLOSE`. If
    none does, and theirs lies surely between ours and a changed one, the change is enough and more: open, and named.
    """
    if (verdict := accuracy(difference)) == AGREES:
        return verdict
    moved = {}
    for name in ablations.changed:
        change = ablations.difference(name, "test").get(d)
        if change is not None and (change.low > 0 or change.high < 0):
            moved[name] = _changed(ablations, name, d)
    for name, own in moved.items():
        if accuracy(own) == AGREES and abs(difference.mean) > CLOSE:
            return explained(name)
    for name, own in moved.items():
        if _beyond(own, difference):
            return f"{BETWEEN} {name}"
    return verdict


def beside(differences: Mapping[int, Estimate], ablations: Ablations, data: str) -> str:
    """On which side of theirs ours lies, and where a change that explains some differences goes further than theirs."""
    if data != "mnist" or not differences:
        return "Under this profile there is nothing to compare in accuracy."
    verdicts = {d: near(each, d, ablations) for d, each in differences.items()}
    higher, lower = (sum(sign * each.mean > each.half for each in differences.values()) for sign in (1, -1))
    told = [
        f"Of {len(differences)} dimensions ours is surely higher than the published mean at {higher} and surely lower "
        f"at {lower}: agreeing in accuracy says within {100 * CLOSE:.0f} points, not equal."
    ]
    for name, curve in ablations.changed.items():
        run = curve["dimension"].tolist()
        fits = [d for d, verdict in verdicts.items() if verdict == explained(name)]
        if not fits:
            continue
        sentence = f"With {name} the difference is explained at d = {listed(fits)}."
        for d in (d for d in run if d in differences and _beyond(_changed(ablations, name, d), differences[d])):
            sentence += (
                f" At d = {number_text(d)} the same change goes further than theirs: the changed networks are at "
                f"{_changed(ablations, name, d).points()} from theirs, ours at {differences[d].points()}."
            )
        if missing := [d for d, verdict in verdicts.items() if verdict != AGREES and d not in run]:
            sentence += f" At d = {listed(missing)} it was not run."
        told.append(sentence)
    return " ".join(told if len(told) > 1 else [*told, "No change explains a difference in accuracy."])


def _changed(ablations: Ablations, name: str, d: int) -> Estimate:
    """Test accuracy of the changed networks minus theirs."""
    return less(ablations.accuracy(name, d, "test"), float(li2018.at(np.array([d])).mean()))


def _beyond(changed: Estimate, ours: Estimate) -> bool:
    """Does theirs lie surely between the two? Both are differences from it."""
    return changed.high < 0 < ours.low or ours.high < 0 < changed.low


def weights(ablations: Ablations) -> str:
    """What their initial weights reach in our code, whether that agrees with theirs, and what they do to d_int90."""
    name = "truncated He initialisation"
    if name not in ablations.changed:
        return "This profile does not train with their initial weights."
    d = min(ablations.changed[name]["dimension"].tolist())
    runs = li2018.at(np.array([d]))[:, 0]
    found = ablations.accuracy(name, d, "test")
    verdict = {
        AGREES: "which agrees with theirs",
        DIFFERS: "which differs from theirs",
        OPEN: "which leaves open whether it agrees with theirs",
    }[accuracy(less(found, float(runs.mean())))]
    return (
        f"At d = {d} theirs reached {100 * runs.min():.1f} to {100 * runs.max():.1f} % on test data. With their "
        f"initial weights ours reaches {found.percent()} (n = {found.n}), {verdict} by the rule at the end of this "
        "chapter."
    ) + _moved(ablations, name)


def _moved(ablations: Ablations, name: str) -> str:
    """How far a change moves the dimension that reaches 0.90, towards theirs or not."""
    without, own = (curve["intrinsic"]["test"]["absolute"] for curve in (ablations.main, ablations.changed[name]))
    if not np.isfinite(own).all():
        return ""
    return (
        f" Those initial weights move the dimension that reaches 0.90 from {estimate(without).text(0)} to "
        f"{estimate(own).text(0)} (change {paired(own, without[: len(own)]).text(0, sign=True)}, paired); theirs is "
        f"{li2018.D_INT90}."
    )


def crosses(found: Estimate, low: float, high: float, ablations: Ablations, verdicts: Mapping[int, str]) -> str:
    """Where the curve crosses 0.90, theirs in [low, high].

    A change explains it by its own crossings where every seed of it has one. Few dimensions were run with each change,
    so it may not: then the accuracies at the dimensions from ours to theirs decide, if one change explains all of
    those that do not agree.
    """
    if (verdict := value(found, low, high)) != DIFFERS:
        return verdict
    ours = ablations.main["intrinsic"]["test"]["absolute"]
    for name, curve in ablations.changed.items():
        own = curve["intrinsic"]["test"]["absolute"]
        if np.isfinite(own).all() and value(estimate(own), low, high) == AGREES:
            change = paired(own, ours[: len(own)])
            if change.low > 0 or change.high < 0:
                return explained(name)
    start, end = min(found.mean, low), max(found.mean, high)
    causes = {each for d, each in verdicts.items() if start <= d <= end and each != AGREES}
    if len(causes) == 1 and (cause := causes.pop()).startswith(explained("")):
        return f"{cause} (rows above)"
    return verdict


def _grid(chapter: Any) -> list[str]:
    low, high = li2018.GRID
    theirs = f"{number_text(low)} to {number_text(high)}"
    if not chapter.grid.others:
        return ["the same over width and depth", theirs, NOT_RUN, OPEN]
    means = [each.mean for each in chapter.grid.found]
    if not np.isfinite(means).all():
        return ["the same over width and depth", theirs, NO_CROSSING, OPEN]
    verdict = {"holds": AGREES, "fails": DIFFERS, "open": OPEN}[chapter.grid.within()]
    ours = f"{number_text(min(means))} to {number_text(max(means))} (means, {chapter.grid.seeds})"
    return ["the same over width and depth", theirs, ours, verdict]


def _shuffled(chapter: Any) -> list[str]:
    """At the fractions that both shuffled: the direction, as networks, images and epochs are not the same."""
    both = sorted(each for each in li2018.SHUFFLED if each in chapter.shuffled.fractions)
    least, most = (both[0], both[-1]) if len(both) > 1 else (min(li2018.SHUFFLED), max(li2018.SHUFFLED))
    what = f"dimensions at {100 * most:.0f} % shuffled labels over those at {100 * least:.0f} %"
    theirs = f"{number_text(li2018.SHUFFLED[most] / li2018.SHUFFLED[least], 2)} times"
    if len(both) < 2:
        return [what, theirs, NOT_RUN, OPEN]
    ratio = chapter.shuffled.against(most, least)
    verdict = direction(ratio, 1)
    return [what, theirs, f"{_times(ratio)}, n = {ratio.n}", IN_DIRECTION.get(verdict, verdict)]


def aghajanyan(transfer: Any, data: str) -> Markdown:
    """Aghajanyan et al. 2021: the directions, since dimensions of RoBERTa are none of an MNIST network."""
    rows = []
    for what, one, other in (
        ("pre-training lowers d90 (against training from scratch)", ("pre-trained", False), ("scratch", False)),
        ("one scale per layer (SAID) lowers d90 (against DID)", ("pre-trained", True), ("pre-trained", False)),
    ):
        ratio = transfer.ratio(one, other)
        ours = NOT_RUN if ratio is None else _times(ratio)
        rows.append([what, "fewer", ours, direction(ratio, -1)])
    return compared(["Aghajanyan et al. 2021", "published", "ours, test"], rows, data)


def kamalakara(low_rank: Any) -> Markdown:
    """Kamalakara et al. 2022 beside chapter 6's networks; `low_rank`: that chapter."""
    from rankstudy.study.experiments.low_rank_training import DENSE, PLAIN

    effects: Mapping[str, tuple[str, str, str, int]] = {
        "low rank against dense": (_worse(PERPLEXITY["he"], PERPLEXITY["full"]), PLAIN, DENSE, -1),
        "spectral against standard initialisation": (
            _worse(PERPLEXITY["spectral"], PERPLEXITY["he"]),
            "spectral",
            PLAIN,
            1,
        ),
    }
    rows = []
    for what, (theirs, arm, control, sign) in effects.items():
        run = arm in low_rank.arms
        effect = low_rank.against(arm, control) if run else None
        ours = NOT_RUN if effect is None else f"{effect.points()} of test accuracy"
        rows.append([what, theirs, ours, direction(effect, sign)])
    points = RESNET["half"] - RESNET["full"]
    effect = low_rank.against(PLAIN)
    loss = f"{number_text(points, 2)} points (ResNet-50, rank fraction 0.5)"
    # the rank fractions differ by far, so sizes that happen to be alike would not agree, and others not differ
    fraction = f"rank fraction {low_rank.rank / min(low_rank.shapes[1]):.2g}"
    lower = direction(effect, -1)
    rows.insert(1, ["the same, accuracy", loss, f"{effect.points()} ({fraction})", IN_DIRECTION.get(lower, lower)])
    seconds = estimate(low_rank.epoch_seconds(DENSE)[: low_rank.networks] / low_rank.epoch_seconds(PLAIN))
    faster = direction(less(seconds, 1.0), 1)
    ours = f"{seconds.text(2)} times ({fraction})"
    rows.append(["training is faster", "up to 2 times as fast", ours, IN_DIRECTION.get(faster, faster)])
    return compared(["Kamalakara et al. 2022", "published", "ours"], rows, low_rank.result.data)


def _times(ratio: Estimate) -> str:
    return f"{times_text(ratio)} times" if np.isfinite(ratio.mean) else NO_CROSSING


def _worse(arm: float, control: float) -> str:
    return f"perplexity {arm:g} against {control:g}"
