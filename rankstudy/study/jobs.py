"""A job: one question of the study with its answer, computed once and kept.

A job is a frozen dataclass of what is asked. Asking for its answer looks into the store, takes the question's lock,
looks again, computes, and stores: whoever asks, in whichever process. Every record of the study is some job's.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, Generic, TypeVar

from rankstudy import data, device
from rankstudy.study import provenance, typed
from rankstudy.study.store import UNFINISHED, Question, Record, Store

Answer = TypeVar("Answer", covariant=True)
Found = TypeVar("Found")
KINDS: dict[str, type[Job[object]]] = {}  # name of an experiment in the store -> the jobs that are called so


def store() -> Store:
    """The store in RANKSTUDY_RESULTS, or else `results/`."""
    return Store(os.environ.get("RANKSTUDY_RESULTS") or "results")


class Job(Generic[Answer]):
    """What is asked, in the fields of a frozen dataclass; and how it is answered.

    A subclass sets `NAME` (of its records in the store) and `ANSWER` (a frozen dataclass), and has `selection` and
    `compute`. `VERSION` is raised when the meaning of a field of the answer changes.

    Example: a job of its own is in CONTRIBUTING, "Write an experiment".
    """

    NAME: ClassVar[str]
    ANSWER: ClassVar[type]
    KIND: ClassVar[str] = "measured"  # or "trained": records with weights, which are not exported
    VERSION: ClassVar[int] = 1
    SENT: ClassVar[bool] = False  # whether the machines of a cluster may answer it: nothing is timed, `needs` is all

    def __init_subclass__(cls) -> None:
        if "NAME" in vars(cls):
            KINDS[cls.NAME] = cls

    def selection(self) -> str:
        """The data set that is asked about."""
        raise NotImplementedError

    def compute(self) -> Answer:
        """The answer, from scratch or from the answers of other jobs."""
        raise NotImplementedError

    def ensure(self) -> None:
        """Have the answer in the store: what a worker does."""
        answered(self)

    def needs(self) -> list[Job[object]]:
        """Trained networks that it starts from: what a worker on another machine must be sent."""
        return []

    def training_images(self) -> int:
        """Pictures that it trains on, each as often as it is shown; 0 for what trains nothing."""
        return 0

    @classmethod
    def modules(cls) -> tuple[str, ...]:
        """The modules whose code decides the answer; those that they import follow."""
        return (cls.__module__.removeprefix("rankstudy."), *provenance.TRAINED)

    @classmethod
    def digest(cls) -> str:
        """Of the code that answers today."""
        return provenance.digest(*cls.modules())

    def question(self) -> Question:
        return Question(self.KIND, self.NAME, self, data.checksum(self.selection()), self.VERSION)


def record(job: Job[object]) -> Record | None:
    """The stored record of today's code, if there is one."""
    return store().find(job.question(), job.digest())


def answer(job: Job[Found]) -> Found:
    """From the store, or computed and stored."""
    found: Found = typed.result(job.ANSWER, answered(job).value)
    return found


def answered(job: Job[object]) -> Record:
    """The record of the answer, from the store, or computed and stored."""
    question, digest = job.question(), job.digest()
    if (found := store().find(question, digest)) is not None:
        return found
    with store().lock(question):
        # somebody else may have answered while we waited
        return store().find(question, digest) or keep(job)


def prepare(asked: Sequence[Job[object]]) -> None:
    """Where there are workers, have them answer what the store lacks; the longest should come first."""
    spread([job for job in dict.fromkeys(asked) if record(job) is None])


def answers(asked: Sequence[Job[Found]]) -> list[Found]:
    """The answers of many jobs, in their order."""
    prepare(asked)
    return [answer(job) for job in asked]


def keep(job: Job[object]) -> Record:
    """Compute and store, under a lock that the caller holds."""
    start = time.perf_counter()
    found = typed.values(job.compute())
    return put(job, found, time.perf_counter() - start)


def put(job: Job[object], found: Mapping[str, object], seconds: float) -> Record:
    """Store an answer, as values, that took so many seconds."""
    origin = provenance.describe(device.describe(device.choose()), seconds)
    return store().put(job.question(), job.digest(), origin, found)


@contextmanager
def locked(jobs: Sequence[Job[object]]) -> Iterator[None]:
    """Hold the locks of several questions, taken in one order for all: no deadlock."""
    with ExitStack() as locks:
        for question in sorted((job.question() for job in jobs), key=lambda question: question.key):
            locks.enter_context(store().lock(question))
        yield


def accepted(found: Record) -> bool:
    """Whether today's code would show this record rather than compute it again."""
    kind = KINDS.get(found.experiment)
    return kind is not None and found.version == kind.VERSION and found.digest == kind.digest()


class Unfinished:
    """The snapshots of a training in the store, so that a kill costs a minute and not the training."""

    def __init__(self, job: Job[object]) -> None:
        self.question, self.digest = dataclasses.replace(job.question(), kind=UNFINISHED), job.digest()
        self.begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Spent on the training so far, by processes that were killed too."""
        return time.perf_counter() - self.begun

    def load(self) -> Mapping[str, Any] | None:
        found = store().find(self.question, self.digest)
        if found is None:
            return None
        self.begun -= found.provenance["seconds"]
        return found.value

    def save(self, state: Mapping[str, object]) -> None:
        origin = provenance.describe(device.describe(device.choose()), self.seconds)
        store().discard(self.question, keep=store().put(self.question, self.digest, origin, state))

    def forget(self) -> None:
        """The training has ended, and its result is stored."""
        store().discard(self.question)


# What the command line puts in place of these two while it runs; a page that computes by itself does without


def progress(jobs: Sequence[Job[object]]) -> Callable[[int], None] | None:
    """Called with the trainings that are about to begin; what it returns is told of images as they are done."""
    return None


def spread(jobs: Sequence[Job[object]]) -> None:
    """Told the jobs that are about to be answered here, which the store lacks: others may answer them first."""
