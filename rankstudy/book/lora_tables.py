"""Chapter 8's tables: accuracies by method, costs, learning rates, updates, and those of its two controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rankstudy.book.directions import THRESHOLD, Directions
from rankstudy.book.frontier import Frontier
from rankstudy.book.lora import VARIANTS, Accuracy, Condition, LoRA
from rankstudy.book.lora import label as method_label
from rankstudy.book.stats import Estimate, estimate, number_text
from rankstudy.book.tables import Markdown, of_control, percentage, show


def summary(found: LoRA) -> Markdown:
    """Test accuracies in per cent, means over digits: no training, each method without replay, and two with it."""
    chosen: list[tuple[str, Accuracy | None]] = [("not tuned", found.before), ("one offset", found.tilted)]
    chosen += [(_short(each), each.test) for each in _representative(found, replay=False)]
    chosen += [(f"{_short(each)}, replay", each.test) for each in _representative(found, replay=True)[:2]]
    rows = [[name, *(_mean(each) for each in _four(accuracy))] for name, accuracy in chosen]
    return show(["", "new", "old", "old, masked", "all ten"], rows)


def accuracies(found: LoRA, *, replay: bool) -> Markdown:
    """Every method where it stopped and after the last step, in per cent with intervals."""
    untrained = [["not fine-tuned", *_cells(found.before), "", "", "", ""]]
    if found.tilted is not None:
        untrained.append(["one offset, not trained", *_cells(found.tilted), "", "", "", ""])
    rows = [
        [
            each.label,
            *_cells(each.test),
            percentage(each.train.overall),
            percentage(each.end.new),
            percentage(each.end.old),
            "" if each.end.old_masked is None else percentage(each.end.old_masked),
        ]
        for each in found.alike(replay=replay)
    ]
    heads = ["method", "new", "old", "old, masked", "all ten", "harmonic mean", "all ten, training"]
    return show([*heads, "last step: new", "old", "old, masked"], [*untrained, *rows])


def by_digit(found: LoRA, *, replay: bool) -> Markdown:
    """Test accuracy on the new digit and on the old ones where each method stopped, a row a digit, in per cent."""
    chosen = _representative(found, replay=replay)
    heads = [f"{each.label}: {group}" for each in chosen for group in ("new", "old")]
    rows = [
        [str(digit), *[f"{100 * values[row]:.1f}" for each in chosen for values in (each.test.new, each.test.old)]]
        for row, digit in enumerate(found.digits)
    ]
    return show(["digit", *heads], rows)


def learning_rates(found: LoRA) -> Markdown:
    """What each method's learning rate was chosen from: a row a rate."""
    rows = []
    for each in found.conditions:
        tried = list(zip(each.tried, each.scores, strict=True))
        for rate, score in tried:
            taken = rate == each.learning_rate
            choice = "taken, at the boundary" if taken and each.at_boundary else "taken" if taken else ""
            rows.append([each.label, _yes(each.replay), f"{rate:g}", f"{100 * score:.2f}", choice])
        if each.learning_rate not in each.tried:
            vertex = "taken, the vertex of a parabola"
            rows.append([each.label, _yes(each.replay), f"{each.learning_rate:g}", "", vertex])
    return show(["method", "replay", "learning rate", "validation harmonic mean, %", "choice"], rows)


def overheads(found: LoRA) -> Markdown:
    """Memory and time of full fine-tuning and of LoRA, and what share the second is of the first."""
    costs = found.costs
    full, lora = costs.at("full"), costs.at(method_label("lora", found.rank))
    kilobytes = {
        "gradients, kB": costs.gradients,
        "optimiser, kB": costs.optimizer,
        "activations, kB": costs.activations,
        "all memory, kB": costs.memory,
        "file, kB": costs.checkpoint,
    }
    counted = {"parameters": costs.trainable} | {name: values / 1e3 for name, values in kilobytes.items()}
    rows: list[list[Any]] = [
        [name, _count(values[full]), _count(values[lora]), f"{100 * values[lora] / values[full]:.3g}"]
        for name, values in counted.items()
    ]
    seconds = 1e3 * np.median(costs.seconds, axis=1)
    ratio = 100 * float(np.median(costs.seconds[lora] / costs.seconds[full]))
    rows.append(["step, ms", f"{seconds[full]:.2f}", f"{seconds[lora]:.2f}", f"{ratio:.3g}"])
    return show(["", "full", "LoRA", "%"], rows)


