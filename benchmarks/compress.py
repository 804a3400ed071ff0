"""`compress` against a plain float32 `torch.linalg.svd` loop that writes factors, at equal size; nothing is fetched.

Peak memory is that of a process of its own each, on Linux.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import rankstudy
from benchmarks import Row, alternate, ratio, report

SHAPES = [(1024, 1024)] * 4 + [(2048, 512)] * 4 + [(512, 2048)] * 4 + [(768, 768)] * 4  # (out, in), 50 MB
TARGET = "≥ 1"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks compress", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path, ours, theirs = (Path(folder) / f"{name}.safetensors" for name in ("model", "ours", "theirs"))
        save_file(_trained_like(), path)
        seconds = alternate(
            {"ours": lambda: _compress(path, ours), "loop": lambda: _loop(path, theirs)}, options.repeats
        )
        note = f"errors at most {_excess(path, ours):.0e} above those of an SVD of the same rank"
        took = [f"{np.median(seconds[name]):.2f} s" for name in ("ours", "loop")]
        against = "torch.linalg.svd loop in float32"
        rows = [Row("compress, 16 matrices, 50 MB, half the parameters", against, *took,
                    ratio(seconds["loop"], seconds["ours"]), TARGET, options.repeats, note)]  # fmt: skip
        if sys.platform == "linux":
            files = f"{str(path)!r}, {str(theirs)!r}"
            programs = [
                f"import rankstudy\nrankstudy.compress({files}, keep=0.5)",
                f"import pathlib\nfrom benchmarks.compress import _loop\n_loop(*map(pathlib.Path, ({files})))",
            ]
            peaks = [_peak(program) for program in programs]
            shown = [f"{peak:.0f} MB" for peak in peaks]
            note = "a process each; ours needs no torch for a safetensors file"
            rows.append(Row("its peak memory", against, *shown, peaks[1] / peaks[0], TARGET, 1, note))
    report("compress", rows, time.perf_counter() - begun)


def _trained_like() -> dict[str, torch.Tensor]:
    """Noise with a few strong directions, as trained weights have."""
    torch.manual_seed(0)
    return {
        f"layers.{i}.weight": torch.randn(out, inp) + 0.3 * torch.randn(out, 12) @ torch.randn(12, inp)
        for i, (out, inp) in enumerate(SHAPES)
    }


def _rank(out: int, inp: int) -> int:
    return out * inp // (2 * (out + inp))


def _compress(path: Path, out: Path) -> None:
    rankstudy.compress(path, out, keep=0.5, include=".", min_saving=0)


def _loop(path: Path, out: Path) -> None:
    state = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():
            weight = file.get_tensor(name)
            u, s, v = torch.linalg.svd(weight, full_matrices=False)
            rank = _rank(*weight.shape)
            state[name + ".b"], state[name + ".c"] = (u[:, :rank] * s[:rank]).contiguous(), v[:rank].contiguous()
    save_file(state, out)


def _excess(path: Path, ours: Path) -> float:
    """Largest relative excess of our error over that of an SVD of the same rank."""
    worst = 0.0
    with safe_open(path, "pt") as source, safe_open(ours, "pt") as file:
        for name in source.keys():
            if name + ".rankstudy_b" not in file.keys():
                continue
            a = source.get_tensor(name).double()
            product = file.get_tensor(name + ".rankstudy_b").double() @ file.get_tensor(name + ".rankstudy_c").double()
            rank = file.get_tensor(name + ".rankstudy_b").shape[1]
            best = float(torch.linalg.svdvals(a)[rank:].norm() / a.norm())
            worst = max(worst, float((a - product).norm() / a.norm()) / best - 1)
    return worst


def _peak(program: str) -> float:
    """MB of a process that does this and nothing else."""
    program += "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1]) / 1024
