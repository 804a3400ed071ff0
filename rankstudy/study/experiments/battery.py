"""Every definition of rank, of every layer of trained networks, beside the two things a rank must be compared with.

For each layer there are three matrices: `weights` W, `initial` W₀ (the null: random entries, full rank) and `update`
W − W₀ (what training did, where a low rank is looked for).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from rankstudy.config import Network
from rankstudy.rank import matrix_rank
from rankstudy.spectrum import Spectrum, battery, effective_rank, marchenko_pastur_edge, null_quantile, stable_rank
from rankstudy.study.engine import Trained
from rankstudy.study.typed import Floats, Integers

MATRICES = ("weights", "initial", "update")
NULLS: tuple[Literal["signs", "shuffle"], ...] = ("signs", "shuffle")
DRAWS = 19  # random copies per null: the fewest that test at 5 %


@dataclass(frozen=True)
class Definitions:
    """Every definition of rank, (networks, layers) float64 each; see `rankstudy.rank` and `rankstudy.spectrum`."""

    elimination_float32: Floats  # counted as `matrix_rank` does, at the tolerance of float32
    elimination_float64: Floats
    numerical_rank_float32: Floats  # singular values above that tolerance
    numerical_rank_float64: Floats
    energy_rank_90: Floats
    energy_rank_95: Floats
    energy_rank_99: Floats
    effective_rank: Floats  # of the entropy
    participation_ratio: Floats
    stable_rank: Floats
    outliers_initialisation: Floats  # singular values above Marchenko and Pastur's edge of the initial entries
    outliers_bulk: Floats  # … of the edge fitted to the bulk of the spectrum itself
    norm: Floats  # ‖·‖_F


@dataclass(frozen=True)
class Ranks:
    """The ranks of equal networks that differ in their seed."""

    weights: Definitions  # W
    initial: Definitions  # W₀
    update: Definitions  # W − W₀
    edges: Floats  # (layers,) Marchenko and Pastur's edge of the initialisation
    limits: Integers  # (layers,) min(out, in)
    spectra: dict[str, dict[str, Floats]]  # matrix -> layer -> (k,) float32 singular values of the first network


Counts = dict[str, dict[str, Integers]]  # matrix -> null -> (networks, layers)


def measure(found: Sequence[Trained]) -> Ranks:
    """The battery of equal networks."""
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
        name: Definitions(**{rank: np.stack([each[rank] for each in found], axis=1) for rank in found[0]})
        for name, found in layers.items()
    }
    return Ranks(**ranks, edges=edges, spectra=spectra, limits=np.array([min(shape) for shape in shapes]))


def outliers(found: Sequence[Trained]) -> Counts:
    """{matrix: {null: (seeds, layers)}}: singular values above the 95 % quantile of the largest one of random copies.

    The copies have the matrix's own entries, with signs drawn anew ("signs") or in random order ("shuffle").
    """
    counted: dict[str, dict[str, list[np.ndarray]]] = {name: {null: [] for null in NULLS} for name in MATRICES}
    for layer in range(len(found[0].weights)):
        initial = np.stack([each.initial[layer] for each in found])
        weights = np.stack([each.weights[layer] for each in found])
        for name, matrices in zip(MATRICES, (weights, initial, weights - initial), strict=True):
            values = Spectrum.of(matrices).values  # (seeds, k)
            for null in NULLS:
                edge = null_quantile(matrices, null, level=0.95, draws=DRAWS)
                counted[name][null].append((values > edge[:, None]).sum(axis=1))
    return {name: {null: np.stack(layers, axis=1) for null, layers in nulls.items()} for name, nulls in counted.items()}


@dataclass(frozen=True)
class Products:
    """Of the maps W_k···W_1 of linear networks, one for each k, (networks, layers)."""

    effective_rank: Floats
    stable_rank: Floats


def products(found: Sequence[Trained]) -> dict[str, Products]:
    """ "weights" and "initial": the ranks of the networks' products."""
    result = {}
    for name, chosen in (("weights", [each.weights for each in found]), ("initial", [each.initial for each in found])):
        ranks: dict[str, list[list[float]]] = {"effective_rank": [], "stable_rank": []}
        for layers in chosen:
            product, spectra = np.eye(layers[0].shape[1]), []
            for weight in layers:
                product = weight.astype(np.float64) @ product
                spectra.append(Spectrum.of(product))
            ranks["effective_rank"].append([float(effective_rank(spectrum)) for spectrum in spectra])
            ranks["stable_rank"].append([float(stable_rank(spectrum)) for spectrum in spectra])
        result[name] = Products(**{definition: np.array(values) for definition, values in ranks.items()})
    return result


def initial_std(network: Network) -> list[float]:
    """Standard deviation of the initial entries of each layer: U(±1/√in), times the gain."""
    return [network.gain / np.sqrt(3 * inp) for _, inp in network.shapes()]


def _ranks(matrices: np.ndarray, spectrum: Spectrum, edge: float) -> dict[str, np.ndarray]:
    """Every definition, of (seeds, out, in) float32 matrices; (seeds,) float64 each.

    The tolerance follows the dtype: as float32 the matrix is known to float32's eps, as float64 it is taken as exact.
    """
    found: dict[str, np.ndarray] = dict(battery(spectrum, edges={"initialisation": edge}))
    found["elimination_float32"] = matrix_rank(matrices)
    found["elimination_float64"] = matrix_rank(matrices.astype(np.float64))
    found["norm"] = np.sqrt((spectrum.values**2).sum(-1))
    return {field.name: np.asarray(found[field.name], dtype=np.float64) for field in fields(Definitions)}
