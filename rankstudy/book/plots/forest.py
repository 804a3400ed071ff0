"""Many hypotheses in one figure: effect and interval, coloured by verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rankstudy.book.claims import Judged
from rankstudy.book.plots.drawing import INK, SERIES, Drawing, panel

COLOURS = {"supported": SERIES["accuracy"][0], "refuted": SERIES["error"][0], "inconclusive": SERIES["muted"][0]}
MARKS = {"supported": "✓", "refuted": "✗", "inconclusive": "?"}


def forest(judged: Sequence[Judged]) -> Drawing:
    """Each effect on its own scale, the far end of its interval at ±1, so that all can be read against zero; those
    that are counts of answers stand as a full bar. The effect itself is printed at the right."""
    figure, axes = panel(size=(7.0, 0.3 * len(judged) + 0.7))
    for row, each in enumerate(judged):
        shade = COLOURS[each.verdict]
        if each.effect is not None and math.isfinite(each.effect.half):
            reach = max(abs(each.effect.low), abs(each.effect.high), 1e-300)
            axes.plot([each.effect.low / reach, each.effect.high / reach], [row, row], color=shade, linewidth=2)
            axes.plot([each.effect.mean / reach], [row], "o", color=shade)
        elif each.met:
            axes.plot([0, each.met[0] / each.met[1]], [row, row], color=shade, linewidth=2, alpha=0.5)
            axes.plot([each.met[0] / each.met[1]], [row], "s", color=shade)
        axes.text(1.12, row, f"{MARKS[each.verdict]} {each.size()}", color=shade, va="center")
    axes.axvline(0, color=INK, linewidth=1)
    axes.set(xlim=(-1.08, 1.08), ylim=(len(judged) - 0.5, -0.7), xlabel="effect (its interval's far end is at ±1)")
    axes.set_yticks(range(len(judged)), [each.hypothesis.id for each in judged])
    axes.set_xticks([-1, 0, 1])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="x")
    return Drawing([figure], columns=1)