def costs(found: LoRA) -> Markdown:
    """What each method costs in training; bytes counted, times as medians."""
    each = found.costs
    rows = [
        [
            name,
            _count(each.trainable[row]),
            *(_count(values[row] / 1e3) for values in (each.gradients, each.optimizer, each.activations, each.memory)),
            _count(each.checkpoint[row] / 1e3),
            _count(each.flops[row] / 1e6),
            f"{1e3 * np.median(each.seconds[row]):.2f}",
            *(f"{value:.2f}" for value in np.quantile(each.ratio(name), [0.25, 0.5, 0.75])),
        ]
        for row, name in enumerate(each.labels)
    ]
    heads = ["method", "parameters", "gradients, kB", "optimiser, kB", "activations, kB", "all memory, kB", "file, kB"]
    return show([*heads, "million operations", "ms a step", "÷ full: quartile", "median", "quartile "], rows)


def latencies(found: LoRA) -> Markdown:
    """Median and interquartile range of one forward pass, in µs."""
    each = found.costs
    names = ("base network", f"LoRA r = {each.rank}, unmerged", "merged")
    rows = [
        [name, *(f"{number_text(1e6 * value)}" for pair in each.latency[row] for value in pair)]
        for row, name in enumerate(names)
    ]
    heads = [head for batch in each.batches for head in (f"batch {batch}", "range" + " " * int(np.log2(batch) + 1))]
    return show(["network", *heads], rows)


def updates(found: LoRA) -> Markdown:
    """ΔW where LoRA and full fine-tuning stopped: the first layer, and the mean over the square ones."""
    rows = []
    for each in (condition for condition in found.conditions if condition.method in ("lora", "full")):
        for name, layers in (("first", [0]), ("square", found.square)):
            update = each.update
            rows.append(
                [
                    each.label,
                    _yes(each.replay),
                    name,
                    *(
                        estimate(values[:, layers].mean(axis=1))
                        for values in (100 * update.norm, update.energy_rank, 100 * update.share, 100 * update.chance)
                    ),
                ]
            )
    heads = ["method", "replay", "layers", "‖ΔW‖ ÷ ‖W‖, %", "directions for 90 %", "along W's leading ten, %"]
    return show([*heads, "by chance, %"], rows)


def variants(found: LoRA) -> Markdown:
    """Variants of LoRA with replay, in per cent."""
    rows = [
        [VARIANTS[each.name], str(each.rank), f"{each.learning_rate:g}", *_cells(each.test, masked=False)]
        for each in found.variants
    ]
    return show(["variant", "rank", "learning rate", "new", "old", "all ten", "harmonic mean"], rows)


@of_control
def frontier(found: Frontier) -> Markdown:
    """What each method keeps at each accuracy on the new digit: old test accuracy in per cent."""
    rows = [[each.label, *_levels(each.old)] for each in found.methods]
    rows.append(["one offset, not trained", *_levels(found.tilted)])
    rows += [[f"{each.label}, masked", *_levels(each.old_masked)] for each in found.methods]
    rows += [[f"{each.label}, a share of ΔW", *_levels(each.old_shares)] for each in found.methods]
    return show(["method", *(f"{100 * level:g} %" for level in found.levels)], rows)


