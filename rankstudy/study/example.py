"""One trained network of Task 2's kind, committed with the package, for whoever wants a real matrix at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[2] / "published" / "example.safetensors"


@dataclass(frozen=True)
class Example:
    """A network before and after training; layers from the input side."""

    initial: tuple[np.ndarray, ...]  # (out, in) float32, the weights before training
    trained: tuple[np.ndarray, ...]  # the same after it
    test_accuracy: float  # a fraction
    origin: Mapping[str, object]  # seed, epochs, learning_rate, commit, device, created


def example_network() -> Example:
    """The committed network: 784-256-256-256-10, ReLU, no biases, trained on MNIST by the study's own engine.

    It has the settings of Task 2's networks under `full`, and is not one of the ten whose means the book gives:
    trained on another machine the same seed ends at other bits. Reads 2.7 MB and imports no torch.

    Raises:
        FileNotFoundError: the package was installed without its folder `published/`.

    >>> [w.shape for w in example_network().trained]
    [(256, 784), (256, 256), (256, 256), (10, 256)]
    """
    from safetensors import safe_open

    with safe_open(FILE, framework="numpy") as file:
        origin = json.loads(file.metadata()["origin"])
        layers = range(len(file.keys()) // 2)
        initial, trained = (tuple(file.get_tensor(f"{kind}.{i}") for i in layers) for kind in ("initial", "trained"))
    return Example(initial, trained, origin["test_accuracy"], origin)


def export(seed: int = 0, learning_rate: float = 3e-3) -> None:
    """Writes the file anew: trains the network where the store does not have it (a minute on a CPU)."""
    from dataclasses import replace

    from safetensors.numpy import save

    from rankstudy.files import write_atomically
    from rankstudy.study import engine
    from rankstudy.study.experiments import training

    full = training.CONFIGS["full"]
    run = engine.Run(full.network, replace(full.training, learning_rate=learning_rate), full.data, seed)
    (found,) = engine.trained([run])
    origin = {
        "seed": seed,
        "epochs": run.training.epochs,
        "learning_rate": learning_rate,
        "test_accuracy": float(found.history["test_accuracy"][-1]),
        "train_accuracy": float(found.history["train_accuracy"][-1]),
        **{name: found.record.provenance[name] for name in ("commit", "device", "created", "torch")},
    }
    tensors = {f"initial.{i}": np.asarray(w) for i, w in enumerate(found.initial)}
    tensors |= {f"trained.{i}": np.asarray(w) for i, w in enumerate(found.weights)}
    write_atomically(FILE, save(tensors, metadata={"origin": json.dumps(origin)}))
