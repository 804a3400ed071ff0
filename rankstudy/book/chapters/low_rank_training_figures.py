"""Chapter 6: its figures, each from the chapter's result."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.study.experiments.inference import moved, operations
from rankstudy.study.experiments.low_rank_training import DENSE, PLAIN

FACTORS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
SPLITS = ("train", "validation", "test")


def curves(chapter: Any) -> figures.Figure:
    """Dense and low rank side by side."""
    return figures.learning_curves({chapter.label(name): chapter.history(name) for name in (DENSE, PLAIN)})


def arms(chapter: Any) -> figures.Figure:
    """Loss and accuracy per epoch of every arm, on the three splits."""
    figure, axes = figures.panels(2, 3, size=(7.0, 4.8), sharex=True, sharey="row")
    for column, split in enumerate(SPLITS):
        for index, name in enumerate(chapter.arms):
            history = chapter.history(name)
            epochs = np.arange(history["train_loss"].shape[1])
            look = {
                "color": figures.COLOURS[index % len(figures.COLOURS)],
                "linestyle": "-" if index < len(figures.COLOURS) else "--",
                "linewidth": 1.2,
            }
            label = name if column == 2 else None
            axes[0, column].plot(epochs, history[f"{split}_loss"].mean(axis=0), label=label, **look)
            axes[1, column].plot(epochs, 100 * history[f"{split}_accuracy"].mean(axis=0), **look)
        axes[0, column].set(yscale="log", title=split)
        axes[1, column].set(xlabel="epoch", ylim=(chapter.floor, 100.3))
    axes[0, 0].set_ylabel("cross-entropy (nats)")
    axes[1, 0].set_ylabel("accuracy (%)")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def costs(chapter: Any) -> figures.Figure:
    """Test accuracy against epochs, steps' floating-point operations, and seconds."""
    shown = [name for name in (DENSE, PLAIN, "variance", "warm", "trained") if name in chapter.arms]
    figure, axes = figures.panels(1, 3, size=(7.0, 2.8), sharey=True)
    for colour, name in zip(figures.COLOURS, shown, strict=False):
        accuracy = 100 * chapter.history(name)["test_accuracy"]
        epochs = np.arange(accuracy.shape[1])
        begun = chapter.before(name)
        for axis, x in zip(
            axes.flat,
            (
                begun["epochs"] + epochs,
                begun["flops"] + epochs * chapter.epoch_flops(name),
                begun["seconds"] + chapter.history(name)["seconds"].mean(axis=0),
            ),
            strict=True,
        ):
            figures.curve(axis, x[1:], accuracy[:, 1:], chapter.label(name), colour, marker="o")
            axis.set_ylim(chapter.floor, 100)
    axes[0, 0].set(xlabel="epochs", ylabel="test accuracy (%)")
    axes[0, 1].set(xlabel="floating-point operations", xscale="log")
    axes[0, 2].set(xlabel="seconds of training", xscale="log")
    for axis in axes[0, 1:]:
        axis.tick_params(which="minor", labelbottom=False)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def ladder(chapter: Any) -> figures.Figure:
    """Final accuracies and the generalisation gap against rank, for the standard initialisation."""
    figure, axes = figures.panels(1, 2, size=(7.0, 2.9))
    ranks, names = zip(*chapter.ladder, strict=True)
    for colour, split in zip(figures.COLOURS, SPLITS, strict=False):
        values = np.stack([chapter.final(name, split) for name in names], axis=1)
        figures.points(axes[0, 0], ranks, 100 * values, split, colour)
        axes[0, 0].axhline(100 * chapter.final(DENSE, split).mean(), color=colour, linestyle=":", linewidth=1)
    gaps = np.stack([chapter.final(name, "train") - chapter.final(name, "test") for name in names], axis=1)
    figures.points(axes[0, 1], ranks, 100 * gaps, "low rank")
    dense = 100 * (chapter.final(DENSE, "train") - chapter.final(DENSE, "test")).mean()
    axes[0, 1].axhline(dense, color=figures.COLOURS[0], linestyle=":", linewidth=1, label="dense")
    for axis in axes.flat:
        axis.axvline(chapter.break_even, color="black", linestyle="--", linewidth=0.8)
        axis.set(xscale="log", xlabel="rank r of every layer")
        axis.set_xticks(ranks, [str(rank) for rank in ranks])
        axis.minorticks_off()
    axes[0, 1].annotate(
        "break-even",
        (chapter.break_even, 0.05),
        xycoords=("data", "axes fraction"),
        rotation=90,
        ha="right",
        fontsize=8,
    )
    axes[0, 0].set(ylabel="accuracy (%)", ylim=(None, 100.5))
    axes[0, 1].set_ylabel("train − test accuracy (points)")
    axes[0, 0].legend(loc="best")
    axes[0, 1].legend(loc="best")
    return figure


