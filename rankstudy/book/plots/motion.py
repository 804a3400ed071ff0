"""Chapter 3's controls: updates against their distance, directions that settle, tenths of a spectrum left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from rankstudy.book import optimizers as view
from rankstudy.book.dissection import Dissection
from rankstudy.book.missing import Missing
from rankstudy.book.optimizers import Group, Optimizers
from rankstudy.book.plots.drawing import INK, OTHERS, Drawing, direct, line, panel, plain_log
from rankstudy.book.tables import Markdown, show
from rankstudy.registry import OPTIMIZERS


def by_distance(optimizers: Optimizers | Missing, *, deep: bool = False) -> Drawing | Markdown:
    """Entropy rank of the update against ‖W − W₀‖/‖W₀‖, a panel a square layer (of the deeper network its first and
    last): a line a learning rate, through the means after each epoch; dashed: random errors on the untrained inputs.
    """
    if isinstance(optimizers, Missing):
        return show([], [])
    group = optimizers.deep if deep else optimizers.task2
    drawn = []
    for layer in (group.square[0], group.square[-1]):
        figure, axes = panel(f"layer {layer + 1}")
        ends, before = {}, []
        for name, followed in group.followed.items():
            for x, y in _means(group, name, layer):
                axes.plot(x, y, color=_shade(name), linewidth=1.1, marker="o", markersize=2.5)
                ends[view.label(name).replace(" with momentum 0.9", ", momentum")] = (float(y[-1]), _shade(name))
            before.append(followed.before[..., layer])
        level = float(np.nanmean(np.concatenate([each.ravel() for each in before])))
        axes.axhline(level, color=INK, linewidth=1, linestyle="--")
        axes.set(
            xscale="log", xlabel="‖W − W₀‖ / ‖W₀‖", ylabel=f"entropy rank of W − W₀ (of {group.widths[layer + 1]})"
        )
        low, high = axes.get_xlim()
        plain_log(axes.xaxis, (1, 3) if high < 100 * low else (1,))
        axes.set_ylim(bottom=0)
        direct(axes, ends | {"random errors": (level, INK)})
        drawn.append(figure)
    return Drawing(drawn)


def _shade(optimizer: str) -> str:
    """One colour for one optimiser, on every figure."""
    return OTHERS[list(OPTIMIZERS).index(optimizer) % len(OTHERS)]


def _means(group: Group, name: str, layer: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(distance, entropy rank) after each epoch, a pair a learning rate: means over the networks that trained."""
    followed = group.followed[name]
    found = []
    for rate, kept in enumerate(view.did_train(followed)):
        if kept.any():
            values = (each[rate, kept, 1:, layer].mean(axis=0) for each in (followed.distance, followed.entropy_rank))
            found.append((next(values), next(values)))
    return found


def settling(optimizers: Optimizers | Missing) -> Drawing | Markdown:
    """Overlap of the leading right singular vectors of the square layers with the final ones, by epoch: a line an
    optimiser, each at its best learning rate; dotted: of random ones."""
    if isinstance(optimizers, Missing):
        return show([], [])
    group = optimizers.task2
    figure, axes = panel(size=(4.6, 2.9))
    ends = {}
    for name, followed in group.followed.items():
        values = followed.settled[view.best(followed)][..., group.square].mean(axis=2)
        kept = np.isfinite(values).all(axis=1)
        if kept.any():
            mean = line(axes, np.arange(values.shape[1]), values[kept], _shade(name), marker="o")
            ends[view.label(name)] = (float(mean[len(mean) // 2]), _shade(name))
    axes.axhline(optimizers.top / group.widths[group.square[0]], color=INK, linewidth=1, linestyle=":")
    axes.set(xlabel="epoch", ylabel="overlap with the final span")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, 1.03)
    direct(axes, ends)
    return Drawing([figure], columns=1)


def tenths(dissection: Dissection | Missing) -> Drawing | Markdown:
    """Test accuracy without one tenth of the singular values of every hidden layer, the largest tenth first; dashed:
    as trained; dotted: without as many random directions."""
    if isinstance(dissection, Missing):
        return show([], [])
    figure, axes = panel(size=(4.6, 2.9))
    values = 100 * dissection.without_tenth
    places: Sequence[int] = range(1, values.shape[1] + 1)
    line(axes, places, values, OTHERS[2], marker="o")
    whole, random = (
        100 * float(each.mean())
        for each in (dissection.networks.scores[:, 1], dissection.networks.deleted.random[:, 0, 1])
    )
    axes.axhline(whole, color=INK, linewidth=1, linestyle="--")
    axes.axhline(random, color=INK, linewidth=1, linestyle=":")
    axes.set(xlabel="tenth left out, largest first", ylabel="test accuracy (%)", xticks=list(places))
    direct(axes, {"as trained": (whole, INK), "random directions": (random, INK)})
    return Drawing([figure], columns=1)
