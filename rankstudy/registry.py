"""What a study can be asked about by name: one entry an activation, an optimiser, a data set.

An entry is everything that the project knows of a thing: computing, pages and messages read it here, so that a new one
is one entry in this file and appears everywhere. No torch is imported before an entry is used.

Example: a new activation is `ACTIVATIONS["elu"] = Activation("ELU", "torch.nn.functional.elu", numpy=...)`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, reduce
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Entry = TypeVar("Entry")


def entry(table: Mapping[str, Entry], name: str, argument: str) -> Entry:
    """The entry of that name.

    Raises:
        ValueError: there is none; the message names the argument and says what is allowed.

    Example:
        >>> entry(ACTIVATIONS, "relu", "activation").label
        'ReLU'
    """
    try:
        return table[name]
    except (KeyError, TypeError):
        raise ValueError(f"{argument} is {name!r}; allowed are {', '.join(table)}") from None


def named(asked: object) -> dict[str, dict[str, object]]:
    """What the activations and optimisers that plain values name do, as plain values; no words for readers.

    Example:
        >>> named({"network": {"activation": "tanh"}})["tanh"]["function"]
        'torch.tanh'
    """
    found: dict[str, dict[str, object]] = {}
    for text in _strings(asked):
        for table in (ACTIVATIONS, OPTIMIZERS):
            if text in table:
                found[text] = table[text].decisive()
    return dict(sorted(found.items()))


def _strings(asked: object) -> Iterator[str]:
    if isinstance(asked, str):
        yield asked
    elif isinstance(asked, Mapping):
        yield from _strings(list(asked.values()))
    elif isinstance(asked, (list, tuple)):
        for item in asked:
            yield from _strings(item)


# Activations


@dataclass(frozen=True)
class Activation:
    """An elementwise nonlinearity.

    Units: none; it maps a number to a number. `numpy` is the same function for the integral of `gain`.
    """

    label: str  # in figures, tables and sentences
    function: str  # where torch has it, dotted: "torch.tanh"
    numpy: Callable[[np.ndarray], np.ndarray] = field(repr=False)

    def torch(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The function of tensors, elementwise; imports torch."""
        if not self.function:
            return operator.pos  # of a module, so that a network with it can be pickled
        package, *path = self.function.split(".")
        return reduce(getattr, path, import_module(package))

    def decisive(self) -> dict[str, object]:
        """What results depend on."""
        return {"function": self.function, "gain": round(self.gain, 9)}

    @property
    def gain(self) -> float:
        """The factor on torch's default initialisation that keeps E[φ(z)²] = E[z²] = 1 from layer to layer.

        Entries U(±1/√n) have variance 1/(3n), so n inputs of second moment q give pre-activations of variance
        gain²·q/3; q = E[φ(z)²] under z ~ N(0, 1), by Gauss and Hermite's quadrature. For ReLU it is He's rule, √6
        (He et al. 2015, arXiv 1502.01852).
        """
        z, weight = _quadrature()
        second = (weight * self.numpy(z) ** 2).sum() / weight.sum()
        return float(np.sqrt(3 / second))


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for z ~ N(0, 1). Every key of a result asks for gains, and they take 30 ms."""
    return np.polynomial.hermite_e.hermegauss(100)


def _gelu(z: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return z * (1 + erf(z / np.sqrt(2))) / 2


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation("ReLU", "torch.nn.functional.relu", lambda z: np.maximum(z, 0)),
    "leaky_relu": Activation(
        "leaky ReLU",
        "torch.nn.functional.leaky_relu",
        lambda z: np.where(z > 0, z, 0.01 * z),  # slope 0.01
    ),
    "gelu": Activation("GELU", "torch.nn.functional.gelu", _gelu),
    "tanh": Activation("tanh", "torch.tanh", np.tanh),
    "sigmoid": Activation("sigmoid", "torch.sigmoid", lambda z: 1 / (1 + np.exp(-z))),
    "identity": Activation("none (linear)", "", operator.pos),
}


# Optimisers


@dataclass(frozen=True)
class Optimizer:
    """A way to step. `options` are torch's own arguments beside learning rate and weight decay."""

    label: str
    function: str  # the class in `torch.optim`
    states: int  # float32 numbers kept for each parameter
    counts: bool = False  # whether it keeps a step count for each tensor as well
    options: Mapping[str, float] = field(default_factory=dict)
    fused: bool = True  # torch has it in one kernel, for the same result
    elementwise: bool = True  # every number by itself, so that the networks of a stack can be stepped as one tensor

    def decisive(self) -> dict[str, object]:
        """What results depend on."""
        return {"function": self.function, "options": dict(self.options)}

    def torch(
        self, groups: list[dict[str, object]], *, learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """torch's own, fused: on the CPU too, five times as fast as a Python loop over a small network's parameters.

        `groups` are torch's parameter groups, which may have learning rates and decays of their own.
        """
        import torch

        shared = {"lr": learning_rate, "weight_decay": weight_decay} | ({"fused": True} if self.fused else {})
        return getattr(torch.optim, self.function)(groups, **shared, **self.options)

    def there(self) -> bool:
        """Whether the torch that is installed has it; imports torch."""
        import torch

        return hasattr(torch.optim, self.function)


OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Optimizer("Adam", "Adam", states=2, counts=True),
    "adamw": Optimizer("AdamW", "AdamW", states=2, counts=True),
    "sgd": Optimizer("SGD", "SGD", states=0),
    "momentum": Optimizer("SGD with momentum 0.9", "SGD", states=1, options={"momentum": 0.9}),
    "muon": Optimizer("Muon", "Muon", states=1, fused=False, elementwise=False),  # of matrices; torch has it from 2.9
}


