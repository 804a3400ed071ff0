"""What an experiment is told: frozen dataclasses, units in the comments, no torch.

Every result on disk is keyed by the values in here, so a field that changes the numbers belongs in here and a field
that does not (a device, a progress bar) does not.
"""

from __future__ import annotations

from dataclasses import dataclass

ACTIVATIONS = ("relu", "leaky_relu", "gelu", "tanh", "sigmoid", "identity")


@dataclass(frozen=True)
class Network:
    """A bias-free multilayer perceptron."""

    widths: tuple[int, ...]  # units per layer, input first: (784, 256, 10) has two weight matrices
    activation: str = "relu"  # one of ACTIVATIONS
    rank: int | None = None  # every weight matrix as B·C of this rank; None: dense
    initialisation: str = "default"  # "default": torch's own for each factor; "variance": product has the dense
    #                                  variance; "spectral": truncated SVD of the dense initialisation
    gain: float = 1.0  # factor on every initial weight matrix

    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each weight matrix, input side first."""
        return [(out, inp) for inp, out in zip(self.widths[:-1], self.widths[1:], strict=True)]


@dataclass(frozen=True)
class Training:
    """How a network is trained. Everything is per epoch of the training split it is given."""

    epochs: int
    batch_size: int = 128  # images
    optimizer: str = "adam"  # "adam", "adamw" or "sgd"
    learning_rate: float = 1e-3  # peak
    momentum: float = 0.9  # SGD only
    weight_decay: float = 0.0  # per step: coupled for "sgd" and "adam", decoupled for "adamw"
    frobenius_decay: float = 0.0  # weight on sum ‖B·C‖²_F/2 of low-rank layers
    schedule: str = "cosine"  # "cosine" to 0 over all steps, or "constant"
    target_accuracy: float | None = None  # stop after the first epoch whose validation accuracy reaches it


@dataclass(frozen=True)
class Data:
    """Which images: a data set and what is taken out of it."""

    name: str  # "mnist" or "digits" (the stand-in)
    train_size: int | None = None  # images of the training split that are used (the first ones); None: all
    validation_size: int = 5000  # images cut off the official training set; fixed split
    without: tuple[int, ...] = ()  # digits left out of all three splits; labels stay 0..9
    only: tuple[int, ...] = ()  # digits kept in all three splits; empty: all
    shuffled_labels: float = 0.0  # fraction of the training labels that is permuted at random (fixed seed)
