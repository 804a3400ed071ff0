"""The figures of chapters 3 and 4, from the same functions, so that they can be laid side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters.rank_views import (
    ACTIVATIONS,
    MATRICES,
    NAMES,
    SOFT,
    Arm,
    average,
    did_train,
    ranks,
    square,
)

_COLOUR = {"initial": figures.COLOURS[7], "weights": figures.COLOURS[0], "update": figures.COLOURS[1]}
_STYLE = {"initial": "--", "weights": "-", "update": "-."}


def spectra(arm: Arm, shapes: Sequence[tuple[int, int]], title: str = "") -> figures.Figure:
    """Singular values of the three matrices of the first network, one panel per layer; outliers marked."""
    count = len(shapes)
    columns = min(4, count)
    rows = -(-count // columns)
    figure, axes = figures.panels(rows, columns, size=(7.0, 2.5 * rows), sharey=True)
    for layer, axis in enumerate(axes.flat):
        if layer >= count:
            axis.axis("off")
            continue
        edge = arm["ranks"]["edges"][layer]
        axis.axhline(edge, color=figures.COLOURS[6], linewidth=0.8, linestyle=":")
        for name in MATRICES:
            values = arm["ranks"]["spectra"][name][str(layer)]
            index = np.arange(1, len(values) + 1)
            axis.plot(index, values, _STYLE[name], color=_COLOUR[name], label=MATRICES[name] if layer == 0 else None)
            if name == "weights":
                above = values > edge
                axis.plot(index[above], values[above], "o", color=_COLOUR[name], markersize=3)
        shape = f"{shapes[layer][0]}×{shapes[layer][1]}"
        axis.set(yscale="log", title=f"layer {layer + 1}\n{shape}", xlabel="index")
    smallest = min(
        float(arm["ranks"]["spectra"][name][str(layer)].max()) for name in MATRICES for layer in range(count)
    )
    axes[0, 0].set_ylim(bottom=smallest * 1e-4)
    axes[0, 0].set_ylabel("singular value")
    figure.legend(loc="outside lower center", ncols=3)
    if title:
        figure.suptitle(title)
    return figure


def layers(arms: Mapping[str, Arm], names: Sequence[str] = SOFT, only_square: bool = False) -> figures.Figure:
    """Normalised ranks against the layer, of the three matrices; one row per arm, one column per definition."""
    figure, axes = figures.panels(len(arms), len(names), size=(7.0, 2.1 * len(arms) + 0.4), sharex="row", sharey="col")
    for row, (label, arm) in enumerate(arms.items()):
        chosen = square(arm) if only_square else list(range(len(arm["ranks"]["limits"])))
        x = np.array(chosen) + 1
        for column, name in enumerate(names):
            axis = axes[row, column]
            for matrix, text in MATRICES.items():
                found = 100 * ranks(arm, matrix, name, normalised=True)[:, chosen]
                figures.points(
                    axis,
                    x,
                    found,
                    text if row == column == 0 else "",
                    _COLOUR[matrix],
                    linestyle=_STYLE[matrix],
                )
            axis.set_xticks(x)
            axis.set_ylim(0, 103)
            if row == 0:
                axis.set_title(NAMES[name])
            if row == len(arms) - 1:
                axis.set_xlabel("layer")
        axes[row, 0].set_ylabel(f"{label}\n% of full rank" if label else "% of full rank")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def activations(
    groups: Mapping[str, Mapping[str, Arm]], names: Sequence[str] = ("effective_rank", "stable_rank")
) -> figures.Figure:
    """Mean over layers of the normalised ranks, one point per activation; hollow: the arm did not train."""
    figure, axes = figures.panels(len(groups), len(names), size=(7.0, 2.3 * len(groups) + 0.5), sharex=True)
    order = list(dict.fromkeys(activation for arms in groups.values() for activation in arms))
    for row, (label, arms) in enumerate(groups.items()):
        for column, name in enumerate(names):
            axis = axes[row, column]
            for matrix, offset in (("initial", -0.15), ("weights", 0.0), ("update", 0.15)):
                for activation, arm in arms.items():
                    first = row == column == 0 and activation == next(iter(arms))
                    figures.points(
                        axis,
                        [order.index(activation) + offset],
                        100 * average(arm, matrix, name, normalised=True)[:, None],
                        MATRICES[matrix] if first else "",
                        _COLOUR[matrix],
                        markerfacecolor=_COLOUR[matrix] if did_train(arm) else "white",
                    )
            axis.set_ylim(0, 103)
            axis.set_xticks(range(len(order)), [ACTIVATIONS[each] for each in order], rotation=35, ha="right")
            if row == 0:
                axis.set_title(NAMES[name])
        axes[row, 0].set_ylabel(f"{label}\n% of full rank" if label else "% of full rank")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def features(arms: Mapping[str, Arm], name: str = "effective_rank", kind: str = "centred") -> figures.Figure:
    """Rank of the features against the layer, on training (full lines) and test images (dotted), one panel each."""
    figure, axes = figures.panels(1, 2, size=(7.0, 2.9), sharey=True)
    for axis, split in zip(axes[0], ("train", "test"), strict=True):
        for activation, arm in arms.items():
            found = arm["features"][split][kind][name]
            marker = figures.MARKERS[list(ACTIVATIONS).index(activation)]
            style = {"marker": marker, "linestyle": "-" if did_train(arm) else ":"}
            label = ACTIVATIONS[activation] if split == "train" else ""
            figures.points(axis, range(found.shape[1]), found, label, _colour(activation), **style)
        axis.set(yscale="log", xlabel="layer (0: the images)", title=f"{split} images")
        axis.set_xticks(range(found.shape[1]))
    axes[0, 0].set_ylabel(NAMES[name])
    figure.legend(loc="outside lower center", ncols=min(6, len(arms)))
    return figure


def trainings(groups: Mapping[str, Mapping[str, Arm]]) -> figures.Figure:
    """Mean loss and accuracy per epoch of many arms: a column per group, a colour per arm, a line style per split."""
    figure, axes = figures.panels(2, len(groups), size=(7.0, 4.4), sharex="col")
    for column, (title, arms) in enumerate(groups.items()):
        loss, accuracy = axes[:, column]
        for name, arm in arms.items():
            history = arm["history"]
            epochs = np.arange(history["train_loss"].shape[1])
            for split, style in (("train", "-"), ("validation", "--"), ("test", ":")):
                loss.plot(epochs, history[f"{split}_loss"].mean(axis=0), style, color=_colour(name))
                accuracy.plot(epochs, 100 * history[f"{split}_accuracy"].mean(axis=0), style, color=_colour(name))
        loss.set(yscale="log", title=title)
        lowest, highest = loss.get_ylim()
        if highest < 100 * lowest:
            figures.few_ticks(loss.yaxis)
        accuracy.set(xlabel="epoch", ylim=(_floor(arms), 100.5))
    axes[0, 0].set_ylabel("cross-entropy (nats)")
    axes[1, 0].set_ylabel("accuracy (%)")
    shown = dict.fromkeys(name for arms in groups.values() for name in arms)
    lines = [axes[0, 0].plot([], [], color=_colour(name), label=ACTIVATIONS[name])[0] for name in shown]
    figure.legend(handles=lines, loc="outside lower center", ncols=6)
    return figure


def _colour(activation: str) -> str:
    """The colour that an activation has in every figure."""
    return figures.COLOURS[list(ACTIVATIONS).index(activation)]


def _floor(arms: Mapping[str, Arm]) -> float:
    """Where an accuracy axis begins, so that what happens after the first epoch fills it; %."""
    lowest = min(
        float(np.nanmin(arm["history"][f"{split}_accuracy"][:, 1:]))
        for arm in arms.values()
        for split in ("train", "validation", "test")
    )
    return max(0.0, 10 * np.floor(10 * lowest))


def trajectory(arm: Arm, best: float | None = None) -> figures.Figure:
    """Normalised ranks of W and of W − W₀ after each epoch, by layer; `best`: an epoch to mark."""
    figure, axes = figures.panels(2, len(SOFT), size=(7.0, 4.6), sharex=True, sharey="row")
    for row, matrix in enumerate(("weights", "update")):
        for column, name in enumerate(SOFT):
            axis = axes[row, column]
            found = 100 * arm["trajectory"][f"{matrix}.{name}"] / arm["ranks"]["limits"]  # (seeds, epochs + 1, layers)
            first = 1 if matrix == "update" else 0  # before training there is no update
            epochs = np.arange(first, found.shape[1])
            for layer in range(found.shape[2]):
                label = f"layer {layer + 1}" if row == column == 0 else ""
                figures.curve(axis, epochs, found[:, first:, layer], label, figures.COLOURS[layer])
            if best is not None:
                axis.axvline(best, color="black", linewidth=0.8, linestyle=":")
            axis.set_ylim(0, 103)
            if row == 0:
                axis.set_title(NAMES[name])
            else:
                axis.set_xlabel("epoch")
        axes[row, 0].set_ylabel(f"{'W' if matrix == 'weights' else 'W − W₀'}\n% of full rank")
    figure.legend(loc="outside lower center", ncols=4)
    return figure
