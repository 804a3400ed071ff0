"""Chapter 9: its figures, each from the chapter's result."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np

from rankstudy import figures
from rankstudy.chapters import li2018
from rankstudy.intervals import band

STYLES = {"train": "-", "validation": "--", "test": ":"}


def accuracy(curve: Any, thresholds: dict[str, float]) -> figures.Figure:
    """Final accuracy against dimension, ours beside the published points."""
    figure, axes = figures.panels(1, 2, size=(7.0, 3.3))
    d, direct = curve["dimension"], curve["direct"]
    for axis in axes[0]:
        for name, values, marker in zip(("run 1", "runs 2 and 3"), li2018.RUNS, "^v", strict=True):
            axis.plot(li2018.DIMENSION, 100 * values, marker, color="black", mfc="none", label=f"Li et al., {name}")
        for colour, split in zip(figures.COLOURS, ("test", "train"), strict=False):
            values = 100 * curve["history"][f"{split}_accuracy"][:, :, -1].T
            figures.points(axis, d, values, f"ours, {split}", colour, linestyle=STYLES[split])
        for label, level in thresholds.items():
            axis.axhline(100 * level, color="grey", linewidth=0.8, linestyle="-" if "absolute" in label else "-.")
    own = 100 * direct["test_accuracy"][:, -1]
    mean, low, high = band(own)
    axes[0, 0].axhspan(low, high, color=figures.COLOURS[0], alpha=0.2, linewidth=0)
    axes[0, 0].axhline(mean, color=figures.COLOURS[0], linewidth=0.8, label="all parameters, test")
    axes[0, 0].set(xscale="log", xlabel="dimension d of the subspace", ylabel="accuracy (%)")
    near = np.concatenate([d[d >= 200], li2018.DIMENSION[li2018.DIMENSION >= 400]])
    axes[0, 1].set(xlabel="dimension d", xlim=(350, near.max() * 1.03), ylim=(83, 94.5), title="around the thresholds")
    axes[0, 0].legend(loc="lower right")
    return figure


def learning(curve: Any) -> figures.Figure:
    """Loss and accuracy per epoch, one line for each dimension, one column for each split."""
    figure, axes = figures.panels(2, 3, size=(7.0, 4.2), sharex=True, sharey="row")
    history = curve["history"]
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(curve["dimension"])))
    epochs = np.arange(history["train_loss"].shape[-1])
    for column, split in enumerate(STYLES):
        for row, (quantity, scale) in enumerate((("loss", 1), ("accuracy", 100))):
            for index, (d, colour) in enumerate(zip(curve["dimension"], colours, strict=True)):
                values = scale * history[f"{split}_{quantity}"][index]
                figures.curve(axes[row, column], epochs, values, f"d = {d}", colour)
            direct = scale * curve["direct"][f"{split}_{quantity}"]
            figures.curve(axes[row, column], np.arange(direct.shape[1]), direct, "all", "black", linestyle="--")
        axes[0, column].set(yscale="log", title=split)
        axes[1, column].set(xlabel="epoch")
    axes[0, 0].set_ylabel("cross-entropy (nats)")
    axes[1, 0].set_ylabel("accuracy (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    return figure
