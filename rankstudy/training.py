"""The one training loop: some networks, one each for a seed, and the history of every epoch.

- The data are tensors on the device; a batch is one gather. Every epoch uses every image, the last batch is smaller.
- Seed i decides the order of the images for model i, from a CPU generator of its own, so that seed 3 of five is seed 3
  alone: the same images in the same batches, on any device and engine.
- Two engines give the gradients, and all else is shared. "loop" trains one network after the other, at the speed of the
  matrix products on a CPU. "vmap" trains all side by side as one batched network: small networks on a GPU need company.
- Losses and accuracies are measured at the end of an epoch, at fixed weights, over whole splits; the clock stands still
  meanwhile. Nothing waits for the device inside an epoch.
- A network whose loss is no longer finite has diverged: that is recorded, its training ends, the others go on.
- A training that was killed goes on from its last snapshot, to the same bits.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from rankstudy import snapshot
from rankstudy.config import Training
from rankstudy.data import Dataset, Split, loader
from rankstudy.layers import MLP, LowRankLinear
from rankstudy.registry import OPTIMIZERS

SPLITS = ("train", "validation", "test")
EVALUATION_BATCH = 8192  # images; larger gains nothing, and hidden layers of 1024 units then take 32 MB

Observe = Callable[[nn.Module, int], dict[str, "np.ndarray | Tensor | float"]]


class Backward(Protocol):
    """What `epoch` needs of a loss."""

    def backward(self) -> object: ...


# an optimiser, and the loss that it lessens, of the images and labels of a batch
Engine = tuple[torch.optim.Optimizer, Callable[[Tensor, Tensor], Backward]]


@dataclass(frozen=True)
class History:
    """What happened, per network (S) and epoch (epochs + 1; epoch 0 is the network before training).

    float64 and NaN where there is nothing: from the epoch of divergence on.
    """

    train_loss: np.ndarray  # (S, epochs + 1) mean cross-entropy, nats
    train_accuracy: np.ndarray  # (S, epochs + 1) fraction
    validation_loss: np.ndarray
    validation_accuracy: np.ndarray
    test_loss: np.ndarray
    test_accuracy: np.ndarray
    seconds: np.ndarray  # (S, epochs + 1) spent training so far, evaluation excluded; side by side: each its share
    seeds: np.ndarray  # (S,) int
    diverged: np.ndarray  # (S,) bool
    epochs_run: np.ndarray  # (S,) int, the epoch of divergence included
    observed: dict[str, np.ndarray]  # name -> (S, epochs + 1, ...)

    def __getitem__(self, name: str) -> np.ndarray:
        """`history["test_accuracy"]`: what the chapters' figures read; also "observed.<name>"."""
        arrays = self.arrays()
        if name not in arrays:
            raise KeyError(f"{name!r}; there are {', '.join(arrays)}, as in plt.plot(history['test_accuracy'][0])")
        return arrays[name]

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything in one flat dict; what was observed comes under "observed.<name>"."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "observed"}
        return own | {f"observed.{name}": values for name, values in self.observed.items()}


def train(
    config: Training | Sequence[Training],
    models: nn.Module | Sequence[nn.Module],
    data: Dataset,
    seeds: int | Sequence[int],
    *,
    observe: Observe | None = None,
    engine: str | None = None,
    progress: Callable[[int], object] | None = None,
    snapshots: snapshot.Snapshots | None = None,
) -> History:
    """Train the models in place, every parameter that requires a gradient, model i in the order of seed i; or just one
    model in the order of one seed, and the history's first axis then has length 1.

    `config` is one for all, or one for each, equal but for learning rate and weight decay. `observe(model, epoch)`
    is called for each model after each epoch (and as epoch 0 before the first); what it returns is stacked.
    `engine` is "loop", "vmap" or None: by device. `progress` is told the images trained on since it was last told.
    `snapshots` is asked for where to go on, and given a state about every minute; `observe` sees epoch 0 in any case.

    Raises: ValueError if models, seeds and configs do not match; TypeError if there is no `Dataset`.

    >>> from rankstudy.data import load
    >>> from rankstudy.layers import build
    >>> from rankstudy.config import Network
    >>> network = build(Network((784, 32, 10)), seed=0)
    >>> history = train(Training(2), network, load("digits"), 0)
    >>> history["test_accuracy"].shape  # (networks, epochs + 1): epoch 0 is before training
    (1, 3)
    """
    if isinstance(models, nn.Module):
        models = [models]
    if not isinstance(models, Sequence):
        raise TypeError(f"models must be one network, or a list of them, after the config; got {type(models).__name__}")
    if isinstance(seeds, (int, np.integer)):
        seeds = [int(seeds)]
    configs = list(config) if isinstance(config, (list, tuple)) else [config] * len(models)
    _check(configs, models, data, seeds)
    if engine is None:
        engine = "vmap" if data.train.images.device.type == "cuda" else "loop"
    if engine not in ("loop", "vmap"):
        raise ValueError(f"engine must be loop, vmap or None, got {engine!r}")
    if snapshots is not None and engine == "loop" and len(models) > 1:
        raise ValueError(f"snapshots are of one training: models must be one for the engine loop, got {len(models)}")
    record = _Record(seeds, configs[0].epochs, observe)
    everyone = list(range(len(models)))
    for rows in [everyone] if engine == "vmap" else [[i] for i in everyone]:
        _train_together(rows, configs, models, data, engine, record, progress, snapshots)
    return record.history()


def evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """(mean cross-entropy in nats, accuracy) of the model on the whole split.

    Raises: ValueError if the split is empty; TypeError if it is none.

    >>> from rankstudy.data import load
    >>> from rankstudy.layers import MLP
    >>> loss, accuracy = evaluate(MLP(784, 32, 10), load("digits").test)
    >>> 0 <= accuracy <= 1
    True
    """
    if not isinstance(split, Split):
        raise TypeError(f"split must be one of a Dataset's, such as dataset.test; got {type(split).__name__}")
    if len(split.labels) == 0:
        raise ValueError("split must hold at least one image")
    scores = []  # of each batch: the summed loss and the number of right answers, left on the device
    with torch.no_grad():
        for x, y in zip(split.images.split(EVALUATION_BATCH), split.labels.split(EVALUATION_BATCH), strict=True):
            logits = model(x)
            scores.append(torch.stack([F.cross_entropy(logits, y, reduction="sum"), (logits.argmax(1) == y).sum()]))
    loss, correct = torch.stack(scores).cpu().double().sum(0).tolist()
    return loss / len(split.labels), correct / len(split.labels)


def epoch(
    loss: Callable[[Tensor, Tensor], Backward],
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
) -> None:
    """One pass over the training images: for every batch a gradient of the loss, and a step against it."""
    for images, labels in batches:
        optimizer.zero_grad()
        loss(images, labels).backward()
        optimizer.step()
        schedule.step()


def batch_loss(model: nn.Module, x: Tensor, y: Tensor, config: Training) -> Tensor:
    """What a step descends: mean cross-entropy in nats, plus λ/2·Σ‖B·C‖²_F over the low-rank layers where λ, the
    Frobenius decay, is not 0 (Khodak et al. 2021, section 3.2)."""
    loss = F.cross_entropy(model(x), y)
    if config.frobenius_decay:
        for layer in model.modules():
            if isinstance(layer, LowRankLinear):
                loss = loss + config.frobenius_decay / 2 * layer.squared_norm()
    return loss


def _train_together(rows, configs, models, data, engine, record, progress, snapshots) -> None:
    """Train the models of these rows (one row, or all side by side) and record every epoch."""
    config, n = configs[rows[0]], len(data.train.labels)
    here, device = [models[i] for i in rows], data.train.labels.device
    make = _one if engine == "loop" else _side_by_side
    optimizer, loss = make(here, [configs[i] for i in rows])
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # the schedule's peak, which a snapshot does not keep
    steps = math.ceil(n / config.batch_size)
    batches = loader(data.train, config.batch_size, *(record.seeds[i] for i in rows))
    generators = batches.sampler.generators  # type: ignore[attr-defined]
    final: dict[int, list[Tensor]] = {}  # the parameters of a network whose training has ended
    seconds, first = 0.0, 0
    if snapshots is not None and (state := snapshots.load()) is not None:
        for i in rows:
            record.begin(models[i])
        snapshot.restore(state, here, optimizer, generators, final)
        record.restore(state["record"])
        seconds, first = state["seconds"], state["epoch"] + 1
        if progress is not None:
            progress(n * len(rows) * state["epoch"])
    done, share = max(0, first - 1) * steps, share_of_peak(config, config.epochs * steps)
    schedule = LambdaLR(optimizer, share, last_epoch=done - 1)
    saved = time.perf_counter()
    for number in range(first, config.epochs + 1):
        if number > 0:
            start = _clock(device)
            epoch(loss, batches, optimizer, schedule)
            seconds += (_clock(device) - start) / len(rows)
            if progress is not None:
                progress(n * len(rows))
        for i in [i for i in rows if i not in final]:
            if record.add(i, number, models[i], data, seconds):
                final[i] = [p.detach().clone() for p in models[i].parameters()]
        if len(final) == len(rows):
            break
        if snapshots is not None and time.perf_counter() - saved >= snapshot.SECONDS:
            state = snapshot.take(here, optimizer, generators, final)
            snapshots.save({**state, "record": record.state(), "seconds": seconds, "epoch": number})
            saved = time.perf_counter()
    for i in rows:  # every model gets memory of its own again, and an ended one what it had when it ended
        values = final.get(i) or [p.detach().clone() for p in models[i].parameters()]
        for parameter, value in zip(models[i].parameters(), values, strict=True):
            parameter.data = value


