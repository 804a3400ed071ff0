"""Chapter 5: what it concludes, and the test of each conclusion."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankstudy.book.chapters import approximation_tables
from rankstudy.book.chapters import statements as claims
from rankstudy.book.stats import Estimate, paired, percent

TEST = 2


def made(chapter: Any) -> list[claims.Claim]:
    text, fits = chapter.text, chapter.result["alternating"]["least_squares"]
    lost, gained = chapter.lost(TEST), chapter.gained
    everywhere = percent(float(chapter.average_error(np.array([chapter.rank])).mean()), 0)
    wrong = percent(float(chapter.error_of_cut(chapter.rank).mean()), 0)
    n, half, tol = f"n = {chapter.networks} networks", text["tolerance"], text["tol"]
    here = f"Just under the effective rank, at r = {chapter.below}"
    same = f"At the parameters of r = {chapter.below}"
    less = approximation_tables.allotted(chapter)[1]
    but = f" (less at those of r = {', '.join(less)})" if less else ""

    def difference(way: str) -> Estimate:
        return paired(chapter.accuracy(way, chapter.below), chapter.accuracy("truncated", chapter.below))

    weighted, allotted, update = difference("weighted"), difference("allotted"), difference("update")
    return [
        claims.every(
            "approximation-bound",
            fits["reached"].reshape(chapter.networks, -1).all(axis=1),
            holds=f"Alternating least squares came within {tol} · ‖A‖² of the Eckart–Young bound everywhere.",
            fails=f"Alternating least squares did not always come within {tol} · ‖A‖² of the Eckart–Young bound in "
            f"{text['limit']} iterations.",
            evidence=f"{n}, {len(chapter.shapes)} layers each, largest excess {text['excess']}",
        ),
        claims.compare(
            "approximation-norm-misleads",
            lost,
            chapter.settings["tolerance"],
            above=False,
            holds=f"At r = {chapter.rank} the big network's matrices that are cut are wrong by {wrong} of their norm "
            f"({everywhere} on the mean over all layers), and the test accuracy falls by less than {half}.",
            fails=f"At r = {chapter.rank}, which validation data chose, the test accuracy falls by more than {half}.",
            open=f"Whether the test accuracy at r = {chapter.rank} falls by less than {half} is not decided.",
            evidence=f"{n}, lost on test data {lost.points()}",
            surprise=2,
            confirmatory=True,
        ),
        claims.compare(
            "approximation-weighted",
            weighted,
            holds=f"{here}, factors fitted to the layers' inputs keep more test accuracy than the truncated SVD.",
            fails=f"{here}, factors fitted to the layers' inputs keep less test accuracy than the truncated SVD.",
            open=f"{here}, these networks do not tell whether fitting to the layers' inputs beats the truncated SVD.",
            evidence=f"{n}, paired difference {weighted.points()}",
            surprise=1,
            confirmatory=True,
        ),
        claims.compare(
            "approximation-allotted",
            allotted,
            holds=f"{same}, ranks allotted by the Frobenius norm keep more test accuracy than one rank for all layers"
            f"{but}.",
            fails=f"{same}, ranks allotted by the Frobenius norm keep less test accuracy than one rank for all layers.",
            open=f"{same}, these networks do not tell whether allotted ranks beat one rank for all layers.",
            evidence=f"{n}, paired difference {allotted.points()}",
        ),
        claims.compare(
            "approximation-update",
            update,
            holds=f"{here}, cutting only W − W₀ keeps more test accuracy than cutting W.",
            fails=f"{here}, cutting only W − W₀ keeps less test accuracy than cutting W.",
            open=f"{here}, these networks do not tell whether cutting W − W₀ keeps more test accuracy than cutting W.",
            evidence=f"{n}, paired difference {update.points()}",
        ),
        claims.compare(
            "approximation-denoises",
            gained,
            holds="Cut at the rank that validation data like best, the overfitted networks gain test accuracy.",
            fails="Cut at the rank that validation data like best, the overfitted networks lose test accuracy.",
            open="Whether a cut at the rank that validation data like best gains test accuracy is not decided.",
            evidence=f"{n}, paired difference {gained.points()}, ranks {text['best_ranks']}",
            surprise=1,
            confirmatory=True,
        ),
        *chapter.lengths.stated(),
    ]
