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
from torch.nn.utils import parametrizations, prune

from rankstudy.config import ACTIVATIONS, Network
from rankstudy.layers import MLP, LowRankLinear, build, checked_rank, factorised, spectral_factors, weights
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


def test_widths_are_a_sequence_or_numbers():
    """What a newcomer writes is the same network."""
    for model in (
        MLP(7, 6, 5),
        MLP([7, 6, 5]),
        MLP(np.int64(7), 6, 5),
        MLP(7, 6, 5, activation="relu"),
        MLP(7, 6, 5, "relu"),
        MLP(widths=(7, 6, 5)),
        MLP((7, 6, 5), "relu"),
    ):
        assert [layer.weight.shape for layer in model.layers] == [(6, 7), (5, 6)] and model.activation == "relu"
    assert MLP(7, 6, 5, "tanh", rank=2).layers[0].rank == 2 and MLP(7, 6, 5, "tanh").activation == "tanh"
    for widths in ((7,), (7, 2.5), (7, 0), ("relu",), (7, "relu"), ((7, 6), 5, 0)):
        with pytest.raises(ValueError, match="widths must be two or more positive numbers of units, got"):
            MLP(*widths)


# --- anyone's network, factorised -------------------------------------------------------------------------------------


class Tied(nn.Module):
    """A layer used twice, another with the same weight, and an output layer with the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight, self.again = self.a.weight, self.a
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.again(torch.tanh(self.b(torch.tanh(self.a(self.embedding(x)))))))


@given(sizes, sizes, st.integers(1, 10), st.booleans(), seeds)
def test_factorised_is_the_truncated_svd_of_each_weight(inp, out, rank, bias, seed):
    """The error is Eckart and Young's, up to the rounding of the factors; the bias is the layer's own."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(inp, out, bias=bias), nn.ReLU(), nn.Linear(out, 3))
    small = factorised(model, rank)
    for before, after in zip(model[::2], small[::2], strict=True):
        assert type(after) is LowRankLinear and after.rank == rank
        w, product = exact(before.weight), exact(after.b) @ exact(after.c)
        s = np.linalg.svd(w, compute_uv=False)
        assert abs(np.linalg.norm(w - product) - np.linalg.norm(s[rank:])) <= 2 * EPS * s.sum()
        assert (before.bias is None) == (after.bias is None)
        assert before.bias is None or torch.equal(before.bias, after.bias)
    assert type(model[0]) is nn.Linear and small[2].bias is not model[2].bias


def test_which_layers_and_at_which_ranks():
    model = nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.Linear(5, 5), LowRankLinear(5, 5, 4)), nn.Conv2d(1, 1, 1))
    found = {"all": factorised(model, 2), "targets": factorised(model, 2, targets=r"1\.\d")}
    found["ranks"] = factorised(model, ranks={"0": 3, r"1\..": 2, "1.1": 1})
    ranks = {
        way: {name: m.rank for name, m in small.named_modules() if isinstance(m, LowRankLinear)}
        for way, small in found.items()
    }
    assert ranks["all"] == {"0": 2, "1.0": 2, "1.1": 2} and ranks["targets"] == {"1.0": 2, "1.1": 2}
    assert ranks["ranks"] == {"0": 3, "1.0": 2, "1.1": 1}
    assert torch.equal(found["all"][2].weight, model[2].weight)
    assert isinstance(factorised(nn.Linear(4, 3), 2), LowRankLinear)  # the model itself may be the layer
    truncated = factorised(model, ranks={"1.1": 4})[1][1]  # of rank 4 already, so nothing is lost
    assert np.abs(exact(truncated.weight) - exact(model[1][1].weight)).max() <= 64 * EPS


def test_factors_have_what_the_layer_had():
    model, seen = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4)).bfloat16(), []
    model[0].weight.requires_grad_(False)
    model[1].bias.requires_grad_(False)
    model[1].eval()
    model[0].register_forward_hook(lambda module, args, output: seen.append(type(module)))
    small = factorised(model, 2)
    assert {p.dtype for p in small.parameters()} == {torch.bfloat16}
    assert {name: p.requires_grad for name, p in small.named_parameters()} == {
        "0.b": False, "0.c": False, "0.bias": True, "1.b": True, "1.c": True, "1.bias": False,
    }  # fmt: skip
    assert [m.training for m in small] == [True, False]
    small(torch.zeros(1, 6, dtype=torch.bfloat16))
    assert seen == [LowRankLinear]
    assert small[0].in_features == 6 and small[0].out_features == 5 and small[0].weight.shape == (5, 6)


