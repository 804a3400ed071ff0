"""One data set's verdicts beside another's: which findings stay. Of what is committed, whatever profile is chosen.

The hypotheses, their tests and the code are the book's own; nothing here knows which there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rankstudy import UsageError, registry, sources
from rankstudy.book import claims, results, tables, told
from rankstudy.book.claims import VERDICTS, Judged
from rankstudy.book.measured import Origin
from rankstudy.book.tables import Markdown
from rankstudy.study import questions

OWN = "mnist"
MARKS = {"supported": "✓\u00a0supported", "refuted": "✗\u00a0refuted", "inconclusive": "?\u00a0inconclusive"}


@dataclass(frozen=True)
class Finding:
    """A hypothesis as each of the two data sets decides it."""

    own: Judged
    other: Judged


@dataclass(frozen=True)
class Comparison:
    """The book's data set and another."""

    other: str  # a key of `registry.DATASETS`; "" where no other's results are committed
    findings: tuple[Finding, ...]  # those that both have measured, in the book's order
    unmeasured: int  # hypotheses that one of the two, or both, have not measured
    origins: tuple[tuple[Origin, ...], tuple[Origin, ...]]

    @property
    def label(self) -> str:
        return sources.label(self.other) if self.other else "none"

    def sizes(self) -> tuple[int, int]:
        """Official training images of the two."""
        return registry.DATASETS[OWN].size, registry.DATASETS[self.other].size if self.other else 0

    def only(self, kind: str) -> list[Finding]:
        """The findings of a kind of KINDS.

        Raises:
            ValueError: there is no such kind.
        """
        belongs = registry.entry(KINDS, kind, "kind")
        return [each for each in self.findings if belongs(each)]


KINDS: dict[str, Callable[[Finding], bool]] = {
    "the same": lambda each: each.own.verdict == each.other.verdict,
    "decided": lambda each: "inconclusive" not in (each.own.verdict, each.other.verdict),
    "agreed": lambda each: KINDS["decided"](each) and KINDS["the same"](each),
    "contradicted": lambda each: KINDS["decided"](each) and not KINDS["the same"](each),
    "open on one": lambda each: not KINDS["decided"](each) and not KINDS["the same"](each),
}


def comparison(other: str = "") -> Comparison:
    """The verdicts of MNIST and of another data set; without its name, of the first whose results are committed.

    Raises:
        UsageError: nothing is committed of the data set that is named, or what is there is damaged.
    """
    name = other or next(iter(questions.others()), "")
    own, theirs = judged(OWN), judged(name) if name else {}
    both = [
        Finding(own[family][1][id], theirs[family][1][id])
        for family in claims.FAMILIES
        if family in own and family in theirs
        for id in own[family][1]
    ]
    measured = tuple(each for each in both if _is_measured(each.own) and _is_measured(each.other))
    stated = sum(len(claims.stated(family)) for family in claims.FAMILIES)
    origins = tuple(tuple(origin for origin, _ in found.values()) for found in (own, theirs))
    return Comparison(name, measured, stated - len(measured), origins)


def judged(dataset: str) -> dict[str, tuple[Origin, dict[str, Judged]]]:
    """What the committed results of a data set say: family -> where they come from, and its hypotheses by their ids."""
    with questions.compared(dataset):
        records = questions.published()
        found = {family: _family(family) for family in claims.FAMILIES if family in records}
    return {
        family: (result.origin, {each.hypothesis.id: each for each in verdicts})
        for family, (result, verdicts) in found.items()
        if result is not None
    }


def _family(family: str) -> tuple[Any, list[Judged]]:
    """A family's result with its verdicts; none of both where it lacks what today's classes and tests ask for."""
    try:
        result = getattr(results, family)()
        return result, claims.judged(result, planted={}) if result is not None else []
    except UsageError:
        return None, []  # a part of it is not committed
    except Exception:
        if questions.result(family).stale:  # written by other code: it may lack a field, or mean another
            return None, []
        raise


def _is_measured(found: Judged) -> bool:
    return found.met is not None or found.effect is not None


def counts(found: Comparison) -> Markdown:
    """How many findings have which verdicts: MNIST's down, the other's across."""
    seen = Counter((each.own.verdict, each.other.verdict) for each in found.findings)
    rows = [[MARKS[own], *[str(seen[own, other]) for other in VERDICTS]] for own in VERDICTS]
    return tables.show(["on MNIST", *[f"{MARKS[other]} there" for other in VERDICTS]], rows if found.findings else [])


def verdicts(findings: Sequence[Finding]) -> Markdown:
    """Each finding with both verdicts, as marks, and effects, a row each."""
    if not findings:
        return Markdown("*None.*")
    rows = [
        [
            each.own.hypothesis.sentence,
            _cell(each.own),
            _cell(each.other),
            questions.known()[each.own.hypothesis.family].lstrip("0"),
        ]
        for each in findings
    ]
    heads = ["hypothesis", "on MNIST", "there", "chapter"]
    return Markdown(f"::: {{.verdicts}}\n{tables.table(heads, rows)}\n:::")


def _cell(found: Judged) -> str:
    """A verdict's mark, and the effect."""
    return f"{MARKS[found.verdict][0]}\u00a0{found.size()}"


def provenance(found: Comparison) -> Markdown:
    """Where the numbers of both come from, a line each."""
    lines = [told.provenance(*map(_short, origins)) for origins in found.origins if origins]
    return Markdown("::: {.provenance}\n" + " \\\n".join(lines) + "\n:::")


def _short(origin: Origin) -> Origin:
    """Whether a profile's settings were changed, and not how: the chapters' own pages say that."""
    profile, changed, _ = origin.computed_under.partition(", with ")
    return replace(origin, computed_under=f"{profile}, changed" if changed else profile)
