"""LoRA by composition: a frozen linear layer beside a trainable product of two thin factors.

y = x·Wᵀ + x·ΔWᵀ with ΔW = (α/r)·B·A (Hu et al. 2021, section 4.1). The factor α/r enters in one place, B begins at
zero, and nothing is merged behind anyone's back: `merged` returns another model.
"""

from __future__ import annotations

import copy
import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from rankstudy.layers import checked_rank, spectral_factors, uniform_


class LoRALinear(nn.Module):
    """A copy of `base`, frozen, and an adapter `lora_b` (out, rank) times `lora_a` (rank, in) that trains.

    `alpha` is α, by default the rank. `scaling` is "lora", α/r, or "rslora", α/√r (Kalajdzievski 2023).
    `initialisation` is "zero": B = 0 and A as in `nn.Linear`, so that the layer begins as its base; or "pissa": the
    adapter takes the base's leading singular triplets and the base keeps the rest (Meng et al. 2024, equations 2 to 4).

    Raises: ValueError for a rank below 1 (or, for "pissa", above min(out, in)), an α that is not positive and finite,
        an unknown scaling or initialisation.
    """

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float | None = None,
        *,
        scaling: str = "lora",
        initialisation: str = "zero",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.rank, self.scaling, self.initialisation = checked_rank(rank), scaling, initialisation
        self.alpha = float(self.rank if alpha is None else alpha)
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha must be positive and finite, got {alpha!r}")
        if scaling not in ("lora", "rslora"):
            raise ValueError(f"scaling must be lora or rslora, got {scaling!r}")
        if initialisation not in ("zero", "pissa"):
            raise ValueError(f"initialisation must be zero or pissa, got {initialisation!r}")
        self.in_features, self.out_features = base.in_features, base.out_features
        if initialisation == "pissa" and self.rank > min(self.in_features, self.out_features):
            raise ValueError(
                f"rank must be at most min(out, in) = {min(self.in_features, self.out_features)} for pissa, got {rank}"
            )
        self.base = copy.deepcopy(base).requires_grad_(False)
        weight = self.base.weight
        a = uniform_(torch.empty(self.rank, self.in_features), generator).to(weight)
        b = torch.zeros(self.out_features, self.rank).to(weight)
        if initialisation == "pissa":
            b, a = (factor / math.sqrt(self.scale) for factor in spectral_factors(weight, self.rank))
        self.lora_a, self.lora_b = nn.Parameter(a), nn.Parameter(b)
        if initialisation == "pissa":
            weight.sub_(self.delta().detach())

    @property
    def scale(self) -> float:
        """α/r, or α/√r for rsLoRA."""
        return self.alpha / (self.rank if self.scaling == "lora" else math.sqrt(self.rank))

    def _factors(self) -> tuple[Tensor, Tensor]:
        """(out, rank) and (rank, in), whose product is ΔW: the only place where the scale is applied."""
        return self.scale * self.lora_b, self.lora_a

    def delta(self) -> Tensor:
        """ΔW = (α/r)·B·A, (out, in)."""
        b, a = self._factors()
        return b @ a

    @property
    def weight(self) -> Tensor:
        """The effective weight W + ΔW, (out, in)."""
        return self.base.weight + self.delta()

    def forward(self, x: Tensor) -> Tensor:
        b, a = self._factors()
        return self.base(x) + F.linear(F.linear(x, a), b)

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha:g}, scaling={self.scaling}"


@dataclass(frozen=True)
class Trainable:
    """What an optimiser would move."""

    names: tuple[str, ...]  # of the parameters
    parameters: int
    bytes: int


def add_lora(
    model: nn.Module,
    rank: int,
    alpha: float | None = None,
    *,
    scaling: str = "lora",
    initialisation: str = "zero",
    seed: int = 0,
) -> nn.Module:
    """A copy of the model, frozen, in which every `nn.Linear` has an adapter. Only the adapters require gradients.

    The adapters' initial values come from a CPU generator seeded with `seed` alone.

    Raises: ValueError if the model has no `nn.Linear`, or has adapters already, and as `LoRALinear` does.
    """
    if _adapters(model):
        raise ValueError("model has LoRA adapters already; merge them first")
    generator = torch.Generator().manual_seed(seed)
    options = {"scaling": scaling, "initialisation": initialisation, "generator": generator}
    adapted = _replaced(model, nn.Linear, lambda name, layer: LoRALinear(layer, rank, alpha, **options))
    if not _adapters(adapted):
        raise ValueError("model has no nn.Linear to adapt")
    adapted.requires_grad_(False)
    for layer in _adapters(adapted).values():
        layer.lora_a.requires_grad_(True)
        layer.lora_b.requires_grad_(True)
    return adapted


def merged(model: nn.Module) -> nn.Module:
    """A copy of the model in which each adapted layer is one `nn.Linear` of weight W + ΔW; all of it trains again.

    Raises: ValueError if the model has no adapters, or a merged weight is not finite (the layer is named).
    """
    if not _adapters(model):
        raise ValueError("model has no LoRA adapters to merge")
    return _replaced(model, LoRALinear, _merged_layer).requires_grad_(True)


def trainable(model: nn.Module) -> Trainable:
    """The parameters that require gradients: their names, how many numbers and how many bytes they are."""
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    numbers = sum(p.numel() for p in found.values())
    return Trainable(tuple(found), numbers, sum(p.numel() * p.element_size() for p in found.values()))


def save_adapters(model: nn.Module, path: str | os.PathLike) -> None:
    """Write the adapters alone, as safetensors; whole or not at all.

    Raises: ValueError if the model has no adapters.
    """
    if not _adapters(model):
        raise ValueError("model has no LoRA adapters to save")
    path = Path(path)
    content = save(_tensors(model), metadata=_description(model))
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def load_adapters(model: nn.Module, path: str | os.PathLike) -> None:
    """Read adapters into a model that has the same ones: layers, ranks, α, scaling, start and dtype. All or nothing.

    Raises: ValueError if the file is not whole, or anything in it differs from the model (what does is named).
    """
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


def _adapters(model: nn.Module) -> dict[str, LoRALinear]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' numbers by name, sharing the model's memory."""
    pairs = {name: (layer.lora_a, layer.lora_b) for name, layer in _adapters(model).items()}
    return {f"{name}.lora_{x}": p.detach() for name, pair in pairs.items() for x, p in zip("ab", pair, strict=True)}


def _description(model: nn.Module) -> dict[str, str]:
    """What the numbers alone do not say, as safetensors metadata."""
    fields = ("alpha", "scaling", "initialisation")  # the last says which base the adapter belongs to
    return {name: json.dumps({f: getattr(layer, f) for f in fields}) for name, layer in _adapters(model).items()}


def _merged_layer(name: str, layer: LoRALinear) -> nn.Linear:
    weight = layer.weight.detach()
    if not weight.isfinite().all():
        raise ValueError(f"the merged weight of layer {name!r} is not finite")
    linear = layer.base  # of the copy that `_replaced` has made
    linear.weight = nn.Parameter(weight)
    return linear


def _replaced(model: nn.Module, kind: type[nn.Module], make) -> nn.Module:
    """A copy of the model with `make(name, layer)` in the place of each layer of this kind."""
    model = copy.deepcopy(model)
    if isinstance(model, kind):
        return make("", model)
    for name, layer in [(name, layer) for name, layer in model.named_modules() if isinstance(layer, kind)]:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, make(name, layer))
    return model
