"""Galanti's bound as chapter 4 shows it: what `experiments.decay` found, or that it was left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, table
from rankstudy.book.chapters.published import AGREES, DIFFERS, OPEN, compared, direction
from rankstudy.book.chapters.rank_views import TRAINED
from rankstudy.book.stats import Estimate, estimate, number_text, percent
from rankstudy.study.experiments.decay import ERRORS

LEFT_OUT = "This profile leaves the experiment out."
NOT_VARIED = "no two arms that learned differ in it alone"
FINE = len(ERRORS) - 1  # the smallest error


def collapsed(found: Mapping[str, Any], arm: int) -> bool:
    """Whether the networks of the arm did not learn: low rank for no good reason."""
    return bool((found["history"][str(arm)]["train_accuracy"][:, -1] < TRAINED).any())


def learned(found: Mapping[str, Any]) -> list[int]:
    """The arms that did."""
    return [arm for arm in range(len(found["arms"])) if not collapsed(found, arm)]


def rows(found: Mapping[str, Any]) -> Markdown:
    """One row per arm: the bound, the ranks, and what the networks were worth."""
    if not found:
        return Markdown(LEFT_OUT)
    shown = []
    for index, (batch, rate, decay, momentum) in enumerate(found["arms"]):
        history = found["history"][str(index)]
        ranks = [found["ranks"][name][index, :, :, FINE].max(axis=1) for name in ("weights", "learned", "initial")]
        shown.append(
            [
                f"{batch:g}, {rate:g}, {decay:g}, {momentum:g}"
                + (" (did not learn)" if collapsed(found, index) else ""),
                number_text(found["bound"][index, FINE]),
                *[estimate(values).text() for values in ranks],
                estimate(history["train_loss"][:, -1]).text(3),
                estimate(history["train_accuracy"][:, -1]).percent(),
                estimate(history["test_accuracy"][:, -1]).percent(),
            ]
        )
    headers = ["B, μ, λ, β", "bound", "rank of W", "without W₀", "of W₀", "training loss", "training accuracy"]
    return table([*headers, "test accuracy"], shown)


VARIED = {"B": (0, "smaller batches", -1), "μ": (1, "larger learning rates", 1), "λ": (2, "more weight decay", 1)}


def effect(found: Mapping[str, Any], column: int) -> Estimate | None:
    """p in rank ∝ (what that column varies)^p over the arms that learned and differ from the first in nothing else."""
    arms, first = found["arms"], found["arms"][0]
    others = [each for each in range(arms.shape[1]) if each != column]
    alone = [
        index for index, arm in enumerate(arms) if (arm[others] == first[others]).all() and not collapsed(found, index)
    ]
    if len({arms[index][column] for index in alone}) < 2:
        return None
    ranks = found["ranks"]["learned"][alone][..., FINE].max(axis=2)  # (arms, seeds)
    return estimate(np.polyfit(np.log([arms[index][column] for index in alone]), np.log(ranks), 1)[0].round(12))


def published(found: Mapping[str, Any], data: str) -> Markdown:
    """What Galanti et al. state, beside ours."""
    if not found:
        return Markdown(LEFT_OUT)
    arms = learned(found)
    ranks, limit = found["ranks"]["weights"][arms].max(axis=2), found["bound"][arms]  # (arms, seeds, errors)
    above = int((ranks > limit[:, None]).sum())
    below = int((limit < found["limits"].max()).sum())
    rows = [
        [
            "the rank stays within the bound",
            "always",
            f"{above} of {ranks.size} above; the bound is below the width {below} of {limit.size} times",
            DIFFERS if above else AGREES if below else OPEN,  # a bound above the width cannot be exceeded
        ]
    ]
    for symbol, (column, what, sign) in VARIED.items():
        power = effect(found, column)
        theirs = f"rank {'rises' if sign < 0 else 'falls'} with {symbol}"
        ours = NOT_VARIED if power is None else f"rank ∝ {symbol}^p, p = {power.text(2)}"
        rows.append([f"lower rank with {what}", theirs, ours, direction(power, -sign)])
    return compared(["Galanti et al. 2022", "published", "ours"], rows, data)


def figure(found: Mapping[str, Any]) -> figures.Figure:
    """Rank at the smallest error against the bound, and the training loss per epoch as a share of the training."""
    drawn, axes = figures.panels(1, 2, size=(7.0, 2.9))
    if not found:
        for axis in axes[0]:
            axis.axis("off")
        axes[0, 0].text(0, 0.5, LEFT_OUT)
        return drawn
    for index, arm in enumerate(found["arms"]):
        label = "B={:g}, μ={:g}, λ={:g}, β={:g}".format(*arm)
        colour, marker = figures.COLOURS[index % 8], figures.MARKERS[index % 8]
        rank = found["ranks"]["learned"][index, :, :, FINE].max(axis=1)[:, None]
        hollow = {"markerfacecolor": "white"} if collapsed(found, index) else {}
        figures.points(axes[0, 0], [found["bound"][index, FINE]], rank, label, colour, marker=marker, **hollow)
        history = found["history"][str(index)]
        share = np.linspace(0, 1, history["train_loss"].shape[1])
        for split, style in (("train", "-"), ("validation", "--"), ("test", ":")):
            axes[0, 1].plot(share, history[f"{split}_loss"].mean(axis=0), style, color=colour)
    widest = float(found["limits"].max())
    axes[0, 0].axhline(widest, color="black", linewidth=0.8, linestyle=":")
    axes[0, 0].set(xscale="log", xlabel="bound", ylabel=f"largest rank at ε = {ERRORS[FINE]:g}", ylim=(0, 1.1 * widest))
    figures.few_ticks(axes[0, 0].xaxis)
    axes[0, 1].set(yscale="log", xlabel="share of the training", ylabel="cross-entropy (nats)")
    drawn.legend(loc="outside lower center", ncols=3)
    return drawn


def text(found: Mapping[str, Any]) -> str:
    """Does it hold, is it informative, does the rank follow it?"""
    if not found:
        return LEFT_OUT
    if not (arms := learned(found)):
        return "No arm learned."
    low, width = found["bound"][arms, FINE].min(), found["limits"].max()
    return (
        f"Of W₀ at most {percent(float(found['left'].max()), 2)} is left. At ε = {ERRORS[FINE]:g} the smallest bound "
        f"of the arms that learned is {number_text(low)}, for matrices that cannot have a rank above "
        f"{number_text(width)}: it says {'something' if low < width else 'nothing'}. {_follows(found)}"
    )


def exponent(found: Mapping[str, Any], matched: bool = False) -> np.ndarray:
    """(seeds,) p in rank ∝ bound^p, by least squares over the arms that learned, for the largest rank of a layer.

    With `matched`, in rank ∝ bound^p·(training loss)^q: what the bound has to say among arms of equal loss.
    """
    arms = learned(found)
    ranks = found["ranks"]["learned"][arms][..., FINE].max(axis=2)  # (arms, seeds)
    bound = np.log(found["bound"][arms, FINE])
    if not matched:
        return np.polyfit(bound, np.log(ranks), 1)[0].round(12)
    losses = np.log(np.stack([found["history"][str(index)]["train_loss"][:, -1] for index in arms]))  # (arms, seeds)
    powers = []
    for rank, loss in zip(np.log(ranks).T, losses.T, strict=True):
        predictors = np.stack([bound, loss, np.ones_like(bound)], axis=1)
        powers.append(np.linalg.lstsq(predictors, rank)[0][0])
    return np.array(powers).round(12)


def _follows(found: Mapping[str, Any]) -> str:
    arms = learned(found)
    if len(np.unique(found["bound"][arms, FINE])) < 2:
        return "Too few arms learned to ask whether the rank follows it."
    power = estimate(exponent(found)).text(2)
    said = f"Over the {len(arms)} arms that learned the rank goes with the power {power} of it (to follow it: 1)."
    if len(arms) < 4:
        return said
    same = estimate(exponent(found, matched=True)).text(2)
    return f"{said} At matched training loss (the loss as a second predictor) the power is {same}."


def stated(found: Mapping[str, Any]) -> list[claims.Claim]:
    """The bound holds; it is informative where it is below the width."""
    if not found or not (arms := learned(found)):
        return []
    ranks, limit = found["ranks"]["weights"][arms].max(axis=2), found["bound"][arms]  # (arms, seeds, errors)
    met = (ranks <= limit[:, None]).all(axis=(0, 2))
    low, width = limit.min(), found["limits"].max()
    evidence = (
        f"n = {len(met)} networks in each of {len(arms)} arms that learned, smallest bound {number_text(low)} (at ε = "
        f"{max(ERRORS):g}) against a width of {number_text(width)}"
    )
    if low >= width:  # no rank exceeds the width: nothing was tested
        sentence = "Galanti's bound was not put to the test: nowhere is it below the width, which no rank exceeds."
        return [claims.Claim("overfitting-galanti", "open", sentence, evidence)]
    return [
        claims.every(
            "overfitting-galanti",
            met,
            holds="Galanti's bound on the rank holds in every arm.",
            fails="Galanti's bound on the rank, which is asymptotic, is exceeded in some arm.",
            evidence=evidence,
        )
    ]
