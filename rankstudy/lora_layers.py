"""The two adapters: beside a linear layer, and inside a weight that is read and not called."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from rankstudy.layers import LowRankLinear, checked_rank, spectral_factors, uniform_
from rankstudy.targets import own_forward

FROZEN = "_frozen_by_lora"  # a module's note of its own parameters that trained before, for `thaw`


class LowRankUpdate(nn.Module):
    """ΔW = (α/r)·B·A for a weight (out, in): `lora_b` (out, rank), `lora_a` (rank, in).

    The options are those of `LoRALinear`. With "pissa" ΔW is taken off the weight, in place.
    """

    def __init__(
        self,
        weight: Tensor,
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
        self.out_features, self.in_features = weight.shape
        if initialisation == "pissa" and self.rank > min(weight.shape):
            raise ValueError(f"rank must be at most min(out, in) = {min(weight.shape)} for pissa, got {rank}")
        a = uniform_(torch.empty(self.rank, self.in_features), generator).to(weight)
        b = torch.zeros(self.out_features, self.rank).to(weight)
        if initialisation == "pissa":
            b, a = (factor / math.sqrt(self.scale) for factor in spectral_factors(weight, self.rank))
        self.lora_a, self.lora_b = nn.Parameter(a.detach()), nn.Parameter(b.detach())
        if initialisation == "pissa":
            with torch.no_grad():
                weight.sub_(self.delta())

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

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha:g}, scaling={self.scaling}"


class LoRALinear(LowRankUpdate):
    """A copy of `base`, frozen, and an adapter `lora_b` (out, rank) times `lora_a` (rank, in) that trains.

    `base` is an `nn.Linear` or a `LowRankLinear`. `alpha` is α, by default the rank. `scaling` is "lora", α/r, or
    "rslora", α/√r (Kalajdzievski 2023). `initialisation` is "zero": B = 0 and A as in `nn.Linear`, so that the layer
    begins as its base; or "pissa": the adapter takes the base's leading singular triplets and the base keeps the rest
    (Meng et al. 2024, equations 2 to 4). `dropout` is the share of the inputs that the adapter misses in training, when
    the layer is called; a module that reads `weight` instead of calling gets W + ΔW whole.
    With `copied=False` it is `base` itself that is wrapped and frozen.

    Raises: ValueError for a rank below 1 (or, for "pissa", above min(out, in)), an α that is not positive and finite,
        a dropout outside [0, 1), an unknown scaling or initialisation, "pissa" on a `LowRankLinear`, a base that is
        parametrised or has a forward of its own.

    >>> layer = LoRALinear(nn.Linear(784, 256), rank=4, alpha=8)
    >>> layer.scale, layer.lora_b.shape, layer.lora_a.shape
    (2.0, torch.Size([256, 4]), torch.Size([4, 784]))
    """

    def __init__(
        self,
        base: nn.Linear | LowRankLinear,
        rank: int,
        alpha: float | None = None,
        *,
        scaling: str = "lora",
        initialisation: str = "zero",
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        copied: bool = True,
    ) -> None:
        if not isinstance(base, LowRankLinear) and (
            not isinstance(base, nn.Linear) or own_forward(base) or parametrize.is_parametrized(base, "weight")
        ):
            raise ValueError(f"base must be x·Wᵀ + bias with a W of its own, got {base}; add_lora finds another way in")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout!r}")
        if initialisation == "pissa" and isinstance(base, LowRankLinear):
            raise ValueError("initialisation pissa changes a weight, and a LowRankLinear has none of its own; use zero")
        base = copy.deepcopy(base) if copied else base
        super().__init__(base.weight, rank, alpha, scaling=scaling, initialisation=initialisation, generator=generator)
        self.base, self.dropout = base, float(dropout)
        freeze(base)

    @property
    def weight(self) -> Tensor:
        """The effective weight W + ΔW, (out, in)."""
        return self.base.weight + self.delta()

    @property
    def bias(self) -> Tensor | None:
        """The base's, (out,)."""
        return self.base.bias

    def stacked(self) -> tuple[Tensor, Tensor]:
        """Factors of W + ΔW where the base is a `LowRankLinear` of rank r₀: (out, r₀ + r), (r₀ + r, in)."""
        b, a = self._factors()
        base: LowRankLinear = self.base
        return torch.cat([base.b, b], 1), torch.cat([base.c, a])

    def forward(self, x: Tensor) -> Tensor:
        b, a = self._factors()
        seen = F.dropout(x, self.dropout, self.training) if self.dropout else x
        return self.base(x) + F.linear(F.linear(seen, a), b)

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", dropout={self.dropout:g}" if self.dropout else "")


