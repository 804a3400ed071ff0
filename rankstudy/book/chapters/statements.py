"""A conclusion as a checked statement: the test that decides it is written before the result is seen.

A claim has a sentence for each verdict; the one that is printed is true of the data shown. A test that lacks power
(one network, a stand-in data set) gives "open", never "holds".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rankstudy.book.claims import judged
from rankstudy.book.stats import Estimate, holm, t_quantile, two_sided

VERDICTS = ("holds", "fails", "open")
_MARKS = {"holds": "✓ holds", "fails": "✗ expected otherwise", "open": "? open"}


@dataclass(frozen=True)
class Claim:
    """What was asked of the data, what they say, and on what grounds."""

    name: str  # unique in the book, lower case with hyphens
    verdict: str  # one of VERDICTS
    sentence: str  # true of the data shown, whatever the verdict
    evidence: str  # n, effect, interval
    surprise: int = 0  # 0 expected, 1 worth knowing, 2 against the textbook
    confirmatory: bool = False  # named in advance, corrected for being several
    p: float | None = None
    otherwise: str = ""  # the sentence to print if a correction turns "holds" into "open"


def hypotheses(result: Any) -> list[Claim]:
    """The hypotheses about a typed result as claims, for the pages that are still told the old way; the sentence of one
    that is not supported says that it was expected."""
    verdicts = {"supported": "holds", "refuted": "fails", "inconclusive": "open"}
    told = []
    for each in judged(result):
        sentence = each.hypothesis.sentence
        if each.verdict != "supported":
            sentence = f"Expected, and {each.verdict}: {sentence}"
        told.append(Claim(each.hypothesis.id, verdicts[each.verdict], sentence, each.summary(), p=each.p))
    return told


def compare(
    name: str,
    effect: Estimate,
    threshold: float = 0.0,
    *,
    holds: str,
    fails: str,
    open: str,
    evidence: str,
    above: bool = True,
    surprise: int = 0,
    confirmatory: bool = False,
) -> Claim:
    """Holds where the whole interval, as it is printed, lies above the threshold (below it, with `above=False`), fails
    where it lies on the other side, and is open where it straddles it or there is none (n < 2)."""
    seen = effect.printed()
    if seen.n < 2 or not seen.half == seen.half:
        verdict = "open"
    elif seen.low > threshold:
        verdict = "holds" if above else "fails"
    elif seen.high < threshold:
        verdict = "fails" if above else "holds"
    else:
        verdict = "open"
    sentence = {"holds": holds, "fails": fails, "open": open}[verdict]
    return Claim(name, verdict, sentence, evidence, surprise, confirmatory, _p(effect, threshold), otherwise=open)


def _p(effect: Estimate, threshold: float) -> float:
    """Two-sided t-test of the mean being the threshold, out of the interval; NaN where there is none."""
    if threshold == 0 or effect.n < 2:
        return effect.p
    if effect.half == 0:
        return float(effect.mean == threshold)
    error = effect.half / t_quantile(effect.n - 1)
    return two_sided((effect.mean - threshold) / error, effect.n - 1)


def every(
    name: str,
    met: Sequence[bool],
    *,
    holds: str,
    fails: str,
    evidence: str,
    least: int = 2,
    open: str = "",
    **rest: Any,
) -> Claim:
    """Holds where every network meets it; open where fewer than `least` networks were trained."""
    met = [bool(each) for each in met]
    if not all(met):
        return Claim(name, "fails", fails, evidence, **rest)
    if len(met) < least:
        return Claim(
            name, "open", open or holds + " (too few networks to call it more than an observation)", evidence, **rest
        )
    return Claim(name, "holds", holds, evidence, **rest)


def corrected(claims: Sequence[Claim], level: float = 0.05) -> list[Claim]:
    """The claims with Holm's correction over the confirmatory ones: one that does not survive it becomes open.

    The family is a chapter's confirmatory claims, on its page and wherever else they are told.
    """
    tested = [claim for claim in claims if claim.confirmatory and claim.p is not None and claim.p == claim.p]
    adjusted = dict(zip([claim.name for claim in tested], holm([claim.p for claim in tested]), strict=True))
    found = []
    for claim in claims:
        p = adjusted.get(claim.name)
        if p is None:
            found.append(claim)
            continue
        size = "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"
        evidence = f"{claim.evidence.partition('; p ')[0]}; {size} after Holm's correction"
        if p >= level:
            found.append(replace(claim, verdict="open", sentence=claim.otherwise or claim.sentence, evidence=evidence))
        else:
            found.append(replace(claim, evidence=evidence))
    return found


def markdown(claims: Sequence[Claim]) -> str:
    """The claims as a Markdown list, verdict first."""
    return "\n".join(f"- **{_MARKS[claim.verdict]}.** {claim.sentence} *({claim.evidence})*" for claim in claims)