def test_sharing_survives_factorisation_or_is_refused():
    model, x = Tied(), torch.randint(0, 11, (3, 4))
    small = factorised(model, 6, targets=["a", "b"])
    assert small.again is small.a and small.b.b is small.a.b and small.b.c is small.a.c
    assert small.head.weight is small.embedding.weight and small.a.bias is not small.b.bias
    assert torch.allclose(small(x), model(x), atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) == 66 + 2 * 6 * 6 + 6 + 6
    for options, message in (
        ({"rank": 2}, r"'head' shares its weight with 'embedding\.weight', and the two cannot be the same factors"),
        ({"rank": 2, "targets": "a"}, r"'a' shares its weight with 'b\.weight'"),
        ({"ranks": {"a": 2, "b": 3}}, r"'a' shares its weight with 'b\.weight'"),
    ):
        with pytest.raises(ValueError, match=message):
            factorised(model, **options)
    factors = nn.Sequential(LowRankLinear(4, 4, 2), LowRankLinear(4, 4, 2))
    factors[1].b = factors[0].b
    with pytest.raises(ValueError, match=r"'0' shares its b with '1\.b'"):
        factorised(factors, 1)


def test_factorised_works_in_a_transformer_and_on_the_meta_device():
    model = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    small, x = factorised(model, 8), torch.randn(2, 5, 8)
    assert torch.allclose(small(x), model(x), atol=1e-5)  # of full rank
    small.eval(), model.eval()
    with torch.no_grad():  # torch's fast path reads weight and bias
        assert torch.allclose(small(x), model(x), atol=1e-5)
    shapes = factorised(nn.Sequential(nn.Linear(6, 5, device="meta")), 2)
    assert shapes[0].b.is_meta and shapes[0].b.shape == (5, 2) and shapes[0].c.shape == (2, 6)


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def with_scale() -> nn.Linear:
    layer = nn.Linear(3, 3)
    layer.scale = nn.Parameter(torch.ones(3))
    return layer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Doubled(3, 3), "'1' cannot be factorised: a Doubled has a forward of its own; name the other layers"),
        (
            lambda: parametrizations.weight_norm(nn.Linear(3, 3, bias=False)),
            "'1' cannot be factorised: it is parametrised",
        ),
        (lambda: nn.LazyLinear(3), "'1' cannot be factorised: a LazyLinear has no weight before its first call"),
        (with_scale, "'1' cannot be factorised: it has a scale beside weight and bias"),
        (lambda: prune.l1_unstructured(nn.Linear(3, 3), "weight", 2), "'1' cannot be factorised: it has a weight_mask"),
    ],
)
def test_what_factors_cannot_stand_in_for_is_named(make, message):
    model = nn.Sequential(nn.Linear(3, 3), make())
    with pytest.raises(ValueError, match=message):
        factorised(model, 2)
    with pytest.raises(ValueError, match=r"target '1' matches '1', but"):
        factorised(model, ranks={"1": 2})
    assert type(factorised(model, 2, targets="0")[0]) is LowRankLinear


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give rank, one for all layers, or ranks, one for each; got None and None"),
        ({"rank": 2, "ranks": {"layers.0": 2}}, "give rank, one for all layers, or ranks"),
        ({"ranks": {"layers.0": 2}, "targets": "layers.0"}, "targets go with rank; ranks names its layers itself"),
        ({"rank": 0}, "rank must be an integer of at least 1, got 0"),
        ({"ranks": {"layers.1": 1.5}}, "rank must be an integer of at least 1, got 1.5"),
        ({"ranks": {"layers.7": 2}}, "target 'layers.7' matches no layer"),
        ({"rank": 2, "targets": []}, "model has no linear layer to factorise"),
    ],
)
def test_an_impossible_factorisation_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        factorised(MLP(5, 4, 3), **options)


def test_standing_for_copies_factors_and_takes_over_parameters():
    linear, b, c = nn.Linear(4, 3), torch.randn(3, 2), torch.randn(2, 4)
    layer = LowRankLinear.standing_for(linear, b, c)
    with torch.no_grad():
        layer.b.zero_()
    assert b.any()
    linear = linear.double()
    layer = LowRankLinear.standing_for(linear, b, c)
    assert layer.bias is linear.bias and layer.b.dtype == torch.float64
    again = LowRankLinear.standing_for(linear, layer.b, layer.c)
    assert again.b is layer.b and again.c is layer.c
    x = torch.randn(5, 4).double()
    assert torch.equal(LowRankLinear.standing_for(linear, b, c)(x), F.linear(x @ c.double().T, b.double(), linear.bias))
