"""Weights in random order: a start that has every number of a trained network, and nothing of what it has learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankstudy.study import engine, provenance


@dataclass(frozen=True)
class Scrambled(engine.Run):
    """The final weights of the run `start`, the entries of each matrix in random order. Nothing is trained.

    It is asked for by `jobs.answers`, before `engine.trained` is asked for what starts there. Entries keep their layer,
    so that norms and sizes are those of the trained network.
    """

    NAME = "scrambled"

    entries: str = "shuffled"  # tells it from the run that it starts at

    @classmethod
    def modules(cls) -> tuple[str, ...]:
        return (cls.__module__.removeprefix("rankstudy."), *provenance.TRAINED)

    def ensure(self) -> None:
        engine.jobs.answered(self)

    def compute(self) -> engine.Outcome:
        assert self.start is not None, "there must be weights to put into random order"
        (source,) = engine.trained([self.start])
        state = source.record.value["state"]
        return engine.Outcome(
            {name: shuffled(np.asarray(state[name]), [self.seed, index]) for index, name in enumerate(sorted(state))},
            {"epochs_run": np.array(0)},
        )


def shuffled(a: np.ndarray, seed: list[int]) -> np.ndarray:
    """The same numbers in random order."""
    return np.random.default_rng(seed).permutation(a.ravel()).reshape(a.shape)


def of(run: engine.Run) -> Scrambled:
    """What the run ends at, in random order."""
    return Scrambled(run.network, run.training, run.data, run.seed, start=run)
