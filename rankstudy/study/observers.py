"""What may be written down of a network after each epoch of its training: spectra, ranks, the accuracy on each digit.

What a stored run was observed by is part of its question, so that a change here needs another name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from rankstudy.spectrum import Spectrum, effective_rank, energy_rank, stable_rank

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rankstudy.data import Dataset

Observed = dict[str, "np.ndarray | Tensor | float"]
Observer = Callable[["nn.Module", int], Observed]  # network, epoch -> what is kept

DEFINITIONS: dict[str, Callable[[Spectrum], np.ndarray]] = {
    "effective_rank": effective_rank,
    "stable_rank": stable_rank,
    "energy_rank_90": lambda spectrum: energy_rank(spectrum, 0.9),
}


def spectra(dataset: Dataset) -> Observer:
    """`spectrum_<layer>`: the singular values of every layer, (min(out, in),) float32."""
    from rankstudy import layers

    def observe(model: nn.Module, epoch: int) -> Observed:
        return {
            f"spectrum_{index}": np.linalg.svd(weight.double().cpu().numpy(), compute_uv=False).astype(np.float32)
            for index, weight in enumerate(layers.weights(model))
        }

    return observe


def ranks(dataset: Dataset) -> Observer:
    """`weights.<definition>` and `update.<definition>`, (layers,) float64; the update of epoch 0 has rank 0."""
    from rankstudy import layers

    begun: dict[int, list[np.ndarray]] = {}  # id of a network -> its weights before training

    def observe(model: nn.Module, epoch: int) -> Observed:
        weights = [weight.double().cpu().numpy().copy() for weight in layers.weights(model)]
        if epoch == 0:
            begun[id(model)] = weights
        updates = [w - w0 for w, w0 in zip(weights, begun[id(model)], strict=True)]
        found: Observed = {}
        for name, matrices in (("weights", weights), ("update", updates)):
            measured = [Spectrum.of(matrix) for matrix in matrices]
            for definition, measure in DEFINITIONS.items():
                found[f"{name}.{definition}"] = np.array([float(measure(spectrum)) for spectrum in measured])
        return found

    return observe


def digits(dataset: Dataset) -> Observer:
    """`<split>_digits`: the accuracy on each of the ten digits, (10,); NaN where a split has none of a digit."""
    import torch

    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    totals = {name: torch.bincount(split.labels, minlength=10) for name, split in splits.items()}

    def observe(model: nn.Module, epoch: int) -> Observed:
        found: Observed = {}
        with torch.no_grad():
            for name, split in splits.items():
                right = torch.cat([model(x).argmax(1) for x in split.images.split(8192)]) == split.labels
                hits = torch.bincount(split.labels[right], minlength=10)
                found[f"{name}_digits"] = (hits / totals[name]).cpu().numpy()
        return found

    return observe


OBSERVERS: dict[str, Callable[[Dataset], Observer]] = {"spectra": spectra, "ranks": ranks, "digits": digits}
