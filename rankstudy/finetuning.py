"""Fine-tuning a network on a digit it has never seen, in few steps, looked at between them.

What is learned and what is forgotten happens within one epoch, so this is counted in steps and not in epochs, unlike
`training.train`. Every method changes the same network; they differ in which numbers may move.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankstudy.data import Dataset, Split
from rankstudy.layers import MLP
from rankstudy.lora import add_lora, merged
from rankstudy.registry import OPTIMIZERS
from rankstudy.training import EVALUATION_BATCH, evaluate

METHODS = ("lora", "full", "last", "row")
DIGITS = 10


class OutputRow(nn.Module):
    """A frozen linear layer of which one output's row of weights trains.

    Parameter: `row` (in,). `weight` is the effective (out, in) matrix.
    """

    def __init__(self, base: nn.Linear, index: int) -> None:
        super().__init__()
        self.base = copy.deepcopy(base).requires_grad_(False)
        self.row = nn.Parameter(base.weight[index].detach().clone())
        self.register_buffer("index", torch.tensor([index], device=base.weight.device))

    @property
    def weight(self) -> Tensor:
        return self.base.weight.index_copy(0, self.index, self.row[None])

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x).index_copy(1, self.index, (x @ self.row)[:, None])


def adapt(model: MLP, method: str, digit: int, *, rank: int | None = None, seed: int = 0, **options: Any) -> MLP:
    """A copy of the model of which the method's parameters train and all others are frozen.

    "lora": adapters of `rank` on every layer (`options` as in `add_lora`); "full": every weight; "last": the last
    layer; "row": the digit's own row of the last layer.

    Raises: ValueError for an unknown method, or a rank for a method that has none (and the other way round).

    >>> [name for name, p in adapt(MLP(784, 32, 10), "last", 9).named_parameters() if p.requires_grad]
    ['layers.1.weight']
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if (rank is None) == (method == "lora"):
        raise ValueError(f"rank belongs to lora, and to it alone; got method {method!r} with rank {rank!r}")
    if method == "lora":
        return add_lora(model, rank, seed=seed, **options)
    model = copy.deepcopy(model).requires_grad_(method == "full")
    if method == "last":
        model.layers[-1].requires_grad_(True)
    if method == "row":
        model.layers[-1] = OutputRow(model.layers[-1], digit)
    return model


def take(split: Split, counts: Sequence[int | None]) -> Split:
    """The first `counts[digit]` images of each digit (None: all of them), in the order of the split.

    >>> from rankstudy.data import load
    >>> len(take(load("digits").train, [5] * 10))  # five images of each digit
    50
    """
    place = torch.zeros_like(split.labels)  # of an image among those of its digit
    limit = torch.tensor([len(split) if count is None else count for count in counts], device=split.labels.device)
    for digit in range(len(counts)):
        own = split.labels == digit
        place[own] = torch.arange(int(own.sum()), device=own.device)
    keep = place < limit[split.labels]
    return Split(split.images[keep], split.labels[keep])


@dataclass(frozen=True)
class Steps:
    """What happened in a fine-tuning, step by step: `plt.plot(steps.step, steps.loss)`. float64 but for the numbers.

    `.loss` and `.accuracy` are those of each step's batch; `.validation_loss` and `.validation_accuracy` those after
    the steps `.at`, which are empty where `finetune` was given a `Split`, and not a `Dataset`.
    """

    step: np.ndarray  # (steps,) int, from 1
    loss: np.ndarray  # (steps,) mean cross-entropy of the step's batch before its update, nats
    accuracy: np.ndarray  # (steps,) fraction of the batch, likewise
    learning_rate: np.ndarray  # (steps,)
    at: np.ndarray  # (K,) int: the steps after which the validation split was evaluated, if there is one
    validation_loss: np.ndarray  # (K,) nats
    validation_accuracy: np.ndarray  # (K,) fraction


