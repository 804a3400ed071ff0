"""Tables of conditions: what they hold, how they were tuned, what they reached and how long it took them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rankstudy.book.measured import Tuning
from rankstudy.book.stats import estimate, interval_text, number_text, short
from rankstudy.book.tables import Markdown, percentage, show

VARIANTS = {"dense": "dense", "rank": "every layer, r = {}", "spared": "all but the last, r = {}"}
PARTS = ("file", "weights", "gradients", "optimizer", "activations")


def memory(held: Mapping[str, Any]) -> Markdown:
    """What each variant of a network holds, by name as `LowRankTraining.memory` has them; MB."""
    whole = held["dense"].parameters
    order = sorted(held, key=lambda name: (name.partition(" ")[0], int(name.partition(" ")[2] or 0)))
    rows = []
    for name in order:
        kind, _, rank = name.partition(" ")
        each = held[name]
        parts = [number_text(getattr(each, part) / 1e6, 2) for part in PARTS]
        rows.append([VARIANTS[kind].format(rank), each.parameters, short(100 * each.parameters / whole), *parts])
    heads = ["layers as B·C", "parameters", "of dense, %", "file, MB", "weights", "gradients", "optimiser"]
    return show([*heads, "activations"], rows)


def searches(found: Mapping[str, tuple[Tuning | None, float]]) -> Markdown:
    """name -> (the learning rates tried, the one taken): a row each that was tried, and one for a vertex between."""
    rows = []
    for name, (tuning, chosen) in found.items():
        if tuning is None:
            continue
        taken = "taken, at the boundary" if tuning.at_boundary(chosen) else "taken"
        tried = zip(tuning.learning_rate, tuning.validation_accuracy, tuning.validation_loss, strict=True)
        own = [
            [
                name,
                f"{rate:g}",
                number_text(100 * accuracy.mean(), 2),
                number_text(loss.mean(), 4),
                taken if rate == chosen else "",
            ]
            for rate, accuracy, loss in tried
        ]
        if chosen not in tuning.learning_rate:
            own.append([name, f"{chosen:g}", "", "", "taken, between"])
        rows += sorted(own, key=lambda row: float(row[1]))
    return show(["condition", "learning rate", "validation accuracy, %", "validation loss, nats", "choice"], rows)


def against(conditions: Mapping[str, Any], control: str) -> Markdown:
    """Accuracies of conditions after the last epoch, and their test accuracy against that of one of them."""
    before = conditions[control].history.test_accuracy[:, -1]
    rows = []
    for name, each in conditions.items():
        own = each.history.test_accuracy[:, -1]
        count = min(len(own), len(before))
        points = estimate(100 * (own[:count] - before[:count]))
        errors = estimate(100 * ((1 - own[:count]) / (1 - before[:count]) - 1))
        rows.append(
            [
                name,
                "" if each.rank is None else str(each.rank),
                f"{each.learning_rate:g}",
                *[percentage(getattr(each.history, f"{split}_accuracy")[:, -1]) for split in ("train", "test")],
                estimate(each.history.test_loss[:, -1]),
                "" if name == control else interval_text(points, "points", sign=True).removesuffix(" points"),
                "" if name == control else interval_text(errors, "%", sign=True).removesuffix(" %"),
            ]
        )
    heads = [
        "condition",
        "rank",
        "learning rate",
        "train, %",
        "test, %",
        "test loss, nats",
        "test, points",
        "errors, %",
    ]
    return show(heads, rows)


def reaching(conditions: Mapping[str, Any], levels: Sequence[float]) -> Markdown:
    """Epochs and seconds until each condition's networks first reach a validation accuracy, what they began with
    included; empty where not all did."""
    rows = []
    for name, each in conditions.items():
        row: list[Any] = [name]
        for level in levels:
            there = each.history.validation_accuracy >= level
            if there.any(axis=1).all():
                at = there.argmax(axis=1)
                row += [estimate(at + each.dense_epochs)]
                row += [estimate(each.seconds[np.arange(len(at)), at] + each.dense_seconds)]
            else:
                row += ["", ""]
        rows.append([*row, estimate(each.seconds[:, -1] / each.history.epochs)])
    heads = [f"{short(100 * level)} %: {what}" for level in levels for what in ("epochs", "seconds")]
    return show(["condition", *heads, "seconds an epoch"], rows)


def latencies(times: Mapping[str, Any], batches: np.ndarray) -> Markdown:
    """Milliseconds of a forward pass, variants down and batches across, each with its speed-up over dense."""
    rows = []
    for name, each in times.items():
        row = [name]
        for index in range(len(batches)):
            row.append(short(1e3 * each.median[index]))
            row.append(f"{short(each.speedup[index])} ({short(each.low[index])} to {short(each.high[index])})")
        rows.append(row)
    heads = [f"{number_text(batch)}: {what}" for batch in batches for what in ("ms", "times as fast")]
    return show(["variant", *heads], rows)
