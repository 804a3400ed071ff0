"""What the images alone say about the rank of the first layer's update.

Plain SGD adds multiples of outer products δ·xᵀ to W₁, so every row of W₁ − W₁⁰ is a combination of training images and
rank(W₁ − W₁⁰) ≤ rank(X), momentum included. Adam divides entry by entry, which leaves the span; but pixels that are
equal in every image get equal updates, so the number of distinct columns of X still is a bound. Rounding blurs both:
hence every training is done in single and in double precision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rankstudy import config, data
from rankstudy.rank import matrix_rank
from rankstudy.study import engine, jobs
from rankstudy.study.engine import Histories
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Floats, Integers

OPTIMIZERS = {"sgd": "momentum", "adam": "adam"}  # what the result calls it: what trains
PRECISIONS = ("float32", "float64")


@dataclass(frozen=True)
class Settings:
    network: config.Network  # its first layer wide enough that the images bound the rank, not the units
    training: config.Training  # its optimiser and learning rate are replaced
    data: config.Data
    learning_rates: tuple[float, float]  # of each of OPTIMIZERS
    seeds: int


@dataclass(frozen=True)
class Span:
    """The first layer's update W₁ − W₁⁰ after training by one optimiser in one precision."""

    rank_float64: Integers  # (seeds,) at the tolerance of float64
    rank_float32: Integers  # (seeds,) rounded to float32, at its tolerance
    spectrum: Floats  # (k,) float32 singular values of the first network's
    history: Histories


@dataclass(frozen=True)
class Bounds:
    """What the (N, pixels) training images allow."""

    rank_float64: int  # of the images, with the larger side of the whole matrix in the tolerance
    rank_float32: int
    constant: int  # pixels that are the same in every image
    distinct: int  # different columns
    count: int  # images


@dataclass(frozen=True)
class Inputs:
    """The bounds, and the updates that are held against them."""

    images: Bounds
    sgd_float32: Span
    sgd_float64: Span
    adam_float32: Span
    adam_float64: Span


@dataclass(frozen=True)
class Case(Job[Span]):
    """The trainings by one of OPTIMIZERS in one of PRECISIONS."""

    NAME = "update-in-span"
    ANSWER = Span

    settings: Settings
    optimizer: str
    precision: str

    def selection(self) -> str:
        return self.settings.data.name

    def compute(self) -> Span:
        return _measure(self)


def cases(settings: Settings) -> list[Case]:
    """The longest first."""
    return [Case(settings, optimizer, precision) for precision in reversed(PRECISIONS) for optimizer in OPTIMIZERS]


def compute(settings: Settings) -> Inputs:
    images = engine.dataset_on_device(settings.data).train.images.cpu().numpy()
    asked = cases(settings)
    found = dict(zip((f"{case.optimizer}_{case.precision}" for case in asked), jobs.answers(asked), strict=True))
    return Inputs(bounds(images), **found)


def bounds(images: np.ndarray) -> Bounds:
    """Of the (N, pixels) training images."""
    triangle = np.linalg.qr(images.astype(np.float64), mode="r")  # the same singular values, but small
    values = np.linalg.svd(triangle, compute_uv=False)
    side = max(images.shape)
    ranks = {
        f"rank_{name}": int((values > side * np.finfo(name).eps * values[0]).sum()) for name in ("float32", "float64")
    }
    constant, distinct = (images == images[:1]).all(axis=0).sum(), np.unique(images, axis=1).shape[1]
    return Bounds(**ranks, constant=int(constant), distinct=distinct, count=len(images))


def _measure(case: Case) -> Span:
    import torch

    from rankstudy import layers
    from rankstudy import training as work

    def cast(split: data.Split) -> data.Split:
        return replace(split, images=split.images.to(dtype))

    settings, dtype = case.settings, getattr(torch, case.precision)
    rate = settings.learning_rates[list(OPTIMIZERS).index(case.optimizer)]
    training = replace(settings.training, optimizer=OPTIMIZERS[case.optimizer], learning_rate=rate)
    dataset = engine.dataset_on_device(settings.data)
    cast_data = replace(
        dataset, train=cast(dataset.train), validation=cast(dataset.validation), test=cast(dataset.test)
    )
    seeds = engine.seeds(settings.seeds)
    where = dataset.train.images.device
    models = [layers.build(settings.network, seed).to(where, dtype) for seed in seeds]
    initial = [layers.weights(model)[0].clone() for model in models]
    history = work.train(training, models, cast_data, seeds)
    updates = [
        (layers.weights(model)[0] - start).double().cpu().numpy() for model, start in zip(models, initial, strict=True)
    ]
    return Span(
        rank_float64=np.array([matrix_rank(update) for update in updates]),
        rank_float32=np.array([matrix_rank(update.astype(np.float32)) for update in updates]),
        spectrum=np.linalg.svd(updates[0], compute_uv=False).astype(np.float32),
        history=Histories(**{name: history[name] for name in engine.METRICS}),
    )
