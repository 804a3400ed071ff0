"""Chapter 5: its figures, each from the chapter's result."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.stats import number_text

LABELS = {
    "truncated": "truncated SVD",
    "weighted": "weighted by the inputs",
    "sequential": "weighted, layer after layer",
    "update": "W₀ + truncated(W − W₀)",
    "allotted": "rank allotted per layer",
    "allotted_weighted": "weighted and allotted",
}
METHODS = {"least_squares": "least squares", "gradient": "gradient"}
SPLITS = ("train", "validation", "test")
STYLES = ("-", "--", ":")


def convergence(chapter: Any) -> figures.Figure:
    """Error after each half-step of both methods on one matrix, and how far it is above the bound."""
    figure, axes = figures.panels(1, 2, size=(7.0, 3.2))
    spectrum = chapter.spectra("weights")[1]
    methods = chapter.result["alternating"]
    for colour, rank in zip(figures.COLOURS, sorted(map(int, methods["least_squares"]["trace"])), strict=False):
        bound = chapter.bound("weights", 1, rank)[0]
        axes[0, 0].axhline(bound, color=colour, linewidth=0.8, linestyle=":")
        for name, style in (("least_squares", "-"), ("gradient", "--")):
            errors = methods[name]["trace"][str(rank)]
            steps = np.arange(1, len(errors) + 1) / 2
            label = f"r = {rank}" if name == "least_squares" else ""
            axes[0, 0].plot(steps, errors, style, color=colour, label=label)
            axes[0, 1].plot(steps, np.maximum(errors.astype(float) ** 2 - bound**2, 1e-9), style, color=colour)
    axes[0, 0].set(xscale="log", xlabel="iteration", ylabel="relative error ‖A − BC‖ / ‖A‖")
    axes[0, 1].set(xscale="log", yscale="log", xlabel="iteration", ylabel="excess over the bound (share of ‖A‖²)")
    axes[0, 1].axhline(chapter.settings["sweep"]["tol"], color="black", linewidth=0.8, linestyle=":")
    axes[0, 0].set_title(f"matrix {spectrum.shape[0]} × {spectrum.shape[1]}")
    axes[0, 0].plot([], [], "-", color="grey", label="least squares")
    axes[0, 0].plot([], [], "--", color="grey", label="gradient")
    figure.legend(loc="outside lower center", ncols=6)
    return figure


def errors(chapter: Any) -> figures.Figure:
    """Average over layers of the error against r, absolute and relative."""
    figure, axes = figures.panels(1, 2, size=(7.0, 3.0))
    ranks = np.unique(np.round(np.geomspace(1, chapter.full_rank, 60)).astype(int))
    tried = chapter.settings["sweep"]["alternating"]
    found = chapter.result["alternating"]["least_squares"]["error"]  # (networks, ranks, layers)
    for axis, relative in ((axes[0, 0], False), (axes[0, 1], True)):
        figures.curve(axis, ranks, chapter.average_error(ranks, relative=relative), "bound (truncated SVD)")
        scale = 1.0 if relative else chapter.norms[:, None, :]
        figures.points(
            axis, tried, (found * scale).mean(axis=2), "alternating least squares", figures.COLOURS[1], linestyle="none"
        )
        axis.axvline(chapter.rank, color="black", linewidth=0.8, linestyle="--")
        axis.set(xscale="log", xlabel="rank r of every layer", ylim=(0, None))
    axes[0, 0].set_ylabel("mean over layers of ‖A − BC‖")
    axes[0, 1].set_ylabel("mean over layers of ‖A − BC‖ / ‖A‖")
    axes[0, 1].axhline(chapter.threshold, color="black", linewidth=0.8, linestyle="--")
    axes[0, 1].annotate(f"r = {chapter.rank}", (chapter.rank, 0.02), xytext=(3, 0), textcoords="offset points")
    axes[0, 0].legend(loc="lower left")
    return figure


def accuracies(chapter: Any) -> figures.Figure:
    """Accuracy of the cut network against r and against the average error."""
    figure, axes = figures.panels(1, 2, size=(7.0, 3.0), sharey=True)
    ranks = np.array(chapter.settings["sweep"]["ranks"])
    error = chapter.average_error(ranks).mean(axis=0)
    for axis, x in ((axes[0, 0], ranks), (axes[0, 1], error)):
        for index, (split, style) in enumerate(zip(SPLITS, STYLES, strict=True)):
            values = 100 * chapter.result["truncated"][:, :, 1, index]
            figures.curve(axis, x, values, split, figures.COLOURS[index], linestyle=style)
        axis.set_ylim(0, 101)
    axes[0, 0].axvline(chapter.rank, color="black", linewidth=0.8, linestyle="--")
    axes[0, 0].annotate(f"r = {chapter.rank}", (chapter.rank, 5), xytext=(3, 0), textcoords="offset points")
    axes[0, 0].set(xscale="log", xlabel="rank r of every layer", ylabel="accuracy (%)")
    axes[0, 1].set(xlabel="mean relative error ‖A − BC‖ / ‖A‖", xlim=(1, 0))
    axes[0, 1].axvline(chapter.threshold, color="black", linewidth=0.8, linestyle="--")
    axes[0, 1].legend(loc="lower right")
    return figure


def ways(chapter: Any) -> figures.Figure:
    """Test accuracy against rank for each way of cutting."""
    figure, axes = figures.panels(1, 1, size=(7.0, 3.4))
    axis = axes[0, 0]
    sweep = chapter.settings["sweep"]
    for colour, (name, label) in zip(figures.COLOURS, LABELS.items(), strict=False):
        ranks = sweep["ranks"] if name == "truncated" else sweep["sequential" if name == "sequential" else "compared"]
        keep = [index for index, rank in enumerate(ranks) if rank <= 2 * max(sweep["compared"])]
        values = 100 * chapter.result[name][:, keep, 1, 2]
        figures.points(axis, [ranks[index] for index in keep], values, label, colour)
    original = 100 * chapter.result["original"][:, 1, 2].mean()
    axis.axhline(original, color="black", linewidth=0.8, linestyle=":")
    axis.annotate(
        f"whole network, {number_text(original, 1)} %",
        (0.02, original),
        (0, -9),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        fontsize=8,
    )
    axis.set(xscale="log", xlabel="rank r (allotted: r with as many parameters)", ylabel="test accuracy (%)")
    axis.set_ylim(0, 101)
    axis.set_xticks(sweep["compared"], [str(rank) for rank in sweep["compared"]])
    axis.minorticks_off()
    figure.legend(loc="outside right upper")
    return figure


def spectra(chapter: Any) -> figures.Figure:
    """Where the cut falls in each layer's spectrum, in the plain norm and in the one weighted by the inputs."""
    layers = len(chapter.shapes)
    figure, axes = figures.panels(1, layers, size=(7.0, 2.6), sharey=True)
    for layer, axis in enumerate(axes.flat):
        for colour, (kind, label) in zip(
            figures.COLOURS, (("weights", "W"), ("initial", "W₀"), ("weighted", "W weighted")), strict=False
        ):
            values = chapter.spectra(kind)[layer].values
            share = values / np.linalg.norm(values, axis=1, keepdims=True)
            axis.plot(np.arange(1, share.shape[1] + 1), share.mean(axis=0), label=label, color=colour)
        axis.axvline(min(chapter.rank, values.shape[1]), color="black", linewidth=0.8, linestyle="--")
        axis.set(xscale="log", yscale="log", ylim=(1e-4, 1.2), xlabel="index i", title=f"layer {layer + 1}")
    axes[0, 0].set_ylabel("σᵢ / ‖A‖")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
