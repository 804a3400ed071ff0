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

from rankstudy import data, provenance
from rankstudy.experiments import study
from rankstudy.intervals import duration


def main(argv: Sequence[str]) -> int:
    command, *rest = argv
    parser = argparse.ArgumentParser(prog=f"python -m rankstudy {command}")
    if command == "run":
        parser.add_argument(
            "chapters", nargs="*", metavar="CHAPTER", help="01 … 09, or an experiment's name; all by default"
        )
        parser.add_argument("--quiet", action="store_true", help="say nothing where nothing must be computed")
        parser.add_argument("--predict", action="store_true", help="say how long it would take, and stop")
        options = parser.parse_args(rest)
        return run(options.chapters, quiet=options.quiet, only_predict=options.predict)
    if command == "list":
        parser.parse_args(rest)
        return show()
    if command == "prune":
        parser.add_argument("--yes", action="store_true", help="do not ask")
        return prune(parser.parse_args(rest).yes)
    parser.add_argument("file", type=Path)
    path = parser.parse_args(rest).file
    from rankstudy import portable

    return portable.export(path) if command == "export" else portable.import_(path)


def run(chapters: Sequence[str] = (), *, quiet: bool = False, only_predict: bool = False) -> int:
    """Compute what the chapters need and the store does not have; say what was computed and what was there."""
    names = list(dict.fromkeys(_name(chapter) for chapter in chapters or study.CHAPTERS))
    chosen = study.profile()
    if chosen == "published":
        if not quiet:
            print("rankstudy: profile published: nothing is computed, the committed results are shown")
        return 0
    if chosen != "smoke" and not all(study.stored(name) for name in names):
        data.prepare()
    waiting = [name for name in names if not study.stored(name)]
    if not waiting:
        if not quiet:
            print(f"rankstudy: profile {chosen}: everything is stored ({', '.join(names)}); nothing to compute")
        return 0
    predicted = _predict(waiting)
    total = sum(predicted.values())
    print(f"rankstudy: profile {chosen}, data {_dataset(chosen)}: about {duration(total)} to compute", flush=True)
    for name in waiting:
        print(f"  {_number(name)} {name}: about {duration(predicted[name])}", flush=True)
    if only_predict:
        return 0
    begun = time.perf_counter()
    with tqdm(
        total=round(total, 1), unit="s", disable=None, bar_format="{l_bar}{bar}| {elapsed} of about {total:.0f} s"
    ) as bar:
        for name in waiting:
            bar.set_description(name)
            start, before = time.perf_counter(), bar.n
            with _reporting(bar, predicted[name]):
                study.result(name)
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
    memory = study.store()
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
    """Remove the records that today's code would not accept, after asking."""
    gone = [record for record in study.store().records() if not accepted(record)]
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


def accepted(record: Any) -> bool:
    """Whether today's code would show this record rather than compute it again."""
    if record.kind == "trained":
        return record.digest == provenance.digest(*provenance.TRAINED)
    if record.experiment in study.CHAPTERS.values():
        return record.digest == provenance.digest(f"experiments.{record.experiment}", *provenance.TRAINED)
    return True  # kept by a chapter for itself; it goes when its chapter's code asks for another


def predict(names: Sequence[str], profile: str | None = None) -> float:
    """Seconds that the experiments would take here under the current profile."""
    return sum(_predict(names).values())


def _predict(names: Sequence[str]) -> dict[str, float]:
    from rankstudy.experiments import networks

    counted: set[Any] = set()
    predicted = {}
    for name in names:
        runs, extra = study.module(name).plan(study.settings(name))
        new = [run for run in runs if run not in counted]
        counted.update(new)
        predicted[name] = sum(networks.predict(new).values()) + extra
    return predicted


@contextmanager
def _reporting(bar: tqdm, seconds: float):
    """Let trainings move the bar, by at most the seconds predicted for the chapter."""
    limit = bar.n + seconds

    def progress(runs: Any):
        from rankstudy.experiments import networks

        images = sum(run.training.epochs * networks.training_images(run) for run in runs)
        share = sum(networks.PREDICTED.get(networks.shape(run), 0.0) for run in runs)
        return lambda done: bar.update(max(0.0, min(share * done / max(images, 1), limit - bar.n)))

    study.progress, before = progress, study.progress
    try:
        yield
    finally:
        study.progress = before


def _row(record: Any) -> list[Any]:
    text = ""
    if record.experiment == "network":
        network = record.config["network"]
        rank = "" if network["rank"] is None else f" rank {network['rank']}"
        text = f"{'-'.join(map(str, network['widths']))} {network['activation']}{rank} seed {record.config['seed']}"
    elif record.experiment in study.CHAPTERS.values():
        configs = study.module(record.experiment).CONFIGS
        text = next((name for name, found in configs.items() if _same(found, record)), "another configuration")
    return [
        record.kind,
        record.experiment,
        text,
        record.provenance["device"],
        record.provenance["commit"],
        duration(record.provenance["seconds"]),
        f"{record.path.stat().st_size / 1e3:.0f} kB",
        duration(time.time() - record.provenance["created"]),
        "yes" if accepted(record) else "no",
    ]


def _same(settings: Any, record: Any) -> bool:
    from rankstudy.store import Question

    names = [name for name, checksum in data.CHECKSUMS.items() if checksum == record.data]
    return any(
        Question(record.kind, record.experiment, study.on(settings, name), record.data).key == record.key
        for name in names
    )


def _name(chapter: str) -> str:
    return study.module(chapter).__name__.rpartition(".")[2]


def _number(name: str) -> str:
    return next(number for number, title in study.CHAPTERS.items() if title == name)


def _dataset(chosen: str) -> str:
    return "digits (stand-in)" if chosen == "smoke" or data.available() == "digits" else "mnist"
