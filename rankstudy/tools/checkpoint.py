"""The ranks of every weight matrix of anyone's network, or of the update between two.

- A convolution counts as the matrix (out, in·kh·kw) that it multiplies patches by; the table says so. What is no weight
  matrix is in `left_out` with the reason, never dropped silently.
- Tensors are read one at a time, small ones a few at a time: finding eigenvalues is bound by memory, so one matrix a
  core is faster than all cores on each matrix in turn.
- Where there is a CUDA device it takes the matrices, in turn: torch loads its linear algebra there on first use, and
  not for several threads at once (pytorch issue 90613).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rankstudy import UsageError
from rankstudy._linalg.gram import SMALL, accelerator, singular_values
from rankstudy.factorization import break_even_rank, smallest_rank
from rankstudy.rank import rounding_floor
from rankstudy.spectrum import Spectrum, effective_rank, energy_rank, numerical_rank, outlier_rank, stable_rank
from rankstudy.tools import choosing, decomposition, levels, roles, tables
from rankstudy.tools.reading import Checkpoint, opened
from rankstudy.tools.roles import Weight
from rankstudy.tools.tensors import EPS, FORMATS

WORKERS = 4  # small matrices at a time, each with a core of its own: 100 MB in all
RANK_ERROR = 0.2
CURVE = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # relative errors that the size is given for
SHARES = (4, 8, 16, 32, 64)  # ranks that the share of an update is given for


@dataclass(frozen=True)
class Matrix:
    """One weight matrix, or its update."""

    name: str  # of its tensor; NAME[3] is the fourth of a stack
    kind: str  # "matrix"; "convolution" (out, in·kh·kw); "adapter" (α/r)·B·A; "stack" one of several
    shape: tuple[int, int]
    dtype: str
    singular_values: np.ndarray = field(repr=False)  # (min(shape),) float64, descending
    rank: int  # singular values above max(m, n)·eps·σ₁; in formats coarser than F32, and of updates, above rounding
    stable_rank: float
    entropy_rank: float  # exp of the entropy of σ/Σσ
    energy_rank_90: int
    energy_rank_95: int
    energy_rank_99: int
    outliers: int  # above the Marchenko–Pastur edge of noise fitted to the bulk; at most the rank
    break_even_rank: int  # the largest at which factors hold no more numbers than the matrix
    needed_rank: int  # the smallest with a relative Frobenius error of at most `rank_error`
    saved: int  # parameters that factors of that rank save; negative: what they cost; of an update 0
    kept: str = ""  # why `compress` leaves it as it is by default
    change: float | None = None  # of an update: ‖ΔW‖/‖W₀‖
    rounding: float | None = None  # of an update: the share of ‖ΔW‖ that rounding to the stored dtype may be
    shares: tuple[float, ...] = ()  # of an update: of ‖ΔW‖² that ranks 4, 8, 16, 32, 64 hold

    @property
    def spectrum(self) -> Spectrum:
        """Its singular values and shape."""
        return Spectrum(self.singular_values, self.shape)


@dataclass(frozen=True)
class Analysis:
    """Every weight matrix of a network."""

    matrices: tuple[Matrix, ...]
    left_out: dict[str, str]  # name -> why
    rank_error: float
    update: bool  # of W − W₀, or an adapter, not of W

    @property
    def parameters(self) -> int:
        """Numbers in the matrices."""
        return sum(math.prod(m.shape) for m in self.matrices)

    @property
    def saved(self) -> int:
        """Parameters saved where factors pay and the rest, as `compress` does, stays dense."""
        return sum(max(m.saved, 0) for m in self.matrices if not m.kept)

    def curve(self, errors: Sequence[float] = CURVE) -> dict[float, int]:
        """Relative error of each matrix -> parameters of all: of the network, or of an adapter for the update."""
        kept = sum(math.prod(m.shape) for m in self.matrices if m.kept)
        spectra = [m.spectrum for m in self.matrices if not m.kept]
        if self.update:
            every = [m.spectrum for m in self.matrices]
            return {each: sum(int(smallest_rank(s, each)) * sum(s.shape) for s in every) for each in errors}
        return {each: kept + size for each, size in zip(errors, choosing.sizes(spectra, errors), strict=True)}

    def rows(self) -> list[dict[str, Any]]:
        """One dict per matrix, without the spectrum."""
        names = [name for name in Matrix.__dataclass_fields__ if name != "singular_values"]
        return [{name: getattr(m, name) for name in names} for m in self.matrices]

    def table(self) -> str:
        """What the command prints: table, legend, what is left out, a reading."""
        return tables.text(self)

    def csv(self) -> str:
        """All columns, comma separated; what is left out has its rows too."""
        return tables.csv_text(self)

    def json(self, spectra: bool = False) -> str:
        """All columns, what is left out, the curve; all singular values if asked for."""
        return tables.json_text(self, spectra)

    def markdown(self) -> str:
        """The table, and the reading."""
        return tables.markdown(self)

    def __str__(self) -> str:
        return self.table()

    def _repr_markdown_(self) -> str:
        """In a notebook: the table, not every singular value."""
        return self.markdown()

    def reading(self) -> str:
        """What to do with this, in a paragraph."""
        return tables.reading(self)


def analyze(
    model_or_path: Any,
    base: Any = None,
    *,
    rank_error: float = RANK_ERROR,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    progress: bool = False,
) -> Analysis:
    """The ranks of every weight matrix of a network, or of its update against `base`.

    Args:
        model_or_path: a checkpoint (safetensors, torch's state dict, .npz; a folder of shards or of a peft adapter;
            nothing in it is run), a `torch.nn.Module`, or a mapping of names to arrays.
        base: the same of the network before fine-tuning. Names are matched across wrappers' prefixes; a matrix without
            a counterpart of its shape is left out.
        rank_error: relative Frobenius error that `needed_rank` is for, > 0 and < 1.
        include, exclude: regular expressions; only matrices whose name matches, or none of those.
        progress: show a bar on stderr, where that is a terminal.

    Raises:
        UsageError: no such checkpoint, none of its tensors a weight matrix that can be judged or has its base.

    >>> found = analyze({"body.weight": np.outer(np.arange(1.0, 21), np.ones(30)).astype(np.float32)})
    >>> [(m.name, m.rank) for m in found.matrices]
    [('body.weight', 1)]
    """
    choosing.check_rank_error(rank_error)
    with ExitStack() as stack:
        found = stack.enter_context(opened(model_or_path))
        weights, left_out = roles.survey(found)
        listed = roles.selected(weights, include, exclude)
        for w in listed:
            if w.kept in ("excluded", "not included"):
                left_out[w.label] = w.kept
        listed = [w for w in listed if w.kept not in ("excluded", "not included")]
        before, twins = None, {}
        if base is not None:
            before = stack.enter_context(opened(base, "--base"))
            if before.adapter:
                raise UsageError("--base holds a LoRA adapter; the network before fine-tuning is wanted")
            twins = levels.matched({w.name: found.entries[w.name] for w in weights}, before.entries)
            listed = [w for w in listed if not _without_base(w, found, before, twins, left_out)]
        matrices = _analyzed(found, listed, before, twins, rank_error, left_out, progress)
    if not matrices:
        shown = "; ".join(f"{name} ({why})" for name, why in [*left_out.items()][-6:])
        raise UsageError(f"no weight matrix is left: {shown}")
    return Analysis(matrices, left_out, rank_error, base is not None or all(m.kind == "adapter" for m in matrices))


def _without_base(
    w: Weight, found: Checkpoint, before: Checkpoint, twins: dict[str, str], left_out: dict[str, str]
) -> bool:
    """Whether a matrix has no counterpart that its update could be taken against; then it is said why."""
    here = found.entries[w.name]
    if w.name not in twins:
        left_out[w.label] = "--base has no such tensor"
        return True
    there = before.entries[twins[w.name]]
    if there.shape != here.shape:
        left_out[w.label] = f"--base has shape {list(there.shape)} for {w.name} of shape {list(here.shape)}"
    elif there.dtype not in EPS:
        left_out[w.label] = f"--base has it as {there.dtype}"
    return w.label in left_out


def _analyzed(
    found: Checkpoint,
    listed: Sequence[Weight],
    before: Checkpoint | None,
    twins: dict[str, str],
    rank_error: float,
    left_out: dict[str, str],
    progress: bool,
) -> tuple[Matrix, ...]:
    device = accelerator()

    def judge(w: Weight) -> Matrix | str:
        entry = found.entries[w.name]
        if entry.factors is not None and (before is None or w.kind == "adapter"):  # an adapter is the update
            spectrum = Spectrum(decomposition.of_product(*entry.factors, min(w.shape)), w.shape)
            start = None if before is None else roles.values(before.entries[twins[w.name]], w)
            size = None if start is None or isinstance(start, str) else _norm(start)
            return _judged(w, entry.dtype, spectrum, rank_error, w.kind == "adapter", size)
        matrix = roles.values(entry, w)
        if isinstance(matrix, str):
            return matrix
        if before is None:
            floor = rounding_floor(matrix, dtype=FORMATS[entry.dtype]) if EPS[entry.dtype] > EPS["F32"] else 0.0
            values = singular_values(matrix, entry.dtype, rank_error, device)
            return _judged(w, entry.dtype, Spectrum(values, w.shape, floor), rank_error)
        old = before.entries[twins[w.name]]
        start = roles.values(old, w)
        if isinstance(start, str):
            return f"--base {start}"
        dtype = max(entry.dtype, old.dtype, key=lambda each: EPS[each])
        floor = rounding_floor(matrix, start, dtype=[FORMATS[entry.dtype], FORMATS[old.dtype]])
        sizes = [_norm(matrix), _norm(start)]
        update = matrix.astype(np.float64)
        del matrix
        update -= start
        del start
        spectrum = Spectrum(singular_values(update, dtype, rank_error, device), w.shape, floor)
        return _judged(w, dtype, spectrum, rank_error, True, sizes[1], EPS[entry.dtype] / math.sqrt(12) * sizes[0])

    results: dict[str, Matrix | str] = {}
    small = [w for w in listed if math.prod(w.shape) <= SMALL and device is None]
    ids = {id(w) for w in small}
    with tqdm(total=len(listed), disable=None if progress else True, unit="matrix") as done:

        def keep(w: Weight, result: Matrix | str) -> None:
            results[w.label] = result
            done.update()

        for w in listed:  # the large ones, one after the other
            if id(w) not in ids:
                keep(w, judge(w))
        with threadpool_limits(1), ThreadPoolExecutor(min(WORKERS, _cores())) as pool:
            try:
                for w, result in zip(small, pool.map(judge, small), strict=True):
                    keep(w, result)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    left_out |= {label: result for label, result in results.items() if isinstance(result, str)}
    return tuple(result for w in listed if not isinstance(result := results[w.label], str))


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _norm(values: np.ndarray) -> float:
    """The Frobenius norm, whatever the scale."""
    largest = float(np.abs(values).max(initial=0.0))
    if not largest:
        return 0.0
    return largest * math.sqrt(sum(float(((part / largest) ** 2).sum()) for part in decomposition.blocks(values)))


def _judged(
    w: Weight,
    dtype: str,
    spectrum: Spectrum,
    rank_error: float,
    update: bool = False,
    base: float | None = None,
    noise: float = 0.0,
) -> Matrix:
    """`noise` is the Frobenius norm that rounding may have put into an update."""
    (m, n), values = w.shape, spectrum.values
    needed = int(smallest_rank(spectrum, rank_error))
    rank = int(numerical_rank(spectrum, min(EPS[dtype], EPS["F32"])))
    norm = _norm(values[None])
    tails = spectrum.tails()

    def share(r: int) -> float:
        return 1 - float(tails[min(r, len(values))] / tails[0]) if tails[0] > 0 else 1.0

    soft: dict[str, Callable[[Spectrum], Any]] = {"stable_rank": stable_rank, "entropy_rank": effective_rank}
    return Matrix(
        name=w.label,
        kind=w.kind,
        shape=w.shape,
        dtype=dtype,
        singular_values=values,
        rank=rank,
        **{name: float(function(spectrum)) for name, function in soft.items()},
        **{f"energy_rank_{p}": int(energy_rank(spectrum, p / 100)) for p in (90, 95, 99)},
        outliers=min(rank, int(outlier_rank(spectrum, "bulk"))),
        break_even_rank=break_even_rank(m, n),
        needed_rank=needed,
        saved=0 if update else m * n - needed * (m + n),
        kept="" if update else w.kept,
        change=None if base is None else norm / base if base else math.inf if norm else 0.0,
        rounding=None if base is None else min(1.0, noise / norm) if norm else 0.0,
        shares=tuple(share(r) for r in SHARES) if update else (),
    )
