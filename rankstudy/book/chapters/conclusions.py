"""Chapter 7: what all chapters claim."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

from rankstudy.book import figures, results
from rankstudy.book.chapters import answers
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, banner, computed_under
from rankstudy.book.stats import number_text
from rankstudy.study import questions

TOLD = ("data", "training")  # chapters that are told on `book.results`, and of which nothing else is asked here
MARKS = {"holds": "holds", "fails": "expected otherwise", "open": "open"}


class Book:
    """Every chapter's result at once."""

    @cached_property
    def chapters(self) -> dict[str, Any]:
        return {
            name: import_module(f"rankstudy.book.chapters.{name}").Chapter()
            for name in questions.CHAPTERS.values()
            if name not in TOLD
        }

    def of(self, name: str) -> list[claims.Claim]:
        """A chapter's claims."""
        return claims.hypotheses(getattr(results, name)()) if name in TOLD else self.chapters[name].claims()

    @cached_property
    def claims(self) -> list[tuple[str, claims.Claim]]:
        """(chapter number, claim) as the chapters print them, the most surprising and surest first."""
        found = [(number, claim) for number, name in questions.CHAPTERS.items() for claim in self.of(name)]
        return sorted(found, key=lambda item: (-item[1].surprise, claims.VERDICTS.index(item[1].verdict), item[0]))

    @property
    def results(self) -> list[questions.Result]:
        return [questions.result(name) for name in questions.CHAPTERS.values()]

    def banner(self) -> Markdown:
        """The last chapter's, and that others may differ: a page about all of them has no settings of its own."""
        line = banner(self.results[-1])
        if len({computed_under(result) for result in self.results}) > 1:
            line += "\n\n*Not every chapter was computed under these settings: the foot of each says which.*"
        return Markdown(line)


class Chapter(Book):
    """Chapter 7."""

    @cached_property
    def text(self) -> dict[str, str]:
        verdicts = [claim.verdict for _, claim in self.claims]
        check = self.eckart_young
        return {
            "claims": str(len(verdicts)),
            **{verdict: str(verdicts.count(verdict)) for verdict in claims.VERDICTS},
            "competitors": number_text(check["competitors"]),
            # how far from the bound, as a share of it; no less than rounding can say
            "closest": _share(check["closest"] - 1),
            "svd_share": _share(abs(check["svd"] - 1)),
            "shape": f"{check['shape'][0]} × {check['shape'][1]}",
            "rank": str(check["rank"]),
            **answers.texts(self.chapters, check),
        }

    def claim_list(self) -> Markdown:
        """Sentence and verdict, by chapter; the evidence stands at the end of each."""
        parts = []
        for name in questions.CHAPTERS.values():
            lines = [f"- {claim.sentence} **{MARKS[claim.verdict]}**" for claim in self.of(name)]
            if lines:
                parts.append("\n".join([f"**@sec-{name.replace('_', '-')}, {subject(name)}**", "", *lines]))
        return Markdown("\n\n".join(parts))

    @cached_property
    def eckart_young(self) -> dict[str, Any]:
        """Rank-r competitors against the truncated SVD on one random matrix, computed while the page renders."""
        from rankstudy.factorization import eckart_young_error, truncated_svd

        generator = np.random.default_rng(0)
        rank, count = 5, 2000
        a = generator.standard_normal((40, 30)) @ np.diag(0.8 ** np.arange(30))  # (40, 30), falling spectrum
        best = float(eckart_young_error(a, rank))
        svd = float(np.linalg.norm(a - truncated_svd(a, rank).product()))
        # competitors: project onto a random subspace near the best one, then choose C by least squares
        u = np.linalg.svd(a)[0][:, :rank]
        noise = generator.standard_normal((count, 40, rank)) * 10.0 ** generator.uniform(-3, 0, (count, 1, 1))
        q = np.linalg.qr(u + noise)[0]  # (count, 40, rank)
        errors = np.linalg.norm(a - q @ (q.swapaxes(1, 2) @ a), axis=(1, 2))
        return {
            "shape": a.shape,
            "rank": rank,
            "competitors": count,
            "closest": float(errors.min() / best),
            "svd": svd / best,
            "ratios": errors / best,
            "distance": np.linalg.norm(q @ q.swapaxes(1, 2) - u @ u.T, axis=(1, 2)),
        }

    def eckart_young_figure(self) -> figures.Figure:
        check = self.eckart_young
        figure, axes = figures.panels(1, 1, size=(4.6, 2.8))
        axes[0, 0].loglog(check["distance"], check["ratios"] - 1, ".", markersize=2, rasterized=True)
        axes[0, 0].set(
            xlabel="distance of the subspace from the SVD's (Frobenius)", ylabel="error above the bound\n(relative)"
        )
        return figure


def subject(name: str) -> str:
    """What a chapter is about, in a word or three."""
    return name.replace("_", " ").replace("lora", "LoRA")


def _share(excess: float) -> str:
    return f"{max(excess, np.finfo(float).eps):.0e}" if excess >= 0 else f"−{-excess:.0e}"
