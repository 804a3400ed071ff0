"""The figures of chapter 8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rankstudy.book.figures import COLOURS, MARKERS, Figure, curve, panels


def trade_off(
    labels: Sequence[str], replay: np.ndarray, levels: np.ndarray, old: np.ndarray, stopped: np.ndarray
) -> Figure:
    """The old accuracy that goes with each accuracy on the new digit, one line per arm, and where early stopping stops.

    `old`: (digits, arms, levels); `stopped`: (digits, arms, 2), new and old.
    """
    figure, axes = panels(1, 2, size=(7.0, 3.9), sharex=True)
    for axis, replayed, title in zip(
        axes[0], (False, True), ("new digit alone", "half of each batch replayed"), strict=True
    ):
        for place, index in enumerate(np.flatnonzero(replay == replayed)):
            style = {"color": COLOURS[place % len(COLOURS)], "linestyle": "-" if "LoRA" in labels[index] else "--"}
            reached = np.isfinite(old[:, index]).all(axis=0)  # a level that some digit never reached has no mean
            axis.plot(100 * levels[reached], 100 * old[:, index][:, reached].mean(axis=0), label=labels[index], **style)
            x, y = 100 * stopped[:, index].mean(axis=0)
            axis.plot(x, y, MARKERS[place % len(MARKERS)], color=style["color"])
        axis.set(title=title, xlabel="accuracy on the new digit (%)")
    axes[0, 0].set_ylabel("accuracy on the old digits (%)")
    axes[0, 0].set_ylim(0, 100)
    # with replay little is lost: the axis begins below the lowest marker, so that they can be told apart
    lowest = 100 * stopped[:, replay, 1].mean(axis=0).min()
    axes[0, 1].set_ylim(max(0.0, 5 * np.floor((lowest - 1) / 5)), 100)
    figure.legend(*axes[0, 1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def by_step(labels: Sequence[str], steps: np.ndarray, loss: np.ndarray, accuracy: np.ndarray) -> Figure:
    """Loss and accuracy by step of each arm: new and old digits, training and test data.

    `loss`, `accuracy`: (digits, arms, [train, test, validation], looks, [new, old]).
    """
    columns = 4
    rows = -(-len(labels) // columns)
    figure, axes = panels(2 * rows, columns, size=(7.0, 2.0 * 2 * rows), sharex=True)
    for axis in axes.flat[: 2 * rows * columns]:
        axis.set_visible(False)
    for index, label in enumerate(labels):
        row, column = divmod(index, columns)
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        for values, axis, scale in ((loss, above, 1), (accuracy, below, 100)):
            axis.set_visible(True)
            for group, (name, colour) in enumerate((("new", COLOURS[1]), ("old", COLOURS[0]))):
                for split, style in enumerate(("-", ":")):
                    shown = scale * values[:, index, split, :, group]
                    curve(axis, steps, shown, f"{name}, {('train', 'test')[split]}", colour, linestyle=style)
            axis.set_xscale("symlog", linthresh=1)
            axis.set_xlim(0, steps[-1])
            axis.set_xticks([0, 1, 10, 100][: 3 if steps[-1] < 100 else 4])
            axis.set_xticklabels(["0", "1", "10", "100"][: 3 if steps[-1] < 100 else 4])
        above.set(title=label, yscale="log", ylim=(5e-3, 30))
        below.set_ylim(-3, 103)
        if column:
            above.tick_params(labelleft=False)
            below.tick_params(labelleft=False)
        else:
            above.set_ylabel("loss (nats)")
            below.set_ylabel("accuracy (%)")
        if row == rows - 1 or index + columns >= len(labels):
            below.set_xlabel("step")
            below.tick_params(labelbottom=True)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def forgetting(titles: Sequence[str], digits: Sequence[int], drops: np.ndarray) -> Figure:
    """Points of accuracy lost on each old digit after learning a new one; `drops`: (arms, digits, 10), NaN: itself."""
    figure, axes = panels(1, len(titles), size=(7.0, 0.9 + 0.22 * len(digits)), sharey=True)
    for axis, title, drop in zip(axes[0], titles, drops, strict=True):
        image = axis.imshow(100 * drop, cmap="magma_r", vmin=0, vmax=100, aspect="auto")
        axis.set(title=title, xlabel="old digit", xticks=range(10), yticks=range(len(digits)))
        axis.set_yticklabels([str(digit) for digit in digits])
        axis.grid(False)
    axes[0, 0].set_ylabel("digit learned last")
    figure.colorbar(image, ax=axes[0].tolist(), label="points lost", shrink=0.9)
    return figure


def confusions(shown: Mapping[str, np.ndarray]) -> Figure:
    """Confusion matrices, each line divided by its sum; `shown`: title -> (10, 10) counts, true digit first."""
    figure, axes = panels(1, len(shown), size=(7.0, 2.4), sharey=True)
    for axis, (title, counts) in zip(axes[0], shown.items(), strict=True):
        image = axis.imshow(100 * counts / counts.sum(axis=1, keepdims=True), cmap="magma_r", vmin=0, vmax=100)
        axis.set(title=title, xlabel="said", xticks=range(0, 10, 3), yticks=range(10))
        axis.grid(False)
    axes[0, 0].set_ylabel("true digit")
    figure.colorbar(image, ax=axes[0].tolist(), label="%", shrink=0.75)
    return figure


def spectra(shown: Mapping[str, np.ndarray]) -> Figure:
    """Singular values of ΔW over its largest, one panel per layer; `shown`: arm -> (digits, layers, values)."""
    layers = next(iter(shown.values())).shape[1]
    figure, axes = panels(1, layers, size=(7.0, 2.5), sharey=True)
    for (label, values), colour in zip(shown.items(), COLOURS, strict=False):
        for layer, axis in enumerate(axes[0]):
            own = values[:, layer]
            relative = own / np.maximum(own[:, :1], np.finfo(float).tiny)
            seen = (relative > 1e-5).all(axis=0)  # below it rounding of float32 weights is seen, not ΔW
            curve(axis, 1 + np.flatnonzero(seen), relative[:, seen], label, colour, marker=".")
            axis.set(title=f"layer {layer + 1}", xlabel="index", yscale="log", ylim=(1e-3, 1.5), xlim=(0, 41))
    axes[0, 0].set_ylabel("σᵢ(ΔW) ÷ σ₁(ΔW)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(shown))
    return figure


def widths(widths: np.ndarray, seconds: np.ndarray, flops: np.ndarray, rank: int) -> Figure:
    """Seconds per training step against width; `seconds`: (widths, [full, LoRA], rounds), `flops`: (widths, 2)."""
    figure, axes = panels(1, 2, size=(7.0, 2.8))
    for row, label in enumerate(("full fine-tuning", f"LoRA r = {rank}")):
        low, median, high = np.quantile(seconds[:, row], [0.25, 0.5, 0.75], axis=1)
        axes[0, 0].errorbar(
            widths, 1e3 * median, yerr=1e3 * np.stack([median - low, high - median]), label=label, marker="o", capsize=2
        )
    ratio = seconds[:, 1] / seconds[:, 0]
    low, median, high = np.quantile(ratio, [0.25, 0.5, 0.75], axis=1)
    axes[0, 1].errorbar(
        widths, median, yerr=np.stack([median - low, high - median]), marker="o", capsize=2, color="k", label="measured"
    )
    axes[0, 1].plot(widths, flops[:, 1] / flops[:, 0], color=COLOURS[2], linestyle=":", label="ratio of operations")
    axes[0, 1].axhline(1, color="#999999", linestyle="--")
    axes[0, 1].legend()
    axes[0, 0].set(xscale="log", yscale="log", xlabel="width of the hidden layers", ylabel="ms per step")
    axes[0, 1].set(xscale="log", xlabel="width of the hidden layers", ylabel="LoRA ÷ full")
    for axis in axes[0]:
        axis.set_xticks(widths)
        axis.set_xticklabels([str(width) for width in widths])
        axis.minorticks_off()
    axes[0, 0].legend()
    return figure
