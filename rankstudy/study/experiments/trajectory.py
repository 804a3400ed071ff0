"""Rank while a network trains: what to write down of its weights and of its update after each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from rankstudy.spectrum import Spectrum, effective_rank, energy_rank, stable_rank
from rankstudy.study import engine

# what a stored run was observed by is part of its question: a change here needs another name
NAME = "ranks"
DEFINITIONS = {
    "effective_rank": effective_rank,
    "stable_rank": stable_rank,
    "energy_rank_90": lambda spectrum: energy_rank(spectrum, 0.9),
}
_starts: WeakKeyDictionary[Any, list[np.ndarray]] = WeakKeyDictionary()  # network -> its weights before training


def observe(model: Any, epoch: int) -> dict[str, np.ndarray]:
    """`weights.<definition>` and `update.<definition>`, (layers,) float64; the update of epoch 0 has rank 0."""
    from rankstudy import layers

    weights = [weight.double().cpu().numpy().copy() for weight in layers.weights(model)]
    if epoch == 0:
        _starts[model] = weights
    found = {}
    updates = [w - w0 for w, w0 in zip(weights, _starts[model], strict=True)]
    for name, matrices in (("weights", weights), ("update", updates)):
        spectra = [Spectrum.of(matrix) for matrix in matrices]
        for definition, measure in DEFINITIONS.items():
            found[f"{name}.{definition}"] = np.array([float(measure(spectrum)) for spectrum in spectra])
    return found


def stacked(found: Sequence[engine.Trained]) -> dict[str, np.ndarray]:
    """(seeds, epochs + 1, layers) of everything observed; empty where nothing was."""
    names = [name for name in found[0].history if name.startswith("observed.")]
    return {name.removeprefix("observed."): np.stack([each.history[name] for each in found]) for name in names}


engine.OBSERVERS[NAME] = observe
