"""Chapter 3's control of inputs and directions as a typed result; networks come first. No torch.

`results.dissection()` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.measured import Origin
from rankstudy.book.missing import Missing
from rankstudy.book.stats import estimate
from rankstudy.book.tables import Markdown, of_control, percentage, show
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

    @property
    def trained(self) -> np.ndarray:
        """(networks,) test accuracy as trained."""
        return self.networks.scores[:, 1]

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


def square(dissection: Dissection | Missing, name: str) -> np.ndarray | None:
    """(networks,) mean over the square layers of an entropy rank of `Baselines`, or of "lower" or "higher"."""
    if isinstance(dissection, Missing):
        return None
    values = getattr(dissection, name) if name in ("lower", "higher") else getattr(dissection.networks.baselines, name)
    return values[:, dissection.square].mean(axis=1)


# Tables of the evidence


@of_control
def inputs_table(dissection: Dissection) -> Markdown:
    """Entropy ranks by layer: start, update, random errors on the inputs before training and after it, the inputs."""
    found = dissection.networks.baselines
    columns = {
        "W₀": found.initial,
        "W − W₀": found.update,
        "random errors, untrained inputs": found.before,
        "trained inputs": found.after,
        "the inputs, untrained": found.inputs_before,
        "trained": found.inputs_after,
    }
    rows = [
        [_name(dissection, layer), *(estimate(values[:, layer]) for values in columns.values())]
        for layer in range(len(dissection.shapes))
    ]
    return show(["layer", *columns], rows)


@of_control
def wider_table(dissection: Dissection) -> Markdown:
    """Share of full rank that random errors on the images fill in a first layer, by its width."""
    shares = [100 * float(each.mean()) for each in dissection.wider_share]
    return show(["units", "share of full rank, %"], list(zip(dissection.wider, shares, strict=True)))


@of_control
def left_out_table(dissection: Dissection) -> Markdown:
    """What truncation to an eighth of the directions leaves out, by hidden layer."""
    found = dissection.networks.left_out
    columns = {
        "the start’s share, %": found.start,
        "error of the weights, %": found.weights,
        "of the outputs, %": found.outputs,
        "of the outputs, at random, %": found.unrelated,
    }
    rows = [
        [_name(dissection, layer), *(estimate(100 * values[:, layer]) for values in columns.values())]
        for layer in range(found.start.shape[1])
    ]
    return show(["layer", *columns], rows)


@of_control
def outliers_table(dissection: Dissection) -> Markdown:
    """Singular values above the largest one of entry-shuffled copies, by layer."""
    found = dissection.networks
    rows = [
        [
            _name(dissection, layer),
            estimate(found.outliers_update[:, layer]),
            estimate(found.outliers_weights[:, layer]),
        ]
        for layer in range(len(dissection.shapes))
    ]
    return show(["layer", "W − W₀", "W"], rows)


@of_control
def exchanged_table(dissection: Dissection) -> Markdown:
    """Test accuracy and loss with the outlying directions alone or without them, against as many of the next."""
    found = dissection.networks
    scores = {"as trained": found.scores, "hidden layers at their start": found.start}
    for matrix, name in (("update", "W − W₀"), ("weights", "W")):
        for action, what in (("kept", "only"), ("removed", "without")):
            for which, kind in (("outliers", "outliers"), ("next", "next as many")):
                scores[f"{name}: {what} the {kind}"] = found.exchanged[f"{matrix}_{action}_{which}"]
    rows = [[name, percentage(each[:, 1]), estimate(each[:, 0])] for name, each in scores.items()]
    return show(["hidden layers", "test accuracy, %", "test loss, nats"], rows)


def _name(dissection: Dissection, layer: int) -> str:
    out, inp = dissection.shapes[layer]
    return f"{layer + 1},\u00a0{out}\u00a0×\u00a0{inp}"
