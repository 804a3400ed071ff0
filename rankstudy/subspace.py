"""Training inside a random subspace: θ = θ₀ + P·z, and only z moves (Li et al. 2018, section 2).

- θ are all D parameters of a network that require gradients, one vector; z has d numbers and begins at 0. P is drawn
  once, never trained. Its columns have length 1 and are nearly orthogonal, so a step in z moves θ about as far.
- Four kinds of P, interchangeable: a partition (one non-zero a row, exactly orthogonal, the fastest by far), Fastfood
  (O(D·log d) operations, O(D) memory, no zeros), sparse (√D non-zeros a column) and dense (any d, D·d numbers).
- Whatever is drawn comes from a CPU generator of its own, so seed 3 is the same subspace everywhere. Everything is a
  buffer or a frozen parameter: `training.train` trains a `Subspace` as it does any other module, also side by side.
"""

from __future__ import annotations

import copy
import math
import operator

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

MEMORY = 4 * 2**30  # bytes that a projection may hold
LEAST_BLOCK = 256  # a Fastfood entry is a mean of this many signs at least: near enough to a Gaussian
LARGEST_FACTOR = 64  # a Hadamard transform is a few products with matrices of at most this side


class PartitionProjection(nn.Module):
    """P that parts θ into d random groups: the parameters of a group all follow one number of z, with random signs.

    Each row has one non-zero, ± one over the root of its group's size, so columns share no row: PᵀP = I exactly, and
    lengths are kept. It is the transpose of a count sketch (Charikar, Chen and Farach-Colton 2002), and without the
    signs the projection of Uni-LoRA (Li et al. 2025). Groups have ⌊D/d⌋ or ⌈D/d⌉ parameters, so none is empty. Holds
    12·D bytes; a product takes O(D) operations, whatever d.
    """

    def __init__(self, size: int, dimension: int, generator: torch.Generator) -> None:
        super().__init__()
        _within_memory(self.bytes_needed(size, dimension), size, dimension)
        group = torch.randperm(size, generator=generator) % dimension
        lengths = torch.bincount(group, minlength=dimension).double().sqrt()
        self.register_buffer("group", group)  # (D,)
        self.register_buffer("values", _signs((size,), generator) / lengths[group].float())

    @staticmethod
    def bytes_needed(size: int, dimension: int) -> int:
        return 12 * size

    def forward(self, z: Tensor) -> Tensor:
        return z.index_select(0, self.group) * self.values  # (d,) -> (D,)


class DenseProjection(nn.Module):
    """P of independent Gaussians, each column divided by its length (Li et al. 2018, section 2).

    Holds 4·d·D bytes.
    """

    def __init__(self, size: int, dimension: int, generator: torch.Generator) -> None:
        super().__init__()
        _within_memory(self.bytes_needed(size, dimension), size, dimension)
        columns = torch.empty(dimension, size)  # (d, D): each column of P in one piece
        for column in columns:
            column.normal_(generator=generator)
            column.div_(column.norm())
        self.register_buffer("columns", columns)

    @staticmethod
    def bytes_needed(size: int, dimension: int) -> int:
        return 4 * dimension * size

    def forward(self, z: Tensor) -> Tensor:
        return z @ self.columns  # (d,) -> (D,)


class SparseProjection(nn.Module):
    """P with k = √D non-zeros ±1/√k in each column, one in each of k equal pieces of θ, so that none meet.

    The density 1/√D is that of very sparse random projections (Li, Hastie and Church 2006), which Li et al. 2018
    (section 2) use for large networks. Holds 12·d·k bytes.
    """

    def __init__(self, size: int, dimension: int, generator: torch.Generator) -> None:
        super().__init__()
        _within_memory(self.bytes_needed(size, dimension), size, dimension)
        self.size, count = size, _nonzeros(size)
        edges = torch.arange(count + 1) * size // count  # of the pieces
        within = torch.rand(dimension, count, generator=generator, dtype=torch.float64) * edges.diff()
        self.register_buffer("rows", edges[:-1] + within.long())  # (d, k)
        self.register_buffer("values", _signs((dimension, count), generator) / math.sqrt(count))

    @staticmethod
    def bytes_needed(size: int, dimension: int) -> int:
        return 12 * dimension * _nonzeros(size)

    def forward(self, z: Tensor) -> Tensor:
        terms = self.values * z[:, None]  # (d, k)
        return torch.zeros_like(z[:1]).expand(self.size).index_add(0, self.rows.flatten(), terms.flatten())


