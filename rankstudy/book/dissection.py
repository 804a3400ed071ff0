"""Chapter 3's control of inputs and directions as a typed result; networks come first. No torch.

`results.dissection()` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.measured import Origin
from rankstudy.study.experiments import dissection as experiment
from rankstudy.study.experiments.dissection import EXCHANGES, TENTHS, Baselines, Deleted, LeftOut, Probed
from rankstudy.study.questions import Result

__all__ = ["EXCHANGES", "TENTHS", "Baselines", "Deleted", "Dissection", "LeftOut", "Probed", "typed"]


@dataclass(frozen=True)
class Dissection:
    """The control."""

    origin: Origin
    widths: tuple[int, ...]
    networks: Probed
    wider: np.ndarray  # (widths,) units of a first layer
    wider_share: np.ndarray  # (widths, draws) of full rank that random errors on the images fill there

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each layer."""
        return [(out, inp) for inp, out in pairwise(self.widths)]

    @property
    def square(self) -> list[int]:
        """Indices of the layers of equal, square shape."""
        return [index for index, (out, inp) in enumerate(self.shapes) if out == inp]

    @property
    def lower(self) -> np.ndarray:
        """(networks, layers) the lower of the two baselines: on inputs before training and after it."""
        return np.minimum(self.networks.baselines.before, self.networks.baselines.after)

    @property
    def higher(self) -> np.ndarray:
        """(networks, layers) the higher of the two."""
        return np.maximum(self.networks.baselines.before, self.networks.baselines.after)

    def accuracy(self, exchange: str) -> np.ndarray:
        """(networks,) on test images, after one of EXCHANGES."""
        return self.networks.exchanged[exchange][:, 1]

    @property
    def without_tenth(self) -> np.ndarray:
        """(networks, TENTHS) test accuracy without a tenth of the singular values of every hidden layer."""
        return self.networks.deleted.tenths[:, 0, :, 1]


def typed(result: Result) -> Dissection:
    found: experiment.Dissection = result.typed
    return Dissection(conversion.origin(result), tuple(found.widths), found.networks, found.wider, found.wider_share)
