"""What chapters 3 and 4 both ask of an arm: its ranks by layer, averaged over layers, and against depth.

An arm is what `experiments.arms.measured` keeps of equal networks that differ in their seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from rankstudy import registry
from rankstudy.book.chapters import rates
from rankstudy.book.chapters.common import Markdown, table
from rankstudy.book.stats import Estimate, estimate

Arm = Mapping[str, Any]

NAMES = {
    "elimination_float64": "numerical rank, float64",
    "elimination_float32": "numerical rank, float32",
    "energy_rank_99": "energy rank, 99 %",
    "energy_rank_95": "energy rank, 95 %",
    "energy_rank_90": "energy rank, 90 %",
    "effective_rank": "effective rank (entropy)",
    "participation_ratio": "participation ratio",
    "stable_rank": "stable rank",
    "outliers_initialisation": "outliers above the initialisation's edge",
}
SOFT = ("energy_rank_90", "effective_rank", "stable_rank")
MATRICES = {"initial": "W₀ (initialisation)", "weights": "W (trained)", "update": "W − W₀ (update)"}
ACTIVATIONS = {name: each.label for name, each in registry.ACTIVATIONS.items()}
TRAINED = 0.9  # training accuracy below which an arm "did not train" and supports no conclusion about rank


def ranks(arm: Arm, matrix: str, name: str, *, normalised: bool = False) -> np.ndarray:
    """(seeds, layers) of one definition; normalised: as a fraction of min(out, in)."""
    found = arm["ranks"][matrix][name]
    return found / arm["ranks"]["limits"] if normalised else found


def average(arm: Arm, matrix: str, name: str, *, normalised: bool = False, hidden: bool = False) -> np.ndarray:
    """(seeds,) mean over the layers of each network; hidden: over all but the output layer."""
    return ranks(arm, matrix, name, normalised=normalised)[:, : -1 if hidden else None].mean(axis=1)


def shapes(widths: Sequence[int]) -> list[tuple[int, int]]:
    """(out, in) of each layer."""
    return [(out, inp) for inp, out in pairwise(widths)]


def square(arm: Arm) -> list[int]:
    """The hidden layers of equal, square shape: those between which depth alone differs. Layers count from 0."""
    limits = arm["ranks"]["limits"]
    return list(range(1, len(limits) - 1))


def slope(arm: Arm, matrix: str, name: str) -> np.ndarray:
    """(seeds,) change of the normalised rank per layer over the square layers, by least squares in each network."""
    layers = square(arm)
    found = ranks(arm, matrix, name, normalised=True)[:, layers]
    return np.polyfit(np.arange(len(layers)), found.T, 1)[0].round(12)  # equal ranks have slope 0, not 1e-17


def ordered(arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """Arms by activation, in the order in which the book names them."""
    return {name: arms[name] for name in ACTIVATIONS if name in arms}


def did_train(arm: Arm) -> bool:
    """Whether every network of the arm reached the stated training accuracy."""
    return bool((arm["history"]["train_accuracy"][:, -1] >= TRAINED).all())


def final(arm: Arm, metric: str) -> Estimate:
    """Of the last epoch."""
    return estimate(arm["history"][metric][:, -1])


def accuracies(arms: Mapping[str, Arm]) -> str:
    """How well some arms learned, from the worst to the best, on training and on test data."""
    phrases = []
    for split, label in (("train", "training"), ("test", "test")):
        found = sorted((final(arm, f"{split}_accuracy") for arm in arms.values()), key=lambda each: each.mean)
        ends = [found[0].percent(), found[-1].percent()]
        phrases.append(f"{label} accuracy " + (ends[0] if len(found) == 1 else f"from {ends[0]} to {ends[1]}"))
    return ", ".join(phrases)


def trained(arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """The arms that learned enough to conclude from."""
    return {name: arm for name, arm in arms.items() if did_train(arm)}


def by_layer(
    arm: Arm, shapes: Sequence[tuple[int, int]], matrix: str, first: Mapping[str, np.ndarray] | None = None
) -> Markdown:
    """One row per definition, one column per layer; `first`: label -> (seeds, layers), above the others."""
    rows = []
    for label, found in {**(first or {}), **{NAMES[name]: ranks(arm, matrix, name) for name in NAMES}}.items():
        rows.append([label, *[estimate(each).text(1) for each in found.T], estimate(found.mean(axis=1)).text(1)])
    headers = [f"layer {layer + 1}, {out}×{inp}" for layer, (out, inp) in enumerate(shapes)]
    return table(["definition", *headers, "mean"], rows)


def averages(arm: Arm) -> Markdown:
    """Mean over layers of each definition, absolute and normalised, of the three matrices."""
    rows = []
    for name, label in NAMES.items():
        row = [label]
        for matrix in ("initial", "weights", "update"):
            row.append(estimate(average(arm, matrix, name)).text(1))
            row.append(estimate(average(arm, matrix, name, normalised=True)).text(1, 100))
        rows.append(row)
    share = "% of full"
    return table(["mean over layers", "W₀", f"W₀, {share}", "W", f"W, {share}", "W − W₀", f"W − W₀, {share}"], rows)


def edges(groups: Mapping[str, Mapping[str, Arm]]) -> str:
    """What the text says of arms with a rate at the edge; in several groups they are named with theirs."""
    found = [
        ACTIVATIONS[name] + (f" ({group})" if len(groups) > 1 else "")
        for group, arms in groups.items()
        for name, arm in arms.items()
        if rates.arm_at_edge(arm)
    ]
    return rates.warning(found)


def by_activation(arms: Mapping[str, Arm]) -> Markdown:
    """One row per activation: how it trained, and the mean over layers of its ranks."""
    rows = []
    for activation, arm in arms.items():
        rows.append(
            [
                ACTIVATIONS[activation] + ("" if did_train(arm) else " (did not train)"),
                f"{arm['learning_rate']:g}{rates.mark(rates.arm_at_edge(arm))}",
                final(arm, "train_accuracy").text(1, 100.0),  # nine columns: more digits run into each other in the PDF
                final(arm, "test_accuracy").text(1, 100.0),
                estimate(average(arm, "weights", "elimination_float64")).text(1),
                estimate(average(arm, "weights", "elimination_float32")).text(1),
                estimate(average(arm, "weights", "effective_rank", normalised=True)).text(1, 100.0),
                estimate(average(arm, "update", "effective_rank", normalised=True)).text(1, 100.0),
                estimate(average(arm, "update", "stable_rank")).text(1),
            ]
        )
    headers = ["activation", "rate", "train, %", "test, %", "rank of W, float64", "float32"]
    return table([*headers, "effective rank of W, %", "of W − W₀, %", "stable rank of W − W₀"], rows)
