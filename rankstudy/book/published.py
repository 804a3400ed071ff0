"""What papers measured, each with its source, to set beside our own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankstudy.book.stats import percent
from rankstudy.book.tables import Markdown


@dataclass(frozen=True)
class Published:
    """A value read from the source named."""

    value: float
    unit: str
    what: str
    source: str  # key in references.bib

    def cited(self) -> Markdown:
        """The value and its source, for running text."""
        after = f"\u00a0{self.unit}" if self.unit else ""
        return Markdown(f"[{self.value:,g}{after}]{{.cited}} [@{self.source}]")


VALUES = {
    "d90-2x400": Published(
        750, "dimensions", "intrinsic dimension at 90 % test accuracy, 784-400-400-10 on MNIST", "li2018"
    ),
    "d90-lenet": Published(290, "dimensions", "the same for LeNet", "li2018"),
    "mrpc": Published(200, "parameters", "tune RoBERTa to 90 % of full performance on MRPC", "aghajanyan2020"),
    "lora-memory": Published(350, "GB", "memory to fine-tune GPT-3 with LoRA, of 1,200 GB", "hu2021"),
    "lora-checkpoint": Published(35, "MB", "checkpoint of LoRA r = 4 on GPT-3, of 350 GB", "hu2021"),
    "lora-throughput": Published(43.1, "tokens/s", "training throughput with LoRA, of 32.5", "hu2021"),
}


@dataclass(frozen=True)
class Truncated:
    """Accuracies of a network whose layers, all but the last, were truncated to some ranks, off a published plot."""

    ranks: np.ndarray  # (ranks,)
    accuracy: np.ndarray  # (ranks,), on test data
    full: float  # before truncation
    source: str  # key in references.bib

    def full_text(self) -> Markdown:
        """For running text."""
        return Markdown(f"[{percent(self.full, 2)}]{{.cited}}")


TRUNCATION = Truncated(
    np.array([10, 20, 50, 100, 200]), np.array([0.714, 0.885, 0.938, 0.966, 0.976]), 0.9822, "agarwal2019"
)


@dataclass(frozen=True)
class Crossed:
    """Random dimensions at which a network's test accuracy on MNIST reaches a level; one value for each run, and the
    authors' second and third seed, which agree to 0.003 at every dimension, count as one."""

    network: str
    parameters: int  # with biases
    absolute: tuple[int, ...]  # accuracy 0.90
    relative: tuple[int, ...]  # 90 % of its own accuracy with all parameters trained


# Li et al. 2018, from the authors' plotting notebook; linear between the dimensions of its grid
INTRINSIC = (
    Crossed("784–200–200–10", 199_210, (722, 850), (586, 644)),
    Crossed("784–400–400–10", 478_410, (750,), (525,)),
    Crossed("LeNet (convolutions)", 44_426, (290,), (275,)),
)
# the same network's test accuracy by dimension, (runs, dimensions)
INTRINSIC_DIMENSION = np.array([100, 200, 300, 500, 600, 750, 1000, 1500])
INTRINSIC_ACCURACY = np.array(
    [
        [0.6124, 0.7551, 0.8189, 0.8693, 0.8860, 0.9001, 0.9163, 0.9302],
        [0.5827, 0.7601, 0.8182, 0.8622, 0.8773, 0.8912, 0.9020, 0.9228],
    ]
)


def value(name: str) -> Published:
    """By name. Raises `KeyError` with the names there are."""
    if name not in VALUES:
        raise KeyError(f"nothing published is called {name!r}; there are {', '.join(VALUES)}")
    return VALUES[name]
