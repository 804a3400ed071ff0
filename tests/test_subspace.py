"""Subspaces: P has unit columns that are nearly orthogonal, and a network in a subspace is an ordinary module."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard as scipy_hadamard
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from rankstudy import config, data, lora, subspace
from rankstudy.layers import MLP, build, weights
from rankstudy.subspace import PROJECTIONS, FastfoodProjection, Subspace, hadamard
from rankstudy.training import train

EPS = float(np.finfo(np.float32).eps)
KINDS = sorted(PROJECTIONS)
kinds = st.sampled_from(KINDS)
seeds = st.integers(0, 2**32 - 1)
NETWORK = config.Network((6, 5, 4, 3))


@st.composite
def sizes(draw, largest=500):
    """(D, d) with d ≤ D."""
    size = draw(st.integers(1, largest))
    return size, draw(st.integers(1, min(size, 40)))


def projection(kind: str, size: int, dimension: int, seed: int) -> nn.Module:
    return PROJECTIONS[kind](size, dimension, torch.Generator().manual_seed(seed))


def matrix(p: nn.Module, dimension: int) -> np.ndarray:
    """P written out, (D, d): what it makes of every unit vector."""
    return vmap(p)(torch.eye(dimension)).T.double().numpy()


def tensors(kind: str, size: int, dimension: int) -> dict[str, torch.Tensor]:
    return dict(projection(kind, size, dimension, 0).named_buffers())


@given(kinds, sizes(), seeds)
def test_columns_have_unit_length(kind, sizes, seed):
    size, dimension = sizes
    p = matrix(projection(kind, size, dimension, seed), dimension)
    assert p.shape == (size, dimension)
    lengths = np.linalg.norm(p, axis=0)
    assert (abs(lengths - 1) <= 8 * math.sqrt(size) * EPS).all()


@given(kinds, sizes(), seeds)
def test_a_projection_is_linear(kind, sizes, seed):
    """P(a·x + y) = a·P(x) + P(y), within the rounding of sums over at most n terms."""
    size, dimension = sizes
    p = projection(kind, size, dimension, seed)
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, dimension, generator=generator)
    difference = (p(0.5 * x + y) - 0.5 * p(x) - p(y)).double().norm()
    assert difference <= 64 * math.sqrt(size) * EPS * float(x.norm() + y.norm())
    assert torch.equal(p(torch.zeros(dimension)), torch.zeros(size))


@given(kinds, sizes(), seeds)
def test_the_gradient_is_the_transpose_of_the_explicit_matrix(kind, sizes, seed):
    """d(cᵀ·P·z)/dz = Pᵀ·c, by autograd through the fast product."""
    size, dimension = sizes
    p = projection(kind, size, dimension, seed)
    cotangent = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    z = torch.zeros(dimension, requires_grad=True)
    (gradient,) = torch.autograd.grad(p(z), z, cotangent)
    expected = matrix(p, dimension).T @ cotangent.double().numpy()
    assert (abs(gradient.double().numpy() - expected) <= 64 * EPS * math.sqrt(size) * float(cotangent.norm())).all()


@given(kinds, sizes(), seeds)
def test_a_seed_is_a_subspace(kind, sizes, seed):
    """The same numbers again for the same seed, and the global generator is left alone."""
    size, dimension = sizes
    before = torch.get_rng_state()
    one, two = (dict(projection(kind, size, dimension, seed).named_buffers()) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size, dimension", [(10_000, 50), (40_000, 200), (20_001, 250)])
def test_columns_are_nearly_orthogonal(kind, size, dimension):
    """|⟨p_i, p_j⟩| stays within √(2·log d²/D), where the largest of d² Gaussians of variance 1/D lies, and the singular
    values within 1 ± √(d/D) (Marchenko and Pastur's edges). Both are asymptotic: there are 3/√D of room, and the seed
    is fixed."""
    p = matrix(projection(kind, size, dimension, 5), dimension)
    products = p.T @ p - np.eye(dimension)
    room = 3 / math.sqrt(size)
    assert abs(products).max() <= math.sqrt(2 * math.log(dimension**2) / size) + room
    s = np.linalg.svd(p, compute_uv=False)
    assert s.max() <= 1 + math.sqrt(dimension / size) + room and s.min() >= 1 - math.sqrt(dimension / size) - room


@pytest.mark.parametrize("kind", KINDS)
def test_the_typical_product_of_two_columns_is_that_of_random_ones(kind):
    """Root mean square of ⟨p_i, p_j⟩ is at most 1/√D (plus 10 %): Fastfood's is smaller, its blocks are orthogonal."""
    size, dimension = 30_000, 200
    p = matrix(projection(kind, size, dimension, 1), dimension)
    products = (p.T @ p)[np.triu_indices(dimension, 1)]
    assert math.sqrt((products**2).mean()) <= 1.1 / math.sqrt(size)
    assert abs(p.mean()) <= 5 / math.sqrt(p.size) / math.sqrt(size)  # no common direction: entries have mean 0


@given(sizes(), seeds)
def test_a_partition_keeps_lengths_and_leaves_no_parameter_out(sizes, seed):
    """PᵀP = I; each row has one entry, of size 1/√(its group's size), and no group has two more than another."""
    size, dimension = sizes
    p = matrix(projection("partition", size, dimension, seed), dimension)
    assert abs(p.T @ p - np.eye(dimension)).max() <= 8 * math.sqrt(size) * EPS
    assert (np.count_nonzero(p, axis=1) == 1).all()
    groups = np.count_nonzero(p, axis=0)
    assert set(groups) <= {size // dimension, -(-size // dimension)}
    np.testing.assert_allclose(abs(p).max(axis=0), 1 / np.sqrt(groups), rtol=4 * EPS)


def test_a_partition_mixes_layers_and_signs():
    """Which parameters share a group is drawn: no group keeps to one part of θ, and half of the signs are negative."""
    p = matrix(projection("partition", 10_000, 20, 3), 20)
    halves = np.count_nonzero(p[:5000], axis=0) / np.count_nonzero(p, axis=0)
    assert (abs(halves - 0.5) < 5 * 0.5 / math.sqrt(500)).all()  # five standard deviations of a fair coin
    assert abs((p > 0).mean() * 20 - 0.5) < 5 * 0.5 / 100


@given(st.integers(0, 4), st.integers(1, 3), seeds)
def test_whole_fastfood_blocks_are_orthogonal(log_blocks, multiple, seed):
    """Where n divides D and d = n, PᵀP = I."""
    side, blocks = 256, multiple
    p = matrix(projection("fastfood", side * blocks, side - log_blocks, seed), side - log_blocks)
    assert abs(p.T @ p - np.eye(side - log_blocks)).max() <= 64 * EPS


@given(sizes(largest=800), seeds)
def test_fastfood_equals_its_explicit_matrix(sizes, seed):
    """The blocks written out as H·G·Π·H·B with SciPy's Hadamard matrix, cut, and each column divided by its length."""
    size, dimension = sizes
    p = projection("fastfood", size, dimension, seed)
    side = p.order.shape[1]
    h = scipy_hadamard(side).astype(float)
    stacked = []
    for before, between, order in zip(p.signs_before, p.signs_between, p.order, strict=True):
        permutation = np.eye(side)[order.numpy()]
        stacked.append(h @ np.diag(between.numpy()) @ permutation @ h @ np.diag(before.numpy()) / side)
    whole = np.concatenate(stacked)[:size, :dimension]
    lengths = np.linalg.norm(whole, axis=0)
    assert (lengths > 0).all()
    assert abs(matrix(p, dimension) - whole / lengths).max() <= 64 * EPS / min(lengths)


@pytest.mark.parametrize("side", [1, 2, 8, 64, 128, 1024, 4096])
def test_hadamard_is_scipys(side):
    x = torch.randn(3, side, generator=torch.Generator().manual_seed(side), dtype=torch.float64)
    factors = [factor.double() for factor in subspace._hadamard_factors(side)]
    assert math.prod(len(factor) for factor in factors) == side and max(map(len, factors)) <= 64
    found = hadamard(x, factors)
    np.testing.assert_allclose(found, x.numpy() @ scipy_hadamard(side), atol=1e-9)
    np.testing.assert_allclose(hadamard(found, factors), side * x, atol=1e-8)  # H·H = n·I


@given(kinds, sizes())
def test_a_projection_holds_the_memory_that_it_states(kind, sizes):
    size, dimension = sizes
    p = projection(kind, size, dimension, 0)
    held = sum(t.nbytes for name, t in p.named_buffers() if not name.startswith("factor_"))
    assert held == p.bytes_needed(size, dimension)
    assert sum(t.nbytes for name, t in p.named_buffers() if name.startswith("factor_")) <= 3 * 4 * 64**2


def test_fastfood_memory_grows_with_the_parameters_and_hardly_with_the_dimension():
    needed = [FastfoodProjection.bytes_needed(1_000_000, d) for d in (10, 1000, 50_000)]
    assert max(needed) < 18e6 and max(needed) < 1.1 * min(needed)


def test_a_product_allocates_no_more_than_stated():
    """The tensors that autograd keeps of a Fastfood product are a few times 4 bytes a row."""
    p, kept = projection("fastfood", 100_000, 700, 0), []
    z = torch.zeros(700, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.untyped_storage()) or t, lambda t: t):
        p(z)
    own = {t.untyped_storage()._cdata for t in p.buffers()}
    assert sum({s._cdata: s.nbytes() for s in kept if s._cdata not in own}.values()) <= 4 * 4 * 100_352


@pytest.mark.parametrize(
    "kind, size, dimension", [("dense", 198_800, 10_000), ("sparse", 10**7, 200_000), ("partition", 10**9, 10)]
)
def test_more_memory_than_allowed_is_refused_before_it_is_taken(kind, size, dimension):
    with pytest.raises(ValueError, match="GiB, allowed are 4; a partition needs"):
        projection(kind, size, dimension, 0)


@given(kinds, seeds, st.booleans())
def test_a_subspace_begins_as_its_network(kind, seed, scales):
    model = build(NETWORK, seed)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(Subspace(model, 10, kind, seed=seed, scales=scales)(x), model(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: build(NETWORK, 1),
        lambda: build(replace(NETWORK, rank=2), 1),
        lambda: lora.add_lora(build(NETWORK, 1), 2, seed=1),
        lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_any_model_can_be_put_into_a_subspace(make, kind):
    """θ₀ + P·z, written into a copy of the network, gives the same outputs; what was frozen stays."""
    model, x = make(), torch.randn(5, 6, generator=torch.Generator().manual_seed(2))
    before = {name: p.clone() for name, p in model.named_parameters()}
    s = Subspace(model, 7, kind, seed=3)
    assert [name for name, p in s.named_parameters() if p.requires_grad] == ["z"]
    with torch.no_grad():
        s.z.normal_(generator=torch.Generator().manual_seed(4))
    explicit = matrix(s.projection, 7) @ s.z.detach().double().numpy()
    there = s.network()
    offset = 0
    for name, p in model.named_parameters():
        moved = there.get_parameter(name).detach().double().numpy() - before[name].detach().double().numpy()
        expected = np.zeros(p.numel())
        if p.requires_grad:
            expected, offset = explicit[offset : offset + p.numel()], offset + p.numel()
        np.testing.assert_allclose(moved.ravel(), expected, atol=1e-5)
        assert torch.equal(p, before[name])
        assert there.get_parameter(name).requires_grad == p.requires_grad
    assert offset == len(explicit)
    torch.testing.assert_close(s(x), there(x))


def test_scales_are_counted_in_the_dimension_and_move_each_layer():
    s = Subspace(build(NETWORK, 0), 10, seed=0, scales=True)
    trained = {name: p.numel() for name, p in s.named_parameters() if p.requires_grad}
    assert trained == {"z": 7, "scales": 3}
    with torch.no_grad():
        s.z.fill_(1.0)
        plain = weights(s.network())
        s.scales.copy_(torch.tensor([1.0, 0.0, -2.0]))
    start, scaled = weights(s.base), weights(s.network())
    for scale, w0, w1, w2 in zip((1.0, 0.0, -2.0), start, plain, scaled, strict=True):
        torch.testing.assert_close(w2 - w0, scale * (w1 - w0))


def test_gradients_agree_with_autograd_through_the_explicit_matrix():
    """The chain rule through the network: Pᵀ times the gradient at θ = θ₀ + P·z."""
    model = build(NETWORK, 0)
    x, y = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    for kind in KINDS:
        s = Subspace(model, 9, kind, seed=1)
        with torch.no_grad():
            s.z.normal_(generator=torch.Generator().manual_seed(1))
        p = torch.from_numpy(matrix(s.projection, 9)).float()
        z = s.z.detach().clone().requires_grad_(True)
        flat = torch.cat([w.flatten() for w in model.parameters()]).detach() + p @ z
        shapes = [(name, w.shape) for name, w in model.named_parameters()]
        parts = flat.split([shape.numel() for _, shape in shapes])
        named = {name: part.view(shape) for (name, shape), part in zip(shapes, parts, strict=True)}
        (expected,) = torch.autograd.grad(F.cross_entropy(functional_call(model, named, (x,)), y), z)
        (found,) = torch.autograd.grad(F.cross_entropy(s(x), y), s.z)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def toy(train_size: int = 60) -> data.Dataset:
    """Three Gaussian clouds in six dimensions."""
    generator = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(3, 6, generator=generator)

    def split(count: int) -> data.Split:
        labels = torch.arange(count) % 3
        return data.Split(centres[labels] + torch.randn(count, 6, generator=generator), labels)

    return data.Dataset("toy", "", split(train_size), split(30), split(30))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scales", [False, True])
def test_training_moves_z_alone_and_both_engines_agree(kind, scales):
    settings = config.Training(6, 16, learning_rate=0.1)
    found, ends = [], []
    for engine in ("loop", "vmap"):
        models = [Subspace(build(NETWORK, seed), 20, kind, seed=seed, scales=scales) for seed in (0, 1)]
        start = [{name: t.clone() for name, t in m.state_dict().items()} for m in models]
        found.append(train(settings, models, toy(), [0, 1], engine=engine))
        for model, before in zip(models, start, strict=True):
            changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
            assert changed == ({"z", "scales"} if scales else {"z"})
        ends.append([m.z.detach() for m in models])
    loop, side = found
    assert (loop.train_loss[:, -1] < loop.train_loss[:, 0]).all()
    np.testing.assert_allclose(loop.train_loss, side.train_loss, rtol=1e-3)
    for one, two in zip(*ends, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind", ["partition", "fastfood"])
def test_all_directions_together_are_the_whole_network(kind):
    """With d = D and orthogonal columns, plain gradient descent in z is plain gradient descent in θ."""
    model = MLP((16, 8, 16))  # D = 256, also one whole Fastfood block
    images = torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
    split = data.Split(images, torch.arange(40) % 16)
    everything = data.Dataset("toy", "", split, split, split)
    s = Subspace(model, 256, kind, seed=0)
    settings = config.Training(5, 10, "sgd", 0.1)
    direct, inside = train(settings, [model], everything, [0]), train(settings, [s], everything, [0])
    np.testing.assert_allclose(inside.train_loss, direct.train_loss, rtol=1e-4)
    for a, b in zip(weights(model), weights(s.network()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dimension", [0, -1, 1.5, True, None, "3", 75])
def test_a_dimension_that_is_none_is_refused(dimension):
    with pytest.raises(ValueError, match="dimension must be an integer from 1 to 62, got"):
        Subspace(build(NETWORK, 0), dimension)


def test_refusals_name_what_is_wrong():
    model = build(NETWORK, 0)
    kinds = "partition, fastfood, sparse, dense"
    with pytest.raises(ValueError, match=f"projection must be one of {kinds}, got 'circulant'"):
        Subspace(model, 3, "circulant")
    with pytest.raises(ValueError, match="dimension must be an integer from 4 to 62, got 3"):
        Subspace(model, 3, scales=True)
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        Subspace(model.requires_grad_(False), 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_any_dtype_keeps_it_and_moves(kind, dtype):
    """z is float32, so that steps too small for the model's dtype add up; θ is rounded to that dtype once."""
    model = build(NETWORK, 0).to(dtype)
    network = Subspace(model, 10, kind)
    x = torch.ones(3, 6, dtype=dtype)
    assert torch.equal(network(x), model(x)) and network.z.dtype == torch.float32
    network(x).square().sum().backward()
    assert network.z.grad.abs().sum() > 0
    with torch.no_grad():
        network.z.normal_(generator=torch.Generator().manual_seed(0))
    moved = network.network()
    exactly = network.projection(network.z).split([p.numel() for p in model.parameters()])
    for before, after, part in zip(model.parameters(), moved.parameters(), exactly, strict=True):
        assert after.dtype == dtype
        wide = before.to(torch.promote_types(dtype, torch.float32))
        assert torch.equal(after, (wide + part.view(before.shape)).to(dtype))
    assert torch.equal(network(x), moved(x)) and network(x).dtype == dtype
    before = moved.layers[0].weight.clone()
    with torch.no_grad():
        for _ in range(1000):
            network.z.add_(1e-5)  # each far below the rounding of bfloat16
    assert not torch.equal(network.network().layers[0].weight, before)
