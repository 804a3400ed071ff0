"""Chapter 5 as a typed result: chapter 4's big networks, every matrix W replaced by a product B·C. No torch.

Arrays have networks first, then what was tried (ranks), then layers, from the input side. A rank r is asked of every
layer alike; a layer that has no more is left as it is, with an error of 0. `results.approximation()` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.measured import History, Origin
from rankstudy.book.stats import Estimate, estimate
from rankstudy.factorization import eckart_young_error
from rankstudy.spectrum import Spectrum
from rankstudy.study.experiments.truncation import SPLITS, STEPS, Truncated
from rankstudy.study.questions import Result

WAYS = {  # name here -> in the store: other ways to make a network of low rank than the truncated SVD of every W
    "activation_aware": "weighted",
    "update": "update",
    "allocated": "allotted",
    "activation_aware_allocated": "allotted_weighted",
}


@dataclass(frozen=True)
class Scores:
    """Mean cross-entropy (nats) and accuracy (fraction) on each split: (networks,) or (networks, ranks)."""

    train_loss: np.ndarray
    validation_loss: np.ndarray
    test_loss: np.ndarray
    train_accuracy: np.ndarray
    validation_accuracy: np.ndarray
    test_accuracy: np.ndarray


class Truncations:
    """What the long and the short training share."""

    full: Scores
    truncated: Scores

    def change(self, split: str) -> np.ndarray:
        """(networks, ranks), change in accuracy on "train", "validation" or "test" by truncating every W, in points."""
        whole, left = (getattr(each, f"{split}_accuracy") for each in (self.full, self.truncated))
        return 100 * (left - whole[:, None])


@dataclass(frozen=True)
class Fits:
    """One alternating method, every layer at every rank of `Approximation.fitted`, each from a random start."""

    ratio: np.ndarray  # (networks, fitted, layers), error / the smallest possible one; 1 where that is 0
    iterations: np.ndarray  # (networks, fitted, layers)
    seconds: np.ndarray  # (networks, fitted, layers)
    reached: np.ndarray  # (networks, fitted, layers), whether it came as close as its stop asked for
    traces: Mapping[int, np.ndarray]  # rank -> (half-steps,), relative error, second layer of the first network


@dataclass(frozen=True)
class Shorter(Truncations):
    """The same networks after fewer epochs."""

    epochs: int
    history: History
    full: Scores  # (networks,)
    truncated: Scores  # (networks, ranks)
    update: Scores  # (networks, update_ranks), W₀ + the truncated W − W₀
    update_ranks: np.ndarray  # (update_ranks,)
    own_rank: np.ndarray  # (networks,)


@dataclass(frozen=True)
class Approximation(Truncations):
    """Chapter 5."""

    origin: Origin
    widths: tuple[int, ...]
    epochs: int  # of the networks' training
    rank: int  # the effective rank: the largest of `own_rank`
    own_rank: np.ndarray  # (networks,), from it on no rank tried loses more than `tolerance` of validation accuracy
    tolerance: float
    validation_images: int
    inputs: int  # training images behind the activation-aware truncations
    ranks: np.ndarray  # (ranks,), ascending, up to full rank
    full: Scores  # (networks,), of the network as it was trained
    truncated: Scores  # (networks, ranks), truncated SVD of every W
    error: np.ndarray  # (networks, ranks, layers), ‖W − BC‖ / ‖W‖ in the Frobenius norm
    update_error: np.ndarray  # (networks, ranks, layers), the same of W − W₀
    output_error: np.ndarray  # (networks, ranks, layers), ‖X(W − BC)ᵀ‖ / ‖XWᵀ‖, activation-aware, X the layer's inputs
    compared: np.ndarray  # (compared,), ranks at which the ways of WAYS were tried
    ways: Mapping[str, Scores]  # (networks, compared); an allocation has as many parameters as that rank
    allocations: Mapping[str, np.ndarray]  # (networks, compared, layers), ranks, of the two ways that allocate
    sequential_ranks: np.ndarray  # (sequential,)
    sequential: Scores  # (networks, sequential), activation-aware, each layer's inputs from the truncated ones before
    spectra: Mapping[str, tuple[np.ndarray, ...]]  # "initial", "weights", "update", "outputs": (networks, k) a layer
    fitted: np.ndarray  # (fitted,), ranks of the alternating methods
    fits: Mapping[str, Fits]  # "least_squares", "gradient"
    svd_seconds: np.ndarray  # (networks, layers)
    shorter: tuple[Shorter, ...]
    images: np.ndarray  # (ranks, rows, 28, 28) in [−1, 1], rows of the first network's first matrix at each rank

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each layer."""
        return [(out, inp) for inp, out in pairwise(self.widths)]

    @property
    def at(self) -> int:
        """Index of the effective rank in `ranks`."""
        return int(np.flatnonzero(self.ranks == self.rank)[0])

    @property
    def below(self) -> int:
        """Index in `compared` of the largest rank under the effective rank, where truncation begins to cost."""
        return max(int((self.compared < self.rank).sum()) - 1, 0)

    @property
    def average_error(self) -> np.ndarray:
        """(networks, ranks), mean over all layers: what the assignment asks for."""
        return self.error.mean(axis=2)

    @property
    def hidden_error(self) -> np.ndarray:
        """(networks, ranks), mean over all matrices but the output's, whose ten rows any rank from ten on leaves."""
        return self.error[:, :, :-1].mean(axis=2)

    @property
    def numbers(self) -> np.ndarray:
        """(ranks,), entries of B and C of every layer as a share of those of W."""
        return self.numbers_at(self.ranks)

    def numbers_at(self, ranks: np.ndarray) -> np.ndarray:
        """The same at any ranks."""
        dense = sum(out * inp for out, inp in self.shapes)
        return np.asarray(ranks) * sum(out + inp for out, inp in self.shapes) / dense

    @property
    def start_share(self) -> np.ndarray:
        """(networks, layers), ‖W₀‖² / ‖W‖²."""
        initial, weights = (
            np.stack([(np.asarray(values, dtype=float) ** 2).sum(axis=1) for values in self.spectra[kind]], axis=1)
            for kind in ("initial", "weights")
        )
        return initial / weights

    def rank_within(self, limits: Sequence[float], kind: str = "weights", layer: int | None = None) -> np.ndarray:
        """(networks, limits), the smallest rank whose relative error is within each limit: of a layer, or one rank for
        all layers and their average error. `kind`: "weights" or "outputs"."""
        layers = range(len(self.shapes)) if layer is None else [layer]
        ranks = np.arange(max(min(self.shapes[each]) for each in layers) + 1)
        errors = _errors([self.spectra[kind][each] for each in layers], [self.shapes[each] for each in layers], ranks)
        return (errors.mean(axis=2)[:, :, None] > np.asarray(limits)).sum(axis=1)

    def tried(self, ranks: np.ndarray) -> np.ndarray:
        """(…,) indices in `ranks` of the smallest rank tried that is no smaller."""
        return np.minimum(np.searchsorted(self.ranks, ranks), len(self.ranks) - 1)

    def gain(self, way: str) -> np.ndarray:
        """(networks, compared), test accuracy above that of the truncated SVD of every W with as many parameters."""
        return self.ways[way].test_accuracy - self.truncated.test_accuracy[:, self.tried(self.compared)]

    def mean_gain(self, way: str) -> np.ndarray:
        """(networks,), `gain` averaged over the logarithm of the rank: the area between the two curves."""
        return self._averaged(self.gain(way))

    def error_change(self, way: str) -> np.ndarray:
        """(networks, compared), errors on test images over those of the truncated SVD of every W, less 1."""
        before = 1 - self.truncated.test_accuracy[:, self.tried(self.compared)]
        return (1 - self.ways[way].test_accuracy) / before - 1

    def mean_error_change(self, way: str) -> np.ndarray:
        """(networks,), `error_change` averaged as `mean_gain` is."""
        return self._averaged(self.error_change(way))

    @property
    def areas(self) -> dict[str, list[Estimate]]:
        """By way of WAYS: `mean_gain` in points and `mean_error_change` in per cent, with intervals over networks."""
        return {
            "points": [estimate(100 * self.mean_gain(way)) for way in WAYS],
            "errors": [estimate(100 * self.mean_error_change(way)) for way in WAYS],
        }

    def _averaged(self, values: np.ndarray) -> np.ndarray:
        """(networks,), of (networks, compared), over the logarithm of the rank."""
        across = np.log(self.compared.astype(float))
        averaged: np.ndarray = np.trapezoid(values, across, axis=1) / (across[-1] - across[0])
        return averaged

    @property
    def best_test_accuracy(self) -> np.ndarray:
        """(networks,), at the rank with the best validation accuracy, the smallest of equals."""
        best = self.truncated.validation_accuracy.argmax(axis=1)
        return self.truncated.test_accuracy[np.arange(len(best)), best]

    def truncated_test_accuracy_at(self, ranks: Sequence[int]) -> np.ndarray:
        """(networks, ranks), between ranks tried interpolated in the logarithm of the rank."""
        return np.stack([np.interp(np.log(ranks), np.log(self.ranks), each) for each in self.truncated.test_accuracy])


