"""How long a forward pass takes, dense and factorised, beside what operations and bytes would let one expect.

Design choices:
- Variants take turns, block by block, so that a machine's moods hit all of them; a speed-up is the median of the
  ratios of neighbours.
- A layer and the whole network are measured each by itself: what holds for one need not hold for the other.
- The merged network, B·C multiplied out, is the control: it must be as fast as the dense one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rankstudy import config
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Floats, Integers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rankstudy.layers import MLP

BLOCKS = 20  # measurements of each time
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Setting:
    network: config.Network  # dense
    ranks: tuple[int, ...]
    batches: tuple[int, ...]  # images in one forward pass
    seconds: float  # spent on each measurement, about
    compiled: bool = False  # the whole network by torch.compile as well, dense and at the first of the ranks


@dataclass(frozen=True)
class Times:
    """Of a forward pass, (batches,) each."""

    median: Floats  # seconds
    iqr: Floats  # seconds, interquartile range
    speedup: Floats  # over dense, and its quartiles
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Inference:
    """By variant: `dense`, `merged`, `rank <r>`; of the network also `dense, compiled` and `rank <r>, compiled`, where
    torch can compile here."""

    network: dict[str, Times]
    layer: dict[str, Times]
    batches: Integers
    ranks: Integers
    device: str
    threads: int


@dataclass(frozen=True)
class Timing(Job[Inference]):
    NAME = "inference"
    ANSWER = Inference

    setting: Setting
    dataset: str

    @classmethod
    def modules(cls) -> tuple[str, ...]:
        return ("study.experiments.inference", "layers")

    def selection(self) -> str:
        return self.dataset

    def compute(self) -> Inference:
        return times(self.setting)


def times(setting: Setting) -> Inference:
    import torch

    from rankstudy import device, layers

    where = device.choose()
    found: dict[str, dict[str, Times]] = {}
    for name, widths in (("network", setting.network.widths), ("layer", setting.network.widths[1:3])):
        dense = config.Network(widths, setting.network.activation)
        models = {"dense": layers.build(dense, 0)}
        for rank in setting.ranks:
            models[f"rank {rank}"] = layers.build(config.Network(widths, dense.activation, rank), 0)
        models["merged"] = merged(models[f"rank {setting.ranks[0]}"])
        for model in models.values():
            model.to(where)
        compiled = ("dense", f"rank {setting.ranks[0]}") if name == "network" and setting.compiled else ()
        rows = []
        for batch in setting.batches:
            images = torch.randn(batch, widths[0], generator=torch.Generator().manual_seed(0)).to(where)
            if compiled:
                torch.compiler.reset()  # one batch size after the other would else be taken for one of variable size
            ready: dict[str, nn.Module] = {**models}
            for label in compiled:
                if (fast := _compiled(models[label], images)) is not None:
                    ready[f"{label}, compiled"] = fast
            rows.append(_passes(ready, images, setting.seconds))
        found[name] = {
            label: Times(**{key: np.array([row[label][key] for row in rows]) for key in rows[0][label]})
            for label in rows[0]
        }
    return Inference(
        **found,
        batches=np.array(setting.batches),
        ranks=np.array(setting.ranks),
        device=device.describe(where),
        threads=torch.get_num_threads(),
    )


def _compiled(model: nn.Module, images: Tensor) -> nn.Module | None:
    """The model compiled for images of this shape; None where there is no compiler."""
    import torch

    compiled: nn.Module = torch.compile(model)  # type: ignore[assignment]
    try:
        with torch.inference_mode():
            compiled(images)
    except RuntimeError as error:  # torch's own, of several kinds: no C++ compiler, no Triton, an unknown platform
        print(f"rankstudy: torch.compile does not work here: {str(error).splitlines()[0]}", file=sys.stderr)
        return None
    return compiled


def merged(model: MLP) -> MLP:
    """The dense network with the same effective weights."""
    import torch

    from rankstudy import layers

    shapes = [weight.shape for weight in layers.weights(model)]
    widths = [shapes[0][1], *(out for out, _ in shapes)]
    whole = layers.MLP(widths, model.activation)
    with torch.no_grad():
        for layer, weight in zip(whole.layers, layers.weights(model), strict=True):
            layer.get_parameter("weight").copy_(weight)
    return whole


def _passes(models: Mapping[str, nn.Module], images: Tensor, seconds: float) -> dict[str, dict[str, float]]:
    """Times of a forward pass, warm and without gradients: the fields of `Times`."""
    import torch

    with torch.inference_mode():
        blocks = in_turns({label: partial(model, images) for label, model in models.items()}, seconds)
    found = {}
    for label, own in blocks.items():
        quarter, median, three_quarters = np.quantile(own, [0.25, 0.5, 0.75])
        low, speedup, high = np.quantile(blocks["dense"] / own, [0.25, 0.5, 0.75])
        found[label] = {"median": median, "iqr": three_quarters - quarter, "speedup": speedup, "low": low, "high": high}
    return found


def in_turns(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Floats]:
    """(BLOCKS,) seconds of each call, warm, a block of calls after the other's, so that a slow moment hits all of them;
    about so many seconds for each."""
    import torch
    from torch.utils.benchmark import Timer

    threads = torch.get_num_threads()
    timers = {label: Timer("call()", globals={"call": call}, num_threads=threads) for label, call in calls.items()}
    counts = {label: max(1, int(seconds / BLOCKS / timer.timeit(3).mean)) for label, timer in timers.items()}
    blocks = [{label: timer.timeit(counts[label]).mean for label, timer in timers.items()} for _ in range(BLOCKS)]
    return {label: np.array([block[label] for block in blocks]) for label in timers}


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
