"""run: compute what the chapters need and the store does not have."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from rankstudy import UsageError, data, registry
from rankstudy.study import contents, overrides, progress, questions, times
from rankstudy.study.provenance import duration
from rankstudy.study.store import KINDS, SUFFIX

if TYPE_CHECKING:
    from rankstudy.study.engine import Run

PROCESS = 1.1e9  # bytes of a process with torch and all of MNIST in it, as measured
SHORT = 0.5  # of the memory that is free: what takes more is said before it is taken


def main(argv: Sequence[str]) -> int:
    """`run [CHAPTER …]`."""
    parser = argparse.ArgumentParser(
        prog="python -m rankstudy run", description="Compute what the chapters need and the store does not have."
    )
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="as in 3, rank or 03-rank; all by default")
    parser.add_argument("--quiet", action="store_true", help="say nothing where nothing must be computed")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="train on the Dask cluster there: tcp://HOST:8786")
    parser.add_argument("--workers", type=int, metavar="N", help="processes side by side; by default one a core")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="compute with another setting, as in `run overfitting --set network.widths=784,512,512,10`",
    )
    options = parser.parse_args(argv[1:])
    if options.workers is not None and options.workers < 1:
        parser.error(f"argument --workers: must be at least 1, got {options.workers}")
    if options.workers is not None and options.scheduler:
        parser.error("argument --workers: not together with --scheduler, whose cluster has workers of its own")
    try:
        chosen = _own(options.chapters) if options.set else options.chapters
        with _changed(options.set, chosen):
            return run(chosen, quiet=options.quiet, scheduler=options.scheduler, workers=options.workers)
    except KeyboardInterrupt:
        root = questions.store().root
        kept = sum(1 for kind in KINDS for _ in root.glob(f"{kind}/*{SUFFIX}"))
        print(f"\nrankstudy: stopped; the {kept} finished results in {root} are kept", file=sys.stderr)
        print(f"rankstudy: python -m rankstudy {' '.join(argv)} goes on from there", file=sys.stderr)
        return 130


def run(
    chapters: Sequence[str] = (), *, quiet: bool = False, scheduler: str | None = None, workers: int | None = None
) -> int:
    """Compute what the chapters need and the store does not have; say what was computed and what was there.

    `scheduler` is the address of a Dask cluster that trains the networks; `workers` is how many processes do what can
    be done side by side, by default RANKSTUDY_WORKERS, or one a core, or none on a GPU and under `smoke`.
    """
    names = contents.experiments(chapters)
    chosen = questions.profile()
    if chosen == "published":
        questions.refuse_changes(names)
        own = questions.CHAPTERS.values()  # a control is committed some time after its code
        if missing := [name for name in names if name in own and name not in questions.published()]:
            raise UsageError(f"no result of {', '.join(missing)} is published; choose another RANKSTUDY_PROFILE")
        if not quiet:
            print("rankstudy: profile published: nothing is computed, the committed results are shown")
        return 0
    if chosen != "smoke" and not all(questions.stored(name) for name in names):
        data.prepare()
    absent = [name for name in names if not questions.stored(name)]
    if not absent:
        if not quiet:
            print(f"rankstudy: profile {chosen}: everything is stored ({', '.join(names)}); nothing to compute")
        return 0
    from rankstudy.study.parallel import beside
    from rankstudy.study.scheduler import cluster

    hands = 1 if scheduler else _hands(workers)
    dataset = registry.FALLBACK if chosen == "smoke" else data.available()
    waiting = progress.missing(absent)
    print(f"rankstudy: profile {chosen}, data {dataset}: missing {progress.described(waiting)}", flush=True)
    if chosen != "smoke" and (took := times.earlier(absent, chosen)):
        print(f"rankstudy: when the committed results were computed, these took {took}", flush=True)
    _warn_of_memory([run for runs in waiting.values() for run in runs], hands)
    planned = progress.planned(list(questions.known()))
    where = _where(scheduler, hands)
    begun = time.perf_counter()
    with cluster(scheduler) if scheduler else beside(hands), progress.shown(waiting) as ended:
        for name in absent:
            start = time.perf_counter()
            try:
                questions.result(name)
            finally:
                seconds = time.perf_counter() - start
                # another data set, or other settings, say nothing about how long the profile takes
                if dataset == "mnist" and not os.environ.get(overrides.VARIABLE):
                    times.note(name, seconds, where, afresh=len(waiting[name]) >= len(planned[name]))
            ended(name)
            tqdm.write(f"  {contents.number(name)} {name}: computed in {duration(seconds)}", file=sys.stdout)
            sys.stdout.flush()
    print(f"rankstudy: computed {', '.join(absent)} in {duration(time.perf_counter() - begun)}")
    if already := [name for name in names if name not in absent]:
        print(f"rankstudy: already there: {', '.join(already)}")
    return 0


def _own(chapters: Sequence[str]) -> list[str]:
    """The experiments whose settings are meant: of a chapter its own, and not its controls'."""
    names = contents.experiments(chapters)
    return names if len(names) == 1 else [name for name in names if name in questions.CHAPTERS.values()]


