"""LoRA by composition: a frozen layer beside a trainable product of two thin factors.

y = x·Wᵀ + x·ΔWᵀ with ΔW = (α/r)·B·A (Hu et al. 2021, section 4.1). The factor α/r enters in one place, B begins at
zero, and nothing is merged behind anyone's back: `merged` returns another model.

Where a module does not call the layer but reads its weight (`nn.MultiheadAttention`), or has a forward of its own, the
adapter sits inside the weight instead: W + ΔW is what the module reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rankstudy.files import write_atomically
from rankstudy.layers import LowRankLinear
from rankstudy.lora_layers import (
    LoRALinear,
    LoRAWeight,
    LowRankUpdate,
    adapters_in,
    evaluated,
    freeze,
    insert,
    inserted,
    original,
    originals_of,
    take_out,
    thaw,
)
from rankstudy.places import Place, adaptable
from rankstudy.replace import copied, join, replace_, ties
from rankstudy.targets import chosen, of_each

__all__ = ["LoRALinear", "Trainable", "add_lora", "load_adapters", "merged", "save_adapters", "trainable"]


@dataclass(frozen=True)
class Trainable:
    """What an optimiser would move."""

    names: tuple[str, ...]  # of the parameters
    parameters: int
    bytes: int


def add_lora(
    model: nn.Module,
    rank: int | Mapping[str, int],
    alpha: float | Mapping[str, float] | None = None,
    *,
    targets: str | Iterable[str] | None = None,
    scaling: str = "lora",
    initialisation: str = "zero",
    dropout: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """A copy of the model, frozen, in which layers have adapters. Only the adapters require gradients.

    `targets` says which: names, ends of names ("q_proj" is every name that ends in ".q_proj") or regular expressions
    for whole names; None is every linear layer: `nn.Linear` and its subclasses, `LowRankLinear`, and of an
    `nn.MultiheadAttention` NAME the four NAME.q_proj, NAME.k_proj, NAME.v_proj and NAME.out_proj (NAME means them all).
    `rank` and `alpha` are one for all, or a mapping from targets; with a mapping of ranks and no `targets` its keys are
    the targets, and where a mapping of α has nothing, α is the rank. The other options are those of `LoRALinear`.

    A layer used in several places is adapted in all of them, and layers that share a weight share their adapter. The
    adapters' initial values come from a CPU generator seeded with `seed` alone.

    Raises: ValueError if there is nothing to adapt, a target means nothing or what cannot be adapted, the model has
        adapters already, an adapter inside a weight is to have dropout, layers of one weight different adapters, or
        "pissa" would change a weight for others too; and as `LoRALinear` does. What is at fault is named.

    >>> from rankstudy.layers import MLP
    >>> adapted = add_lora(MLP(784, 256, 10), {"layers.0": 4, r"layers\\.[1-9]": 2}, alpha=8)
    >>> [name for name, p in adapted.named_parameters() if p.requires_grad][:2]
    ['layers.0.lora_a', 'layers.0.lora_b']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, as in add_lora(model, 4); got {type(model).__name__}")
    if _adapters(model):
        raise ValueError("model has LoRA adapters already; merge them first")
    places, layers, others = adaptable(model)
    if targets is not None or isinstance(rank, Mapping):
        names = chosen(rank if targets is None else targets, layers, others)
    else:
        names = list(places)
        for name in others:
            if isinstance(model.get_submodule(name), (nn.Linear, nn.MultiheadAttention)):
                raise ValueError(f"{name!r} cannot be adapted: {others[name]}; name the other layers in targets")
    if not names:
        raise ValueError("model has no linear or attention layer to adapt")
    ranks, alphas = of_each(rank, "rank", names, layers), of_each(alpha, "alpha", names, layers)
    unranked = [name for name in names if name not in ranks]
    if unranked:
        raise ValueError(f"rank has none for {unranked[0]!r}, which is among the targets")
    wanted = {name: (ranks[name], alphas.get(name)) for name in names}
    if dropout and (inside := [name for name in names if places[name].inside]):
        raise ValueError(
            f"dropout is on a layer's inputs, and the adapter of {inside[0]!r} has only its weight; leave it out"
        )
    leaders = _leaders(model, places, wanted, initialisation)
    made: dict[str, LowRankUpdate] = {}
    generator = torch.Generator().manual_seed(seed)

    def adapter(name: str, module: nn.Module) -> LowRankUpdate:
        place, leader = places[name], leaders[name]
        options = {"scaling": scaling, "initialisation": initialisation, "generator": generator}
        if leader != name:  # its values are the leader's; PiSSA has changed the weight already, nothing more is drawn
            options |= {"initialisation": "zero", "generator": torch.Generator()}
        if place.inside:
            weight = original(module, place.tensor)
            new = LoRAWeight(weight, *wanted[name], part=place.part, rows=place.rows, **options)
        else:
            new = LoRALinear(module, *wanted[name], dropout=dropout, copied=False, **options)
        made[name] = new
        new.lora_a, new.lora_b, new.initialisation = made[leader].lora_a, made[leader].lora_b, initialisation
        return new

    def make(path: str, module: nn.Module) -> nn.Module | None:
        for name in [name for name in names if places[name].module == path]:
            if not places[name].inside:
                return adapter(name, module)
            insert(module, places[name].tensor, adapter(name, module))
        return None

    adapted = copied(model)
    replace_(adapted, make)
    freeze(adapted)
    return adapted


