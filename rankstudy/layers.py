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
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankstudy.config import Network
from rankstudy.registry import ACTIVATIONS, entry


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
    """

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = in_features, out_features, checked_rank(rank)
        self.b = nn.Parameter(torch.empty(out_features, self.rank))
        self.c = nn.Parameter(torch.empty(self.rank, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.reset_parameters()

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

    `widths` counts units, input first. `rank` is one rank for every layer, or one per layer with None for a dense one.

    Raises: ValueError for fewer than two widths, a width below 1, an unknown activation, or a wrong number of ranks.
    """

    def __init__(
        self, widths: Sequence[int], activation: str = "relu", *, rank: int | Sequence[int | None] | None = None
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths must be two or more positive numbers of units, got {widths!r}")
        function = entry(ACTIVATIONS, activation, "activation").torch()
        ranks = list(rank) if isinstance(rank, Sequence) else [rank] * (len(widths) - 1)
        if len(ranks) != len(widths) - 1:
            raise ValueError(f"rank must name one rank for each of {len(widths) - 1} layers, got {len(ranks)}")
        self.activation, self._function = activation, function
        self.layers = nn.ModuleList(
            nn.Linear(inp, out, bias=False) if r is None else LowRankLinear(inp, out, r)
            for inp, out, r in zip(widths[:-1], widths[1:], ranks, strict=True)
        )

    def _apply_layer(self, i: int, x: Tensor) -> Tensor:
        x = self.layers[i](x)
        return x if i == len(self.layers) - 1 else self._function(x)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, widths[0]) -> logits (batch, widths[-1])."""
        for i in range(len(self.layers)):
            x = self._apply_layer(i, x)
        return x

    def features(self, x: Tensor) -> list[Tensor]:
        """What each layer hands on, (batch, width) each: after its activation, the last one the logits."""
        found = []
        for i in range(len(self.layers)):
            x = self._apply_layer(i, x)
            found.append(x)
        return found


def build(config: Network, seed: int) -> MLP:
    """The network at its initial weights, float32 on the CPU, from a generator seeded with `seed` alone.

    `config.initialisation` says how the factors of a layer W = B·C begin (a dense layer always begins at "default"):

    - "default": each factor as `nn.Linear` of its shape, U(±1/√fan_in). Entries of B·C have variance 1/(9·in).
    - "variance": the same draws, both factors times 3^¼: variance 1/(3·in), that of the dense layer.
    - "spectral": the dense network's own initial matrix of this seed, its SVD truncated at the rank, √σ to each factor
      (Khodak et al. 2021, section 3.1). Above min(out, in) the factors are filled up with zeros, which stay zero: their
      gradients are products with each other.

    Example: `build(Network((784, 256, 10)), 0).layers[0].weight` is (256, 784), the same on every machine.
    """
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
    """The effective (out, in) weight of each layer of `model.layers`, input side first; detached, not copied."""
    return [layer.weight.detach() for layer in model.layers]


def uniform_(weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Fill as `nn.Linear` does: U(±1/√fan_in), written there as Kaiming's rule with a = √5."""
    return nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)


def spectral_factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(out, rank) and (rank, in), √σ in each, whose product is the best approximation of `matrix` of that rank.

    In float64 on the CPU, so that every device gets the same; filled up with zeros above min(out, in).
    """
    u, s, vh = torch.linalg.svd(matrix.detach().double().cpu(), full_matrices=False)
    root, missing = s[:rank].sqrt(), max(rank - len(s), 0)
    b = F.pad(u[:, :rank] * root, (0, missing))
    c = F.pad(root[:, None] * vh[:rank], (0, 0, 0, missing))
    return b.to(matrix).contiguous(), c.to(matrix).contiguous()