def finetune(
    model: nn.Module,
    new: Split | Dataset,
    old: Split | None = None,
    *,
    learning_rate: float = 1e-3,
    steps: int = 1000,
    batch_size: int = 64,
    seed: int = 0,
    optimizer: str = "adam",
    look: Callable[[int], object] | None = None,
    at: Sequence[int] = (),
) -> Steps:
    """Train the model in place on cross-entropy, the rate falling to 0 as half a cosine.

    `optimizer` is a name of `registry.OPTIMIZERS`.

    A batch is of `new` images, or half of it of `old` ones where there are any; without them what was learned before
    is soon forgotten. Each kind is shuffled anew, by the seed alone, whenever all of it has been seen. `look(step)` is
    called after each of the steps `at` (0: before the first). Of a `Dataset` the training split is learned, and the
    validation split evaluated after each of the steps `at`, or where there are none after every twentieth part of all.

    Raises: ValueError if a split is empty, the model has nothing to train, or steps or batch_size are too
        small.

    >>> from rankstudy.data import load
    >>> steps = finetune(add_lora(MLP(784, 32, 10), 4), load("digits"), steps=40)
    >>> steps.loss.shape, steps.at[:3].tolist(), steps.validation_accuracy.shape
    ((40,), [0, 2, 4], (21,))
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, as in finetune(adapted, split); got {type(model).__name__}")
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("model has no parameter that requires a gradient")
    if steps < 1 or batch_size < (1 if old is None else 2):
        raise ValueError(f"steps must be at least 1 and batch_size too (2 with old), got {steps!r} and {batch_size!r}")
    validation = None
    if isinstance(new, Dataset):
        validation, new = new.validation, new.train
        at = at or sorted({round(steps * i / 20) for i in range(21)})
    for name, split in (("new", new), ("old", old)):
        if split is not None and not isinstance(split, Split):
            raise TypeError(f"{name} must be a Split, such as dataset.train; got {type(split).__name__}")
        if split is not None and len(split) == 0:
            raise ValueError(f"{name} must hold at least one image")
    moving = OPTIMIZERS[optimizer].torch([{"params": trained}], learning_rate=learning_rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    replayed = 0 if old is None else batch_size // 2
    parts = [(new, _orders(len(new), steps, batch_size - replayed, generator))]
    if old is not None:
        parts.append((old, _orders(len(old), steps, replayed, generator)))
    batches: list[Tensor] = []  # (loss, accuracy), left on the device
    rates: list[float] = []
    evaluated: list[tuple[int, float, float]] = []
    for step in range(steps + 1):
        if step in at:
            if look is not None:
                look(step)
            if validation is not None:
                evaluated.append((step, *evaluate(model, validation)))
        if step == steps:
            break
        chosen = [(split, order[step].to(split.labels.device)) for split, order in parts]
        images = torch.cat([split.images[index] for split, index in chosen])
        labels = torch.cat([split.labels[index] for split, index in chosen])
        rates.append(learning_rate * (1 + math.cos(math.pi * step / steps)) / 2)
        moving.param_groups[0]["lr"] = rates[-1]
        moving.zero_grad()
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        moving.step()
        batches.append(torch.stack([loss.detach(), (logits.detach().argmax(1) == labels).float().mean()]))
    losses, accuracies = torch.stack(batches).double().cpu().numpy().T
    looked = np.array([step for step, *_ in evaluated], dtype=np.int64)
    scores = np.array([score for _, *score in evaluated], dtype=np.float64).reshape(-1, 2)
    return Steps(np.arange(1, steps + 1), losses, accuracies, np.array(rates), looked, scores[:, 0], scores[:, 1])


def _orders(count: int, steps: int, size: int, generator: torch.Generator) -> Tensor:
    """(steps, size): which of `count` images make each batch; each permutation is used up before the next begins."""
    passes = math.ceil(steps * size / count)
    order = torch.cat([torch.randperm(count, generator=generator) for _ in range(passes)])
    return order[: steps * size].view(steps, size)


def new_and_old(model: nn.Module, split: Split, digit: int) -> np.ndarray:
    """(2, 2): mean cross-entropy (nats) and accuracy, each on the digit's images and on all others; NaN if diverged.

    >>> from rankstudy.data import load
    >>> new_and_old(MLP(784, 32, 10), load("digits").test, 9).shape
    (2, 2)
    """
    if not isinstance(split, Split):
        raise TypeError(f"split must be one of a Dataset's, such as dataset.test; got {type(split).__name__}")
    if digit not in range(DIGITS):
        raise ValueError(f"digit must be a whole number from 0 to {DIGITS - 1}, got {digit!r}")
    with torch.no_grad():
        logits = model(split.images)
        loss = F.cross_entropy(logits, split.labels, reduction="none")
        right = (logits.argmax(1) == split.labels).to(loss)
        new = (split.labels == digit).to(loss)
        counts = torch.stack([new.sum(), (1 - new).sum()])
        sums = torch.stack([loss, right]) @ torch.stack([new, 1 - new], dim=1)  # (2, 2)
        found = (sums / counts).cpu().double().numpy()
    return found if np.isfinite(found).all() else np.full((2, 2), np.nan)


@dataclass(frozen=True)
class Reading:
    """What a network gets right of a split, digit by digit, and with the new digit's logit masked: never predicted."""

    loss: np.ndarray  # (new, old) mean cross-entropy, nats; NaN if the network has diverged
    right: np.ndarray  # (10,) int, images of each digit that are classified correctly
    masked: np.ndarray  # (10,) int, the same among the old digits alone: 0 for the new one


