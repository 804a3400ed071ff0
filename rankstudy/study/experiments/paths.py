"""Where training takes each layer: how far from its random start, and in how many directions.

What a layer has learned is W − k·W₀, where k is what decoupled weight decay alone leaves of the start: a step takes
W to (1 − μλ)·W before it adds anything, so k is the product of these factors, and 1 without decay. Networks that moved
by different distances can then be compared where their distances were equal. A training covers most of its distance in
its first steps, so it is looked at after numbers of steps that are equally spaced in the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from rankstudy import config
from rankstudy.registry import OPTIMIZERS
from rankstudy.spectrum import Spectrum, effective_rank, stable_rank
from rankstudy.study import engine, jobs
from rankstudy.study.engine import Histories
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Floats, Integers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rankstudy.data import Dataset

LABEL_SEED = 50_000  # added to the seed: labels are drawn apart from weights and order
LOOKS = 28


@dataclass(frozen=True)
class Path:
    """One network's way, look by look; NaN once its loss is no longer finite."""

    steps: Integers  # (looks,) taken so far; the last are all
    history: dict[str, Floats]  # `engine.METRICS` -> (looks,), of training on the labels of that moment
    kept: Floats  # (looks,) k
    distance: Floats  # (looks, layers) ‖W − k·W₀‖ / ‖W₀‖, Frobenius
    entropy_rank: Floats  # (looks, layers) of W − k·W₀
    stable_rank: Floats  # (looks, layers)
    weights_entropy_rank: Floats  # (looks, layers) of W
    update_entropy_rank: Floats  # (looks, layers) of W − W₀


@dataclass(frozen=True)
class Paths:
    """Those of equal networks that differ in their seed, (networks, looks, layers)."""

    steps: Integers  # (looks,)
    history: Histories  # (networks, looks), of which none is before training
    kept: Floats  # (looks,)
    distance: Floats
    entropy_rank: Floats
    stable_rank: Floats
    weights_entropy_rank: Floats
    update_entropy_rank: Floats


@dataclass(frozen=True)
class Walk(Job[Path]):
    """One training and its looks; its weights are not kept."""

    NAME = "path"
    ANSWER = Path
    SENT = True

    network: config.Network
    training: config.Training
    data: config.Data
    seed: int
    anew: bool = False  # whether labels are permuted before every epoch: each image is seen once in it

    def selection(self) -> str:
        return self.data.name

    def training_images(self) -> int:
        return engine.Run(self.network, self.training, self.data, self.seed).training_images()

    def compute(self) -> Path:
        return walked(self)


def walks(walk: Walk, learning_rate: float, seeds: Sequence[int]) -> list[Walk]:
    """The same from these seeds at a learning rate."""
    training = replace(walk.training, learning_rate=learning_rate)
    return [replace(walk, training=training, seed=seed) for seed in seeds]


def stacked(asked: Sequence[Walk]) -> Paths:
    """The paths of equal networks."""
    found = jobs.answers(asked)
    histories = {name: np.stack([each.history[name] for each in found]) for name in engine.METRICS}
    measured = [field.name for field in fields(Paths) if field.name not in ("steps", "history", "kept")]
    return Paths(
        steps=found[0].steps,
        history=Histories(**histories, seeds=np.array([walk.seed for walk in asked])),
        kept=found[0].kept,
        **{name: np.stack([getattr(each, name) for each in found]) for name in measured},
    )


