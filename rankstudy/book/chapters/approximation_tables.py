"""Chapter 5: its tables, each from the chapter's result."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rankstudy.book.chapters import published
from rankstudy.book.chapters.common import Markdown, table
from rankstudy.book.stats import estimate, number_text, paired, percent
from rankstudy.factorization import smallest_rank

TRAIN, VALIDATION, TEST = range(3)
THRESHOLDS = (0.7, 0.5, 0.3, 0.1, 0.05)  # on the average relative error


def certificates(chapter: Any) -> Markdown:
    """Per rank: what each alternating method reached, beside the bound; averages over layers and networks."""
    rows = []
    fits = chapter.result["alternating"]
    for index, rank in enumerate(chapter.settings["sweep"]["alternating"]):
        row = [str(rank), estimate(chapter.average_error(np.array([rank]))[:, 0]).text(4)]
        for method in ("least_squares", "gradient"):
            found = fits[method]
            row += [
                number_text(found["error"][:, index].mean(), 4),
                f"{max(found['excess'][:, index].max(), 0):.0e}",
                number_text(found["iterations"][:, index].mean()),
            ]
        rows.append(row)
    each = ["worst excess", "iterations"]
    return table(["r", "bound", "least squares", *each, "gradient", *each], rows)


def thresholds(chapter: Any) -> Markdown:
    """What a threshold on the average relative error asks for, and what it buys."""
    rows = []
    chosen = sorted({*THRESHOLDS, chapter.threshold}, reverse=True)
    whole = max(chapter.settings["sweep"]["ranks"])  # at which nothing is cut, and so nothing is told
    for threshold in chosen:
        rank = estimate(chapter.threshold_rank(threshold).astype(float))
        tried = chapter.next_tried(rank.mean)
        rows.append(
            [
                number_text(threshold, 3),
                rank.text(0),
                percent(chapter.share(rank.mean), 0),
                "–" if tried == whole else str(tried),
                *("–" if tried == whole else _change(chapter, tried, split) for split in (TRAIN, VALIDATION, TEST)),
            ]
        )
    return table(["τ", "rank r", "parameters", "tried", "train", "validation", "test"], rows)


def _change(chapter: Any, rank: int, split: int) -> str:
    """In accuracy, by a cut of every layer to that rank."""
    return paired(chapter.accuracy("truncated", rank, split), chapter.original(split)).text(1, 100, sign=True)


def criteria(chapter: Any) -> Markdown:
    """The effective rank under each criterion, per layer and for all layers."""
    limits = {
        "relative error ≤ 0.5": 0.5,
        "relative error ≤ 0.32 (energy ≥ 90 %)": math.sqrt(0.1),
        "relative error ≤ 0.1 (energy ≥ 99 %)": 0.1,
    }
    rows = []
    for kind, suffix in (("weights", ""), ("weighted", ", weighted by the inputs")):
        for name, limit in limits.items():
            each = [smallest_rank(spectrum, limit) for spectrum in chapter.spectra(kind)]
            rows.append([name + suffix, *map(_count, [*each, chapter.threshold_rank(limit, kind)])])
    own = _count(chapter.result["own_rank"])
    rows.append([f"validation accuracy within {chapter.text['tolerance']}", *[""] * len(chapter.shapes), own])
    return table(["criterion", *(f"layer {i + 1}" for i in range(len(chapter.shapes))), "one r for all"], rows)


def allotments(chapter: Any) -> Markdown:
    """Which ranks the layers get at the budget of one rank for all."""
    rows = []
    for index, rank in enumerate(chapter.settings["sweep"]["compared"]):
        for way, label in (("allotted", "Frobenius"), ("allotted_weighted", "weighted")):
            ranks = chapter.result[f"{way}_ranks"][:, index].mean(axis=0)
            rows.append(
                [
                    f"{rank}, {label}",
                    ", ".join(number_text(value) for value in ranks),
                    estimate(chapter.accuracy("truncated" if way == "allotted" else "weighted", rank)).percent(1),
                    estimate(chapter.accuracy(way, rank)).percent(1),
                ]
            )
    return table(["budget of r, norm", "ranks of the layers", "test, one r for all", "test, allotted"], rows)


def allotted(chapter: Any) -> tuple[list[str], list[str]]:
    """The budgets at which ranks allotted by the Frobenius norm beat one for all for sure, and at which they lose."""
    better, worse = [], []
    for rank in chapter.settings["sweep"]["compared"]:
        gain = paired(chapter.accuracy("allotted", rank), chapter.accuracy("truncated", rank))
        if gain.low > 0:
            better.append(str(rank))
        elif gain.high < 0:
            worse.append(str(rank))
    return better, worse


def where_allotted(chapter: Any) -> str:
    better, worse = allotted(chapter)
    pairs = (("better", better), ("worse", worse))
    said = " and ".join(f"{word} at the budgets of r = {', '.join(found)}" for word, found in pairs if found)
    said = f"By the Frobenius norm, allotted ranks are {said or 'neither surely better nor surely worse'}."
    if worse:
        said += (
            " At the smallest budgets some layer is left with next to nothing, and what is lost there no other layer "
            "can make up; that explanation is not tested here."
        )
    return said


def truncation(chapter: Any) -> Markdown:
    """Another network's accuracy lost to truncation, beside ours at the same rank."""
    tried = np.asarray(chapter.settings["sweep"]["ranks"])
    whole = chapter.original(TEST)
    rows = []
    for rank, accuracy in published.TRUNCATION.items():
        cut = published.between(rank, tried, chapter.result["truncated"][:, :, 1, TEST])
        if cut is None or rank > chapter.full_rank:
            continue
        lost, theirs = estimate(cut - whole), accuracy - published.TRUNCATION_WHOLE
        difference = estimate(cut - whole - theirs)
        rows.append(
            [
                str(rank),
                f"{number_text(100 * theirs, 1)} points",
                lost.points(),
                difference.points(),
                published.accuracy(difference),
            ]
        )
    return published.compared(["r", "published", "ours", "ours − published"], rows, chapter.result.data)


def _count(ranks: np.ndarray) -> str:
    """A rank per network as their mean and interval."""
    return estimate(np.asarray(ranks, dtype=float)).text(0)