def typed(result: Result) -> Approximation:
    """What `results.approximation()` gives."""
    settings, found = result.config, result.typed
    sweep, widths = settings["sweep"], tuple(settings["overfitting"]["network"]["widths"])
    shapes = [(out, inp) for inp, out in pairwise(widths)]
    ranks = np.asarray(sweep["ranks"])
    spectra = {
        kind: tuple(found.spectra[stored][str(layer)] for layer in range(len(shapes)))
        for kind, stored in (
            ("initial", "initial"),
            ("weights", "weights"),
            ("update", "update"),
            ("outputs", "weighted"),
        )
    }
    return Approximation(
        origin=conversion.origin(result),
        widths=widths,
        epochs=int(settings["overfitting"]["training"]["epochs"]),
        rank=found.rank,
        own_rank=found.own_rank,
        tolerance=float(settings["tolerance"]),
        validation_images=int(settings["overfitting"]["data"]["validation_size"]),
        inputs=int(sweep["inputs"]),
        ranks=ranks,
        full=_scores(found.original),
        truncated=_scores(found.truncated),
        error=_errors(spectra["weights"], shapes, ranks),
        update_error=_errors(spectra["update"], shapes, ranks),
        output_error=_errors(spectra["outputs"], shapes, ranks),
        compared=np.asarray(sweep["compared"]),
        ways={name: _scores(getattr(found, stored)) for name, stored in WAYS.items()},
        allocations={
            name: getattr(found, f"{WAYS[name]}_ranks") for name in ("allocated", "activation_aware_allocated")
        },
        sequential_ranks=np.asarray(sweep["sequential"]),
        sequential=_scores(found.sequential),
        spectra=spectra,
        fitted=np.asarray(sweep["alternating"]),
        fits={name: _fits(found, name) for name in ("least_squares", "gradient")},
        svd_seconds=found.svd_seconds,
        shorter=tuple(
            Shorter(
                epochs=each.epochs,
                history=conversion.history(each.history),
                full=_scores(each.original),
                truncated=_scores(each.truncated),
                update=_scores(each.update),
                update_ranks=each.update_ranks,
                own_rank=each.own_rank,
            )
            for each in found.shorter
        ),
        images=found.pictures.images.reshape(len(ranks), -1, 28, 28) / STEPS,
    )


def _scores(stored: np.ndarray) -> Scores:
    """Out of (…, 2, 3): loss and accuracy on each of SPLITS."""
    return Scores(
        **{
            f"{split}_{what}": stored[..., row, column]
            for row, what in enumerate(("loss", "accuracy"))
            for column, split in enumerate(SPLITS)
        }
    )


def _errors(spectra: Sequence[np.ndarray], shapes: Sequence[tuple[int, int]], ranks: np.ndarray) -> np.ndarray:
    """(networks, ranks, layers), the smallest possible relative error."""
    by_layer = [
        [eckart_young_error(Spectrum(values, shape), min(int(rank), *shape), True) for rank in ranks]
        for values, shape in zip(spectra, shapes, strict=True)
    ]
    return np.array(by_layer).transpose(2, 1, 0)


def _fits(found: Truncated, method: str) -> Fits:
    fits = found.alternating[method]  # type: ignore[index]  # the whole study always has them
    return Fits(
        ratio=np.nan_to_num(fits.ratio, nan=1.0),  # 0 / 0: a layer that has no more than this rank
        iterations=fits.iterations,
        seconds=fits.seconds,
        reached=fits.reached,
        traces={int(rank): errors for rank, errors in fits.trace.items()},
    )
