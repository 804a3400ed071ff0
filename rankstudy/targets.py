"""Which layers are meant: by name, by the end of a name, or by a regular expression; and which can be."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize


def chosen(targets: str | Iterable[str], layers: Mapping[str, Collection[str]], others: Mapping[str, str]) -> list[str]:
    """The names that the targets mean, in the order of `layers`.

    A target is a name; or else it means whatever ends in ".target"; or else it is a regular expression for whole names.

    Args:
        layers: the name of each layer that can be meant -> the names it stands for: its own, or those of its parts.
        others: the name of each that cannot be -> why not.

    Raises: ValueError if a target means nothing, or something that it cannot; it is named.
    """
    found = {
        name
        for target in ([targets] if isinstance(targets, str) else targets)
        for name in meant(target, layers, others)
    }
    return [part for parts in layers.values() for part in parts if part in found]


def meant(target: str, layers: Mapping[str, Collection[str]], others: Mapping[str, str]) -> list[str]:
    """The names that one target means; see `chosen`."""
    known: dict[str, Collection[str]] = {part: [part] for parts in layers.values() for part in parts} | dict(layers)
    names = [*known, *others]
    found = [name for name in names if name == target] or [name for name in names if name.endswith(f".{target}")]
    if not found:
        try:
            found = [name for name in names if re.fullmatch(target, name)]
        except re.error as error:
            raise ValueError(f"target {target!r} is no name here, and no regular expression: {error}") from error
    if not found:
        raise ValueError(f"target {target!r} matches no layer; there are {', '.join(map(repr, known)) or 'none'}")
    for name in found:
        if name in others:
            raise ValueError(f"target {target!r} matches {name!r}, but {others[name]}")
    return [part for name in found for part in known[name]]


def of_each(
    values: object, name: str, parts: Collection[str], layers: Mapping[str, Collection[str]]
) -> dict[str, object]:
    """One value for each of the parts: `values` itself, or what the mapping `values` has for them.

    A mapping's keys are targets; an exact name comes before what means several. Parts that none means are left out.

    Raises: ValueError if a key means nothing, or a part is meant by two with different values.
    """
    if not isinstance(values, Mapping):
        return dict.fromkeys(parts, values)
    found: dict[str, object] = {}
    for key, value in sorted(values.items(), key=lambda item: item[0] in parts):  # exact names last, so that they win
        for part in meant(key, layers, {}):
            if part in found and key not in parts and found[part] != value:
                raise ValueError(f"{name} gives {part!r} both {found[part]!r} and {value!r}")
            found[part] = value
    return {part: found[part] for part in parts if part in found}


def refusal(layer: nn.Linear) -> str | None:
    """Why nothing can stand in for this layer without a loss, or None if something can."""
    if any(is_lazy(parameter) for parameter in layer.parameters()):
        return f"a {type(layer).__name__} has no weight before its first call: call the model once"
    if "forward" in vars(layer):
        return "its forward is an attribute of this one object, and may hold on to it as it is"
    if parametrize.is_parametrized(layer, "weight"):
        return None
    weight = layer._parameters.get("weight")
    if weight is None:
        return (
            "its weight is no parameter but made by a hook: use torch.nn.utils.parametrizations, or make it permanent "
            "(torch.nn.utils.prune.remove, remove_weight_norm, remove_spectral_norm)"
        )
    if not weight.is_floating_point() or weight.shape != (layer.out_features, layer.in_features):
        return f"its weight is {weight.dtype} {tuple(weight.shape)}, not floating point and (out, in)"
    return None


def own_forward(layer: nn.Linear) -> bool:
    """Does a subclass of `nn.Linear` compute something of its own?"""
    return type(layer).forward is not nn.Linear.forward


def has_matrix(module: nn.Module) -> bool:
    """Has the module a parameter of its own that someone could take for a matrix?"""
    return any(p is not None and (is_lazy(p) or p.ndim > 1) for p in module._parameters.values())
