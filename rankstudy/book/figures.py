"""The style of all figures, and the plots that several chapters share. matplotlib is imported only here.

Figures are made without pyplot, so nothing is shown twice and nothing stays open. Colours are Okabe and Ito's, safe for
colour-blind readers; they have no background, and a dark page inverts them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from rankstudy.book.stats import band

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = "osD^vP*X"
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
}


def panels(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] | None = None, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure in the book's style with (rows, columns) axes; size in inches."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size or (min(7.0, 3.4 * columns), 2.6 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **options)
        for axis in axes.flat:
            axis.set_axisbelow(True)
    return figure, axes


def curve(
    axis: Axes, x: Sequence[float], values: np.ndarray, label: str = "", colour: str | None = None, **options: Any
) -> None:
    """Mean over networks (axis 0 of `values`) with its 95 % band; one network is a bare line.

    Two networks are drawn as they are, as thin lines beside their mean: an interval with one degree of freedom is so
    wide that its band would fill the figure.
    """
    mean, low, high = band(values)
    (line,) = axis.plot(x, mean, label=label or None, color=colour, **options)
    if len(values) == 2:
        for each in values:
            axis.plot(x, each, color=line.get_color(), linewidth=0.6, alpha=0.7)
    elif len(values) > 2:
        axis.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def points(
    axis: Axes, x: Sequence[float], values: np.ndarray, label: str = "", colour: str | None = None, **options: Any
) -> None:
    """Mean over networks (axis 0) with 95 % error bars, one point per column."""
    mean, low, high = band(values)
    style = {"marker": "o", "capsize": 2, **options}
    axis.errorbar(x, mean, yerr=(mean - low, high - mean), label=label or None, color=colour, **style)


def learning_curves(arms: Mapping[str, Mapping[str, np.ndarray]], *, title: str = "") -> Figure:
    """Loss and accuracy per epoch, on training, validation and test data, one column per arm.

    `arms`: label -> history with `train_loss` … `test_accuracy`, each (networks, epochs + 1).
    """
    figure, axes = panels(2, len(arms), size=(max(3.6, min(7.0, 2.4 * len(arms))), 4.2), sharex="col", sharey="row")
    for column, (label, history) in enumerate(arms.items()):
        epochs = np.arange(history["train_loss"].shape[1])
        for colour, split, style in zip(COLOURS, ("train", "validation", "test"), ("-", "--", ":"), strict=False):
            curve(axes[0, column], epochs, history[f"{split}_loss"], split, colour, linestyle=style)
            curve(axes[1, column], epochs, 100 * history[f"{split}_accuracy"], split, colour, linestyle=style)
        axes[0, column].set(yscale="log", title=label)
        axes[1, column].set(xlabel="epoch")
        best = 100 * min(float(np.nanmax(h["test_accuracy"].mean(axis=0))) for h in arms.values())
        axes[1, column].set_ylim(bottom=max(0.0, min(90.0, best - 10)), top=100.3)
    axes[0, 0].set_ylabel("cross-entropy (nats)")
    axes[1, 0].set_ylabel("accuracy (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    if title:
        figure.suptitle(title)
    return figure


def spectra(found: Mapping[str, tuple[np.ndarray, int]]) -> Figure:
    """Singular values, log scale, one small panel per matrix; name -> (values, a rank to mark)."""
    columns = min(4, max(1, len(found)))
    rows = -(-len(found) // columns)
    figure, axes = panels(rows, columns, size=(2.2 * columns + 0.4, 1.6 * rows + 0.4))
    for axis, (name, (values, rank)) in zip(axes.flat, found.items(), strict=False):
        index = np.arange(1, len(values) + 1)
        axis.semilogy(index, np.maximum(values, 1e-12 * max(values.max(initial=0.0), 1e-300)))
        axis.axvline(rank + 0.5, color=COLOURS[1], linewidth=1, linestyle="--")
        axis.set_title(name if len(name) < 30 else "…" + name[-28:], fontsize=7)
    for axis in axes.flat[len(found) :]:
        axis.axis("off")
    figure.supxlabel("index", fontsize=8)
    figure.supylabel("singular value (dashed: rank at the given error)", fontsize=8)
    return figure


def few_ticks(axis: Axis) -> None:
    """Of a logarithmic axis that spans little: labels at 1 and 3 times powers of ten, which have room."""
    axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_minor_formatter(NullFormatter())


def shades(count: int) -> np.ndarray:
    """(count, 4) colours in order, dark to light, for curves of an ordered quantity; readable in grey."""
    return matplotlib.colormaps["viridis"](np.linspace(0, 0.92, count))


def key(figure: Figure, entries: Sequence[tuple[str, Any, str]]) -> None:
    """A legend beside the axes: (label, colour, line style) of each entry."""
    lines = [Line2D([], [], color=colour, linestyle=style) for _, colour, style in entries]
    names = [label for label, _, _ in entries]
    figure.legend(lines, names, loc="outside right center", frameon=False, fontsize=8)


SIGNED = "RdBu_r"  # of weights: blue negative, white zero, red positive; told apart by colour-blind readers too


def weights(images: np.ndarray, names: Sequence[str]) -> Figure:
    """(rows, columns, h, w) pictures of values in [−1, 1], each row with its name."""
    rows, columns = images.shape[:2]
    figure, axes = panels(rows, columns, size=(7.0, 7.0 / (columns + 1) * rows))
    for row, name in enumerate(names):
        for column in range(columns):
            axis = axes[row, column]
            axis.imshow(images[row, column], cmap=SIGNED, vmin=-1, vmax=1)
            axis.grid(visible=False)
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set_visible(False)
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def signed_png(values: np.ndarray) -> bytes:
    """(h, w) values in [−1, 1] as a PNG with a palette of 255 colours: an eighth of what matplotlib would write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape
    lines = np.pad(np.rint(127 * values + 127).astype(np.uint8), ((0, 0), (1, 0)))  # each begins with its filter, none
    palette = matplotlib.colormaps[SIGNED](np.linspace(0, 1, 255), bytes=True)[:, :3]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", palette.tobytes()),
            chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
            chunk(b"IEND", b""),
        ]
    )