def _one(models: list[nn.Module], configs: list[Training]) -> Engine:
    """The loss of one network."""
    (model,), (config,) = models, configs
    groups = [{"params": [p for p in model.parameters() if p.requires_grad]}]
    return _optimizer(groups, config), lambda x, y: batch_loss(model, x, y, config)


class _Objective(nn.Module):
    """`batch_loss` as a module, so that `functional_call` can give its model other parameters."""

    def __init__(self, model: nn.Module, config: Training) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return batch_loss(self.model, x, y, self.config)


class _Losses:
    """The losses of several networks (S,): their gradients go to the slices of the stacks that an optimiser steps."""

    def __init__(
        self, losses: Tensor, leaves: list[Tensor], slices: list[tuple[Tensor, ...]], sizes: list[int]
    ) -> None:
        self.losses, self.leaves, self.slices, self.sizes = losses, leaves, slices, sizes

    def backward(self) -> None:
        gradients = torch.autograd.grad(self.losses.sum(), self.leaves)
        for parts, gradient in zip(self.slices, gradients, strict=True):
            # contiguous: fused optimisers walk memory and take a transposed gradient for a straight one
            for part, own in zip(parts, gradient.contiguous().split(self.sizes), strict=True):
                part.grad = own


def _side_by_side(models: list[nn.Module], configs: list[Training]) -> Engine:
    """The losses of all networks at once: their tensors are stacked, and each network keeps a view of its own.

    Neighbours with equal learning rate and decay share a parameter group, a slice of the stack.
    """
    objectives = [_Objective(model, config) for model, config in zip(models, configs, strict=True)]
    tensors = [dict(o.named_parameters()) | dict(o.named_buffers()) for o in objectives]
    described = [{name: (t.shape, t.dtype, t.requires_grad) for name, t in own.items()} for own in tensors]
    if any(other != described[0] for other in described):
        raise ValueError("models must have the same parameters, of the same shapes, to be trained side by side")
    stacks = {name: torch.stack([own[name].detach() for own in tensors]) for name in tensors[0]}  # (S, ...)
    trained = [name for name, t in tensors[0].items() if t.requires_grad]
    for name in trained:
        for own, view in zip(tensors, stacks[name].unbind(), strict=True):
            own[name].data = view
    arms = [(arm, len(list(same))) for arm, same in itertools.groupby(configs)]
    sizes = [size for _, size in arms]
    slices = [stacks[name].split(sizes) for name in trained]
    groups = [
        {"params": list(parts), "lr": arm.learning_rate, "weight_decay": arm.weight_decay}
        for (arm, _), parts in zip(arms, zip(*slices, strict=True), strict=True)
    ]
    leaves = {name: stacks[name].detach().requires_grad_(name in trained) for name in stacks}
    together = vmap(lambda leaves, x, y: functional_call(objectives[0], leaves, (x, y)))

    def loss(x: Tensor, y: Tensor) -> _Losses:  # (S, batch, 784) and (S, batch); of one network (batch, …)
        if len(models) == 1:
            x, y = x[None], y[None]
        return _Losses(together(leaves, x, y), [leaves[name] for name in trained], slices, sizes)

    return _optimizer(groups, configs[0]), loss


def _optimizer(groups: list[dict], config: Training) -> torch.optim.Optimizer:
    entry, rate = OPTIMIZERS[config.optimizer], config.learning_rate
    return entry.torch(groups, learning_rate=rate, weight_decay=config.weight_decay)


def share_of_peak(config: Training, steps: int) -> Callable[[int], float]:
    """The learning rate at a step, as a share of its peak."""
    if config.schedule == "constant":
        return lambda step: 1.0
    return lambda step: (1 + math.cos(math.pi * step / max(steps, 1))) / 2


