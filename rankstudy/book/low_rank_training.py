"""Chapter 6 as a typed result: the big network with every matrix as B·C from the start, beside the dense one. No torch.

Arrays have networks first, then epochs. `results.low_rank_training()` makes it; `low_rank_controls` has the controls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.measured import History, Origin, Tuning
from rankstudy.factorization import break_even_rank
from rankstudy.study.experiments.inference import Times, moved, operations
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

    @property
    def level_name(self) -> str:
        """`level` in a sentence."""
        return "any level" if self.level is None else f"{100 * self.level:g}\u00a0%"

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
