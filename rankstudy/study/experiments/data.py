"""Chapter 1: what the data are, and how fast they can be had."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankstudy import config


@dataclass(frozen=True)
class Config:
    data: config.Data
    batch_size: int = 128  # pictures
    examples: int = 3  # pictures of each digit to show
    passes: int = 1  # of the training split when the loader is timed


CONFIGS = {
    "smoke": Config(config.Data("mnist"), examples=2),
    "quick": Config(config.Data("mnist")),
    "full": Config(config.Data("mnist"), passes=5),
}


def plan(settings: Config) -> list[Any]:
    return []  # no network is trained


def compute(settings: Config) -> dict[str, Any]:
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
    pixels = np.clip((images[chosen] * data.STD + data.MEAN) * 255, 0, 255).round().astype(np.uint8)
    return {
        "counts": counts,
        "examples": pixels.reshape(10, settings.examples, 28, 28),
        "mean_picture": images.mean(axis=0).reshape(28, 28).astype(np.float32),
        "always_zero": {"train": int((~lit["train"]).sum()), "official": int((~official).sum())},
        "lit_in_test_only": int((lit["test"] & ~official).sum()),
        "normalised": {"mean": float(images.mean()), "std": float(images.std())},
        "images_per_second": _loader_speed(dataset, settings),
        "shape": list(dataset.train.images.shape),
        "bytes": int(sum(split.images.numel() * split.images.element_size() for split in splits.values())),
    }


def _loader_speed(dataset: Any, settings: Config) -> float:
    """Pictures per second out of the ordinary DataLoader."""
    from rankstudy import data

    loader, _, _ = data.loaders(dataset, settings.batch_size)
    begun, seen = time.perf_counter(), 0
    for _ in range(settings.passes):
        for images, _labels in loader:
            seen += len(images)
    return seen / (time.perf_counter() - begun)
