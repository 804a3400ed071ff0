"""Chapter 9: its figures, each from a piece of the chapter's result."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import li2018
from rankstudy.book.stats import band

ACROSS = 3  # panels side by side: more are too small on a phone
STYLES = {"train": "-", "validation": "--", "test": ":"}


def accuracy(curve: Any, thresholds: Mapping[str, float]) -> figures.Figure:
    """Final accuracy against dimension, ours beside the published points."""
    figure, axes = figures.panels(1, 2, size=(7.0, 3.6))
    d = curve["dimension"]
    for axis in axes[0]:
        for name, values, marker in zip(("run 1", "runs 2 and 3"), li2018.RUNS, "^v", strict=True):
            axis.plot(li2018.DIMENSION, 100 * values, marker, color="black", mfc="none", label=f"Li et al., {name}")
        for colour, split in zip(figures.COLOURS, ("test", "train"), strict=False):
            values = 100 * curve["history"][f"{split}_accuracy"][:, :, -1].T
            figures.points(axis, d, values, f"ours, {split}", colour, linestyle=STYLES[split])
        for style, level in zip(("-", "-."), thresholds.values(), strict=True):
            axis.axhline(100 * level, color="grey", linewidth=0.8, linestyle=style)
    mean, low, high = band(100 * curve["direct"]["test_accuracy"][:, -1])
    axes[0, 0].axhspan(low, high, color=figures.COLOURS[0], alpha=0.2, linewidth=0)
    axes[0, 0].axhline(mean, color=figures.COLOURS[0], linewidth=0.8, label="all parameters, test")
    axes[0, 0].set(xscale="log", xlabel="dimension d of the subspace", ylabel="accuracy (%)", ylim=(0, 102))
    near = np.concatenate([d, li2018.DIMENSION])
    axes[0, 1].set(xlabel="dimension d", xlim=(350, near.max() * 1.03), ylim=(83, 95.5), title="around the thresholds")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def learning(arms: Mapping[str, Mapping[str, Any]], quantity: str = "accuracy (%)") -> figures.Figure:
    """Loss above accuracy per epoch, one pair of panels an arm, one colour a dimension, one line style a split; means.

    `arms`: label -> `dimension` (R,), 0 being all parameters, `loss` and `score`, each split -> (R, seeds, epochs + 1).
    """
    blocks = -(-len(arms) // ACROSS)
    columns = -(-len(arms) // blocks)
    size = (min(7.0, 3.4 + 1.2 * columns), 4.2 * blocks)
    figure, axes = figures.panels(2 * blocks, columns, size=size)
    every = np.unique(np.concatenate([arm["dimension"] for arm in arms.values()]))
    colours = dict(zip(every.tolist(), figures.shades(len(every)), strict=True)) | {0: "black"}
    for place, (label, arm) in enumerate(arms.items()):
        block, column = divmod(place, columns)
        for row, what in enumerate(("loss", "score")):
            axis = axes[2 * block + row, column]
            if place:
                axis.sharey(axes[row, 0])
            axis.tick_params(which="both", labelleft=not column, labelbottom=bool(row))
            for split, style in STYLES.items():
                for d, curves in zip(arm["dimension"].tolist(), arm[what][split], strict=True):
                    mean = np.asarray(curves, dtype=float).mean(axis=0)
                    axis.plot(mean, style, color=colours[d], linewidth=1.0)
            if not column:
                axis.set_ylabel(("cross-entropy (nats)", quantity)[row])
        axes[2 * block, column].set(yscale="log")
        figures.few_ticks(axes[2 * block, column].yaxis)
        axes[2 * block, column].yaxis.set_major_formatter("{x:g}")
        axes[2 * block, column].set_title(textwrap.fill(label, 24), fontsize=8)
        axes[2 * block + 1, column].set(xlabel="epoch")
    for axis in axes[-2:, len(arms) - columns * (blocks - 1) :].flat:
        axis.set_axis_off()
    entries = [(f"d = {d}" if d else "all", colours[d], "-") for d in every.tolist()]
    figures.key(figure, entries + [(split, "grey", style) for split, style in STYLES.items()])
    return figure


def transfer(arms: Sequence[Mapping[str, Any]], labels: Sequence[str], closed: float) -> figures.Figure:
    """Share of the gap closed against dimension, on training and test data, one line an arm."""
    figure, axes = figures.panels(1, 2, size=(7.0, 3.4), sharey=True)
    origins = list(dict.fromkeys(arm["origin"] for arm in arms))
    for arm, label in zip(arms, labels, strict=True):
        index = origins.index(arm["origin"])
        style = {"marker": figures.MARKERS[index], "linestyle": "--" if arm["scales"] else "-"}
        for axis, split in zip(axes[0], ("test", "train"), strict=True):
            values = 100 * arm["closed"][split].T
            figures.points(axis, arm["dimension"], values, label, figures.COLOURS[index], **style)
    for axis, split in zip(axes[0], ("test", "train"), strict=True):
        axis.axhline(100 * closed, color="grey", linewidth=0.8)
        axis.set(xscale="log", xlabel="dimension d", title=f"{split} data", ylim=(-8, 108))
        figures.few_ticks(axis.xaxis)
        axis.xaxis.set_major_formatter("{x:g}")
    axes[0, 0].set_ylabel("gap closed (%)")
    axes[0, 1].legend(loc="lower right", fontsize=7)
    return figure


def sizes(rows: Mapping[str, tuple[np.ndarray, str]]) -> figures.Figure:
    """One axis for all: label -> (values (seeds,), kind), kind being what the number counts."""
    figure, axes = figures.panels(1, 1, size=(7.0, 0.3 * len(rows) + 0.8))
    axis = axes[0, 0]
    kinds = list(dict.fromkeys(kind for _, kind in rows.values()))
    for place, (values, kind) in enumerate(rows.values()):
        index = kinds.index(kind)
        mean = float(np.mean(values))
        label = kind if place == next(i for i, (_, k) in enumerate(rows.values()) if k == kind) else None
        axis.plot([mean], [place], figures.MARKERS[index], color=figures.COLOURS[index], markersize=7, label=label)
        axis.plot([np.min(values), np.max(values)], [place, place], color=figures.COLOURS[index])
        axis.annotate(
            f"{mean:,.0f}".replace(",", "\u202f"), (mean, place), (6, 0), textcoords="offset points", va="center"
        )
    axis.set(xscale="log", yticks=range(len(rows)), yticklabels=list(rows), xlabel="how many")
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.legend(loc="lower right")
    return figure
