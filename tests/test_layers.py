"""Layers: a factorised layer is its product, and a seed is a network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rankstudy.config import ACTIVATIONS, Network
from rankstudy.layers import MLP, LowRankLinear, build, checked_rank, spectral_factors, weights
from rankstudy.lora import add_lora

EPS = float(np.finfo(np.float32).eps)
INITIALISATIONS = ("default", "variance", "spectral")
sizes = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)


def exact(x: torch.Tensor) -> np.ndarray:
    """float32 values as float64, in which the references are computed."""
    return x.detach().double().numpy()


@given(sizes, sizes, sizes, sizes, st.booleans(), seeds)
def test_low_rank_layer_is_multiplication_by_its_product(batch, inp, out, rank, bias, seed):
    """forward(x) = x·(B·C)ᵀ + bias, within the bound for chained float32 sums (Higham 2002, section 3.5)."""
    torch.manual_seed(seed)
    layer, x = LowRankLinear(inp, out, rank, bias=bias), torch.randn(batch, inp)
    b, c, offset = exact(layer.b), exact(layer.c), exact(layer.bias) if bias else 0.0
    terms = inp + rank + 1
    bound = terms * EPS * (abs(exact(x)) @ abs(c).T @ abs(b).T + abs(offset))
    assert (abs(exact(layer(x)) - (exact(x) @ c.T @ b.T + offset)) <= bound).all()
    assert (abs(exact(layer.weight) - b @ c) <= rank * EPS * (abs(b) @ abs(c))).all()
    assert layer(x).shape == (batch, out) and layer.weight.shape == (out, inp)


@given(sizes, sizes, sizes, seeds)
def test_squared_norm_is_that_of_the_product(inp, out, rank, seed):
    torch.manual_seed(seed)
    layer = LowRankLinear(inp, out, rank)
    b, c = exact(layer.b), exact(layer.c)
    bound = (inp + out + rank**2) * EPS * ((abs(b).T @ abs(b)) * (abs(c) @ abs(c).T)).sum()
    assert abs(layer.squared_norm().item() - np.linalg.norm(b @ c) ** 2) <= bound


def test_low_rank_layer_takes_any_leading_axes():
    layer = LowRankLinear(4, 3, 2, bias=True)
    assert layer(torch.zeros(2, 5, 4)).shape == (2, 5, 3)
    assert layer(torch.zeros(0, 4)).shape == (0, 3)


def test_low_rank_layer_has_no_bias_unless_asked():
    assert [name for name, _ in LowRankLinear(4, 3, 2).named_parameters()] == ["b", "c"]
    assert [name for name, _ in LowRankLinear(4, 3, 2, bias=True).named_parameters()] == ["b", "c", "bias"]
    assert "4, 3, rank=2, bias=False" in repr(LowRankLinear(4, 3, 2))


def test_initial_values_are_those_of_linear_layers_of_the_same_shape():
    torch.manual_seed(5)
    layer = LowRankLinear(20, 30, 4, bias=True)
    torch.manual_seed(5)
    b, c = nn.Linear(4, 30, bias=False), nn.Linear(20, 4, bias=False)
    assert torch.equal(layer.b, b.weight) and torch.equal(layer.c, c.weight)
    bound = 1 / math.sqrt(20)  # of nn.Linear(20, 30)
    assert layer.bias.abs().max() <= bound and layer.bias.std() > bound / 4


@pytest.mark.parametrize("rank", [0, -1, 1.5, 2.0, True, "2", None, float("nan")])
def test_a_rank_that_is_no_positive_integer_is_refused(rank):
    with pytest.raises(ValueError, match="rank must be an integer of at least 1, got"):
        LowRankLinear(4, 3, rank)
    assert checked_rank(np.int64(3)) == 3


def test_a_rank_above_the_layer_is_legal():
    """The assignment replaces every layer, the 10-output one too, at one rank."""
    model = MLP((20, 16, 10), rank=32)
    assert [layer.rank for layer in model.layers] == [32, 32]
    assert sum(p.numel() for p in model.parameters()) == 32 * (20 + 16) + 32 * (16 + 10)


REFERENCE = {
    "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.01), "gelu": nn.GELU(),
    "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "identity": nn.Identity(),
}  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_network_is_layers_with_one_activation_between_them(activation):
    torch.manual_seed(0)
    model, x = MLP((5, 7, 6, 3), activation), torch.randn(4, 5)
    w1, w2, w3 = weights(model)
    h1 = REFERENCE[activation](F.linear(x, w1))
    h2 = REFERENCE[activation](F.linear(h1, w2))
    expected = [h1, h2, F.linear(h2, w3)]
    assert all(torch.equal(a, b) for a, b in zip(model.features(x), expected, strict=True))
    assert torch.equal(model(x), expected[-1])
    assert model.activation == activation


def test_network_without_hidden_layers_is_linear():
    model = MLP((5, 3), "relu")
    x = torch.randn(4, 5)
    assert torch.equal(model(x), x @ model.layers[0].weight.T) and (model(x) < 0).any()


def test_ranks_per_layer():
    model = MLP((8, 7, 6, 5), rank=(3, None, 2))
    assert [type(layer) for layer in model.layers] == [LowRankLinear, nn.Linear, LowRankLinear]
    assert model.layers[0].rank == 3 and model.layers[2].rank == 2
    assert all(p.ndim == 2 for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (5,)}, "widths must be two or more"),
        ({"widths": (5, 0, 3)}, "widths must be two or more"),
        ({"widths": (5, 3), "activation": "swish"}, "activation is 'swish'; allowed are relu, "),
        ({"widths": (5, 4, 3), "rank": (2,)}, "one rank for each of 2 layers, got 1"),
        ({"widths": (5, 4, 3), "rank": 0}, "rank must be an integer of at least 1, got 0"),
    ],
)
def test_a_network_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP(**arguments)


@given(st.sampled_from([None, 1, 3, 12]), st.sampled_from(INITIALISATIONS), st.integers(0, 2**63 - 1))
def test_a_seed_is_a_network(rank, initialisation, seed):
    """build(config, seed) is a function of its arguments, and moves nobody else's random numbers."""
    config = Network((9, 7, 5), rank=rank, initialisation=initialisation)
    state = torch.get_rng_state()
    first, second, other = build(config, seed), build(config, seed), build(config, seed ^ 1)
    assert torch.equal(torch.get_rng_state(), state)
    for a, b, c in zip(first.parameters(), second.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)
        assert a.requires_grad and a.dtype == torch.float32 and a.device.type == "cpu" and a.is_contiguous()


