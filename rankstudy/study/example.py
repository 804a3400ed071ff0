"""One trained network of Task 2's kind, committed with the package, for whoever wants a real matrix at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankstudy.spectrum import Spectrum

FILE = Path(__file__).parents[2] / "published" / "example.safetensors"


@dataclass(frozen=True)
class Example:
    """A network before and after training; layers from the input side."""

    initial: tuple[np.ndarray, ...]  # (out, in) float32, the weights before training
    trained: tuple[np.ndarray, ...]  # the same after it
    test_accuracy: float  # a fraction
    inputs_before: tuple[Spectrum, ...]  # of what each layer is given, X/√N (N, in) over the training images, untrained
    inputs_after: tuple[Spectrum, ...]  # the same of the trained network
    origin: Mapping[str, object]  # seed, epochs, learning_rate, commit, device, created


def example_network() -> Example:
    """The committed network: 784-256-256-256-10, ReLU, no biases, trained on MNIST by the study's own engine.

    It has the settings and the learning rate of Task 2's networks under `full`, and is not one of the ten whose means
    the book gives: trained on another machine the same seed ends at other bits. Reads 2.7 MB and imports no torch.

    Raises:
        FileNotFoundError: the package was installed without its folder `published/`.

    >>> [w.shape for w in example_network().trained]
    [(256, 784), (256, 256), (256, 256), (10, 256)]
    """
    from safetensors import safe_open

    with safe_open(FILE, framework="numpy") as file:
        origin = json.loads(file.metadata()["origin"])
        kept = {name: file.get_tensor(name) for name in file.keys()}
    layers = range(len(kept) // 4)
    initial, trained = (tuple(kept[f"{kind}.{i}"] for i in layers) for kind in ("initial", "trained"))
    before, after = (
        tuple(Spectrum(kept[f"{kind}.{i}"], (origin["images"], initial[i].shape[1])) for i in layers)
        for kind in ("inputs_before", "inputs_after")
    )
    return Example(initial, trained, origin["test_accuracy"], before, after, origin)


def export(seed: int = 0, learning_rate: float = 1.3e-3) -> None:
    """Writes the file anew: trains the network where the store does not have it (a minute on a CPU).

    `learning_rate`: the one that validation chose for Task 2's networks under `full`.
    """
    from dataclasses import replace

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
    write(found.initial, found.weights, engine.dataset_on_device(run.data).train.images.cpu().numpy(), origin)


def write(
    initial: Sequence[np.ndarray], trained: Sequence[np.ndarray], images: np.ndarray, origin: Mapping[str, object]
) -> None:
    """The file, from the weights of a ReLU network (out, in) and its training images (N, pixels)."""
    from safetensors.numpy import save

    from rankstudy.files import write_atomically

    kept: dict[str, np.ndarray] = {}
    for kind, weights, seen in (("initial", initial, "inputs_before"), ("trained", trained, "inputs_after")):
        given = images.astype(np.float64)
        for i, weight in enumerate(weights):
            triangle = np.linalg.qr(given, mode="r")  # the same singular values, but small
            kept[f"{kind}.{i}"] = np.asarray(weight)
            values = np.linalg.svd(triangle, compute_uv=False) / np.sqrt(len(images))
            kept[f"{seen}.{i}"] = values.astype(np.float32)
            given = np.maximum(given @ weight.T.astype(np.float64), 0)
    header = {"origin": json.dumps({**origin, "images": len(images)})}
    write_atomically(FILE, save(kept, metadata=header))
