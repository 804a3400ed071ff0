"""The battery for anyone's network.

- A convolution counts as the matrix (out, in·kh·kw) that it multiplies patches by; the table says so. Vectors (biases,
  normalisation) are listed as left out, never dropped silently.
- Tensors are read one at a time, small ones a few at a time: finding eigenvalues is bound by memory, so one matrix a
  core is faster than all cores on each matrix in turn.
- Where there is a CUDA device it takes the matrices, in turn: torch loads its linear algebra there on first use, and
  not for several threads at once (pytorch issue 90613).
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rankstudy import UsageError
from rankstudy._linalg.gram import SMALL, accelerator, singular_values
from rankstudy.factorization import break_even_rank, smallest_rank
from rankstudy.rank import rounding_floor
from rankstudy.spectrum import Spectrum, effective_rank, energy_rank, numerical_rank, outlier_rank, stable_rank
from rankstudy.tools.tensors import EPS, FORMATS, Entry, opened

WORKERS = 4  # small matrices at a time, each with a core of its own: 100 MB in all


@dataclass(frozen=True)
class Matrix:
    """One weight matrix, or its update."""

    name: str
    kind: str  # "matrix", or "convolution" (out, in·kh·kw)
    shape: tuple[int, int]
    dtype: str
    singular_values: np.ndarray = field(repr=False)  # (min(shape),) float64, descending
    rank: int  # singular values above max(m, n)·eps·σ₁ of the stored dtype; coarser than F32: above its rounding floor
    stable_rank: float
    effective_rank: float  # exp of the entropy
    energy_rank_90: int
    energy_rank_95: int
    energy_rank_99: int
    outliers: int  # above the Marchenko–Pastur edge of noise fitted to the bulk
    break_even_rank: int  # the largest at which factors hold no more numbers than the matrix
    needed_rank: int  # the smallest with a relative Frobenius error of at most `rank_error`
    saved: int  # parameters that factors of that rank save; negative: what they cost


@dataclass(frozen=True)
class Analysis:
    """Every weight matrix of a network."""

    matrices: tuple[Matrix, ...]
    left_out: tuple[str, ...]  # "name (why)"
    rank_error: float
    update: bool  # of W − W₀, not of W

    @property
    def parameters(self) -> int:
        """Numbers in the matrices."""
        return sum(m.shape[0] * m.shape[1] for m in self.matrices)

    @property
    def saved(self) -> int:
        """Parameters saved where factors pay and the rest stays dense."""
        return sum(max(m.saved, 0) for m in self.matrices)

    def rows(self) -> list[dict[str, Any]]:
        """One dict per matrix, without the spectrum."""
        names = [name for name in Matrix.__dataclass_fields__ if name != "singular_values"]
        return [{name: getattr(m, name) for name in names} for m in self.matrices]

    def table(self) -> str:
        """The table that the command prints."""
        from tabulate import tabulate

        heads = ["matrix", "shape", "rank", "stable", "entropy", "90 %", "99 %", "outliers", "break-even",
                 f"r at {self.rank_error:g}", "saves"]  # fmt: skip
        rows = [
            [
                m.name + (" (conv)" if m.kind == "convolution" else ""),
                f"{m.shape[0]}×{m.shape[1]}",
                m.rank,
                f"{m.stable_rank:.1f}",
                f"{m.effective_rank:.1f}",
                m.energy_rank_90,
                m.energy_rank_99,
                m.outliers,
                m.break_even_rank,
                m.needed_rank,
                f"{m.saved:+,}",
            ]
            for m in self.matrices
        ]
        what = "update W − W₀ of each matrix" if self.update else "weight matrix"
        share = self.saved / self.parameters if self.parameters else 0.0
        lines = [
            tabulate(rows, headers=heads, colalign=["left"] + ["right"] * 10, disable_numparse=True),
            f"{len(self.matrices)} matrices ({what}), {self.parameters:,} parameters; at a relative error of "
            f"{self.rank_error:g}, factors where they pay save {self.saved:,} ({share:.1%})",
        ]
        if any(m.kind == "convolution" for m in self.matrices):
            lines.append("(conv): a convolution as the matrix out × (in·kh·kw)")
        if self.left_out:
            shown = ", ".join(self.left_out[:6]) + (", …" if len(self.left_out) > 6 else "")
            lines.append(f"left out, {len(self.left_out)}: {shown}")
        return "\n".join(lines)

    def csv(self) -> str:
        """All columns, comma separated."""
        text = io.StringIO()
        names = [name for name in Matrix.__dataclass_fields__ if name != "singular_values"]
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows({**row, "shape": "x".join(map(str, row["shape"]))} for row in self.rows())
        return text.getvalue()


def analyze(model_or_path: Any, base: Any = None, *, rank_error: float = 0.05, progress: bool = False) -> Analysis:
    """The ranks of every weight matrix of a network, or of its update against `base`.

    Args:
        model_or_path: a checkpoint file (safetensors, or a torch state dict, loaded without running code), a
            `torch.nn.Module`, or a mapping of names to arrays.
        base: the same of the network before fine-tuning; every matrix must be in it.
        rank_error: relative Frobenius error that `needed_rank` is for, > 0 and < 1.
        progress: show a bar on stderr, where that is a terminal.

    Raises:
        UsageError: no such checkpoint, NaN or infinity in a tensor, a matrix that `base` lacks or has in another shape.

    >>> found = analyze({"weight": np.eye(4), "bias": np.zeros(4)})
    >>> found.matrices[0].rank, found.left_out[0][:4]
    (4, 'bias')
    """
    check_rank_error(rank_error)
    with opened(model_or_path) as (entries, other):
        names, left_out = weight_matrices(entries, other)
        if base is None:
            found = _analyzed(entries, names, None, rank_error, progress)
        else:
            with opened(base, "--base") as (before, _):
                found = _analyzed(entries, names, before, rank_error, progress)
    return Analysis(found, left_out, rank_error, base is not None)


def _analyzed(
    entries: Mapping[str, Entry],
    names: Mapping[str, tuple[str, tuple[int, int]]],
    before: Mapping[str, Entry] | None,
    rank_error: float,
    progress: bool,
) -> tuple[Matrix, ...]:
    device = accelerator()

    def judge(name: str) -> Matrix:
        kind, shape = names[name]
        matrix = finite_values(name, entries[name], shape)
        dtype = entries[name].dtype
        operands, formats = [matrix], [FORMATS[dtype]]
        if before is not None:
            if name not in before or before[name].shape != entries[name].shape:
                what = f"shape {list(before[name].shape)}" if name in before else "no such tensor"
                raise UsageError(f"--base has {what} for {name} of shape {list(entries[name].shape)}")
            base = finite_values(name, before[name], shape)
            operands, formats = [matrix, base], [FORMATS[dtype], FORMATS[before[name].dtype]]
            dtype = max(dtype, before[name].dtype, key=lambda each: EPS[each])
            matrix = matrix.astype(np.float64) - base
        floor = rounding_floor(*operands, dtype=formats) if EPS[dtype] > EPS["F32"] else 0.0
        operands.clear()
        values = singular_values(matrix, dtype, rank_error, device)
        del matrix
        return _judged(name, kind, dtype, Spectrum(values, shape, floor), rank_error)

    found: dict[str, Matrix] = {}
    small = [name for name, (_, (m, n)) in names.items() if m * n <= SMALL and device is None]
    large = [name for name in names if name not in small]
    with tqdm(total=len(names), disable=None if progress else True, unit="matrix") as done:

        def keep(name: str, matrix: Matrix) -> None:
            found[name] = matrix
            done.update()

        for name in large:  # one after the other
            keep(name, judge(name))
        with threadpool_limits(1), ThreadPoolExecutor(min(WORKERS, _cores())) as pool:
            try:
                for name, matrix in zip(small, pool.map(judge, small), strict=True):
                    keep(name, matrix)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return tuple(found[name] for name in names)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _judged(name: str, kind: str, dtype: str, spectrum: Spectrum, rank_error: float) -> Matrix:
    shape = spectrum.shape
    needed = int(smallest_rank(spectrum, rank_error))
    return Matrix(
        name=name,
        kind=kind,
        shape=shape,
        dtype=dtype,
        singular_values=spectrum.values,
        rank=int(numerical_rank(spectrum, min(EPS[dtype], EPS["F32"]))),
        stable_rank=float(stable_rank(spectrum)),
        effective_rank=float(effective_rank(spectrum)),
        energy_rank_90=int(energy_rank(spectrum, 0.90)),
        energy_rank_95=int(energy_rank(spectrum, 0.95)),
        energy_rank_99=int(energy_rank(spectrum, 0.99)),
        outliers=int(outlier_rank(spectrum, "bulk")),
        break_even_rank=break_even_rank(*shape),
        needed_rank=needed,
        saved=shape[0] * shape[1] - needed * (shape[0] + shape[1]),
    )


def weight_matrices(
    entries: Mapping[str, Entry], other: Sequence[str]
) -> tuple[dict[str, tuple[str, tuple[int, int]]], tuple[str, ...]]:
    """Name -> (kind, (m, n)) of what is a weight matrix, and what is left out with the reason."""
    names, left_out = {}, [f"{name} (no tensor)" for name in other]
    for name, entry in entries.items():
        if entry.dtype not in EPS:
            left_out.append(f"{name} (integers)")
        elif len(entry.shape) < 2:
            left_out.append(f"{name} (a vector)" if entry.shape else f"{name} (a number)")
        elif 0 in entry.shape:
            left_out.append(f"{name} (empty)")
        else:
            sides = (entry.shape[0], int(np.prod(entry.shape[1:], dtype=object)))
            names[name] = ("matrix" if len(entry.shape) == 2 else "convolution", sides)
    if not names:
        raise UsageError("FILE holds no weight matrix: " + (", ".join(left_out[:6]) or "it is empty"))
    return names, tuple(left_out)


def finite_values(name: str, entry: Entry, shape: tuple[int, int]) -> np.ndarray:
    values = entry.values().reshape(shape)
    total = float(np.sum(values, dtype=np.float64))  # NaN and infinity reach the sum: no array of flags is needed
    if not np.isfinite(total) and not np.isfinite(values).all():
        raise UsageError(f"the tensor {name} holds {'NaN' if np.isnan(values).any() else 'infinity'}")
    return values


def check_rank_error(rank_error: float) -> None:
    if not isinstance(rank_error, (int, float)) or not 0 < rank_error < 1:
        raise UsageError(f"--rank-error is {rank_error!r}; allowed is a relative error between 0 and 1")


def bar(items: list[Any], progress: bool) -> Any:
    return tqdm(items, disable=None if progress else True, unit="matrix")


def main(argv: Sequence[str]) -> int:
    """`analyze FILE …`."""
    import argparse

    parser = argparse.ArgumentParser(prog=f"python -m rankstudy {argv[0]}")
    parser.add_argument("file", help="safetensors, or a torch state dict")
    parser.add_argument("--base", help="the network before fine-tuning: analyse the update")
    parser.add_argument("--csv", type=Path, help="write the table, all columns, to this file")
    parser.add_argument("--figure", type=Path, help="write the spectra, one panel per matrix (.svg, .png, .pdf)")
    parser.add_argument("--rank-error", type=float, default=0.05, help="relative Frobenius error (default %(default)s)")
    options = parser.parse_args(argv[1:])
    found = analyze(options.file, options.base, rank_error=options.rank_error, progress=True)
    print(found.table())
    outputs: list[tuple[Path, Callable[[], bytes]]] = []
    if options.csv:
        outputs.append((options.csv, lambda: found.csv().encode()))
    if options.figure:
        outputs.append((options.figure, lambda: _drawn(found, options.figure)))
    for path, content in outputs:
        from rankstudy.files import write_atomically

        try:
            write_atomically(path, content())
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    return 0


def _drawn(found: Analysis, path: Path) -> bytes:
    from rankstudy.book import figures

    figure = figures.spectra({m.name: (m.singular_values, m.needed_rank) for m in found.matrices})
    content = io.BytesIO()
    form = path.suffix.lstrip(".") or "svg"
    try:
        figure.savefig(content, format=form)
    except ValueError as error:
        raise UsageError(f"--figure {path}: {error}") from error
    return content.getvalue()
