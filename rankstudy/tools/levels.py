"""Names: which level of a nested file is the model, which prefixes mean nothing, and which tensors belong together."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from rankstudy.tools.tensors import Entry

# what people call the level of a file that is the network, the likelier first
MODEL = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params")
EMA = re.compile(r"(^|[._])(ema|averaged|shadow|polyak|swa)(?=[._]|$)", re.I)
OPTIMISER = re.compile(
    r"(^|\.)(optimi[sz]ers?(_states?|_state_dicts?)?|optim|opt(_state)?|lr_schedulers?|scheduler|scaler)(\.|$)"
    r"|(^|\.)(exp_avg(_sq)?|max_exp_avg_sq|momentum_buffer|square_avg|grad_avg|acc_delta|adam_[mv])$",
    re.I,
)
PREFIX = re.compile(r"^(module|_orig_mod|_fsdp_wrapped_module|_forward_module|model|base_model|network|net)\.")

EMBEDDING = re.compile(
    r"(^|[._])(embed(ding)?s?(_tokens)?|(word|tok(en)?)(_type)?_?emb(ed(ding)?s?)?|wte|shared|lookup|codebook)\.weight$",
    re.I,
)
HEAD = re.compile(
    r"(^|\.)(lm_head|heads?|classifier|cls|score|logits?|output_projection|out_proj_head|prediction_head|output|fc_out"
    r"|qa_outputs)(\.\d+)?\.weight$",
    re.I,
)


def foreign(name: str) -> str | None:
    """Why a tensor of this name is no part of a network, judged by its name."""
    if OPTIMISER.search(name):
        return "optimiser state"
    return None


def flat(source: Mapping[Any, Any], left_out: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Name and value of everything in the model's level; what lies beside it goes to `left_out`.

    {"state_dict": {…}, "optimizer": {…}, "epoch": 3} has a level that is the model; {"encoder": {…}, "decoder": {…}}
    has none, so all of it is, as encoder.… and decoder.…; optimiser state never is.
    """
    level = _level(source)
    if level is None:
        yield from _walk(source, "", left_out)
        return
    yield from flat(source[level], left_out)
    beside: list[tuple[str, Any]] = []
    for key, value in source.items():
        if key != level:
            beside += _walk({key: value}, "", left_out)
    for name, value in beside:
        if not _is_array(value):
            left_out.setdefault(name, "no tensor")
        elif EMA.search(name):
            left_out[name] = "EMA copy"
        else:
            left_out[name] = foreign(name) or f"beside the model, which is in {level!r}"


def _level(source: Mapping[Any, Any]) -> Any:
    """The key of the model's level; None where this level is the model."""
    inner = [key for key, value in source.items() if isinstance(value, Mapping) and _tensors(value)]
    if any(_is_array(value) and not _is_number(value) for value in source.values()):
        return None
    for wanted in MODEL:
        for key in inner:
            if key == wanted:
                return key
    likely = [key for key in inner if not OPTIMISER.search(str(key)) and not EMA.search(str(key))]
    if len(likely) == 1 and not any(_named_like_layers(source[key]) for key in likely):
        return None
    if not likely and inner:  # an EMA copy alone is the model
        averages = [key for key in inner if EMA.search(str(key))]
        return averages[0] if averages else None
    return likely[0] if len(likely) == 1 else None


def _named_like_layers(level: Mapping[Any, Any]) -> bool:
    """Whether a level's names are those of a whole network: a.weight, not weight."""
    return any(isinstance(key, str) and "." in key for key in level)


def _tensors(level: Mapping[Any, Any]) -> bool:
    return any(_is_array(value) or (isinstance(value, Mapping) and _tensors(value)) for value in level.values())


def _is_array(value: Any) -> bool:
    """Judged by its class: a parameter that is not initialised yet must not be asked for its shape."""
    return hasattr(type(value), "shape")


def _is_number(array: Any) -> bool:
    try:
        return len(array.shape) == 0
    except RuntimeError:  # not initialised yet
        return False


