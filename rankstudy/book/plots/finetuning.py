"""Fine-tunings: learned against kept, step by step, which old digits pay, what was added, and what a step takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from rankstudy.book.frontier import Frontier, Kept
from rankstudy.book.lora import Condition, Costs, LoRA
from rankstudy.book.missing import Missing
from rankstudy.book.plots.drawing import INK, OTHERS, SERIES, Drawing, colour, direct, line, panel, plain_log
from rankstudy.book.tables import NOT_RUN, Markdown

DRAWS = 2000  # of the bootstrap over digits


def frontier(found: Frontier | Missing) -> Drawing | Markdown:
    """Accuracy on the old digits against that on the new one, all logits and masked; what no training gives, dashed."""
    if isinstance(found, Missing):
        return NOT_RUN
    drawn = []
    for title, masked in (("all ten logits", False), ("new digit’s logit masked", True)):
        figure, axes = panel(title)
        ends = {}
        for method in sorted(found.methods, key=_strength):
            values = method.old_masked if masked else method.old
            shade, strong = _shade(method), _strength(method)
            end = _levels(axes, found.levels, values, shade, banded=strong, linewidth=1.8 if strong else 1.0)
            if strong and end is not None:
                ends[method.label] = (end, shade)
        untrained = found.before_masked if masked else found.before
        if masked:
            axes.axhline(100 * untrained.mean(), color=INK, linestyle="--", linewidth=1)
            ends["not fine-tuned"] = (100 * float(untrained.mean()), INK)
        else:
            end = _levels(axes, found.levels, found.tilted, INK, banded=False, linestyle="--", linewidth=1.2)
            if end is not None:
                ends["one offset"] = (end, INK)
        axes.set(xlabel="accuracy on the new digit (%)", ylabel="on the old digits (%)")
        direct(axes, ends)
        drawn.append(figure)
    low = min(figure.axes[0].get_ylim()[0] for figure in drawn)
    for figure in drawn:
        figure.axes[0].set_ylim(max(0.0, low), 100)
    return Drawing(drawn)


def by_setting(found: Frontier | Missing, level: float = 90) -> Drawing | Markdown:
    """What full fine-tuning and LoRA keep at the level at which methods are compared, at every learning rate tried."""
    if isinstance(found, Missing):
        return NOT_RUN
    drawn = []
    for length, steps in enumerate(found.steps):
        figure, axes = panel(f"{steps} steps")
        ends = {}
        for method in (each for each in found.methods if _strength(each)):
            values = 100 * method.old_by_setting[:, :, length]
            reached = np.isfinite(values).sum(axis=0) > len(values) / 2
            if not reached.any():
                continue
            shown = np.nanmean(values[:, reached], axis=0)
            axes.plot(method.learning_rates[reached], shown, color=_shade(method), marker="o")
            ends[method.label] = (float(shown[-1]), _shade(method))
        axes.set(xscale="log", xlabel="learning rate", ylabel=f"old digits at {level:g} % (%)", ylim=(0, 100))
        plain_log(axes.xaxis)
        direct(axes, ends)
        drawn.append(figure)
    return Drawing(drawn)


def steps(conditions: Sequence[Condition], what: str = "accuracy") -> Drawing:
    """A panel a condition: "accuracy" or "loss" by step on new and old digits, training (full) and test (dashed)."""
    drawn = []
    for condition in conditions:
        figure, axes = panel(condition.label, size=(2.6, 2.2))
        for group, shade in (("new", "update"), ("old", "weights")):
            for split, style in (("train", "-"), ("test", "--")):
                values = getattr(condition.path, f"{group}_{what}")[split]
                shown = 100 * values if what == "accuracy" else np.maximum(values, 1e-3)
                line(axes, condition.path.steps, shown, colour(shade), linestyle=style)
            axes.plot([], [], color=colour(shade), label=group)
        _by_step(axes, int(condition.path.steps[-1]))
        if what == "accuracy":
            axes.set(ylabel="accuracy (%)", ylim=(-2, 102))
        else:
            axes.set(ylabel="cross-entropy (nats)", yscale="log")
            plain_log(axes.yaxis)
        axes.legend(frameon=False, fontsize=8, labelcolor="linecolor")
        drawn.append(figure)
    return Drawing(drawn, columns=3)


def forgetting(found: LoRA) -> Drawing:
    """Points of test accuracy lost on each old digit (column) after learning a new one (row), where it stopped."""
    chosen = [found.of("full", replay=False), found.of("lora", replay=False), found.of("lora", replay=True)]
    drops = [100 * (found.before.by_digit - each.test.by_digit) for each in chosen]
    own = np.arange(10) == found.digits[:, None]
    top = max(1.0, *(float(np.abs(drop[~own]).max()) for drop in drops))
    drawn = []
    for condition, drop in zip(chosen, drops, strict=True):
        size = (2.6, 0.9 + 0.19 * len(drop))
        figure, axes = panel(condition.label + (", replay" if condition.replay else ""), size=size)
        image = np.zeros((*drop.shape, 4))
        image[..., :3] = tuple(int(SERIES["error"][0][i : i + 2], 16) / 255 for i in (1, 3, 5))
        image[..., 3] = np.where(own, 0, np.clip(drop / top, 0, 1))
        axes.imshow(image, aspect="auto")
        for row, column in zip(*np.nonzero(~own), strict=True):
            axes.text(column, row, f"{max(drop[row, column], 0):.0f}", ha="center", va="center", fontsize=6)
        axes.set(xlabel="old digit", ylabel="new digit", xticks=range(10), yticks=range(len(drop)))
        axes.set_yticklabels([str(digit) for digit in found.digits])
        axes.grid(visible=False)
        drawn.append(figure)
    return Drawing(drawn, columns=3)


def update_spectra(found: LoRA) -> Drawing:
    """Singular values of ΔW over the largest, with replay, a panel a layer: full fine-tuning and two LoRA ranks."""
    ranks = dict.fromkeys((found.rank, found.ranks[-1]))
    chosen = [found.of("full", replay=True), *(found.of("lora", rank, replay=True) for rank in ranks)]
    drawn = []
    for layer in range(len(found.widths) - 1):
        figure, axes = panel(f"layer {layer + 1}")
        ends = {}
        for index, condition in enumerate(chosen):
            own = condition.update.spectrum[:, layer]
            values = own / np.maximum(own[:, :1], np.finfo(float).tiny)
            seen = (values > 1e-5).all(axis=0)  # below it rounding of float32 weights is seen, not ΔW
            if not seen.any():
                continue
            mean = line(axes, 1 + np.flatnonzero(seen), values[:, seen], OTHERS[index])
            ends[condition.label] = (float(mean[-1]), OTHERS[index])
        axes.set(xscale="log", yscale="log", xlabel="index", ylabel="σᵢ ÷ σ₁ of ΔW")
        plain_log(axes.xaxis, (1, 3))
        plain_log(axes.yaxis)
        direct(axes, ends)
        drawn.append(figure)
    return Drawing(drawn)


def step_times(costs: Costs) -> Drawing:
    """Time of a training step against the width of three hidden layers: in ms, and LoRA's over full fine-tuning's."""
    left, axes = panel("a training step")
    ends = {}
    for row, label in enumerate(("full", f"LoRA r = {costs.rank}")):
        low, median, high = np.quantile(1e3 * costs.width_seconds[:, row], [0.25, 0.5, 0.75], axis=1)
        axes.fill_between(costs.widths, low, high, color=OTHERS[row], alpha=0.25, linewidth=0)
        axes.plot(costs.widths, median, color=OTHERS[row], marker="o")
        ends[label] = (float(median[-1]), OTHERS[row])
    axes.set(xscale="log", yscale="log", xlabel="width", ylabel="ms")
    plain_log(axes.yaxis)
    direct(axes, ends)
    right, other = panel("LoRA ÷ full")
    low, median, high = np.quantile(costs.width_seconds[:, 1] / costs.width_seconds[:, 0], [0.25, 0.5, 0.75], axis=1)
    other.fill_between(costs.widths, low, high, color=OTHERS[1], alpha=0.25, linewidth=0)
    other.plot(costs.widths, median, color=OTHERS[1], marker="o")
    operations = costs.width_flops[:, 1] / costs.width_flops[:, 0]
    other.plot(costs.widths, operations, color=OTHERS[2], linestyle="--")
    other.axhline(1, color=INK, linewidth=1, linestyle=":")
    other.set(xscale="log", xlabel="width", ylabel="ratio")
    direct(other, {"time": (float(median[-1]), OTHERS[1]), "operations": (float(operations[-1]), OTHERS[2])})
    for each in (axes, other):
        each.set_xticks(
            costs.widths, [str(width) if index % 2 == 0 else "" for index, width in enumerate(costs.widths)]
        )
        each.xaxis.set_minor_locator(NullLocator())
    return Drawing([left, right])


def _by_step(axes: Axes, last: int) -> None:
    axes.set(xlabel="step", xlim=(0, last))
    axes.set_xscale("symlog", linthresh=1)
    ticks = [0, *(power for power in (1, 10, 100) if power <= last)]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _strength(method: Kept) -> bool:
    """Whether a method is one of the two that are compared."""
    return method.method == "full" or (method.rank, method.alpha) == (4, 4)


def _shade(method: Kept) -> str:
    if not _strength(method):
        return SERIES["muted"][0]
    return SERIES["weights" if method.method == "full" else "update"][0]


def _levels(
    axes: Axes, levels: np.ndarray, values: np.ndarray, shade: str, *, banded: bool, **options: object
) -> float | None:
    """Mean over digits of (digits, levels) where all of them got, with a bootstrap band; the last mean in per cent."""
    reached = np.isfinite(values).all(axis=0)
    if not reached.any():
        return None
    shown = 100 * values[:, reached]
    mean = shown.mean(axis=0)
    axes.plot(100 * levels[reached], mean, color=shade, **options)  # type: ignore[arg-type]
    if banded and len(shown) > 2:
        draws = np.random.default_rng(0).integers(len(shown), size=(DRAWS, len(shown)))
        low, high = np.quantile(shown[draws].mean(axis=1), [0.025, 0.975], axis=0)
        axes.fill_between(100 * levels[reached], low, high, color=shade, alpha=0.25, linewidth=0)
    return float(mean[-1])
