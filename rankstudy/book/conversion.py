"""Stored nested dictionaries -> typed measured. Goes when the experiments return typed results themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rankstudy.book import measured
from rankstudy.registry import ACTIVATIONS
from rankstudy.study.questions import Result

Stored = Mapping[str, Any]  # what the store gives back: names -> arrays, plain values, dictionaries

MEASURES = {  # field -> name in the store, where it is another one
    "rank_float64": "elimination_float64",
    "rank_float32": "elimination_float32",
    "entropy_rank": "effective_rank",
    "outliers": "outliers_initialisation",
}


def label(activation: str) -> str:
    """What readers call it; a name that the registry has no more stands for itself."""
    return ACTIVATIONS[activation].label if activation in ACTIVATIONS else activation


def origin(result: Result) -> measured.Origin:
    made, computed = result.provenance, result.settings
    commit = made["commit"] or "unknown"
    return measured.Origin(
        result.experiment, result.profile, computed, result.data, made["device"], made["created"], commit, result.stale
    )


def rank(result: Result) -> measured.Rank:
    value, config = result.value, result.config
    groups = {
        name: {
            activation: networks(label(activation), value[name][activation], config[name], activation)
            for activation in (*ACTIVATIONS, *(other for other in value[name] if other not in ACTIVATIONS))
            if activation in value[name]
        }
        for name in ("shallow", "deep", "matched")
    }
    return measured.Rank(
        origin=origin(result),
        task2=networks("Task 2", value["base"], config["base"], "relu"),
        pivots=measured.Pivots(
            **{
                f"{way}_{eps}": np.asarray(found)
                for way, by_eps in value["pivots"].items()
                for eps, found in by_eps.items()
            }
        ),
        activations=groups["shallow"],
        deep=groups["deep"],
        matched=groups["matched"],
        copies={name: measured.Copies(each["signs"], each["shuffle"]) for name, each in value["nulls"].items()},
        known=known_rank(value["textbook"]),
        images=images(value["inputs"]),
        products={
            name: measured.Product(each["initial"]["effective_rank"], each["weights"]["effective_rank"])
            for name, each in value["products"].items()
        },
    )


def training(result: Result) -> measured.Training:
    value = result.value
    return measured.Training(
        origin=origin(result),
        widths=tuple(result.config["network"]["widths"]),
        learning_rate=float(value["learning_rate"]),
        batch_size=int(result.config["training"]["batch_size"]),
        parameters=int(value["parameters"]),
        history=history(value["history"]),
        seconds=np.asarray(value["history"]["seconds"])[:, -1],
        tuning=tuning(value["tuning"]),
    )


def networks(label: str, found: Stored, config: Stored, activation: str) -> measured.Networks:
    ranks = found["ranks"]
    features = {
        f"{split}_{field}": found["features"][split]["centred"][name]
        for split in ("train", "test")
        for field, name in (("entropy_rank", "effective_rank"), ("stable_rank", "stable_rank"))
    }
    return measured.Networks(
        label=label,
        widths=tuple(config["network"]["widths"]),
        activation=activation,
        learning_rate=float(found["learning_rate"]),
        gain=float(found["gain"]),
        history=history(found["history"]),
        full_rank=np.asarray(ranks["limits"]),
        initial=measures(ranks["initial"]),
        weights=measures(ranks["weights"]),
        update=measures(ranks["update"]),
        spectra=measured.Spectra(**{name: _layers(each) for name, each in ranks["spectra"].items()}),
        edges=np.asarray(ranks["edges"]),
        features=measured.Features(images=int(found["features"]["images"]), **features),
        trajectory=trajectory(found["trajectory"]),
        tuning=tuning(found.get("tuning") or {}),
    )


def measures(found: Stored) -> measured.Measures:
    fields = measured.Measures.__dataclass_fields__
    return measured.Measures(**{field: np.asarray(found[MEASURES.get(field, field)]) for field in fields})


def history(found: Stored) -> measured.History:
    return measured.History(**{field: np.asarray(found[field]) for field in measured.History.__dataclass_fields__})


def tuning(found: Stored) -> measured.Tuning | None:
    fields = measured.Tuning.__dataclass_fields__
    return measured.Tuning(**{field: np.asarray(found[field]) for field in fields}) if found else None


def trajectory(found: Stored) -> measured.Trajectory | None:
    names = {name.replace(".effective_rank", ".entropy_rank").replace(".", "_"): each for name, each in found.items()}
    return measured.Trajectory(**names) if names else None


def known_rank(found: Stored) -> measured.KnownRank:
    methods = {"complete": "complete", "partial": "partial", "matrix_rank": "ours", "svd": "svd"}
    return measured.KnownRank(
        shape=tuple(int(side) for side in found["shape"]),
        rank=int(found["rank"]),
        seconds={field: float(found[f"seconds_{name}"]) for field, name in methods.items()},
        singular_values=found["singular_values"],
        complete_pivots=found["complete"],
        partial_pivots=found["partial"],
        tolerance=float(found["tolerance"]),
        **{field: int(found[f"rank_{name}"]) for field, name in methods.items()},
    )


def images(found: Stored) -> measured.Images:
    updates = [
        measured.FirstUpdate(
            optimizer,
            precision,
            each["rank_float64"],
            each["rank_float32"],
            each["spectrum"],
            each["history"]["train_accuracy"],
            each["history"]["test_accuracy"],
        )
        for optimizer in ("sgd", "adam")
        for precision in ("float32", "float64")
        for each in [found[f"{optimizer}_{precision}"]]
    ]
    return measured.Images(**{name: int(value) for name, value in found["images"].items()}, updates=tuple(updates))


def _layers(found: Stored) -> tuple[np.ndarray, ...]:
    return tuple(found[str(layer)] for layer in range(len(found)))
