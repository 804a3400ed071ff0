"""Trainings by epoch, anything by rank, and one cost against another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import NullLocator

from rankstudy.book.plots.drawing import INK, Drawing, colour, direct, line, panel, plain_log
from rankstudy.book.results import History
from rankstudy.book.stats import band


def curves(
    histories: Mapping[str, History], colours: Mapping[str, str] | None = None, *, single: bool = False
) -> Drawing:
    """Loss (log) and accuracy by epoch, on training data (full lines) and test data (dashed); a colour a condition.

    `single`: every network as a thin line, in place of the band."""
    if not isinstance(histories, Mapping):
        raise TypeError(f'histories must be by name, as in curves({{"mine": history}}); got {type(histories).__name__}')
    drawn = []
    for what, ylabel, scale in (("loss", "cross-entropy (nats)", 1), ("accuracy", "accuracy (%)", 100)):
        figure, axes = panel(what)
        ends = {}
        for index, (name, history) in enumerate(histories.items()):
            shade = colour((colours or {}).get(name, name), index)
            for split, style in (("train", "-"), ("test", "--")):
                values = scale * getattr(history, f"{split}_{what}")
                if single:
                    axes.plot(values.T, color=shade, linewidth=0.6, linestyle=style, alpha=0.7)
                shown = values.mean(axis=0, keepdims=True) if single else values
                mean = line(axes, range(values.shape[1]), shown, shade, linestyle=style)
                label = split if len(histories) == 1 else f"{name}, {split}"
                ends[label] = (float(mean[-1]), shade)
        axes.set(xlabel="epoch", ylabel=ylabel)
        if what == "loss":
            axes.set_yscale("log")
            plain_log(axes.yaxis, (1, 3))
        else:
            lowest = min(100 * float(each.test_accuracy[:, 1:].min()) for each in histories.values())
            axes.set_ylim(max(0.0, np.floor(lowest) - 1), 100.1)
        if len(ends) <= 4:
            direct(axes, ends)
        drawn.append(figure)
    return Drawing(drawn)


def by_rank(
    ranks: np.ndarray,
    series: Mapping[str, np.ndarray],
    ylabel: str,
    *,
    colours: Mapping[str, str] | None = None,
    log: bool = False,
    title: str = "",
    reference: tuple[str, float] | None = None,
) -> Drawing:
    """Values (networks, ranks) against the rank r on a log axis, by name; `reference`: a named dashed level."""
    figure, axes = panel(title, size=(4.6, 2.9))
    ends = {}
    for index, (name, values) in enumerate(series.items()):
        shade = colour((colours or {}).get(name, name), index)
        mean = line(axes, ranks, values, shade)
        ends[name] = (float(mean[-1]), shade)
    axes.set(xscale="log", yscale="log" if log else "linear", xlabel="rank r", ylabel=ylabel)
    ticks = [rank for rank in (1, 4, 16, 64, 256, 1024) if ranks[0] <= rank <= ranks[-1]]
    axes.set_xticks(ticks, [str(rank) for rank in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    if reference is not None:
        axes.axhline(reference[1], color=INK, linewidth=1, linestyle="--")
        ends[reference[0]] = (reference[1], INK)
    direct(axes, ends)
    return Drawing([figure], columns=1)


def trade_off(
    points: Mapping[str, tuple[np.ndarray, np.ndarray]],
    xlabel: str,
    ylabel: str,
    *,
    colours: Mapping[str, str] | None = None,
) -> Drawing:
    """One cost against another: a named point a condition, (networks,) each way, with 95 % intervals."""
    figure, axes = panel(size=(4.6, 3.2))
    for index, (name, (x, y)) in enumerate(points.items()):
        shade = colour((colours or {}).get(name, name), index)
        (across, left, right), (up, low, high) = (band(np.asarray(each, dtype=float)[:, None]) for each in (x, y))
        axes.plot([left[0], right[0]], [up[0], up[0]], color=shade, linewidth=1, alpha=0.6)
        axes.plot([across[0], across[0]], [low[0], high[0]], color=shade, linewidth=1, alpha=0.6)
        axes.plot(across, up, "o", color=shade)
        axes.annotate(name, (across[0], up[0]), (5, 4), "data", "offset points", color=shade, weight="bold")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.margins(0.12)
    return Drawing([figure], columns=1)