def _clock(device: torch.device) -> float:
    """Seconds, once the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class _Record:
    """A history as it is written."""

    def __init__(self, seeds: Sequence[int], epochs: int, observe: Observe | None) -> None:
        self.seeds, self.epochs, self.observe = np.array(seeds, dtype=np.int64), epochs, observe
        self.diverged = np.zeros(len(seeds), bool)
        self.epochs_run = np.zeros(len(seeds), np.int64)
        names = [f"{split}_{value}" for split in SPLITS for value in ("loss", "accuracy")]
        self.values = {name: self._empty() for name in [*names, "seconds"]}
        self.observed: dict[str, np.ndarray] = {}

    def _empty(self, shape: tuple[int, ...] = (), dtype: type = np.float64) -> np.ndarray:
        return np.full((len(self.seeds), self.epochs + 1, *shape), np.nan, dtype)

    def add(self, i: int, epoch: int, model: nn.Module, data: Dataset, seconds: float) -> bool:
        """Measure a network at the end of an epoch: has it diverged?"""
        self.epochs_run[i] = epoch
        found = {name: evaluate(model, getattr(data, name)) for name in SPLITS}
        if not all(math.isfinite(loss) for loss, _ in found.values()):
            self.diverged[i] = True
            return True
        self.values["seconds"][i, epoch] = seconds
        for name, (loss, accuracy) in found.items():
            self.values[f"{name}_loss"][i, epoch] = loss
            self.values[f"{name}_accuracy"][i, epoch] = accuracy
        for name, value in (self.observe(model, epoch) if self.observe else {}).items():
            value = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
            if name not in self.observed:
                dtype = value.dtype if np.issubdtype(value.dtype, np.floating) else np.float64
                self.observed[name] = self._empty(value.shape, dtype)
            self.observed[name][i, epoch] = value
        return False

    def begin(self, model: nn.Module) -> None:
        """Show an observer the network as it was before training, which it may remember."""
        if self.observe:
            self.observe(model, 0)

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        own = {"diverged": self.diverged, "epochs_run": self.epochs_run}
        return {"values": self.values, "observed": self.observed, "own": own}

    def restore(self, state: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        self.values, self.observed = ({n: np.array(v) for n, v in state[k].items()} for k in ("values", "observed"))
        self.diverged, self.epochs_run = (np.array(state["own"][name]) for name in ("diverged", "epochs_run"))

    def history(self) -> History:
        return History(**self.values, **{f: getattr(self, f) for f in ("seeds", "diverged", "epochs_run", "observed")})


def _check(configs: list[Training], models: Sequence[nn.Module], data: Dataset, seeds: Sequence[int]) -> None:
    if not isinstance(data, Dataset):
        raise TypeError(f"data must be a Dataset, as rankstudy.data.load makes one, got {type(data).__name__}")
    for each in configs:
        if not isinstance(each, Training):
            raise TypeError(f"config must be a Training, or one for each model, got {type(each).__name__}")
    if not isinstance(seeds, (Sequence, np.ndarray)):
        raise TypeError(f"seeds must be a whole number, or one for each model; got {seeds!r}")
    counts = [len(models), len(seeds), len(configs)]
    if not models or len(set(counts)) > 1:
        raise ValueError(f"models, seeds and configs must be as many, at least one; got {str(counts)[1:-1]}")
    if len({replace(c, learning_rate=0.0, weight_decay=0.0) for c in configs}) > 1:
        raise ValueError("config may differ between models in learning_rate and weight_decay only")
    if len(data.train.labels) == 0:
        raise ValueError("data.train must hold at least one image")
    for i, model in enumerate(models):
        if not isinstance(model, nn.Module):
            raise TypeError(f"models[{i}] must be a torch.nn.Module, got {type(model).__name__}")
        if any(model is other for other in models[:i]):
            raise ValueError(f"models[{i}] is another of the models already; build one for each seed")
        if isinstance(model, MLP) and model.layers[0].in_features != data.train.images.shape[1]:
            raise ValueError(
                f"models[{i}] takes {model.layers[0].in_features} inputs, and an image has "
                f"{data.train.images.shape[1]} pixels: the first of its widths must be that"
            )
        if isinstance(model, MLP) and getattr(model.layers[-1], "out_features", math.inf) <= data.train.labels.max():
            raise ValueError(
                f"models[{i}] has {model.layers[-1].out_features} outputs, and labels go up to "
                f"{int(data.train.labels.max())}: the last of its widths must be more than that"
            )
        if not any(p.requires_grad for p in model.parameters()):
            raise ValueError(f"models[{i}] has no parameter that requires a gradient")