class FastfoodProjection(nn.Module):
    """P as a stack of blocks (1/n)·H·G·Π·H·B, cut to D rows and d columns, each column then divided by its length.

    H is the Hadamard matrix of side n, the power of two next above d (256 at least), B and G are diagonal with random
    signs, Π is a random permutation, all drawn for each block. This is Fastfood (Le, Sarlós and Smola 2013) with signs
    in G instead of Gaussians and no scaling S: each block is orthogonal, and so are the columns of P, up to the block
    that is cut. Holds 16 bytes for each of n·⌈D/n⌉ rows and 4·d; a product allocates a few times 4 bytes a row.
    """

    def __init__(self, size: int, dimension: int, generator: torch.Generator) -> None:
        super().__init__()
        _within_memory(self.bytes_needed(size, dimension), size, dimension)
        self.size, side = size, _side(size, dimension)
        blocks = -(-size // side)
        for i, factor in enumerate(_hadamard_factors(side)):
            self.register_buffer(f"factor_{i}", factor, persistent=False)
        lengths = torch.zeros(1)
        while lengths.min() == 0:  # possible only where D < n and tiny: a column had all its entries cut off
            self.register_buffer("signs_before", _signs((blocks, side), generator))  # B
            self.register_buffer("signs_between", _signs((blocks, side), generator))  # G
            order = torch.rand(blocks, side, generator=generator, dtype=torch.float64).argsort(dim=1)
            self.register_buffer("order", order)  # Π
            lengths = self._lengths()[:dimension]
        self.register_buffer("scale", (1 / (side * lengths)).float())

    @staticmethod
    def bytes_needed(size: int, dimension: int) -> int:
        side = _side(size, dimension)
        return 16 * side * -(-size // side) + 4 * dimension

    def _factors(self) -> list[Tensor]:
        return [buffer for name, buffer in self.named_buffers() if name.startswith("factor_")]

    def _lengths(self) -> Tensor:
        """(n,) float64 lengths of the columns of the blocks, once rows after D are cut off.

        A whole block contributes 1 to each square. Of the last one the rows that are there are computed, or those that
        are not, whichever are fewer: a row is H·G·Π·H·B transposed, applied to a unit vector.
        """
        blocks, side = self.order.shape
        there = self.size - (blocks - 1) * side
        wanted = torch.arange(there) if there <= side / 2 else torch.arange(there, side)
        factors = [factor.double() for factor in self._factors()]
        squares = torch.zeros(side, dtype=torch.float64)
        back = self.order[-1].argsort()
        for rows in wanted.split(max(1, 2**20 // side)):  # 8 MB at a time
            v = hadamard(F.one_hot(rows, side).double(), factors) * self.signs_between[-1]
            squares += (hadamard(v[:, back], factors) / side).square().sum(0)
        return (blocks - 1 + (squares if there <= side / 2 else 1 - squares)).sqrt()

    def forward(self, z: Tensor) -> Tensor:
        factors, side = self._factors(), self.order.shape[1]
        z = F.pad(z * self.scale, (0, side - len(self.scale)))
        v = hadamard(self.signs_before * z, factors)  # (blocks, n)
        v = hadamard(self.signs_between * v.gather(1, self.order), factors)
        return v.reshape(-1)[: self.size]  # (d,) -> (D,)


PROJECTIONS = {
    "partition": PartitionProjection,
    "fastfood": FastfoodProjection,
    "sparse": SparseProjection,
    "dense": DenseProjection,
}


class Subspace(nn.Module):
    """A copy of `model`, frozen at θ₀, that moves along d random directions: the parameter `z` (d,) alone trains.

    `projection` is "partition", "fastfood", "sparse" or "dense"; `seed` draws it. With `scales` there is, for each of
    the m parameter tensors, a factor λ on its part of P·z that trains too (begun at 1), and z has d − m numbers
    (structure-aware, "SAID": Aghajanyan et al. 2020, section 3).

    z and P·z are float32 whatever the model's dtype, so that steps below the rounding of a bfloat16 model add up; the
    sum with θ₀ is rounded to the dtype of each parameter.

    Raises: ValueError for an unknown projection, a model with nothing to train, a dimension that is no integer from 1
        to D (with scales: from m + 1), or a projection larger than `MEMORY`.
    """

    def __init__(
        self, model: nn.Module, dimension: int, projection: str = "partition", *, seed: int = 0, scales: bool = False
    ) -> None:
        super().__init__()
        if projection not in PROJECTIONS:
            raise ValueError(f"projection must be one of {', '.join(PROJECTIONS)}, got {projection!r}")
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        if not self.names:
            raise ValueError("model has no parameter that requires a gradient")
        self.base = copy.deepcopy(model).requires_grad_(False)
        self.shapes = [self.base.get_parameter(name).shape for name in self.names]
        size = sum(shape.numel() for shape in self.shapes)
        free = _checked_dimension(dimension, size, len(self.names) if scales else 0)
        device = self.base.get_parameter(self.names[0]).device
        self.projection = PROJECTIONS[projection](size, free, torch.Generator().manual_seed(seed)).to(device)
        self.z = nn.Parameter(torch.zeros(free, device=device))
        self.scales = nn.Parameter(torch.ones(len(self.names), device=device)) if scales else None

    def parameters_at(self, z: Tensor) -> dict[str, Tensor]:
        """θ₀ + P·z by the model's names, each in its shape and dtype."""
        parts = self.projection(z).split([shape.numel() for shape in self.shapes])
        if self.scales is not None:
            parts = [scale * part for scale, part in zip(self.scales, parts, strict=True)]
        named = zip(self.names, self.shapes, parts, strict=True)
        start = {name: _tensor(self.base, name) for name in self.names}
        return {name: (start[name] + part.view(shape)).to(start[name].dtype) for name, shape, part in named}

    def forward(self, x: Tensor) -> Tensor:
        return functional_call(self.base, self.parameters_at(self.z), (x,))

    def network(self) -> nn.Module:
        """The network where z stands now: an ordinary copy of the model, which trains all its parameters."""
        model = copy.deepcopy(self.base)
        with torch.no_grad():
            for name, value in self.parameters_at(self.z).items():
                model.get_parameter(name).copy_(value).requires_grad_(True)
        return model


def _tensor(model: nn.Module, name: str) -> Tensor:
    """The model's parameter, or what `functional_call` has put in its place."""
    path, _, own = name.rpartition(".")
    return getattr(model.get_submodule(path), own)


def hadamard(x: Tensor, factors: list[Tensor]) -> Tensor:
    """x·H over the last axis, n = the product of the factors' sides, H = factors[0] ⊗ factors[1] ⊗ … (entries ±1)."""
    *leading, last = factors
    y, inner = x.reshape(-1, len(last)) @ last, len(last)
    for factor in reversed(leading):
        y = factor @ y.reshape(-1, len(factor), inner)
        inner *= len(factor)
    return y.reshape(x.shape)


def _hadamard_factors(side: int) -> list[Tensor]:
    """Sylvester's Hadamard matrix of a power of two as Kronecker factors of about equal side."""
    bits = side.bit_length() - 1
    count = max(1, -(-bits // (LARGEST_FACTOR.bit_length() - 1)))
    split = [bits // count + (i < bits % count) for i in range(count)]
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    found = []
    for part in split:
        factor = torch.ones(1, 1)
        for _ in range(part):
            factor = torch.kron(factor, two)
        found.append(factor)
    return found


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator, dtype=torch.float32).mul_(2).sub_(1)


def _nonzeros(size: int) -> int:
    return max(1, round(math.sqrt(size)))


def _side(size: int, dimension: int) -> int:
    return 1 << (max(dimension, min(size, LEAST_BLOCK)) - 1).bit_length()


def _within_memory(needed: int, size: int, dimension: int) -> None:
    if needed > MEMORY:
        raise ValueError(
            f"a projection of {dimension} dimensions into {size} parameters needs {needed / 2**30:.1f} GiB, "
            f"allowed are {MEMORY / 2**30:.0f}; "
            f"a partition needs {PartitionProjection.bytes_needed(size, dimension) / 2**30:.2f}"
        )


def _checked_dimension(dimension: int, size: int, scales: int) -> int:
    """How many numbers z has, or a ValueError that says what is wrong with the dimension."""
    try:
        value = 0 if isinstance(dimension, bool) else operator.index(dimension)
    except TypeError:
        value = 0
    if not scales < value <= size:
        raise ValueError(f"dimension must be an integer from {scales + 1} to {size}, got {dimension!r}")
    return value - scales
