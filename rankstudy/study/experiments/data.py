"""Chapter 1: what the data are, and how fast they can be had."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankstudy import config
from rankstudy.data import Dataset
from rankstudy.study.engine import Run
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Floats, Integers


@dataclass(frozen=True)
class Pictures:
    """Chapter 1's result."""

    counts: Mapping[str, Integers]  # split -> (10,) pictures of each digit
    examples: NDArray[np.uint8]  # (10, examples, 28, 28)
    mean_picture: Floats  # (28, 28) of the training pictures, normalised
    always_zero: dict[str, int]  # pixels that are dark in every picture of the "train" split, of the "official" set
    lit_in_test_only: int  # pixels
    normalised: dict[str, float]  # "mean" and "std" of the training split
    images_per_second: float  # out of the loader
    shape: list[int]  # of the training pictures
    bytes: int  # of all three splits


@dataclass(frozen=True)
class Config(Job[Pictures]):
    NAME = "data"
    ANSWER = Pictures

    data: config.Data
    batch_size: int = 128  # pictures
    examples: int = 3  # pictures of each digit to show
    passes: int = 1  # of the training split when the loader is timed

    def selection(self) -> str:
        return self.data.name

    def compute(self) -> Pictures:
        return compute(self)


CONFIGS = {
    "smoke": Config(config.Data("mnist"), examples=2),
    "quick": Config(config.Data("mnist")),
    "full": Config(config.Data("mnist"), passes=5),
}


def plan(settings: Config) -> list[Run]:
    return []  # no network is trained


def compute(settings: Config) -> Pictures:
    from rankstudy import data
    from rankstudy.study.engine import dataset_on_device

    dataset = dataset_on_device(settings.data)
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    counts = {name: np.bincount(split.labels.cpu().numpy(), minlength=10) for name, split in splits.items()}
    lit = {name: (split.images > split.images.min()).any(dim=0).cpu().numpy() for name, split in splits.items()}
    official = lit["train"] | lit["validation"]
    labels = dataset.train.labels.cpu().numpy()
    chosen = np.concatenate([np.flatnonzero(labels == digit)[: settings.examples] for digit in range(10)])
    images = dataset.train.images.cpu().numpy()
    mean, std = data.scaling(dataset.name)
    pixels = np.clip((images[chosen] * std + mean) * 255, 0, 255).round().astype(np.uint8)
    return Pictures(
        counts=counts,
        examples=pixels.reshape(10, settings.examples, 28, 28),
        mean_picture=images.mean(axis=0).reshape(28, 28).astype(np.float32),
        always_zero={"train": int((~lit["train"]).sum()), "official": int((~official).sum())},
        lit_in_test_only=int((lit["test"] & ~official).sum()),
        normalised={"mean": float(images.mean()), "std": float(images.std())},
        images_per_second=_loader_speed(dataset, settings),
        shape=list(dataset.train.images.shape),
        bytes=sum(split.images.numel() * split.images.element_size() for split in splits.values()),
    )


def _loader_speed(dataset: Dataset, settings: Config) -> float:
    """Pictures per second out of the ordinary DataLoader."""
    from rankstudy import data

    loader, _, _ = data.loaders(dataset, settings.batch_size)
    begun, seen = time.perf_counter(), 0
    for _ in range(settings.passes):
        for images, _labels in loader:
            seen += len(images)
    return seen / (time.perf_counter() - begun)
