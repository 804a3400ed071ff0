"""What a network costs: memory in parts, accuracy for what it took to reach it, speed by the size of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import MaxNLocator, NullLocator

from rankstudy.book.plots.drawing import INK, OTHERS, Drawing, colour, direct, line, nothing, panel, plain_log
from rankstudy.book.stats import number_text

FACTORS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)  # ticks of a speed-up


def parts(bars: Mapping[str, Mapping[str, float]], xlabel: str) -> Drawing:
    """Stacked horizontal bars, one by name, of the same named parts; the parts' names stand over the first bar, each
    bar's sum behind it."""
    figure, axes = panel(size=(5.6, 0.5 * len(bars) + 1.1))
    names = list(next(iter(bars.values())))
    begun = np.zeros(len(bars))
    for index, name in enumerate(names):
        values = np.array([each[name] for each in bars.values()])
        shade = OTHERS[index]
        axes.barh(range(len(bars)), values, left=begun, color=shade, height=0.6, label=name)
        begun += values
    for row, whole in enumerate(begun):
        axes.text(whole, row, f" {number_text(whole, 1)}", va="center", color=INK)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 1.15 * begun.max())
    axes.set_xlabel(xlabel)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside upper center", ncols=len(names), frameon=False, handlelength=1, columnspacing=1.2)
    return Drawing([figure], columns=1)


def against(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    xlabel: str,
    ylabel: str,
    *,
    colours: Mapping[str, str] | None = None,
    level: float | None = None,
    log: bool = False,
    size: tuple[float, float] = (3.6, 2.6),
) -> Drawing:
    """Values (networks, points) against what they took, (points,) or (networks, points) whose mean is shown, by name;
    `level`: what is reached, dashed; `size`: of the panel, in inches."""
    figure, axes = panel(size=size)
    ends = {}
    for index, (name, (x, values)) in enumerate(series.items()):
        shade = colour((colours or {}).get(name, name), index)
        across = np.atleast_2d(np.asarray(x, dtype=float)).mean(axis=0)
        mean = line(axes, across, values, shade, marker="o", markersize=3)
        ends[name] = (float(mean[-1]), shade)
    if level is not None:
        axes.axhline(level, color=INK, linewidth=1, linestyle="--")
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if log else "linear")
    if log:
        plain_log(axes.xaxis, (1, 3))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    direct(axes, ends)
    return Drawing([figure], columns=1)


def by_batch(
    batches: np.ndarray,
    series: Mapping[str, np.ndarray],
    *,
    colours: Mapping[str, str] | None = None,
    bounds: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    limit: tuple[str, float] | None = None,
    title: str = "",
) -> Drawing:
    """How many times as fast, (batches,) by name, against the size of the batch, both on log axes; `bounds`: quartiles
    as a band; `limit`: a named dashed level. 1 is a line of its own."""
    if nothing(batches):
        return Drawing([])
    figure, axes = panel(title, size=(3.6, 2.6))
    batches, ends = np.asarray(batches, dtype=float), {}
    low, high = 1.0, 1.0
    for index, (name, values) in enumerate(series.items()):
        shade = colour((colours or {}).get(name, name), index)
        axes.plot(batches, values, color=shade, marker="o", markersize=3)
        if bounds and name in bounds:
            axes.fill_between(batches, *bounds[name], color=shade, alpha=0.25, linewidth=0)
        ends[name] = (float(values[-1]), shade)
        low, high = min(low, float(np.min(values))), max(high, float(np.max(values)))
    axes.axhline(1, color=INK, linewidth=0.8)
    if limit is not None:
        axes.axhline(limit[1], color=INK, linewidth=1, linestyle="--")
        ends[limit[0]] = (limit[1], INK)
        high = max(high, limit[1])
    axes.set(xscale="log", yscale="log", xlabel="batch (images)", ylabel="times as fast as dense")
    axes.set_ylim(low / 1.3, high * 1.3)
    ticks = [factor for factor in FACTORS if low / 1.3 <= factor <= high * 1.3]
    axes.set_yticks(ticks, [f"{factor:g}" for factor in ticks])
    chosen = batches[np.linspace(0, len(batches) - 1, min(4, len(batches))).round().astype(int)]
    axes.set_xticks(chosen, [number_text(batch) for batch in chosen])
    axes.tick_params(axis="x", labelsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    direct(axes, ends)
    return Drawing([figure], columns=1)