def walked(walk: Walk) -> Path:
    """Train the network and look at it on the way."""
    from torch.optim.lr_scheduler import LambdaLR

    from rankstudy import layers
    from rankstudy import training as work

    training, dataset = walk.training, engine.dataset_on_device(walk.data)
    # the data set is remembered, so what is written to is a copy
    dataset = replace(dataset, train=replace(dataset.train, labels=dataset.train.labels.clone()))
    total = training.epochs * -(-len(dataset.train) // training.batch_size)
    model = layers.build(walk.network, walk.seed).to(dataset.train.labels.device)
    groups: list[dict[str, object]] = [{"params": list(model.parameters())}]
    optimizer = OPTIMIZERS[training.optimizer].torch(
        groups, learning_rate=training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = LambdaLR(optimizer, work.share_of_peak(training, total))
    stream, left, begun = _batches(walk, dataset), kept(training, total), _weights(model)
    report = jobs.progress([walk])

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return work.batch_loss(model, x, y, training)

    steps = looks(total)
    history: dict[str, list[float]] = {name: [] for name in engine.METRICS}
    found: list[dict[str, np.ndarray]] = []
    for done, until in zip([0, *steps[:-1]], steps, strict=True):
        work.epoch(loss, islice(stream, until - done), optimizer, schedule)
        weights, finite = _weights(model), True
        for split in work.SPLITS:
            score = dict(zip(("loss", "accuracy"), work.evaluate(model, getattr(dataset, split)), strict=True))
            finite = finite and math.isfinite(score["loss"])
            for name, value in score.items():
                history[f"{split}_{name}"].append(value)
        measures = measured(weights if finite else begun, begun, float(left[until]))
        found.append(measures if finite else {name: np.full_like(each, np.nan) for name, each in measures.items()})
        if report is not None:
            report((until - done) * training.batch_size)
    return Path(
        steps=np.array(steps),
        history={name: np.array(values) for name, values in history.items()},
        kept=left[steps],
        **{name: np.stack([each[name] for each in found]) for name in found[0]},
    )


def looks(total: int, count: int = LOOKS) -> list[int]:
    """Numbers of steps after which a training of `total` is looked at, equally spaced in the logarithm, the last all.

    >>> looks(100, 5)
    [1, 3, 10, 32, 100]
    """
    return sorted({round(float(step)) for step in np.geomspace(1, total, count)})


def measured(weights: Sequence[np.ndarray], begun: Sequence[np.ndarray], left: float) -> dict[str, np.ndarray]:
    """(layers,) each of `Path`'s measures, of weights W against W₀ of which `left` would remain."""
    learned = [Spectrum.of(w - left * w0) for w, w0 in zip(weights, begun, strict=True)]
    updates = learned if left == 1 else [Spectrum.of(w - w0) for w, w0 in zip(weights, begun, strict=True)]
    sizes = [np.linalg.norm(w0) for w0 in begun]
    return {
        "distance": np.array([np.linalg.norm(s.values) / size for s, size in zip(learned, sizes, strict=True)]),
        "entropy_rank": np.array([float(effective_rank(spectrum)) for spectrum in learned]),
        "stable_rank": np.array([float(stable_rank(spectrum)) for spectrum in learned]),
        "weights_entropy_rank": np.array([float(effective_rank(weight)) for weight in weights]),
        "update_entropy_rank": np.array([float(effective_rank(spectrum)) for spectrum in updates]),
    }


def kept(training: config.Training, total: int) -> np.ndarray:
    """(total + 1,) what decoupled weight decay leaves of the start after so many of `total` steps.

    Raises:
        ValueError: the optimiser's decay goes through its gradients, so that no factor can be named.
    """
    from rankstudy.training import share_of_peak

    if training.weight_decay and training.optimizer != "adamw":
        raise ValueError(f"optimizer must be adamw where there is weight decay, got {training.optimizer!r}")
    share, forgotten = share_of_peak(training, total), training.learning_rate * training.weight_decay
    return np.cumprod([1.0, *(1 - forgotten * share(step) for step in range(total))])


def _batches(walk: Walk, dataset: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    """All batches of the training, epoch after epoch in the order of the seed; labels permuted first where they are to
    be drawn anew."""
    import torch

    from rankstudy.data import loader

    labels = dataset.train.labels
    generator = torch.Generator().manual_seed(LABEL_SEED + walk.seed)
    batches = loader(dataset.train, walk.training.batch_size, walk.seed)
    for _ in range(walk.training.epochs):
        if walk.anew:
            labels.copy_(labels[torch.randperm(len(labels), generator=generator).to(labels.device)])
        yield from batches


def _weights(model: nn.Module) -> list[np.ndarray]:
    from rankstudy import layers

    return [weight.detach().double().cpu().numpy().copy() for weight in layers.weights(model)]
