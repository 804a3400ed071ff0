"""Activation-aware factors: those that keep a layer's outputs on the inputs it sees, where inputs held out agree.

Half of the batches choose, the other half judge. With few or unlike batches the weighted factors are worse on inputs
that they have not seen, and then the plain ones are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankstudy import UsageError
from rankstudy.factorization import weighted_svd
from rankstudy.tools import decomposition


@dataclass
class Inputs:
    """XᵀX of a layer's inputs X (N, n), of the batches that choose and of those that judge; float64 (n, n) each."""

    chosen_by: np.ndarray
    judged_by: np.ndarray

    def better(
        self, matrix: np.ndarray, rank: int, dtype: str, plain: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The weighted factors as they are stored, or None where the plain ones serve the other inputs as well."""
        values, vectors = np.linalg.eigh(self.chosen_by)
        root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T  # rootᵀ·root = XᵀX
        if not root.any():
            return None
        found = weighted_svd(matrix, rank, root)
        lengths = np.sqrt(np.sqrt((found.c**2).sum(axis=1)))  # balance: √ of the length of each row
        lengths = np.where(lengths > 0, lengths, 1.0)
        weighted = decomposition.stored((found.b * lengths, found.c / lengths[:, None]), dtype)
        ours = self.loss(matrix, *weighted)
        return weighted if ours < self.loss(matrix, *decomposition.stored(plain, dtype)) else None

    def loss(self, matrix: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        """‖X(A − BC)ᵀ‖² on the batches that judge."""
        left = matrix - b @ c
        return float(np.einsum("ij,jk,ik->", left, self.judged_by, left, optimize=True))


def observed(model: Any, batches: Iterable[Any], names: Sequence[str]) -> Mapping[str, Inputs]:
    """What the linear and convolutional layers among `names` see when the model runs on the batches.

    Args:
        model: a `torch.nn.Module`; it is run without gradients, in evaluation mode.
        batches: its inputs: a tensor, a tuple of positional or a dict of named arguments each; at least two.
        names: of weights.

    Raises:
        UsageError: fewer than two batches.
    """
    import torch
    from torch import nn

    wanted, grams, turn = set(names), {}, [0]

    def watch(name: str) -> Any:
        def hook(layer: Any, given: Any) -> None:
            rows = _rows(layer, given[0].detach())
            pair = grams.setdefault(name, [np.zeros((rows.shape[1],) * 2) for _ in range(2)])
            rows = rows.double()
            pair[turn[0] % 2] += (rows.T @ rows).cpu().numpy()

        return hook

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    layers = [(f"{name}.weight" if name else "weight", layer) for name, layer in model.named_modules()]
    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers
               if name in wanted and isinstance(layer, kinds)]  # fmt: skip
    training = {layer: layer.training for layer in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                if isinstance(batch, Mapping):
                    model(**batch)
                else:
                    model(*batch) if isinstance(batch, (tuple, list)) else model(batch)
                turn[0] += 1
    finally:
        for handle in handles:
            handle.remove()
        for layer, flag in training.items():
            layer.training = flag
    if turn[0] < 2:
        raise UsageError(
            f"calibration has {turn[0]} batches; at least two are needed, one of them to judge the other's"
        )
    return {name: Inputs(*pair) for name, pair in grams.items()}


def _rows(layer: Any, x: Any) -> Any:
    """(N, n): the vectors that the layer's matrix is multiplied by."""
    from torch import nn
    from torch.nn import functional as F

    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1])
    one = isinstance(layer, nn.Conv1d)
    kernel, stride, dilation = (
        (1, *each) if one else each for each in (layer.kernel_size, layer.stride, layer.dilation)
    )
    x = x.unsqueeze(-2) if one else x
    if x.dim() == 3:
        x = x.unsqueeze(0)
    if isinstance(layer.padding, str):
        around = layer._reversed_padding_repeated_twice
        x = F.pad(x, around)
        padding: Any = 0
    else:
        padding = (0, *layer.padding) if one else layer.padding
    return (
        F.unfold(x, kernel, dilation, padding, stride).transpose(1, 2).reshape(-1, x.shape[1] * kernel[0] * kernel[1])
    )
