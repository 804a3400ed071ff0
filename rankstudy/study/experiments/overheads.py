"""What fine-tuning costs, by what may move: memory, checkpoint, time per step, latency unmerged and merged."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rankstudy import config
from rankstudy.study.typed import Floats, Integers

if TYPE_CHECKING:
    import torch

Method = tuple[str, int | None]  # as `finetuning.adapt` is told, and the rank

_ADAPTERS: tuple[Method, ...] = tuple(("lora", rank) for rank in (1, 2, 4, 8, 16))
METHODS: tuple[Method, ...] = (("full", None), *_ADAPTERS, ("last", None), ("row", None))
SEED = 0  # of the network that is timed; what its weights are does not matter here


@dataclass(frozen=True)
class Config:
    batches: tuple[int, ...] = (1, 16, 128, 1024)  # images, for latency
    rounds: int = 15  # repetitions; in each, every method takes its turn, so that a slow moment hits all
    steps: int = 10  # per turn
    seconds: float = 0.5  # of each latency
    rank: int = 8  # of the adapter whose latency, and speed at each width, is measured
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096)  # of three hidden layers


@dataclass(frozen=True)
class Costs:
    """By method, a row each; bytes and operations are counted, seconds measured."""

    methods: list[str]
    device: str
    batch_size: int
    rank: int  # of the adapter whose latency, and speed at each width, is measured
    trainable: Integers  # (methods,) parameters
    weights: Integers  # (methods,) bytes in training, as are the next three
    gradients: Integers
    optimizer: Integers
    activations: Integers
    checkpoint: Integers  # (methods,) bytes on disk
    flops: Integers  # (methods,) of a training step
    step_seconds: Floats  # (methods, rounds)
    latency: Floats  # (base, unmerged, merged; batches; median and interquartile range) seconds
    batches: Integers
    widths: Integers
    width_seconds: Floats  # (widths; full, lora; rounds) of a training step
    width_flops: Integers  # (widths; full, lora)


def compute(settings: Config, network: config.Network, batch_size: int) -> Costs:
    from rankstudy import device

    both = (("full", None), ("lora", settings.rank))
    networks = [config.Network((network.widths[0], *[width] * 3, network.widths[-1])) for width in settings.widths]
    return Costs(
        methods=[name if rank is None else f"{name}-{rank}" for name, rank in METHODS],
        device=device.describe(device.choose()),
        batch_size=batch_size,
        rank=settings.rank,
        **_memory(network, batch_size),
        step_seconds=step_seconds(network, METHODS, batch_size, settings),
        latency=_latency(settings, network),
        batches=np.array(settings.batches),
        widths=np.array(settings.widths),
        width_seconds=np.stack([step_seconds(wide, both, batch_size, settings) for wide in networks]),
        width_flops=np.array([[_flops(wide, method, rank, batch_size) for method, rank in both] for wide in networks]),
    )


def _flops(network: config.Network, method: str, rank: int | None, batch_size: int) -> int:
    """Operations of a training step's matrix products, counted without computing anything."""
    import torch

    from rankstudy import finetuning, layers, measure

    model = finetuning.adapt(layers.build(network, SEED), method, 0, rank=rank).to("meta")
    return measure.flops(model, torch.zeros(batch_size, network.widths[0], device="meta"), backward=True)


def _memory(network: config.Network, batch_size: int) -> dict[str, np.ndarray]:
    """Bytes of each method, counted: they do not depend on the machine."""
    import torch
    from safetensors.torch import save

    from rankstudy import finetuning, layers, lora, measure

    found: dict[str, list[int]] = {
        name: [] for name in ("trainable", "weights", "gradients", "optimizer", "activations", "checkpoint", "flops")
    }
    images = torch.zeros(batch_size, network.widths[0])
    for method, rank in METHODS:
        model = finetuning.adapt(layers.build(network, SEED), method, 0, rank=rank)
        memory = measure.training_memory(model, config.Training(1), images)
        for name in ("weights", "gradients", "optimizer", "activations"):
            found[name].append(getattr(memory, name))
        found["flops"].append(_flops(network, method, rank, batch_size))
        found["trainable"].append(lora.trainable(model).parameters)
        if method == "lora":
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "adapters.safetensors"
                lora.save_adapters(model, path)
                found["checkpoint"].append(path.stat().st_size)
        else:
            moved = {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
            found["checkpoint"].append(len(save(moved)))
    return {name: np.array(values) for name, values in found.items()}


def step_seconds(network: config.Network, methods: Sequence[Method], batch_size: int, settings: Config) -> np.ndarray:
    """(methods, rounds): seconds of one training step, mean over a turn of `settings.steps`; a first turn warms up."""
    import torch

    from rankstudy import data, device, finetuning, layers

    where = device.choose()
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(8 * batch_size, network.widths[0], generator=generator).to(where)
    split = data.Split(images, torch.zeros(len(images), dtype=torch.int64, device=where))
    models = [finetuning.adapt(layers.build(network, SEED).to(where), method, 0, rank=rank) for method, rank in methods]
    found = np.zeros((len(models), settings.rounds + 1))
    for turn in range(settings.rounds + 1):
        for row, model in enumerate(models):
            begun = _now(where)
            finetuning.finetune(
                model, split, learning_rate=1e-5, steps=settings.steps, batch_size=batch_size, seed=turn
            )
            found[row, turn] = (_now(where) - begun) / settings.steps
    return found[:, 1:]


def _now(where: torch.device) -> float:
    import torch

    if where.type == "cuda":
        torch.cuda.synchronize(where)
    return time.perf_counter()


def _latency(settings: Config, network: config.Network) -> np.ndarray:
    """(base, unmerged, merged; batches; median and interquartile range): seconds of one forward pass."""
    import torch

    from rankstudy import device, layers, lora, measure

    where = device.choose()
    base = layers.build(network, SEED).to(where)
    unmerged = lora.add_lora(base, settings.rank)
    found = np.zeros((3, len(settings.batches), 2))
    for column, batch in enumerate(settings.batches):
        images = torch.zeros(batch, network.widths[0], device=where)
        for row, model in enumerate((base, unmerged, lora.merged(unmerged))):
            latency = measure.latency(model, images, seconds=settings.seconds)
            found[row, column] = latency.median, latency.iqr
    return found
