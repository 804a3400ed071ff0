"""Anything by the dimension of a random subspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import NullLocator

from rankstudy.book.plots.drawing import INK, Drawing, colour, direct, line, panel
from rankstudy.book.stats import number_text

CLOSE = 0.05  # a fraction: names of levels that are nearer would be written over each other
ROUND = (20, 50, 100, 200, 400, 750, 1500, 3000)  # dimensions that are written on the axis
FEW = 5  # so many that were tried are all written


def by_dimension(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ylabel: str,
    *,
    levels: Mapping[str, float] | None = None,
    points: tuple[np.ndarray, np.ndarray] | None = None,
    colours: Mapping[str, str] | None = None,
    dashed: Sequence[str] = (),
    title: str = "",
) -> Drawing:
    """Percentages against the dimension on a log axis: name -> ((dimensions,), (networks, dimensions) fractions).

    `levels`: named horizontal lines, fractions; `points`: dimensions and fractions (runs, dimensions) of somebody
    else, as open triangles; `dashed`: names of lines to draw so. Nothing to draw is said in its place.
    """
    if not series:
        return Drawing([])
    figure, axes = panel(title, size=(4.6, 3.1))
    ends, ticks = {}, set()
    for index, (name, (dimension, values)) in enumerate(series.items()):
        shade = colour((colours or {}).get(name, name), index)
        mean = line(axes, dimension, 100 * values, shade, linestyle="--" if name in dashed else "-", marker="o", ms=3)
        ends[name] = (float(mean[-1]), shade)
        ticks |= set(dimension.tolist())
    if points is not None:
        for each in points[1]:
            axes.plot(points[0], 100 * each, "^", color=INK, markerfacecolor="none", markersize=4)
        ends["published"] = (float(100 * points[1][:, -1].mean()), INK)
    named = sorted((levels or {}).items(), key=lambda item: item[1])
    for place, (name, level) in enumerate(named):
        axes.axhline(100 * level, color=INK, linewidth=0.8, linestyle=":")
        below = place + 1 < len(named) and named[place + 1][1] - level < CLOSE  # the next line's name
        axes.text(0.01, 100 * level, name, transform=axes.get_yaxis_transform(), color=INK,
                  va="top" if below else "bottom", fontsize=8)  # fmt: skip
    axes.set(xscale="log", xlabel="dimension d", ylabel=ylabel)
    shown = [tick for tick in ROUND if min(ticks) <= tick <= max(ticks)] if len(ticks) > FEW else sorted(ticks)
    axes.set_xticks(shown, [number_text(tick) for tick in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    direct(axes, ends)
    return Drawing([figure], columns=1)
