"""Faults on purpose: `python -m tests.faults [KIND …] [--kills 200]`.

A study is killed, its files are damaged, its disk is full, several do it at once. Whatever happens, a result that was
finished must still be there, byte for byte ("lost" counts those that are not), and what the store answers must be
what an undisturbed run computes ("wrong"). Exit code 1 if either is not 0. The children are forked after torch has
been imported, so that a kill costs a fraction of a second.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from rankstudy import UsageError, config
from rankstudy import files as writing
from rankstudy.study import store
from rankstudy.study.store import Question, Store

SEEDS = 8  # of chapter 2, which is the study here
QUESTION = Question("measured", "test", None, "data")
ORIGIN = {"seconds": 0.0}


def fingerprint(value: Any) -> Any:
    """Everything in a result but the times, comparable with ==."""
    if isinstance(value, Mapping):
        return {name: fingerprint(item) for name, item in value.items() if "second" not in name and name != "latency"}
    if isinstance(value, list):
        return [fingerprint(item) for item in value]
    return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def answers(root: Path) -> dict[str, Any]:
    """What the store answers, by the key of the question."""
    keys = {(record.kind, record.key) for record in Store(root).records()}
    found = {key: Store(root).find(SimpleNamespace(kind=kind, key=key)) for kind, key in keys}
    return {key: fingerprint(record.value) for key, record in found.items() if record is not None}


def files(root: Path) -> dict[str, bytes]:
    """The records in a store, byte for byte; what is half written or set aside is not among them."""
    paths = [path for kind in store.KINDS for path in root.glob(f"{kind}/*{store.SUFFIX}")]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def compare(before: Mapping[str, bytes], root: Path, right: Mapping[str, Any]) -> tuple[int, int]:
    """(lost, wrong): files of before that are gone or changed, and answers that are not the right ones."""
    now = files(root)
    wrong = sum(key not in right or right[key] != value for key, value in answers(root).items())
    return sum(now.get(name) != content for name, content in before.items()), wrong


def fork(work: Callable[[], object]) -> int:
    """The id of a child that does the work silently and ends: 0 if all is well, 2 after a UsageError, 1 otherwise."""
    sys.stdout.flush()
    if child := os.fork():
        return child
    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        code = int(work() or 0)
    except UsageError:
        code = 2
    finally:
        os._exit(code)


def end(child: int) -> int:
    """How a child ended: its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(root: Path) -> int:
    from rankstudy.__main__ import main

    os.environ.update(RANKSTUDY_RESULTS=str(root), RANKSTUDY_PROFILE="smoke")
    return main(["run", "02"])


@cache
def undisturbed() -> tuple[Path, dict[str, Any], float]:
    """A store that nothing happened to, its answers, and the seconds it took."""
    from rankstudy.study import engine  # and torch, before any fork
    from rankstudy.study.experiments import training

    training.CONFIGS["smoke"] = dataclasses.replace(training.CONFIGS["smoke"], seeds=SEEDS)
    engine.dataset_on_device(config.Data("digits", validation_size=200))
    root = Path(tempfile.mkdtemp(prefix="rankstudy-faults-"))
    begun = time.perf_counter()
    assert end(fork(lambda: run(root))) == 0
    return root, answers(root), time.perf_counter() - begun


def steps(folder: Path, _: int) -> tuple[int, int, int]:
    """A write is killed at each line of the store's code that it goes through."""
    memory = Store(folder / "räum e")
    memory.put(QUESTION, "old", ORIGIN, {"a": np.arange(3)})
    before, tried, lost, wrong = files(memory.root), 0, 0, 0
    allowed = [fingerprint({"a": np.arange(count)}) for count in (3, 4)]
    while True:
        tried += 1

        def write(left: list[int]) -> None:
            def trace(frame: Any, event: str, _: Any) -> Any:
                if frame.f_code.co_filename not in (store.__file__, writing.__file__):
                    return None
                left[0] -= event == "line"
                return os._exit(9) if left[0] == 0 else trace

            sys.settrace(trace)
            memory.put(QUESTION, "new", ORIGIN, {"a": np.arange(4)})
            sys.settrace(None)

        code = end(fork(lambda count=tried: write([count])))
        now = files(memory.root)
        lost += any(now.get(name) != content for name, content in before.items())
        wrong += any(value not in allowed for value in answers(memory.root).values())
        if code == 0:
            wrong += memory.find(QUESTION, "new") is None
            return tried, lost, wrong
        assert code == 9
        for path in set(memory.root.rglob("*.safetensors")) - {memory.root / name for name in before}:
            path.unlink()


