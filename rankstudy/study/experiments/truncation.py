"""A trained network, its matrices cut to low rank in several ways, and what each way costs in error and in accuracy.

Design choices:
- One record per network, so that a study resumes where it stopped.
- One SVD of a matrix serves every rank of a sweep.
- A rank is asked of every layer alike; a layer that has fewer rows or columns is then left whole.
- Whatever uses images (the weighted norm) sees training images only.
- A few rows of the first matrix are kept as pictures, one at each rank of the sweep, since chapters never see weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankstudy import config, factorization
from rankstudy.factorization import Factors
from rankstudy.spectrum import Spectrum
from rankstudy.study import engine
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Flags, Floats, Integers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rankstudy.data import Dataset
    from rankstudy.layers import MLP

SPLITS = ("train", "validation", "test")
PICTURES = 8  # rows of the first matrix that are kept as pictures
STEPS = 127  # of a picture's values between 0 and the largest
METHODS: dict[str, tuple[Callable[..., factorization.Fit], int]] = {
    # with the tolerance of its gap in units of the sweep's
    "least_squares": (factorization.alternating_least_squares, 1),
    "gradient": (factorization.alternating_gradient, 100),
}


@dataclass(frozen=True)
class Sweep:
    """What is tried on a network: all of it, or where nothing alternates, W and W − W₀ cut by SVD and no more."""

    ranks: tuple[int, ...]  # of the truncated SVD, ascending, up to the full rank
    alternating: tuple[int, ...] = ()  # ranks of the alternating methods
    traced: tuple[int, ...] = ()  # those of which every half-step is kept
    compared: tuple[int, ...] = ()  # ranks at which ways of cutting are compared, below the smallest hidden width
    sequential: tuple[int, ...] = ()  # ranks at which each layer is fitted to the compressed layers before it
    inputs: int = 5000  # training images behind the weighted norm
    max_iterations: int = 300  # of an alternating method; one that needs more says so
    tol: float = 1e-4  # gap to the Eckart–Young error, as a share of it, at which least squares stop; 100 times that
    #                    for gradient steps

    def truncations(self) -> Sweep:
        """Truncated SVDs and nothing else: of W at each rank, of W − W₀ at every other of those compared, for time."""
        return Sweep(self.ranks, compared=self.compared[1::2])


Layer = Factors | np.ndarray  # a weight, whole or as B·C
Scores = Floats  # (…, 2, 3): loss in nats and accuracy, on each of SPLITS


@dataclass(frozen=True)
class Alternating:
    """One alternating method on every layer at every rank, each from a random start."""

    error: Floats  # (…, ranks, layers) relative to ‖A‖
    excess: Floats  # (…, ranks, layers) squared, above the best possible, as a share of ‖A‖²
    ratio: Floats  # (…, ranks, layers) error over the best possible
    iterations: Integers  # (…, ranks, layers)
    seconds: Floats  # (…, ranks, layers)
    reached: Flags  # (…, ranks, layers) whether it stopped because it was close enough
    scores: Scores  # (…, ranks, 2, 3)
    trace: dict[str, Floats]  # rank -> relative error after each half-step on the second layer (of the first network)


@dataclass(frozen=True)
class Pictures:
    """Rows of the first matrix at each rank of the sweep (of the first network)."""

    rows: Integers  # (PICTURES,) which
    images: NDArray[np.int8]  # (ranks, PICTURES, in) share of the largest entry of the whole row, in STEPS


@dataclass(frozen=True)
class Truncated:
    """One network truncated in several ways, or several along a first axis; what is None was not tried."""

    original: Scores  # (…, 2, 3)
    truncated: Scores  # (…, ranks, 2, 3) W, truncated SVD
    update: Scores  # (…, compared, 2, 3) W₀ + the truncated W − W₀
    weighted: Scores | None = None  # (…, compared, 2, 3) activation-aware
    sequential: Scores | None = None  # (…, sequential, 2, 3)
    allotted: Scores | None = None  # (…, compared, 2, 3) a rank for each layer, from one budget
    allotted_ranks: Integers | None = None  # (…, compared, layers)
    allotted_weighted: Scores | None = None
    allotted_weighted_ranks: Integers | None = None
    spectra: dict[str, dict[str, Floats]] | None = None  # kind -> layer -> (…, k) singular values
    svd_seconds: Floats | None = None  # (…, layers)
    alternating: dict[str, Alternating] | None = None  # by method
    pictures: Pictures | None = None


@dataclass(frozen=True)
class Piece(Job[Truncated]):
    """One network, and what is tried on it."""

    NAME = "truncated-network"
    ANSWER = Truncated
    SENT = True

    run: engine.Run
    sweep: Sweep

    def selection(self) -> str:
        return self.run.data.name

    def needs(self) -> list[Job]:
        return [self.run, *self.run.needs()]

    def compute(self) -> Truncated:
        return _measure(self)


def _measure(piece: Piece) -> Truncated:
    (found,) = engine.trained([piece.run])
    sweep, network = piece.sweep, piece.run.network
    dataset = engine.dataset_on_device(piece.run.data)

    def scored(layers: Sequence[Layer]) -> np.ndarray:
        return scores(assembled(network, layers), dataset)

    plain, seconds = [], []
    for weight in found.weights:
        begun = time.perf_counter()
        plain.append(factorization.truncated_svd(weight, min(weight.shape)))
        seconds.append(time.perf_counter() - begun)
    initial = found.initial
    changes = [factorization.truncated_svd(w - w0, min(w.shape)) for w, w0 in zip(found.weights, initial, strict=True)]
    original = scores(found.model(), dataset)
    whole = max(each.rank for each in plain)  # from this rank on nothing is cut

    def with_start(rank: int) -> list[np.ndarray]:
        return [old + change.product() for old, change in zip(initial, cut(changes, rank), strict=True)]

    result = Truncated(
        original=original,
        truncated=np.stack([scored(cut(plain, rank)) if rank < whole else original for rank in sweep.ranks]),
        update=np.stack([scored(with_start(rank)) for rank in sweep.compared]),
    )
    if not sweep.alternating:
        return result
    images = dataset.train.images[: sweep.inputs]
    return replace(
        result,
        **_compared(found, sweep, plain, changes, images, scored),
        svd_seconds=np.array(seconds),
        pictures=pictures(found.weights[0], plain[0], sweep.ranks),
    )


def _compared(
    found: engine.Trained,
    sweep: Sweep,
    plain: Sequence[Factors],
    changes: Sequence[Factors],
    images: Tensor,
    scored: Callable[[Sequence[Layer]], np.ndarray],
) -> dict[str, Any]:
    """What else a whole sweep tries; `plain` and `changes` are the factors at full rank of W and of W − W₀."""
    weights = found.weights
    triangles = [np.asarray(np.linalg.qr(x, mode="r")) for x in layer_inputs(found.model().to(images.device), images)]
    weighted = [
        factorization.weighted_svd(weight, min(weight.shape), r) for weight, r in zip(weights, triangles, strict=True)
    ]
    spectra = {
        "weights": [_spectrum(factors, weight.shape) for factors, weight in zip(plain, weights, strict=True)],
        "initial": [Spectrum.of(weight) for weight in found.initial],
        "update": [_spectrum(factors, weight.shape) for factors, weight in zip(changes, weights, strict=True)],
        "weighted": [weighted_spectrum(factors, r) for factors, r in zip(weighted, triangles, strict=True)],
    }
    network = found.run.network
    result: dict[str, Any] = {
        "sequential": np.stack([scored(sequential(network, weights, images, rank)) for rank in sweep.sequential]),
        "weighted": np.stack([scored(cut(weighted, rank)) for rank in sweep.compared]),
    }
    for name, kind, factors in (("allotted", "weights", plain), ("allotted_weighted", "weighted", weighted)):
        ranks = [factorization.allocate(spectra[kind], budget(weights, rank)) for rank in sweep.compared]
        result[f"{name}_ranks"] = np.array(ranks)
        result[name] = np.stack(
            [scored([each.leading(r) for each, r in zip(factors, row, strict=True)]) for row in ranks]
        )
    result["spectra"] = {
        kind: {str(layer): each.values.astype(np.float32) for layer, each in enumerate(by_layer)}
        for kind, by_layer in spectra.items()
    }
    result["alternating"] = alternating(weights, spectra["weights"], sweep, scored)
    return result


def alternating(
    weights: Sequence[np.ndarray],
    spectra: Sequence[Spectrum],
    sweep: Sweep,
    scored: Callable[[Sequence[Layer]], np.ndarray],
) -> dict[str, Alternating]:
    """Both alternating methods, by name."""
    found = {}
    for name, (method, times) in METHODS.items():
        rows: dict[str, list[list[float]]] = {
            key: [] for key in ("error", "excess", "ratio", "iterations", "seconds", "reached")
        }
        trace, scored_rows = {}, []
        for rank in sweep.alternating:
            fits, seconds = [], []
            for weight, spectrum in zip(weights, spectra, strict=True):
                begun = time.perf_counter()
                fits.append(
                    method(
                        weight,
                        min(rank, *weight.shape),
                        tol=times * sweep.tol,
                        max_iterations=sweep.max_iterations,
                        spectrum=spectrum,
                    )
                )
                seconds.append(time.perf_counter() - begun)
            for key in ("error", "excess", "ratio"):
                rows[key].append([float(getattr(fit.certificate, key)) for fit in fits])
            rows["iterations"].append([int(fit.iterations) for fit in fits])
            rows["reached"].append([bool(fit.stopped == "tolerance") for fit in fits])
            rows["seconds"].append(seconds)
            scored_rows.append(scored([fit.factors for fit in fits]))
            if rank in sweep.traced:
                trace[str(rank)] = fits[1].errors.astype(np.float32)
        arrays = {key: np.array(values) for key, values in rows.items()}
        found[name] = Alternating(**arrays, scores=np.stack(scored_rows), trace=trace)
    return found


def cut(factors: Sequence[Factors], rank: int) -> list[Factors]:
    """Every layer's leading part of that rank, or the whole layer where it has no more."""
    return [each.leading(min(rank, each.rank)) for each in factors]


