"""Chapter 6's controls as typed results: low rank against fewer neurons, and where large batches lose time. No torch.

Arrays of networks have them first, then ranks; of times, what was repeated comes last. `results.narrow()` and
`results.large_batches()` make them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.approximation import Scores
from rankstudy.book.measured import History, Origin, Tuning
from rankstudy.study.experiments import narrow as control
from rankstudy.study.experiments.large_batches import NETWORKS, WAYS
from rankstudy.study.questions import Result

BLOCK = 2**25  # bytes from which glibc's malloc asks the system for every block


@dataclass(frozen=True)
class Kind:
    """Networks of one kind at every rank."""

    widths: list[tuple[int, ...]]  # by rank
    parameters: np.ndarray  # (ranks,)
    scores: Scores  # (networks, ranks), after the last epoch
    histories: list[History]  # by rank
    learning_rate: np.ndarray  # (ranks,)
    tuning: list[Tuning | None]  # by rank
    right: np.ndarray  # (ranks, test images), share of the networks that classify each correctly
    step: np.ndarray  # (ranks, blocks), seconds of a training step
    forward: np.ndarray  # (ranks, batches, blocks), seconds of a forward pass

    @property
    def errors(self) -> np.ndarray:
        """(networks, ranks), test images that are classified wrongly."""
        return self.right.shape[1] * (1 - self.scores.test_accuracy)


@dataclass(frozen=True)
class Narrow:
    """Every layer as B·C, against a dense network of fewer units with as many parameters; both tuned alike."""

    origin: Origin
    rank: int  # chapter 5's effective rank
    ranks: np.ndarray  # (ranks,), ascending
    epochs: int
    factorised: Kind
    narrow: Kind
    batches: np.ndarray  # (batches,), images in a forward pass
    batch_size: int  # images in a training step
    device: str  # that was timed
    threads: int

    @property
    def at(self) -> int:
        """Index of the effective rank in `ranks`."""
        return int(np.flatnonzero(self.ranks == self.rank)[0])

    @property
    def units(self) -> np.ndarray:
        """(ranks,), in each hidden layer of the narrow network."""
        return np.array([widths[1] for widths in self.narrow.widths])

    def gain(self, split: str = "test") -> np.ndarray:
        """(networks, ranks), accuracy of the factorised networks above that of the narrow ones."""
        return getattr(self.factorised.scores, f"{split}_accuracy") - getattr(self.narrow.scores, f"{split}_accuracy")

    @property
    def error_change(self) -> np.ndarray:
        """(networks, ranks), errors of the factorised networks on test images over the narrow ones', less 1."""
        wrong, before = (1 - each.scores.test_accuracy for each in (self.factorised, self.narrow))
        return wrong / before - 1

    @property
    def loss_change(self) -> np.ndarray:
        """(networks, ranks), test loss of the factorised networks less the narrow ones', nats."""
        return self.factorised.scores.test_loss - self.narrow.scores.test_loss

    @property
    def searches(self) -> dict[str, tuple[Tuning | None, float]]:
        """How each learning rate was found, and which it is."""
        return {
            f"{name}, r = {rank}": (kind.tuning[row], float(kind.learning_rate[row]))
            for name, kind in (("low rank", self.factorised), ("narrow", self.narrow))
            for row, rank in enumerate(self.ranks)
        }

    @property
    def image_gain(self) -> np.ndarray:
        """(test images, ranks), the same of each image, averaged over networks."""
        return (self.factorised.right - self.narrow.right).T

    @property
    def step_ratio(self) -> np.ndarray:
        """(ranks, blocks), seconds of a training step over the narrow network's in the same block."""
        return self.factorised.step / self.narrow.step

    def step_medians(self, kind: str) -> np.ndarray:
        """(ranks,), seconds of a training step, "factorised" or "narrow"."""
        return np.median(getattr(self, kind).step, axis=1)

    @property
    def step_quartiles(self) -> np.ndarray:
        """(3, ranks): lower quartile, median and upper quartile of `step_ratio` over blocks."""
        return np.quantile(self.step_ratio, [0.25, 0.5, 0.75], axis=1)

    @property
    def forward_quartiles(self) -> np.ndarray:
        """(3, ranks, batches): the same of `forward_ratio`."""
        return np.quantile(self.forward_ratio, [0.25, 0.5, 0.75], axis=2)

    @property
    def forward_ratio(self) -> np.ndarray:
        """(ranks, batches, blocks), the same of a forward pass."""
        return self.factorised.forward / self.narrow.forward


