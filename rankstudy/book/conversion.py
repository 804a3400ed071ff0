"""The experiments' results in the reader's terms: one condition's networks together, the book's names, its order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from rankstudy.book import measured
from rankstudy.registry import ACTIVATIONS
from rankstudy.study import engine
from rankstudy.study.experiments import arms, battery, inputs
from rankstudy.study.experiments import rank as chapter3
from rankstudy.study.questions import Result

Settings = Mapping[str, Any]  # a stored config: plain values

MEASURES = {  # the reader's name -> the experiment's, where it is another one
    "rank_float64": "elimination_float64",
    "rank_float32": "elimination_float32",
    "entropy_rank": "effective_rank",
    "outliers": "outliers_initialisation",
}
METHODS = {"complete": "complete", "partial": "partial", "matrix_rank": "ours", "svd": "svd"}  # likewise


def label(activation: str) -> str:
    """What readers call it; a name that the registry has no more stands for itself."""
    return ACTIVATIONS[activation].label if activation in ACTIVATIONS else activation


def ordered(activations: Iterable[str]) -> list[str]:
    """In the book's order, those that the registry has no more at the end."""
    known = list(ACTIVATIONS)
    return sorted(activations, key=lambda name: known.index(name) if name in known else len(known))


def origin(result: Result) -> measured.Origin:
    made, computed = result.provenance, result.settings
    commit = made["commit"] or "unknown"
    return measured.Origin(
        result.experiment, result.profile, computed, result.data, made["device"], made["created"], commit, result.stale
    )


def rank(result: Result) -> measured.Rank:
    found, config = result.typed, result.config
    return measured.Rank(
        origin=origin(result),
        task2=networks("Task 2", found.base, config["base"], "relu"),
        pivots=measured.Pivots(
            **{f"{way}_{eps}": counts for way, by_eps in found.pivots.items() for eps, counts in by_eps.items()}
        ),
        activations=by_activation(found.shallow, config["shallow"]),
        deep=by_activation(found.deep, config["deep"]),
        matched=by_activation(found.matched, config["matched"]),
        copies={name: measured.Copies(each["signs"], each["shuffle"]) for name, each in found.nulls.items()},
        known=known_rank(found.textbook),
        images=images(found.inputs),
        products={
            name: measured.Product(each["initial"].effective_rank, each["weights"].effective_rank)
            for name, each in found.products.items()
        },
    )


def training(result: Result) -> measured.Training:
    found = result.typed
    return measured.Training(
        origin=origin(result),
        widths=tuple(result.config["network"]["widths"]),
        learning_rate=found.learning_rate,
        batch_size=int(result.config["training"]["batch_size"]),
        parameters=found.parameters,
        history=history(found.history),
        seconds=found.history.seconds[:, -1],
        tuning=tuning(found.tuning),
    )


def by_activation(found: Mapping[str, arms.Measured], config: Settings) -> dict[str, measured.Networks]:
    """The networks of a group, in the book's order."""
    return {name: networks(label(name), found[name], config, name) for name in ordered(found)}


def networks(label: str, found: arms.Measured, config: Settings, activation: str) -> measured.Networks:
    ranks, train, test = found.ranks, found.features.train.centred, found.features.test.centred
    return measured.Networks(
        label=label,
        widths=tuple(config["network"]["widths"]),
        activation=activation,
        learning_rate=found.learning_rate,
        gain=found.gain,
        history=history(found.history),
        full_rank=ranks.limits,
        initial=measures(ranks.initial),
        weights=measures(ranks.weights),
        update=measures(ranks.update),
        spectra=measured.Spectra(
            **{name: tuple(each[str(layer)] for layer in range(len(each))) for name, each in ranks.spectra.items()}
        ),
        edges=ranks.edges,
        features=measured.Features(
            images=found.features.images,
            train_entropy_rank=train.effective_rank,
            test_entropy_rank=test.effective_rank,
            train_stable_rank=train.stable_rank,
            test_stable_rank=test.stable_rank,
        ),
        trajectory=trajectory(found.trajectory),
        tuning=None if found.tuning is None else tuning(found.tuning),
    )


def measures(found: battery.Definitions) -> measured.Measures:
    names = [field.name for field in fields(measured.Measures)]
    return measured.Measures(**{name: getattr(found, MEASURES.get(name, name)) for name in names})


def history(found: engine.Histories) -> measured.History:
    return measured.History(**{field.name: getattr(found, field.name) for field in fields(measured.History)})


def tuning(found: engine.Tuning) -> measured.Tuning | None:
    """None where the learning rate was given."""
    if found.learning_rate is None:
        return None
    return measured.Tuning(found.learning_rate, found.validation_accuracy, found.validation_loss)


def trajectory(found: Mapping[str, np.ndarray]) -> measured.Trajectory | None:
    names = {name.replace(".effective_rank", ".entropy_rank").replace(".", "_"): each for name, each in found.items()}
    return measured.Trajectory(**names) if names else None


def known_rank(found: chapter3.Textbook) -> measured.KnownRank:
    rows, columns = found.shape
    return measured.KnownRank(
        shape=(rows, columns),
        rank=found.rank,
        seconds={name: getattr(found, f"seconds_{own}") for name, own in METHODS.items()},
        singular_values=found.singular_values,
        complete_pivots=found.complete,
        partial_pivots=found.partial,
        tolerance=found.tolerance,
        **{name: getattr(found, f"rank_{own}") for name, own in METHODS.items()},
    )


def images(found: inputs.Inputs) -> measured.Images:
    updates = []
    for optimizer in inputs.OPTIMIZERS:
        for precision in inputs.PRECISIONS:
            span: inputs.Span = getattr(found, f"{optimizer}_{precision}")
            updates.append(
                measured.FirstUpdate(
                    optimizer,
                    precision,
                    span.rank_float64,
                    span.rank_float32,
                    span.spectrum,
                    span.history.train_accuracy,
                    span.history.test_accuracy,
                )
            )
    bounds = {field.name: getattr(found.images, field.name) for field in fields(inputs.Bounds)}
    return measured.Images(**bounds, updates=tuple(updates))
