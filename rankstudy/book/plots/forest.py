"""Many hypotheses in one figure: effect and interval on one scale, coloured by verdict, each a link to its evidence."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from rankstudy.book import display
from rankstudy.book.claims import Judged
from rankstudy.book.plots.drawing import INK, SERIES, Drawing, panel
from rankstudy.study import questions

COLOURS = {"supported": "accuracy", "refuted": "error", "inconclusive": "muted"}  # verdict -> one of SERIES
MARKS = {"supported": "✓", "refuted": "✗", "inconclusive": "?"}
FARTHEST = 300.0  # what lies further out stands at the end
TICKS = (-100, -10, -1, 0, 1, 10, 100)


def standardised(judged: Judged) -> tuple[float, float, float] | None:
    """(low, mean, high) of an effect without its unit; None where there is no interval.

    In units of the smallest effect that would matter, or, where any would, of the interval's half-width, so that beyond
    ±1 the interval leaves zero. What was expected lies to the right, but for "within", which expects it inside ±1.
    """
    effect, matters = judged.effect, judged.hypothesis.matters
    if effect is None or not math.isfinite(effect.half):
        return None
    side = -1.0 if judged.hypothesis.expects == "below" else 1.0
    ends = side * np.array([effect.low, effect.mean, effect.high])
    with np.errstate(divide="ignore", invalid="ignore"):  # the same in every network: no half-width
        ends = np.nan_to_num(ends / (matters or effect.half), nan=0.0, posinf=FARTHEST, neginf=-FARTHEST)
    low, mean, high = np.sort(ends).tolist()
    return low, mean, high


def place(value: float) -> float:
    """Where a standardised effect stands, from −1 to 1: linear near zero, by its logarithm further out."""
    return float(np.arcsinh(np.clip(value, -FARTHEST, FARTHEST)) / np.arcsinh(FARTHEST))


class Forest:
    """A row a hypothesis: on the page a link, in the PDF and in a notebook a drawing for each family."""

    def __init__(self, families: Mapping[str, Sequence[Judged]]) -> None:
        self.families = families

    def drawings(self) -> list[Drawing]:
        return [_drawing(title, judged) for title, judged in self.families.items()]

    def _repr_html_(self) -> str | None:
        return None if display.on_a_page() else "\n".join(str(each._repr_html_()) for each in self.drawings())

    def _repr_markdown_(self) -> str:
        rows = "\n".join(
            f'<p class="forest-head">{html.escape(title)}</p>\n' + "\n".join(map(_row, judged))
            for title, judged in self.families.items()
        )
        printed = "\n\n".join(each.typst("100%") for each in self.drawings())
        return f'```{{=html}}\n<div class="forest">\n{rows}\n</div>\n```\n\n{printed}'


def forest(judged: Sequence[Judged]) -> Forest:
    """Each effect on a scale of its own (`standardised`) with the effect itself beside it, by family; counts of answers
    have no interval and stand as they are."""
    families = {name: list(each) for name, each in groupby(judged, lambda found: found.hypothesis.family)}
    return Forest({_title(family): each for family, each in families.items()})


def _title(family: str) -> str:
    name = family.replace("_", " ").replace("lora", "LoRA")
    return f"Chapter {questions.known()[family].lstrip('0')}: {name}"


def _row(each: Judged) -> str:
    found = standardised(each)
    lines = "".join(
        f'<path d="M{_x(at):.1f} 0V14" stroke="currentColor" opacity="{0.6 if at == 0 else 0.2}"/>' for at in (-1, 0, 1)
    )
    shade, variable = SERIES[COLOURS[each.verdict]]
    ink = f"var({variable}, {shade})"
    if found is not None:
        low, mean, high = map(_x, found)
        lines += f'<path d="M{low:.1f} 7H{high:.1f}" stroke="{ink}" stroke-width="2"/>'
        lines += f'<circle cx="{mean:.1f}" cy="7" r="3.5" fill="{ink}"/>'
    asked = html.escape(each.hypothesis.sentence)
    kind = each.verdict if found else f"{each.verdict} counted"
    size = each.size().replace(" ", "\u00a0", 3)
    return (
        f'<a class="forest-row {kind}" href="claim:{each.hypothesis.id}" data-tip="{asked}">'
        f'<span class="forest-name">{each.hypothesis.id}<span class="visually-hidden">: {asked}</span></span>'
        f'<svg viewBox="0 0 280 14" aria-hidden="true">{lines}</svg>'
        f'<span class="forest-size"><span aria-hidden="true">{MARKS[each.verdict]}</span>'
        f'<span class="visually-hidden">{each.verdict}:</span> {html.escape(size)}</span></a>'
    )


def _x(value: float) -> float:
    """On a row 280 wide."""
    return 140 + 136 * place(value)


def _drawing(title: str, judged: Sequence[Judged]) -> Drawing:
    figure, axes = panel(title, size=(7.0, 0.22 * len(judged) + 0.75))
    for row, each in enumerate(judged):
        shade, found = SERIES[COLOURS[each.verdict]][0], standardised(each)
        if found is not None:
            low, mean, high = map(place, found)
            axes.plot([low, high], [row, row], color=shade, linewidth=2)
            axes.plot([mean], [row], "o", color=shade)
        axes.text(1.06, row, f"{MARKS[each.verdict]} {each.size()}", color=shade, va="center")
    axes.axvline(0, color=INK, linewidth=1)
    axes.set(xlim=(-1.04, 1.04), ylim=(len(judged) - 0.5, -0.7))
    axes.set_yticks(range(len(judged)), [each.hypothesis.id for each in judged])
    axes.set_xticks([place(tick) for tick in TICKS], [str(tick).replace("-", "−") for tick in TICKS])
    axes.tick_params(axis="y", length=0)
    return Drawing([figure], columns=1)
