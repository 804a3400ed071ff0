"""LoRA adapters in peft's format: pairs A and B of a file as the update (α/r)·B·A that they stand for."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankstudy.tools.tensors import Entry, encode, product

if TYPE_CHECKING:
    from rankstudy.tools.reading import Checkpoint

CONFIG = "adapter_config.json"
PAIR = re.compile(  # names of peft, kohya (lora_down, lora_up), diffusers (to_q_lora.down), ours (lora_a, lora_b)
    r"^(?:base_model\.model\.)?(?:(?P<layer>.*?)[._])?lora[._](?:embedding_|linear_layer[._])?"
    r"(?P<side>[ABab]|down|up)(?:\.(?!weight)[^.]+)?(?:\.weight)?$"
)
SIDES = {"down": "A", "up": "B", "a": "A", "b": "B"}


def settings(path: Path | None) -> dict[str, Any]:
    """adapter_config.json beside or in the path; empty where there is none that can be read."""
    if path is None:
        return {}
    file = (path if path.is_dir() else path.parent) / CONFIG
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def pair(found: Checkpoint, path: Path | None) -> None:
    """Make each pair of factors one tensor LAYER.weight that is their product, α/r included."""
    pairs: dict[str, dict[str, str]] = {}
    for name in found.entries:
        if match := PAIR.match(name):
            pairs.setdefault(match["layer"] or "", {})[SIDES.get(match["side"], match["side"])] = name
    whole = {layer: sides for layer, sides in pairs.items() if len(sides) == 2}
    config = settings(path) if whole else {}
    for layer, sides in pairs.items():
        if layer not in whole:
            (name,) = sides.values()
            del found.entries[name]
            found.left_out[name] = "a LoRA factor without the other one"
    for layer, sides in whole.items():
        a, b = found.entries.pop(sides["A"]), found.entries.pop(sides["B"])
        turned = bool(config.get("fan_in_fan_out")) or "lora_embedding_" in sides["A"]  # peft stores those transposed
        entry = _update(a, b, scale(config, layer, a.shape[0]) * _own_scale(found, layer, a.shape[0]), turned)
        name = f"{layer}.weight" if layer else "weight"
        found.adapter = True
        found.add(name if name not in found.entries else f"{name} (adapter)", entry)


def _own_scale(found: Checkpoint, layer: str, rank: int) -> float:
    """α/r where a file keeps α as a tensor beside the factors, or as `save_adapters` does in its metadata; else 1."""
    try:
        own = json.loads(found.metadata.get(layer, ""))
        return float(own["alpha"]) / (math.sqrt(rank) if own["scaling"] == "rslora" else max(rank, 1))
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    alpha = found.entries.get(f"{layer}.alpha")
    return float(alpha.values().reshape(-1)[0]) / max(rank, 1) if alpha is not None and alpha.size == 1 else 1.0


def scale(config: dict[str, Any], layer: str, rank: int) -> float:
    """α/r of a layer, or α/√r for rsLoRA; 1 where no configuration says."""
    if "lora_alpha" not in config:
        return 1.0
    alpha = float(_pattern(config.get("alpha_pattern"), layer, config["lora_alpha"]))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else max(rank, 1))


def _pattern(patterns: Any, layer: str, default: Any) -> Any:
    """As peft looks a layer up: the first pattern that is its name or the end of it."""
    for pattern, value in (patterns or {}).items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", layer):
                return value
        except re.error:
            continue
    return default


def _update(a: Entry, b: Entry, factor: float, transposed: bool) -> Entry | str:
    """ΔW = factor·B·A as an entry that knows its factors: (m, r) and (r, n)."""
    fit = min(len(a.shape), len(b.shape)) >= 2 and a.shape[0] == b.shape[1]
    if not fit or {a.dtype, b.dtype} - {"F64", "F32", "F16", "BF16"}:
        return f"LoRA factors of shapes {list(b.shape)} and {list(a.shape)}, dtype {a.dtype}"
    shape = (b.shape[0], *a.shape[1:])
    sides = (b.shape[0], math.prod(a.shape[1:]))
    precise = "F64" if "F64" in (a.dtype, b.dtype) else "F32"
    left = Entry(precise, b.shape[:2], lambda: encode(factor * b.values().reshape(b.shape[:2]), precise))
    right = Entry(precise, (a.shape[0], sides[1]), lambda: encode(a.values().reshape(a.shape[0], -1), precise))
    if transposed and len(shape) == 2:
        return product(_turned(right), _turned(left), precise, (shape[1], shape[0]))
    return product(left, right, precise, shape)


def _turned(entry: Entry) -> Entry:
    return Entry(entry.dtype, entry.shape[::-1], lambda: encode(entry.values().T, entry.dtype))