def kills(folder: Path, count: int) -> tuple[int, int, int]:
    """A run is killed at random moments, goes on, is killed again …, and when it is complete another one begins."""
    _, right, seconds = undisturbed()
    generator, tried, lost, wrong, round_ = random.Random(0), 0, 0, 0, 0
    while tried < count:
        root = folder / f"räum {round_}"
        before = files(root)
        child = fork(lambda root=root: run(root))
        time.sleep(generator.uniform(0, 0.2 * seconds))
        os.kill(child, signal.SIGKILL)
        code = end(child)
        more = compare(before, root, right)
        lost, wrong = lost + more[0] + (root / "damaged").exists(), wrong + more[1]
        tried += code == -signal.SIGKILL
        if code == 0:  # it was faster
            wrong += answers(root) != right
            round_ += 1
    wrong += end(fork(lambda: run(root))) != 0 or answers(root) != right
    return tried, lost, wrong


def damage(folder: Path, count: int) -> tuple[int, int, int]:
    """A file is cut short, or one bit of it flipped, at a random place; the next run computes it again."""
    source, right, _ = undisturbed()
    generator, lost, wrong = random.Random(0), 0, 0
    root = folder / "store"
    shutil.copytree(source, root)
    for number in range(count):
        before = files(root)
        name = generator.choice(sorted(before))
        content = bytearray(before.pop(name))
        if number % 2:
            del content[generator.randrange(len(content)) :]
        else:
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        (root / name).write_bytes(content)
        more = compare(before, root, right)
        lost, wrong = lost + more[0] + (len(answers(root)) != len(right) - 1), wrong + more[1]
        if number % 10 == 0:  # the chapter asks for its networks only where its own result is missing
            shutil.rmtree(root / "measured")
            wrong += end(fork(lambda: run(root))) != 0 or answers(root) != right
        shutil.rmtree(root)
        shutil.copytree(source, root)
    return count, lost, wrong


def together(folder: Path, _: int) -> tuple[int, int, int]:
    """Four runs begin at once; each question is answered once."""
    _, right, _ = undisturbed()
    codes = [end(child) for child in [fork(lambda: run(folder / "store")) for _ in range(4)]]
    twice = len(files(folder / "store")) - len(right)
    return 4, sum(code != 0 for code in codes), (answers(folder / "store") != right) + twice


def full(folder: Path, _: int) -> tuple[int, int, int]:
    """No file may grow beyond so many bytes, as on a full disk: an error in one line, and nothing half written."""
    import resource

    memory = Store(folder)
    memory.put(QUESTION, "old", ORIGIN, {"a": np.arange(3)})
    before, lost, wrong = files(folder), 0, 0
    right = {QUESTION.key: fingerprint({"a": np.arange(3)})}
    limits = range(0, 80_000, 4_000)

    def write(limit: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        memory.put(QUESTION, "new", ORIGIN, {"a": np.arange(10_000)})

    for limit in limits:
        wrong += end(fork(lambda limit=limit: write(limit))) != 2
        more = compare(before, folder, right)
        lost, wrong = lost + more[0], wrong + more[1] + len(list(folder.rglob(".writing-*")))
    return len(limits), lost, wrong


KINDS = {
    "steps": (steps, "killed at every line of a write"),
    "kills": (kills, "run killed at a random moment"),
    "damage": (damage, "file cut short or bit flipped"),
    "together": (together, "runs at once in one store"),
    "full": (full, "disk full at some byte of a write"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.split("\n")[0])
    kinds = ", ".join(KINDS)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND", help=f"{kinds}; default: all")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--damages", type=int, default=50)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # a process with a pool of threads must not be forked
    rows = []
    try:
        for kind in options.kinds or KINDS:
            begun = time.perf_counter()
            work, title = KINDS[kind]
            folders = tempfile.TemporaryDirectory(prefix="rankstudy-faults-")
            with folders as folder, redirect_stderr(io.StringIO()):  # which says of each damaged file that it is
                found = work(Path(folder), options.damages if kind == "damage" else options.kills)
            rows.append([title, *found, f"{time.perf_counter() - begun:.0f} s"])
    finally:
        if undisturbed.cache_info().currsize:
            shutil.rmtree(undisturbed()[0])
    from tabulate import tabulate

    print(tabulate(rows, headers=["fault", "tried", "lost", "wrong", "took"]))
    return int(any(row[2] or row[3] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
