"""Singular values: log against log, which is where training shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from rankstudy.book.measured import Networks
from rankstudy.book.plots.drawing import INK, NAMES, SERIES, Drawing, colour, direct, panel, plain_log, powers

LINE = 13  # points from the top of one name to that of the next


def spectra(group: Networks, layers: Sequence[int] | None = None, *, edge: bool = False) -> Drawing:
    """W₀, W and W − W₀ of the first network, one panel a layer (indices; all but the output layer by default);
    `edge`: the Marchenko–Pastur edge of W₀, dotted."""
    chosen = list(range(len(group.full_rank) - 1)) if layers is None else list(layers)
    kinds = {name: getattr(group.spectra, name) for name in NAMES}
    top = 4 * max(float(kinds[name][layer][0]) for name in kinds for layer in chosen)
    bottom = top / 3000
    drawn = []
    for layer in chosen:
        out, inp = group.shapes[layer]
        figure, axes = panel(f"layer {layer + 1} ({out} × {inp})")
        starts = {}
        for name in NAMES:
            values = np.asarray(kinds[name][layer], dtype=float)
            index = np.arange(1, len(values) + 1)
            axes.plot(index, np.where(values >= bottom, values, np.nan), color=SERIES[name][0])
            starts[name] = values[0]
        if edge:
            axes.axhline(group.edges[layer], color=INK, linewidth=0.9, linestyle=":")
        axes.set(xscale="log", yscale="log", xlabel="index, largest first", ylabel="singular value")
        axes.set_ylim(bottom, top)
        plain_log(axes.xaxis)
        plain_log(axes.yaxis)
        taken = float("inf")  # in points: no name stands on another
        for name, above in zip(sorted(starts, key=lambda each: -starts[each]), (True, False, False), strict=True):
            middle = float(np.asarray(kinds[name][layer])[min(2, len(kinds[name][layer]) - 1)])
            height = float(axes.transData.transform((1.9, middle))[1]) * 72 / figure.dpi
            shift = 7 if above else min(-7, taken - LINE - height)
            axes.annotate(
                NAMES[name], (1.9, middle), (0, shift), "data", "offset points",
                color=SERIES[name][0], weight="bold", va="bottom" if above else "top",
            )  # fmt: skip
            taken = taken if above else height + shift
        drawn.append(figure)
    return Drawing(drawn)


def sizes(
    series: Mapping[str, np.ndarray],
    *,
    tolerance: float | None = None,
    colours: Mapping[str, str] | None = None,
    ylabel: str = "size",
    log_index: bool = True,
    window: tuple[int, int] | None = None,
    title: str = "",
) -> Drawing:
    """Sizes of pivots or singular values, largest first, by name; `tolerance` as a dashed line that is named.

    `window`: the first and last index shown, on a linear index. `colours`: name -> a series of the book.
    """
    figure, axes = panel(title, size=(4.4, 2.8))
    low, high = window or (1, max(len(values) for values in series.values()))
    shown, floor = {}, np.inf
    for index, (name, values) in enumerate(series.items()):
        ordered = np.sort(np.abs(np.asarray(values, dtype=float)))[::-1]
        places = np.arange(1, len(ordered) + 1)
        inside = (places >= low) & (places <= high) & (ordered > 0)
        shade = colour((colours or {}).get(name, name), index)
        axes.plot(places[inside], ordered[inside], color=shade)
        shown[name] = (ordered[inside], shade)
        floor = min(floor, float(ordered[inside].min()))
    top = max(float(values.max()) for values, _ in shown.values())
    floor = min(floor, tolerance or floor)
    axes.set(yscale="log", xlabel="index, largest first", ylabel=ylabel)
    axes.set_ylim(floor / 3, top * 6)
    if log_index and window is None:
        axes.set_xscale("log")
        plain_log(axes.xaxis)
    powers(axes.yaxis, floor / 3, top * 3)
    if window is not None:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        level = {"tolerance τ": (tolerance, INK)} if tolerance is not None else {}
        direct(axes, {name: (float(values[-1]), shade) for name, (values, shade) in shown.items()} | level)
    else:
        for (name, (values, shade)), above in zip(shown.items(), _sides(shown), strict=True):
            place = 2.2 if log_index else 1 + 0.06 * high
            axes.annotate(
                name, (place, values[min(1, len(values) - 1)]), (0, 7 if above else -7), "data", "offset points",
                color=shade, weight="bold", va="bottom" if above else "top",
            )  # fmt: skip
    if tolerance is not None:
        axes.axhline(tolerance, color=INK, linewidth=1, linestyle="--")
    if tolerance is not None and window is None:
        axes.annotate(
            "tolerance τ: what lies below counts as zero", (0.03, tolerance), (0, 3), ("axes fraction", "data"),
            "offset points", va="bottom", color=INK,
        )  # fmt: skip
    return Drawing([figure], columns=1)


def _sides(shown: Mapping[str, tuple[np.ndarray, str]]) -> list[bool]:
    """Names above the highest line and below all others."""
    starts = [float(values[0]) for values, _ in shown.values()]
    return [start == max(starts) for start in starts]
