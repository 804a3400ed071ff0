"""Chapter 6 as typed results: networks of low rank from the start, and its two controls. No torch.

Arrays have networks first, then ranks, then epochs or layers. `results.low_rank_training()`, `results.narrow()` and
`results.large_batches()` make them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.approximation import Scores
from rankstudy.book.measured import History, Origin, Tuning
from rankstudy.factorization import break_even_rank
from rankstudy.study.experiments import narrow as control
from rankstudy.study.experiments.inference import Times, moved, operations
from rankstudy.study.experiments.large_batches import NETWORKS, WAYS
from rankstudy.study.experiments.low_rank_training import DENSE, PLAIN, Memory
from rankstudy.study.questions import Result

LEVELS = (0.98, 0.97, 0.95, 0.9)  # validation accuracies whose first epoch is compared, the most demanding first
CONDITIONS = {  # in the store -> in the book, in its order; after the first two other ways to the same rank
    DENSE: "dense",
    PLAIN: "low rank",
    "variance": "dense variance",
    "spectral": "spectral initialisation",
    "decay": "Frobenius decay",
    "spectral + decay": "both",
    "warm": "dense warm-up, then low rank",
    "trained": "truncate, then fine-tune",
}
USUAL = 1024  # images: the batch that stands for many, where one must
BLOCK = 2**25  # bytes from which glibc's malloc asks the system for every block


@dataclass(frozen=True)
class Condition:
    """The networks of one way of training; they differ in their seed alone."""

    rank: int | None  # None: dense
    history: History
    seconds: np.ndarray  # (networks, epochs + 1), spent training so far, beside other trainings
    learning_rate: float
    tuning: Tuning | None  # None where the learning rate was given
    dense_epochs: int  # of dense training that it begins with
    dense_seconds: np.ndarray  # (networks,)


@dataclass(frozen=True)
class LowRankTraining:
    """Chapter 6: the big network dense, and with every layer as B·C from the start."""

    origin: Origin
    widths: tuple[int, ...]
    rank: int  # chapter 5's effective rank
    images: int  # in the training split
    batch_size: int
    conditions: Mapping[str, Condition]  # "dense", "low rank", and other ways to the same rank under full alone
    memory: Mapping[str, Memory]  # "dense"; "rank <r>": every layer as B·C; "spared <r>": every layer but the last
    network: Mapping[str, Times]  # a forward pass by variant: "dense", "rank <r>", "merged", …
    layer: Mapping[str, Times]  # the same of one hidden layer
    batches: np.ndarray  # (batches,), images in a forward pass
    device: str  # that was timed
    threads: int

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each layer."""
        return [(out, inp) for inp, out in pairwise(self.widths)]

    @property
    def dense(self) -> History:
        return self.conditions[DENSE].history

    @property
    def low_rank(self) -> History:
        return self.conditions[PLAIN].history

    @property
    def dense_memory(self) -> Memory:
        return self.memory[DENSE]

    @property
    def low_rank_memory(self) -> Memory:
        return self.memory[f"rank {self.rank}"]

    @property
    def dense_parameters(self) -> int:
        return self.dense_memory.parameters

    @property
    def parameters(self) -> int:
        return self.low_rank_memory.parameters

    def bars(self) -> dict[str, dict[str, float]]:
        """MB of a training step, by part: dense, every layer as B·C, and every layer but the last."""
        shown = {"dense": DENSE, "every layer B·C": f"rank {self.rank}", "all but the last": f"spared {self.rank}"}
        return {
            label: {
                "weights": self.memory[name].weights / 1e6,
                "gradients": self.memory[name].gradients / 1e6,
                "optimiser": self.memory[name].optimizer / 1e6,
                "activations": self.memory[name].activations / 1e6,
            }
            for label, name in shown.items()
        }

    def step_bytes(self, name: str) -> int:
        """Weights, gradients, optimiser state and saved activations of a training step, "dense" or "low rank"."""
        held = self.dense_memory if name == DENSE else self.low_rank_memory
        return held.weights + held.gradients + held.optimizer + held.activations

    @property
    def break_even(self) -> int:
        """The rank from which on B·C of a hidden layer has as many numbers as the layer."""
        return break_even_rank(*self.shapes[1])

    @property
    def speedup(self) -> np.ndarray:
        """(batches,), how many times as fast as dense a forward pass is, median of blocks."""
        return self.network[f"rank {self.rank}"].speedup

    @property
    def speedup_quartiles(self) -> np.ndarray:
        """(batches, 2)."""
        found = self.network[f"rank {self.rank}"]
        return np.stack([found.low, found.high], axis=1)

    @property
    def usual(self) -> int:
        """Index of the batch nearest to USUAL."""
        return int(np.abs(self.batches - USUAL).argmin())

    @property
    def level(self) -> float | None:
        """The highest of LEVELS that every network reached on validation data; None if there is none."""
        lowest = min(float(each.validation_accuracy.max(axis=1).min()) for each in (self.dense, self.low_rank))
        return next((level for level in LEVELS if lowest >= level), None)

    def epochs(self, history: History) -> np.ndarray:
        """(networks,), the first epoch at `level`; NaN where there is no level."""
        if self.level is None:
            return np.full(len(history.seeds), np.nan)
        return (history.validation_accuracy >= self.level).argmax(axis=1).astype(float)

    def seconds(self, name: str) -> np.ndarray:
        """(networks,), of training until `level`, in a condition; NaN where there is no level."""
        chosen = self.conditions[name]
        reached = self.epochs(chosen.history)
        if self.level is None:
            return reached
        return chosen.seconds[np.arange(len(reached)), reached.astype(int)]

    def validation(self, name: str) -> np.ndarray:
        """(networks, epochs), validation accuracy in per cent after each epoch of a condition."""
        return 100 * self.conditions[name].history.validation_accuracy[:, 1:]

    def own_epochs(self, name: str) -> np.ndarray:
        """(epochs,), 1 and on: what `validation` took."""
        return np.arange(1, self.conditions[name].history.epochs + 1)

    def own_seconds(self, name: str) -> np.ndarray:
        """(networks, epochs), of training: the same."""
        return self.conditions[name].seconds[:, 1:]

    def epoch_seconds(self, name: str) -> np.ndarray:
        """(networks,), seconds of training for an epoch of a condition."""
        chosen = self.conditions[name]
        return chosen.seconds[:, -1] / chosen.history.epochs

    def operations_ratio(self, rank: int | None = None) -> float:
        """How many times fewer operations a forward pass takes at a rank, the effective one by default."""
        return operations(self.shapes, None, 1) / operations(self.shapes, rank or self.rank, 1)

    def bytes_ratio(self, batch: int) -> float:
        """How many times fewer bytes it moves at least, on a batch at the effective rank."""
        return moved(self.shapes, None, batch) / moved(self.shapes, self.rank, batch)

    def speedups(self, ranks: Sequence[int] = (), what: str = "network") -> dict[str, np.ndarray]:
        """(batches,) by rank, of those named or of all that were timed, for "network" or "layer"."""
        times = getattr(self, what)
        timed = sorted(int(name.removeprefix("rank ")) for name in times if re.fullmatch(r"rank \d+", name))
        return {f"r = {rank}": times[f"rank {rank}"].speedup for rank in ranks or timed}

    @property
    def searches(self) -> dict[str, tuple[Tuning | None, float]]:
        """How each condition's learning rate was found, and which it is."""
        return {name: (each.tuning, each.learning_rate) for name, each in self.conditions.items()}

    def test_curves(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """(epochs,) and the test accuracy in per cent after each, (networks, epochs), by condition; epochs count from
        where low rank begins."""
        return {
            name: (self.own_epochs(name), 100 * each.history.test_accuracy[:, 1:])
            for name, each in self.conditions.items()
        }


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

    def milliseconds(self, way: str, network: str) -> np.ndarray:
        """(batches,), of a pass, median over passes."""
        return 1e3 * np.median(self.seconds[way][network], axis=1)

    def page_faults(self, way: str, network: str) -> np.ndarray:
        """(batches,), of a pass, median over passes."""
        return np.median(self.faults[way][network], axis=1)


def low_rank_training(result: Result) -> LowRankTraining:
    found, config = result.typed, result.config
    source = config["approximation"]["overfitting"]
    before = {"warm": config["warm_epochs"], "trained": source["training"]["epochs"]}
    names = [name for name in CONDITIONS if name in found.arms]
    return LowRankTraining(
        origin=conversion.origin(result),
        widths=tuple(source["network"]["widths"]),
        rank=found.rank,
        images=found.images,
        batch_size=int(config["training"]["batch_size"]),
        conditions={
            CONDITIONS[name]: Condition(
                rank=found.arms[name].rank,
                history=conversion.history(found.arms[name].history),
                seconds=found.arms[name].history.seconds,
                learning_rate=found.arms[name].learning_rate,
                tuning=conversion.tuning(found.arms[name].tuning),
                dense_epochs=int(before.get(name, 0)),
                dense_seconds=found.arms[name].before,
            )
            for name in names
        },
        memory=found.memory,
        network=found.inference.network,
        layer=found.inference.layer,
        batches=found.inference.batches,
        device=found.inference.device,
        threads=found.inference.threads,
    )


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
