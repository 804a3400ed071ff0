"""What a network costs: parameters and bytes, memory in training, floating-point operations, latency, peak memory.

Counts are exact and come before the run: given a model and images on the "meta" device, `training_memory` and `flops`
answer without allocating or computing anything. Times come with their spread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from rankstudy.config import Training
from rankstudy.registry import OPTIMIZERS
from rankstudy.training import batch_loss

BLOCKS = 20  # measurements of a latency


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes while a network is trained: what is held, part by part, and the most that is held at once."""

    weights: int  # all parameters and buffers, frozen ones too
    gradients: int  # of the parameters that require one
    optimizer: int  # its state after the first step
    activations: int  # what autograd keeps for the backward pass: the batch and its labels too, weights not
    peak: int  # of a step; less than the sum, as activations are let go while gradients come, plus passing values


@dataclass(frozen=True)
class Latency:
    """Seconds of one forward pass."""

    median: float
    iqr: float  # interquartile range
    n: int  # measurements, each the mean over a block of calls


def parameters(model: nn.Module) -> int:
    """How many numbers the model's parameters are, frozen ones included."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, as in parameters(model); got {type(model).__name__}")
    return sum(p.numel() for p in model.parameters())


def parameter_bytes(model: nn.Module) -> int:
    """Bytes of the model's parameters."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, as in parameter_bytes(model); got {type(model).__name__}")
    return sum(p.nbytes for p in model.parameters())


def training_memory(model: nn.Module, config: Training, images: Tensor) -> TrainingMemory:
    """What a training step on these images, (batch, in), holds in memory; from one step without its update.

    The optimisers keep, per trained parameter: Adam and AdamW two moments and a float32 step count, SGD nothing,
    with momentum a velocity. Kernels' scratch memory and the allocator's rounding come on top.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model comes first, a torch.nn.Module; got {type(model).__name__}")
    if not isinstance(config, Training):
        raise TypeError(f"config must be a Training, got {type(config).__name__}")
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor, as dataset.test.images[:128]; got {type(images).__name__}")
    trained = [p for p in model.parameters() if p.requires_grad]
    own = {_address(t): t.nbytes for t in [*model.parameters(), *model.buffers()]}
    gradients = sum(p.nbytes for p in trained)
    optimizer = OPTIMIZERS[config.optimizer]
    state = optimizer.states * gradients + (4 * len(trained) if optimizer.counts else 0)
    saved: dict[int, torch.UntypedStorage] = {}  # kept alive while they count, so that no address is given away twice

    def pack(tensor: Tensor) -> Tensor:
        saved[_address(tensor)] = tensor.untyped_storage()
        return tensor

    with _Live() as live:
        batch, labels = images.clone(), torch.zeros(len(images), dtype=torch.int64, device=images.device)
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = batch_loss(model, batch, labels, config)
        activations = sum(storage.nbytes() for address, storage in saved.items() if address not in own)
        saved.clear()
        torch.autograd.grad(loss, trained)
    weights = sum(own.values())
    return TrainingMemory(weights, gradients, state, activations, weights + state + live.peak)


class _Live(TorchDispatchMode):
    """Counts the bytes of the tensors that operations have made and somebody still holds."""

    def __init__(self) -> None:
        super().__init__()
        self.living: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {_address(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        self.living = {address: held for address, held in self.living.items() if not held[0].expired()}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and _address(tensor) not in given:  # neither a view nor in place
                storage = tensor.untyped_storage()
                self.living[_address(tensor)] = (StorageWeakRef(storage), storage.nbytes())
        # autograd adds up gradients in place, except under a mode like this one: that sum is no third tensor
        if not (func is torch.ops.aten.add.Tensor and not torch.is_grad_enabled()):
            self.peak = max(self.peak, sum(nbytes for _, nbytes in self.living.values()))
        return result


def _address(tensor: Tensor) -> int:
    """Of the storage itself, which tensors on the meta device have too."""
    return tensor.untyped_storage()._cdata


def flops(model: nn.Module, images: Tensor, *, backward: bool = False) -> int:
    """Floating-point operations of the matrix products on these images, a multiply-add as two; with the gradients of
    the parameters that require them if `backward`."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, as in flops(model, images); got {type(model).__name__}")
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor, as dataset.test.images[:128]; got {type(images).__name__}")
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        logits = model(images)
        if backward:
            torch.autograd.grad(logits.sum(), [p for p in model.parameters() if p.requires_grad])
    return counter.get_total_flops()


def latency(model: nn.Module, images: Tensor, *, seconds: float = 0.5) -> Latency:
    """Time of one forward pass without gradients, warm, on the device of the images and all its threads.

    Measured for about so many `seconds`, in 20 blocks of as many calls as fit. Where other programs use the cores,
    threads wait for each other, and networks of many small products seem slow: `torch.set_num_threads(1)` first.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, as in latency(model, images); got {type(model).__name__}")
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor, as dataset.test.images[:128]; got {type(images).__name__}")
    from torch.utils.benchmark import Timer  # here, because importing it looks for a compiler and may complain

    timer = Timer("model(images)", globals={"model": model, "images": images}, num_threads=torch.get_num_threads())
    with torch.inference_mode():
        warm = timer.timeit(3).mean  # after its own warm-up
        number = max(1, int(seconds / BLOCKS / warm))
        times = [timer.timeit(number).mean for _ in range(BLOCKS)]
    low, median, high = np.quantile(times, [0.25, 0.5, 0.75])
    return Latency(float(median), float(high - low), BLOCKS)


def peak_cuda_memory(work: Callable[[], object], device: torch.device) -> int:
    """Bytes that `work` has allocated at its fullest, above what was allocated before."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