@contextmanager
def _changed(changes: Sequence[str], chapters: Sequence[str]) -> Iterator[None]:
    """Meanwhile, `--set` is where questions are asked from, here and in workers."""
    if not changes:
        yield
        return
    names = _own(chapters)
    if len(names) != 1:
        raise UsageError("--set changes one experiment's settings: name it, as in `run overfitting --set FIELD=VALUE`")
    if wrong := next((change for change in changes if "=" not in change), None):
        raise UsageError(f"--set {wrong}: it must be FIELD=VALUE, as in network.widths=784,512,512,10")
    before = os.environ.get(overrides.VARIABLE, "")
    os.environ[overrides.VARIABLE] = ";".join([before, *(f"{names[0]}.{change}" for change in changes)])
    try:
        yield
    finally:
        os.environ[overrides.VARIABLE] = before


def _hands(workers: int | None) -> int:
    """How many processes share the work."""
    from rankstudy import device
    from rankstudy.study.parallel import cores

    if workers is not None:
        return workers
    if wanted := os.environ.get("RANKSTUDY_WORKERS", "").strip():
        if not wanted.isdecimal() or int(wanted) < 1:
            raise UsageError(f"RANKSTUDY_WORKERS is {wanted!r}; allowed are whole numbers from 1")
        return int(wanted)
    if questions.profile() == "smoke":  # done before workers have started
        return 1
    return cores() if device.choose().type == "cpu" else 1


def _where(scheduler: str | None, hands: int) -> str:
    """What computes, in a phrase."""
    from rankstudy import device

    if scheduler:
        return "a cluster"
    return f"{device.describe(device.choose())}" + f", {hands} processes" * (hands > 1)


def _warn_of_memory(runs: Sequence[Run], hands: int) -> None:
    """Say what the run takes where it could be short."""
    needed, free = _memory(runs, hands), _free_memory()
    if needed > SHORT * free:
        print(
            f"rankstudy: this takes about {needed / 1e9:.1f} GB of memory, of which {free / 1e9:.1f} GB are free; "
            f"fewer --workers take less",
            file=sys.stderr,
        )


def _memory(runs: Sequence[Run], hands: int) -> float:
    """Bytes: every process holds torch and the data set, and trains one network."""
    from rankstudy import device
    from rankstudy.study import engine

    largest = max(runs, key=lambda run: sum(m * n for m, n in run.network.shapes()), default=None)
    on_gpu = device.choose().type == "cuda"  # which is filled up to a share, whatever there is
    training = engine.memory(largest) if largest and not on_gpu else 0
    return (PROCESS + training) * (hands + 1 if hands > 1 else 1)


def _free_memory() -> float:
    """Bytes that the system could give; infinite where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return float("inf")
