"""What a page's filter has to know, in the page itself: verdicts for its bound sentences, and its provenance.

A page's first cell ends with `told.page(rank)`. The Lua filter `report/styles/telling.lua` takes what that prints out
of the page again, in Quarto and in the preview alike, so nothing has to be prepared and nothing can be out of date.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from rankstudy import registry, sources
from rankstudy.book import claims, numbers
from rankstudy.book.measured import Origin
from rankstudy.book.missing import Missing
from rankstudy.book.tables import Markdown
from rankstudy.study import questions


def page(*results: Any) -> Markdown:
    """For results of `book.results`: verdict and effect of each hypothesis about them, which of them are missing, and
    one line of provenance."""
    verdicts = {
        each.hypothesis.id: {
            "verdict": each.verdict,
            "word": each.word.capitalize(),
            "small": each.too_small,
            "sentence": each.hypothesis.sentence,
            "summary": each.summary(),
            **evidence(each.hypothesis),
        }
        for result in results
        for each in claims.judged(result)
    }
    missing = [result.experiment for result in results if isinstance(result, Missing)]
    origins = [result.origin for result in results if not isinstance(result, Missing)]
    content = {"claims": verdicts, "missing": missing, "provenance": provenance(*origins), "warning": warning(*origins)}
    text = json.dumps(content, ensure_ascii=False)
    return Markdown(f"::: {{.told}}\n````{{.json}}\n{text}\n````\n:::")


def effect(result: Any, claim: str) -> Markdown:
    """The size of a claim's effect, without its sign, and its interval on hover: for a bound sentence that says "more".

    Raises:
        KeyError: the result has no claim of that id.
    """
    found = {each.hypothesis.id: each.effect for each in claims.judged(result)}[claim]
    if found is None:
        return numbers.mean(None)
    return numbers.printed(replace(found, mean=abs(found.mean)))


def evidence(hypothesis: claims.Hypothesis) -> dict[str, str]:
    """Where a hypothesis's evidence stands: {"page": "evidence/03-rank", "anchor": "claim-…"}, its row in the table of
    hypotheses there; or the section of a chapter that has no page of evidence yet."""
    number = questions.known()[hypothesis.family]
    chapter = f"{number}-{questions.CHAPTERS[number]}".replace("_", "-")
    if hypothesis.evidence.startswith("sec-evidence-"):
        return {"page": f"evidence/{chapter}", "anchor": f"claim-{hypothesis.id}"}
    return {"page": chapter, "anchor": hypothesis.evidence}


def provenance(*origins: Origin) -> str:
    """Profile, data, device, date and commit, in one line; of more than two devices or commits how many."""
    parts = []
    profiles = dict.fromkeys(origin.computed_under for origin in origins)
    shown = "published results of " if origins[0].profile == "published" else ""
    parts.append(f"{shown}profile {_listed(profiles)}")
    parts.append(_listed(dict.fromkeys(sources.label(origin.data) for origin in origins)))
    parts.append(_listed(dict.fromkeys(origin.device for origin in origins), "devices"))
    latest = max(origin.created for origin in origins)
    parts.append(f"{datetime.datetime.fromtimestamp(latest, datetime.UTC):%-d %b %Y}")
    commits = dict.fromkeys(origin.commit for origin in origins)
    parts.append(_listed(commits, "commits") if len(commits) > 2 else f"commit {_listed(commits)}")
    if any(origin.stale for origin in origins):
        parts.append("its code has changed since")
    text = " · ".join(parts)
    return text[0].upper() + text[1:]


def warning(*origins: Origin) -> str:
    """What a reader must know before any number: empty under MNIST and the full study."""
    others = dict.fromkeys(origin.data for origin in origins if origin.data != "mnist")
    if registry.FALLBACK in others:
        return "This is not MNIST: every number here comes from the fallback data set, 1\u202f797 small digits."
    if others:
        return f"This is not MNIST: every number here comes from {_listed([sources.label(other) for other in others])}."
    if any(origin.computed_under.startswith(("smoke", "quick")) for origin in origins):
        return "A quick run: few networks and short trainings, so intervals are wide and many verdicts open."
    return ""


def _listed(names: Collection[str], several: str = "") -> str:
    return f"{len(names)} {several}" if several and len(names) > 2 else ", ".join(names)
