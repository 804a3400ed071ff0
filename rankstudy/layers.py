"""Bias-free networks whose weights are matrices: dense, or the product of two thin factors.

- A layer's *effective weight* is the (out, in) matrix it multiplies by, however it is stored; `weights` lists them.
- Initial weights come from a generator of their own on the CPU, so seed 3 is the same network on every machine with or
  without its company, and nobody else's random numbers move.
- Every positive rank is legal. Above min(out, in) a factorised layer can express every matrix; above
  out·in/(out + in) it has more parameters than the dense one. Both are worth measuring, so neither is capped.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from rankstudy.config import Network
from rankstudy.registry import ACTIVATIONS, entry
from rankstudy.replace import join, replaced, ties
from rankstudy.targets import chosen, has_matrix, of_each, own_forward, refusal


def checked_rank(rank: int) -> int:
    """The rank as an int, or a ValueError that says what is wrong with it."""
    try:
        value = 0 if isinstance(rank, bool) else operator.index(rank)
    except TypeError:
        value = 0
    if value < 1:
        raise ValueError(f"rank must be an integer of at least 1, got {rank!r}")
    return value


class LowRankLinear(nn.Module):
    """x ↦ x·(B·C)ᵀ + bias, with the product never formed.

    Parameters: `b` (out, rank), `c` (rank, in) and, if asked for, `bias` (out,).
    Initialised as two `nn.Linear` would be; the product then has a third of the dense layer's variance, at any rank.

    Raises: ValueError if `rank` is not an integer of at least 1.

    >>> layer = LowRankLinear(784, 256, rank=32)
    >>> layer.weight.shape, sum(p.numel() for p in layer.parameters())
    (torch.Size([256, 784]), 33280)
    """

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = in_features, out_features, checked_rank(rank)
        self.b = nn.Parameter(torch.empty(out_features, self.rank))
        self.c = nn.Parameter(torch.empty(self.rank, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.reset_parameters()

    @classmethod
    def standing_for(cls, layer: nn.Module, b: Tensor, c: Tensor) -> LowRankLinear:
        """B·C in the place of a linear layer, with its bias (the same parameter), dtype, device and `requires_grad`.

        `b` (out, rank) and `c` (rank, in) are copied; parameters are taken over, so that layers can share them.
        """
        weight = layer.weight
        with torch.device("meta"):
            new = cls(layer.in_features, layer.out_features, b.shape[1])
        for name, factor in (("b", b), ("c", c)):
            if not isinstance(factor, nn.Parameter):
                factor = nn.Parameter(factor.detach().to(weight, copy=True), weight.requires_grad)
            setattr(new, name, factor)
        new.bias = layer.bias
        return new

    def reset_parameters(self) -> None:
        uniform_(self.b)
        uniform_(self.c)
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            nn.init.uniform_(self.bias, -bound, bound)

    @property
    def weight(self) -> Tensor:
        """The effective weight B·C, (out, in)."""
        return self.b @ self.c

    def squared_norm(self) -> Tensor:
        """‖B·C‖²_F as ⟨BᵀB, CCᵀ⟩: nothing larger than rank × rank is formed."""
        return (self.b.T @ self.b * (self.c @ self.c.T)).sum()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.c), self.b, self.bias)  # (…, in) -> (…, rank) -> (…, out)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, rank={self.rank}, bias={self.bias is not None}"


class MLP(nn.Module):
    """A bias-free multilayer perceptron: one activation between the layers, none after the last.

    `widths` counts units, input first: `MLP((784, 256, 10), "tanh")` and `MLP(784, 256, 10, activation="tanh")` are one
    network. `rank` is one rank for every layer, or one per layer with None for a dense one.

    Raises: ValueError for fewer than two widths, a width that is no integer of at least 1, an unknown activation, or a
        wrong number of ranks.

    >>> MLP(784, 256, 10)(torch.zeros(5, 784)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        widths: int | Sequence[int],
        *more: int | str,
        activation: str = "relu",
        rank: int | Sequence[int | None] | None = None,
    ) -> None:
        super().__init__()
        if more and isinstance(more[-1], str):
            *more, activation = more
        widths = (*widths, *more) if isinstance(widths, Sequence) else (widths, *more)
        if len(widths) < 2 or not all(isinstance(width, Integral) and width >= 1 for width in widths):
            raise ValueError(f"widths must be two or more positive numbers of units, got {widths!r}")
        if any(isinstance(width, bool) for width in widths):
            raise ValueError(f"widths must be numbers of units, got {widths!r}; there is no bias to ask for")
        function = entry(ACTIVATIONS, activation, "activation").torch()
        ranks = list(rank) if isinstance(rank, Sequence) else [rank] * (len(widths) - 1)
        if len(ranks) != len(widths) - 1:
            raise ValueError(f"rank must name one rank for each of {len(widths) - 1} layers, got {len(ranks)}")
        self.activation, self._function = activation, function
        self.layers = nn.ModuleList(
            nn.Linear(inp, out, bias=False) if r is None else LowRankLinear(inp, out, r)
            for inp, out, r in zip(widths[:-1], widths[1:], ranks, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, widths[0]) -> logits (batch, widths[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self._function(layer(x))
        return last(x)

    def features(self, x: Tensor) -> list[Tensor]:
        """What each layer hands on, (batch, width) each: after its activation, the last one the logits."""
        *hidden, last = self.layers
        found = []
        for layer in hidden:
            x = self._function(layer(x))
            found.append(x)
        return [*found, last(x)]


def build(config: Network, seed: int) -> MLP:
    """The network at its initial weights, float32 on the CPU, from a generator seeded with `seed` alone.

    `config.initialisation` says how the factors of a layer W = B·C begin (a dense layer always begins at "default"):

    - "default": each factor as `nn.Linear` of its shape, U(±1/√fan_in). Entries of B·C have variance 1/(9·in).
    - "variance": the same draws, both factors times 3^¼: variance 1/(3·in), that of the dense layer.
    - "spectral": the dense network's own initial matrix of this seed, its SVD truncated at the rank, √σ to each factor
      (Khodak et al. 2021, section 3.1). Above min(out, in) the factors are filled up with zeros, which stay zero: their
      gradients are products with each other.

    >>> network = build(Network((784, 256, 10)), seed=0)
    >>> network.layers[0].weight.shape, bool((network.layers[0].weight.abs() <= 1 / 28).all())
    (torch.Size([256, 784]), True)
    """
    if not isinstance(config, Network):
        raise TypeError(f"config must be a Network, as in build(Network((784, 256, 10)), 0); got {config!r}")
    with torch.device("meta"):  # shapes only: no weights are drawn from the global generator
        model = MLP(config.widths, config.activation, rank=config.rank)
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in model.layers:
            if isinstance(layer, nn.Linear):
                uniform_(layer.weight, generator).mul_(config.gain)
                continue
            if config.initialisation == "spectral":
                dense = uniform_(torch.empty(layer.out_features, layer.in_features), generator)
                for factor, value in zip((layer.b, layer.c), spectral_factors(dense, layer.rank), strict=True):
                    factor.copy_(value)
            else:
                uniform_(layer.b, generator)
                uniform_(layer.c, generator)
                if config.initialisation == "variance":
                    layer.b.mul_(3**0.25)
                    layer.c.mul_(3**0.25)
            layer.b.mul_(math.sqrt(config.gain))
            layer.c.mul_(math.sqrt(config.gain))
    return model


def weights(model: nn.Module) -> list[Tensor]:
    """The effective (out, in) weight of each layer of `model.layers`, input side first; detached, not copied.

    >>> [tuple(w.shape) for w in weights(MLP(784, 256, 10, rank=8))]
    [(256, 784), (10, 256)]
    """
    if not hasattr(model, "layers"):
        raise TypeError(
            f"model must have a list of layers, as an MLP has; got {type(model).__name__}. "
            "rankstudy.analyze(model) finds the matrices of any model"
        )
    return [layer.weight.detach() for layer in model.layers]


def uniform_(weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Fill as `nn.Linear` does: U(±1/√fan_in), written there as Kaiming's rule with a = √5."""
    return nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)


def spectral_factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(out, rank) and (rank, in), √σ in each, whose product is the best approximation of `matrix` of that rank.

    In float64 on the CPU, so that every device gets the same; filled up with zeros above min(out, in).
    """
    if matrix.is_meta:
        return matrix.new_empty(len(matrix), rank), matrix.new_empty(rank, matrix.shape[1])
    u, s, vh = torch.linalg.svd(matrix.detach().double().cpu(), full_matrices=False)
    root, missing = s[:rank].sqrt(), max(rank - len(s), 0)
    b = F.pad(u[:, :rank] * root, (0, missing))
    c = F.pad(root[:, None] * vh[:rank], (0, 0, 0, missing))
    return b.to(matrix).contiguous(), c.to(matrix).contiguous()


def factorised(
    model: nn.Module,
    rank: int | None = None,
    *,
    ranks: Mapping[str, int] | None = None,
    targets: str | Iterable[str] | None = None,
) -> nn.Module:
    """A copy of the model with the truncated SVD of each layer's weight, a `LowRankLinear`, in the layer's place.

    One `rank` for every `nn.Linear` and `LowRankLinear`, or for those that `targets` means (a name, the end of one or
    a regular expression, or several); or `ranks`, one for each layer that its keys mean. √σ goes to each factor. Bias,
    dtype, device, flags, hooks and sharing are kept; layers of one weight share the factors. On the meta device there
    are shapes alone.

    Raises: ValueError if there is nothing to factorise, both or neither of `rank` and `ranks` are given, a rank is no
        integer of at least 1, or a layer cannot be replaced without a loss (it is named): a subclass of `nn.Linear`
        with a forward of its own, a parametrised or lazy layer, a weight shared with what stays as it is.

    >>> small = factorised(MLP(784, 256, 10), 16)
    >>> small.layers[0].rank, factorised(MLP(784, 256, 10), ranks={"layers.0": 32}).layers[0].rank
    (16, 32)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, as in factorised(model, 16); got {type(model).__name__}")
    if (rank is None) == (ranks is None):
        raise ValueError(f"give rank, one for all layers, or ranks, one for each; got {rank!r} and {ranks!r}")
    if ranks is not None and targets is not None:
        raise ValueError("targets go with rank; ranks names its layers itself")
    layers: dict[str, tuple[str, ...]] = {}
    others: dict[str, str] = {}
    for name, layer in model.named_modules():
        reason = _unfactorisable(layer)
        if reason is None:
            layers[name] = (name,)
        elif isinstance(layer, nn.Linear) or has_matrix(layer):
            others[name] = reason
    if rank is not None and targets is None:
        names = list(layers)
        for name in others:
            if isinstance(model.get_submodule(name), nn.Linear):
                raise ValueError(f"{name!r} cannot be factorised: {others[name]}; name the other layers in targets")
    else:
        names = chosen(ranks if targets is None else targets, layers, others)
    if not names:
        raise ValueError("model has no linear layer to factorise")
    wanted = {
        name: checked_rank(r) for name, r in of_each(ranks if rank is None else rank, "ranks", names, layers).items()
    }
    shared = ties(model)
    for name in wanted:
        for own in model.get_submodule(name)._parameters.keys() & {"weight", "b", "c"}:
            for other in shared[join(name, own)]:
                partner = other.rpartition(".")[0]
                if wanted.get(partner) != wanted[name] or (own != "weight" and partner != name):
                    raise ValueError(
                        f"{name!r} shares its {own} with {other!r}, and the two cannot be the same factors of rank "
                        f"{wanted[name]}: leave it out of targets, or untie them first"
                    )
    factors: dict[str, LowRankLinear] = {}  # by the first name of a weight, so that tied layers stay tied

    def make(name: str, layer: nn.Module) -> nn.Module | None:
        if name not in wanted:
            return None
        first = shared.get(join(name, "weight"), (name,))[0]
        if first in factors:
            return LowRankLinear.standing_for(layer, factors[first].b, factors[first].c)
        factors[first] = LowRankLinear.standing_for(layer, *spectral_factors(layer.weight, wanted[name]))
        return factors[first]

    return replaced(model, make)


def _unfactorisable(layer: nn.Module) -> str | None:
    """Why the layer has no `LowRankLinear` to stand in for it, or None if it has."""
    if isinstance(layer, LowRankLinear):
        return None
    if not isinstance(layer, nn.Linear):
        return f"a {type(layer).__name__} is no linear layer"
    if parametrize.is_parametrized(layer):
        return "it is parametrised; torch.nn.utils.parametrize.remove_parametrizations makes it an ordinary layer"
    if own_forward(layer):
        return f"a {type(layer).__name__} has a forward of its own"
    extra = (layer._parameters.keys() | layer._buffers.keys() | layer._modules.keys()) - {"weight", "bias"}
    return f"it has a {min(extra)} beside weight and bias" if extra else refusal(layer)
