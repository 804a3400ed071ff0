"""Trained networks from the store: one record per network, so a study resumes where it stopped and seeds add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from rankstudy import config, data, device, pictures
from rankstudy.registry import OPTIMIZERS
from rankstudy.study import jobs, observers, provenance, starts, typed
from rankstudy.study.jobs import Job
from rankstudy.study.store import Record

if TYPE_CHECKING:
    from rankstudy.layers import MLP

FIRST_SEED = 100  # of the networks whose results are read
TUNING_SEED, TUNING_SEEDS = 9000, 2  # learning rates are chosen on seeds of their own, so many at each
FILLED = 0.7  # of a GPU's free memory that side by side trainings may take; kernels want some of the rest
METRICS = tuple(f"{split}_{what}" for split in ("train", "validation", "test") for what in ("loss", "accuracy"))

Piece = TypeVar("Piece")


@dataclass(frozen=True)
class Outcome:
    """What is kept of one training."""

    state: dict[str, typed.Floats]  # the network's parameters by name; empty where it was trained in a subspace
    history: dict[str, np.ndarray]  # METRICS and "seconds" (epochs + 1,), "observed.…", "diverged", "epochs_run"


@dataclass(frozen=True)
class Run(Job[Outcome]):
    """One training of one network."""

    NAME = "network"
    KIND = "trained"
    ANSWER = Outcome
    SENT = True

    network: config.Network
    training: config.Training
    data: config.Data
    seed: int  # of the initialisation, of the order of the pictures, and of a subspace
    start: Run | None = None  # begin at this run's final weights (truncated to `network.rank` where that is set)
    only_norm: bool = False  # … or rather at random weights, each layer with the norm of those
    observe: str = ""  # a name of `observers.OBSERVERS`: what is written down after each epoch
    subspace: config.Subspace | None = None  # None: all parameters are trained
    bias: bool = False  # biases in every layer, 0 at the start

    @classmethod
    def modules(cls) -> tuple[str, ...]:
        return provenance.TRAINED

    def selection(self) -> str:
        return self.data.name

    def needs(self) -> list[Job]:
        return [] if self.start is None else [self.start]

    def training_images(self) -> int:
        digits = len(set(self.data.only or range(10)) - set(self.data.without))
        given = pictures.official(self.data.name) - self.data.validation_size
        return self.training.epochs * (self.data.train_size or given * digits // 10)

    def ensure(self) -> None:
        trained([self])

    def operations(self) -> float:
        """Floating-point operations, to compare runs with each other: three products per weight and image in training,
        one in each epoch's evaluation."""
        network, images = self.network, self.data.train_size or 60_000
        rank = network.rank
        weights = sum(out * inp if rank is None else rank * (out + inp) for out, inp in network.shapes())
        overhead = 1e5  # operations' worth of an image's share of a step that no product does; measured on two cores
        return self.training.epochs * (2 * weights + overhead) * (3 * images + images + 15_000)

    def alike(self) -> Run:
        """The same for all runs that a GPU can train side by side: they differ in seed, initial weights, learning rate
        and weight decay alone."""
        training = replace(self.training, learning_rate=0.0, weight_decay=0.0)
        network = replace(self.network, gain=1.0)
        return replace(self, network=network, training=training, seed=0, start=None, only_norm=False)

    def at(self, learning_rate: float) -> Run:
        """The same at another learning rate."""
        return replace(self, training=replace(self.training, learning_rate=learning_rate))

    def seeded(self, seed: int) -> Run:
        """The same from another seed, and what it starts from too."""
        return replace(self, seed=seed, start=None if self.start is None else self.start.seeded(seed))


@dataclass(frozen=True)
class Trained:
    """A trained network: its run, its state and its history."""

    run: Run
    record: Record

    @property
    def history(self) -> Mapping[str, np.ndarray]:
        """`Outcome.history`."""
        return self.record.value["history"]

    @cached_property
    def weights(self) -> list[np.ndarray]:
        """(out, in) float32 per layer, input side first; B·C where the layer is factorised."""
        return starts.weights(self.record.value["state"], len(self.run.network.shapes()))

    @cached_property
    def initial(self) -> list[np.ndarray]:
        """The same at initialisation, made again from the seed."""
        if self.run.start is not None:
            return trained([self.run.start])[0].weights
        from rankstudy import layers

        return [weight.numpy() for weight in layers.weights(layers.build(self.run.network, self.run.seed))]

    def model(self) -> MLP:
        """The network as a `torch.nn.Module` on the CPU."""
        return starts.loaded(self.run.network, self.run.seed, self.record.value["state"])