def merged(model: nn.Module, *, untie: bool = False) -> nn.Module:
    """A copy of the model without adapters, in which each adapted weight is W + ΔW.

    Parameters that trained before `add_lora` or do now train again, the others stay frozen. An adapted `nn.Linear` is
    one again, a `LowRankLinear` of rank r₀ one of rank r₀ + r (the factors side by side). What other parametrisations
    a merged weight had is made permanent, with the values of evaluation.

    Raises: ValueError if the model has no adapters, a merged weight is not finite, or a weight is shared with what was
        not adapted, or otherwise, so that the two could not stay one; `untie=True` lets them become two. It is named.

    >>> from rankstudy.layers import MLP
    >>> merged(add_lora(MLP(784, 256, 10), 4)).layers[0]
    Linear(in_features=784, out_features=256, bias=False)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, as in merged(adapted); got {type(model).__name__}")
    if not _adapters(model):
        raise ValueError("model has no LoRA adapters to merge")
    model = copied(model)
    thaw(model)
    if not untie:
        _check_ties(model)
    made: dict[tuple[int, ...], nn.Parameter] = {}  # by what each is made of, so that tied weights stay tied

    def make(path: str, module: nn.Module) -> nn.Module | None:
        if isinstance(module, LoRALinear):
            base, weight = module.base, module.weight
            _check_finite(path, weight)
            if isinstance(base, LowRankLinear):
                return LowRankLinear.standing_for(base, *module.stacked())
            key = (id(base.weight), id(module.lora_a))
            base.weight = made.setdefault(key, nn.Parameter(weight.detach(), base.weight.requires_grad))
            return base
        for tensor in inserted(module):
            own, originals = adapters_in(module, tensor), originals_of(module, tensor)
            weight, trains = evaluated(module, tensor), any(p.requires_grad for p in originals.values())
            _check_finite(path, weight)
            key = tuple(map(id, [*originals.values(), *(adapter.lora_a for adapter in own)]))
            take_out(module, tensor, made.setdefault(key, nn.Parameter(weight, trains)))
        return None

    replace_(model, make)
    return model


def trainable(model: nn.Module) -> Trainable:
    """The parameters that require gradients: their names, how many numbers and how many bytes they are.

    >>> from rankstudy.layers import MLP
    >>> trainable(add_lora(MLP(784, 256, 10), 1)).parameters == (784 + 256) + (256 + 10)
    True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model comes first, a torch.nn.Module; got {type(model).__name__}")
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    numbers = sum(p.numel() for p in found.values())
    return Trainable(tuple(found), numbers, sum(p.numel() * p.element_size() for p in found.values()))


def save_adapters(model: nn.Module, path: str | os.PathLike) -> None:
    """Write the adapters alone, as safetensors; whole or not at all.

    Raises: ValueError if the model has no adapters, or is on the meta device.

    >>> from rankstudy.layers import MLP
    >>> import tempfile
    >>> adapted = add_lora(MLP(784, 256, 10), 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_adapters(adapted, f"{folder}/nine.safetensors")
    ...     load_adapters(adapted, f"{folder}/nine.safetensors")
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model comes first, a torch.nn.Module; got {type(model).__name__}")
    if not _adapters(model):
        raise ValueError("model has no LoRA adapters to save")
    write_atomically(Path(path), save(_tensors(model), metadata=_description(model)))


def load_adapters(model: nn.Module, path: str | os.PathLike) -> None:
    """Read adapters into a model that has the same ones: layers, ranks, α, scaling, start and dtype. All or nothing.

    Raises: ValueError if the file is not whole, anything in it differs from the model (what does is named), or the
        model is on the meta device.

    >>> import tempfile
    >>> adapted, path = add_lora(nn.Linear(4, 4), 1), tempfile.mkdtemp() + "/adapters.safetensors"
    >>> save_adapters(adapted, path)
    >>> load_adapters(adapted, path)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model comes first, a torch.nn.Module; got {type(model).__name__}")
    expected = _tensors(model)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    if found.keys() != expected.keys():
        missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        raise ValueError(f"{path} does not fit the model: missing {missing}, unknown {unknown}")
    for name, value in found.items():
        here = expected[name]
        if (value.shape, value.dtype) != (here.shape, here.dtype):
            raise ValueError(
                f"{path}: {name} is {value.dtype} {tuple(value.shape)}, the model has {here.dtype} {tuple(here.shape)}"
            )
    if metadata != _description(model):
        raise ValueError(f"{path} was saved with {metadata}, the model has {_description(model)}")
    with torch.no_grad():
        for name, value in found.items():
            expected[name].copy_(value)


