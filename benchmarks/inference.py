"""A forward pass through factors B·C against the dense one, beside what operations and bytes would let one expect."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmarks import Row, alternate, ratio, report
from rankstudy import config, device
from rankstudy.layers import build
from rankstudy.study.experiments.inference import merged, moved, operations
from rankstudy.study.experiments.overfitting import WIDTHS

RANK, LAYER = 32, (1024, 1024)
BLOCK = 0.02  # seconds of calls in a turn


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks inference", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="turns of each measurement")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 32, 128, 256, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 1024, 8192])
    options = parser.parse_args(arguments)
    begun, where = time.perf_counter(), device.choose()
    found = {
        name: {batch: compared(widths, options.ranks, batch, options.repeats, where) for batch in options.batches}
        for name, widths in (("hidden layer", LAYER), ("network", WIDTHS))
    }
    layer = config.Network(LAYER).shapes()
    rows = []
    for batch in (batch for batch in options.batches if batch >= 1024 and RANK in options.ranks):
        dense, times = found["hidden layer"][batch]["dense"], found["hidden layer"][batch][f"rank {RANK}"]
        allowed = operations(layer, None, batch) / operations(layer, RANK, batch)
        rows.append(
            Row(
                f"hidden layer, r = {RANK}, batch {batch}",
                "dense",
                f"{1e6 * statistics.median(times):.0f} µs",
                f"{1e6 * statistics.median(dense):.0f} µs",
                ratio(dense, times),
                f"≥ {allowed / 2:g} (half of the operations)",
                options.repeats,
            )
        )
    shapes = {name: config.Network(widths).shapes() for name, widths in (("hidden layer", LAYER), ("network", WIDTHS))}
    tables = {
        f"Times as fast as dense: {name}": [
            ["variant", "operations", *(f"batch {batch}: measured (bytes)" for batch in by_batch)],
            *(
                [variant, f"{share(shapes[name], rank, operations, 1):.3g}"]
                + [
                    f"{ratio(times['dense'], times[variant]):.3g} ({share(shapes[name], rank, moved, batch):.3g})"
                    for batch, times in by_batch.items()
                ]
                for variant, rank in [*((f"rank {rank}", rank) for rank in options.ranks), ("merged", None)]
            ),
        ]
        for name, by_batch in found.items()
    }
    report("inference", rows, time.perf_counter() - begun, tables)


def share(shapes: Sequence[tuple[int, int]], rank: int | None, count, batch: int) -> float:
    """How many times more a dense forward pass needs of what `count` counts."""
    return count(shapes, None, batch) / count(shapes, rank, batch)


def compared(
    widths: tuple[int, ...], ranks: Sequence[int], batch: int, repeats: int, where: torch.device
) -> dict[str, list[float]]:
    """Seconds of a forward pass of each variant, in turns."""
    variants = {"dense": build(config.Network(widths), 0)}
    variants |= {f"rank {rank}": build(config.Network(widths, rank=rank), 0) for rank in ranks}
    variants["merged"] = merged(variants[f"rank {ranks[0]}"])
    images = torch.randn(batch, widths[0], generator=torch.Generator().manual_seed(0)).to(where)
    jobs = {name: forward(model.to(where), images) for name, model in variants.items()}
    return alternate(jobs, repeats, block=BLOCK)


def forward(model: nn.Module, images: torch.Tensor) -> Callable[[], torch.Tensor]:
    """A function that makes one forward pass."""

    def job() -> torch.Tensor:
        with torch.inference_mode():
            return model(images)

    return job
