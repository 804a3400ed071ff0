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


def value(name: str) -> Published:
    """By name. Raises `KeyError` with the names there are."""
    if name not in VALUES:
        raise KeyError(f"nothing published is called {name!r}; there are {', '.join(VALUES)}")
    return VALUES[name]
