"""Activation-aware factors: those that keep a layer's outputs on the inputs it sees, where inputs held out agree.

Half of the batches choose, the other half judge. With few or unlike batches the weighted factors are worse on inputs
that they have not seen, and then the plain ones are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rankstudy import UsageError
from rankstudy.factorization import Factors, weighted_svd
from rankstudy.spectrum import Spectrum
from rankstudy.tools import decomposition


@dataclass
class Inputs:
    """What is known of a layer's inputs X (N, n): of the batches that choose, and of those that judge.

    Either XᵀX (n, n), or where the matrix A (m, n) has fewer rows, (XAᵀ)ᵀ(XAᵀ) of its outputs (m, m): the best product
    of a rank is a projection of A on a basis of its outputs, so those are all that is needed. Both float64.
    """

    chosen_by: np.ndarray
    judged_by: np.ndarray
    _basis: np.ndarray | None = field(default=None, repr=False)  # of the outputs: that of a rank is the first so many

    def better(
        self, matrix: np.ndarray, rank: int, dtype: str, plain: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The weighted factors as they are stored, or None where the plain ones serve the other inputs as well."""
        if not self.chosen_by.any():
            return None
        if self._basis is None:
            if self._of_outputs(matrix):
                self._basis = np.linalg.eigh(self.chosen_by)[1][:, ::-1]
            else:
                self._basis = weighted_svd(matrix, min(matrix.shape), self._root()).b
        basis = self._basis[:, :rank]
        found = Factors(basis, basis.T @ matrix)
        lengths = np.sqrt(np.sqrt((found.c**2).sum(axis=1)))  # balance: √ of the length of each row
        lengths = np.where(lengths > 0, lengths, 1.0)
        weighted = decomposition.stored((found.b * lengths, found.c / lengths[:, None]), dtype)
        return weighted if self.loss(matrix, *weighted) < self.loss(matrix, *plain) else None

    def spectrum(self, matrix: np.ndarray) -> Spectrum | None:
        """The singular values of the outputs that the choosing batches give; None if those are all zero."""
        if self._of_outputs(matrix):
            values = np.sqrt(np.maximum(np.linalg.eigvalsh(self.chosen_by)[::-1], 0.0))
        else:
            values = np.linalg.svd(matrix @ self._root().T, compute_uv=False)
        return Spectrum(values, matrix.shape) if values[0] > 0 else None

    def _of_outputs(self, matrix: np.ndarray) -> bool:
        return len(self.chosen_by) < matrix.shape[1]

    def _root(self) -> np.ndarray:
        """(n, n) whose square, transposed times itself, is XᵀX."""
        values, vectors = np.linalg.eigh(self.chosen_by)
        return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T

    def loss(self, matrix: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        """‖X(A − BC)ᵀ‖² on the batches that judge; BC a projection of A on the columns of B."""
        if self._of_outputs(matrix):
            basis = np.linalg.qr(b)[0]
            return float(
                np.trace(self.judged_by) - np.einsum("ij,ik,jk->", self.judged_by, basis, basis, optimize=True)
            )
        left = matrix - b @ c
        return float(np.einsum("ij,jk,ik->", left, self.judged_by, left, optimize=True))


def observed(model: Any, batches: Iterable[Any], names: Sequence[str]) -> Mapping[str, Inputs]:
    """What linear, convolutional and recurrent layers among `names` see when the model runs on the batches.

    Args:
        model: a `torch.nn.Module`; it is run without gradients, in evaluation mode.
        batches: its inputs: a tensor, a tuple of positional or a dict of named arguments each; at least two.
        names: of weights.

    Raises:
        UsageError: fewer than two batches.
    """
    import torch

    wanted, grams, turn = set(names), {}, [0]

    def watch(prefix: str) -> Any:
        def hook(layer: Any, given: Any) -> None:
            for leaf, rows in _seen(layer, given):
                if prefix + leaf in wanted:
                    weight = getattr(layer, leaf).flatten(1)
                    if weight.shape[0] < weight.shape[1]:
                        rows = rows @ weight.T
                    pair = grams.setdefault(prefix + leaf, [np.zeros((rows.shape[1],) * 2) for _ in range(2)])
                    rows = rows.detach().double()
                    pair[turn[0] % 2] += (rows.T @ rows).cpu().numpy()

        return hook

    handles = [layer.register_forward_pre_hook(watch(f"{name}." if name else ""))
               for name, layer in model.named_modules() if any(f"{name}.{leaf}".lstrip(".") in wanted
                                                               for leaf in layer._parameters)]  # fmt: skip
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


def _seen(layer: Any, given: Any) -> Iterator[tuple[str, Any]]:
    """Each matrix of a layer with the rows (N, n) that it is multiplied by; nothing of layers of other kinds."""
    from torch import nn

    x = given[0] if given else None
    if isinstance(layer, nn.Linear):
        yield "weight", x.reshape(-1, x.shape[-1])
    elif isinstance(layer, (nn.Conv1d, nn.Conv2d)) and layer.groups == 1:
        yield "weight", _patches(layer, x)
    elif isinstance(layer, (nn.LSTMCell, nn.GRUCell, nn.RNNCell)):
        yield "weight_ih", x.reshape(-1, layer.input_size)
        state = given[1] if len(given) > 1 else None
        state = state[0] if isinstance(state, tuple) else state
        if state is not None:
            yield "weight_hh", state.reshape(-1, layer.hidden_size)
    elif isinstance(layer, (nn.LSTM, nn.GRU)) and not layer.proj_size and hasattr(x, "dim") and x.dim() == 3:
        yield from _recurrent(layer, x if layer.batch_first else x.transpose(0, 1))


def _recurrent(layer: Any, x: Any) -> Iterator[tuple[str, Any]]:
    """The stack run layer by layer, (batch, time, features) each, from a state of zeros: what hides inside torch's."""
    ends = ("", "_reverse") if layer.bidirectional else ("",)
    names = [name.partition("_l0")[0] for name in layer._flat_weights_names if name.endswith("_l0")]
    for level in range(layer.num_layers):
        options = {"bias": layer.bias, "batch_first": True, "bidirectional": layer.bidirectional}
        one = type(layer)(x.shape[-1], layer.hidden_size, 1, **options).to(x)
        one.load_state_dict(
            {f"{name}_l0{end}": getattr(layer, f"{name}_l{level}{end}") for name in names for end in ends}
        )
        y = one(x)[0]
        for end, out in zip(ends, y.split(layer.hidden_size, dim=-1), strict=True):
            before = out[:, 1:] if end else out[:, :-1]  # the state that a step starts from
            yield f"weight_ih_l{level}{end}", x.reshape(-1, x.shape[-1])
            yield f"weight_hh_l{level}{end}", before.reshape(-1, layer.hidden_size)
        x = y


def _patches(layer: Any, x: Any) -> Any:
    """(N, in·kh·kw) of a convolution."""
    from torch import nn
    from torch.nn import functional as F

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