@dataclass(frozen=True)
class LargeBatches:
    """Forward passes of the dense and the low-rank network as a user gets them, and with memory kept."""

    origin: Origin
    rank: int
    widths: tuple[int, ...]
    batches: np.ndarray  # (batches,), images
    seconds: Mapping[str, Mapping[str, np.ndarray]]  # way -> network -> (batches, passes)
    faults: Mapping[str, Mapping[str, np.ndarray]]  # the same, minor page faults; NaN where they are not counted
    page: int  # bytes
    threads: int

    @property
    def outputs(self) -> np.ndarray:
        """(batches,), bytes that the widest hidden layer gives out."""
        return 4 * max(self.widths[1:]) * self.batches

    @property
    def large(self) -> np.ndarray:
        """(batches,), whether a layer's outputs are a block that malloc asks the system for, whatever came before."""
        return self.outputs >= BLOCK

    def speedup(self, way: str) -> np.ndarray:
        """(batches, passes), time of the dense network over the low-rank one's beside it."""
        return self.seconds[way]["dense"] / self.seconds[way]["low rank"]

    def median_speedup(self, way: str) -> np.ndarray:
        """(batches,), its median over passes."""
        return np.median(self.speedup(way), axis=1)

    def fall(self, way: str) -> float:
        """Per cent by which the median speed-up falls from the smallest batch to the largest."""
        medians = self.median_speedup(way)
        return float(100 * (1 - medians[-1] / medians[0]))

    def milliseconds(self, way: str, network: str) -> np.ndarray:
        """(batches,), of a pass, median over passes."""
        return 1e3 * np.median(self.seconds[way][network], axis=1)

    def page_faults(self, way: str, network: str) -> np.ndarray:
        """(batches,), of a pass, median over passes."""
        return np.median(self.faults[way][network], axis=1)


def narrow(result: Result) -> Narrow:
    found, speed = result.typed, result.typed.speed
    kinds = {}
    for row, name in enumerate(control.KINDS):
        networks: list[control.Networks] = getattr(found, name)
        histories = [conversion.history(each.history) for each in networks]
        last = {
            f"{split}_{what}": np.stack([getattr(each, f"{split}_{what}")[:, -1] for each in histories], axis=1)
            for split in ("train", "validation", "test")
            for what in ("loss", "accuracy")
        }
        kinds[name] = Kind(
            widths=[tuple(each.widths) for each in networks],
            parameters=np.array([each.parameters for each in networks]),
            scores=Scores(**last),
            histories=histories,
            learning_rate=np.array([each.learning_rate for each in networks]),
            tuning=[conversion.tuning(each.tuning) for each in networks],
            right=np.stack([each.right for each in networks]) / len(histories[0].seeds),
            step=speed.step[row],
            forward=speed.forward[row],
        )
    return Narrow(
        origin=conversion.origin(result),
        rank=found.rank,
        ranks=found.ranks,
        epochs=int(result.config["training"]["epochs"]),
        **kinds,
        batches=speed.batches,
        batch_size=speed.batch_size,
        device=speed.device,
        threads=speed.threads,
    )


def large_batches(result: Result) -> LargeBatches:
    found = result.typed

    def named(values: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        return {way: dict(zip(NETWORKS, each, strict=True)) for way, each in zip(WAYS, values, strict=True)}

    return LargeBatches(
        origin=conversion.origin(result),
        rank=found.rank,
        widths=tuple(found.widths),
        batches=found.batches,
        seconds=named(found.seconds),
        faults=named(found.faults),
        page=found.page,
        threads=found.threads,
    )
