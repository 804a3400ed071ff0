"""`compress --keep` against one rank for all, at equal size, on the networks of chapters 3 and 4: what is left of them.

They are trained anew, as the study trains them, in seconds each; heads stay. The rule was chosen on seeds 0 and 1 of
these networks, so others are judged. Accuracies are on the test set, in per cent.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator

import numpy as np
from torch import nn

import rankstudy
from benchmarks import mnist, report
from rankstudy import config
from rankstudy.data import Dataset, load
from rankstudy.registry import ACTIVATIONS

SHARES = (0.5, 0.25, 0.1)  # of the parameters of all matrices but the head
SEEDS = (10, 11, 12)
SHALLOW, DEEP = (784, 256, 256, 256, 10), (784, *[256] * 7, 10)
OVERFITTED = (784, 512, 512, 512, 10)  # with 5,000 images, until it knows them by heart
RATES = {  # that the study chose on validation data; (widths, activation)
    (SHALLOW, "relu"): 2.9e-3,
    (SHALLOW, "leaky_relu"): 2.8e-3,
    (SHALLOW, "gelu"): 3.4e-3,
    (SHALLOW, "tanh"): 1.8e-3,
    (SHALLOW, "sigmoid"): 3.7e-3,
    (SHALLOW, "identity"): 5e-4,
    (DEEP, "relu"): 1.5e-3,
    (DEEP, "tanh"): 1.5e-3,
    (DEEP, "identity"): 9.1e-4,
    (OVERFITTED, "relu"): 2e-3,
    (OVERFITTED, "tanh"): 4e-3,
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks allocation", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    seeds = parser.parse_args(arguments).seeds
    begun = time.perf_counter()
    whole = mnist()
    few = load(config.Data("mnist", train_size=5000))
    shares = " / ".join(f"{share:g}" for share in SHARES)
    heads = ["network", "activation", "whole", f"one rank for all {shares}", f"allotted {shares}"]
    table = [[*heads, f"difference {shares}", "all differences"]]
    for (widths, activation), rate in RATES.items():
        data, training = (
            (few, config.Training(12, 64, learning_rate=rate))
            if widths == OVERFITTED
            else (whole, config.Training(3, 128, learning_rate=rate))
        )
        found = []
        for seed in seeds:
            model = rankstudy.build(config.Network(widths, activation), seed)
            rankstudy.train(training, model, data, seed)
            found.append(list(accuracies(model, data)))
        name, label = f"{widths[1]} × {len(widths) - 2}", ACTIVATIONS[activation].label
        table.append([name, label, *cells(100 * np.array(found))])
        print(*table[-1], sep=" | ", flush=True)
    report("allocation", [], time.perf_counter() - begun, {"Accuracy": table})


def cells(found: np.ndarray) -> list[str]:
    """Means over networks of (networks, 1 + 2 per share), and the range of the differences."""
    mean, apart = found.mean(axis=0), found[:, 2::2] - found[:, 1::2]
    lowest, highest = (_number(value, "+.2f") for value in (apart.min(), apart.max()))
    levels = [_number(mean[0], ".1f"), _numbers(mean[1::2], ".1f"), _numbers(mean[2::2], ".1f")]
    return [*levels, _numbers(apart.mean(axis=0), "+.2f"), f"{lowest} to {highest}"]


def _numbers(values: np.ndarray, form: str) -> str:
    return " / ".join(_number(value, form) for value in values)


def _number(value: float, form: str) -> str:
    return format(value, form).replace("-", "−")


def accuracies(model: nn.Module, data: Dataset) -> Iterator[float]:
    """Of the whole network, then for each share with one rank for all and allotted."""
    yield rankstudy.evaluate(model, data.test)[1]
    for share in SHARES:
        for compressed in (alike(model, share), rankstudy.compress(model, keep=share).model):
            yield rankstudy.evaluate(compressed, data.test)[1]


def alike(model: nn.Module, share: float) -> nn.Module:
    """The network with every matrix but the head at the highest one rank that the share allows."""
    shapes = [tuple(weight.shape) for weight in list(model.parameters())[:-1]]
    rank = int(share * sum(map(math.prod, shapes))) // sum(map(sum, shapes))
    return rankstudy.compress(model, rank=rank).model
