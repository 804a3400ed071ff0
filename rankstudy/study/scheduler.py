"""The long calls of a study, made by a Dask cluster that is there already.

The client goes through the chapters as it always does; the networks and subspaces that its store lacks are trained by
the cluster, which also cuts trained networks and fine-tunes them. Everything else stays with the client.

- A task takes the records it starts from and answers with the one it made: the store's own files, named by the hash
  of their bytes. A worker needs the package and the data set, and shares no disk with the client.
- An answer depends on its call alone, so it does not matter who makes it. Dask gives the task of a worker that died to
  another one; a client that died finds in its store all that had come back.
- A worker whose code is not the client's says so instead of computing.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from rankstudy import UsageError
from rankstudy.files import write_atomically
from rankstudy.study import engine, progress, provenance, questions
from rankstudy.study.experiments import blocks, subspaces, truncation
from rankstudy.study.parallel import trainings
from rankstudy.study.store import Question, Store, digest_of

COMPUTED_BY = {  # what is sent, and the modules behind its answer
    engine.trained: provenance.TRAINED,
    subspaces.trained: subspaces.COMPUTED_BY,
    truncation.measured: truncation.COMPUTED_BY,
    blocks.answer: blocks.COMPUTED_BY,
}
SECONDS = 20  # to find the scheduler, and at least one worker
_one_at_a_time = Lock()  # in a worker with several threads: the environment and the loaded data belong to all of them


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Meanwhile, what is missing is computed by the cluster whose scheduler has the address.

    Raises:
        UsageError: `distributed` is not installed, nobody answers at the address, or the cluster has no worker.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("--scheduler needs the package distributed: install rankstudy[dask]") from None
    try:
        client = Client(address, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--scheduler {address!r}: no scheduler there, as in tcp://HOST:8786 ({reason})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=SECONDS)
        except TimeoutError:
            raise UsageError(f"--scheduler {address!r}: the cluster has no worker") from None
        before, questions.spread = questions.spread, partial(_spread, client)
        try:
            yield
        finally:
            questions.spread = before


def _asked(function: Any, call: tuple[Any, ...]) -> tuple[Question, list[Any]]:
    """The question that a call answers, and the networks that it starts from."""
    if function is truncation.measured:
        piece = truncation.Piece(*call)
        return piece.question(), [piece.run, piece.run.start]
    if function is blocks.answer:
        (block,) = call
        return block.question(), [block.base]
    ((run,),) = call
    return run.question(), [run.start]


def _spread(client: Any, function: Any, calls: Sequence[tuple[Any, ...]]) -> None:
    """Have the calls that the store has no answer to made by the cluster; other functions are left to this process."""
    if function not in COMPUTED_BY:
        return
    memory, digest = questions.store(), provenance.digest(*COMPUTED_BY[function])
    waiting = [(call, *_asked(function, call)) for call in calls]
    waiting = [each for each in waiting if memory.find(each[1], digest) is None]
    starts = list(dict.fromkeys(run for *_, needed in waiting for run in needed if run is not None))
    paths = {found.run: found.record.path for found in engine.trained(starts)}
    with ExitStack() as locks:
        for _, question, _ in sorted(waiting, key=lambda each: each[1].key):  # one order for all: no deadlock
            locks.enter_context(memory.lock(question))
        tasks = [
            (function, call, question, dict(_file(paths[run]) for run in needed if run))
            for call, question, needed in waiting
            if memory.find(question, digest) is None  # somebody else may have answered while we waited
        ]
        if tasks:
            _gather(client, tasks, digest)


def _gather(client: Any, tasks: Sequence[tuple[Any, ...]], digest: str) -> None:
    """Send the tasks, and write each answer into the store as soon as it is there."""
    from distributed import KilledWorker, as_completed

    with warnings.catch_warnings():  # a network of a thousand units is more than Dask thinks a task should carry
        warnings.filterwarnings("ignore", message="Sending large graph")
        sent = {client.submit(_answer, *task, digest, pure=False): trainings(task[1]) for task in tasks}
    runs = [run for each in sent.values() for run in each]
    report = questions.progress(runs) if runs else None
    for task in as_completed(sent, loop=client.loop):
        try:
            name, content = task.result()
        except KilledWorker as error:
            raise UsageError(f"a task was given up after several workers had died of it: {error}") from None
        if not Path(name).stem.endswith("-" + digest_of(content)):
            raise UsageError(f"the answer {name} of a worker arrived damaged; run again")
        write_atomically(questions.store().root / name, content)
        if report is not None:
            report(sum(map(progress.images, sent[task])))


def _answer(
    function: Any, call: tuple[Any, ...], question: Question, needed: dict[str, bytes], digest: str
) -> tuple[str, bytes]:
    """On a worker: the record that the call makes, in a store of its own that holds what it needs."""
    with _one_at_a_time, tempfile.TemporaryDirectory() as folder:
        for name in questions.CHAPTERS.values():  # they bring what may be observed while a network is trained
            questions.module(name)
        if provenance.digest(*COMPUTED_BY[function]) != digest:
            raise UsageError(f"a worker ({sys.executable}) has other code than this; install the same commit there")
        before, os.environ["RANKSTUDY_RESULTS"] = os.environ.get("RANKSTUDY_RESULTS"), folder
        try:
            for name, content in needed.items():
                write_atomically(Path(folder, name), content)
            function(*call)
            return _file(Store(folder).find(question, digest).path)
        finally:
            os.environ.pop("RANKSTUDY_RESULTS")
            if before is not None:
                os.environ["RANKSTUDY_RESULTS"] = before


def _file(path: Path) -> tuple[str, bytes]:
    """A record's name inside a store, and its bytes."""
    return f"{path.parent.name}/{path.name}", path.read_bytes()