def assembled(network: config.Network, layers: Sequence[Layer]) -> MLP:
    """An MLP with these effective weights, on the CPU.

    Factors stay apart where that is fewer multiplications; the product is formed where it is not.
    """
    import torch

    from rankstudy.layers import MLP

    layers = [
        each.product()
        if isinstance(each, Factors) and each.rank > factorization.break_even_rank(each.b.shape[0], each.c.shape[1])
        else each
        for each in layers
    ]
    ranks = [each.rank if isinstance(each, Factors) else None for each in layers]
    model = MLP(network.widths, network.activation, rank=ranks)
    with torch.no_grad():
        for module, each in zip(model.layers, layers, strict=True):
            if isinstance(each, Factors):
                module.get_parameter("b").copy_(torch.from_numpy(np.array(each.b)))
                module.get_parameter("c").copy_(torch.from_numpy(np.array(each.c)))
            else:
                module.get_parameter("weight").copy_(torch.from_numpy(np.array(each)))
    return model


def scores(model: nn.Module, dataset: Dataset) -> np.ndarray:
    """(2, 3): loss in nats and accuracy, on the training, validation and test split."""
    from rankstudy.training import evaluate

    model = model.to(dataset.train.images.device)
    return np.array([evaluate(model, getattr(dataset, split)) for split in SPLITS]).T


