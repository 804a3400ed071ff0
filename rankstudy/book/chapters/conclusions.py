"""Chapter 7 and the home page: what all chapters claim, and what was run."""

from __future__ import annotations

import datetime
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import answers
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, banner, computed_under, table
from rankstudy.book.stats import number_text
from rankstudy.study import questions
from rankstudy.study.provenance import duration
from rankstudy.study.times import earlier

MARKS = {"holds": "holds", "fails": "expected otherwise", "open": "open"}
TITLE = ("rank-full", "rank-update-lower")  # the claims that answer the book's title, first on the home page


class Book:
    """Every chapter's result at once."""

    @cached_property
    def chapters(self) -> dict[str, Any]:
        return {
            name: import_module(f"rankstudy.book.chapters.{name}").Chapter() for name in questions.CHAPTERS.values()
        }

    @cached_property
    def claims(self) -> list[tuple[str, claims.Claim]]:
        """(chapter number, claim) as the chapters print them, the most surprising and surest first."""
        found = [
            (number, claim) for number, name in questions.CHAPTERS.items() for claim in self.chapters[name].claims()
        ]
        return sorted(found, key=lambda item: (-item[1].surprise, claims.VERDICTS.index(item[1].verdict), item[0]))

    @property
    def results(self) -> list[questions.Result]:
        return [self.chapters[name].result for name in questions.CHAPTERS.values()]

    def banner(self) -> Markdown:
        """The last chapter's, and that others may differ: a page about all of them has no settings of its own."""
        line = banner(self.results[-1])
        if len({computed_under(result) for result in self.results}) > 1:
            line += "\n\n*Not every chapter was computed under these settings: the table of the home page says which.*"
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
            "bound": self.chapters["overfitting"].text["bound"],
            "memorising": self.chapters["overfitting"].text["memorising"],
            "shape": f"{check['shape'][0]} × {check['shape'][1]}",
            "rank": str(check["rank"]),
            **answers.texts(self.chapters, check),
        }

    def claim_list(self) -> Markdown:
        """Sentence and verdict, by chapter; the evidence stands at the end of each."""
        parts = []
        for name in questions.CHAPTERS.values():
            lines = [f"- {claim.sentence} **{MARKS[claim.verdict]}**" for claim in self.chapters[name].claims()]
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


class Home(Book):
    """The home page."""

    @cached_property
    def text(self) -> dict[str, str]:
        results = self.results
        seconds = sum(result.provenance["seconds"] for result in results)
        return {
            "seconds": duration(seconds),
            "machines": "; ".join(
                sorted(
                    f"{o['device']} (torch {o['torch']}, Python {o['python']})"
                    for o in {r.provenance["device"]: r.provenance for r in results}.values()
                )
            ),
            "full": self.full_time(),
        }

    def full_time(self) -> str:
        """What the full study takes: known where it was computed, here or when the committed results were."""
        profiles = {computed_under(result) for result in self.results}
        if profiles == {"full"}:
            return "This is the full study."
        if self.results[0].profile == "published":
            return "Not all of this is the full study: the table says under which profile a chapter was computed."
        took = earlier([result.experiment for result in self.results], "full")
        return f"The full study took {took}." if took else "What the full study takes has not been measured yet."

    def findings(self, most: int = 5) -> Markdown:
        """What answers the title, whatever the verdict; then the most surprising, one of each chapter first."""
        title = sorted((item for item in self.claims if item[1].name in TITLE), key=lambda i: TITLE.index(i[1].name))
        others = [item for item in self.claims if item[1].name not in TITLE]
        settled = [item for item in others if item[1].verdict != "open"] or others
        first = dict(reversed(settled))  # each chapter's most surprising one
        settled = title + sorted(settled, key=lambda item: item[1] is not first[item[0]])
        lines = [
            f"{n}. {claim.sentence} *(chapter {int(number)}; {'expected otherwise; ' * (claim.verdict == 'fails')}"
            f"{claim.evidence})*"
            for n, (number, claim) in enumerate(settled[:most], 1)
        ]
        return Markdown("\n".join(lines))

    def glossary(self) -> Markdown:
        """The terms that the findings use."""
        small, big = (self.chapters[name].text["widths"] for name in ("training", "overfitting"))
        terms = {
            "full rank": "*Full rank*: the rank is as large as the shape of the matrix allows.",
            "tolerance": "*Tolerance*: how far above zero, relative to the largest singular value, one must be to "
            "count as not zero; for float64 it is what rounding in double precision makes.",
            "effective rank": "*Effective rank*: a count of directions in which small singular values count less.",
            "task 2": f"*Task 2's network*: {small}.",
            "big network": f"*The big network*: {big}.",
            "points": "*Points*: differences between percentages.",
            "r = ": "*r*: the rank a matrix is cut to, or has from the start.",
            "lora": "*LoRA*: fine-tuning a low-rank product beside frozen weights, of the rank r.",
            "replay": "*Replay*: old images among the new ones in fine-tuning.",
            "d_int90": "*d_int90*: how many random directions training needs for nine test images of ten right.",
            "subspace": "*Random subspace*: a few random directions along which alone all weights may move.",
        }
        said = self.findings().lower()
        return Markdown(" ".join(meaning for term, meaning in terms.items() if term in said))

    def spectra(self) -> figures.Figure:
        return self.chapters["rank"].spectra()

    def what_was_run(self) -> Markdown:
        rows = []
        for number, name in questions.CHAPTERS.items():
            result = self.chapters[name].result
            origin = result.provenance
            when = datetime.datetime.fromtimestamp(origin["created"], datetime.UTC).strftime("%Y-%m-%d")
            name = f"{number} {subject(name)}"
            taken = duration(origin["seconds"])
            rows.append([name, computed_under(result), origin["commit"] or "unknown", when, taken])
        return table(["chapter", "profile", "commit", "computed", "took"], rows)