def reading(model: nn.Module, split: Split, digit: int) -> Reading:
    """Loss and right answers on a small split, in one pass.

    >>> from rankstudy.data import load
    >>> reading(MLP(784, 32, 10), load("digits").test, 9).right.shape
    (10,)
    """
    if not isinstance(split, Split):
        raise TypeError(f"split must be one of a Dataset's, such as dataset.test; got {type(split).__name__}")
    if digit not in range(DIGITS):
        raise ValueError(f"digit must be a whole number from 0 to {DIGITS - 1}, got {digit!r}")
    with torch.no_grad():
        logits = model(split.images)
        loss = F.cross_entropy(logits, split.labels, reduction="none")
        new = split.labels == digit
        losses = torch.stack([loss[new].mean(), loss[~new].mean()]).double().cpu().numpy()
        counts = []
        for by in (0.0, -math.inf):
            right = shift(logits, digit, by).argmax(1) == split.labels
            counts.append(torch.bincount(split.labels[right], minlength=DIGITS).cpu().numpy())
    return Reading(losses if np.isfinite(losses).all() else np.full(2, np.nan), *counts)


def shift(logits: Tensor, digit: int, by: float) -> Tensor:
    """The logits (images, 10) with so much added to one digit's; −inf masks it.

    >>> shift(torch.zeros(1, 3), 1, 2.0).tolist()
    [[0.0, 2.0, 0.0]]
    """
    shifted = logits.clone()
    shifted[:, digit] += by
    return shifted


def confusions(model: nn.Module, split: Split, digit: int, offsets: Sequence[float]) -> np.ndarray:
    """(offsets, 10, 10) int: `confusion` with each offset added to one digit's logit. That moves one threshold, and
    trains nothing.

    >>> from rankstudy.data import load
    >>> int(confusions(MLP(784, 32, 10), load("digits").test, 9, [0.0, math.inf])[1, :, 9].sum())
    360
    """
    if not isinstance(split, Split):
        raise TypeError(f"split must be one of a Dataset's, such as dataset.test; got {type(split).__name__}")
    if digit not in range(DIGITS):
        raise ValueError(f"digit must be a whole number from 0 to {DIGITS - 1}, got {digit!r}")
    counts = torch.zeros(len(offsets), DIGITS * DIGITS, dtype=torch.int64, device=split.labels.device)
    with torch.no_grad():
        for x, y in zip(split.images.split(EVALUATION_BATCH), split.labels.split(EVALUATION_BATCH), strict=True):
            logits = model(x)
            for row, by in enumerate(offsets):
                predicted = shift(logits, digit, by).argmax(1)
                counts[row] += torch.bincount(DIGITS * y + predicted, minlength=DIGITS * DIGITS)
    return counts.cpu().numpy().reshape(-1, DIGITS, DIGITS)


def margins(model: nn.Module, split: Split, digit: int) -> np.ndarray:
    """(images,) float64: by how much the digit's logit exceeds the largest of the others.

    >>> from rankstudy.data import load
    >>> margins(MLP(784, 32, 10), load("digits").test, 9).shape
    (360,)
    """
    if not isinstance(split, Split):
        raise TypeError(f"split must be one of a Dataset's, such as dataset.test; got {type(split).__name__}")
    if digit not in range(DIGITS):
        raise ValueError(f"digit must be a whole number from 0 to {DIGITS - 1}, got {digit!r}")
    with torch.no_grad():
        logits = model(split.images)
        others = shift(logits, digit, -math.inf).amax(1)
        return (logits[:, digit] - others).double().cpu().numpy()


def confusion(model: nn.Module, split: Split) -> np.ndarray:
    """(10, 10) int: images of digit i that the model calls j.

    >>> from rankstudy.data import load
    >>> int(confusion(MLP(784, 32, 10), load("digits").test).sum())
    360
    """
    return confusions(model, split, 0, [0.0])[0]


def merging_error(model: MLP, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """How far the logits of the merged network are from the unmerged one's, and how far rounding can take them.

    Returns (images,) float64 each: the norm of the difference, and a bound that rounding cannot exceed. Both networks
    compute y = (W + sBA)x layer by layer, unmerged as Wx + (sB)(Ax). With n inputs, rank r and unit roundoff u a
    computed y is within γ‖M|x|‖ of the exact one for the same x, where γ = ku/(1 − ku), k = n + r + 3 and
    M = |W| + |sB||A| (Higham 2002, section 3.5); an error that x brings along is stretched by at most σ₁(W + sBA), and
    by no activation but GELU. Each network's errors are added up layer by layer, and the two sums to each other.
    """
    unit = torch.finfo(images.dtype).eps / 2
    other = merged(model)
    with torch.no_grad():
        difference = (model(images).double() - other(images).double()).norm(dim=1)
        bound = torch.zeros_like(difference)
        for network in (model, other):
            inputs = [images, *network.features(images)[:-1]]
            error = torch.zeros_like(difference)
            for layer, x in zip(model.layers, inputs, strict=True):
                base, a, b = (w.double() for w in (layer.base.weight, layer.lora_a, layer.scale * layer.lora_b))
                terms = (layer.in_features + layer.rank + 3) * unit
                local = (x.double().abs() @ (base.abs() + b.abs() @ a.abs()).T).norm(dim=1)
                error = torch.linalg.matrix_norm(base + b @ a, 2) * error + terms / (1 - terms) * local
            bound += error
    return difference.cpu().numpy(), bound.cpu().numpy()
