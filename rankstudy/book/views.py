"""Chapter 1 as its page and the home page tell it: a typed view of its result, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rankstudy.book import conversion
from rankstudy.book.measured import Origin
from rankstudy.data import scaling
from rankstudy.study.questions import Result


@dataclass(frozen=True)
class Data:
    """Chapter 1. Images are rows of 28 · 28 pixels."""

    origin: Origin
    counts: Mapping[str, np.ndarray]  # "train", "validation", "test" -> (10,) images of each digit
    examples: np.ndarray  # (10, examples, 28, 28) uint8, training images of each digit, grey values
    mean: float  # of all grey values, in [0, 1]; they are shifted by it
    std: float  # and divided by this
    mean_image: np.ndarray  # (28, 28), normalised, of the training images
    dark: np.ndarray  # (28, 28) bool, pixels that are dark in every training image
    always_dark: int  # pixels that are dark in every training and validation image
    lit_in_test_only: int  # of these, pixels that are lit in a test image
    normalised_mean: float  # of the training images after normalisation
    normalised_std: float
    images_per_second: float  # out of the training images' DataLoader
    bytes: int  # of the images of all three splits

    def size(self, *splits: str) -> int:
        """Images of these splits, or of all three."""
        return int(sum(self.counts[split].sum() for split in splits or self.counts))

    @property
    def different_columns(self) -> int:
        """At most as many different columns has the matrix of the images, one a row: the dark pixels share one."""
        return self.dark.size - max(0, int(self.dark.sum()) - 1)


def data(result: Result) -> Data:
    found = result.typed
    mean, std = scaling(result.data)
    return Data(
        origin=conversion.origin(result),
        counts={split: found.counts[split] for split in ("train", "validation", "test")},
        examples=found.examples,
        mean=mean,
        std=std,
        mean_image=found.mean_picture,
        dark=found.mean_picture == found.mean_picture.min(),  # the mean of the darkest value, rounding included
        always_dark=found.always_zero["official"],
        lit_in_test_only=found.lit_in_test_only,
        normalised_mean=found.normalised["mean"],
        normalised_std=found.normalised["std"],
        images_per_second=found.images_per_second,
        bytes=found.bytes,
    )
