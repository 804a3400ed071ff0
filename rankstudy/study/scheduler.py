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
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from rankstudy import UsageError
from rankstudy.files import write_atomically
from rankstudy.study import jobs
from rankstudy.study.jobs import Job
from rankstudy.study.store import digest_of

if TYPE_CHECKING:
    from distributed import Client

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
        before, jobs.spread = jobs.spread, partial(_spread, client)
        try:
            yield
        finally:
            jobs.spread = before


def _spread(client: Client, asked: Sequence[Job[object]]) -> None:
    """Have the jobs that the store has no answer to answered by the cluster, but for those that belong here."""
    waiting = [job for job in asked if job.SENT and jobs.record(job) is None]
    starts = list(dict.fromkeys(run for job in waiting for run in job.needs()))
    for start in starts:
        start.ensure()
    paths = {start: found.path for start in starts if (found := jobs.record(start)) is not None}
    with jobs.locked(waiting):
        tasks = [
            (job, dict(_file(paths[run]) for run in job.needs()), job.digest())
            for job in waiting
            if jobs.record(job) is None  # somebody else may have answered while we waited
        ]
        if tasks:
            _gather(client, tasks)


def _gather(client: Client, tasks: Sequence[tuple[Job[object], dict[str, bytes], str]]) -> None:
    """Send the tasks, and write each answer into the store as soon as it is there."""
    from distributed import KilledWorker, as_completed

    with warnings.catch_warnings():  # a network of a thousand units is more than Dask thinks a task should carry
        warnings.filterwarnings("ignore", message="Sending large graph")
        sent = {client.submit(_answer, *task, pure=False): task[0] for task in tasks}
    report = jobs.progress(list(sent.values()))
    for task in as_completed(sent, loop=client.loop):
        try:
            name, content = task.result()
        except KilledWorker as error:
            raise UsageError(f"a task was given up after several workers had died of it: {error}") from None
        if not Path(name).stem.endswith("-" + digest_of(content)):
            raise UsageError(f"the answer {name} of a worker arrived damaged; run again")
        write_atomically(jobs.store().root / name, content)
        if report is not None:
            report(sent[task].training_images())


def _answer(job: Job[object], needed: dict[str, bytes], digest: str) -> tuple[str, bytes]:
    """On a worker: the record of the answer, in a store of its own that holds what it needs."""
    with _one_at_a_time, tempfile.TemporaryDirectory() as folder:
        if job.digest() != digest:
            raise UsageError(f"a worker ({sys.executable}) has other code than this; install the same commit there")
        before, os.environ["RANKSTUDY_RESULTS"] = os.environ.get("RANKSTUDY_RESULTS"), folder
        try:
            for name, content in needed.items():
                write_atomically(Path(folder, name), content)
            job.ensure()
            found = jobs.record(job)
            assert found is not None, "a job that was ensured has a record"
            return _file(found.path)
        finally:
            os.environ.pop("RANKSTUDY_RESULTS")
            if before is not None:
                os.environ["RANKSTUDY_RESULTS"] = before


def _file(path: Path) -> tuple[str, bytes]:
    """A record's name inside a store, and its bytes."""
    return f"{path.parent.name}/{path.name}", path.read_bytes()
