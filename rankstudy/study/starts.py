"""Networks before training: at their random initialisation, or where another training ended; whole or in a subspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from rankstudy import config

if TYPE_CHECKING:
    from torch import nn

    from rankstudy.layers import MLP

PROJECTION_SEED = 40_000  # added to the seed: a subspace is drawn apart from the network's initial weights


def model(
    network: config.Network, seed: int, source: MLP | None, *, only_norm: bool = False, bias: bool = False
) -> MLP:
    """The network at the weights of `source`, which may be a dense one that is truncated to the network's rank; with
    `only_norm` at random ones, each layer with the norm of the source's; without a source at random ones."""
    import torch

    from rankstudy import layers

    own = layers.build(network, seed)
    if source is not None and only_norm:
        with torch.no_grad():
            for parameter, other in zip(own.parameters(), source.parameters(), strict=True):
                parameter.mul_(other.norm() / parameter.norm())
    elif source is not None and _dense(own) == _dense(source):
        own.load_state_dict(source.state_dict())
    elif source is not None:
        with torch.no_grad():
            for weight, layer in zip(layers.weights(source), own.layers, strict=True):
                assert isinstance(layer, layers.LowRankLinear), "a dense network starts where a dense one ended"
                b, c = layers.spectral_factors(weight, layer.rank)
                layer.b.copy_(b)
                layer.c.copy_(c)
    if bias:
        for layer, (outputs, _) in zip(own.layers, network.shapes(), strict=True):
            layer.bias = torch.nn.Parameter(torch.zeros(outputs))
    return own


def inside(own: MLP, subspace: config.Subspace | None, seed: int) -> nn.Module:
    """The network in its subspace, if there is one."""
    if subspace is None:
        return own
    from rankstudy.subspace import Subspace

    drawn = PROJECTION_SEED + seed
    return Subspace(own, subspace.dimension, subspace.projection, seed=drawn, scales=subspace.scales)


def loaded(network: config.Network, seed: int, state: Mapping[str, np.ndarray]) -> MLP:
    """The network with a stored state, on the CPU."""
    import torch

    from rankstudy import layers

    own = layers.build(network, seed)
    own.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    return own


def weights(state: Mapping[str, np.ndarray], count: int) -> list[np.ndarray]:
    """The (out, in) weights of so many layers from a stored state; B·C where there are factors."""
    found = []
    for index in range(count):
        dense = state.get(f"layers.{index}.weight")
        if dense is None:
            dense = state[f"layers.{index}.b"] @ state[f"layers.{index}.c"]
        found.append(np.asarray(dense))
    return found


def _dense(own: MLP) -> bool:
    return hasattr(own.layers[0], "weight") and not hasattr(own.layers[0], "b")
