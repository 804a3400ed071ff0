"""Ratios against peers, measured in one run: `python -m benchmarks NAME`, where NAME is a module of this folder.

Each module has `main(arguments)`, which measures and calls `report`. Peers take turns with what they are compared to,
so that a machine's moods hit both, and the median of the ratios counts.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tabulate import tabulate

from rankstudy import config, device
from rankstudy.data import Dataset, load, prepare
from rankstudy.study import provenance

PAUSE = 0.1  # seconds
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One comparison."""

    what: str
    against: str
    ours: str  # value with unit, empty where nothing was measured
    theirs: str
    ratio: float | None  # None: not measured
    target: str
    n: int = 0  # repeats
    note: str = ""

    def cells(self) -> list[str]:
        ratio = "not yet measured" if self.ratio is None else f"{self.ratio:.3g}"
        return [self.what, self.against, self.ours, self.theirs, ratio, self.target, str(self.n or ""), self.note]


def mnist(where: torch.device | str = "cpu") -> Dataset:
    """MNIST, downloaded where it is missing: the stand-in would be another benchmark.

    Raises:
        UsageError: it is not there and cannot be downloaded.
    """
    os.environ["RANKSTUDY_DATASET"] = "mnist"
    prepare()
    return load(config.Data("mnist"), where)


def report(
    name: str,
    rows: list[Row],
    seconds: float,
    tables: dict[str, list[list]] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Print the table and keep it with its provenance in `results/<name>.json`; other tables (heads first) go along."""
    origin = provenance.describe(device.describe(device.choose()), seconds)
    origin["load"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    origin["clock"] = clock.__name__
    print(f"# {name}: {origin['device']}, torch {origin['torch']}, load {origin['load']}, commit {origin['commit']}\n")
    heads = ["what", "against", "ours", "theirs", "ratio", "target", "n", "note"]
    print(tabulate([row.cells() for row in rows], headers=heads, tablefmt="pipe"))
    for title, table in (tables or {}).items():
        print(f"\n{title}\n\n{tabulate(table[1:], headers=table[0], tablefmt='pipe')}")
    RESULTS.mkdir(exist_ok=True)
    content = {"provenance": origin, "rows": [asdict(row) for row in rows], "tables": tables or {}}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def alternate(
    jobs: dict[str, Callable[[], object]],
    repeats: int,
    *,
    warm: bool = True,
    block: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of a call of each job, in turns of as many calls as fill `block` seconds, at least one.

    One turn of each goes before the clock runs if `warm`, and a pause before each: the threads of one BLAS go on
    spinning after their work and would slow what comes next. A pause also sends threads to sleep, so what takes
    milliseconds needs a block. What a GPU is still busy with at the end of a turn is waited for.
    """
    counts = dict.fromkeys(jobs, 1)
    if block:
        once = {name: min(_turn(job, 1, clock) for _ in range(3)) for name, job in jobs.items()}
        counts = {name: max(1, round(block / seconds)) for name, seconds in once.items()}
    for name, job in jobs.items() if warm else ():
        _turn(job, counts[name], clock)
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            time.sleep(PAUSE)
            seconds[name].append(_turn(job, counts[name], clock))
    return seconds


def one_thread() -> Callable[[], float]:
    """The clock of what computes in this process alone: on one thread (OMP_NUM_THREADS=1) the processor's seconds.

    On an idle machine they are those on the wall, and neighbours hardly lengthen them.
    """
    return time.process_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.perf_counter


def _turn(job: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    """Seconds of each of so many calls."""
    start = clock()
    for _ in range(count):
        job()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return (clock() - start) / count


def processor_seconds() -> float:
    """Time on all cores that this process and its finished children have had."""
    return sum(os.times()[:4])


def ratio(theirs: list[float], ours: list[float]) -> float:
    """Median over the turns of theirs / ours."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
