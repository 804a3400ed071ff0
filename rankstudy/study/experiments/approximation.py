"""Chapter 5: the big network's matrices as B·C, how wrong that is at each rank, and the one rank that is enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankstudy.study import engine, jobs, typed
from rankstudy.study.engine import Histories
from rankstudy.study.experiments import overfitting, truncation
from rankstudy.study.experiments.truncation import Piece
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Integers


@dataclass(frozen=True)
class Shorter:
    """The same networks after fewer epochs, truncated."""

    epochs: int
    history: Histories
    original: truncation.Scores  # (networks, 2, 3)
    truncated: truncation.Scores  # (networks, ranks, 2, 3)
    update: truncation.Scores  # (networks, update_ranks, 2, 3)
    update_ranks: Integers  # (update_ranks,)
    own_rank: Integers  # (networks,)


@dataclass(frozen=True, kw_only=True)
class Approximation(truncation.Truncated):
    """Chapter 5's result: of all networks."""

    shorter: list[Shorter]
    seeds: Integers  # (networks,)
    own_rank: Integers  # (networks,) the smallest that is enough for each
    rank: int  # the one that serves every network: what chapter 6 trains with


@dataclass(frozen=True)
class Config(Job[Approximation]):
    NAME = "approximation"
    ANSWER = Approximation

    overfitting: overfitting.Config
    sweep: truncation.Sweep
    shorter: tuple[int, ...]  # epochs of trainings that are the same but for their length: does the rank hang on it?
    tolerance: float = 0.005  # of validation accuracy that a cut network may lose

    def selection(self) -> str:
        return self.overfitting.data.name

    def compute(self) -> Approximation:
        return compute(self)


FULL = Config(
    overfitting.CONFIGS["full"],
    truncation.Sweep(
        ranks=(1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128, 192, 256, 512, 1024),
        alternating=(1, 4, 8, 16, 32, 64, 128),
        traced=(4, 16, 64, 128),
        compared=(4, 6, 8, 12, 16, 24, 32, 64, 128),
        sequential=(4, 8, 16, 32),
    ),
    shorter=(1,),
)
CONFIGS = {
    "smoke": replace(
        FULL,
        overfitting=overfitting.CONFIGS["smoke"],
        sweep=truncation.Sweep((1, 2, 4, 8, 16, 32, 64), (2, 8, 32), (2, 8), (2, 4, 8), (4,), inputs=200),
        shorter=(5,),
    ),
    "quick": replace(
        FULL,
        overfitting=overfitting.CONFIGS["quick"],
        sweep=truncation.Sweep(
            ranks=(1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 512),
            alternating=(4, 32),
            traced=(4, 32),
            compared=(8, 16, 32),
            sequential=(8,),
            inputs=2000,
            max_iterations=60,
        ),
    ),
    "full": FULL,
}


def plan(settings: Config) -> list[engine.Run]:
    runs, _ = overfitting.runs(settings.overfitting)
    return [*runs, *(run for chosen in shorter(settings) for run in chosen)]


def shorter(settings: Config) -> list[list[engine.Run]]:
    """The overfitted networks' trainings with fewer epochs, one list a length: their seeds, rate and schedule."""
    runs, _ = overfitting.runs(settings.overfitting)
    return [
        [replace(run, training=replace(run.training, epochs=epochs), observe="") for run in runs]
        for epochs in settings.shorter
    ]


def compute(settings: Config) -> Approximation:
    runs, _ = overfitting.runs(settings.overfitting)
    short = shorter(settings)
    briefly = [run for chosen in short for run in chosen]
    engine.trained([*runs, *briefly])
    sweeps = [Piece(run, settings.sweep) for run in runs]  # the longest first: no worker waits for the last of them
    jobs.prepare([*sweeps, *(Piece(run, settings.sweep.truncations()) for run in briefly)])
    found = stacked([typed.values(each) for each in jobs.answers(sweeps)])
    own = own_ranks(settings, np.asarray(found["original"]), np.asarray(found["truncated"]))
    added = {
        "shorter": [typed.values(_shorter(settings, chosen)) for chosen in short],
        "seeds": np.array([run.seed for run in runs]),
        "own_rank": own,
        "rank": int(own.max()),
    }
    return typed.result(Approximation, {**found, **added})


def _shorter(settings: Config, runs: Sequence[engine.Run]) -> Shorter:
    sweep = settings.sweep.truncations()
    found = jobs.answers([Piece(run, sweep) for run in runs])
    original, truncated = (np.stack([getattr(each, name) for each in found]) for name in ("original", "truncated"))
    return Shorter(
        epochs=runs[0].training.epochs,
        history=engine.histories(engine.trained(runs)),
        original=original,
        truncated=truncated,
        update=np.stack([each.update for each in found]),
        update_ranks=np.array(sweep.compared),
        own_rank=own_ranks(settings, original, truncated),
    )


def own_ranks(settings: Config, original: np.ndarray, truncated: np.ndarray) -> np.ndarray:
    """(networks,) the smallest rank within tolerance of the whole network's validation accuracy."""
    validation = truncation.SPLITS.index("validation")
    lost = original[:, None, 1, validation] - truncated[:, :, 1, validation]
    return enough(settings.sweep.ranks, lost, settings.tolerance)


def enough(ranks: Sequence[int], lost: np.ndarray, tolerance: float) -> np.ndarray:
    """The smallest rank from which on no rank loses more than the tolerance, one per network.

    Args:
        ranks: (R,) ascending; at the last one nothing is lost.
        lost: (networks, R) accuracy below the original network's.
        tolerance: fraction.
    """
    fits = lost <= tolerance + 1e-12  # accuracies are counts over a count: a tie is a tie
    fits[:, -1] = True
    from_here = np.flip(np.logical_and.accumulate(np.flip(fits, axis=1), axis=1), axis=1)
    return np.asarray(ranks)[from_here.argmax(axis=1)]


def known_rank(settings: Config, otherwise: int) -> int:
    """The effective rank if it is known already, to plan with."""
    record = jobs.record(settings)
    return otherwise if record is None else record.value["rank"]


def stacked(found: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """One nested dict of arrays per network -> one with the networks along the first axis.

    Traces differ in length, and pictures are large; of each, the first network's is kept.
    """
    merged: dict[str, object] = {}
    for name, first in found[0].items():
        if name in ("trace", "pictures"):
            merged[name] = first
        elif isinstance(first, Mapping):
            merged[name] = stacked([each[name] for each in found])  # type: ignore[misc]
        else:
            merged[name] = np.stack([np.asarray(each[name]) for each in found])
    return merged
