"""Trained networks from the store: one record per network, so a study resumes where it stopped and seeds add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from rankstudy import config, data
from rankstudy.study import provenance, questions
from rankstudy.study.store import Question, Record

TUNING_SEED = 9000  # learning rates are chosen on seeds of their own
FILLED = 0.7  # of a GPU's free memory that side by side trainings may take; kernels want some of the rest
METRICS = tuple(f"{split}_{what}" for split in ("train", "validation", "test") for what in ("loss", "accuracy"))


@dataclass(frozen=True)
class Run:
    """One training of one network."""

    network: config.Network
    training: config.Training
    data: config.Data
    seed: int  # of the initialisation and of the order of the pictures
    start: Run | None = None  # begin at this run's final weights (truncated to `network.rank` where that is set)
    observe: str = ""  # "spectra": singular values of every layer after each epoch

    def question(self) -> Question:
        return Question("trained", "network", self, data.CHECKSUMS[self.data.name])


@dataclass(frozen=True)
class Trained:
    """A trained network: its run, its state and its history."""

    run: Run
    record: Record

    @property
    def history(self) -> Mapping[str, np.ndarray]:
        """METRICS, `seconds` (epochs + 1,), `observed/…`, and `diverged`, `epochs_run`."""
        return self.record.value["history"]

    @cached_property
    def weights(self) -> list[np.ndarray]:
        """(out, in) float32 per layer, input side first; B·C where the layer is factorised."""
        return _weights(self.record.value["state"], len(self.run.network.shapes()))

    @cached_property
    def initial(self) -> list[np.ndarray]:
        """The same at initialisation, made again from the seed."""
        if self.run.start is not None:
            return trained([self.run.start])[0].weights
        from rankstudy import layers

        return [weight.numpy() for weight in layers.weights(layers.build(self.run.network, self.run.seed))]

    def model(self) -> Any:
        """The network as a `torch.nn.Module` on the CPU."""
        import torch

        from rankstudy import layers

        model = layers.build(self.run.network, self.run.seed)
        state = self.record.value["state"]
        model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
        return model


def trained(runs: Sequence[Run]) -> list[Trained]:
    """The networks of the runs, in their order; those that the store does not have are trained and stored.

    On a GPU, runs that differ in seed, learning rate and weight decay alone are trained at once.
    """
    digest = provenance.digest(*provenance.TRAINED)
    memory = questions.store()
    records: dict[Run, Record] = {}
    for run in runs:
        if (record := memory.find(run.question(), digest)) is not None:
            records[run] = record
    missing = [run for run in dict.fromkeys(runs) if run not in records]
    if starts := list(dict.fromkeys(run.start for run in missing if run.start is not None)):
        trained(starts)
    if missing:
        questions.spread(trained, [([run],) for run in missing])
    for batch in _batches(missing):
        with ExitStack() as locks:
            for run in sorted(batch, key=lambda run: run.question().key):  # one order for all: no deadlock
                locks.enter_context(memory.lock(run.question()))
            for run in batch:
                if (record := memory.find(run.question(), digest)) is not None:
                    records[run] = record
            waiting = [run for run in batch if run not in records]
            if waiting:
                records.update(zip(waiting, _train(waiting, digest), strict=True))
    return [Trained(run, records[run]) for run in runs]


def tune(run: Run, learning_rates: Sequence[float], seeds: int = 1) -> tuple[float, dict[str, np.ndarray]]:
    """The learning rate with the best final validation accuracy, on `seeds` seeds that no result uses.

    Returns:
        the rate, and the evidence: `learning_rate` (L,), `validation_accuracy` and `validation_loss` (L, seeds).
    """
    found = trained(grid(run, learning_rates, seeds))
    shape = (len(learning_rates), seeds)
    accuracy = np.array([each.history["validation_accuracy"][-1] for each in found]).reshape(shape)
    loss = np.array([each.history["validation_loss"][-1] for each in found]).reshape(shape)
    score = np.nan_to_num(accuracy.mean(axis=1), nan=-1.0)  # a rate that diverged is never chosen
    # among equals the lower loss
    best = min(
        range(len(learning_rates)),
        key=lambda index: (-score[index], np.nan_to_num(loss.mean(axis=1), nan=np.inf)[index]),
    )
    evidence = {"learning_rate": np.array(learning_rates), "validation_accuracy": accuracy, "validation_loss": loss}
    return float(learning_rates[best]), evidence


def grid(run: Run, learning_rates: Sequence[float], seeds: int = 1) -> list[Run]:
    """What `tune` trains, the seeds of the first rate first."""
    return [
        replace(run, training=replace(run.training, learning_rate=rate), seed=TUNING_SEED + seed)
        for rate in learning_rates
        for seed in range(seeds)
    ]


def histories(found: Sequence[Trained]) -> dict[str, np.ndarray]:
    """The histories of equal trainings, stacked: METRICS and `seconds` as (seeds, epochs + 1), `seeds` (seeds,)."""
    stacked = {name: np.stack([each.history[name] for each in found]) for name in (*METRICS, "seconds")}
    return {**stacked, "seeds": np.array([each.run.seed for each in found])}


def _batches(runs: Sequence[Run]) -> list[list[Run]]:
    if not runs:
        return []
    from rankstudy import device

    if device.choose().type != "cuda":
        return [[run] for run in runs]
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        alike = replace(run.training, learning_rate=0.0, weight_decay=0.0)
        groups.setdefault((replace(run.network, gain=1.0), alike, run.data, run.observe), []).append(run)
    return [part for group in groups.values() for part in fitting(group, memory(group[0]))]


def fitting(group: list[Any], each: int) -> list[list[Any]]:
    """The group in as few parts as fit the GPU's free memory, trained side by side at so many bytes each."""
    from rankstudy import device

    size = max(1, int(FILLED * device.free_memory(device.choose()) / each))
    return [group[i : i + size] for i in range(0, len(group), size)]


