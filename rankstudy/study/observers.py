"""What may be written down of a network after each epoch of its training: spectra, ranks, the accuracy on each digit.

What a stored run was observed by is part of its question, so that a change here needs another name.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh

from rankstudy._linalg.gram import singular_values
from rankstudy.spectrum import Spectrum, effective_rank, energy_rank, outlier_rank, stable_rank

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


TOP = 10  # leading singular vectors that are followed, as many as there are classes


def motion(dataset: Dataset) -> Observer:
    """How far each layer is from its start, and along which directions.

    `distance` ‖W − W₀‖/‖W₀‖, `entropy_rank`, `stable_rank` and `outliers` of the update W − W₀ (singular values above
    the Marchenko–Pastur edge of entries as large as its own), (layers,) each; `aligned` (layers − 1,), the overlap of
    what a layer writes most strongly with what the next one reads; `right_<layer>` (in, TOP) float32, leading right
    singular vectors of W. Of spans of k orthonormal vectors the overlap is ‖V₁ᵀV₂‖²/k: 1 for the same, k/n at random.
    """
    from rankstudy import layers

    begun: dict[int, list[np.ndarray]] = {}  # id of a network -> its weights before training

    def observe(model: nn.Module, epoch: int) -> Observed:
        weights = [weight.detach().cpu().numpy().copy() for weight in layers.weights(model)]
        if epoch == 0:
            begun[id(model)] = weights
        found: dict[str, list[float]] = {name: [] for name in ("distance", "entropy_rank", "stable_rank", "outliers")}
        for w, w0 in zip(weights, begun[id(model)], strict=True):
            update = w - w0
            spectrum = Spectrum(singular_values(update), update.shape)  # by a Gram matrix, as exact as float32 is
            found["distance"].append(float(np.linalg.norm(update) / np.linalg.norm(w0)))
            found["entropy_rank"].append(float(effective_rank(spectrum)))
            found["stable_rank"].append(float(stable_rank(spectrum)))
            found["outliers"].append(float(outlier_rank(spectrum, "entries")))
        top = [_leading(w) for w in weights]
        aligned = [overlap(written, read) for (written, _), (_, read) in pairwise(top)]
        kept: Observed = {name: np.array(each) for name, each in found.items()}
        kept |= {f"right_{index}": right.astype(np.float32) for index, (_, right) in enumerate(top)}
        return kept | {"aligned": np.array(aligned)}

    return observe


def _leading(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """TOP leading left (out, k) and right (in, k) singular vectors, k at most the number of rows."""
    rows = w.astype(np.float64)
    gram = rows @ rows.T
    count = min(TOP, *rows.shape)
    squares, left = eigh(gram, subset_by_index=(len(gram) - count, len(gram) - 1))
    left, squares = left[:, ::-1], squares[::-1]
    return left, rows.T @ left / np.sqrt(squares)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """‖AᵀB‖²/k of two sets of orthonormal columns, k the smaller number of them.

    >>> overlap(np.eye(4)[:, :2], np.eye(4)[:, 1:3])
    0.5
    """
    cosines = a.astype(np.float64).T @ b.astype(np.float64)
    return float((cosines**2).sum() / min(a.shape[1], b.shape[1]))


OBSERVERS: dict[str, Callable[[Dataset], Observer]] = {
    "spectra": spectra,
    "ranks": ranks,
    "digits": digits,
    "motion": motion,
}
