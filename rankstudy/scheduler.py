"""Trainings on a Dask cluster that is there already.

The client goes through the chapters as it always does; the networks and subspaces that its store lacks are trained by
the cluster, and everything else stays with the client.

- A task takes the records it starts from and answers with the one it made: the store's own files, named by the hash
  of their bytes. A worker needs the package and the data set, and shares no disk with the client.
- A training depends on its run alone, so it does not matter who does it. Dask gives the task of a worker that died to
  another one; a client that died finds in its store all that had come back.
- A worker whose code is not the client's says so instead of computing.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from rankstudy import UsageError, provenance
from rankstudy.experiments import networks, study, subspaces
from rankstudy.store import Store, digest_of, write_atomically

COMPUTED_BY = {networks.trained: provenance.TRAINED, subspaces.trained: subspaces.COMPUTED_BY}
SECONDS = 20  # to find the scheduler, and at least one worker
_one_at_a_time = Lock()  # in a worker with several threads: the environment and the loaded data belong to all of them


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Meanwhile, what is missing is trained on the cluster whose scheduler has the address.

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
        before, study.spread = study.spread, partial(_spread, client)
        try:
            yield
        finally:
            study.spread = before


def _spread(client: Any, function: Any, calls: Sequence[tuple[Any, ...]]) -> None:
    """Have trainings done by the cluster; other calls are left to this process."""
    if function not in COMPUTED_BY:
        return
    memory, digest = study.store(), provenance.digest(*COMPUTED_BY[function])
    runs = [run for ((run,),) in calls]
    starts = {run: networks.trained([run.start])[0].record.path for run in runs if run.start is not None}
    with ExitStack() as locks:
        for run in sorted(runs, key=lambda run: run.question().key):  # one order for all: no deadlock
            locks.enter_context(memory.lock(run.question()))
        missing = [run for run in runs if memory.find(run.question(), digest) is None]
        if missing:
            _gather(client, function, missing, {run: _contents(starts[run]) for run in missing if run in starts})


def _gather(client: Any, function: Any, missing: Sequence[Any], needed: dict[Any, dict[str, bytes]]) -> None:
    """Send one task a run, and write each answer into the store as soon as it is there."""
    from distributed import KilledWorker, as_completed

    memory, digest = study.store(), provenance.digest(*COMPUTED_BY[function])
    tasks = {client.submit(_train, function, run, needed.get(run, {}), digest, pure=False): run for run in missing}
    report = study.progress(missing)
    for task in as_completed(tasks, loop=client.loop):
        try:
            answer = task.result()
        except KilledWorker as error:
            raise UsageError(f"a training was given up after several workers had died of it: {error}") from None
        for name, content in answer.items():
            if not Path(name).stem.endswith("-" + digest_of(content)):
                raise UsageError(f"the answer {name} of a worker arrived damaged; run again")
            write_atomically(memory.root / name, content)
        if report is not None:
            report(tasks[task].training.epochs * networks.training_images(tasks[task]))


def _train(function: Any, run: Any, needed: dict[str, bytes], digest: str) -> dict[str, bytes]:
    """On a worker: the record of the run, trained in a store of its own that holds what it needs."""
    with _one_at_a_time, tempfile.TemporaryDirectory() as folder:
        for name in study.CHAPTERS.values():  # they bring what may be observed while a network is trained
            study.module(name)
        if provenance.digest(*COMPUTED_BY[function]) != digest:
            raise UsageError(f"a worker ({sys.executable}) has other code than this; install the same commit there")
        before, os.environ["RANKSTUDY_RESULTS"] = os.environ.get("RANKSTUDY_RESULTS"), folder
        try:
            for name, content in needed.items():
                write_atomically(Path(folder, name), content)
            function([run])
            return _contents(Store(folder).find(run.question(), digest).path)
        finally:
            os.environ.pop("RANKSTUDY_RESULTS")
            if before is not None:
                os.environ["RANKSTUDY_RESULTS"] = before


def _contents(path: Path) -> dict[str, bytes]:
    """A record's file, by its name inside a store."""
    return {f"{path.parent.name}/{path.name}": path.read_bytes()}
