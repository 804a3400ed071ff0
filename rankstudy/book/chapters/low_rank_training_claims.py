"""Chapter 6: what it concludes, and the test of each conclusion."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankstudy.book.chapters import statements as claims
from rankstudy.book.stats import estimate, number_text, paired, percent
from rankstudy.study.experiments.inference import BLOCKS
from rankstudy.study.experiments.low_rank_training import DENSE, PLAIN

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


def speed_range(batches: np.ndarray, speed: np.ndarray) -> str:
    """The slowest and the fastest of all batch sizes, relative to dense."""
    slow, fast = int(np.argmin(speed)), int(np.argmax(speed))
    low, high = (f"{number_text(speed[at], 1)} (batch {number_text(int(batches[at]))})" for at in (slow, fast))
    return f"over all batch sizes {low} to {high} times as fast"


def small_batch(batch: int, speed: float, low: float, high: float) -> str:
    """Whether the overhead of two products eats what they save, where it weighs most; by the quartiles."""
    times = f"{number_text(speed, 2)} times as fast as dense"
    if low > 1:
        return f"at batch {batch} the saved operations gain more than this costs ({times})"
    if high < 1:
        return f"at batch {batch} this costs more than the saved operations gain ({times})"
    return f"at batch {batch} neither outweighs the other by more than the timings vary ({times})"


def largest_batch(
    batches: np.ndarray, found: dict[str, np.ndarray], bytes_ratio: float, operations_ratio: float
) -> str:
    """Whether the speed-up falls towards the largest batch, by the quartiles, and what that may come from."""
    speed, best = found["speedup"], int(np.argmax(found["speedup"]))
    last, fastest = (number_text(int(batches[at])) for at in (-1, best))
    if best == len(speed) - 1:
        return f"The speed-up is the highest at the largest batch, {last}."
    if not found["high"][-1] < found["low"][best]:
        return f"The speed-up at the largest batch, {last}, is not told apart from the highest one, at batch {fastest}."
    fall = (
        f"The speed-up is the highest at batch {fastest}, {number_text(speed[best], 1)}, and falls to "
        f"{number_text(speed[-1], 1)} at batch {last}."
    )
    if bytes_ratio <= speed[-1] <= operations_ratio:
        return (
            f"{fall} There it lies between the ratio of bytes, {number_text(bytes_ratio, 2)}, and the ratio of "
            f"operations, {number_text(operations_ratio, 1)}. A likely reason, which was not tested: what the layers "
            "give out for a large batch no longer fits in the cache, so that moving bytes takes a larger part of the "
            f"time, and of those the dense network moves only {number_text(bytes_ratio, 2)} times as many."
        )
    return f"{fall} Why is open: it does not lie between the ratios of bytes and of operations."


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
        f"quartiles {number_text(low, 2)} and {number_text(high, 2)} over {BLOCKS} turns, {chapter.text['device']}; "
        f"{chapter.text['speed_range']}"
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
    evidence = f"n = {effect.n} pairs, difference {effect.points()}"
    dense, own = chapter.epochs(name)
    if dense:
        begin += f" ({dense} dense epochs, then {own} in low rank)"
        _, plain = chapter.epochs(PLAIN)
        evidence += f"; {dense + own} epochs in all, the standard initialisation {plain}"
        if dense + own != plain:
            evidence += ", so the length of training differs too"
    return claims.compare(
        f"low-rank-{name}",
        effect,
        holds=f"{begin} gives a better test accuracy than the standard initialisation.",
        fails=f"{begin} gives a worse test accuracy than the standard initialisation.",
        open=f"{begin} makes no difference in test accuracy that these networks can show.",
        evidence=evidence,
        confirmatory=confirmatory,
    )


def _factorial(chapter: Any) -> list[claims.Claim]:
    """Main effects and interaction of the 2×2 factorial of spectral initialisation and Frobenius decay."""
    none, spectral, decay, both = (np.asarray(chapter.final(name, "test")) for name in (PLAIN, *FACTORIAL))
    at = f"test accuracy at r = {chapter.rank}"
    n = f"n = {len(none)} seeds, each in all four combinations"
    spectral_twice, decay_twice = both + spectral - none - decay, both + decay - none - spectral
    mains = {
        "spectral": ("Spectral initialisation", "training with and without Frobenius decay", spectral_twice),
        "decay": ("Frobenius decay", "both initialisations", decay_twice),
    }
    found = []
    for name, (what, averaged, twice) in mains.items():
        effect = estimate(twice / 2)
        found.append(
            claims.compare(
                f"low-rank-factorial-{name}",
                effect,
                holds=f"{what} raises {at}, averaged over {averaged}.",
                fails=f"{what} lowers {at}, averaged over {averaged}.",
                open=f"{what}, averaged over {averaged}, makes no difference in {at} that these networks can show.",
                evidence=f"{n}, main effect {effect.points()}",
            )
        )
    interaction = estimate((both - decay) - (spectral - none))
    with_decay, without = estimate(both - decay), estimate(spectral - none)
    than = "with Frobenius decay than without"
    found.append(
        claims.compare(
            "low-rank-factorial-interaction",
            interaction,
            holds=f"Spectral initialisation adds more to (or takes less from) {at} {than}.",
            fails=f"Spectral initialisation adds less to (or takes more from) {at} {than}.",
            open=f"Whether spectral initialisation does more or less for {at} {than} is not decided.",
            evidence=f"{n}, its effect {with_decay.points()} with decay and {without.points()} without, "
            f"difference {interaction.points()}",
        )
    )
    return found
