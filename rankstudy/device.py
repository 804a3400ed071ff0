"""Which device computes: CUDA, then MPS, then the CPU. RANKSTUDY_DEVICE overrides.

torch is imported by what needs it, so that the render path can ask `has_cuda` without it.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rankstudy import UsageError

if TYPE_CHECKING:
    import torch

ALLOWED = ("cpu", "cuda", "mps")


@cache
def choose() -> torch.device:
    """The device that RANKSTUDY_DEVICE names, or else the best one that is there.

    Raises:
        UsageError: RANKSTUDY_DEVICE names no device, or one that this machine does not have.
    """
    import torch

    wanted = os.environ.get("RANKSTUDY_DEVICE", "").strip().lower()
    kind, _, index = wanted.partition(":")
    if wanted and (kind not in ALLOWED or (index and not index.isdigit())):
        raise UsageError(f"RANKSTUDY_DEVICE is {wanted!r}; allowed are cpu, cuda, cuda:N and mps")
    cuda = _cuda_available()
    mps = torch.backends.mps.is_available()
    if kind == "cuda" and not cuda:
        raise UsageError(
            "RANKSTUDY_DEVICE asks for cuda, but torch finds no usable CUDA device; unset it to use the CPU"
        )
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise UsageError(f"RANKSTUDY_DEVICE is {wanted!r}, but there are {torch.cuda.device_count()} CUDA devices")
    if kind == "mps" and not mps:
        raise UsageError("RANKSTUDY_DEVICE asks for mps, but torch finds no MPS device; unset it to use the CPU")
    if wanted:
        return torch.device(wanted)
    return torch.device("cuda" if cuda else "mps" if mps else "cpu")


def has_cuda() -> bool:
    """Whether a CUDA driver is there, asked without importing torch where it is plain that there is none."""
    wanted = os.environ.get("RANKSTUDY_DEVICE", "").strip().lower()
    if wanted:
        return wanted.startswith("cuda")
    if sys.platform == "darwin" or (sys.platform == "linux" and not Path("/proc/driver/nvidia").exists()):
        return False
    return choose().type == "cuda"


def _cuda_available() -> bool:
    """torch answers a driver that is too old with a warning and False: say it in one line and go on with the CPU."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    for warning in caught:
        if "driver" in str(warning.message).lower():
            reason = str(warning.message).strip().splitlines()[0]
            print(f"rankstudy: the GPU is not used, the CPU is: {reason}", file=sys.stderr)
    return available


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a CUDA device."""
    import torch

    return torch.cuda.mem_get_info(device)[0]


def describe(device: torch.device) -> str:
    """One phrase for the report: the GPU's name, or the processor with its threads."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple GPU ({platform.machine()})"
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'' if threads == 1 else 's'}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
