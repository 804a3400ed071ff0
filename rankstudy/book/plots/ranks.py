"""Measures of rank: by layer, by condition, by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rankstudy.book.measured import Networks
from rankstudy.book.plots.drawing import INK, NAMES, SERIES, Drawing, direct, line, panel
from rankstudy.book.stats import band

LABELS = {
    "entropy_rank": "entropy rank",
    "stable_rank": "stable rank",
    "energy_rank_90": "energy rank, 90 %",
    "participation_ratio": "participation ratio",
}


def by_layer(
    groups: Mapping[str, Networks], measure: str = "entropy_rank", layers: Mapping[str, Sequence[int]] | None = None
) -> Drawing:
    """A measure of W₀, W and W − W₀ against the layer, a panel a group; layers of other full rank than the first's
    are left out unless named (a ten-row layer cannot share an axis with a square one)."""
    drawn, tops = [], []
    for title, group in groups.items():
        equal = [index for index, full in enumerate(group.full_rank) if full == group.full_rank[0]]
        chosen = list((layers or {}).get(title, equal))
        figure, axes = panel(title)
        ends = {}
        for name in NAMES:
            values = getattr(getattr(group, name), measure)[:, chosen]
            mean = line(axes, np.array(chosen) + 1, values, SERIES[name][0], marker="o")
            ends[NAMES[name]] = (float(mean[-1]), SERIES[name][0])
        axes.set(xlabel="layer", ylabel=f"{LABELS[measure]} (of {group.full_rank[chosen[0]]})")
        axes.set_xticks(np.array(chosen) + 1)
        axes.grid(visible=False, axis="x")
        drawn.append((figure, axes, ends))
        tops.append(axes.get_ylim())
    low, high = min(each[0] for each in tops), max(each[1] for each in tops)
    for _, axes, ends in drawn:
        axes.set_ylim(max(0, low), high)
        direct(axes, ends)
    return Drawing([figure for figure, _, _ in drawn])


def by_condition(
    groups: Mapping[str, Networks], panels: Mapping[str, Sequence[int]], measure: str = "entropy_rank"
) -> Drawing:
    """A measure of the three matrices, a row a condition, a panel for each set of layers (their mean); hollow: the
    condition did not train."""
    drawn = []
    names = list(groups)
    for title, layers in panels.items():
        figure, axes = panel(title, size=(3.6, 0.34 * len(groups) + 1.0))
        chosen = list(layers)
        full = next(iter(groups.values())).full_rank[chosen[0]]
        for name in NAMES:
            for row, group in enumerate(groups.values()):
                values = getattr(getattr(group, name), measure)[:, chosen].mean(axis=1)
                mean, low, high = band(values[:, None])
                face = SERIES[name][0] if group.did_train else "none"
                axes.plot([low[0], high[0]], [row, row], color=SERIES[name][0], linewidth=3.5, alpha=0.5)
                axes.plot(mean, [row], "o", color=SERIES[name][0], markerfacecolor=face)
        axes.set_xlim(0, 1.03 * full)
        axes.set_xticks(np.linspace(0, full, 5).round().astype(int))
        axes.set_yticks(range(len(names)), [group.label for group in groups.values()])
        axes.set_ylim(len(names) - 0.4, -1.1)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(f"{LABELS[measure]} (of {full})")
        first = next(iter(groups.values()))
        places = {name: float(getattr(getattr(first, name), measure)[:, chosen].mean()) for name in NAMES}
        for name in NAMES:
            crowded = name == "weights" and places["initial"] - places["weights"] < 0.1 * full
            axes.text(
                places[name], -0.45, NAMES[name], color=SERIES[name][0], weight="bold", va="bottom",
                ha="right" if crowded else "left" if name == "initial" and _near(places, full) else "center",
            )  # fmt: skip
        drawn.append(figure)
    return Drawing(drawn)


def _near(places: Mapping[str, float], full: float) -> bool:
    return places["initial"] - places["weights"] < 0.1 * full


def trajectory(group: Networks, matrix: str = "update", measure: str = "entropy_rank") -> Drawing:
    """A measure after each epoch, a line a layer of the first one's full rank; of "weights" or "update"."""
    values = getattr(group.trajectory, f"{matrix}_{measure}")  # (networks, epochs + 1, layers)
    first = 1 if matrix == "update" else 0  # before training there is no update
    figure, axes = panel(NAMES[matrix])
    epochs = np.arange(first, values.shape[1])
    ends = {}
    for layer in [index for index, full in enumerate(group.full_rank) if full == group.full_rank[0]]:
        mean = line(axes, epochs, values[:, first:, layer], SERIES[matrix][0], marker="o")
        ends[f"layer {layer + 1}"] = (float(mean[-1]), SERIES[matrix][0])
    axes.set(xlabel="epoch", ylabel=f"{LABELS[measure]} (of {group.full_rank[0]})")
    axes.set_xticks(epochs)
    direct(axes, ends)
    return Drawing([figure], columns=1)


def by_tolerance(group: Networks, layers: Sequence[int]) -> Drawing:
    """Singular values above t·σ₁ against t, of the first network; dotted: the float32 tolerance."""
    thresholds = np.logspace(-9, 0, 400)
    drawn = []
    for layer in layers:
        figure, axes = panel(f"layer {layer + 1}")
        for name in NAMES:
            values = np.asarray(getattr(group.spectra, name)[layer], dtype=float)
            counts = (values[:, None] > thresholds * values[0]).sum(axis=0)
            axes.plot(thresholds, counts, color=SERIES[name][0])
        axes.axvline(max(group.shapes[layer]) * np.finfo(np.float32).eps, color=INK, linewidth=1, linestyle=":")
        axes.set(xscale="log", xlabel="relative tolerance t", ylabel="singular values above t·σ₁")
        axes.set_ylim(bottom=0)
        for row, name in enumerate(NAMES):
            place = (0.04, 0.36 - 0.1 * row)
            axes.text(*place, NAMES[name], color=SERIES[name][0], weight="bold", transform=axes.transAxes)
        drawn.append(figure)
    return Drawing(drawn)
