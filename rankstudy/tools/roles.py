"""What each tensor is: a weight matrix, or why it is none; and which matrices stay as they are unless asked for.

Names are evidence where a file has nothing else; a module says itself what its layers are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankstudy import UsageError
from rankstudy.tools import levels, peft
from rankstudy.tools.levels import EMBEDDING, HEAD
from rankstudy.tools.reading import Checkpoint
from rankstudy.tools.tensors import BITS, EPS, INTEGERS, Entry

POSITIONS = re.compile(
    r"(^|[._])(pos(ition(al)?)?_?(emb(ed(ding)?s?)?|enc(oding)?s?)(_table)?|wpe|relative_position_bias_table"
    r"|rel_pos(_[hw])?|relative_attention_bias|rotary_emb|freqs?(_cis)?|inv_freq|(sin|cos)_cached)(\.|$)",
    re.I,
)
BUFFERS = re.compile(
    r"(^|[._])(running_(mean|var)|num_batches_tracked|buffer|window|mel_(basis|fb|filters?)|fb|dct_mat|filter_?bank"
    r"|(forward|inverse)_basis(_buffer)?)$|_buffer$",
    re.I,
)
AVERAGES = re.compile(
    r"(^|[._])(embed(ding)?s?_(avg|mean)|code(book)?_(avg|mean)|_?ema_(w|weights?|dw|embed\w*))$", re.I
)
LENGTHS = re.compile(r"(^|[._])(weight_g|original0)$")  # of the rows of a weight in weight normalisation
TRANSFORMS = re.compile(r"(^|[._])(i?stft|i?dct|i?dft|melspec\w*|spectrogram|gabor|sinc)(_?conv\w*|_?basis)?\.", re.I)
MASKS = re.compile(r"(^|[._])((attn|attention|causal|key_padding|src|tgt)?_?mask|tril|triu)$", re.I)
STACK = re.compile(r"(^|[._])(experts?|moe|mlp1_weight|mlp2_weight)([._]|$)", re.I)
NARROW = 16  # a shorter side that is less than this has next to nothing to save, and is often what a network answers by
PACKED = ("", "_packed", "qweight", "_blocks")  # what is added to the name that scales belong to
SCALES = ("_scale_inv", "_scale", "_scales", "_absmax", ".absmax", "_blocks")


@dataclass(frozen=True)
class Weight:
    """One matrix of a checkpoint."""

    name: str  # of the tensor
    # "matrix"; "convolution": (out, in·kh·kw); "adapter": a LoRA update; "factor" of one; "stack": one of several
    kind: str
    shape: tuple[int, int]  # (m, n)
    index: int | None = None  # which one of a stack
    kept: str = ""  # why `compress` leaves it as it is unless --include names it

    @property
    def label(self) -> str:
        """The name, with its place in a stack."""
        return self.name if self.index is None else f"{self.name}[{self.index}]"


def survey(found: Checkpoint, where: str = "FILE") -> tuple[list[Weight], dict[str, str]]:
    """The weight matrices of a checkpoint in its order, and name -> reason of all the rest.

    Raises:
        UsageError: there is no weight matrix.
    """
    left_out = dict(found.left_out)
    tied = levels.ties(found.entries)
    copies = _averages(found)
    ordinary = [name for name, entry in found.entries.items() if len(entry.shape) > 2 and entry.shape[1] > 1]
    weights: list[Weight] = []
    for name, entry in found.entries.items():
        why = tied.get(name) and f"tied to {tied[name]}"
        why = why or copies.get(name) or _why_not(name, entry, found)
        if why:
            left_out[name] = why
            continue
        seen = _weights(name, entry, found, first=not ordinary or not weights)
        if isinstance(seen, str):
            left_out[name] = seen
        else:
            weights += seen
    if not weights:
        shown = "; ".join(f"{name} ({why})" for name, why in list(left_out.items())[:6])
        raise UsageError(f"{where} holds no weight matrix: " + (shown or "it is empty"))
    return _kept(weights, tied, found), left_out


def _why_not(name: str, entry: Entry, found: Checkpoint) -> str | None:
    """Why a tensor is no weight matrix, judged by dtype, shape and name."""
    sides = [side for side in entry.shape if side != 1]
    told = found.layers.get(name, "")
    if entry.dtype in INTEGERS:
        stem = next((name.removesuffix(end) for end in PACKED[1:] if name.endswith(end)), name)
        scaled = entry.dtype in ("I8", "U8", "I32") and any(stem + end in found.entries for end in (*SCALES, "scales"))
        return "quantised: integers with a scale" if scaled else "booleans" if entry.dtype == "BOOL" else "integers"
    if entry.dtype not in EPS:
        return {"C64": "complex", "F8_E8M0": "scales of a block format"}.get(entry.dtype, f"dtype {entry.dtype}")
    if BITS[entry.dtype] == 8:
        for end in SCALES:
            scale = found.entries.get(name + end) or found.entries.get(name.removesuffix(".weight") + ".weight" + end)
            if scale is not None and scale.size > 1:
                return f"quantised: float8 with {scale.size} scales"
    if len(entry.shape) == 0:
        return "a number"
    if 0 in entry.shape:
        return "empty"
    if len(entry.shape) == 1 or (len(entry.shape) > 2 and len(sides) < 2):
        return "a vector"
    if why := levels.foreign(name):
        return why
    if _scales(name, found):
        return "scales of a quantised tensor"
    if LENGTHS.search(name) and math.prod(entry.shape[1:]) == 1:
        return "a vector"
    if told == "buffer":
        return "a buffer"
    if AVERAGES.search(name):
        return "a running average"
    if MASKS.search(name):
        return "a mask"
    if not told and BUFFERS.search(name):
        return "a buffer"
    if TRANSFORMS.search(name):
        return "a fixed transform"
    if POSITIONS.search(name) or (told == "Embedding" and re.search(r"posit|(^|\.)wpe\.", name)):
        return "position table"
    if re.search(r"(^|[._])bias$", name) or name.endswith("masked_bias"):
        return "a bias or a mask of several dimensions"
    return "more than five dimensions" if len(entry.shape) > 5 else None


def _scales(name: str, found: Checkpoint) -> bool:
    """Whether a tensor scales another one that is stored in integers or eight bits."""
    stems = [name.removesuffix(end) for end in (*SCALES, "scales") if name.endswith(end)]
    others = (found.entries.get(stem + end) for stem in stems for end in PACKED)
    return any(other is not None and (other.dtype in INTEGERS or BITS[other.dtype] <= 8) for other in others)


def _weights(name: str, entry: Entry, found: Checkpoint, first: bool) -> list[Weight] | str:
    """The matrices in a tensor of two to five dimensions, or why there is none."""
    shape, told = entry.shape, found.layers.get(name, "")
    sides = (shape[0], math.prod(shape[1:]))
    if peft.PAIR.match(name):
        return [Weight(name, "factor", sides, kept="a LoRA factor")]
    if len(shape) == 2:
        return [Weight(name, "adapter" if found.adapter and entry.factors else "matrix", sides)]
    if told == "grouped":
        return "a convolution in groups"
    if len(shape) == 3 and not told.startswith("Conv"):
        if STACK.search(name) or (shape[2] > 64 and shape[1] > 1) or (told and not told.startswith("Conv")):
            return [Weight(name, "stack", shape[1:], i, "one of a stack, of which no layer takes factors")
                    for i in range(shape[0])]  # fmt: skip
    if shape[1] == 1 and shape[0] > 1 and not told and not first and sides[1] <= 128:
        return "a depthwise convolution"
    if found.adapter and entry.factors:
        return [Weight(name, "adapter", sides)]
    return [Weight(name, "convolution", sides)]


def _averages(found: Checkpoint) -> dict[str, str]:
    """Tensors that are running averages of others: the same name and shape but for a part that says so."""
    plain = {}
    for name, entry in found.entries.items():
        if not levels.EMA.search(name):
            plain.setdefault((levels.canonical(name), entry.shape), name)
    copies = {}
    for name, entry in found.entries.items():
        if levels.EMA.search(name):
            rest = levels.EMA.sub("", name, count=1).lstrip("._")
            for each in (rest, levels.EMA.sub("", name, count=1)):
                twin = plain.get((levels.canonical(each), entry.shape))
                if twin:
                    copies[name] = f"EMA copy of {twin}"
    return copies


def _kept(weights: list[Weight], tied: dict[str, str], found: Checkpoint) -> list[Weight]:
    """The weights with the reason why some stay as they are by default."""
    tops = {found_name for found_name in tied.values()}
    ends = {name for name in (*tied, *tops) if HEAD.search(name)}
    shared = {tied.get(name, name) for name in ends}
    single = [w for w in weights if w.kind == "matrix"]
    last = (
        max(single, key=lambda w: levels.in_order(levels.canonical(w.name)), default=None)
        if _numbered(single)
        else None
    )

    def reason(w: Weight) -> str:
        if w.kept:
            return w.kept
        if found.layers.get(w.name) == "Embedding" or EMBEDDING.search(w.name) or w.name in shared:
            return "an embedding"
        if HEAD.search(w.name):
            return "a head"
        if min(w.shape) < NARROW:
            return f"narrow: a side of {min(w.shape)}"
        if w is last and len(single) > 2 and w.shape[0] * 2 <= w.shape[1]:
            return "the last layer"
        return ""

    return [replace(w, kept=reason(w)) for w in weights]


def _numbered(weights: list[Weight]) -> bool:
    """Whether the matrices are numbered layers of one sequence, so that one of them is surely the last."""
    shapes = {re.sub(r"\d+", "#", levels.canonical(w.name)) for w in weights}
    return len(shapes) == 1 and any(re.search(r"\d", w.name) for w in weights)


def selected(
    weights: Sequence[Weight], include: str | Sequence[str] | None, exclude: str | Sequence[str] | None
) -> list[Weight]:
    """The weights with `kept` as --include and --exclude want it.

    Raises:
        UsageError: no regular expression, or one of `include` that matches nothing.
    """
    wanted, unwanted = _patterns(include, "--include"), _patterns(exclude, "--exclude")
    for pattern in wanted:
        if not any(pattern.search(w.name) for w in weights):
            raise UsageError(f"--include {pattern.pattern!r} matches none of {len(weights)} matrices")

    def decided(w: Weight) -> Weight:
        if any(pattern.search(w.name) for pattern in unwanted):
            return replace(w, kept="excluded")
        if wanted and w.kind not in ("stack", "factor"):
            return replace(w, kept="" if any(pattern.search(w.name) for pattern in wanted) else "not included")
        return w

    return [decided(w) for w in weights]


def _patterns(given: str | Sequence[str] | None, name: str) -> list[re.Pattern[str]]:
    found = []
    for text in [given] if isinstance(given, str) else given or []:
        try:
            found.append(re.compile(text))
        except re.error as error:
            raise UsageError(f"{name} {text!r} is no regular expression: {error}") from error
    return found


def values(entry: Entry, weight: Weight) -> np.ndarray | str:
    """The matrix (m, n), or why it cannot be judged: NaN, infinity, numbers near the end of their range."""
    array = entry.values()
    array = (array if weight.index is None else array[weight.index]).reshape(weight.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.sum(array, dtype=np.float64))  # NaN and infinity reach the sum: no array of flags is needed
    if not np.isfinite(total) and not np.isfinite(array).all():
        return "holds NaN" if np.isnan(array).any() else "holds infinity"
    largest = float(np.abs(array).max())
    if largest > 1e300 / math.sqrt(array.size):
        return f"holds numbers of 1e{math.log10(largest):.0f}: its singular values leave float64"
    return array
