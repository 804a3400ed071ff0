"""`analyze` against a plain `torch.linalg.svd` loop and WeightWatcher's analysis of the same file.

WeightWatcher is a peer, not a dependency: `pip install weightwatcher` before, or its row says "not yet measured".
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import rankstudy
from benchmarks import Row, alternate, ratio, report

SHAPES = [(1024, 1024)] * 4 + [(2048, 512)] * 4 + [(512, 2048)] * 4 + [(768, 768)] * 4  # (out, in), 50 MB


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks analyze", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        torch.manual_seed(0)
        model = torch.nn.ModuleList(torch.nn.Linear(inp, out, bias=False) for out, inp in SHAPES)
        save_file(model.state_dict(), path)
        found: dict[str, dict[str, np.ndarray]] = {}

        def ours() -> None:
            found["ours"] = {m.name: m.singular_values for m in rankstudy.analyze(path).matrices}

        def loop() -> None:
            found["loop"] = {}
            with safe_open(path, framework="pt") as file:
                for name in file.keys():
                    found["loop"][name] = torch.linalg.svd(file.get_tensor(name))[1].numpy()

        jobs = {"ours": ours, "loop": loop}
        with contextlib.suppress(ImportError):
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                import weightwatcher

            def watcher() -> None:
                logging.disable(logging.CRITICAL)
                with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                    warnings.simplefilter("ignore")
                    details = weightwatcher.WeightWatcher(model=model).analyze()
                found["watcher"] = {f"{i}.weight": value for i, value in enumerate(details["sv_max"])}

            jobs["watcher"] = watcher
        seconds = alternate(jobs, options.repeats)
    far = max(np.abs(found["ours"][name] - values).max() / values[0] for name, values in found["loop"].items())
    assert far < 1e-5, f"singular values differ by {far:.1e} σ₁"
    agreement = f"singular values agree within {far:.0e} σ₁"
    rows = [_row("torch.linalg.svd loop over the file", seconds, "loop", options.repeats, agreement)]
    if "watcher" in seconds:
        off = max(abs(found["ours"][name][0] / value - 1) for name, value in found["watcher"].items())
        assert off < 1e-4, f"largest singular values differ by {off:.1e}"
        note = f"largest singular values agree within {off:.0e}; it also fits power laws, we also count ranks"
        rows.append(_row("WeightWatcher.analyze()", seconds, "watcher", options.repeats, note))
    else:
        rows.append(Row("analyze, 16 matrices", "WeightWatcher.analyze()", "", "", None, "≥ 3"))
    report("analyze", rows, time.perf_counter() - begun)


def _row(against: str, seconds: dict[str, list[float]], name: str, n: int, note: str) -> Row:
    ours, theirs = (f"{np.median(seconds[each]):.2f} s" for each in ("ours", name))
    return Row(
        "analyze, 16 matrices, 50 MB", against, ours, theirs, ratio(seconds[name], seconds["ours"]), "≥ 3", n, note
    )
