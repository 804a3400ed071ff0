"""Tables of what is compared: a control's conditions, sizes beside their baseline, learning rates by condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rankstudy.book.measured import Networks
from rankstudy.book.overfitting import Size
from rankstudy.book.paths import Decay, Labels
from rankstudy.book.stats import estimate
from rankstudy.book.tables import Markdown, down, of_control, percentage, show


def baselines(sizes: Sequence[Size]) -> Markdown:
    """Entropy rank of the update, and of random errors on the same inputs before and after training, of each hidden
    layer of `overfitting.Size`s; those that have no baseline are left out."""
    rows = [
        [f"{size.label}, layer {layer + 1}"]
        + [estimate(each[:, layer]) for each in (size.update.entropy_rank, size.baseline.before, size.baseline.after)]
        for size in sizes
        if size.baseline is not None
        for layer in range(len(size.shapes) - 1)
    ]
    return show(["hidden", "W − W₀", "random errors, inputs before training", "after it"], rows)


@of_control
def labels(view: Labels) -> Markdown:
    """What each condition of `paths.Labels` reaches at each learning rate, and differences at equal distance, in the
    square layers."""
    names, layers = ("true", "shuffled", "anew"), view.square
    nothing = np.full_like(view.end("true", "train_accuracy"), np.nan)
    columns = {
        "right in training, %": [100 * view.end(name, "train_accuracy") for name in names],
        "distance": [view.end(name, "distance", layers) for name in names],
        "entropy rank": [view.end(name, "entropy_rank", layers) for name in names],
        "less the true labels’, at equal distance": [
            nothing, view.by_rate("shuffled", "true", layers), view.by_rate("anew", "true", layers),
        ],
        "less drawn anew’s": [nothing, view.by_rate("shuffled", "anew", layers), nothing],
    }  # fmt: skip
    return down(
        "labels, learning rate",
        [f"{label}, {rate:g}" for label in view.conditions for rate in view.learning_rates],
        {header: np.concatenate(each, axis=1) for header, each in columns.items()},
    )


@of_control
def decay(view: Decay) -> Markdown:
    """What each weight decay of `paths.Decay` leaves and reaches, in the square layers."""
    columns = {
        "k": view.kept,
        "test accuracy, %": 100 * view.end("test_accuracy"),
        "entropy rank of W": view.end("weights_entropy_rank", view.square),
        "of W − W₀": view.end("update_entropy_rank", view.square),
        "of W − k·W₀": view.end("entropy_rank", view.square),
        "its distance": view.end("distance", view.square),
        "at equal distance": view.less_than_none,
    }
    return down("λ", [f"{each:g}" for each in view.weight_decays], columns)


def tunings(groups: Mapping[str, Networks]) -> Markdown:
    """The learning rates that were tried for each condition, on validation data and seeds that no result uses."""
    rows = [
        [group.label, f"{rate:g}", percentage(accuracy), estimate(loss), f"{group.learning_rate:g}"]
        for group in groups.values()
        if group.tuning is not None
        for rate, accuracy, loss in zip(
            group.tuning.learning_rate, group.tuning.validation_accuracy, group.tuning.validation_loss, strict=True
        )
    ]
    return show(["condition", "learning rate", "validation accuracy, %", "validation loss, nats", "taken"], rows)
