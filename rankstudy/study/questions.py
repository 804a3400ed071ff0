"""What each chapter asks under the current profile, and its answer: from the store, or by computing it.

A chapter's module has a frozen `Config`, which is a `Job`, one instance per profile in `CONFIGS`, `plan(config)`, the
trainings that it needs, and `compute(config)`, which returns its typed result.
`result("rank")` is what its chapter reads. Nothing here imports torch until something must be computed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from rankstudy import UsageError, config, data, device, pictures, sources
from rankstudy.registry import DATASETS, FALLBACK
from rankstudy.study import jobs, overrides, typed
from rankstudy.study.jobs import Job
from rankstudy.study.store import Record, decode, exported, plain

store = jobs.store
PROFILES = ("smoke", "quick", "full", "published")
FEW = 8  # settings that may differ from a profile's for its name to say something
PUBLISHED = Path(__file__).parents[2] / "published" / "results.zip"  # the committed export of a full study
COMPARED: ContextVar[str] = ContextVar("compared", default="")  # the data set whose committed results are shown

# chapter number -> its experiment; chapter 7 draws on the others and computes nothing
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
# an experiment that stands beside a chapter's, and can be computed by itself -> the chapter that tells it
CONTROLS: dict[str, str] = {
    "optimizers": "03",
    "dissection": "03",
    "labels": "04",
    "decay": "04",
    "narrow": "06",
    "large_batches": "06",
    "frontier": "08",
    "directions": "08",
}


def known() -> dict[str, str]:
    """Every experiment -> the number of its chapter, in the book's order: a chapter's own before its controls."""
    beside = {number: [name for name, of in CONTROLS.items() if of == number] for number in CHAPTERS}
    return {name: number for number, own in CHAPTERS.items() for name in (own, *beside[number])}


@dataclass(frozen=True)
class Result:
    """A chapter's answer. `result["name"]` looks into the value; arrays are read-only."""

    experiment: str
    profile: str
    data: str  # a key of `registry.DATASETS`, or the path of an .npz
    config: Any  # as stored: plain values
    provenance: Mapping[str, Any]
    value: Mapping[str, Any] = dataclasses.field(repr=False)
    stale: bool = False  # computed by other code than today's (possible under `published` only)

    @property
    def settings(self) -> str:
        """The profile whose settings it was computed with, and what was changed in them: that of the page, but where
        the page shows published results, or RANKSTUDY_SET is set."""
        if self.profile != "published" and not os.environ.get(overrides.VARIABLE):
            return self.profile
        return computed_under(self.experiment, self.config) or "settings of its time"

    @property
    def typed(self) -> Any:
        """The value as the experiment's class, with shapes and units at its fields."""
        return typed.result(module(self.experiment).Config.ANSWER, self.value)

    def __getitem__(self, name: str) -> Any:
        return self.value[name]


def profile() -> str:
    """RANKSTUDY_PROFILE, or PROFILE where it is one of ours (`make` is told so), or `full` on CUDA and else `quick`.

    Raises:
        UsageError: RANKSTUDY_PROFILE is none of PROFILES.
    """
    if COMPARED.get():
        return "published"
    wanted = os.environ.get("RANKSTUDY_PROFILE", "").strip().lower()
    if not wanted and (short := os.environ.get("PROFILE", "").strip().lower()) in PROFILES:
        wanted = short
    if wanted and wanted not in PROFILES:
        raise UsageError(f"RANKSTUDY_PROFILE is {wanted!r}; allowed are {', '.join(PROFILES)}")
    return wanted or ("full" if device.has_cuda() else "quick")


def module(experiment: str) -> ModuleType:
    """The module of an experiment.

    Raises:
        UsageError: there is no such experiment.
    """
    name = CHAPTERS.get(experiment, experiment)
    if name not in known():
        names = ", ".join(f"{number} {title}" for title, number in known().items())
        raise UsageError(f"there is no experiment {experiment!r}; there are {names}")
    return import_module(f"rankstudy.study.experiments.{name}")


def result(experiment: str) -> Result:
    """The result that the chapter of the experiment shows under the current profile, computed where it is missing."""
    chosen = profile()
    name = module(experiment).__name__.rpartition(".")[2]
    if chosen == "published":
        return _published(name)
    job, dataset = _job(name, chosen)
    found = jobs.record(job)
    if found is None and chosen != "smoke" and data.prepare() != dataset:  # MNIST has been downloaded
        job, dataset = _job(name, chosen)
    found = found or jobs.answered(job)
    return Result(name, chosen, dataset, found.config, found.provenance, found.value)


def missing(experiment: str) -> bool:
    """Whether a control is not published yet, under the profile that computes nothing."""
    return profile() == "published" and experiment in CONTROLS and experiment not in published()


def record(experiment: str) -> Record | None:
    """The record from which `result` would answer under a profile that computes; None if it would have to compute."""
    name = module(experiment).__name__.rpartition(".")[2]
    return jobs.record(_job(name, profile())[0])


