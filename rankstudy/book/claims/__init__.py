"""Claims are hypotheses: one fixed sentence each, and the test that decides it, to be written before its result.

    @hypothesis(
        "rank-update-lower",
        "In the square layers, what training adds has a lower entropy rank than the random start.",
        family="rank", expects="below", unit="directions", evidence="sec-evidence-rank-layers",
    )
    def update_lower(rank):
        return rank.task2.update.entropy_rank[:, 1:3] - rank.task2.initial.entropy_rank[:, 1:3]

The function is pure and gives one effect per network ((networks,), or (networks, layers), whose layers are averaged),
or the yes-or-no answers that must all be yes, or None where the profile did not measure it. The sentence never changes
with the data; its verdict does: *supported*, *refuted* or *inconclusive*.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

import numpy as np

from rankstudy.book.missing import Missing
from rankstudy.book.numbers import average
from rankstudy.book.stats import Estimate, benjamini_hochberg, interval_text, number_text, t_quantile, two_sided

VERDICTS = ("supported", "refuted", "inconclusive")
PRIMARY = 8  # hypotheses of the first tier in the whole book, at most; p times this is Bonferroni's correction
LEVELS = {"primary": 0.05, "secondary": 0.10}  # of corrected p; in the second tier a rate of false discoveries
PLANT = "RANKSTUDY_VERDICT"  # one of VERDICTS for every claim, or `id=verdict,id=verdict`: to read a page under another

Expects = Literal["below", "above", "within", "every"]
Tier = Literal["primary", "secondary", "descriptive"]


@dataclass(frozen=True)
class Hypothesis:
    """What is expected, and how it is decided."""

    id: str  # unique in the book, lower case with hyphens
    sentence: str  # what is expected; fixed
    family: str  # the result it is a function of, as in `results.rank()`
    tier: Tier  # how p is corrected: over all primary ones of the book; over the family; "descriptive": no p
    expects: Expects  # effect < −matters, effect > matters, |effect| < matters, or all answers yes
    matters: float  # the smallest effect that would matter, in the unit that is printed
    unit: str  # of the effect as printed
    scale: float  # effect as printed / effect as returned
    evidence: str  # label of the section that shows it
    test: Callable[[Any], np.ndarray | None]


@dataclass(frozen=True)
class Judged:
    """A hypothesis and what the data say of it."""

    hypothesis: Hypothesis
    verdict: str  # one of VERDICTS
    effect: Estimate | None  # in the hypothesis's unit; None for answers, or where nothing was measured
    met: tuple[int, int] | None = None  # answers that are yes, of how many
    n: int = 0  # networks
    p: float | None = None  # corrected by its tier

    @property
    def too_small(self) -> bool:
        """Whether it is refuted for its size alone: as expected, but by less than would matter."""
        expected = {"above": 1, "below": -1}.get(self.hypothesis.expects, 0)
        seen = self.effect.mean * expected if self.effect else 0.0
        return self.verdict == "refuted" and 0 < seen and self.hypothesis.matters > 0

    @property
    def word(self) -> str:
        """The verdict in words; of what was not measured it is none."""
        if self.verdict == "inconclusive" and not self.met and self.effect is None:
            return "not measured yet"
        return f"refuted: {self.hypothesis.matters:g} would matter" if self.too_small else self.verdict

    def size(self) -> str:
        """The effect as printed: −59.24 ± 0.92 directions, or 160 of 160."""
        if self.met:
            return f"{number_text(self.met[0])} of {number_text(self.met[1])}"
        if self.effect is None:
            return "no result under this profile"
        return interval_text(self.effect, self.hypothesis.unit, sign=True)

    def summary(self) -> str:
        """Effect, n and p in a line."""
        parts = [self.size()]
        if self.n:
            parts.append(f"n = {self.n}")
        if self.p is not None:
            parts.append(p_text(self.p))
        return ", ".join(part.replace(" ± ", "\u00a0±\u00a0").replace(" = ", "\u00a0=\u00a0") for part in parts)


def p_text(p: float) -> str:
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


REGISTRY: dict[str, Hypothesis] = {}
# modules of this package, one a chapter
FAMILIES = (
    "data",
    "training",
    "rank",
    "optimizers",
    "dissection",
    "overfitting",
    "labels",
    "decay",
    "approximation",
    "low_rank_training",
    "narrow",
    "large_batches",
    "lora",
    "frontier",
    "directions",
    "intrinsic_dimension",
)


def hypothesis(
    id: str,
    sentence: str,
    *,
    family: str,
    expects: Expects,
    evidence: str,
    matters: float = 0.0,
    unit: str = "",
    scale: float = 1.0,
    tier: Tier = "descriptive",
) -> Callable[[Callable[[Any], np.ndarray | None]], Callable[[Any], np.ndarray | None]]:
    """Registers the test that it decorates; see `Hypothesis` for the arguments.

    Raises:
        ValueError: the id is taken, or "within" has nothing to be within.
    """
    if id in REGISTRY:
        raise ValueError(f"there are two hypotheses {id!r}")
    if expects == "within" and not matters > 0:
        raise ValueError(f"{id!r} expects an effect within matters = {matters}")

    def registered(test: Callable[[Any], np.ndarray | None]) -> Callable[[Any], np.ndarray | None]:
        REGISTRY[id] = Hypothesis(id, sentence, family, tier, expects, matters, unit, scale, evidence, test)
        return test

    return registered


def stated(family: str) -> list[Hypothesis]:
    """The hypotheses of a family, in the order in which they are written."""
    import_module(f"{__name__}.{family}")
    return [each for each in REGISTRY.values() if each.family == family]


def judged(result: Any, planted: Mapping[str, str] | None = None) -> list[Judged]:
    """What a result says of every hypothesis of its family, p-values corrected; see `corrected`. Where it is `Missing`,
    all are inconclusive.

    `planted`: verdicts to use instead, by id ("*": for all), so that a page can be read under any; unset: those of the
    environment variable PLANT.

    Raises:
        ValueError: a planted verdict is none of VERDICTS.
    """
    missing = isinstance(result, Missing)
    asked = stated(result.experiment if missing else result.origin.experiment)
    found = corrected([judge(each, None if missing else each.test(result)) for each in asked])
    wanted = planted_verdicts() if planted is None else planted
    if unknown := set(wanted.values()) - set(VERDICTS):
        raise ValueError(f"a planted verdict is {min(unknown)!r}; allowed are {', '.join(VERDICTS)}")
    return [replace(each, verdict=wanted.get(each.hypothesis.id, wanted.get("*", each.verdict))) for each in found]


def all_judged(book: Mapping[str, Any]) -> list[Judged]:
    """What the results of `results.book()` say of every hypothesis."""
    return [each for result in book.values() for each in judged(result)]


def planted_verdicts() -> dict[str, str]:
    """Those of the environment."""
    text = os.environ.get(PLANT, "")
    if text and "=" not in text:
        return {"*": text}
    return dict(part.split("=", 1) for part in text.split(",") if part)  # type: ignore[misc]


def judge(asked: Hypothesis, values: np.ndarray | None) -> Judged:
    """One hypothesis by one effect per network, before any correction."""
    if values is None:
        return Judged(asked, "inconclusive", None)
    array = np.asarray(values)
    if asked.expects == "every":
        yes = int(array.sum())
        verdict = "supported" if yes == array.size else "refuted"
        return Judged(asked, verdict, None, (yes, array.size), len(array))
    effect = average(asked.scale * array)
    if effect.n < 2:
        return Judged(asked, "inconclusive", effect, n=effect.n)
    seen = effect.printed()  # an interval that touches the threshold on the page shall not clear it unseen
    if asked.expects == "within":
        inside = max(abs(seen.low), abs(seen.high)) < asked.matters
        outside = seen.low > asked.matters or seen.high < -asked.matters
        p = max(_p(effect, asked.matters), _p(effect, -asked.matters)) if inside else None
        verdict = "supported" if inside else "refuted" if outside else "inconclusive"
        return Judged(asked, verdict, effect, n=effect.n, p=p)
    limit = asked.matters if asked.expects == "above" else -asked.matters
    sides = ("supported", "refuted") if asked.expects == "above" else ("refuted", "supported")
    verdict = sides[0] if seen.low > limit else sides[1] if seen.high < limit else "inconclusive"
    return Judged(asked, verdict, effect, n=effect.n, p=_p(effect, limit))


def corrected(found: Iterable[Judged]) -> list[Judged]:
    """p for being one of several; what does not survive it is inconclusive.

    Primary ones by Bonferroni over the PRIMARY of the whole book, which a page can do that sees one result (Holm's
    correction is never stricter); secondary ones by Benjamini and Hochberg within the family; descriptive ones have an
    interval and no p.
    """
    found = [replace(each, p=None) if each.hypothesis.tier == "descriptive" else each for each in found]
    for tier in ("primary", "secondary"):
        tested = [i for i, each in enumerate(found) if each.p is not None and each.hypothesis.tier == tier]
        p = [float(found[index].p or 0.0) for index in tested]
        several = [min(1.0, PRIMARY * each) for each in p] if tier == "primary" else benjamini_hochberg(p)
        for index, each in zip(tested, several, strict=True):
            verdict = found[index].verdict if each < LEVELS[tier] else "inconclusive"
            found[index] = replace(found[index], p=each, verdict=verdict)
    return found


def _p(effect: Estimate, limit: float) -> float:
    """Two-sided t-test of the mean being the limit, out of the interval."""
    if effect.half == 0:
        return float(effect.mean == limit)
    return two_sided((effect.mean - limit) / (effect.half / t_quantile(effect.n - 1)), effect.n - 1)