# Data sets


@dataclass(frozen=True)
class Images:
    """A set of labelled pictures of 28×28 pixels with ten classes.

    `mean` and `std` are of the official training pictures, pixel values in [0, 1]. `checksums` are SHA-256 of its four
    files as torchvision unpacks them (training pictures and labels, test pictures and labels), where they are known.
    """

    label: str  # in sentences: "MNIST"
    mean: float
    std: float
    size: int  # official training pictures
    torchvision: str = ""  # the class in `torchvision.datasets`; empty: not from there
    options: Mapping[str, str] = field(default_factory=dict)  # what that class is told
    stem: str = ""  # what its files' names begin with, as in "emnist-digits-train-images-idx3-ubyte"
    checksums: tuple[str, ...] = ()
    licence: str = ""
    citation: str = ""  # key in report/references.bib

    def files(self) -> tuple[str, str, str, str]:
        """The names of its four files, as unpacked."""
        test = f"{self.stem}test" if self.stem else "t10k"
        return (
            f"{self.stem}train-images-idx3-ubyte",
            f"{self.stem}train-labels-idx1-ubyte",
            f"{test}-images-idx3-ubyte",
            f"{test}-labels-idx1-ubyte",
        )

    @property
    def folder(self) -> str:
        """The folder that torchvision keeps it in."""
        return self.torchvision


DATASETS: dict[str, Images] = {
    "mnist": Images(
        "MNIST",
        0.1307,
        0.3081,
        60_000,
        "MNIST",
        checksums=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        licence="CC BY-SA 3.0",
        citation="lecun1998",
    ),
    "fashion": Images(
        "FashionMNIST", 0.2860, 0.3530, 60_000, "FashionMNIST", licence="MIT", citation="xiao2017"
    ),  # mean and deviation: of its 60,000 training pictures, as its authors' code normalises them
    "kmnist": Images("KMNIST", 0.1918, 0.3483, 60_000, "KMNIST", licence="CC BY-SA 4.0", citation="clanuwat2018"),
    "emnist": Images(
        "EMNIST digits",
        0.1722,
        0.3309,
        240_000,
        "EMNIST",
        options={"split": "digits"},
        stem="emnist-digits-",
        licence="public domain (NIST)",
        citation="cohen2017",
    ),
    "digits": Images(
        "the fallback data set (scikit-learn's digits, resized to 28×28)",
        0.1307,  # as MNIST's, so that a network sees the same range
        0.3081,
        1_437,
        checksums=("87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826",),
        licence="CC BY 4.0 (UCI)",
        citation="alpaydin1998",
    ),
}
FALLBACK = "digits"
