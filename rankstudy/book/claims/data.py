"""What was expected of the images."""

from __future__ import annotations

import numpy as np

from rankstudy import example_network
from rankstudy.book.claims import hypothesis
from rankstudy.book.views import Data

EQUAL = 1e-3  # of a column's norm: columns that differ by less are called equal; float32 training rounds that much


@hypothesis(
    "data-dark-pixels",
    "Some pixels are dark in every image of the official training set.",
    family="data",
    expects="every",
    evidence="sec-evidence-data-pixels",
)
def dark_pixels(data: Data) -> np.ndarray:
    return np.array([data.always_dark > 0])


@hypothesis(
    "data-equal-columns",
    "In what training added to the first layer of the example network, the columns of the pixels that are always dark "
    "are equal up to rounding.",
    family="data",
    expects="every",
    evidence="sec-evidence-data-columns",
)
def equal_columns(data: Data) -> np.ndarray | None:
    if data.origin.data != "mnist":  # on which the example network was trained
        return None
    return distances(data) < EQUAL


def distances(data: Data) -> np.ndarray:
    """(dark pixels,), distance of each dark pixel's column of W₁ − W₁⁰ of the example network from their mean, over
    the mean's norm."""
    network = example_network()
    columns = (network.trained[0] - network.initial[0])[:, data.dark.ravel()]
    mean = columns.mean(axis=1, keepdims=True)
    return np.linalg.norm(columns - mean, axis=0) / np.linalg.norm(mean)
