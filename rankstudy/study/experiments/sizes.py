"""Chapter 9: everything that is called the size or the rank of one network, each a single number per seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstudy.data import Dataset
from rankstudy.factorization import Factors, truncated_svd
from rankstudy.spectrum import Spectrum, effective_rank, energy_rank, numerical_rank, stable_rank
from rankstudy.study import engine
from rankstudy.study.experiments import truncation
from rankstudy.study.experiments.approximation import enough
from rankstudy.study.typed import Floats, Integers

TOLERANCE = 0.005  # of validation accuracy that a cut network may lose, as in chapter 5
EPS = float(np.finfo(np.float32).eps)  # of the stored weights


@dataclass(frozen=True)
class Sizes:
    """(networks,) each: sums over the layers of one network, in numbers that are stored or directions that count."""

    rank: Integers  # the smallest that is enough for every layer, not a size
    parameters: Integers
    low_rank: Integers  # parameters at that rank
    lora: Integers  # parameters at rank 1
    numerical: Integers
    energy_99: Integers
    entropy: Floats
    entropy_update: Floats
    stable: Floats
    stable_update: Floats


def effective_sizes(runs: Sequence[engine.Run]) -> Sizes:
    """Of each of the networks."""
    found: dict[str, list[float]] = {}
    for each in engine.trained(runs):
        for name, value in _sizes(each).items():
            found.setdefault(name, []).append(value)
    return Sizes(**{name: np.array(values) for name, values in found.items()})


def _sizes(each: engine.Trained) -> dict[str, float]:
    shapes = each.run.network.shapes()
    spectra = [Spectrum.of(weight.astype(float)) for weight in each.weights]
    updates = [Spectrum.of((w - w0).astype(float)) for w, w0 in zip(each.weights, each.initial, strict=True)]
    rank = _enough(each)
    return {
        "rank": rank,
        "parameters": sum(out * inp for out, inp in shapes),
        "low_rank": sum(min(rank * (out + inp), out * inp) for out, inp in shapes),
        "lora": sum(out + inp for out, inp in shapes),
        "numerical": sum(int(numerical_rank(s, EPS)) for s in spectra),
        "energy_99": sum(int(energy_rank(s, 0.99)) for s in spectra),
        "entropy": sum(float(effective_rank(s)) for s in spectra),
        "entropy_update": sum(float(effective_rank(s)) for s in updates),
        "stable": sum(float(stable_rank(s)) for s in spectra),
        "stable_update": sum(float(stable_rank(s)) for s in updates),
    }


def _enough(each: engine.Trained) -> int:
    """The smallest rank from which on the network cut to it keeps its validation accuracy."""
    dataset = engine.dataset_on_device(each.run.data)
    largest = max(min(shape) for shape in each.run.network.shapes())
    ranks = sorted({*range(1, min(33, largest)), *range(40, largest, 20), largest})
    factors = [truncated_svd(weight, min(weight.shape)) for weight in each.weights]
    accuracy = [_validation(each, truncation.cut(factors, rank), dataset) for rank in ranks]
    return int(enough(ranks, accuracy[-1] - np.array([accuracy]), TOLERANCE)[0])


def _validation(each: engine.Trained, layers: Sequence[Factors], dataset: Dataset) -> float:
    from rankstudy.training import evaluate

    model = truncation.assembled(each.run.network, layers).to(dataset.validation.images.device)
    return evaluate(model, dataset.validation)[1]
