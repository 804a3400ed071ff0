"""How long a forward pass takes, dense and factorised, beside what operations and bytes would let one expect.

Design choices:
- Times are medians of blocks, all taken in one go on one machine, so that their ratios mean something.
- A layer and the whole network are measured each by itself: what holds for one need not hold for the other.
- The merged network, B·C multiplied out, is the control: it must be as fast as the dense one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankstudy import config, data, provenance
from rankstudy.experiments import study
from rankstudy.store import Question

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Setting:
    network: config.Network  # dense
    ranks: tuple[int, ...]
    batches: tuple[int, ...]  # images in one forward pass
    seconds: float  # spent on each measurement


def measured(setting: Setting, dataset: str) -> Any:
    """The times, from the store or measured now.

    Returns:
        `network` and `layer`: variant (`dense`, `merged`, `rank <r>`) -> `median`, `iqr` (batches,) in seconds; the
        `batches` and `ranks`; `device` and `threads`.
    """
    question = Question("measured", "inference", setting, data.CHECKSUMS[dataset])
    digest = provenance.digest("experiments.inference", "measure", "layers")
    return study.obtain(question, digest, lambda: times(setting)).value


def times(setting: Setting) -> dict[str, Any]:
    import torch

    from rankstudy import device, layers

    where = device.choose()
    widths = setting.network.widths
    hidden = (widths[1], widths[2])
    found: dict[str, Any] = {
        "device": device.describe(where),
        "threads": torch.get_num_threads(),
        "batches": np.array(setting.batches),
        "ranks": np.array(setting.ranks),
    }
    for name, shape in (("network", widths), ("layer", hidden)):
        dense = config.Network(tuple(shape), setting.network.activation)
        variants = {"dense": layers.build(dense, 0)}
        for rank in setting.ranks:
            variants[f"rank {rank}"] = layers.build(config.Network(dense.widths, dense.activation, rank), 0)
        variants["merged"] = merged(variants[f"rank {setting.ranks[0]}"])
        found[name] = {label: _times(model.to(where), shape[0], setting, where) for label, model in variants.items()}
    return found


def merged(model: Any) -> Any:
    """The dense network with the same effective weights."""
    import torch

    from rankstudy import layers

    widths = [model.layers[0].in_features, *(layer.out_features for layer in model.layers)]
    merged = layers.MLP(widths, model.activation)
    with torch.no_grad():
        for layer, weight in zip(merged.layers, layers.weights(model), strict=True):
            layer.weight.copy_(weight)
    return merged


def _times(model: Any, width: int, setting: Setting, where: Any) -> dict[str, np.ndarray]:
    import torch

    from rankstudy import measure

    generator = torch.Generator().manual_seed(0)
    found = []
    for batch in setting.batches:
        images = torch.randn(batch, width, generator=generator).to(where)
        found.append(measure.latency(model, images, seconds=setting.seconds))
    return {
        "median": np.array([each.median for each in found]),
        "iqr": np.array([each.iqr for each in found]),
    }


def operations(shapes: Sequence[tuple[int, int]], rank: int | None, batch: int) -> int:
    """Floating-point operations of a forward pass over layers of these (out, in) shapes, a multiply-add as two."""
    return 2 * batch * sum(m * n if rank is None else rank * (m + n) for m, n in shapes)


def moved(shapes: Sequence[tuple[int, int]], rank: int | None, batch: int) -> int:
    """Bytes that a forward pass reads and writes at least: weights once, and what each product takes and gives."""
    total = 0
    for m, n in shapes:
        products = [(m, n)] if rank is None else [(rank, n), (m, rank)]
        total += sum(out * inp + batch * (out + inp) for out, inp in products)
    return FLOAT * total
