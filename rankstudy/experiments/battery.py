"""Every definition of rank, of every layer of trained networks, beside the two things a rank must be compared with.

For each layer there are three matrices: `weights` W, `initial` W₀ (the null: random entries, full rank) and `update`
W − W₀ (what training did, where a low rank is looked for).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rankstudy.config import Network
from rankstudy.experiments.networks import Trained
from rankstudy.rank import matrix_rank
from rankstudy.spectrum import Spectrum, battery, marchenko_pastur_edge

MATRICES = ("weights", "initial", "update")


def measure(found: Sequence[Trained]) -> dict[str, Any]:
    """The battery of equal networks that differ in their seed.

    Returns:
        for each of MATRICES: {definition: (seeds, layers) float64}, where a definition is a name of `spectrum.battery`
        or `elimination_float32`, `elimination_float64`; `norm` is ‖·‖_F. `edges` (layers,): Marchenko and Pastur's
        edge of the initialisation. `spectra`: {matrix: {layer: (k,) float32}} of the first network.
    """
    network = found[0].run.network
    deviations = initial_std(network)
    shapes = network.shapes()
    edges = np.array([marchenko_pastur_edge(shape, std) for shape, std in zip(shapes, deviations, strict=True)])
    layers: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in MATRICES}
    spectra: dict[str, dict[str, np.ndarray]] = {name: {} for name in MATRICES}
    for layer, edge in enumerate(edges):
        initial = np.stack([each.initial[layer] for each in found])  # (seeds, out, in) float32
        weights = np.stack([each.weights[layer] for each in found])
        for name, matrices in zip(MATRICES, (weights, initial, weights - initial), strict=True):
            spectrum = Spectrum.of(matrices)
            layers[name].append(_ranks(matrices, spectrum, edge))
            spectra[name][str(layer)] = spectrum.values[0].astype(np.float32)
    ranks = {
        name: {rank: np.stack([each[rank] for each in found], axis=1) for rank in found[0]}
        for name, found in layers.items()
    }
    return {**ranks, "edges": edges, "spectra": spectra, "limits": np.array([min(shape) for shape in shapes])}


def initial_std(network: Network) -> list[float]:
    """Standard deviation of the initial entries of each layer: U(±1/√in), times the gain."""
    return [network.gain / np.sqrt(3 * inp) for _, inp in network.shapes()]


def _ranks(matrices: np.ndarray, spectrum: Spectrum, edge: float) -> dict[str, np.ndarray]:
    """Every definition, of (seeds, out, in) float32 matrices; (seeds,) float64 each.

    The tolerance follows the dtype: as float32 the matrix is known to float32's eps, as float64 it is taken as exact.
    """
    found = battery(spectrum, edges={"initialisation": edge})
    found["elimination_float32"] = matrix_rank(matrices)
    found["elimination_float64"] = matrix_rank(matrices.astype(np.float64))
    found["norm"] = np.sqrt((spectrum.values**2).sum(-1))
    return {name: np.asarray(value, dtype=np.float64) for name, value in found.items()}
