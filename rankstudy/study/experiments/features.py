"""The rank of what the layers say, rather than of what they are: features on training and on test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rankstudy._linalg.gram import singular_values
from rankstudy.spectrum import Spectrum, effective_rank, numerical_rank, stable_rank
from rankstudy.study.engine import Trained, dataset_on_device
from rankstudy.study.typed import Floats

if TYPE_CHECKING:
    import torch

FLOAT32_EPS = float(np.finfo(np.float32).eps)  # features are computed in float32
DEFINITIONS = ("numerical_rank_float32", "stable_rank", "effective_rank")


@dataclass(frozen=True)
class FeatureRanks:
    """(networks, layers + 1) each: the input itself comes first, the last are the logits."""

    numerical_rank_float32: Floats
    stable_rank: Floats
    effective_rank: Floats


@dataclass(frozen=True)
class OfSplit:
    centred: FeatureRanks  # of the (images, width) values after the activation, less their mean over the images


@dataclass(frozen=True)
class Features:
    """Ranks of what the layers hand on."""

    train: OfSplit
    test: OfSplit
    images: int  # so many of each


def measure(found: Sequence[Trained], images: int) -> Features:
    """Of the first `images` images of train and test."""
    import torch

    dataset = dataset_on_device(found[0].run.data)
    count = min(images, len(dataset.train), len(dataset.test))
    result = {}
    for split, part in (("train", dataset.train), ("test", dataset.test)):
        rows: dict[str, list[list[float]]] = {name: [] for name in DEFINITIONS}
        pictures = part.images[:count].cpu()
        inputs = _ranks(pictures)  # the same for every network
        for each in found:
            with torch.no_grad():
                layers = each.model().features(pictures)
            ranks = [inputs, *(_ranks(layer) for layer in layers)]
            for name in DEFINITIONS:
                rows[name].append([float(rank[name]) for rank in ranks])
        result[split] = OfSplit(FeatureRanks(**{name: np.array(values) for name, values in rows.items()}))
    return Features(result["train"], result["test"], count)


def _ranks(features: torch.Tensor) -> dict[str, np.ndarray]:
    """Of an (images, width) tensor, known to float32's precision: a Gram matrix tells as much of it, and sooner."""
    values = features.numpy().astype(np.float64)
    values -= values.mean(axis=0)
    spectrum = Spectrum(singular_values(values), values.shape)
    return {
        "numerical_rank_float32": numerical_rank(spectrum, FLOAT32_EPS),
        "stable_rank": stable_rank(spectrum),
        "effective_rank": effective_rank(spectrum),
    }