def layer_inputs(model: MLP, images: Tensor) -> list[np.ndarray]:
    """What each layer is given on these images, (N, in) float64 each."""
    import torch

    with torch.no_grad():
        found = [images, *model.features(images)[:-1]]
    return [each.double().cpu().numpy() for each in found]


def sequential(network: config.Network, weights: Sequence[np.ndarray], images: Tensor, rank: int) -> list[Factors]:
    """Data-weighted factors, layer by layer, each for the inputs that the compressed layers before it produce."""
    found: list[Factors] = []
    for index, weight in enumerate(weights):
        model = assembled(network, [*found, *weights[index:]]).to(images.device)
        inputs = layer_inputs(model, images)[index]
        found.append(factorization.weighted_svd(weight, min(rank, *weight.shape), inputs))
    return found


def budget(weights: Sequence[np.ndarray], rank: int) -> int:
    """The parameters that this rank in every layer, as far as it has it, costs."""
    return sum(min(rank, *weight.shape) * sum(weight.shape) for weight in weights)


def pictures(weight: np.ndarray, factors: Factors, ranks: Sequence[int]) -> Pictures:
    """Rows of a matrix (out, in), and what is left of them at each rank: those of largest norm, which say the most.
    What is larger after the cut counts as the largest entry.
    """
    rows = np.argsort(-np.linalg.norm(weight, axis=1), kind="stable")[:PICTURES]
    largest = np.abs(weight[rows]).max(axis=1, keepdims=True)
    kept = (factors.leading(min(rank, factors.rank)) for rank in ranks)
    images = np.stack([each.b[rows] @ each.c / largest for each in kept])
    return Pictures(rows, np.rint(STEPS * images.clip(-1, 1)).astype(np.int8))


def weighted_spectrum(factors: Factors, triangle: np.ndarray) -> Spectrum:
    """Singular values of A·Rᵀ from A's weighted factors at full rank: B = U, so the rows of C·Rᵀ have length σ."""
    lengths = np.linalg.norm(factors.c @ triangle.T, axis=1)
    return Spectrum(np.sort(lengths)[::-1], (len(factors.b), factors.c.shape[1]))


def _spectrum(factors: Factors, shape: tuple[int, int]) -> Spectrum:
    """The singular values out of balanced factors: B's columns have length √σ."""
    return Spectrum(np.sort((factors.b**2).sum(axis=0))[::-1], shape)
