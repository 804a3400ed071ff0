"""Layers that compute with factors, to stand where a dense one stood: embeddings, convolutions, recurrent layers.

Each has `b` (m, r) and `c` (r, n) and the effective `weight`, as `rankstudy.layers.LowRankLinear` does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

CONVOLUTIONS = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}


class LowRankEmbedding(nn.Module):
    """Rows of B by index, times C: (…,) int -> (…, dimension)."""

    def __init__(self, layer: nn.Embedding, b: nn.Parameter, c: nn.Parameter) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = layer.num_embeddings, layer.embedding_dim
        self.padding_idx = layer.padding_idx
        self.b, self.c = b, c

    @property
    def weight(self) -> Tensor:
        """B·C, (entries, dimension)."""
        return self.b @ self.c

    def forward(self, x: Tensor) -> Tensor:
        return F.embedding(x, self.b, self.padding_idx) @ self.c


class LowRankConv(nn.Module):
    """Two convolutions: one to r channels with the kernel of the old layer, one of kernel size 1 back to all."""

    def __init__(self, layer: nn.Module, b: nn.Parameter, c: nn.Parameter) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.dilation = layer.kernel_size, layer.stride, layer.dilation
        self.in_channels, self.out_channels, self.groups = layer.in_channels, layer.out_channels, 1
        self.padding_mode = layer.padding_mode
        self.padding = layer.padding if layer.padding_mode == "zeros" else 0
        self._around = None if layer.padding_mode == "zeros" else layer._reversed_padding_repeated_twice
        self._function = CONVOLUTIONS[type(layer)]
        self.b, self.c, self.bias = b, c, layer.bias

    @property
    def weight(self) -> Tensor:
        """B·C, (out, in, …kernel)."""
        return (self.b @ self.c).view(self.out_channels, self.in_channels, *self.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        if self._around is not None:
            x = F.pad(x, self._around, mode=self.padding_mode)
        c = self.c.view(-1, self.in_channels, *self.kernel_size)
        x = self._function(x, c, None, self.stride, self.padding, self.dilation)
        return self._function(x, self.b.view(*self.b.shape, *[1] * len(self.kernel_size)), self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, rank={self.b.shape[1]}"


class LowRankRNN(nn.Module):
    """An LSTM, GRU or RNN some of whose matrices are products: only the factors are kept.

    torch's kernels take dense weights, so the products of this one layer exist while it runs, and no longer.
    """

    def __init__(self, layer: nn.RNNBase, factors: dict[str, tuple[nn.Parameter, nn.Parameter]]) -> None:
        super().__init__()
        for name in factors:
            del layer._parameters[name]
        self.layer = layer
        self.b = nn.ParameterDict({name: b for name, (b, _) in factors.items()})
        self.c = nn.ParameterDict({name: c for name, (_, c) in factors.items()})
        layer._flat_weights = [None] * len(layer._flat_weights_names)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        layer = self.layer
        layer._flat_weights = [
            self.b[name] @ self.c[name] if name in self.b else getattr(layer, name)
            for name in layer._flat_weights_names
        ]
        try:
            return layer(*inputs, **options)
        finally:
            layer._flat_weights = [None] * len(layer._flat_weights_names)


def standing_for(layer: nn.Module, b: nn.Parameter, c: nn.Parameter) -> nn.Module | None:
    """The module that computes with these factors of the layer's `weight`, or None if there is none."""
    from rankstudy.layers import LowRankLinear
    from rankstudy.targets import own_forward

    if isinstance(layer, nn.Linear):
        return None if own_forward(layer) else LowRankLinear.standing_for(layer, b, c)
    if type(layer) is nn.Embedding:
        plain = layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse
        return LowRankEmbedding(layer, b, c) if plain else None
    if type(layer) in CONVOLUTIONS and layer.groups == 1:
        return LowRankConv(layer, b, c)
    if type(layer).__name__ == "Conv1D" and layer.weight.shape == (b.shape[0], c.shape[1]):  # GPT-2's: x·W + bias
        linear = nn.Linear(b.shape[0], c.shape[1], bias=False, device="meta", dtype=b.dtype)
        linear.bias = layer.bias
        turned = [nn.Parameter(each.detach().T.contiguous(), each.requires_grad) for each in (c, b)]
        return LowRankLinear.standing_for(linear, *turned)
    return None


class Product(nn.Module):
    """A parametrisation: the parameter of a layer as the product of two smaller ones, formed when it is asked for."""

    def __init__(self, b: Tensor, c: Tensor, shape: torch.Size) -> None:
        super().__init__()
        self._start, self._shape = (b, c), shape

    def forward(self, b: Tensor, c: Tensor) -> Tensor:
        return (b @ c).view(self._shape)

    def right_inverse(self, _: Tensor) -> tuple[Tensor, Tensor]:
        """The factors; asked for once, when the parametrisation is registered."""
        start, self._start = self._start, None
        if start is None:
            raise NotImplementedError("the parameter is a product; assign to its factors")
        return start


def parametrise(layer: nn.Module, name: str, b: Tensor, c: Tensor) -> None:
    """Keep the factors of a parameter instead of it: whatever the layer is, and whatever it does with the product."""
    shape = getattr(layer, name).shape
    parametrize.register_parametrization(layer, name, Product(b.detach(), c.detach(), shape))