@of_control
def settings(found: Frontier) -> Markdown:
    """Learning rate and length that were chosen on each half of the digits, at the level that is compared."""
    rows = [
        [
            each.label,
            f"{each.learning_rates[0]:.3g}",
            f"{each.learning_rates[-1]:.3g}",
            *(f"{each.chosen[half, found.at]:.3g}" for half in (0, 1)),
            *(str(each.chosen_steps[half, found.at]) for half in (0, 1)),
            str(int(np.isfinite(each.old[:, found.at]).sum())),
        ]
        for each in found.methods
    ]
    heads = [
        "method",
        "rates from",
        "to",
        "chosen on one half",
        "on the other",
        "steps",
        "steps ",
        "digits that got there",
    ]
    return show(heads, rows)


@of_control
def directions(found: Directions) -> Markdown:
    """ΔW at equal accuracy on the new digit, square layers."""
    rows = [
        [
            each.label,
            _yes(each.replay),
            str(int(np.isfinite(each.reached).sum())),
            _some(each.reached),
            _some(100 * each.old_accuracy),
            *(_some(found.squares(values)) for values in (100 * each.norm, each.energy_rank, each.entropy_rank)),
        ]
        for each in found.updates
    ]
    heads = ["fine-tuning", "replay", "digits", "steps", "old, %", "‖ΔW‖ ÷ ‖W‖, %", "directions for 90 %"]
    return show([*heads, "entropy rank"], rows)


@of_control
def columns(found: Directions) -> Markdown:
    """Mean |cos| of pairs of columns of what was added to B, by what was varied."""
    rows = [
        [
            "small" if each.small else "zero",
            "frozen" if each.frozen else "trained",
            each.optimizer,
            str(each.steps),
            _yes(each.replay),
            estimate(each.cosine[:, 0]),
            estimate(found.squares(each.cosine)),
            estimate(100 * each.new_accuracy),
            estimate(100 * each.old_accuracy),
        ]
        for each in found.columns
    ]
    heads = ["B starts", "A", "optimiser", "steps", "replay", "|cos|, first layer", "square layers", "new, %", "old, %"]
    return show(heads, rows)


@of_control
def intruders(found: Directions) -> Markdown:
    """Intruder dimensions of ten in the square layers, and of the two controls."""
    rows = [
        [
            each.label,
            _yes(each.replay),
            *(_some(found.squares(values[..., THRESHOLD])) for values in (each.intruders, each.random, each.shrunk)),
        ]
        for each in found.updates
    ]
    return show(["fine-tuning", "replay", "intruders", "random directions", "shrunk to one norm"], rows)


def _representative(found: LoRA, *, replay: bool) -> list[Condition]:
    """LoRA of one rank, and the other methods."""
    return [found.of(method, replay=replay) for method in ("lora", "full", "last", "row")]


def _short(condition: Condition) -> str:
    return "LoRA" if condition.method == "lora" else condition.label


def _four(accuracy: Accuracy | None) -> list[np.ndarray | None]:
    if accuracy is None:
        return [None] * 4
    return [accuracy.new, accuracy.old, accuracy.old_masked, accuracy.overall]


def _cells(accuracy: Accuracy, *, masked: bool = True) -> list[str]:
    middle = ["" if accuracy.old_masked is None else percentage(accuracy.old_masked)] if masked else []
    rest = (accuracy.overall, accuracy.harmonic)
    return [percentage(accuracy.new), percentage(accuracy.old), *middle, *(percentage(each) for each in rest)]


def _mean(values: np.ndarray | None) -> str:
    return "" if values is None else f"{100 * values.mean():.1f}"


def _levels(values: np.ndarray) -> list[str]:
    """In per cent where all digits got there."""
    return [percentage(each) if np.isfinite(each).all() else "" for each in values.T]


def _some(values: Sequence[float] | np.ndarray) -> Estimate | str:
    """Of the digits that got there."""
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    return estimate(array) if len(array) else ""


def _count(value: float) -> str:
    return number_text(float(value), 0 if value >= 100 else 1)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
