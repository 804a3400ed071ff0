"""Chapter 4 as its page reads it: the networks that overfit, and those of other sizes; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.measured import TRAINED, History, Measures, Networks, Origin
from rankstudy.study.experiments import baselines
from rankstudy.study.experiments import overfitting as chapter4
from rankstudy.study.questions import Result


@dataclass(frozen=True)
class Size:
    """Networks of one size, trained as the big one is; they differ in their seed alone."""

    widths: tuple[int, ...]
    history: History
    full_rank: np.ndarray  # (layers,), min(out, in)
    initial: Measures
    weights: Measures
    update: Measures
    baseline: baselines.Baseline | None  # entropy ranks of random errors on the layers' inputs; None: not measured

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
        """Indices of the layers of equal, square shape."""
        return [index for index, (out, inp) in enumerate(self.shapes) if out == inp]

    @property
    def label(self) -> str:
        """Its hidden layers: 3 × 256."""
        hidden = self.widths[1:-1]
        return f"{len(hidden)} × {hidden[0]}"

    @property
    def parameters(self) -> int:
        return sum(out * inp for out, inp in self.shapes)

    @property
    def memorised(self) -> np.ndarray:
        """(networks,) bool, whether each meets the criterion for overfitting."""
        return chapter4.overfitted(self.history.train_accuracy, self.history.test_loss)

    @property
    def excess(self) -> np.ndarray:
        """(networks,) test loss at the end above its lowest, as a share of that."""
        return chapter4.excess(self.history.test_loss)

    @property
    def did_train(self) -> bool:
        """Whether every network reached the training accuracy that we ask for before we conclude from it."""
        return bool((self.history.train_accuracy[:, -1] >= TRAINED).all())

    def share(self, layers: Sequence[int]) -> np.ndarray:
        """(networks,) entropy rank of the update as a share of full rank, mean over these layers of one shape."""
        return (self.update.entropy_rank / self.full_rank)[:, list(layers)].mean(axis=1)

    def baseline_share(self, layers: Sequence[int]) -> np.ndarray | None:
        """The same of random errors on the inputs of the trained layers; None where that was not measured."""
        if self.baseline is None:
            return None
        return (self.baseline.after / self.full_rank)[:, list(layers)].mean(axis=1)


@dataclass(frozen=True)
class Overfitting:
    """Chapter 4."""

    origin: Origin
    big: Networks  # large enough to overfit
    activations: Mapping[str, Networks]  # a size between, by activation, in the book's order
    images: int | None  # that those were trained on; None: all
    sizes: tuple[Size, ...]  # from the fewest parameters to the most, the big one among them
    excess: np.ndarray  # (networks,) of the big ones: test loss at the end above its lowest, as a share of that
    memorised: np.ndarray  # (networks,) whether training accuracy and excess meet the criterion stated in advance

    memorised_at: ClassVar[float] = chapter4.MEMORISED  # the criterion: training accuracy at the end, at least
    excess_at: ClassVar[float] = chapter4.EXCESS  # … and `excess`, at least

    @cached_property
    def widths(self) -> tuple[Size, ...]:
        """Those sizes that have as many layers as the big network, the narrowest first."""
        depth = len(self.big.widths)
        return tuple(sorted((s for s in self.sizes if len(s.widths) == depth), key=lambda size: size.widths[1]))

    @property
    def narrower(self) -> Size:
        """As deep as the big network and next to it in width: the shape of Task 2's under `full`."""
        return self.widths[-2]

    @property
    def deep(self) -> Size:
        """That with the most equal layers."""
        return max(self.sizes, key=lambda size: len(size.square))

    @property
    def observed(self) -> Networks:
        """ReLU networks whose ranks were written down while they trained."""
        return self.big if self.big.trajectory is not None else self.activations["relu"]

    @property
    def observed_layers(self) -> list[str]:
        """Numbers of their layers, as printed."""
        return [str(layer + 1) for layer in range(len(self.observed.full_rank))]

    @property
    def update_at_lowest(self) -> np.ndarray:
        """(networks, layers) entropy rank of their update at the epoch of the lowest validation loss."""
        group = self.observed
        if group.trajectory is None:
            return np.full(group.update.entropy_rank.shape, np.nan)
        best = 1 + group.history.validation_loss[:, 1:].argmin(axis=1)
        return group.trajectory.update_entropy_rank[np.arange(group.n), best]

    @property
    def since_lowest(self) -> np.ndarray:
        """(networks,) change of that from then to the end, as a share of full rank, mean over the square layers."""
        group = self.observed
        return ((group.update.entropy_rank - self.update_at_lowest) / group.full_rank)[:, group.square].mean(axis=1)

    @property
    def feature_layers(self) -> list[str]:
        """What features are taken after, as printed; 0: the images themselves."""
        return [str(layer) for layer in range(len(self.activations["relu"].full_rank) + 1)]

    @property
    def seeds(self) -> list[str]:
        """Of the big networks, as printed."""
        return [f"seed {seed}" for seed in self.big.history.seeds]

    @property
    def labels(self) -> list[str]:
        """Of the sizes."""
        return [size.label for size in self.sizes]

    @property
    def histories(self) -> dict[str, History]:
        """Of the sizes, by label."""
        return {size.label: size.history for size in self.sizes}

    @property
    def sizes_that_overfit(self) -> int:
        """How many of them do so with every seed."""
        return sum(bool(size.memorised.all()) for size in self.sizes)

    @property
    def parameters(self) -> np.ndarray:
        """(sizes,)"""
        return np.array([size.parameters for size in self.sizes])

    def by_doubling(self, layers: str) -> np.ndarray | None:
        """(networks,) change per doubling of the width of the share of full rank that the update takes in the "first"
        layer or the "square" ones, by least squares; None where fewer than two widths trained."""
        return by_doubling([(s, s.share([0] if layers == "first" else s.square)) for s in self.widths])

    @property
    def lowest(self) -> np.ndarray:
        """(networks,) epoch of the big ones' lowest test loss."""
        return 1 + self.big.history.test_loss[:, 1:].argmin(axis=1)

    @property
    def accuracy_at_lowest(self) -> np.ndarray:
        """(networks,) test accuracy of the big ones at that epoch."""
        return self.big.history.test_accuracy[np.arange(self.big.n), self.lowest]

    def against_narrower(self, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """The end of a history's field, of the big networks and of the narrower ones, (networks,) each, of as many as
        both have."""
        wide, narrow = (_of(size, measure) for size in (self.widths[-1], self.narrower))
        count = min(len(wide), len(narrow))
        return wide[:count], narrow[:count]

    def by_size(self, measure: str) -> np.ndarray:
        """(networks, sizes) of "excess", "share of layer 1", "share of square layers", or the end of a history's
        field, as "test_accuracy"; of as many networks as every size has."""
        count = min(size.n for size in self.sizes)
        return np.stack([_of(size, measure)[:count] for size in self.sizes], axis=1)


def by_doubling(shares: Sequence[tuple[Size, np.ndarray]]) -> np.ndarray | None:
    """(networks,) change of a share per doubling of the width, by least squares in each; of as many networks as every
    width has. None where fewer than two widths trained."""
    trained = [(size, share) for size, share in shares if size.did_train]
    if len(trained) < 2:
        return None
    count = min(len(share) for _, share in trained)
    doublings = np.log2([size.widths[1] for size, _ in trained])
    return np.polyfit(doublings, np.stack([share[:count] for _, share in trained]), 1)[0].round(12)


def _of(size: Size, measure: str) -> np.ndarray:
    if measure == "excess":
        return size.excess
    if measure == "share of layer 1":
        return size.share([0])
    if measure == "share of square layers":
        return size.share(size.square) if size.square else np.full(size.n, np.nan)
    return np.asarray(getattr(size.history, measure))[:, -1]


def typed(result: Result) -> Overfitting:
    """What the page reads, of a stored result."""
    found: chapter4.Overfitting = result.typed
    big = conversion.networks("big network", found.big, result.config, "relu")
    own = chapter4.Size(list(big.widths), found.big.history, found.big.ranks, found.baseline)
    sizes = [_size(each) for each in (*found.ladder, own)]
    return Overfitting(
        origin=conversion.origin(result),
        big=big,
        activations=conversion.by_activation(found.activations, result.config["activations"]),
        images=result.config["activations"]["data"]["train_size"],
        sizes=tuple(sorted(sizes, key=lambda size: size.parameters)),
        excess=chapter4.excess(big.history.test_loss),
        memorised=chapter4.overfitted(big.history.train_accuracy, big.history.test_loss),
    )


def _size(found: chapter4.Size) -> Size:
    ranks = found.ranks
    return Size(
        widths=tuple(found.widths),
        history=conversion.history(found.history),
        full_rank=ranks.limits,
        initial=conversion.measures(ranks.initial),
        weights=conversion.measures(ranks.weights),
        update=conversion.measures(ranks.update),
        baseline=found.baseline,
    )
