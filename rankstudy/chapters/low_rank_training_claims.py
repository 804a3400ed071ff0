"""Chapter 6: what it concludes, and the test of each conclusion."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankstudy import claims
from rankstudy.experiments.inference import BLOCKS
from rankstudy.experiments.low_rank_training import DENSE, PLAIN
from rankstudy.intervals import estimate, number_text, paired, percent

LEVELS = (0.90, 0.95, 0.97, 0.98)  # validation accuracies to be reached
FACTORIAL = ("spectral", "decay", "spectral + decay")


def made(chapter: Any) -> list[claims.Claim]:
    found = [_memory(chapter), _speed(chapter), *_accuracy(chapter)]
    for name, what, confirmatory in (
        ("variance", "matching the dense layer's variance at the start", True),
        ("warm", "a warm start from dense epochs", False),
        ("trained", "cutting a trained network and fine-tuning it", True),
    ):
        if name in chapter.arms:
            found.append(_better(chapter, name, what, confirmatory))
    if all(name in chapter.arms for name in FACTORIAL):
        found += _factorial(chapter)
    return found


def convergence(chapter: Any) -> str:
    """Epochs to the highest level of validation accuracy that every network of both arms reached, paired by seed."""
    for level in reversed(LEVELS):
        (dense, _), (low, _) = (chapter.reached(name, level) for name in (DENSE, PLAIN))
        if min(len(dense), len(low)) == chapter.networks == len(chapter.history(DENSE)["seeds"]):
            break
    else:
        return f"Not every network reached a validation accuracy of {percent(LEVELS[0], 0)}."
    change = paired(np.asarray(low, dtype=float), np.asarray(dense, dtype=float))
    word = "more" if change.low > 0 else "fewer" if change.high < 0 else ""
    verdict = f"the factorised network needs {word} epochs" if word else "which needs fewer epochs is not decided"
    return (
        f"To a validation accuracy of {percent(level, 0)} it takes {estimate(low).text()} epochs, the dense network "
        f"{estimate(dense).text()}, so {verdict} (difference {change.text(sign=True)})."
    )


def _memory(chapter: Any) -> claims.Claim:
    held = chapter.result["memory"].values()
    agree = all(each["parameters"] == each["formula"] for each in held)
    return claims.Claim(
        "low-rank-memory",
        "holds" if agree else "fails",
        f"The formula Σ(m + n)·r gives the number of parameters counted; at r = {chapter.rank} the dense network has "
        f"{chapter.text['times']} times as many."
        if agree
        else "The formula Σ(m + n)·r is not the number of parameters counted.",
        f"{len(held)} variants counted",
    )


def _speed(chapter: Any) -> claims.Claim:
    """By the quartiles of the speed-up, for the largest batch."""
    found = chapter.result["inference"]["network"][f"rank {chapter.rank}"]
    low, high = found["low"][-1], found["high"][-1]
    verdict = "holds" if low > 1 else "fails" if high < 1 else "open"
    batch = chapter.text["last_batch"]
    sentence = {
        "holds": f"On batches of {batch} images the factorised network is faster than the dense one.",
        "fails": f"On batches of {batch} images the factorised network is slower than the dense one.",
        "open": f"On batches of {batch} images neither the factorised nor the dense network is measurably faster.",
    }[verdict]
    evidence = (
        f"{chapter.text['many']} times as fast, {chapter.text['network_operations']} by the count of operations; "
        f"quartiles {number_text(low, 2)} and {number_text(high, 2)} over {BLOCKS} turns, {chapter.text['device']}"
    )
    return claims.Claim("low-rank-speed", verdict, sentence, evidence)


def _accuracy(chapter: Any) -> list[claims.Claim]:
    effect, point = chapter.against(PLAIN), 0.01
    n = f"n = {effect.n} pairs of networks, difference on test data {effect.points()}"
    r = f"r = {chapter.rank}"
    return [
        claims.compare(
            "low-rank-costs-accuracy",
            effect,
            above=False,
            holds=f"Trained from the start at {r}, the network is less accurate on test data than the dense one.",
            fails=f"Trained from the start at {r}, the network is more accurate on test data than the dense one.",
            open=f"Whether the network trained at {r} is less accurate on test data than the dense one is not decided.",
            evidence=n,
            confirmatory=True,
        ),
        claims.compare(
            "low-rank-within-a-point",
            effect,
            -point,
            holds=f"Trained from the start at {r}, the network stays within one point of the dense one on test data.",
            fails=f"Trained from the start at {r}, the network is over one point below the dense one on test data.",
            open=f"Whether the network trained at {r} stays within one point of the dense one is not decided.",
            evidence=n,
            surprise=1,
        ),
    ]


def _better(chapter: Any, name: str, what: str, confirmatory: bool) -> claims.Claim:
    effect = chapter.against(name, PLAIN)
    begin = f"At r = {chapter.rank}, {what}"
    return claims.compare(
        f"low-rank-{name}",
        effect,
        holds=f"{begin} gives a better test accuracy than the standard initialisation.",
        fails=f"{begin} gives a worse test accuracy than the standard initialisation.",
        open=f"{begin} makes no difference in test accuracy that these networks can show.",
        evidence=f"n = {effect.n} pairs, difference {effect.points()}",
        confirmatory=confirmatory,
    )


def _factorial(chapter: Any) -> list[claims.Claim]:
    """Main effects and interaction of the 2×2 factorial of spectral initialisation and Frobenius decay."""
    none, spectral, decay, both = (chapter.final(name, "test") for name in (PLAIN, *FACTORIAL))
    effects = {
        "spectral": ("Spectral initialisation", "raises", "lowers", (spectral + both - none - decay) / 2),
        "decay": ("Frobenius decay", "raises", "lowers", (decay + both - none - spectral) / 2),
        "interaction": (
            "Together with Frobenius decay, spectral initialisation",
            "gains more than without it in",
            "gains less than without it in",
            both - decay - spectral + none,
        ),
    }
    found = []
    for name, (what, up, down, values) in effects.items():
        effect = estimate(np.asarray(values))
        found.append(
            claims.compare(
                f"low-rank-factorial-{name}",
                effect,
                holds=f"{what} {up} test accuracy at r = {chapter.rank}.",
                fails=f"{what} {down} test accuracy at r = {chapter.rank}.",
                open=f"{what} has no effect on test accuracy at r = {chapter.rank} that these networks can show.",
                evidence=f"n = {effect.n} networks per cell, effect {effect.points()}",
            )
        )
    return found