class LoRAWeight(LowRankUpdate):
    """W ↦ W + ΔW as a parametrisation (`torch.nn.utils.parametrize`), for a weight that its module reads, or uses in a
    forward of its own: attention, a subclass of `nn.Linear`, a layer that has other parametrisations.

    `part` says which of the module's parts it adapts ("q_proj"), and `rows` where in the packed weight that is.
    """

    def __init__(self, weight: Tensor, rank: int, *args, part: str = "", rows: slice | None = None, **options) -> None:
        super().__init__(weight if rows is None else weight[rows], rank, *args, **options)
        self.part, self.rows = part, rows

    def forward(self, weight: Tensor) -> Tensor:
        delta = self.delta()
        if self.rows is not None:
            delta = F.pad(delta, (0, 0, self.rows.start, len(weight) - self.rows.stop))
        return weight + delta


def insert(module: nn.Module, tensor: str, adapter: LoRAWeight) -> None:
    """Let the module's tensor be what the adapter makes of it."""
    parametrize.register_parametrization(
        module, tensor, adapter, unsafe=True
    )  # unsafe: nothing is evaluated for a check
    for new in (module.parametrizations, module.parametrizations[tensor], adapter):
        new.training = module.training


def inserted(module: nn.Module) -> list[str]:
    """The module's tensors that have adapters inside."""
    if not parametrize.is_parametrized(module):
        return []
    return [tensor for tensor in module.parametrizations if adapters_in(module, tensor)]


def adapters_in(module: nn.Module, tensor: str) -> list[LoRAWeight]:
    return [each for each in module.parametrizations[tensor] if isinstance(each, LoRAWeight)]


def originals_of(module: nn.Module, tensor: str) -> dict[str, nn.Parameter]:
    """The parameters that a parametrised tensor is made of, but for those of its parametrisations."""
    return dict(module.parametrizations[tensor]._parameters)


def original(module: nn.Module, tensor: str) -> Tensor:
    """The parameter that adapters are added to; where other parametrisations make the tensor, what it is now."""
    if not parametrize.is_parametrized(module, tensor):
        return module._parameters[tensor]
    own = module.parametrizations[tensor]
    return own.original if len(adapters_in(module, tensor)) == len(own) else evaluated(module, tensor)


def evaluated(module: nn.Module, tensor: str) -> Tensor:
    """The parametrised tensor as in evaluation: power iterations and the like stand still. Detached."""
    own = module.parametrizations[tensor]
    training = [each for each in own.modules() if each.training]
    own.eval()
    with torch.no_grad():
        value = own()
    for each in training:
        each.training = True
    return value


def take_out(module: nn.Module, tensor: str, weight: nn.Parameter) -> None:
    """Let the module's tensor be a plain parameter again, this one."""
    plain = module.parametrizations[tensor].is_tensor  # then torch puts the original back, and leaves it as it is
    parametrize.remove_parametrizations(module, tensor, leave_parametrized=not plain)
    delattr(module, tensor)
    module.register_parameter(tensor, weight)


def freeze(model: nn.Module) -> None:
    """Let no parameter train but those of adapters; what did is noted for `thaw`."""
    for module in model.modules():
        if not isinstance(module, LowRankUpdate):
            names = [name for name, p in module._parameters.items() if p is not None and p.requires_grad]
            if names:
                vars(module)[FROZEN] = names
            for name in names:
                module._parameters[name].requires_grad = False  # as an attribute: lazy parameters have no method


def thaw(model: nn.Module) -> None:
    """Let train again what trained before `freeze`."""
    for module in model.modules():
        for name in vars(module).pop(FROZEN, ()):
            module._parameters[name].requires_grad = True
