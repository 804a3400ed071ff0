"""Chapter 6's control: where the speed-up of large batches goes. Time and page faults of a forward pass, twice: as a
user gets it, and with memory that is kept and used again.

Each batch and way is a process of its own, since glibc's malloc reads its thresholds from the environment when a
process begins, and adapts them to what was freed before. Ways take turns. On the CPU, whatever else there is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rankstudy import config
from rankstudy.study.experiments import approximation, low_rank_training
from rankstudy.study.jobs import Job, answer
from rankstudy.study.typed import Floats, Integers

LARGE = str(2**40)  # bytes: more than any block
# way -> what is added to the environment; a user can set the same before starting Python
WAYS = {"as it is": {}, "memory kept": {"MALLOC_MMAP_THRESHOLD_": LARGE, "MALLOC_TRIM_THRESHOLD_": LARGE}}
NETWORKS = ("dense", "low rank")
WARM = 2  # passes of each network before the first that counts


@dataclass(frozen=True)
class LargeBatches:
    """Of single forward passes; ways as in WAYS, networks as in NETWORKS."""

    rank: int
    widths: list[int]
    batches: Integers  # (batches,) images
    seconds: Floats  # (ways, networks, batches, passes)
    faults: Floats  # (ways, networks, batches, passes) minor page faults; NaN where the system does not count them
    page: int  # bytes
    threads: int


@dataclass(frozen=True)
class Config(Job[LargeBatches]):
    NAME = "large_batches"
    ANSWER = LargeBatches

    approximation: approximation.Config  # where the architecture and the rank come from
    batches: tuple[int, ...]
    rounds: int  # processes of each way and batch
    passes: int  # in each process that count

    @classmethod
    def modules(cls) -> tuple[str, ...]:
        return ("study.experiments.large_batches", "layers")

    def selection(self) -> str:
        return self.approximation.overfitting.data.name

    def compute(self) -> LargeBatches:
        return compute(self)


# a layer of 1024 units gives out 32 MiB at 8192 images
FULL = Config(low_rank_training.CONFIGS["full"].approximation, (1024, 2048, 4096, 7168, 8192, 9216, 16384), 2, 4)
CONFIGS = {
    "smoke": replace(FULL, approximation=approximation.CONFIGS["smoke"], batches=(256,), rounds=1, passes=2),
    "quick": replace(FULL, approximation=approximation.CONFIGS["quick"], batches=(1024, 16384), rounds=1, passes=3),
    "full": FULL,
}


def plan(settings: Config) -> list[object]:
    return []  # no network is trained


def compute(settings: Config) -> LargeBatches:
    import torch

    rank, threads = answer(settings.approximation).rank, torch.get_num_threads()
    network = settings.approximation.overfitting.network
    once = partial(_process, network, rank, passes=settings.passes, threads=threads)
    # (rounds, batches, ways; seconds and faults, networks, passes): ways next to each other in time
    found = np.array(
        [
            [[once(batch, environment=environment) for environment in WAYS.values()] for batch in settings.batches]
            for _ in range(settings.rounds)
        ]
    )
    by_way = np.moveaxis(found, (3, 2, 4, 1, 0, 5), range(6))  # what, ways, networks, batches, rounds, passes
    seconds, faults = by_way.reshape(*by_way.shape[:4], -1)
    return LargeBatches(
        rank=rank,
        widths=list(network.widths),
        batches=np.array(settings.batches),
        seconds=seconds,
        faults=faults,
        page=os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096,
        threads=threads,
    )


def _process(
    network: config.Network, rank: int, batch: int, *, passes: int, threads: int, environment: dict[str, str]
) -> list[list[list[float]]]:
    """What `measured` gives, in a process with these added to its environment."""
    asked = {"widths": network.widths, "rank": rank, "batch": batch, "passes": passes, "threads": threads}
    program = "import sys; from rankstudy.study.experiments import large_batches; large_batches.main(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(asked)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: list[list[list[float]]] = json.loads(done.stdout)
    return found


def main(asked: str) -> None:
    """In the process: prints what was measured, as JSON."""
    print(json.dumps(measured(**json.loads(asked)).tolist()))


def measured(widths: list[int], rank: int, batch: int, passes: int, threads: int) -> Floats:
    """(2, networks, passes): seconds and page faults of forward passes, the networks in turns."""
    import torch

    from rankstudy import layers

    torch.set_num_threads(threads)
    models = [layers.build(config.Network(tuple(widths), rank=each), 0) for each in (None, rank)]
    images = torch.randn(batch, widths[0], generator=torch.Generator().manual_seed(0))
    found = np.empty((2, len(models), WARM + passes))
    with torch.inference_mode():
        for turn in range(WARM + passes):
            for row, model in enumerate(models):
                faults, begun = page_faults(), time.perf_counter()
                model(images)
                found[:, row, turn] = time.perf_counter() - begun, page_faults() - faults
    return found[:, :, WARM:]


def page_faults() -> float:
    """Minor page faults of this process so far; NaN where the system does not count them."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
