"""Where LoRA adapters can be in a model: beside a layer that is called, or inside a weight that is read."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.utils import parametrize

from rankstudy.layers import LowRankLinear
from rankstudy.replace import join
from rankstudy.targets import has_matrix, own_forward, refusal

PROJECTIONS = ("q_proj", "k_proj", "v_proj")  # the parts of an `nn.MultiheadAttention` beside its out_proj


@dataclass(frozen=True)
class Place:
    """Where an adapter goes: beside the module `module`, or inside its tensor `tensor`, there in `rows` alone."""

    module: str
    tensor: str = "weight"
    inside: bool = False
    part: str = ""
    rows: slice | None = None


def adaptable(model: nn.Module) -> tuple[dict[str, Place], dict[str, tuple[str, ...]], dict[str, str]]:
    """Where adapters can be: the place of each; the names that each layer stands for; and why others have none."""
    places: dict[str, Place] = {}
    layers: dict[str, tuple[str, ...]] = {}
    others: dict[str, str] = {}
    paths = {id(module): path for path, module in model.named_modules()}
    attentions = [module for module in model.modules() if _is_attention(module)]
    read = {id(module.out_proj) for module in attentions}  # not called
    for path, module in model.named_modules():
        if id(module) in read:
            continue
        own: dict[str, Place] = {}
        reason = None
        if _is_attention(module):
            own = {join(path, part): place for part, place in _projections(path, module).items()}
            own[join(path, "out_proj")] = Place(paths[id(module.out_proj)], inside=True)
            owners = [(module if place.module == path else module.out_proj, place.tensor) for place in own.values()]
            if any(owner._parameters.get(tensor) is None and not parametrize.is_parametrized(owner, tensor)
                   for owner, tensor in owners):  # fmt: skip
                reason = "one of its weights is no parameter"
        elif isinstance(module, nn.MultiheadAttention):
            reason = f"a {type(module).__name__} has a forward of its own, which may not read these weights"
        elif isinstance(module, nn.Linear):
            reason = refusal(module)
            own[path] = Place(path, inside=own_forward(module) or parametrize.is_parametrized(module, "weight"))
        elif isinstance(module, LowRankLinear):
            own[path] = Place(path)
        elif has_matrix(module):
            reason = f"a {type(module).__name__} is neither a linear nor an attention layer"
        if reason is not None:
            others[path] = reason
        elif own:
            layers[path] = tuple(own)
            places |= own
    return places, layers, others


def _is_attention(module: nn.Module) -> bool:
    return isinstance(module, nn.MultiheadAttention) and type(module).forward is nn.MultiheadAttention.forward


def _projections(path: str, module: nn.MultiheadAttention) -> dict[str, Place]:
    """Where the q, k and v of an attention layer are: in a weight each, or one above the other in one."""
    if not module._qkv_same_embed_dim:
        return {part: Place(path, f"{part}_weight", True, part) for part in PROJECTIONS}
    rows = [slice(i * module.embed_dim, (i + 1) * module.embed_dim) for i in range(3)]
    return {part: Place(path, "in_proj_weight", True, part, own) for part, own in zip(PROJECTIONS, rows, strict=True)}
