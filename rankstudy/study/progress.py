"""How far a study is: what is missing, and what has been done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

from rankstudy.study import contents, jobs, questions
from rankstudy.study.store import canonical, plain

if TYPE_CHECKING:
    from rankstudy.study.engine import Run


def planned(names: Sequence[str]) -> dict[str, list[Run]]:
    """Experiment -> the trainings that it needs and no experiment before it does, in the study's order."""
    seen: set[Run] = set()
    found: dict[str, list[Run]] = {}
    for name in names:
        runs = questions.module(name).plan(questions.settings(name))
        found[name] = [run for run in dict.fromkeys(runs) if run not in seen]
        seen.update(runs)
    return found


def missing(names: Sequence[str]) -> dict[str, list[Run]]:
    """`planned`, without the trainings that the store has.

    What the search for a learning rate will choose is not known yet, so trainings are compared but for their rate.
    """
    done = Counter(
        _but_for_the_rate(record.config)
        for record in questions.store().records()
        if _is_training(record.config) and questions.accepted(record)
    )
    waiting: dict[str, list[Run]] = {}
    for name, runs in planned(names).items():
        waiting[name] = []
        for run in runs:
            key = _but_for_the_rate(plain(run))
            if done[key]:
                done[key] -= 1
            else:
                waiting[name].append(run)
    return waiting


def described(waiting: dict[str, list[Run]]) -> str:
    """What is missing, in a line."""
    runs = [run for each in waiting.values() for run in each]
    numbers = list(dict.fromkeys(map(contents.number, waiting)))  # a chapter's controls are its own
    chapters = f"chapter{'s' * (len(numbers) != 1)} {', '.join(numbers)}"
    if not runs:
        return f"{chapters} (all networks are trained)"
    trainings = f"{len(runs)} training{'s' * (len(runs) != 1)}"
    return f"{chapters} ({trainings} on {tqdm.format_sizeof(sum(run.training_images() for run in runs))} images)"


@contextmanager
def shown(waiting: dict[str, list[Run]]) -> Iterator[Callable[[str], None]]:
    """A bar on stderr, where that is a terminal, which the images trained on move; the time that is left is judged by
    them. Yields what is to be called when an experiment is done, and then when it is over."""
    total = sum(run.training_images() for runs in waiting.values() for run in runs)
    with _Bar(
        total=total,
        disable=None if total else True,
        unit="image",
        unit_scale=True,
        smoothing=0,  # the average so far: trainings that end together would else make it jump
        bar_format="{l_bar}{bar}| {n_fmt} of {total_fmt} images, {elapsed} gone, about {remaining} left",
    ) as bar:

        def move(images: float) -> None:
            bar.update(max(0.0, min(images, bar.total - bar.n)))

        def ended(name: str) -> None:
            """What an early stop left out is done, too."""
            names = list(waiting)
            until = sum(run.training_images() for each in names[: names.index(name) + 1] for run in waiting[each])
            move(until - bar.n)

        before, jobs.progress = jobs.progress, lambda asked: move  # type: ignore[assignment, misc]
        try:
            yield ended
        finally:
            jobs.progress = before


class _Bar(tqdm):
    """A bar whose finaliser has nothing to complain of when Ctrl-C comes while it is being made."""

    disable = True  # until the constructor says otherwise


def _is_training(config: object) -> bool:
    return isinstance(config, dict) and {"network", "training", "data", "seed"} <= config.keys()


def _but_for_the_rate(config: object) -> str:
    def without(value: object) -> object:
        if isinstance(value, dict):
            return {name: without(item) for name, item in value.items() if name != "learning_rate"}
        return value

    return canonical(without(config))