@dataclass(frozen=True)
class Histories:
    """Loss and accuracy of equal trainings, after each epoch; epoch 0 is before training. NaN once diverged."""

    train_loss: typed.Floats  # (…, networks, epochs + 1) nats
    train_accuracy: typed.Floats  # (…, networks, epochs + 1) fraction
    validation_loss: typed.Floats
    validation_accuracy: typed.Floats
    test_loss: typed.Floats
    test_accuracy: typed.Floats
    seconds: typed.Floats | None = None  # (networks, epochs + 1) spent training so far
    seeds: typed.Integers | None = None  # (networks,)


@dataclass(frozen=True)
class Tuning:
    """The evidence for a learning rate; empty where one alone was tried."""

    learning_rate: typed.Floats | None = None  # (rates,)
    validation_accuracy: typed.Floats | None = None  # (rates, tuning seeds) at the end
    validation_loss: typed.Floats | None = None  # (rates, tuning seeds)
    dimension: typed.Integers | None = None  # (dimensions,), where each has a rate of its own: then (dimensions, rates)
    at_boundary: bool = False  # whether the best rate is the lowest or highest that was tried


def trained(runs: Sequence[Run]) -> list[Trained]:
    """The networks of the runs, in their order; those that the store does not have are trained and stored.

    On a GPU, runs that differ in seed, initial weights, learning rate and weight decay alone are trained at once.
    """
    records: dict[Run, Record] = {}

    def look(wanted: Sequence[Run]) -> list[Run]:
        for run in wanted:
            if run not in records and (record := jobs.record(run)) is not None:
                records[run] = record
        return [run for run in wanted if run not in records]

    missing = look(list(dict.fromkeys(runs)))
    if begun := list(dict.fromkeys(run.start for run in missing if run.start is not None)):
        trained(begun)
    if missing:
        jobs.spread(missing)
    for batch in _batches(look(missing)):
        with jobs.locked(batch):
            if waiting := look(batch):
                records.update(zip(waiting, _train(waiting), strict=True))
    return [Trained(run, records[run]) for run in runs]


def seeds(count: int) -> range:
    """The seeds of networks whose results are read. Those below were looked at while the study was designed."""
    return range(FIRST_SEED, FIRST_SEED + count)


def factor2(lowest: float, highest: float) -> tuple[float, ...]:
    """Learning rates to try, each twice the one before it.

    >>> factor2(1e-3, 8e-3)
    (0.001, 0.002, 0.004, 0.008)
    """
    return tuple(lowest * 2**step for step in range(round(np.log2(highest / lowest)) + 1))


def tune(
    run: Run, learning_rates: Sequence[float], seeds: int = TUNING_SEEDS, metric: str = "accuracy"
) -> tuple[float, Tuning]:
    """The learning rate that is best for the final validation `metric` ("accuracy" or "loss"), on seeds of its own.

    One seed on a fine grid would choose noise: the mean of a few on a coarse one is joined by a parabola. See `peak`.
    """
    found = trained(grid(run, learning_rates, seeds))
    shape = (len(learning_rates), seeds)
    accuracy = np.array([each.history["validation_accuracy"][-1] for each in found]).reshape(shape)
    loss = np.array([each.history["validation_loss"][-1] for each in found]).reshape(shape)
    score = accuracy.mean(axis=1) if metric == "accuracy" else -loss.mean(axis=1)
    rate, at_boundary = peak(learning_rates, score)
    return rate, Tuning(np.array(learning_rates), accuracy, loss, at_boundary=at_boundary)


def peak(learning_rates: Sequence[float], score: Sequence[float] | np.ndarray) -> tuple[float, bool]:
    """Where the score is highest: the vertex of a parabola in log rate through the best rate and its two neighbours, to
    two digits; and whether that is the boundary of what was tried.

    At the boundary, and beside a training that diverged (NaN), it is the best rate tried. One rate alone is no
    boundary: nothing was searched.

    >>> peak((1e-3, 2e-3, 4e-3), (0.97, 0.98, 0.97))
    (0.002, False)
    """
    rates, values = np.asarray(learning_rates, dtype=float), np.asarray(score, dtype=float)
    order = np.argsort(rates)
    rates, values = rates[order], values[order]
    if np.isnan(values).all():
        return float(rates[0]), len(rates) > 1
    best = int(np.nanargmax(values))
    around = values[best - 1 : best + 2] if best else values[:0]
    if len(around) < 3 or np.isnan(around).any():
        return float(rates[best]), len(rates) > 1 and best in (0, len(rates) - 1)
    # three equal scores have no vertex: the middle one
    curvature, slope, _ = np.polyfit(np.log(rates[best - 1 : best + 2] / rates[best]), around - around[1], 2)
    vertex = 0.0 if curvature >= 0 else -slope / (2 * curvature)
    return float(f"{rates[best] * np.exp(vertex):.2g}"), False