def stored(experiment: str) -> bool:
    """Whether `result` would answer without computing."""
    return profile() == "published" or record(experiment) is not None


def settings(experiment: str) -> Any:
    """The config of the experiment under the current profile, on the data that is there."""
    return _job(module(experiment).__name__.rpartition(".")[2], profile())[0]


def on(settings: Any, dataset: str) -> Any:
    """A config moved to a data set: every `config.Data` in it is renamed and, on a smaller one, fitted to its size."""
    if isinstance(settings, config.Data):
        if dataset == settings.name:
            return settings
        if dataset == FALLBACK:
            return dataclasses.replace(settings, name=dataset, train_size=None, validation_size=200)
        if not sources.is_own(dataset):  # as large as MNIST, or larger
            return dataclasses.replace(settings, name=dataset)
        whole = pictures.official(dataset)
        held_out = min(settings.validation_size, whole // 6)
        size = settings.train_size if settings.train_size and settings.train_size <= (whole - held_out) // 2 else None
        return dataclasses.replace(settings, name=dataset, train_size=size, validation_size=held_out)
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        fields = {field.name: on(getattr(settings, field.name), dataset) for field in dataclasses.fields(settings)}
        return dataclasses.replace(settings, **fields)
    if isinstance(settings, tuple):
        return tuple(on(item, dataset) for item in settings)
    return settings


def _job(name: str, chosen: str) -> tuple[Job[object], str]:
    """What is asked of an experiment, and the name of the data set."""
    dataset = FALLBACK if chosen == "smoke" else data.available()
    changes = overrides.asked(name, list(known()))
    return on(overrides.applied(module(name).CONFIGS[chosen], changes), dataset), dataset


@contextmanager
def compared(dataset: str) -> Iterator[None]:
    """Within it `result` answers from what is committed of this data set, whatever profile and settings are chosen."""
    token = COMPARED.set(dataset)
    try:
        yield
    finally:
        COMPARED.reset(token)


def archive(dataset: str) -> Path:
    """The committed export of a data set: that of the book's own is PUBLISHED, others lie beside it by their names."""
    return PUBLISHED if dataset in ("", data.MNIST) else PUBLISHED.with_name(f"{Path(dataset).stem}.zip")


def others() -> list[str]:
    """The other data sets whose results are committed."""
    return [name for name in DATASETS if archive(name) != PUBLISHED and archive(name).exists()]


def published() -> dict[str, Record]:
    """The newest committed record of each experiment, by whichever code.

    Raises:
        UsageError: nothing is published, or it is damaged.
    """
    path = archive(COMPARED.get())
    if not path.exists():
        raise UsageError(f"nothing is published yet (published/{path.name}); choose another RANKSTUDY_PROFILE")
    now = path.stat()
    return dict(_newest(path, now.st_mtime_ns, now.st_size))


@cache
def _newest(path: Path, changed: int, size: int) -> dict[str, Record]:
    """What an export holds that was changed then: a page asks for a dozen results of the same one."""
    found = [decode(name, content) for name, content in exported(path).items()]
    records = sorted((record for record in found if record), key=lambda record: record.provenance["created"])
    return {record.experiment: record for record in records}


def computed_under(experiment: str, stored: object) -> str:
    """The profile whose settings on the data set are those of a stored config, with what was changed in them; "" if
    more than a FEW were. Fields that settings no longer have say nothing.

    """
    moved = {name: plain(on(today, dataset_of(stored))) for name, today in module(experiment).CONFIGS.items()}
    found = {name: list(overrides.differences(today, stored)) for name, today in moved.items()}
    nearest = min(found, key=lambda name: len(found[name]))
    changed = found[nearest]
    if len(changed) > FEW:
        return ""
    return f"{nearest}, with {'; '.join(changed)}" if changed else nearest


def refuse_changes(names: Sequence[str]) -> None:
    """Nothing, or a UsageError where settings of these experiments are changed: what is published is as it is."""
    for name in names:
        if changes := overrides.asked(name, list(known())):
            raise UsageError(
                f"{overrides.VARIABLE} changes {', '.join(changes)} of {name}, and profile published computes nothing; "
                "choose another RANKSTUDY_PROFILE"
            )


def _published(name: str) -> Result:
    if not COMPARED.get():
        refuse_changes([name])
    found = published().get(name)
    if found is None:
        raise UsageError(f"no result of {name} is published; choose another RANKSTUDY_PROFILE")
    stale = found.digest != module(name).Config.digest()
    return Result(name, "published", dataset_of(found.config), found.config, found.provenance, found.value, stale)


def accepted(found: Record) -> bool:
    """Whether today's code would show this record rather than compute it again."""
    for name in known():  # they bring the jobs that there are
        module(name)
    return jobs.accepted(found)


def dataset_of(settings: object) -> str:
    """The data set of a stored config: the first that it names."""
    if isinstance(settings, Mapping):
        if "validation_size" in settings:
            return str(settings["name"])
        settings = list(settings.values())
    items = settings if isinstance(settings, list) else []
    found = (name for item in items if (name := dataset_of(item)))
    return next(found, "")
