"""What a network costs: parameters and bytes, memory in training, floating-point operations, latency, peak memory.

Counts are exact and come before the run: given a model and images on the "meta" device, `training_memory` and `flops`
answer without allocating or computing anything. Times come with their spread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from rankstudy.config import Training
from rankstudy.training import batch_loss

BLOCKS = 20  # measurements of a latency


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes while a network is trained, split by what they hold."""

    weights: int  # all parameters and buffers, frozen ones too
    gradients: int  # of the parameters that require one
    optimizer: int  # its state after the first step
    activations: int  # what autograd keeps for the backward pass: the batch and its labels too, weights not

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True)
class Latency:
    """Seconds of one forward pass."""

    median: float
    iqr: float  # interquartile range
    n: int  # measurements, each the mean over a block of calls


def parameters(model: nn.Module) -> int:
    """How many numbers the model's parameters are, frozen ones included."""
    return sum(p.numel() for p in model.parameters())


def parameter_bytes(model: nn.Module) -> int:
    """Bytes of the model's parameters."""
    return sum(p.nbytes for p in model.parameters())


def training_memory(model: nn.Module, config: Training, images: Tensor) -> TrainingMemory:
    """Bytes that a step on these images, (batch, in), holds at its fullest, gradients and optimiser state included.

    The optimisers keep, per trained parameter: Adam and AdamW two moments and a float32 step count, SGD a momentum if
    it has one. Kernels' scratch memory and the allocator's rounding come on top.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    gradients = sum(p.nbytes for p in trained)
    state = {"sgd": gradients if config.momentum else 0}.get(config.optimizer, 2 * gradients + 4 * len(trained))
    tensors = [*model.parameters(), *model.buffers()]
    return TrainingMemory(sum(t.nbytes for t in tensors), gradients, state, saved_bytes(model, config, images))


def saved_bytes(model: nn.Module, config: Training, images: Tensor) -> int:
    """Bytes that autograd keeps between the forward and the backward pass, each storage once, weights excluded."""
    saved = {}  # address of a storage -> the storage, kept alive so that no address is given away twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        batch_loss(model, images, labels, config)
    own = {t.untyped_storage()._cdata for t in [*model.parameters(), *model.buffers()]}
    return sum(storage.nbytes() for address, storage in saved.items() if address not in own)


def flops(model: nn.Module, images: Tensor, *, backward: bool = False) -> int:
    """Floating-point operations of the matrix products on these images, a multiply-add as two; with the gradients of
    the parameters that require them if `backward`."""
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        logits = model(images)
        if backward:
            torch.autograd.grad(logits.sum(), [p for p in model.parameters() if p.requires_grad])
    return counter.get_total_flops()


def latency(model: nn.Module, images: Tensor, *, seconds: float = 0.5) -> Latency:
    """Time of one forward pass without gradients, warm, on the device of the images and all its threads.

    Measured for about so many `seconds`, in 20 blocks of as many calls as fit.
    """
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


def peak_process_memory() -> int | None:
    """Bytes that this process has had resident at its fullest since it began; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
