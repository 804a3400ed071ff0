"""Trainings by epoch, anything by rank, and one cost against another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from rankstudy.book.measured import History
from rankstudy.book.plots.drawing import INK, Drawing, colour, direct, line, nothing, panel, plain_log, powers
from rankstudy.book.stats import band


def curves(
    histories: Mapping[str, History], colours: Mapping[str, str] | None = None, *, single: bool = False
) -> Drawing:
    """Loss (log) and accuracy by epoch, on training data (full lines) and test data (dashed); a colour a condition.

    `single`: every network as a thin line, in place of the band."""
    if not isinstance(histories, Mapping):
        raise TypeError(f'histories must be by name, as in curves({{"mine": history}}); got {type(histories).__name__}')
    drawn: list[Figure] = []
    if not histories:
        return Drawing(drawn)
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
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
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
    mark: int | None = None,
    since: int = 1,
    simultaneous: bool = False,
) -> Drawing:
    """Values (networks, ranks) against the rank r on a log axis, by name; `reference`: a named dashed level; `mark`: a
    rank as a dotted line; `since`: the smallest rank shown; `simultaneous`: bands that hold whole curves at once."""
    if nothing(ranks):
        return Drawing([])
    figure, axes = panel(title, size=(4.6, 2.9))
    ends, shown = {}, np.asarray(ranks) >= since
    ranks = np.asarray(ranks)[shown]
    for index, (name, values) in enumerate(series.items()):
        shade = colour((colours or {}).get(name, name), index)
        mean = line(axes, ranks, np.asarray(values)[..., shown], shade, simultaneous=simultaneous)
        ends[name] = (float(mean[-1]), shade)
    axes.set(xscale="log", yscale="log" if log else "linear", xlabel="rank r", ylabel=ylabel)
    ticks = [rank for rank in (1, 4, 16, 64, 256, 1024) if ranks[0] <= rank <= ranks[-1]]
    ticks = ticks if len(ticks) > 1 else [int(rank) for rank in ranks]
    axes.set_xticks(ticks, [str(rank) for rank in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    if mark is not None:
        axes.axvline(mark, color=INK, linewidth=1, linestyle=":")
        axes.text(mark, 0.25, f" r = {mark}", transform=axes.get_xaxis_transform(), ha="left", va="center", color=INK)
    if reference is not None:
        axes.axhline(reference[1], color=INK, linewidth=1, linestyle="--")
        ends[reference[0]] = (reference[1], INK)
    direct(axes, ends)
    return Drawing([figure], columns=1)


def convergence(
    errors: Mapping[str, np.ndarray], smallest: float, *, colours: Mapping[str, str] | None = None, title: str = ""
) -> Drawing:
    """How far alternating methods are above the smallest possible error, as a share of it, after each iteration: the
    second half-step of each. errors: name -> (half-steps,), in the unit of `smallest`."""
    figure, axes = panel(title, size=(4.6, 2.9))
    gaps = {name: np.maximum(np.asarray(each, dtype=float)[1::2] / smallest - 1, 1e-9) for name, each in errors.items()}
    ends = {}
    for index, (name, gap) in enumerate(gaps.items()):
        shade = colour((colours or {}).get(name, name), index)
        axes.plot(np.arange(1, len(gap) + 1), gap, color=shade, marker="o", markersize=3)
        ends[name] = (float(gap[-1]), shade)
    axes.set(xscale="log", yscale="log", xlabel="iterations", ylabel="gap to the smallest error")
    plain_log(axes.xaxis, (1, 3))
    powers(axes.yaxis, min(float(gap.min()) for gap in gaps.values()), max(float(gap.max()) for gap in gaps.values()))
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
