"""How an experiment gets its answer: from the store, or by computing it and storing it.

A chapter's module has a frozen `Config`, one instance per profile in `CONFIGS`, `plan(config)`, the trainings
it will ask for, and `compute(config) -> dict`.
`result("rank")` is what its chapter reads. Nothing here imports torch until something must be computed.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rankstudy import UsageError, config, data, device
from rankstudy.study import provenance
from rankstudy.study.store import UNFINISHED, Question, Record, Store, decode, exported, plain

PROFILES = ("smoke", "quick", "full", "published")
PUBLISHED = Path(__file__).parents[2] / "published" / "results.zip"  # the committed export of a full study

# chapter number -> experiment; chapter 7 draws on the others and computes nothing
CHAPTERS = {
    "01": "data",
    "02": "training",
    "03": "rank",
    "04": "overfitting",
    "05": "approximation",
    "06": "low_rank_training",
    "08": "lora",
    "09": "intrinsic_dimension",
}


@dataclass(frozen=True)
class Result:
    """A chapter's answer. `result["name"]` looks into the value; arrays are read-only."""

    experiment: str
    profile: str
    data: str  # "mnist" or "digits"
    config: Any  # as stored: plain values
    provenance: Mapping[str, Any]
    value: Mapping[str, Any] = dataclasses.field(repr=False)
    stale: bool = False  # computed by other code than today's (possible under `published` only)

    def __getitem__(self, name: str) -> Any:
        return self.value[name]


def progress(runs: Any) -> Callable[[int], None] | None:
    """Called with the runs about to be trained; the command line replaces it by one that answers with a
    callable(images done)."""
    return None


