"""list and prune: what is in the store, and what today's code would not accept."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rankstudy.study import contents, questions
from rankstudy.study.provenance import duration
from rankstudy.study.store import UNFINISHED, Record

ABANDONED = 3600  # seconds after which nobody is still writing a file
HEADS = ("kind", "experiment", "config", "device", "commit", "took", "size", "age", "accepted")
TELLING = ("learning_rate", "epochs", "train_size", "batch_size", "weight_decay")  # fields, the first to be shown first
CHAPTER = "only the results of these chapters, named as in 3, rank or 03-rank"


def show(argv: Sequence[str]) -> int:
    """`list [CHAPTER …]`: the store, oldest first."""
    parser = argparse.ArgumentParser(
        prog="python -m rankstudy list", description="Show the store: one line a result, oldest first."
    )
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help=CHAPTER)
    chapters = parser.parse_args(argv[1:]).chapters
    memory = questions.store()
    records = _of(chapters, list(memory.records()))
    if not records:
        print(f"rankstudy: the store {memory.root} is empty" if not chapters else "rankstudy: nothing is stored")
        return 0
    from tabulate import tabulate

    rows = [
        [
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
        for record, text in zip(records, settings(records), strict=True)
    ]
    size = sum(record.path.stat().st_size for record in records)
    print(tabulate(rows, headers=HEADS))
    print(f"{len(rows)} results, {size / 1e6:.1f} MB in {memory.root}")
    return 0


def prune(argv: Sequence[str]) -> int:
    """`prune [CHAPTER …]`: remove the records that today's code would not accept, after asking, and what killed writers
    left half done."""
    parser = argparse.ArgumentParser(
        prog="python -m rankstudy prune", description="Remove the results that today's code would not accept."
    )
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help=CHAPTER)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(argv[1:])
    memory = questions.store()
    for path in memory.root.glob("*/.writing-*"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            path.unlink(missing_ok=True)
    records = _of(options.chapters, [*memory.records(), *memory.records(UNFINISHED)])
    gone = [record for record in records if not questions.accepted(record)]
    if not gone:
        print("rankstudy: every stored result is accepted by today's code; nothing to remove")
        return 0
    size = sum(record.path.stat().st_size for record in gone)
    print(f"rankstudy: {len(gone)} results ({size / 1e6:.1f} MB) were computed by other code than today's")
    if not options.yes and not _agreed("remove them? [y/N] "):
        print("rankstudy: nothing removed (answer y, or give --yes)")
        return 0
    for record in gone:
        record.path.unlink(missing_ok=True)
    print(f"rankstudy: removed {len(gone)} results")
    return 0


def settings(records: Sequence[Record]) -> list[str]:
    """What each record is about, in a few words; where two would read the same, with the fields that tell them apart,
    or else the record's key."""
    texts = [_settings(record) for record in records]
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        alike[record.experiment, texts[index]].append(index)
    for group in alike.values():
        flat = {index: dict(_leaves(records[index].config)) for index in group}
        keys = {records[index].key for index in group}
        names = dict.fromkeys(name for leaves in flat.values() for name in leaves)
        for name in sorted(names, key=_telling):
            if len({texts[index] for index in group}) == len(keys):
                break
            if len({leaves.get(name) for leaves in flat.values()}) > 1:
                for index, leaves in flat.items():
                    texts[index] += f" {name.rpartition('.')[2].replace('_', ' ')} {leaves.get(name, '-')}"
        if len({texts[index] for index in group}) < len(keys):
            for index in group:
                texts[index] += f" #{records[index].key[:6]}"
    return texts


def _settings(record: Record) -> str:
    if record.experiment in questions.known():
        return questions.computed_under(record.experiment, record.config) or "another configuration"
    return _network(record.config)


def _network(config: Any) -> str:
    """The network that a config is about, with whatever else tells its records apart most often."""
    config = config or {}
    for inner in ("run", "base"):
        config = config.get(inner) or config
    if runs := config.get("runs"):  # a condition: what its networks have in common
        config = {**runs[0], "seed": None}
    if (network := config.get("network")) is None:
        return ""
    words = []
    for name, value in {**network, **config}.items():
        if name in ("rank", "dimension", "seed") and value is not None:
            words.append(f"{name} {value}")
    if without := config.get("data", {}).get("without"):
        words.append(f"without {without[0]}")
    return " ".join(["-".join(map(str, network["widths"])), network["activation"], *words])


def _telling(name: str) -> int:
    """Where a field of a config stands among those that may tell two apart."""
    last = name.rpartition(".")[2]
    return TELLING.index(last) if last in TELLING else len(TELLING)


def _leaves(value: object, name: str = "") -> list[tuple[str, str]]:
    """("training.learning_rate", "0.001") of everything in a nested config; of several networks, what the first has."""
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, f"{name}.{key}".lstrip("."))]
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return _leaves(value[0], name) if name.endswith("runs") else []
    return [(name, str(value))]


def _of(chapters: Sequence[str], records: Sequence[Record]) -> list[Record]:
    """The records of the chapters' experiments and of their parts, in order; all where no chapter is named."""
    if not chapters:
        return list(records)
    names = contents.experiments(chapters)
    return [record for record in records if record.experiment.partition("-")[0] in names]


def _agreed(question: str) -> bool:
    """Whether the answer on stdin, typed or out of a pipe, is yes; none at all is not."""
    print(question, end="", flush=True)
    return (sys.stdin.readline() if sys.stdin else "").strip().lower() in ("y", "yes")