def inference(chapter: Any) -> figures.Figure:
    """Speed-up over the dense network and layer against batch size, measured and as operations and bytes have it."""
    figure, axes = figures.panels(1, 2, size=(7.0, 3.2), sharey=True)
    batches = chapter.result["inference"]["batches"]
    for axis, what in zip(axes.flat, ("layer", "network"), strict=True):
        shapes = chapter.shapes if what == "network" else [chapter.shapes[1]]
        for colour, rank in zip(figures.COLOURS, chapter.latency_ranks, strict=False):
            axis.plot(batches, chapter.speedup(what, f"rank {rank}"), "o-", color=colour, label=f"r = {rank}")
            axis.axhline(operations(shapes, None, 1) / operations(shapes, rank, 1), color=colour, linestyle=":")
            bytes_ratio = [moved(shapes, None, int(b)) / moved(shapes, rank, int(b)) for b in batches]
            axis.plot(batches, bytes_ratio, "--", color=colour, linewidth=0.8)
        axis.plot(batches, chapter.speedup(what, "merged"), "x-", color="grey", label="merged")
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set(
            xscale="log", yscale="log", xlabel="batch (images)", title="one hidden layer" if what == "layer" else what
        )
        axis.set_xticks(batches, [str(batch) for batch in batches])
        axis.minorticks_off()
    axes[0, 0].set_ylabel("times as fast as dense")
    axes[0, 0].set_yticks(FACTORS, [f"{value:g}" for value in FACTORS])
    axes[0, 1].plot([], [], ":", color="grey", label="operations")
    axes[0, 1].plot([], [], "--", color="grey", linewidth=0.8, label="bytes")
    figure.legend(*axes[0, 1].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def speed(chapter: Any) -> figures.Figure:
    """Speed-up over dense against rank, for a few batch sizes."""
    figure, axes = figures.panels(1, 2, size=(7.0, 3.0), sharey=True)
    timing = chapter.result["inference"]
    batches = timing["batches"]
    shown = sorted({0, len(batches) // 2, len(batches) - 1})
    ranks = sorted(int(rank) for rank in timing["ranks"])
    for axis, what in zip(axes.flat, ("layer", "network"), strict=True):
        measured = np.array([chapter.speedup(what, f"rank {rank}") for rank in ranks])  # (ranks, batches)
        for colour, index in zip(figures.COLOURS, shown, strict=False):
            axis.plot(ranks, measured[:, index], "o-", color=colour, label=f"batch {batches[index]}")
        axis.plot(
            ranks, [chapter.operations_ratio(what, rank) for rank in ranks], ":", color="grey", label="operations"
        )
        axis.axhline(1, color="black", linewidth=0.8)
        axis.axvline(chapter.break_even, color="black", linestyle="--", linewidth=0.8)
        axis.set(xscale="log", yscale="log", xlabel="rank r", title="one hidden layer" if what == "layer" else what)
        axis.set_xticks(ranks, [str(rank) for rank in ranks], rotation=45)
        axis.minorticks_off()
    axes[0, 0].set_ylabel("times as fast as dense")
    axes[0, 0].set_yticks(FACTORS, [f"{value:g}" for value in FACTORS])
    axes[0, 1].legend(loc="best")
    return figure


def memory(chapter: Any) -> figures.Figure:
    """Bytes in training, split, dense against factorised."""
    figure, axes = figures.panels(1, 1, size=(5.5, 2.8))
    names = {
        "dense": "dense",
        f"rank {chapter.rank}": f"every layer,\nr = {chapter.rank}",
        f"spared {chapter.rank}": "all but\nthe last",
    }
    parts = ("weights", "gradients", "optimizer", "activations")
    bottom = np.zeros(len(names))
    for colour, part in zip(figures.COLOURS, parts, strict=False):
        values = np.array([chapter.result["memory"][name][part] / 1e6 for name in names])
        label = {"optimizer": "optimiser state", "activations": "saved activations"}.get(part, part)
        axes[0, 0].bar(list(names.values()), values, bottom=bottom, label=label, color=colour, width=0.6)
        bottom += values
    axes[0, 0].set(ylabel="MB in a training step")
    figure.legend(loc="outside right center")
    return figure
