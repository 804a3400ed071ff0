"""Processes beside this one that answer the jobs a chapter is about to ask for, each on its share of the cores.

A network of a few hundred units gains nothing from a second thread, and one of a thousand units a third: two trainings
side by side finish two networks in the time of one (benchmarks/training.py). So on a CPU the study runs a process for
each core. They answer into the same store, under the same locks; this process then finds the answers there.

- Workers start when there is something to do, and end with this process: also when it is killed, also by Ctrl-C.
- On a GPU there are none: there, networks are trained side by side by the engine itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from rankstudy import UsageError
from rankstudy.study import jobs
from rankstudy.study.jobs import Job

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
BYTES = 1.5e9  # of memory that a worker is given, at most


def cores() -> int:
    """How many workers this machine has room for: cores that this process may use, and memory."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return own
    return max(1, min(own, int(memory / BYTES)))


@contextmanager
def beside(count: int) -> Iterator[None]:
    """Meanwhile, jobs that `jobs.spread` is told of are answered by so many processes; fewer than two: by none.

    Raises:
        UsageError: a worker was killed.
    """
    if count < 2:
        yield
        return
    before, workers = jobs.spread, _Pool(count)
    jobs.spread = workers  # type: ignore[assignment]
    pool = workers.pool
    try:
        yield
        pool.shutdown()
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        pool.shutdown(cancel_futures=True)  # its semaphores go with it: nobody has to complain that they are left
        raise
    finally:
        jobs.spread = before


class _Pool:
    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        threads = max(1, cores() // count)
        self.pool = ProcessPoolExecutor(count, context, _begin, (threads,))
        self.environment = dict.fromkeys(THREADS, str(threads))
        self.workers: list[multiprocessing.process.BaseProcess] = []

    def __call__(self, asked: Sequence[Job[object]]) -> None:
        """Have the jobs answered, and say so as each is done."""
        try:
            self._answer(asked)
        except BrokenProcessPool:  # a worker was killed at work, or since the last of it, and then nothing is taken on
            if any(worker.exitcode == -signal.SIGINT for worker in self.workers):
                raise KeyboardInterrupt from None  # it came to us too, where Python lets it go (an import's callback)
            raise UsageError(
                "a worker was killed, perhaps for memory; what was finished is kept: run again, fewer --workers"
            ) from None

    def _answer(self, asked: Sequence[Job[object]]) -> None:
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)  # libraries read it when a worker starts
        try:
            with _uninterrupted():
                waiting: dict[Future, Job[object]] = {self.pool.submit(_ensure, job): job for job in asked}
        finally:
            self.workers += [worker for worker in multiprocessing.active_children() if worker not in self.workers]
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value
        report = jobs.progress(asked)
        for future in as_completed(waiting):
            future.result()
            if report is not None:
                report(waiting[future].training_images())


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until all workers have been told what they are; one that is told half of it complains at length."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ensure(job: Job[object]) -> None:
    """In a worker: the answer stays in the store."""
    job.ensure()


def _begin(threads: int) -> None:
    """In a worker, first of all."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the whole group: no traceback from each of us
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # it was blocked while we were made
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # at once, whatever the main thread is computing