def _walk(value: Any, name: str, left_out: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings and of sequences that hold tensors, names joined by dots."""
    stack: list[tuple[str, Any]] = [(name, value)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, Mapping) and not name.endswith("_extra_state"):  # whatever that is
            items = list(value.items())
        elif isinstance(value, (list, tuple)) and any(_is_array(each) for each in value):
            items = list(enumerate(value))
        elif _is_array(value) and (why := foreign(name)):
            left_out[name] = why
            continue
        else:
            yield name, value
            continue
        stack += [(f"{name}.{key}" if name else str(key), each) for key, each in reversed(items)]


def layers(module: Any) -> dict[str, str]:
    """Tensor -> class of the layer it belongs to, "buffer", or "grouped" for a convolution in groups."""
    found: dict[str, str] = {}
    for place, layer in module.named_modules(remove_duplicate=False):
        kind = "grouped" if getattr(layer, "groups", 1) not in (1, None) else type(layer).__name__
        prefix = f"{place}." if place else ""
        found |= {prefix + leaf: kind for leaf in getattr(layer, "_parameters", {})}
        found |= {prefix + leaf: "buffer" for leaf in getattr(layer, "_buffers", {})}
    return found


def canonical(name: str) -> str:
    """The name without what wrappers put before it: DataParallel, torch.compile, FSDP, a trainer's own attribute."""
    while (shorter := PREFIX.sub("", name)) != name:
        name = shorter
    return name


def in_order(name: str) -> list[tuple[int, int | str]]:
    """A sort key under which layer 10 comes after layer 2."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)|\.", name) if part]


def matched(names: Mapping[str, Entry], others: Mapping[str, Entry]) -> dict[str, str]:
    """name -> its counterpart in `others`: the same name, the same but for wrappers' prefixes, or the same but for
    the pair of prefixes that most names share. Never two to one; shapes are not looked at.
    """
    found = {name: name for name in names if name in others}
    short: dict[str, list[str]] = defaultdict(list)
    for other in others:
        short[canonical(other)].append(other)
    taken = set(found.values())
    for name in names:
        candidates = [each for each in short.get(canonical(name), []) if each not in taken]
        if name not in found and len(candidates) == 1:
            found[name] = candidates[0]
            taken.add(candidates[0])
    rest = [name for name in names if name not in found]
    free = [other for other in others if other not in taken]
    by_end: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for other in free:
        by_end[tuple(other.split(".")[-2:])].append(other)
    pairs: Counter[tuple[str, str]] = Counter()
    for name in rest:
        for other in by_end.get(tuple(name.split(".")[-2:]), []):
            if names[name].shape == others[other].shape:
                pairs[_heads(name, other)] += 1
    while pairs:
        (before, after), count = pairs.most_common(1)[0]
        if count < max(2, len(rest) // 4):
            break
        del pairs[before, after]
        for name in [each for each in rest if each.startswith(before) and each not in found]:
            other = after + name[len(before) :]
            if other in others and other not in taken:
                found[name] = other
                taken.add(other)
    return found


def _heads(name: str, other: str) -> tuple[str, str]:
    """The two names without their longest common end, at a dot."""
    a, b = name.split("."), other.split(".")
    common = 0
    while common < min(len(a), len(b)) and a[-1 - common] == b[-1 - common]:
        common += 1
    return name[: len(name) - len(".".join(a[len(a) - common :]))], other[
        : len(other) - len(".".join(b[len(b) - common :]))
    ]


def ties(entries: Mapping[str, Entry]) -> dict[str, str]:
    """name -> the first name that shares its memory."""
    first: dict[Any, str] = {}
    found = {}
    for name, entry in entries.items():
        if entry.storage is not None and entry.size:
            holder = first.setdefault((entry.storage, entry.dtype, entry.shape), name)
            if holder != name:
                found[name] = holder
    return found


def join_copies(entries: dict[str, Entry]) -> None:
    """Give an embedding and an output layer of equal bytes one memory: they are tied, if saved without sharing."""
    groups: dict[Any, list[str]] = defaultdict(list)
    for name, entry in entries.items():
        if len(entry.shape) == 2 and (EMBEDDING.search(name) or HEAD.search(name)):
            groups[entry.dtype, entry.shape].append(name)
    for names in groups.values():
        first = next((name for name in names if EMBEDDING.search(name)), None)
        for name in names:
            if first in (None, name) or entries[name].storage == entries[first].storage is not None:
                continue
            if entries[name].factors is None and entries[name].read() == entries[first].read():
                place = entries[first].storage or ("equal", first)
                entries[first] = entries[first]._replace(storage=place)
                entries[name] = entries[name]._replace(storage=place)
