"""One product with P and one with its transpose, each fast P against dense, in time and in memory held."""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from benchmarks import Row, alternate, ratio, report
from rankstudy import device
from rankstudy.subspace import MEMORY, PROJECTIONS

SIZES = (10_000, 30_000, 100_000, 198_800, 300_000, 1_000_000)  # D; 198,800 is 784-200-200-10
DIMENSION = 750
BLOCK = 0.2  # seconds of calls in a turn
KINDS = {"dense": "dense", "sparse": "sparse", "fastfood": "Fastfood", "partition": "partition"}
HEADS = ["D", "d", *(f"{name}, {unit}" for unit in ("ms", "MB") for name in KINDS.values())]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks subspace", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="D, parameters")
    parser.add_argument("--dimension", type=int, default=DIMENSION, help="d, dimensions of the subspace")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each timing")
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    rows, table = [], [HEADS]
    for size in options.sizes:
        seconds, held = measured(size, options.dimension, options.repeats)
        milliseconds = {kind: f"{1e3 * statistics.median(s):.3g}" for kind, s in seconds.items()}
        megabytes = {kind: f"{bytes_ / 1e6:.4g}" for kind, bytes_ in held.items()}
        cells = [found.get(kind, "–") for found in (milliseconds, megabytes) for kind in KINDS]
        table.append([size, options.dimension, *cells])
        fast = [kind for kind in KINDS if kind != "dense"]
        rows += [compared(kind, size, options, seconds, milliseconds, megabytes) for kind in fast]
    title = "One forward and one backward product, median; memory is what P holds (dense left out above its limit)"
    report("subspace", rows, time.perf_counter() - begun, {title: table})


def compared(kind: str, size: int, options, seconds: dict, milliseconds: dict, megabytes: dict) -> Row:
    """A fast P against the dense one, of whose time and memory it is a fraction."""
    what = f"{kind} P, D = {size}, d = {options.dimension}, forward and backward"
    if "dense" not in seconds:
        return Row(what, "dense P", f"{milliseconds[kind]} ms", "more memory than allowed", None, "", options.repeats)
    memory = f"{megabytes[kind]} MB against {megabytes['dense']} MB"
    ours, theirs = f"{milliseconds[kind]} ms", f"{milliseconds['dense']} ms"
    return Row(what, "dense P", ours, theirs, ratio(seconds["dense"], seconds[kind]), "", options.repeats, memory)


def measured(size: int, dimension: int, repeats: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of each turn, and bytes held, by the kind of P; a kind above the package's limit is left out."""
    kinds = [kind for kind, made in PROJECTIONS.items() if made.bytes_needed(size, dimension) <= MEMORY]
    where = device.choose()
    made = {kind: PROJECTIONS[kind](size, dimension, torch.Generator().manual_seed(0)).to(where) for kind in kinds}
    cotangent = torch.randn(size, device=where)
    seconds = alternate({kind: product(p, dimension, cotangent) for kind, p in made.items()}, repeats, block=BLOCK)
    return seconds, {kind: sum(t.nbytes for t in p.buffers()) for kind, p in made.items()}


def product(projection: nn.Module, dimension: int, cotangent: torch.Tensor):
    """A function that computes P·z and Pᵀ·c."""
    z = torch.randn(dimension, device=cotangent.device, requires_grad=True)

    return lambda: torch.autograd.grad(projection(z), z, cotangent)
