"""What was expected of the directions that a fine-tuning uses; docs/hypotheses/08.md says why."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.directions import THRESHOLD, Directions, Update

UPDATES = "sec-evidence-lora-directions"
COLUMNS = "sec-evidence-lora-columns"
INTRUDERS = "sec-evidence-lora-intruders"


@hypothesis(
    "directions-optimizer",
    "At 90 % on the new digit, with replay, full fine-tuning's update has a higher entropy rank in the square "
    "layers under Adam than under SGD with momentum, each at the middle of its learning rates.",
    family="directions",
    expects="above",
    unit="directions",
    evidence=UPDATES,
)
def optimizer(directions: Directions) -> np.ndarray | None:
    adam, momentum = (_middle(directions.full(name, replay=True)) for name in ("adam", "momentum"))
    return directions.change(adam.entropy_rank, momentum.entropy_rank)


@hypothesis(
    "directions-rate",
    "At 90 % on the new digit, with replay, full fine-tuning's update under Adam has a higher entropy rank in the "
    "square layers at the largest learning rate than at the smallest.",
    family="directions",
    expects="above",
    unit="directions",
    evidence=UPDATES,
)
def rate(directions: Directions) -> np.ndarray | None:
    smallest, *_, largest = directions.full("adam", replay=True)
    return directions.change(largest.entropy_rank, smallest.entropy_rank)


@hypothesis(
    "directions-low",
    "At 90 % on the new digit, with replay, 90 % of full fine-tuning's update under Adam lies in fewer than 16 "
    "directions in the square layers.",
    family="directions",
    expects="below",
    unit="directions",
    evidence=UPDATES,
)
def low(directions: Directions) -> np.ndarray | None:
    return directions.change(_middle(directions.full("adam", replay=True)).energy_rank, np.array(16.0))


@hypothesis(
    "columns-parallel",
    "Without replay the columns of LoRA's B become nearly parallel: their mean |cos| exceeds 0.9 in the square layers.",
    family="directions",
    expects="above",
    evidence=COLUMNS,
)
def columns_parallel(directions: Directions) -> np.ndarray:
    return directions.squares(directions.columns[0].cosine) - 0.9


@hypothesis(
    "columns-start",
    "A small random start of B makes what is added to its columns less parallel than a start at zero.",
    family="directions",
    expects="below",
    evidence=COLUMNS,
)
def columns_start(directions: Directions) -> np.ndarray | None:
    return directions.effect("small", True)


@hypothesis(
    "columns-frozen",
    "Freezing A changes the mean |cos| of B's columns by less than 0.05.",
    family="directions",
    expects="within",
    matters=0.05,
    evidence=COLUMNS,
)
def columns_frozen(directions: Directions) -> np.ndarray | None:
    return directions.effect("frozen", True)


@hypothesis(
    "columns-optimizer",
    "Adam makes B's columns more parallel than SGD with momentum.",
    family="directions",
    expects="above",
    evidence=COLUMNS,
)
def columns_optimizer(directions: Directions) -> np.ndarray | None:
    return directions.effect("optimizer", "adam")


@hypothesis(
    "columns-steps",
    "A fine-tuning four times as long changes the mean |cos| of B's columns by less than 0.05.",
    family="directions",
    expects="within",
    matters=0.05,
    evidence=COLUMNS,
)
def columns_steps(directions: Directions) -> np.ndarray | None:
    return directions.effect("steps", max(each.steps for each in directions.columns))


@hypothesis(
    "columns-replay",
    "Replay makes B's columns less parallel.",
    family="directions",
    expects="below",
    evidence=COLUMNS,
)
def columns_replay(directions: Directions) -> np.ndarray:
    return directions.squares(directions.replayed.cosine - directions.columns[0].cosine)


@hypothesis(
    "intruders-lora",
    "At 90 % on the new digit, without replay, LoRA of rank 16 brings more intruder dimensions into the square "
    "layers than full fine-tuning with Adam.",
    family="directions",
    tier="secondary",
    expects="above",
    unit="of ten",
    evidence=INTRUDERS,
)
def intruders(directions: Directions) -> np.ndarray | None:
    lora, full = directions.lora(16, replay=False), _middle(directions.full("adam", replay=False))
    return directions.change(lora.intruders[..., THRESHOLD], full.intruders[..., THRESHOLD])


@hypothesis(
    "intruders-random",
    "LoRA of rank 16 brings fewer intruder dimensions into the square layers than random directions of the same "
    "singular values.",
    family="directions",
    expects="below",
    unit="of ten",
    evidence=INTRUDERS,
)
def intruders_random(directions: Directions) -> np.ndarray | None:
    lora = directions.lora(16, replay=False)
    return directions.change(lora.intruders[..., THRESHOLD], lora.random[..., THRESHOLD])


@hypothesis(
    "intruders-shrunk",
    "Shrunk to the same norm, the updates of LoRA of rank 16 and of full fine-tuning bring equally many intruder "
    "dimensions into the square layers, to within half a dimension.",
    family="directions",
    expects="within",
    matters=0.5,
    unit="of ten",
    evidence=INTRUDERS,
)
def intruders_shrunk(directions: Directions) -> np.ndarray | None:
    lora, full = directions.lora(16, replay=False), _middle(directions.full("adam", replay=False))
    return directions.change(lora.shrunk[..., THRESHOLD], full.shrunk[..., THRESHOLD])


def _middle(updates: list[Update]) -> Update:
    return updates[len(updates) // 2]
