"""The update between two checkpoints as a LoRA adapter in peft's format."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankstudy import UsageError
from rankstudy.factorization import allocate, smallest_rank
from rankstudy.files import fresh
from rankstudy.spectrum import Spectrum
from rankstudy.tools import decomposition, levels, roles, tables, writing
from rankstudy.tools.choosing import Amount
from rankstudy.tools.decomposition import Decomposed
from rankstudy.tools.peft import CONFIG
from rankstudy.tools.reading import Checkpoint, opened
from rankstudy.tools.roles import Weight
from rankstudy.tools.tensors import EPS, encode

RANK = 16  # where nothing is asked


@dataclass(frozen=True)
class Part:
    """The update of one layer."""

    name: str
    shape: tuple[int, int]
    rank: int  # 0: it has no part in the adapter
    error: float  # ‖ΔW − BA‖/‖ΔW‖, measured after rounding
    change: float  # ‖ΔW‖/‖W₀‖


@dataclass(frozen=True)
class Extraction:
    """What `extract_adapter` did."""

    parts: tuple[Part, ...]
    not_in_it: dict[str, str]  # name -> what changed and the adapter has no place for, or why it is no matrix
    parameters: int  # of the adapter
    amount: str

    def table(self) -> str:
        """What the command prints."""
        rows = [[tables.plain(p.name), "×".join(map(str, p.shape)), f"{p.change:.2g}", str(p.rank or "unchanged"),
                 f"{p.error:.4f}" if p.rank else ""] for p in self.parts]  # fmt: skip
        heads = ["matrix", "m × n", "‖ΔW‖/‖W₀‖", "rank", "error ‖ΔW − BA‖/‖ΔW‖"]
        changed = {name: why for name, why in self.not_in_it.items() if why.startswith("changed")}
        count = sum(p.rank > 0 for p in self.parts)
        said = f"{count} of {len(self.parts)} matrices have an adapter ({self.amount}), {self.parameters:,} parameters"
        if changed:
            said += f"; {len(changed)} other tensors changed too, and base + adapter does not have that"
        return "\n".join([tables.aligned(heads, rows), *tables.left_out_lines(self.not_in_it), said])

    def json(self) -> str:
        """All of it as one object."""
        content = {"parts": [vars(p) for p in self.parts], "parameters": self.parameters, "amount": self.amount,
                   "left_out": [{"name": name, "why": why} for name, why in self.not_in_it.items()]}  # fmt: skip
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def extract_adapter(
    base: Any,
    tuned: Any,
    out: str | Path,
    *,
    rank: int | None = None,
    rank_error: float | None = None,
    energy: float | None = None,
    budget: int | None = None,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    fan_in_fan_out: bool = False,
) -> Extraction:
    """Write the update tuned − base as a LoRA adapter that `peft.PeftModel.from_pretrained(base_model, out)` loads.

    Every layer has α = r, so that ΔW = B·A, and its own rank, in `rank_pattern` and `alpha_pattern`.

    Args:
        base, tuned: as `analyze`; names are matched across wrappers' prefixes, the adapter has those of `base`.
        out: folder to write: adapter_config.json and adapter_model.safetensors.
        rank, rank_error, energy, budget: one rank for all (16 if nothing is given); relative error of each update, at
            most; share of ‖ΔW‖² of each, at least; parameters of the adapter, at most, allotted so that the errors of
            all updates together are least.
        include, exclude: regular expressions of names. Embeddings stay out unless they are included: in a file they
            cannot be told from linear layers, for which peft has other names.
        fan_in_fan_out: the weights are (in, out), as in GPT-2.

    Raises:
        UsageError: as `analyze`; nothing changed; `out` cannot be written.

    >>> import tempfile
    >>> base = {"body.weight": np.eye(64, dtype=np.float32)}
    >>> tuned = {"body.weight": np.eye(64, dtype=np.float32) + np.float32(0.5)}  # an update of rank 1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = extract_adapter(base, tuned, f"{folder}/adapter", rank_error=0.01)
    >>> [m.rank for m in found.parts]
    [1]
    """
    if budget is not None and (rank, rank_error, energy) != (None, None, None):
        raise UsageError("--budget and another amount say the same thing twice; give one")
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
        raise UsageError(f"--budget is {budget!r}; allowed is a whole number of parameters")
    amount = Amount(rank, rank_error, energy)
    if amount == Amount():
        amount = Amount(rank=RANK)
    out = Path(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"OUT {out} is {'a file' if out.is_file() else 'a folder that is not empty'}")
    if not out.parent.is_dir():
        raise UsageError(f"OUT {out}: there is no folder {out.parent}")
    with ExitStack() as stack:
        before = stack.enter_context(opened(base, "BASE"))
        after = stack.enter_context(opened(tuned, "TUNED"))
        for name, each in (("BASE", before), ("TUNED", after)):
            if each.adapter:
                raise UsageError(f"{name} holds a LoRA adapter already; the network with it merged into is wanted")
        weights, left_out = roles.survey(before, "BASE")
        twins = levels.matched({w.name: before.entries[w.name] for w in weights}, after.entries)
        chosen = [
            w for w in roles.selected(weights, include, exclude) if _takes_part(w, before, after, twins, left_out)
        ]
        spectra, changes = _spectra(chosen, before, after, twins, left_out)
        ranks = _ranks(list(spectra.values()), amount, budget)
        chosen_ranks = dict(zip(spectra, ranks, strict=True))
        left_out |= _changed_beside(before, after, set(spectra), left_out)
        try:
            with fresh(out) as folder:
                moved = [w for w in chosen if w.name in spectra]
                parts = _write(folder, moved, before, after, twins, chosen_ranks, changes, fan_in_fan_out)
        except OSError as error:
            raise UsageError(f"OUT {out} cannot be written: {error.strerror}") from error
    size = sum(p.rank * sum(p.shape) for p in parts)
    return Extraction(tuple(parts), left_out, size, f"--budget {budget}" if budget is not None else str(amount))


def _takes_part(
    w: Weight, before: Checkpoint, after: Checkpoint, twins: dict[str, str], left_out: dict[str, str]
) -> bool:
    """Whether an adapter can hold the update of this matrix; else it is said why."""
    entry, twin = before.entries[w.name], after.entries.get(twins.get(w.name, ""))
    why = None
    if w.kept in ("excluded", "not included", "an embedding") or w.kind == "stack":
        why = w.kept
    elif not w.name.endswith(".weight"):
        why = "no weight of a layer that peft could name"
    elif twin is None or twin.shape != entry.shape or twin.dtype not in EPS:
        why = "no counterpart in TUNED" if twin is None else f"{list(twin.shape)} {twin.dtype} in TUNED"
    elif w.kind == "convolution" and len(entry.shape) != 4:
        why = "a convolution of other than two dimensions"
    if why:
        left_out[w.label] = why
    return why is None


def _update(w: Weight, before: Checkpoint, after: Checkpoint, twins: dict[str, str]) -> tuple[np.ndarray, float] | str:
    """W − W₀ (m, n) in float64, and ‖W₀‖; or why there is none."""
    start, end = roles.values(before.entries[w.name], w), roles.values(after.entries[twins[w.name]], w)
    if isinstance(start, str) or isinstance(end, str):
        return start if isinstance(start, str) else end
    start = start.astype(np.float64)
    return end - start, float(np.linalg.norm(start))


def _spectra(
    chosen: Sequence[Weight], before: Checkpoint, after: Checkpoint, twins: dict[str, str], left_out: dict[str, str]
) -> tuple[dict[str, Spectrum], dict[str, float]]:
    spectra, changes = {}, {}
    for w in chosen:
        found = _update(w, before, after, twins)
        if isinstance(found, str):
            left_out[w.label] = found
            continue
        update, size = found
        spectra[w.name] = Spectrum(Decomposed(update, "F32", vectors=False).values, w.shape)
        changes[w.name] = float(np.linalg.norm(update)) / size if size else math.inf
    if not spectra or not any(each.values.any() for each in spectra.values()):
        raise UsageError(f"nothing changed: {len(spectra)} matrices are in BASE and TUNED, and equal")
    return spectra, changes


def _ranks(spectra: Sequence[Spectrum], amount: Amount, budget: int | None) -> list[int]:
    """A rank for each update; 0 for one that is zero."""
    full = [int((each.values > 0).sum()) for each in spectra]
    if budget is None and amount.rank is not None:
        return [min(amount.rank, most) for most in full]
    if budget is None:
        return [min(int(smallest_rank(each, amount.tolerance)), most) for each, most in zip(spectra, full, strict=True)]
    moved = [each for each, most in zip(spectra, full, strict=True) if most]
    if budget < sum(sum(each.shape) for each in moved):
        raise UsageError(f"--budget {budget} is less than rank 1 for each needs: {sum(sum(s.shape) for s in moved)}")
    found = iter(allocate(moved, budget))
    return [next(found) if most else 0 for most in full]


def _write(
    folder: Path,
    chosen: Sequence[Weight],
    before: Checkpoint,
    after: Checkpoint,
    twins: dict[str, str],
    ranks: dict[str, int],
    changes: dict[str, float],
    turned: bool,
) -> list[Part]:
    parts = []
    with writing.File(folder / "adapter_model.safetensors") as file:
        for w in chosen:
            rank, entry = ranks[w.name], before.entries[w.name]
            if not rank:
                parts.append(Part(w.name, w.shape, 0, 0.0, 0.0))
                continue
            update = _update(w, before, after, twins)[0]
            factors = decomposition.stored(Decomposed(update, "F32", 1e-4).factors(rank), "F32")
            b, c = factors[0], factors[1]
            parts.append(Part(w.name, w.shape, rank, decomposition.error(update, b, c), changes[w.name]))
            if turned and len(entry.shape) == 2:
                b, c = c.T, b.T
            a_shape = (rank, *entry.shape[1:]) if len(entry.shape) > 2 else c.shape
            b_shape = (len(b), rank, *[1] * (len(entry.shape) - 2))
            layer = f"base_model.model.{w.name.removesuffix('.weight')}"
            file.add(f"{layer}.lora_A.weight", "F32", a_shape, encode(c, "F32"))
            file.add(f"{layer}.lora_B.weight", "F32", b_shape, encode(b, "F32"))
        file.finish({}, None)
    named = {p.name.removesuffix(".weight"): p.rank for p in parts if p.rank}
    (folder / CONFIG).write_text(json.dumps(_config(named, turned), indent=1), encoding="utf-8")
    return parts


def _config(ranks: dict[str, int], turned: bool) -> dict[str, Any]:
    """What peft needs to build the same layers: names as one regular expression, so that none means another one too."""
    import re

    common = max(set(ranks.values()), key=list(ranks.values()).count)
    pattern = {f"^{re.escape(name)}": rank for name, rank in ranks.items() if rank != common}
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "bias": "none",
        "fan_in_fan_out": turned,
        "lora_dropout": 0.0,
        "r": common,
        "lora_alpha": common,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "target_modules": "(" + "|".join(re.escape(name) for name in ranks) + ")",
    }


def _changed_beside(
    before: Checkpoint, after: Checkpoint, matrices: set[str], left_out: dict[str, str]
) -> dict[str, str]:
    """Tensors that changed and are not in the adapter: biases, norms, embeddings."""
    found = {}
    for name, other in levels.matched(before.entries, after.entries).items():
        here, there = before.entries[name], after.entries[other]
        if (
            name not in matrices
            and here.shape == there.shape
            and here.dtype == there.dtype
            and here.read() != there.read()
        ):
            found[name] = f"changed, and not in the adapter: {left_out.get(name, 'no matrix')}"
    return found
