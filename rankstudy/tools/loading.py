"""Back into the module: a compressed checkpoint in a copy of the user's network, whose layers compute with factors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from rankstudy import UsageError
from rankstudy.tools import levels
from rankstudy.tools.reading import Checkpoint, opened
from rankstudy.tools.tensors import INTEGERS, Entry, from_torch

TORCH_ONLY = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
              "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz"}  # fmt: skip


def load_compressed(model: Any, path: str | Path, *, strict: bool = True) -> Any:
    """A copy of the user's module with the weights of a compressed checkpoint, strictly: every tensor has its place.

    A factorised `nn.Linear` becomes a `LowRankLinear`, an embedding the rows of one factor times the other, a
    convolution two convolutions, an LSTM or GRU keeps the factors and multiplies them while it runs; tied weights share
    their factors. Any other layer (a cell, an attention's input projection) gets a parametrisation that multiplies the
    factors whenever it uses them: small in memory, not faster. Names may differ by wrappers' prefixes.

    Integer tensors that the model does not have (an older version's `position_ids`) are named in a warning.

    Args:
        model: the module that the checkpoint was made of, with any weights.
        path: what `compress` wrote: a file, or a folder of shards.
        strict: False lets the model keep what the file has not, and leaves what the model has no place for, as
            `load_state_dict` does; a warning names both. Shapes must agree all the same.

    Raises:
        UsageError: the file is no compressed checkpoint.
        ValueError: it does not fit the model; the message names the tensors.

    >>> import tempfile, torch
    >>> from rankstudy.tools.compression import compress
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = compress(model, f"{folder}/small.safetensors", rank=8, include=".")
    ...     small = load_compressed(model, f"{folder}/small.safetensors")
    >>> small[0].rank
    8
    """
    from rankstudy.replace import copied, replace_

    with opened(path) as found:
        if not found.compressed:
            raise UsageError(f"{path} is no checkpoint written by rankstudy compress")
        model = copied(model)
        factors = _load_dense(model, found, strict)
        shared: dict[int, tuple[Any, Any]] = {}
        replace_(model, lambda name, layer: _with_factors(name, layer, factors, shared))
    return model


def _load_dense(model: Any, found: Checkpoint, strict: bool) -> dict[str, Entry]:
    """Load what is no product; the products by the model's names."""
    import torch

    wanted: dict[str, Entry] = {}
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            entry = from_torch(value)
            wanted[name] = entry if isinstance(entry, Entry) else Entry("", tuple(value.shape), bytes)
    names = levels.matched(wanted, found.entries)
    taken = set(names.values())
    missing = [name for name in wanted if name not in names and not name.endswith("_extra_state")]
    extra = [name for name in found.entries if name not in taken]
    if indices := [name for name in extra if found.entries[name].dtype in INTEGERS]:  # of an older version's buffers
        warnings.warn(f"the model has no such buffer: {', '.join(indices)}", stacklevel=3)
        extra = [name for name in extra if name not in indices]
    shapes = {name: (found.entries[other].shape, wanted[name].shape) for name, other in names.items()}
    wrong = [f"{name} {list(ours)} for {list(theirs)}" for name, (ours, theirs) in shapes.items() if ours != theirs]
    here = {"missing": missing, "unknown": extra}
    if refused := _listed({**(here if strict else {}), "of another shape": wrong}):
        more = "; strict=False loads the rest" if strict and not wrong else ""
        raise ValueError(f"the checkpoint does not fit the model: {refused}{more}")
    if passed_over := _listed(here):
        warnings.warn(f"not everything is loaded: {passed_over}", stacklevel=3)
    dense, factors = {}, {}
    for name, other in names.items():
        entry = found.entries[other]
        if entry.factors is None:
            dense[name] = tensor(entry)
        else:
            factors[name] = entry
    model.load_state_dict(dense, strict=False)
    return factors


def _listed(problems: dict[str, list[str]]) -> str:
    """Kinds and names, six of each."""
    return "; ".join(
        f"{kind} {', '.join(each[:6])}" + (", …" if len(each) > 6 else "") for kind, each in problems.items() if each
    )


def _with_factors(name: str, layer: Any, factors: dict[str, Entry], shared: dict[int, tuple[Any, Any]]) -> Any:
    """The layer that computes with the factors of this one's matrices; None if it has none, or takes them itself."""
    from torch import nn

    from rankstudy.tools.modules import LowRankRNN, parametrise, standing_for

    prefix = f"{name}." if name else ""
    own = {leaf: factors[prefix + leaf] for leaf in layer._parameters if prefix + leaf in factors}
    if not own:
        return None
    pairs = {leaf: _parameters(entry, layer._parameters[leaf], shared) for leaf, entry in own.items()}
    if isinstance(layer, (nn.LSTM, nn.GRU, nn.RNN)):
        return LowRankRNN(_detached_copy(layer), pairs)
    new = standing_for(layer, *pairs["weight"]) if set(own) == {"weight"} else None
    if new is None:
        for leaf, pair in pairs.items():
            parametrise(layer, leaf, *pair)
    return new


def _detached_copy(layer: Any) -> Any:
    """The same recurrent layer in an object of its own, so that its matrices can be taken away."""
    inner = object.__new__(type(layer))
    inner.__dict__ = {key: (value.copy() if isinstance(value, dict) else value) for key, value in vars(layer).items()}
    inner.__dict__["_flat_weight_refs"] = [None] * len(layer._flat_weights_names)  # torch looks no weight up by itself
    return inner


def _parameters(entry: Entry, like: Any, shared: dict[int, tuple[Any, Any]]) -> tuple[Any, Any]:
    """The two factors as parameters of the old one's dtype and device; tied matrices get the same two."""
    from torch import nn

    if id(entry.factors) not in shared:
        pair = tuple(nn.Parameter(tensor(each).to(like), like.requires_grad) for each in entry.factors)
        shared[id(entry.factors)] = pair
    return shared[id(entry.factors)]


def tensor(entry: Entry) -> Any:
    """The entry as a torch tensor of its own dtype."""
    import torch

    content = bytearray(entry.read())
    if entry.dtype in TORCH_ONLY:
        raw = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
        return raw.view(getattr(torch, TORCH_ONLY[entry.dtype])).reshape(entry.shape)
    return torch.from_numpy(np.array(entry.values()))