@pytest.mark.parametrize("seed", [0, 7])
def test_default_initialisation_is_torchs_own(seed):
    """Bit for bit the weights of `nn.Linear` layers made one after the other, and of their factors."""
    torch.manual_seed(seed)
    dense = [nn.Linear(30, 20, bias=False).weight, nn.Linear(20, 10, bias=False).weight]
    assert all(torch.equal(a, b) for a, b in zip(build(Network((30, 20, 10)), seed).parameters(), dense, strict=True))
    torch.manual_seed(seed)
    factors = [nn.Linear(i, o, bias=False).weight for i, o in ((4, 20), (30, 4), (4, 10), (20, 4))]
    built = build(Network((30, 20, 10), rank=4), seed)
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), factors, strict=True))


@pytest.mark.parametrize("rank", [1, 8, 64])
@pytest.mark.parametrize(("initialisation", "factor"), [("default", 1 / 3), ("variance", 1.0)])
def test_variance_of_the_product(rank, initialisation, factor):
    """E[(B·C)²] = 1/(9·in) by default and 1/(3·in) when matched, at every rank: 5 standard errors over 40 seeds."""
    config = Network((60, 50, 10), rank=rank, initialisation=initialisation)
    seen = [3 * 60 * weights(build(config, seed))[0].square().mean().item() for seed in range(40)]
    assert abs(np.mean(seen) - factor) <= 5 * np.std(seen, ddof=1) / math.sqrt(len(seen))


@given(st.integers(1, 9), seeds)
def test_spectral_initialisation_is_the_truncated_dense_one(rank, seed):
    """B·C is the best approximation of the dense network's matrix of this seed, √σ in each factor."""
    dense = build(Network((7, 6)), seed)
    layer = build(Network((7, 6), rank=rank, initialisation="spectral"), seed).layers[0]
    target, b, c = exact(dense.layers[0].weight), exact(layer.b), exact(layer.c)
    s = np.linalg.svd(target, compute_uv=False)
    rounding = 2 * EPS * s.sum()  # factors rounded to float32: ‖δ(BC)‖_F ≤ 2·(eps/2)·Σσ, and as much for float64
    assert abs(np.linalg.norm(target - b @ c) - np.linalg.norm(s[rank:])) <= rounding
    kept = np.zeros(rank)
    kept[: min(rank, 6)] = s[:rank]
    assert np.abs(b.T @ b - np.diag(kept)).max() <= rounding and np.abs(c @ c.T - np.diag(kept)).max() <= rounding


def test_spectral_factors_do_not_touch_their_argument():
    matrix = torch.randn(5, 4, requires_grad=True)
    before = matrix.detach().clone()
    b, c = spectral_factors(matrix, 2)
    assert torch.equal(matrix, before) and not b.requires_grad and b.shape == (5, 2) and c.shape == (2, 4)
    assert b.is_contiguous() and c.is_contiguous() and b.dtype == matrix.dtype


@pytest.mark.parametrize(("rank", "initialisation"), [(None, "default"), *((3, name) for name in INITIALISATIONS)])
def test_gain_is_on_every_weight_matrix(rank, initialisation):
    plain = build(Network((9, 8, 7), rank=rank, initialisation=initialisation), 1)
    scaled = build(Network((9, 8, 7), rank=rank, initialisation=initialisation, gain=4.0), 1)  # √4 is exact
    for a, b in zip(weights(plain), weights(scaled), strict=True):
        assert torch.equal(4 * a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"initialisation": "orthogonal"}, "initialisation is 'orthogonal'; allowed are default, variance, spectral"),
        ({"gain": 0.0}, "gain must be a finite number above 0"),
        ({"gain": -1.0}, "gain must be a finite number above 0"),
        ({"gain": math.inf}, "gain must be a finite number above 0"),
        ({"gain": math.nan}, "gain must be a finite number above 0"),
        ({"rank": 0}, "rank must be a whole number of at least 1"),
    ],
)
def test_an_impossible_config_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(Network((5, 4, 3), **change), 0)


def test_effective_weights_of_every_kind_of_layer():
    """Multiplying by them is what the network does: exactly, on small integers."""
    dense = build(Network((9, 8, 7)), 0)
    factorised = build(Network((9, 8, 7), rank=3), 0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-3, 4, (4, 9), generator=generator).float()
    for network in (dense, factorised, add_lora(dense, 2)):
        with torch.no_grad():
            for p in network.parameters():
                p.copy_(torch.randint(-3, 4, p.shape, generator=generator))
        first, last = weights(network)
        assert first.shape == (8, 9) and last.shape == (7, 8) and not first.requires_grad
        assert torch.equal(network(x), F.relu(x @ first.T) @ last.T)