def grid(run: Run, learning_rates: Sequence[float], seeds: int = TUNING_SEEDS) -> list[Run]:
    """What `tune` trains, the seeds of the first rate first."""
    return [
        replace(run, training=replace(run.training, learning_rate=rate), seed=TUNING_SEED + seed)
        for rate in learning_rates
        for seed in range(seeds)
    ]


def histories(found: Sequence[Trained]) -> Histories:
    """The histories of equal trainings, stacked."""
    stacked = {name: np.stack([each.history[name] for each in found]) for name in (*METRICS, "seconds")}
    return Histories(**stacked, seeds=np.array([each.run.seed for each in found]))


def training_images(run: Run) -> int:
    """Pictures in the training split of the run."""
    return len(dataset_on_device(run.data).train)


def fitting(group: list[Piece], each: int) -> list[list[Piece]]:
    """The group in as few parts as fit the GPU's free memory, trained side by side at so many bytes each."""
    size = max(1, int(FILLED * device.free_memory(device.choose()) / each))
    return [group[i : i + size] for i in range(0, len(group), size)]


def memory(run: Run) -> int:
    """Bytes that training takes beside the data: the most of a step, and of an evaluation with the weights and the
    optimiser's state; counted on the "meta" device. In a subspace also what leads from its numbers to the weights."""
    import torch

    from rankstudy import measure, training
    from rankstudy.layers import MLP

    with torch.device("meta"):
        model = MLP(run.network.widths, run.network.activation, rank=run.network.rank)
        images = torch.empty(run.training.batch_size, run.network.widths[0])
    step = measure.training_memory(model, run.training, images)
    evaluation = step.weights + step.gradients + step.optimizer
    evaluation += 4 * training.EVALUATION_BATCH * sum(run.network.widths[1:])
    parameters = sum(out * inp for out, inp in run.network.shapes())
    projection = 0
    if run.subspace is not None:
        projection = 4 * parameters * (run.subspace.dimension if run.subspace.projection == "dense" else 8)
    return max(step.peak, evaluation) + projection


def _batches(runs: Sequence[Run]) -> list[list[Run]]:
    if not runs or device.choose().type != "cuda":
        return [[run] for run in runs]
    groups: dict[Run, list[Run]] = {}
    alone = [run for run in runs if not OPTIMIZERS[run.training.optimizer].elementwise]
    for run in (run for run in runs if run not in alone):
        groups.setdefault(run.alike(), []).append(run)
    stacks = [part for group in groups.values() for part in fitting(group, memory(group[0]))]
    return stacks + [[run] for run in alone]


def _train(runs: Sequence[Run]) -> list[Record]:
    """Train runs of one batch, and store each."""
    import torch

    from rankstudy import training

    where = device.choose()
    unfinished = [jobs.Unfinished(run) for run in runs]
    models: list[torch.nn.Module] = []
    for run in runs:
        begun = None if run.start is None else trained([run.start])[0]
        source = None if begun is None else begun.model()
        model = starts.model(run.network, run.seed, source, only_norm=run.only_norm, bias=run.bias)
        models.append(starts.inside(model, run.subspace, run.seed).to(where))
    dataset = dataset_on_device(runs[0].data)
    observe = observers.OBSERVERS[runs[0].observe] if runs[0].observe else None
    history = training.train(
        [run.training for run in runs],
        models,
        dataset,
        [run.seed for run in runs],
        observe=observe(dataset) if observe else None,
        engine=None if OPTIMIZERS[runs[0].training.optimizer].elementwise else "loop",
        progress=jobs.progress(runs),
        snapshots=unfinished[0] if len(runs) == 1 else None,  # side by side, on a GPU, trainings are short
    )
    seconds = unfinished[0].seconds / len(runs)
    arrays = history.arrays()
    records = []
    for index, (run, ended) in enumerate(zip(runs, models, strict=True)):
        kept = {} if run.subspace else ended.state_dict()
        state = {name: tensor.detach().to("cpu", torch.float32).numpy() for name, tensor in kept.items()}
        outcome = Outcome(state, {name: array[index] for name, array in arrays.items()})
        records.append(jobs.put(run, typed.values(outcome), seconds))
        unfinished[index].forget()
    return records


_DATASETS: dict[object, data.Dataset] = {}


def dataset_on_device(selection: config.Data) -> data.Dataset:
    """`data.load` on the device, remembered for the last selection asked for."""
    key = (selection, device.choose())
    if key not in _DATASETS:
        _DATASETS.clear()  # one data set at a time: memory stays bounded
        _DATASETS[key] = data.load(selection, device.choose())
    return _DATASETS[key]