def _adapters(model: nn.Module) -> dict[str, LowRankUpdate]:
    """By the name of what each adapts, as in `add_lora`."""
    found: dict[str, LowRankUpdate] = {}
    for path, module in model.named_modules():
        if isinstance(module, LoRALinear):
            found[path] = module
        for adapter in (adapter for tensor in inserted(module) for adapter in adapters_in(module, tensor)):
            found[join(path, adapter.part) if adapter.part else path] = adapter
    return found


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' numbers by name, sharing the model's memory; those that layers share once."""
    found: dict[str, nn.Parameter] = {}
    for name, layer in _adapters(model).items():
        for own, parameter in (("lora_a", layer.lora_a), ("lora_b", layer.lora_b)):
            if parameter.is_meta:
                raise ValueError(f"{name!r} is on the meta device and has no values; give it memory (to_empty) first")
            if not any(parameter is other for other in found.values()):
                found[join(name, own)] = parameter
    return {name: parameter.detach() for name, parameter in found.items()}


def _description(model: nn.Module) -> dict[str, str]:
    """What the numbers alone do not say, as safetensors metadata."""
    fields = ("alpha", "scaling", "initialisation")  # the last says which base the adapter belongs to
    return {name: json.dumps({f: getattr(layer, f) for f in fields}) for name, layer in _adapters(model).items()}


def _leaders(
    model: nn.Module, places: dict[str, Place], wanted: dict[str, tuple[int, float | None]], initialisation: str
) -> dict[str, str]:
    """For each layer the first one with the same weight, whose adapter it shares: most often itself."""
    shared = ties(model)
    weights = {name: join(places[name].module, places[name].tensor) for name in wanted}
    leaders: dict[str, str] = {}
    firsts: dict[tuple[str, str], str] = {}
    for name, weight in weights.items():
        leader = firsts.setdefault((shared.get(weight, (weight,))[0], places[name].part), name)
        if wanted[leader] != wanted[name]:
            raise ValueError(
                f"{leader!r} and {name!r} are one weight, but {wanted[leader]} and {wanted[name]} are wanted"
            )
        leaders[name] = leader
    if initialisation == "pissa":
        adapted = {(weight, places[name].part) for name, weight in weights.items()}
        for name, weight in weights.items():
            if weight not in shared:
                raise ValueError(f"pissa takes ΔW off a weight, and {name!r} has none of its own; use zero")
            for other in shared[weight]:
                if (other, places[name].part) not in adapted:
                    raise ValueError(f"pissa would take ΔW of {name!r} off {other!r} too, which is the same weight")
    return leaders


def _check_ties(model: nn.Module) -> None:
    """Raise ValueError if merging would leave two values to what is one parameter now."""
    becomes: dict[str, tuple[int, ...]] = {}  # the name of a parameter -> what is added to it
    layers: dict[str, str] = {}
    for path, module in model.named_modules():
        names: dict[str, list[LowRankUpdate]] = {}
        if isinstance(module, LoRALinear):
            names = {f"base.{own}": [module] for own in module.base._parameters if own != "bias"}
        for tensor in inserted(module):
            own = adapters_in(module, tensor)
            names |= {f"parametrizations.{tensor}.{original}": own for original in originals_of(module, tensor)}
        for name, adapters in names.items():
            becomes[join(path, name)] = tuple(id(adapter.lora_a) for adapter in adapters)
            layers[join(path, name)] = path
    shared = ties(model)
    for name, added in becomes.items():
        for other in shared.get(name, ()):
            if becomes.get(other) != added:
                raise ValueError(
                    f"{layers[name]!r} shares its weight with {other!r}, to which nothing or something else is added: "
                    "merged they cannot stay one; untie=True makes them two"
                )


def _check_finite(name: str, weight: Tensor) -> None:
    if not weight.is_meta and not weight.isfinite().all():
        raise ValueError(f"the merged weight of layer {name!r} is not finite")
