"""Compression of anyone's checkpoint: factors where they pay, everything else byte for byte as it was.

A factorised tensor NAME is stored as NAME.rankstudy_b (m, r) and NAME.rankstudy_c (r, n) in its own dtype. Matrices are
read one at a time and decomposed once; a budget needs all spectra before it can be allotted, so the vectors wait in a
temporary file.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankstudy import UsageError
from rankstudy.spectrum import Spectrum
from rankstudy.tools import choosing, decomposition, levels, roles, writing
from rankstudy.tools.choosing import Amount
from rankstudy.tools.decomposition import Decomposed
from rankstudy.tools.outcome import Choice, Compression
from rankstudy.tools.reading import Checkpoint, opened
from rankstudy.tools.roles import Weight
from rankstudy.tools.tensors import BITS, Entry, encode

MIN_SAVING = 0.05  # of a matrix's parameters: less is not worth what it may do to the network
MORE = 8  # ranks that rounding to a low precision may ask for beyond that of the exact factors


def compress(
    source: Any,
    out: str | Path | None = None,
    *,
    rank: int | None = None,
    rank_error: float | None = None,
    energy: float | None = None,
    keep: float | None = None,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    min_saving: float = MIN_SAVING,
    dense: bool = False,
    evaluate: Callable[[Any], float] | None = None,
    loss: float = 0.01,
    calibration: Iterable[Any] | None = None,
    progress: bool = False,
) -> Compression:
    """Write a checkpoint with B·C in the place of matrices, as small as is asked, and everything else as it was.

    Say how much in one way: `rank`, `rank_error`, `energy` or `keep`; `keep=0.5`, the default, allots half of the
    parameters of the chosen matrices so that the errors of all of them together are least. Or let `evaluate` decide:
    each matrix is truncated alone, further and further, those that matter to the metric are kept, and the whole is
    within `loss`. Error in weights does not predict error in behaviour; only that does.

    Args:
        source: as `analyze`. With `evaluate` or `calibration` a module, whose matrices and inputs are known.
        out: safetensors file; of a source in shards a folder, unless it is named *.safetensors. None: only `.model`.
        rank, rank_error, energy, keep: one rank; relative Frobenius error of each matrix, at most; share of ‖W‖² of
            each, at least; share of parameters of all chosen matrices together, at most.
        include, exclude: regular expressions of names. By default embeddings, heads and narrow layers stay as they are;
            include="." takes them too.
        min_saving: share of a matrix's parameters that its factors must save, ≥ 0 and < 1.
        dense: write the products in the original shapes, to be evaluated elsewhere; nothing is saved.
        evaluate: module -> a number, higher is better; called some ten times a matrix.
        loss: how far the metric may fall, in its own unit, > 0.
        calibration: inputs of the module, a batch each. Half of them choose factors that keep the outputs of a layer
            rather than its weights; they are taken where the other half's outputs suffer less from them. A budget is
            allotted by the spectra of the outputs then.
        progress: show a bar on stderr, where that is a terminal.

    Raises:
        UsageError: as `analyze`; two ways to say how much; `out` cannot be written, or is the source.

    >>> import tempfile
    >>> w = np.outer(np.arange(1.0, 65), np.ones(64)).astype(np.float32)  # of rank 1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = compress({"body.weight": w}, f"{folder}/small.safetensors", rank_error=0.01)
    >>> done.ranks
    {'body.weight': 1}
    """
    amount = Amount(rank, rank_error, energy, keep)
    if isinstance(min_saving, bool) or not 0 <= min_saving < 1:
        raise UsageError(f"--min-saving is {min_saving!r}; allowed is a share of at least 0 and below 1")
    module = source if hasattr(source, "state_dict") else None
    if out is None and module is None:
        raise UsageError("OUT is missing: name a file to write")
    if (evaluate or calibration) and module is None:
        raise UsageError("evaluate and calibration need a torch.nn.Module, not a file")
    with opened(source, pairs=False) as found, tempfile.TemporaryDirectory() as scratch:
        weights, left_out = roles.survey(found)
        if all(w.kind == "factor" for w in weights):
            raise UsageError("FILE is a LoRA adapter: it is low-rank already; analyze shows what rank it needs")
        target = Path(scratch) / "model.safetensors" if out is None else Path(out)
        writing.check(target, source, found)
        weights = roles.selected(weights, include, exclude)
        work = _Work(found, weights, min_saving, target.parent)
        scores = None
        if calibration is not None:
            from rankstudy.tools.calibration import observed

            work.inputs = observed(module, calibration, [w.name for w in work.candidates])
        if evaluate is not None:
            if amount != Amount():
                raise UsageError("evaluate chooses the ranks itself; leave out rank, rank_error, energy and keep")
            from rankstudy.tools.sensitivity import within

            before = within(module, work, evaluate, loss)
        else:
            work.choose(amount, progress)
        try:
            choices = _write(work, target, dense, progress)
        except OSError as error:
            raise UsageError(f"OUT {target} cannot be written: {error.strerror}") from error
        model = None
        if module is not None and not dense and (out is None or evaluate is not None):
            from rankstudy.tools.loading import load_compressed

            model = load_compressed(module, target)
            if evaluate is not None:
                scores = before, float(evaluate(model))
        return Compression(
            tuple(choices), {**left_out, **work.unfit}, tuple(found.left_out), *_sizes(found, choices),
            (found.bytes, 0 if out is None else writing.size(target)),
            f"metric within {loss:g}" if evaluate else str(amount), "" if out is None else str(out), dense, scores,
            model,
        )  # fmt: skip


class _Work:
    """The matrices that may be truncated, what is known of them, and what is to become of each."""

    def __init__(self, found: Checkpoint, weights: Sequence[Weight], min_saving: float, folder: Path) -> None:
        self.found, self.weights, self.min_saving = found, weights, min_saving
        self.unfit: dict[str, str] = {}  # NaN and the like
        self.candidates = [w for w in weights if not w.kept and self._may(w)]
        self.ranks: dict[str, int | None] = {}
        self.tolerance: float | None = None
        self.drops: dict[str, float] = {}
        self.stays: dict[str, str] = {}  # why, where the metric decides
        self.inputs: Mapping[str, Any] = {}
        self.scratch = writing.Scratch(folder)
        self.done: dict[str, tuple[np.ndarray, np.ndarray, float, str]] = {}

    def _may(self, w: Weight) -> bool:
        return BITS[self.found.entries[w.name].dtype] > 8 and choosing.highest_rank(w.shape, self.min_saving) > 0

    def entry(self, w: Weight) -> Entry:
        """Its tensor."""
        return self.found.entries[w.name]

    def matrix(self, w: Weight) -> np.ndarray | None:
        """Its numbers; None where they are no numbers, which is noted."""
        values = roles.values(self.entry(w), w)
        if isinstance(values, str):
            self.unfit[w.name] = values
            return None
        return values

    def decomposed(self, w: Weight) -> Decomposed | None:
        """Spectrum and vectors, found once: the vectors that any choice could need wait in a file."""
        matrix = self.matrix(w)
        if matrix is None:
            return None
        found = Decomposed(matrix, self.entry(w).dtype, self.tolerance or 1.0)
        found.save(self.scratch, w.name, choosing.highest_rank(w.shape, self.min_saving))
        return found

    def choose(self, amount: Amount, progress: bool) -> None:
        """A rank for each matrix, None where it stays."""
        from tqdm import tqdm

        self.tolerance = amount.tolerance
        allotted = amount.rank is None and amount.tolerance is None  # then by the outputs, where those are known
        spectra: dict[str, Spectrum] = {}
        for w in tqdm(self.candidates, disable=None if progress else True, unit="matrix"):
            found = self.decomposed(w)
            if found is not None and found.values[0] > 0:
                seen = self.inputs[w.name].spectrum(found.matrix) if allotted and w.name in self.inputs else None
                spectra[w.name] = seen or Spectrum(found.values, w.shape)
        self.ranks = dict(
            zip(spectra, choosing.chosen_ranks(list(spectra.values()), amount, self.min_saving), strict=True)
        )

    def factors(self, w: Weight) -> tuple[np.ndarray, np.ndarray, float, str] | None:
        """(m, r), (r, n), float64 as they are stored, measured error and method; None where the matrix stays."""
        rank, dtype = self.ranks.get(w.name), self.entry(w).dtype
        if rank is None:
            return None
        matrix = self.matrix(w)
        limit = choosing.highest_rank(w.shape, self.min_saving)
        top = min(rank + (MORE if self.tolerance else 0), limit)
        b, c = decomposition.saved(matrix, self.scratch, w.name, top)
        inputs = self.inputs.get(w.name)
        if inputs is not None and (better := inputs.better(matrix, rank, dtype, (b[:, :rank], c[:rank]))) is not None:
            return *better, decomposition.error(matrix, *better), "weighted"
        for r in range(rank, top + 1):  # rounding to the stored dtype may ask for a little more
            part = decomposition.stored((b[:, :r], c[:r]), dtype)
            error = decomposition.error(matrix, *part)
            if not math.isfinite(error):
                return None
            if self.tolerance is None or error <= self.tolerance:
                return *part, error, "svd"
        return None


def _write(work: _Work, target: Path, dense: bool, progress: bool) -> list[Choice]:
    """Everything in the order of the source."""
    found = work.found
    by_name = {w.name: w for w in work.candidates}
    tied = levels.ties(found.entries)
    choices: dict[str, Choice] = {}
    with writing.output(target, found) as out:
        for name, entry in found.entries.items():
            file, w = out.file(name), by_name.get(tied.get(name, name))
            if name in tied and not dense:
                file.tied[name] = tied[name]
                continue
            factors = work.factors(w) if w is not None else None
            if factors is None or (entry.factors is not None and entry.factors[0].shape[1] <= factors[0].shape[1]):
                _as_it_was(file, name, entry, dense)
                continue
            b, c, error, method = factors
            if dense:
                file.add(name, entry.dtype, entry.shape, encode((b @ c).reshape(entry.shape), entry.dtype))
            else:
                coded = encode(b, entry.dtype), encode(c, entry.dtype)
                file.add_factors(name, entry.dtype, entry.shape, *coded, b.shape[1])
            if name == w.name:
                choices[name] = Choice(name, w.shape, b.shape[1], error, "", method, work.drops.get(name))
        out.finish(found.metadata, None if dense else {"amount": "ranks chosen by rankstudy"})
    listed = [w for w in work.weights if w.name not in work.unfit]
    return [choices.get(w.name) or _staying(work, w) for w in listed]


def _staying(work: _Work, w: Weight) -> Choice:
    return Choice(w.label, w.shape, _old_rank(work, w), 0.0, _why(work, w), "", work.drops.get(w.name))


def _as_it_was(file: writing.File, name: str, entry: Entry, dense: bool) -> None:
    if entry.factors is None or dense:
        file.add(name, entry.dtype, entry.shape, entry.read())
    else:
        b, c = entry.factors
        file.add_factors(name, entry.dtype, entry.shape, b.read(), c.read(), b.shape[1])


def _old_rank(work: _Work, w: Weight) -> int | None:
    """Of a matrix that came as factors and stays so."""
    factors = work.entry(w).factors
    return factors[0].shape[1] if factors is not None else None


def _why(work: _Work, w: Weight) -> str:
    if _old_rank(work, w) is not None:
        return "factors already"
    if w.kept:
        return w.kept
    if w.name in work.stays:
        return work.stays[w.name]
    if BITS[work.entry(w).dtype] <= 8:
        return "float8: factors in this precision would lose more than they save"
    return "would save too little" if w.name in work.ranks or w not in work.candidates else "zero"


def _sizes(found: Checkpoint, choices: Sequence[Choice]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Parameters and bytes, before and after."""
    tied = levels.ties(found.entries)
    ranks = {choice.name: choice for choice in choices if choice.rank is not None}
    parameters, memory = [0, 0], [0, 0]
    for name, entry in found.entries.items():
        if name in tied:
            continue
        stored = sum(f.size for f in entry.factors) if entry.factors is not None else entry.size
        after = ranks[name].rank * sum(ranks[name].shape) if name in ranks else stored
        parameters[0] += stored
        parameters[1] += after
        memory[0] += entry.nbytes
        memory[1] += entry.nbytes if after == stored else after * BITS[entry.dtype] // 8
    return tuple(parameters), tuple(memory)