def spread(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> None:
    """Told the calls of a function of this package that are about to be made in turn, each of which puts its answer
    into the store; the command line replaces it by one that has them made by others first."""


class Unfinished:
    """The snapshots of a training in the store, so that a kill costs a minute and not the training."""

    def __init__(self, question: Question, digest: str) -> None:
        self.question, self.digest = dataclasses.replace(question, kind=UNFINISHED), digest
        self.begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Spent on the training so far, by processes that were killed too."""
        return time.perf_counter() - self.begun

    def load(self) -> Mapping[str, Any] | None:
        record = store().find(self.question, self.digest)
        if record is None:
            return None
        self.begun -= record.provenance["seconds"]
        return record.value

    def save(self, state: Mapping[str, Any]) -> None:
        origin = provenance.describe(device.describe(device.choose()), self.seconds)
        store().discard(self.question, keep=store().put(self.question, self.digest, origin, state))

    def forget(self) -> None:
        """The training has ended, and its result is stored."""
        store().discard(self.question)


def profile() -> str:
    """RANKSTUDY_PROFILE, or PROFILE where it is one of ours (`make` is told so), or `full` on CUDA and else `quick`.

    Raises:
        UsageError: RANKSTUDY_PROFILE is none of PROFILES.
    """
    wanted = os.environ.get("RANKSTUDY_PROFILE", "").strip().lower()
    if not wanted and (short := os.environ.get("PROFILE", "").strip().lower()) in PROFILES:
        wanted = short
    if wanted and wanted not in PROFILES:
        raise UsageError(f"RANKSTUDY_PROFILE is {wanted!r}; allowed are {', '.join(PROFILES)}")
    return wanted or ("full" if device.has_cuda() else "quick")


def store() -> Store:
    """The store in RANKSTUDY_RESULTS, or else `results/`."""
    return Store(os.environ.get("RANKSTUDY_RESULTS") or "results")


def module(experiment: str) -> Any:
    """The module of an experiment.

    Raises:
        UsageError: there is no such experiment.
    """
    name = CHAPTERS.get(experiment, experiment)
    if name not in CHAPTERS.values():
        known = ", ".join(f"{number} {title}" for number, title in CHAPTERS.items())
        raise UsageError(f"there is no experiment {experiment!r}; there are {known}")
    return import_module(f"rankstudy.study.experiments.{name}")


def result(experiment: str) -> Result:
    """The result that the chapter of the experiment shows under the current profile, computed where it is missing."""
    chosen = profile()
    name = module(experiment).__name__.rpartition(".")[2]
    if chosen == "published":
        return _published(name)
    digest = provenance.digest(f"study.experiments.{name}", *provenance.TRAINED)
    dataset = "digits" if chosen == "smoke" else data.available()
    question, settings = _question(name, chosen, dataset)
    found = store().find(question, digest)
    if found is None and chosen != "smoke" and (prepared := data.prepare()) != dataset:
        dataset = prepared  # MNIST has been downloaded
        question, settings = _question(name, chosen, dataset)
    found = found or obtain(question, digest, lambda: module(name).compute(settings))
    return Result(name, chosen, dataset, found.config, found.provenance, found.value)


def record(experiment: str) -> Record | None:
    """The record from which `result` would answer under a profile that computes; None if it would have to compute."""
    chosen = profile()
    name = module(experiment).__name__.rpartition(".")[2]
    question, _ = _question(name, chosen, "digits" if chosen == "smoke" else data.available())
    return store().find(question, provenance.digest(f"study.experiments.{name}", *provenance.TRAINED))


def stored(experiment: str) -> bool:
    """Whether `result` would answer without computing."""
    return profile() == "published" or record(experiment) is not None


def settings(experiment: str) -> Any:
    """The config of the experiment under the current profile, on the data that is there."""
    chosen = profile()
    return _question(experiment, chosen, "digits" if chosen == "smoke" else data.available())[1]


def obtain(question: Question, digest: str, compute: Callable[[], Mapping[str, Any]]) -> Record:
    """The stored record of the question by code with that digest, or else compute it and store it, once."""
    memory = store()
    record = memory.find(question, digest)
    if record is not None:
        return record
    with memory.lock(question):
        record = memory.find(question, digest)  # somebody else may have answered while we waited
        if record is not None:
            return record
        return keep(question, digest, compute)


def keep(question: Question, digest: str, compute: Callable[[], Mapping[str, Any]]) -> Record:
    """Compute and store, under a lock that the caller holds."""
    start = time.perf_counter()
    value = compute()
    where = device.describe(device.choose())
    return store().put(question, digest, provenance.describe(where, time.perf_counter() - start), value)


def on(settings: Any, dataset: str) -> Any:
    """A config moved to a data set: every `config.Data` in it is renamed and, on the stand-in, fitted to its size."""
    if isinstance(settings, config.Data):
        if dataset == settings.name:
            return settings
        return dataclasses.replace(settings, name=dataset, train_size=None, validation_size=200)
    if dataclasses.is_dataclass(settings):
        fields = {field.name: on(getattr(settings, field.name), dataset) for field in dataclasses.fields(settings)}
        return dataclasses.replace(settings, **fields)
    if isinstance(settings, tuple):
        return tuple(on(item, dataset) for item in settings)
    return settings


def _question(name: str, chosen: str, dataset: str) -> tuple[Question, Any]:
    settings = on(module(name).CONFIGS[chosen], dataset)
    return Question("measured", name, settings, data.CHECKSUMS[dataset]), settings


def published() -> dict[str, Record]:
    """The newest committed record of each experiment, by whichever code.

    Raises:
        UsageError: nothing is published, or it is damaged.
    """
    if not PUBLISHED.exists():
        raise UsageError("nothing is published yet (published/results.zip); choose another RANKSTUDY_PROFILE")
    found = [decode(name, content) for name, content in exported(PUBLISHED).items()]
    records = sorted((record for record in found if record), key=lambda record: record.provenance["created"])
    return {record.experiment: record for record in records}


def computed_under(experiment: str, data_set: str, stored: Any) -> str:
    """The profile whose settings on the data set are those of a stored config; "" if there is none.

    Fields that settings no longer have say nothing.

    Args:
        data_set: its name, or its checksum.
    """
    name = next((known for known, checksum in data.CHECKSUMS.items() if data_set in (known, checksum)), data_set)
    configs = module(experiment).CONFIGS
    found = (profile for profile, today in configs.items() if _agrees(plain(on(today, name)), stored))
    return next(found, "")


def _agrees(today: Any, stored: Any) -> bool:
    if isinstance(today, dict) and isinstance(stored, dict):
        return all(name in stored and _agrees(value, stored[name]) for name, value in today.items())
    if isinstance(today, list) and isinstance(stored, list) and len(today) == len(stored):
        return all(map(_agrees, today, stored))
    return today == stored


def _published(name: str) -> Result:
    record = published().get(name)
    if record is None:
        raise UsageError(f"no result of {name} is published; choose another RANKSTUDY_PROFILE")
    today = provenance.digest(f"study.experiments.{name}", *provenance.TRAINED)
    dataset = next((known for known, checksum in data.CHECKSUMS.items() if checksum == record.data), "unknown")
    return Result(name, "published", dataset, record.config, record.provenance, record.value, record.digest != today)


def accepted(record: Any) -> bool:
    """Whether today's code would show this record rather than compute it again."""
    if record.experiment in CHAPTERS.values():
        return record.digest == provenance.digest(f"study.experiments.{record.experiment}", *provenance.TRAINED)
    from rankstudy.study.experiments import arms, blocks, inference, inputs, rank, subspaces, truncation

    modules = {  # the code behind the records that are no chapter's
        "network": provenance.TRAINED,
        "arm": arms.COMPUTED_BY,
        "network-outliers": rank.COMPUTED_BY,
        "update-in-span": inputs.COMPUTED_BY,
        "truncated-network": truncation.COMPUTED_BY,
        "inference": inference.COMPUTED_BY,
        "lora-block": blocks.COMPUTED_BY,
        "intrinsic_dimension-subspace": subspaces.COMPUTED_BY,
    }.get(record.experiment)
    return modules is None or record.digest == provenance.digest(*modules)
