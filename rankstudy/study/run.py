"""run, list, prune, export, import: the study and its store from the command line."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rankstudy import UsageError, data, registry
from rankstudy.study import questions
from rankstudy.study.provenance import duration
from rankstudy.study.store import KINDS, SUFFIX, UNFINISHED, Question

STARTING = 20  # seconds of work below which workers would not be worth their start
START = 12.0  # seconds that they take to start: torch is imported and the images are read
UNEVEN = 1.1  # work that is shared takes longer than its share: the last piece has nobody beside it
PROCESS = 1.1e9  # bytes of a process with torch and all of MNIST in it, as measured
ABANDONED = 3600  # seconds after which nobody is still writing a file


def main(argv: Sequence[str]) -> int:
    command, *rest = argv
    parser = argparse.ArgumentParser(prog=f"python -m rankstudy {command}")
    if command == "run":
        parser.add_argument(
            "chapters", nargs="*", metavar="CHAPTER", help="01 … 09, or an experiment's name; all by default"
        )
        parser.add_argument("--quiet", action="store_true", help="say nothing where nothing must be computed")
        parser.add_argument("--predict", action="store_true", help="say how long it would take, and stop")
        parser.add_argument("--scheduler", metavar="ADDRESS", help="train on the Dask cluster there: tcp://HOST:8786")
        parser.add_argument("--workers", type=int, metavar="N", help="processes side by side; by default one a core")
        options = parser.parse_args(rest)
        if options.workers is not None and options.workers < 1:
            parser.error(f"argument --workers: must be at least 1, got {options.workers}")
        if options.workers is not None and options.scheduler:
            parser.error("argument --workers: not together with --scheduler, whose cluster has workers of its own")
        try:
            return run(
                options.chapters,
                quiet=options.quiet,
                only_predict=options.predict,
                scheduler=options.scheduler,
                workers=options.workers,
            )
        except KeyboardInterrupt:
            root = questions.store().root
            kept = sum(1 for kind in KINDS for _ in root.glob(f"{kind}/*{SUFFIX}"))
            print(f"\nrankstudy: stopped; the {kept} finished results in {root} are kept", file=sys.stderr)
            print(f"rankstudy: python -m rankstudy {' '.join(argv)} goes on from there", file=sys.stderr)
            return 130
    if command == "list":
        parser.parse_args(rest)
        return show()
    if command == "prune":
        parser.add_argument("--yes", action="store_true", help="do not ask")
        return prune(parser.parse_args(rest).yes)
    from rankstudy.study import portable

    if command == "export":
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("file", nargs="?", type=Path, help="everything that today's code accepts goes into it")
        where.add_argument(
            "--published",
            nargs="*",
            metavar="CHAPTER",
            help="what the profile shows, into the committed file; of these chapters, or else of all",
        )
        options = parser.parse_args(rest)
        if options.published is None:
            return portable.export(options.file)
        return portable.publish([_name(chapter) for chapter in options.published])
    parser.add_argument("file", type=Path)
    return portable.import_(parser.parse_args(rest).file)


def run(
    chapters: Sequence[str] = (),
    *,
    quiet: bool = False,
    only_predict: bool = False,
    scheduler: str | None = None,
    workers: int | None = None,
) -> int:
    """Compute what the chapters need and the store does not have; say what was computed and what was there.

    `scheduler` is the address of a Dask cluster that trains the networks; `workers` is how many processes do what can
    be done side by side, by default one a core, or none on a GPU and where there is little to do.
    """
    names = list(dict.fromkeys(_name(chapter) for chapter in chapters or questions.CHAPTERS))
    chosen = questions.profile()
    if chosen == "published":
        if missing := [name for name in names if name not in questions.published()]:
            raise UsageError(f"no result of {', '.join(missing)} is published; choose another RANKSTUDY_PROFILE")
        if not quiet:
            print("rankstudy: profile published: nothing is computed, the committed results are shown")
        return 0
    if chosen != "smoke" and not all(questions.stored(name) for name in names):
        data.prepare()
    waiting = [name for name in names if not questions.stored(name)]
    if not waiting:
        if not quiet:
            print(f"rankstudy: profile {chosen}: everything is stored ({', '.join(names)}); nothing to compute")
        return 0
    from rankstudy.study.parallel import beside
    from rankstudy.study.scheduler import cluster

    hands = 1 if scheduler else _hands(workers)
    plans, predicted = _predict(waiting, hands)
    if workers is None and sum(predicted.values()) < STARTING:
        hands = 1
    if hands > 1:
        predicted[waiting[0]] += START
    total = sum(predicted.values())
    print(f"rankstudy: profile {chosen}, data {_dataset(chosen)}: about {duration(total)} to compute", flush=True)
    for name in waiting:
        print(f"  {_number(name)} {name}: about {duration(predicted[name])}", flush=True)
    print(f"  memory: about {_memory(plans, hands) / 1e9:.1f} GB at most", flush=True)
    if only_predict:
        return 0
    begun = time.perf_counter()
    with (
        cluster(scheduler) if scheduler else beside(hands),
        _Bar(
            total=round(total, 1), unit="s", disable=None, bar_format="{l_bar}{bar}| {elapsed} of about {total:.0f} s"
        ) as bar,
    ):
        for name in waiting:
            bar.set_description(name)
            start, before = time.perf_counter(), bar.n
            with _reporting(bar, predicted[name]):
                questions.result(name)
            bar.update(max(0.0, before + predicted[name] - bar.n))
            tqdm.write(
                f"  {_number(name)} {name}: computed in {duration(time.perf_counter() - start)}", file=sys.stdout
            )
    spent = time.perf_counter() - begun
    already = [name for name in names if name not in waiting]
    print(f"rankstudy: computed {', '.join(waiting)} in {duration(spent)} (predicted {duration(total)})")
    if already:
        print(f"rankstudy: already there: {', '.join(already)}")
    return 0


def show() -> int:
    """Print the store, oldest first."""
    memory = questions.store()
    rows = [_row(record) for record in memory.records()]
    if not rows:
        print(f"rankstudy: the store {memory.root} is empty")
        return 0
    from tabulate import tabulate

    print(
        tabulate(rows, headers=["kind", "experiment", "config", "device", "commit", "took", "size", "age", "accepted"])
    )
    size = sum(path.stat().st_size for path in memory.root.rglob("*.safetensors"))
    print(f"{len(rows)} results, {size / 1e6:.1f} MB in {memory.root}")
    return 0


def prune(yes: bool) -> int:
    """Remove the records that today's code would not accept, after asking, and what killed writers left half done."""
    for path in questions.store().root.glob("*/.writing-*"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            path.unlink(missing_ok=True)
    memory = questions.store()
    gone = [record for record in (*memory.records(), *memory.records(UNFINISHED)) if not questions.accepted(record)]
    if not gone:
        print("rankstudy: every stored result is accepted by today's code; nothing to remove")
        return 0
    size = sum(record.path.stat().st_size for record in gone)
    print(f"rankstudy: {len(gone)} results ({size / 1e6:.1f} MB) were computed by other code than today's")
    if not yes and (not sys.stdin.isatty() or input("remove them? [y/N] ").strip().lower() not in ("y", "yes")):
        print("rankstudy: nothing removed (answer y, or give --yes)")
        return 0
    for record in gone:
        record.path.unlink(missing_ok=True)
    print(f"rankstudy: removed {len(gone)} results")
    return 0


def _predict(names: Sequence[str], hands: int) -> tuple[list[questions.Plan], dict[str, float]]:
    """The experiments' plans, some of which time steps as they are made, and the seconds of each."""
    import torch

    from rankstudy.study import engine

    counted: set[Any] = set()
    plans, predicted = [], {}
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // hands))  # steps are timed as a worker will make them
    try:
        for name in names:
            plan = questions.module(name).plan(questions.settings(name))
            plans.append(plan)
            new = [run for run in plan.runs if run not in counted]
            counted.update(new)
            shared = sum(engine.predict(new).values()) + plan.shared
            predicted[name] = plan.alone + shared * (1 if hands == 1 else UNEVEN / hands)
    finally:
        torch.set_num_threads(before)
    return plans, predicted


def _memory(plans: Sequence[questions.Plan], hands: int) -> float:
    """Bytes: every process holds torch and the data set, and trains one network; a GPU fills up to its share."""
    from rankstudy import device
    from rankstudy.study import engine

    shapes = {engine.shape(run): run for plan in plans for run in plan.runs}
    largest = max(shapes.values(), key=lambda run: sum(m * n for m, n in run.network.shapes()), default=None)
    training = engine.memory(largest) if largest else 0
    where = device.choose()
    if where.type == "cuda":
        return PROCESS + engine.FILLED * device.free_memory(where)
    return (PROCESS + training) * (hands + 1 if hands > 1 else 1)


def _hands(workers: int | None) -> int:
    """How many processes share the work."""
    from rankstudy import device
    from rankstudy.study.parallel import cores

    if workers is not None:
        return workers
    return cores() if device.choose().type == "cpu" else 1


class _Bar(tqdm):
    """A bar whose finaliser has nothing to complain of when Ctrl-C comes while it is being made."""

    disable = True  # until the constructor says otherwise


@contextmanager
def _reporting(bar: tqdm, seconds: float):
    """Let trainings move the bar, by at most the seconds predicted for the chapter."""
    limit = bar.n + seconds

    def progress(runs: Any):
        from rankstudy.study import engine

        images = sum(run.training.epochs * engine.training_images(run) for run in runs)
        share = sum(engine.PREDICTED.get(engine.shape(run), 0.0) for run in runs)
        return lambda done: bar.update(max(0.0, min(share * done / max(images, 1), limit - bar.n)))

    questions.progress, before = progress, questions.progress
    try:
        yield
    finally:
        questions.progress = before


def _row(record: Any) -> list[Any]:
    if record.experiment in questions.CHAPTERS.values():
        configs = questions.module(record.experiment).CONFIGS
        text = next((name for name, found in configs.items() if _same(found, record)), "another configuration")
    else:
        text = _network(record.config)
    return [
        record.kind,
        record.experiment,
        text,
        record.provenance["device"],
        record.provenance["commit"],
        duration(record.provenance["seconds"]),
        f"{record.path.stat().st_size / 1e3:.0f} kB",
        duration(max(0.0, time.time() - record.provenance["created"])),
        "yes" if questions.accepted(record) else "no",
    ]


def _network(settings: Any) -> str:
    """The network that a config is about, with whatever else tells its records apart."""
    settings = settings or {}
    for inner in ("run", "base"):
        settings = settings.get(inner) or settings
    if runs := settings.get("runs"):  # an arm: what its networks have in common
        settings = {**runs[0], "seed": None}
    if (network := settings.get("network")) is None:
        return ""
    words = []
    for name, value in {**network, **settings}.items():
        if name in ("rank", "dimension", "seed") and value is not None:
            words.append(f"{name} {value}")
    if without := settings.get("data", {}).get("without"):
        words.append(f"without {without[0]}")
    return " ".join(["-".join(map(str, network["widths"])), network["activation"], *words])


def _same(settings: Any, record: Any) -> bool:
    name = questions.dataset_of(record.config)
    try:
        moved = questions.on(settings, name)
    except UsageError:  # own pictures that are not there any more
        return False
    return bool(name) and Question(record.kind, record.experiment, moved, record.data).key == record.key


def _name(chapter: str) -> str:
    return questions.module(chapter).__name__.rpartition(".")[2]


def _number(name: str) -> str:
    return next(number for number, title in questions.CHAPTERS.items() if title == name)


def _dataset(chosen: str) -> str:
    name = registry.FALLBACK if chosen == "smoke" else data.available()
    return "digits (fallback)" if name == registry.FALLBACK else name
