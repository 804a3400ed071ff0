"""The rank of what the layers say, rather than of what they are: features on training and on test images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rankstudy._linalg.gram import singular_values
from rankstudy.spectrum import Spectrum, effective_rank, numerical_rank, stable_rank
from rankstudy.study.engine import Trained, dataset_on_device

FLOAT32_EPS = float(np.finfo(np.float32).eps)  # features are computed in float32
DEFINITIONS = ("numerical_rank_float32", "stable_rank", "effective_rank")


def measure(found: Sequence[Trained], images: int) -> dict[str, Any]:
    """{split: {"raw" | "centred": {definition: (seeds, layers)}}} of the first `images` images of train and test.

    A layer's features are the (images, width) values after its activation; the last layer's are the logits. Centred:
    less their mean over the images. The input itself is the first entry, so there is one more column than layers.
    """
    import torch

    dataset = dataset_on_device(found[0].run.data)
    count = min(images, len(dataset.train), len(dataset.test))
    result: dict[str, Any] = {}
    for split, part in (("train", dataset.train), ("test", dataset.test)):
        result[split] = {kind: {name: [] for name in DEFINITIONS} for kind in ("raw", "centred")}
        pictures = part.images[:count].cpu()
        inputs = {kind: _ranks(pictures, kind) for kind in ("raw", "centred")}  # the same for every network
        for each in found:
            with torch.no_grad():
                layers = each.model().features(pictures)
            for kind in ("raw", "centred"):
                ranks = [inputs[kind], *(_ranks(layer, kind) for layer in layers)]
                for name in DEFINITIONS:
                    result[split][kind][name].append([float(rank[name]) for rank in ranks])
        for kind in ("raw", "centred"):
            for name in DEFINITIONS:
                result[split][kind][name] = np.array(result[split][kind][name])  # (seeds, layers + 1)
    return {**result, "images": count}


def _ranks(features: Any, kind: str) -> dict[str, Any]:
    """Of an (images, width) tensor, known to float32's precision: a Gram matrix tells as much of it, and sooner."""
    values = features.numpy().astype(np.float64)
    if kind == "centred":
        values -= values.mean(axis=0)
    spectrum = Spectrum(singular_values(values), values.shape)
    return {
        "numerical_rank_float32": numerical_rank(spectrum, FLOAT32_EPS),
        "stable_rank": stable_rank(spectrum),
        "effective_rank": effective_rank(spectrum),
    }