def memory(run: Run) -> int:
    """Bytes that training takes beside the data: the most of a step, and of an evaluation with the weights and the
    optimiser's state; counted on the "meta" device."""
    import torch

    from rankstudy import measure, training
    from rankstudy.layers import MLP

    with torch.device("meta"):
        model = MLP(run.network.widths, run.network.activation, rank=run.network.rank)
        images = torch.empty(run.training.batch_size, run.network.widths[0])
    step = measure.training_memory(model, run.training, images)
    evaluation = step.weights + step.gradients + step.optimizer
    evaluation += 4 * training.EVALUATION_BATCH * sum(run.network.widths[1:])
    return max(step.peak, evaluation)


def _train(runs: Sequence[Run], digest: str) -> list[Record]:
    """Train runs that differ in seed, initial weights, learning rate and decay alone, and store each."""
    import torch

    from rankstudy import device, training

    where = device.choose()
    unfinished = [questions.Unfinished(run.question(), digest) for run in runs]
    models = [_start(run).to(where) for run in runs]
    dataset = dataset_on_device(runs[0].data)
    history = training.train(
        [run.training for run in runs],
        models,
        dataset,
        [run.seed for run in runs],
        observe=OBSERVERS[runs[0].observe] if runs[0].observe else None,
        progress=questions.progress(runs),
        snapshots=unfinished[0] if len(runs) == 1 else None,  # side by side, on a GPU, trainings are short
    )
    seconds = unfinished[0].seconds / len(runs)
    arrays = history.arrays()
    records = []
    for index, (run, model) in enumerate(zip(runs, models, strict=True)):
        state = {name: tensor.detach().to("cpu", torch.float32).numpy() for name, tensor in model.state_dict().items()}
        value = {"state": state, "history": {name: array[index] for name, array in arrays.items()}}
        origin = provenance.describe(device.describe(where), seconds)
        records.append(questions.store().put(run.question(), digest, origin, value))
        unfinished[index].forget()
    return records


def operations(run: Run) -> float:
    """Floating-point operations of a run, to compare runs with each other: three products per weight and image in
    training, one in each epoch's evaluation."""
    network, images = run.network, run.data.train_size or 60_000
    rank = network.rank
    weights = sum(out * inp if rank is None else rank * (out + inp) for out, inp in network.shapes())
    overhead = 1e5  # operations' worth of an image's share of a step that no product does; measured on two cores
    return run.training.epochs * (2 * weights + overhead) * (3 * images + images + 15_000)


def training_images(run: Run) -> int:
    """Pictures in the training split of the run."""
    return len(dataset_on_device(run.data).train)


_DATASETS: dict[Any, Any] = {}


def dataset_on_device(selection: config.Data) -> Any:
    """`data.load` on the device, remembered for the last selection asked for."""
    from rankstudy import device

    key = (selection, device.choose())
    if key not in _DATASETS:
        _DATASETS.clear()  # one data set at a time: memory stays bounded
        _DATASETS[key] = data.load(selection, device.choose())
    return _DATASETS[key]


def _start(run: Run) -> Any:
    """The network before training."""
    import torch

    from rankstudy import layers

    model = layers.build(run.network, run.seed)
    if run.start is None:
        return model
    source = trained([run.start])[0]
    if run.network.rank is None or run.start.network.rank is not None:
        model.load_state_dict(source.model().state_dict())
    else:
        with torch.no_grad():
            for weight, layer in zip(layers.weights(source.model()), model.layers, strict=True):
                b, c = layers.spectral_factors(weight, layer.rank)
                layer.b.copy_(b)
                layer.c.copy_(c)
    return model


def _weights(state: Mapping[str, np.ndarray], count: int) -> list[np.ndarray]:
    found = []
    for index in range(count):
        dense = state.get(f"layers.{index}.weight")
        factors = (state.get(f"layers.{index}.b"), state.get(f"layers.{index}.c"))
        found.append(np.asarray(dense) if dense is not None else factors[0] @ factors[1])
    return found


def _spectra(model: Any, epoch: int) -> dict[str, np.ndarray]:
    from rankstudy import layers

    return {
        f"spectrum_{index}": np.linalg.svd(weight.double().cpu().numpy(), compute_uv=False).astype(np.float32)
        for index, weight in enumerate(layers.weights(model))
    }


OBSERVERS: dict[str, Callable[[Any, int], dict[str, np.ndarray]]] = {"spectra": _spectra}
