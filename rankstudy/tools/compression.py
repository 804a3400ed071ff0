"""Compression of anyone's checkpoint: factors where they pay, and back into the module.

A factorised tensor NAME is stored as NAME.rankstudy_b and NAME.rankstudy_c in its own dtype; the file is safetensors,
written one tensor at a time.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankstudy import UsageError
from rankstudy._linalg.gram import accelerator, singular_values
from rankstudy._linalg.leading import leading_factors
from rankstudy.factorization import smallest_rank
from rankstudy.files import write_atomically
from rankstudy.spectrum import Spectrum
from rankstudy.tools.checkpoint import bar, check_rank_error, finite_values, weight_matrices
from rankstudy.tools.tensors import Entry, encode, opened

FORMAT = "rankstudy-1"  # in the metadata of a compressed checkpoint
B, C = ".rankstudy_b", ".rankstudy_c"


def compress(
    source: Any, out: str | Path, *, rank_error: float = 0.05, progress: bool = False
) -> list[tuple[str, tuple[int, int], int | None, float]]:
    """Write a checkpoint with B·C where that has fewer numbers than the matrix at this error, and the rest as it was.

    `out` is a safetensors file: a factorised tensor NAME becomes NAME.rankstudy_b (m, r) and NAME.rankstudy_c (r, n) in
    the tensor's own dtype. It appears under its name only when it is whole.

    Returns:
        (name, (m, n), rank or None where it stays dense, relative error measured after rounding) per matrix.

    Raises:
        UsageError: as `analyze`; `out` cannot be written, or is the source.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     compress({"weight": np.ones((64, 64), np.float32)}, f"{folder}/small.safetensors")
    [('weight', (64, 64), 1, 0.0)]
    """
    check_rank_error(rank_error)
    out = Path(out)
    if isinstance(source, (str, Path)) and out.exists() and out.samefile(source):
        raise UsageError(f"OUT {out} is FILE itself; name another file")
    if out.is_dir() or not out.parent.is_dir():
        raise UsageError(f"OUT {out} is a folder" if out.is_dir() else f"OUT {out}: there is no folder {out.parent}")
    device = accelerator()
    done: list[tuple[str, tuple[int, int], int | None, float]] = []
    with opened(source) as (entries, other):
        names, _ = weight_matrices(entries, other)
        try:
            with _Writer(out) as writer:
                for name, entry in bar(list(entries.items()), progress):
                    if name in names:
                        factors, error = _factorised(name, entry, rank_error, device)
                        shape = names[name][1]
                        done.append((name, shape, None if factors is None else factors[0].shape[1], error))
                        if factors is not None:
                            writer.add(name + B, entry.dtype, factors[0].shape, encode(factors[0], entry.dtype))
                            writer.add(name + C, entry.dtype, factors[1].shape, encode(factors[1], entry.dtype))
                            continue
                    writer.add(name, entry.dtype, entry.shape, entry.read())
                shapes = {name: entries[name].shape for name, _, rank, _ in done if rank is not None}
                writer.finish({"format": FORMAT, "rank_error": rank_error, "shapes": shapes})
        except OSError as error:
            raise UsageError(f"OUT {out} cannot be written: {error.strerror}") from error
    return done


def load_compressed(model: Any, path: str | Path) -> Any:
    """A copy of the user's module with the weights of a compressed checkpoint, strictly: every tensor has its place.

    A factorised `nn.Linear` becomes a `LowRankLinear` with its bias kept; in any other module (a convolution, an
    embedding) the product B·C becomes the weight.

    Raises:
        UsageError: the file is no compressed checkpoint.
        ValueError: it does not fit the model; the message names the tensors.

    >>> import tempfile, torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64))
    >>> _ = model[0].weight.data.fill_(0.5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = compress(model, f"{folder}/small.safetensors")
    ...     small = load_compressed(model, f"{folder}/small.safetensors")
    >>> small[0].rank
    1
    """
    import copy

    import torch

    from rankstudy.layers import LowRankLinear

    metadata = _metadata(Path(path))
    model = copy.deepcopy(model)
    state: dict[str, Any] = {}
    with opened(path) as (entries, _):
        tensors = {name: torch.from_numpy(np.array(entry.values())) for name, entry in entries.items()}
    for name, shape in metadata["shapes"].items():
        b, c = tensors.pop(name + B), tensors.pop(name + C)
        parent, _, leaf = name.rpartition(".")
        try:
            module = model.get_submodule(parent)
        except AttributeError as error:
            raise ValueError(f"model has no module {parent!r}, which the checkpoint factorises") from error
        if type(module) is torch.nn.Linear and leaf == "weight":
            out_features, in_features = shape
            layer = LowRankLinear(in_features, out_features, b.shape[1], bias=module.bias is not None)
            layer = layer.to(module.weight.device, module.weight.dtype)
            holder, _, attribute = parent.rpartition(".")
            if not parent:
                raise ValueError("model is a single nn.Linear; put it into a module to have it replaced")
            setattr(model.get_submodule(holder), attribute, layer)
            state[f"{parent}.b"], state[f"{parent}.c"] = b, c
        else:
            state[name] = (b.double() @ c.double()).reshape(shape).to(b.dtype)
    state.update(tensors)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"the checkpoint does not fit the model: {' '.join(str(error).split())}") from error
    return model


def _factorised(
    name: str, entry: Entry, rank_error: float, device: Any
) -> tuple[tuple[np.ndarray, np.ndarray] | None, float]:
    """Factors (m, r), (r, n) with their measured relative error after rounding; None where the matrix is smaller."""
    shape = (entry.shape[0], int(np.prod(entry.shape[1:])))
    values = finite_values(name, entry, shape)
    spectrum = Spectrum(singular_values(values, entry.dtype, rank_error, device), shape)
    rank = int(smallest_rank(spectrum, rank_error))
    limit = -(-shape[0] * shape[1] // (shape[0] + shape[1]))  # factors must have fewer numbers, not as many
    norm = float(np.linalg.norm(values.astype(np.float64)))
    if 0 < rank < limit:
        all_factors = leading_factors(values, min(rank + 8, limit - 1, *shape), device)
        for r in range(rank, all_factors.rank + 1):  # rounding to the stored dtype may ask for a little more
            part = all_factors.leading(r)
            rounded = [_rounded(each, entry.dtype) for each in (part.b, part.c)]
            error = float(np.linalg.norm(values - rounded[0] @ rounded[1])) / norm
            if error <= rank_error:
                return (rounded[0], rounded[1]), error
    return None, 0.0


def _rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    content = encode(array, dtype)
    return Entry(dtype, array.shape, lambda: content).values().astype(np.float64)


def _metadata(path: Path) -> dict[str, Any]:
    problem = UsageError(f"{path} is no checkpoint written by rankstudy compress")
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        found = json.loads(header["__metadata__"]["rankstudy"])
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise problem from error
    if found.get("format") != FORMAT:
        raise problem
    return found


class _Writer:
    """A safetensors file, one tensor at a time: the data go to a temporary file, the header is known at the end."""

    def __init__(self, out: Path):
        self.out, self.header, self.offset = out, {}, 0

    def __enter__(self) -> _Writer:
        self.data = tempfile.TemporaryFile(dir=self.out.parent)
        return self

    def add(self, name: str, dtype: str, shape: Sequence[int], content: bytes) -> None:
        self.header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [self.offset, self.offset + len(content)],
        }
        self.offset += len(content)
        self.data.write(content)

    def finish(self, metadata: Mapping[str, Any]) -> None:
        text = json.dumps({"__metadata__": {"rankstudy": json.dumps(metadata)}, **self.header}).encode()
        text += b" " * (-len(text) % 8)  # the format wants the data aligned
        self.data.seek(0)
        chunks = iter(lambda: self.data.read(1 << 24), b"")
        write_atomically(self.out, itertools.chain([len(text).to_bytes(8, "little") + text], chunks))

    def __exit__(self, *_: object) -> None:
        self.data.close()


def main(argv: Sequence[str]) -> int:
    """`compress FILE OUT …`."""
    import argparse

    parser = argparse.ArgumentParser(prog=f"python -m rankstudy {argv[0]}")
    parser.add_argument("file", help="safetensors, or a torch state dict")
    parser.add_argument("out", type=Path, help="safetensors file to write")
    parser.add_argument("--rank-error", type=float, default=0.05, help="relative Frobenius error (default %(default)s)")
    options = parser.parse_args(argv[1:])
    done = compress(options.file, options.out, rank_error=options.rank_error, progress=True)
    for name, (m, n), rank, error in done:
        what = "stays dense" if rank is None else f"rank {rank}, relative error {error:.4f}"
        print(f"  {name} {m}×{n}: {what}")
    factored = sum(rank is not None for _, _, rank, _ in done)
    before, after = Path(options.file).stat().st_size, options.out.stat().st_size
    print(
        f"rankstudy: {factored} of {len(done)} matrices as factors; {before / 1e6:.1f} MB -> {after / 1e6:.1f} MB "
        f"in {options.out}"
    )
    if not factored:
        print("rankstudy: at this error no factors pay; a larger --rank-error may", file=sys.stderr)
    return 0
