"""Chapter 9: what the three papers report, beside ours, and whether it agrees by the rule of `published`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rankstudy.chapters import li2018
from rankstudy.chapters.common import Markdown
from rankstudy.chapters.crossings import times_text
from rankstudy.chapters.intrinsic_networks import Ablations
from rankstudy.chapters.published import AGREES, CLOSE, OPEN, accuracy, compared, direction, explained, value
from rankstudy.intervals import Estimate, estimate, number_text

NOT_RUN = "not run under this profile"
# Kamalakara et al. 2022: GPT-2 on LM1B at rank fraction 0.62, perplexity, secondary (from notes on the paper); the
# lower the better. ResNet-50 at rank 0.5, accuracy in per cent, secondary.
PERPLEXITY = {"full": 37.67, "he": 39.6, "spectral": 38.78}
RESNET = {"full": 76.39, "half": 76.13}


def li(chapter: Any) -> Markdown:
    """Li et al. 2018."""
    rows = []
    for d, difference in chapter.differences.items():
        theirs = li2018.at(np.array([d]))[:, 0]
        verdict = near(difference, d, chapter.ablations)
        ours = estimate(chapter.at(d, "test")).percent()
        rows.append(
            [f"test accuracy, d = {d}", f"{100 * theirs.min():.1f} to {100 * theirs.max():.1f} %", ours, verdict]
        )
    runs = chapter.published_crossings
    found = estimate(chapter.curve["intrinsic"]["test"]["absolute"])
    low, high = min(runs.min(), li2018.D_INT90), max(runs.max(), li2018.D_INT90)
    verdict = value(found, low, high)
    if verdict != AGREES:
        verdict = _cause([row[3] for row in rows]) or verdict
    theirs_text = f"{li2018.D_INT90} (runs: {' and '.join(number_text(run) for run in runs)})"
    rows.append(["dimensions to 0.90, test", theirs_text, chapter.text["absolute"], verdict])
    rows += [_grid(chapter), _shuffled(chapter)]
    return compared(["Li et al. 2018", "published", "ours"], rows, chapter.result.data)


def near(difference: Estimate, d: int, ablations: Ablations) -> str:
    """Ours − theirs at d within `CLOSE`; else explained by the first change that moves ours to within it."""
    if (verdict := accuracy(difference)) == AGREES:
        return verdict
    for name in ablations.changed:
        change = ablations.difference(name, "test").get(d)
        if change is not None and (change.low > 0 or change.high < 0):
            if abs(difference.mean + change.mean) <= CLOSE < abs(difference.mean):
                return explained(name)
    return verdict


def _cause(verdicts: list[str]) -> str:
    """What explains the curve explains where it crosses 0.90."""
    return next((verdict for verdict in verdicts if verdict.startswith("explained")), "")


def _grid(chapter: Any) -> list[str]:
    low, high = li2018.GRID
    theirs = f"{number_text(low)} to {number_text(high)}"
    curves = chapter.grid.curves.values() if chapter.grid.others else []
    means = [float(np.mean(curve["intrinsic"]["test"]["absolute"])) for curve in curves]
    if not means:
        return ["the same over width and depth", theirs, NOT_RUN, OPEN]
    if not np.isfinite(means).all():
        return ["the same over width and depth", theirs, "not reached by every network", OPEN]
    within = max(means) / min(means) <= 2 * high / low  # twice their spread, as ours has fewer seeds
    ours = f"{number_text(min(means))} to {number_text(max(means))}"
    return ["the same over width and depth", theirs, ours, AGREES if within else OPEN]


def _shuffled(chapter: Any) -> list[str]:
    what = "more shuffled labels need more dimensions"
    theirs = " < ".join(number_text(d) for d in li2018.SHUFFLED.values())
    ratio = chapter.shuffled.ratio
    if ratio is None:
        return [what, theirs, NOT_RUN, OPEN]
    return [what, theirs, _times(ratio), direction(ratio, 1)]


def aghajanyan(transfer: Any, data: str) -> Markdown:
    """Aghajanyan et al. 2020: the directions, since dimensions of RoBERTa are none of an MNIST network."""
    rows = []
    for what, one, other in (
        ("pre-training lowers d90 (against training from scratch)", ("pre-trained", False), ("scratch", False)),
        ("one scale per layer (SAID) lowers d90 (against DID)", ("pre-trained", True), ("pre-trained", False)),
    ):
        ratio = transfer.ratio(one, other)
        ours = NOT_RUN if ratio is None else _times(ratio)
        rows.append([what, "fewer", ours, direction(ratio, -1)])
    return compared(["Aghajanyan et al. 2020", "published", "ours, test"], rows, data)


def kamalakara(low_rank: Any) -> Markdown:
    """Kamalakara et al. 2022 beside chapter 6's networks; `low_rank`: that chapter."""
    from rankstudy.experiments.low_rank_training import DENSE, PLAIN

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
    loss = f"{number_text(points, 2)} points (ResNet-50, rank 0.5)"
    rows.insert(1, ["the same, accuracy", loss, effect.points(), accuracy(_less(effect, points / 100))])
    seconds = estimate(low_rank.epoch_seconds(DENSE)[: low_rank.networks] / low_rank.epoch_seconds(PLAIN))
    faster = direction(_less(seconds, 1.0), 1)
    rows.append(["training is faster", "up to 2 times as fast", f"{seconds.text(2)} times", faster])
    return compared(["Kamalakara et al. 2022", "published", "ours"], rows, low_rank.result.data)


def _times(ratio: Estimate) -> str:
    return f"{times_text(ratio)} times" if np.isfinite(ratio.mean) else "90 % not reached by every network"


def _worse(arm: float, control: float) -> str:
    return f"perplexity {arm:g} against {control:g}"


def _less(found: Estimate, constant: float) -> Estimate:
    return Estimate(found.mean - constant, found.half, found.n)
