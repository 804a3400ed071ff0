"""Trainings inside random subspaces, from the store: one record per subspace, which holds its history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rankstudy import config, data
from rankstudy.study import engine, provenance, questions
from rankstudy.study.store import Question, Record

PROJECTION_SEED = 40_000  # added to the seed: P is drawn apart from the network's initial weights
COMPUTED_BY = ("subspace", *provenance.TRAINED)  # what a record depends on


@dataclass(frozen=True)
class Run:
    """One training of one network inside one random subspace."""

    network: config.Network
    training: config.Training
    data: config.Data
    dimension: int  # 0: all parameters, no subspace
    seed: int  # of the initial weights, of P and of the order of the images
    projection: str = "partition"
    scales: bool = False  # one trained factor per layer ("SAID"), counted in the dimension
    bias: bool = False  # biases in every layer, 0 at the start
    start: engine.Run | None = None  # θ₀ is where this run ended
    only_norm: bool = False  # … or rather a random θ₀ whose layers have the norms of that
    digits: bool = False  # record the accuracy on each digit after each epoch

    def question(self) -> Question:
        return Question("measured", "intrinsic_dimension-subspace", self, data.CHECKSUMS[self.data.name])


def trained(runs: Sequence[Run]) -> list[dict[str, np.ndarray]]:
    """The histories of the runs, in their order; those that the store does not have are trained and stored.

    A history holds `networks.METRICS` (epochs + 1,), `seconds` and, where asked for, `observed.<split>_digits`
    (epochs + 1, 10): the accuracy on each digit. On a GPU, runs that differ in seed and learning rate alone are
    trained at once.
    """
    digest = provenance.digest(*COMPUTED_BY)
    memory = questions.store()
    records: dict[Run, Record] = {}

    def look(wanted: Sequence[Run]) -> list[Run]:
        for run in wanted:
            if run not in records and (record := memory.find(run.question(), digest)) is not None:
                records[run] = record
        return [run for run in wanted if run not in records]

    missing = look(list(dict.fromkeys(runs)))
    if starts := list(dict.fromkeys(run.start for run in missing if run.start is not None)):
        engine.trained(starts)
    if missing:
        questions.spread(trained, [([run],) for run in missing])
    for batch in _batches(look(missing)):
        with ExitStack() as locks:
            for run in sorted(batch, key=lambda run: run.question().key):  # one order for all: no deadlock
                locks.enter_context(memory.lock(run.question()))
            if waiting := look(batch):
                records.update(zip(waiting, _train(waiting, digest), strict=True))
    return [dict(records[run].value) for run in runs]


def tune(runs: Sequence[Run], learning_rates: Sequence[float]) -> tuple[list[float], dict[str, np.ndarray]]:
    """For each run the rate with the best final validation accuracy, on a seed that no result uses.

    Returns:
        the rates, and the evidence: `learning_rate` (L,), `dimension` (runs,), `validation_accuracy` (runs, L).
    """
    if len(learning_rates) == 1:
        return [learning_rates[0]] * len(runs), {}
    found = iter(trained(_grid(runs, learning_rates)))
    accuracy = np.array([[next(found)["validation_accuracy"][-1] for _ in learning_rates] for _ in runs])
    best = np.nan_to_num(accuracy, nan=-1.0).argmax(axis=1)
    evidence = {"learning_rate": np.array(learning_rates), "dimension": np.array([run.dimension for run in runs])}
    return [learning_rates[i] for i in best], {**evidence, "validation_accuracy": accuracy}


def curve(runs: Sequence[Run], learning_rates: Sequence[float], seeds: int) -> dict[str, Any]:
    """Histories of runs that differ in dimension, each at its own tuned rate and with seeds 0 … seeds − 1.

    Returns:
        `dimension` (R,), `learning_rate` (R,), `tuning`, and `history`: METRICS (R, seeds, epochs + 1), and the
        observed accuracies per digit (R, seeds, epochs + 1, 10).
    """
    rates, evidence = tune(runs, learning_rates)
    found = trained(_tuned(runs, rates, seeds))
    shape = (len(runs), seeds)
    names = [name for name in found[0] if name in engine.METRICS or name.startswith("observed.")]
    history = {name: np.stack([each[name] for each in found]).astype(np.float32) for name in names}
    return {
        "dimension": np.array([run.dimension for run in runs]),
        "learning_rate": np.array(rates),
        "tuning": evidence,
        "history": {name: values.reshape(*shape, *values.shape[1:]) for name, values in history.items()},
    }


def prepare(asked: Sequence[tuple[Sequence[Run], Sequence[float], int]]) -> None:
    """Train what `curve` will ask for, called with each of these; all at once, the longest first, so that no hand waits
    for the end of a curve."""
    searched = [each for runs, rates, _ in asked if len(rates) > 1 for each in _grid(runs, rates)]
    trained(sorted(searched, key=engine.operations, reverse=True))
    chosen = [each for runs, rates, seeds in asked for each in _tuned(runs, tune(runs, rates)[0], seeds)]
    trained(sorted(chosen, key=engine.operations, reverse=True))


def plan(runs: Sequence[Run], learning_rates: Sequence[float], seeds: int) -> list[Run]:
    """What `curve` will train, at the first learning rate where the search has still to find it."""
    search = _grid(runs, learning_rates) if len(learning_rates) > 1 else []
    return search + _tuned(runs, [learning_rates[0]] * len(runs), seeds)


def _grid(runs: Sequence[Run], learning_rates: Sequence[float]) -> list[Run]:
    return [_at(_seeded(run, engine.TUNING_SEED), rate) for run in runs for rate in learning_rates]


def _tuned(runs: Sequence[Run], rates: Sequence[float], seeds: int) -> list[Run]:
    return [_seeded(_at(run, rate), seed) for run, rate in zip(runs, rates, strict=True) for seed in range(seeds)]


def _at(run: Run, rate: float) -> Run:
    return replace(run, training=replace(run.training, learning_rate=rate))


def _seeded(run: Run, seed: int) -> Run:
    return replace(run, seed=seed, start=None if run.start is None else replace(run.start, seed=seed))


def _batches(runs: list[Run]) -> list[list[Run]]:
    from rankstudy import device

    if not runs or device.choose().type != "cuda":
        return [[run] for run in runs]
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault(_seeded(_at(run, 1.0), 0), []).append(run)
    return [part for group in groups.values() for part in engine.fitting(group, memory(group[0]))]


def memory(run: Run) -> int:
    """Bytes that training takes beside the data: the network's, θ and what the projection makes on its way to it, and a
    dense P where there is one."""
    parameters = sum(out * inp for out, inp in run.network.shapes())
    projection = 4 * parameters * (run.dimension if run.projection == "dense" else 8)
    return engine.memory(engine.Run(run.network, run.training, run.data, run.seed)) + projection


def _train(runs: Sequence[Run], digest: str) -> list[Record]:
    """Train runs of one batch, and store each."""
    from rankstudy import device, training

    where = device.choose()
    unfinished = [questions.Unfinished(run.question(), digest) for run in runs]
    models = [_model(run).to(where) for run in runs]
    dataset = engine.dataset_on_device(runs[0].data)
    history = training.train(
        [run.training for run in runs],
        models,
        dataset,
        [run.seed for run in runs],
        observe=_digits(dataset) if runs[0].digits else None,
        progress=questions.progress(runs),
        snapshots=unfinished[0] if len(runs) == 1 else None,
    ).arrays()
    origin = provenance.describe(device.describe(where), unfinished[0].seconds / len(runs))
    records = []
    for i, run in enumerate(runs):
        value = {name: array[i] for name, array in history.items()}
        records.append(questions.store().put(run.question(), digest, origin, value))
        unfinished[i].forget()
    return records


def _model(run: Run) -> Any:
    """The network at θ₀, put into its subspace."""
    import torch

    from rankstudy import layers, subspace

    model = layers.build(run.network, run.seed)
    if run.start is not None:
        source = engine.trained([run.start])[0].model()
        if run.only_norm:
            with torch.no_grad():
                for own, other in zip(model.parameters(), source.parameters(), strict=True):
                    own.mul_(other.norm() / own.norm())
        else:
            model.load_state_dict(source.state_dict())
    if run.bias:
        for layer in model.layers:
            layer.bias = torch.nn.Parameter(torch.zeros(layer.out_features))
    if not run.dimension:
        return model
    seed = PROJECTION_SEED + run.seed
    return subspace.Subspace(model, run.dimension, run.projection, seed=seed, scales=run.scales)


def _digits(dataset: Any) -> Callable[[Any, int], dict[str, np.ndarray]]:
    """Observe the accuracy on each of the ten digits; NaN where a split has none of a digit."""
    import torch

    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    totals = {name: torch.bincount(split.labels, minlength=10) for name, split in splits.items()}

    def observe(model: Any, epoch: int) -> dict[str, np.ndarray]:
        found = {}
        with torch.no_grad():
            for name, split in splits.items():
                right = torch.cat([model(x).argmax(1) for x in split.images.split(8192)]) == split.labels
                hits = torch.bincount(split.labels[right], minlength=10)
                found[f"{name}_digits"] = (hits / totals[name]).cpu().numpy()
        return found

    return observe
