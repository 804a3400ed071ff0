"""What was measured, as typed results of each chapter. Nothing here imports torch.

Every array has networks first; layers count from the input side, at index 0. A result knows where it comes from
(`origin`). `results` gives them, `conversion` makes them of what is stored; `views` and `approximation` have those of
other chapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

TRAINED = 0.9  # training accuracy below which a condition "did not train" and supports no conclusion about rank


@dataclass(frozen=True)
class Origin:
    """Where the numbers of a result come from."""

    experiment: str
    profile: str  # of the page
    computed_under: str  # of the numbers: another one where the page shows published results
    data: str  # "mnist", or "digits", the fallback data set
    device: str
    created: float  # seconds since 1970
    commit: str
    stale: bool  # computed by other code than today's


@dataclass(frozen=True)
class History:
    """A training, epoch by epoch; column 0 is the untrained network. Losses in nats, accuracies as fractions."""

    seeds: np.ndarray  # (networks,)
    train_loss: np.ndarray  # (networks, epochs + 1)
    validation_loss: np.ndarray  # (networks, epochs + 1)
    test_loss: np.ndarray  # (networks, epochs + 1)
    train_accuracy: np.ndarray  # (networks, epochs + 1)
    validation_accuracy: np.ndarray  # (networks, epochs + 1)
    test_accuracy: np.ndarray  # (networks, epochs + 1)

    @property
    def epochs(self) -> int:
        return self.train_loss.shape[1] - 1


@dataclass(frozen=True)
class Tuning:
    """Learning rates compared on validation data, on seeds that no result uses."""

    learning_rate: np.ndarray  # (rates,)
    validation_accuracy: np.ndarray  # (rates, seeds)
    validation_loss: np.ndarray  # (rates, seeds), nats

    def at_boundary(self, chosen: float) -> bool:
        """Whether the chosen rate is the smallest or largest that was tried, so that a better one may lie beyond."""
        return len(self.learning_rate) > 1 and chosen in (self.learning_rate.min(), self.learning_rate.max())


@dataclass(frozen=True)
class Measures:
    """Every measure of rank of one matrix per layer, each (networks, layers). `rank_…` are counts by `matrix_rank`."""

    rank_float64: np.ndarray  # singular values above max(m, n)·eps·σ₁, eps of float64
    rank_float32: np.ndarray  # the same with the eps of float32
    entropy_rank: np.ndarray
    stable_rank: np.ndarray
    participation_ratio: np.ndarray
    energy_rank_90: np.ndarray  # singular values that hold 90 % of ‖W‖²
    energy_rank_95: np.ndarray
    energy_rank_99: np.ndarray
    norm: np.ndarray  # Frobenius
    outliers: np.ndarray  # singular values above the Marchenko–Pastur edge of the random initialisation


@dataclass(frozen=True)
class Spectra:
    """Singular values of the first network, largest first; one (min(out, in),) array a layer."""

    initial: tuple[np.ndarray, ...]
    weights: tuple[np.ndarray, ...]
    update: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Trajectory:
    """Measures after each epoch, (networks, epochs + 1, layers); the update's column 0 is 0."""

    weights_entropy_rank: np.ndarray
    weights_stable_rank: np.ndarray
    weights_energy_rank_90: np.ndarray
    update_entropy_rank: np.ndarray
    update_stable_rank: np.ndarray
    update_energy_rank_90: np.ndarray


@dataclass(frozen=True)
class Features:
    """Of the centred outputs of each layer, for as many training as test images; column 0 is the images themselves."""

    images: int  # of each split
    train_entropy_rank: np.ndarray  # (networks, layers + 1)
    test_entropy_rank: np.ndarray  # (networks, layers + 1)
    train_stable_rank: np.ndarray  # (networks, layers + 1)
    test_stable_rank: np.ndarray  # (networks, layers + 1)


