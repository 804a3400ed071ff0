"""What the images alone say about the rank of the first layer's update.

Plain SGD adds multiples of outer products δ·xᵀ to W₁, so every row of W₁ − W₁⁰ is a combination of training images and
rank(W₁ − W₁⁰) ≤ rank(X), momentum included. Adam divides entry by entry, which leaves the span; but pixels that are
equal in every image get equal updates, so the number of distinct columns of X still is a bound. Rounding blurs both:
hence every training is done in single and in double precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rankstudy import config, data
from rankstudy.rank import matrix_rank
from rankstudy.study import provenance, questions
from rankstudy.study.store import Question

COMPUTED_BY = ("study.experiments.inputs", *provenance.TRAINED)  # what a record depends on
OPTIMIZERS = {"sgd": "momentum", "adam": "adam"}  # what the result calls it: what trains
PRECISIONS = ("float32", "float64")


@dataclass(frozen=True)
class Inputs:
    network: config.Network  # its first layer wide enough that the images bound the rank, not the units
    training: config.Training  # its optimiser and learning rate are replaced
    data: config.Data
    learning_rates: tuple[float, float]  # of each of OPTIMIZERS
    seeds: int


@dataclass(frozen=True)
class Case:
    """The trainings by one of OPTIMIZERS in one of PRECISIONS."""

    settings: Inputs
    optimizer: str
    precision: str

    def question(self) -> Question:
        return Question("measured", "update-in-span", self, data.checksum(self.settings.data.name))


def cases(settings: Inputs) -> list[Case]:
    """The longest first."""
    return [Case(settings, optimizer, precision) for precision in reversed(PRECISIONS) for optimizer in OPTIMIZERS]


def compute(settings: Inputs) -> dict[str, Any]:
    """`images`: bounds that the training images give. For each optimiser and precision what `measured` says."""
    from rankstudy.study.engine import dataset_on_device

    images = dataset_on_device(settings.data).train.images.cpu().numpy()
    found = {f"{case.optimizer}_{case.precision}": measured(case) for case in cases(settings)}
    return {"images": bounds(images), **found}


def measured(case: Case) -> Mapping[str, Any]:
    """Ranks of W₁ − W₁⁰ at both tolerances (seeds,), singular values of the first network, and the history: from the
    store or computed."""
    return questions.obtain(case.question(), provenance.digest(*COMPUTED_BY), lambda: _measure(case)).value


def bounds(images: np.ndarray) -> dict[str, Any]:
    """Of the (N, pixels) training images: `rank_float64`, `rank_float32` at either tolerance with the larger side of
    the whole matrix, `constant` pixels, and `distinct` columns."""
    triangle = np.linalg.qr(images.astype(np.float64), mode="r")  # the same singular values, but small
    values = np.linalg.svd(triangle, compute_uv=False)
    side = max(images.shape)
    return {
        **{
            f"rank_{name}": int((values > side * np.finfo(name).eps * values[0]).sum())
            for name in ("float32", "float64")
        },
        "constant": int((images == images[:1]).all(axis=0).sum()),
        "distinct": len(np.unique(images, axis=1).T),
        "count": len(images),
    }


def _measure(case: Case) -> dict[str, Any]:
    import torch

    from rankstudy import layers
    from rankstudy import training as work
    from rankstudy.study.engine import dataset_on_device

    def cast(split: Any) -> Any:
        return replace(split, images=split.images.to(dtype))

    settings, dtype = case.settings, getattr(torch, case.precision)
    rate = settings.learning_rates[list(OPTIMIZERS).index(case.optimizer)]
    training = replace(settings.training, optimizer=OPTIMIZERS[case.optimizer], learning_rate=rate)
    dataset = dataset_on_device(settings.data)
    cast_data = replace(
        dataset, train=cast(dataset.train), validation=cast(dataset.validation), test=cast(dataset.test)
    )
    seeds = range(settings.seeds)
    where = dataset.train.images.device
    models = [layers.build(settings.network, seed).to(where, dtype) for seed in seeds]
    initial = [layers.weights(model)[0].clone() for model in models]
    history = work.train(training, models, cast_data, seeds).arrays()
    updates = [
        (layers.weights(model)[0] - start).double().cpu().numpy() for model, start in zip(models, initial, strict=True)
    ]
    return {
        "rank_float64": np.array([matrix_rank(update) for update in updates]),
        "rank_float32": np.array([matrix_rank(update.astype(np.float32)) for update in updates]),
        "spectrum": np.linalg.svd(updates[0], compute_uv=False).astype(np.float32),
        "history": {name: values for name, values in history.items() if name.startswith(("train", "valid", "test"))},
    }
