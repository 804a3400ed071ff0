"""What an experiment is told: frozen dataclasses, units in the comments, no torch.

Every result on disk is keyed by the values in here, so a field that changes the numbers belongs in here and a field
that does not (a device, a progress bar) does not. What cannot be is refused when it is written down, by name.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass

from rankstudy.registry import ACTIVATIONS, OPTIMIZERS, entry
from rankstudy.sources import checked

INITIALISATIONS = ("default", "variance", "spectral")
SCHEDULES = ("cosine", "constant")
PROJECTIONS = ("partition", "fastfood", "sparse", "dense")


@dataclass(frozen=True)
class Network:
    """A bias-free multilayer perceptron: `build(Network((784, 256, 10)), seed=0)` is one at its initial weights.

    `activation` is relu, tanh, sigmoid or another of `registry.ACTIVATIONS`; `rank` makes every weight matrix B·C of
    that rank, and `initialisation` says how B and C begin: default, variance or spectral (see `layers.build`).

    Raises: ValueError that names the field and says what is allowed.

    >>> Network((784, 256, 10), activation="tanh", rank=32).shapes()
    [(256, 784), (10, 256)]
    """

    widths: tuple[int, ...]  # units per layer, input first: (784, 256, 10) has two weight matrices
    activation: str = "relu"  # one of `registry.ACTIVATIONS`
    rank: int | None = None  # every weight matrix as B·C of this rank; None: dense
    initialisation: str = "default"  # "default": torch's own for each factor; "variance": product has the dense
    #                                  variance; "spectral": truncated SVD of the dense initialisation
    gain: float = 1.0  # factor on every initial weight matrix

    def __post_init__(self) -> None:
        widths = self.widths if isinstance(self.widths, (tuple, list)) else ()
        if len(widths) < 2:
            raise ValueError(f"widths must be two or more numbers of units, as (784, 256, 10), got {self.widths!r}")
        object.__setattr__(self, "widths", tuple(whole(width, "widths", 1) for width in widths))
        entry(ACTIVATIONS, self.activation, "activation")
        if self.rank is not None:
            object.__setattr__(self, "rank", whole(self.rank, "rank", 1))
        one_of(self.initialisation, "initialisation", INITIALISATIONS)
        number(self.gain, "gain", above=0)

    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each weight matrix, input side first."""
        return [(out, inp) for inp, out in zip(self.widths[:-1], self.widths[1:], strict=True)]


@dataclass(frozen=True)
class Subspace:
    """A random subspace of a network's parameters, in which alone it is trained (Li et al. 2018).

    Raises: ValueError that names the field and says what is allowed.

    Example: `Subspace(750)` has 750 numbers to train, whatever the network's size.
    """

    dimension: int  # numbers that are trained
    projection: str = "partition"  # how they reach the parameters, one of PROJECTIONS
    scales: bool = False  # one trained factor a layer besides ("SAID"), counted in the dimension

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimension", whole(self.dimension, "dimension", 1))
        one_of(self.projection, "projection", PROJECTIONS)


@dataclass(frozen=True)
class Training:
    """How a network is trained. Everything is per epoch of the training split it is given.

    `optimizer` is adam, adamw, sgd, momentum or another of `registry.OPTIMIZERS`, and `learning_rate` its peak;
    `schedule` is cosine, which ends at 0, or constant.

    Raises: ValueError that names the field and says what is allowed.

    >>> Training(10, learning_rate=3e-3).batch_size
    128
    """

    epochs: int
    batch_size: int = 128  # images
    optimizer: str = "adam"  # one of `registry.OPTIMIZERS`
    learning_rate: float = 1e-3  # peak
    weight_decay: float = 0.0  # per step: coupled for all but "adamw", where it is decoupled
    frobenius_decay: float = 0.0  # weight on sum ‖B·C‖²_F/2 of low-rank layers
    schedule: str = "cosine"  # "cosine" to 0 over all steps, or "constant"

    def __post_init__(self) -> None:
        object.__setattr__(self, "epochs", whole(self.epochs, "epochs", 0))
        object.__setattr__(self, "batch_size", whole(self.batch_size, "batch_size", 1))
        entry(OPTIMIZERS, self.optimizer, "optimizer")
        number(self.learning_rate, "learning_rate")
        number(self.weight_decay, "weight_decay")
        number(self.frobenius_decay, "frobenius_decay")
        one_of(self.schedule, "schedule", SCHEDULES)


@dataclass(frozen=True)
class Data:
    """Which images: a data set and what is taken out of it.

    Raises: ValueError that names the field and says what is allowed.

    >>> Data("mnist", without=(4,)).without  # MNIST without the fours
    (4,)
    """

    name: str  # one of `registry.DATASETS`, or the path of an .npz (see `sources`)
    train_size: int | None = None  # images of the training split that are used (the first ones); None: all
    validation_size: int = 5000  # images cut off the official training set; fixed split
    without: tuple[int, ...] = ()  # digits left out of all three splits; labels stay 0..9
    only: tuple[int, ...] = ()  # digits kept in all three splits; empty: all
    shuffled_labels: float = 0.0  # fraction of the training labels that is permuted at random (fixed seed)

    def __post_init__(self) -> None:
        checked(self.name, "name")
        if self.train_size is not None:
            object.__setattr__(self, "train_size", whole(self.train_size, "train_size", 1))
        object.__setattr__(self, "validation_size", whole(self.validation_size, "validation_size", 1))
        for field in ("without", "only"):
            given = getattr(self, field)
            given = given if isinstance(given, (tuple, list)) else (given,)
            object.__setattr__(self, field, tuple(whole(digit, field, 0, 9) for digit in given))
        number(self.shuffled_labels, "shuffled_labels", highest=1)


def whole(value: object, name: str, lowest: int, highest: int | None = None) -> int:
    """The value as a whole number, or a ValueError that names it."""
    try:
        found = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        found = None
    if found is None or found < lowest or (highest is not None and found > highest):
        limits = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"
        raise ValueError(f"{name} must be a whole number {limits}, got {value!r}")
    return found


def number(value: object, name: str, *, above: float | None = None, highest: float = math.inf) -> float:
    """The value, if it is a finite number of at least 0 (or above `above`) and at most `highest`."""
    fine = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not fine or not (value >= 0 if above is None else value > above) or value > highest:  # type: ignore[operator]
        lower = "of at least 0" if above is None else f"above {above}"
        upper = "" if highest == math.inf else f" and at most {highest}"
        raise ValueError(f"{name} must be a finite number {lower}{upper}, got {value!r}")
    return value  # type: ignore[return-value]


def one_of(value: object, name: str, allowed: tuple[str, ...]) -> None:
    """Nothing, or a ValueError that says what is allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
