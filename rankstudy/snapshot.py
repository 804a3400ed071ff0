"""How far a training has come, as arrays, and a training taken up again from there: bit for bit as if nothing had been.

What an epoch depends on is all there: the parameters, the optimiser's state and the generators of the images' order.
The learning rate follows from the epoch's number, and buffers (a subspace's P) from the seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

SECONDS = 60.0  # between two snapshots of one training, at least; they are taken between epochs


class Snapshots(Protocol):
    """Where one training's snapshots are kept."""

    def load(self) -> Mapping[str, Any] | None:
        """The last one, if there is any."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep this one; nothing asks for an earlier one any more."""


def take(
    models: Sequence[nn.Module],
    optimizer: torch.optim.Optimizer,
    generators: Sequence[torch.Generator],
    final: Mapping[int, Sequence[Tensor]],
) -> dict[str, Any]:
    """The state between two epochs, as nested dicts of arrays; `final` are the parameters of ended trainings."""
    return {
        "parameters": {str(i): _arrays(model.parameters()) for i, model in enumerate(models)},
        "optimizer": {
            str(i): {name: _array(value) for name, value in state.items() if isinstance(value, Tensor)}
            for i, state in optimizer.state_dict()["state"].items()
        },
        "generators": {str(i): _array(generator.get_state()) for i, generator in enumerate(generators)},
        "final": {str(i): _arrays(tensors) for i, tensors in final.items()},
    }


def restore(
    state: Mapping[str, Any],
    models: Sequence[nn.Module],
    optimizer: torch.optim.Optimizer,
    generators: Sequence[torch.Generator],
    final: dict[int, list[Tensor]],
) -> None:
    """Put a state back into what `take` took it from, made anew."""
    with torch.no_grad():
        for i, model in enumerate(models):
            for parameter, value in zip(model.parameters(), state["parameters"][str(i)].values(), strict=True):
                parameter.copy_(_tensor(value))  # in place: it may be a view of the engine's stack
    for i, arrays in state["final"].items():
        device = next(models[0].parameters()).device
        final[int(i)] = [_tensor(value).to(device) for value in arrays.values()]
    whole = optimizer.state_dict()
    whole["state"] = {
        int(i): {name: _tensor(value) for name, value in own.items()} for i, own in state["optimizer"].items()
    }
    optimizer.load_state_dict(whole)
    for i, generator in enumerate(generators):
        generator.set_state(_tensor(state["generators"][str(i)]))


def _arrays(tensors: Any) -> dict[str, np.ndarray]:
    return {str(i): _array(tensor) for i, tensor in enumerate(tensors)}


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))
