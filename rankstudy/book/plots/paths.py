"""Where a training turns, what it learned against how far it went, and what changes with the width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rankstudy.book.measured import History
from rankstudy.book.missing import Missing
from rankstudy.book.overfitting import Size
from rankstudy.book.paths import NEAREST, Decay, Labels
from rankstudy.book.plots.drawing import INK, SERIES, Drawing, colour, direct, line, panel

# condition -> the series whose colour it has
CONDITIONS = {"true": "weights", "shuffled": "error", "drawn anew": "muted"}
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)  # distances


def turn(history: History) -> Drawing:
    """Loss on a linear axis and accuracy, from the first epoch on; dotted: the epoch of the lowest mean test loss."""
    return Drawing([_turn("loss", history, "loss"), _turn("accuracy", history, "accuracy")])


def turns(histories: Mapping[str, History]) -> Drawing:
    """The loss of each condition likewise, a panel each."""
    return Drawing([_turn(name, history, "loss") for name, history in histories.items()])


def _turn(title: str, history: History, what: str) -> Figure:
    epochs = np.arange(1, history.epochs + 1)
    scale, ylabel, series = {
        "loss": (1, "cross-entropy (nats)", "error"),
        "accuracy": (100, "accuracy (%)", "accuracy"),
    }[what]
    figure, axes = panel(title)
    ends = {}
    for split, shade in (("train", SERIES["muted"][0]), ("test", SERIES[series][0])):
        mean = line(axes, epochs, scale * getattr(history, f"{split}_{what}")[:, 1:], shade, marker="o", markersize=3)
        ends[split] = (float(mean[-1]), shade)
    lowest = int(epochs[history.test_loss[:, 1:].mean(axis=0).argmin()])
    axes.axvline(lowest, color=INK, linewidth=1, linestyle=":")
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(**({"bottom": 0} if what == "loss" else {"top": 100.1}))
    direct(axes, ends)
    return figure


def learned_by_distance(view: Labels | Decay | Missing, layers: str = "square") -> Drawing:
    """Entropy rank of what is learned against its distance from the start (log), a panel a layer ("square" ones or all
    "hidden" ones), a line for each learning rate of a condition: means over networks at each look, from the smallest
    distance that is compared."""
    if isinstance(view, Missing):
        return Drawing([])
    drawn = []
    for layer in view.square if layers == "square" else range(len(view.widths) - 2):
        figure, axes = panel(f"layer {layer + 1}")
        ends = {}
        for index, (name, entries) in enumerate(view.conditions.items()):
            shade = colour(CONDITIONS.get(name, name), index)
            for paths in entries:
                x = np.exp(np.log(paths.distance[:, :, layer]).mean(axis=0))
                y = paths.entropy_rank[:, :, layer].mean(axis=0)
                if x[-1] >= NEAREST:
                    axes.plot(x[x >= NEAREST], y[x >= NEAREST], color=shade, marker="o", markersize=2, linewidth=1.2)
                    ends[name] = (float(y[-1]), shade)
        full_rank = min(view.widths[layer : layer + 2])
        axes.set(xscale="log", xlabel="distance from the start", ylabel=f"entropy rank (of {full_rank})")
        axes.set_xlim(left=NEAREST)
        axes.set_xticks([tick for tick in TICKS if tick <= axes.get_xlim()[1]], minor=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
        direct(axes, ends)
        drawn.append(figure)
    return Drawing(drawn)


def by_width(sizes: Sequence[Size]) -> Drawing:
    """Share of full rank that the update takes against the width, first layer and square layers, beside that of random
    errors on the same inputs where it was measured."""
    drawn = []
    for title, first in (("first layer", True), ("square layers", False)):
        figure, axes = panel(title)
        ends = {}
        widths = [size.widths[1] for size in sizes]
        layers = [[0] if first else size.square for size in sizes]
        pairs = list(zip(sizes, layers, strict=True))
        series = {"W − W₀": [size.share(own) for size, own in pairs]}
        errors = [share for size, own in pairs if (share := size.baseline_share(own)) is not None]
        if len(errors) == len(sizes):
            series["random errors"] = errors
        for name, shares in series.items():
            shade = SERIES["update" if name == "W − W₀" else "muted"][0]
            count = min(len(share) for share in shares)
            values = 100 * np.stack([share[:count] for share in shares], axis=1)
            ends[name] = (float(line(axes, widths, values, shade, marker="o")[-1]), shade)
        axes.set(xscale="log", xlabel="units in a hidden layer", ylabel="entropy rank (% of full)")
        axes.set_xticks(widths, [str(width) for width in widths])
        axes.minorticks_off()
        axes.set_ylim(0, 100)
        direct(axes, ends)
        drawn.append(figure)
    return Drawing(drawn)