@dataclass(frozen=True)
class Networks:
    """The networks of one condition: they differ in their seed alone."""

    label: str
    widths: tuple[int, ...]
    activation: str
    learning_rate: float
    gain: float  # what the initial weights were multiplied by
    history: History
    full_rank: np.ndarray  # (layers,), min(out, in)
    initial: Measures  # of W₀, before training
    weights: Measures  # of W, after it
    update: Measures  # of W − W₀
    spectra: Spectra
    edges: np.ndarray  # (layers,), Marchenko–Pastur edge of W₀
    features: Features
    trajectory: Trajectory | None  # measured for some conditions only
    tuning: Tuning | None  # None where the learning rate was given

    @property
    def n(self) -> int:
        """Networks."""
        return len(self.history.seeds)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each layer."""
        return [(out, inp) for inp, out in pairwise(self.widths)]

    @property
    def square(self) -> list[int]:
        """Indices of the layers of equal, square shape: those between which depth alone differs."""
        return [index for index, (out, inp) in enumerate(self.shapes) if out == inp]

    @property
    def did_train(self) -> bool:
        """Whether every network reached the training accuracy that we ask for before we conclude from it."""
        return bool((self.history.train_accuracy[:, -1] >= TRAINED).all())


@dataclass(frozen=True)
class Pivots:
    """Pivots of Gaussian elimination of each trained matrix, (networks, layers), above the tolerance named."""

    complete_float64: np.ndarray
    complete_float32: np.ndarray
    partial_float64: np.ndarray
    partial_float32: np.ndarray


@dataclass(frozen=True)
class Copies:
    """Outliers against random copies of each matrix, (networks, layers): its entries' signs drawn anew, or shuffled."""

    signs: np.ndarray
    shuffled: np.ndarray


@dataclass(frozen=True)
class KnownRank:
    """A product of two random factors, so that its rank is known, and what each method counts in it."""

    shape: tuple[int, int]
    rank: int
    complete: int
    partial: int
    matrix_rank: int
    svd: int
    seconds: Mapping[str, float]  # by method: "complete", "partial", "matrix_rank", "svd"
    singular_values: np.ndarray  # (min(m, n),)
    complete_pivots: np.ndarray  # (min(m, n),), largest first; elimination goes on to the end
    partial_pivots: np.ndarray  # (min(m, n),)
    tolerance: float


@dataclass(frozen=True)
class FirstUpdate:
    """W₁ − W₁⁰ of a wide network by one optimiser in one precision."""

    optimizer: str  # "sgd" or "adam"
    precision: str  # "float32" or "float64"
    rank_float64: np.ndarray  # (networks,)
    rank_float32: np.ndarray  # (networks,)
    spectrum: np.ndarray  # (pixels,), of the first network
    train_accuracy: np.ndarray  # (networks, epochs + 1)
    test_accuracy: np.ndarray  # (networks, epochs + 1)


@dataclass(frozen=True)
class Images:
    """The matrix X of the training images, one a row, and what it allows the first layer's update."""

    count: int
    constant: int  # pixels that never change
    distinct: int  # different columns
    rank_float64: int
    rank_float32: int
    updates: tuple[FirstUpdate, ...]

    def update(self, optimizer: str, precision: str) -> FirstUpdate:
        (found,) = (u for u in self.updates if (u.optimizer, u.precision) == (optimizer, precision))
        return found


@dataclass(frozen=True)
class Product:
    """The product of the first layers of a linear network, (networks, layers)."""

    initial_entropy_rank: np.ndarray
    weights_entropy_rank: np.ndarray


@dataclass(frozen=True)
class Rank:
    """Chapter 3."""

    origin: Origin
    task2: Networks
    pivots: Pivots  # of Task 2's networks
    activations: Mapping[str, Networks]  # Task 2's shape, by activation, in the book's order
    deep: Mapping[str, Networks]  # six equal square layers, by activation
    matched: Mapping[str, Networks]  # as `activations`, with variance-preserving initialisation; may be empty
    copies: Mapping[str, Copies]  # by matrix: "initial", "weights", "update"
    known: KnownRank
    images: Images
    products: Mapping[str, Product]  # of the linear networks: "shallow", "deep"; may be empty


@dataclass(frozen=True)
class Training:
    """Chapter 2."""

    origin: Origin
    widths: tuple[int, ...]
    learning_rate: float
    batch_size: int  # images
    parameters: int
    history: History
    seconds: np.ndarray  # (networks,) spent training
    tuning: Tuning | None

    @property
    def rates_tried(self) -> int:
        """Learning rates that were compared; 1: it was given."""
        return 1 if self.tuning is None else len(self.tuning.learning_rate)

    @property
    def rate_of_lowest_loss(self) -> float:
        """The learning rate that the validation loss would have chosen, instead of the accuracy."""
        if self.tuning is None:
            return self.learning_rate
        return float(self.tuning.learning_rate[self.tuning.validation_loss.mean(axis=1).argmin()])
