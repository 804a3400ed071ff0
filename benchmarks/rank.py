"""`matrix_rank` against NumPy's and torch's, which take an SVD: same answers, less time.

Every comparison has the same matrix and asks both for the same definition; a different answer ends the benchmark.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks import Row, alternate, one_thread, ratio, report
from rankstudy.rank import matrix_rank

PLATEAUS = (0.1, 0.5, 0.9, 1.1, 2.0, 10.0)
LARGE = 4096  # from here an SVD takes a minute: fewer matrices, fewer turns, no call before the clock runs
GAP_TARGETS = {1024: "≥ 1.5", 2048: "≥ 3", 4096: "≥ 3"}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks rank", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024, 2048, 4096])
    parser.add_argument("--repeats", type=int, default=3, help="of each comparison; at most 2 from 4096 up")
    parser.add_argument("--batch", type=int, default=64, help="matrices of 784×256")
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    rng = np.random.default_rng(0)
    rows = []
    for n in options.sizes:
        repeats = min(options.repeats, 2) if n >= LARGE else options.repeats
        for share in (0.05, 0.73) if n >= LARGE else (0.05, 0.5, 0.73, 1.0):
            rank = max(1, int(share * n))
            a = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
            rows.append(against_numpy(f"{n}×{n}, a gap, rank {rank}", a, GAP_TARGETS.get(n, ""), repeats))
        layer = rng.standard_normal((n, n)).astype(np.float32)
        rows.append(against_numpy(f"{n}×{n} float32, a random layer", layer, "≥ 1", repeats, same=False))
        for what, a in near(n, rng, (0.5, 1.1) if n >= LARGE else PLATEAUS):
            rows.append(against_numpy(f"{n}×{n}, {what}", a, "≥ 1", repeats))
    for dtype in (torch.float32, torch.float64):
        name = str(dtype).removeprefix("torch.")
        layers = torch.from_numpy(rng.standard_normal((options.batch, 784, 256))).to(dtype)
        rows.append(against_torch(f"{options.batch} of 784×256 {name}, full rank", layers, options.repeats))
        factors = rng.standard_normal((options.batch, 784, 100)) @ rng.standard_normal((options.batch, 100, 256))
        low = torch.from_numpy(factors).to(dtype)
        rows.append(against_torch(f"{options.batch} of 784×256 {name}, rank 100", low, options.repeats))
    report("rank", rows, time.perf_counter() - begun, clock=one_thread())


def near(n: int, rng: np.random.Generator, heights: Sequence[float]) -> list[tuple[str, np.ndarray]]:
    """Float64 matrices with singular values in the band around τ, where a gap cannot decide."""
    u, v = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    eps = np.finfo(float).eps
    half = n // 2
    plateaus = [
        (f"half a plateau at {height} τ", (u * np.r_[np.ones(half), np.full(n - half, height * n * eps)]) @ v.T)
        for height in heights
    ]
    return [*plateaus, ("graded over 17 decades", (u * np.logspace(0, -17, n)) @ v.T)]


def against_numpy(what: str, a: np.ndarray, target: str, repeats: int, same: bool = True) -> Row:
    """`same`: whether NumPy's answer, an SVD in the dtype of `a`, must be ours; if not, the SVD in float64 must."""
    reference = None if same else matrix_rank(a, method="svd")
    return row(what, "numpy.linalg.matrix_rank", lambda: matrix_rank(a), lambda: np.linalg.matrix_rank(a),
               target, repeats, reference, warm=min(a.shape) < LARGE)  # fmt: skip


def against_torch(what: str, a: torch.Tensor, repeats: int) -> Row:
    return row(what, "torch.linalg.matrix_rank", lambda: matrix_rank(a), lambda: torch.linalg.matrix_rank(a).numpy(),
               "", repeats)  # fmt: skip


def row(what: str, against: str, ours: Callable, theirs: Callable, target: str, repeats: int,
        reference: object = None, warm: bool = True) -> Row:  # fmt: skip
    found: dict[str, object] = {}
    jobs = {"theirs": lambda: found.update(theirs=theirs()), "ours": lambda: found.update(ours=ours())}
    seconds = alternate(jobs, repeats, warm=warm, clock=one_thread())
    if not np.array_equal(found["ours"], expected := found["theirs"] if reference is None else reference):
        raise SystemExit(f"{what}: ranks differ, {found['ours']} here and {expected} there")
    ranks = np.unique(found["ours"])
    note = "rank " + (f"{ranks[0]}" if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}") + ", the same"
    text = {name: f"{1e3 * statistics.median(values):,.1f} ms" for name, values in seconds.items()}
    print(f"{what}: {text['ours']} against {text['theirs']}", flush=True)
    return Row(what, against, text["ours"], text["theirs"], ratio(seconds["theirs"], seconds["ours"]), target,
               repeats, note)  # fmt: skip
