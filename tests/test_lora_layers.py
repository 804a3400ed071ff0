"""The adapters themselves: what they add, beside a layer and inside a weight, and what they leave alone."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from rankstudy.layers import LowRankLinear
from rankstudy.lora import LoRALinear, merged
from rankstudy.lora_layers import (
    LoRAWeight,
    adapters_in,
    evaluated,
    freeze,
    insert,
    inserted,
    original,
    originals_of,
    take_out,
    thaw,
)
from tests.test_lora import EPS, alphas, exact, randomised, scalings, seeds, sizes


def layer(inp, out, rank, alpha, scaling, bias, seed) -> tuple[LoRALinear, torch.Generator]:
    torch.manual_seed(seed)
    made = LoRALinear(nn.Linear(inp, out, bias=bias), rank, alpha, scaling=scaling)
    return randomised(made, seed), torch.Generator().manual_seed(seed)


@given(sizes, sizes, sizes, alphas, scalings, seeds)
def test_delta_is_alpha_over_r_times_b_times_a(inp, out, rank, alpha, scaling, seed):
    """ΔW = (α/r)·B·A, or (α/√r)·B·A: (r + 2) roundings an entry. Its rank is at most r."""
    adapted, _ = layer(inp, out, rank, alpha, scaling, False, seed)
    a, b = exact(adapted.lora_a), exact(adapted.lora_b)
    scale = alpha / (rank if scaling == "lora" else math.sqrt(rank))
    assert (abs(exact(adapted.delta()) - scale * b @ a) <= (rank + 2) * EPS * scale * (abs(b) @ abs(a))).all()
    assert adapted.delta().shape == (out, inp)
    tail = np.linalg.svd(exact(adapted.double().delta()), compute_uv=False)[rank:]
    assert (tail <= (inp + out + rank) * 2**-52 * scale * np.linalg.norm(abs(b) @ abs(a))).all()


@given(sizes, sizes, sizes, sizes, alphas, scalings, st.booleans(), seeds)
def test_unmerged_and_merged_are_the_same_layer(batch, inp, out, rank, alpha, scaling, bias, seed):
    """Both are x·(W + ΔW)ᵀ + bias within the bound for their float32 sums, and so within twice it of each other."""
    adapted, generator = layer(inp, out, rank, alpha, scaling, bias, seed)
    x = torch.randn(batch, inp, generator=generator)
    w, a, b = exact(adapted.base.weight), exact(adapted.lora_a), exact(adapted.lora_b)
    offset = exact(adapted.base.bias) if bias else np.zeros(out)
    scale = alpha / (rank if scaling == "lora" else math.sqrt(rank))
    expected = exact(x) @ (w + scale * b @ a).T + offset
    largest = abs(w) + scale * abs(b) @ abs(a)
    bound = (inp + rank + 5) * EPS * (abs(exact(x)) @ largest.T + abs(offset))
    assert (abs(exact(adapted(x)) - expected) <= bound).all()
    plain = merged(adapted)
    assert type(plain) is nn.Linear and torch.equal(plain.weight, adapted.weight)
    assert (abs(exact(plain(x)) - expected) <= bound).all()


@given(sizes, sizes, sizes, sizes, sizes, alphas, st.booleans(), seeds)
def test_an_adapter_on_low_rank_factors_is_more_of_them(batch, inp, out, base_rank, rank, alpha, bias, seed):
    """Merged it has rank r₀ + r and no product is formed; both are x·(B₀C₀ + ΔW)ᵀ + bias within their rounding."""
    torch.manual_seed(seed)
    base = LowRankLinear(inp, out, base_rank, bias=bias)
    adapted, x = randomised(LoRALinear(base, rank, alpha), seed), torch.randn(batch, inp)
    b0, c0, a, b = (exact(p) for p in (base.b, base.c, adapted.lora_a, adapted.lora_b))
    offset = exact(base.bias) if bias else np.zeros(out)
    expected = exact(x) @ (b0 @ c0 + alpha / rank * b @ a).T + offset
    largest = abs(b0) @ abs(c0) + alpha / rank * abs(b) @ abs(a)
    bound = (inp + base_rank + rank + 6) * EPS * (abs(exact(x)) @ largest.T + abs(offset))
    assert (abs(exact(adapted(x)) - expected) <= bound).all()
    plain = merged(adapted)
    assert type(plain) is LowRankLinear and plain.b.shape == (out, base_rank + rank)
    assert (abs(exact(plain(x)) - expected) <= bound).all()
    assert (
        abs(exact(adapted.weight) - (b0 @ c0 + alpha / rank * b @ a)) <= (base_rank + rank + 4) * EPS * largest
    ).all()


@pytest.mark.parametrize("make", [lambda: LoRALinear(nn.Linear(8, 5), 3), lambda: LoRAWeight(torch.zeros(5, 8), 3)])
def test_b_begins_at_zero_and_a_as_in_a_linear_layer(make):
    """U(±1/√in), whose standard deviation is 1/√(3·in)."""
    drawn = torch.stack([make().lora_a.detach() for _ in range(100)])
    assert not make().lora_b.any() and drawn.abs().max() <= 1 / math.sqrt(8)
    assert abs(drawn.std().item() * math.sqrt(3 * 8) - 1) < 5 / math.sqrt(drawn.numel())


def test_base_is_copied_not_shared():
    base = nn.Linear(5, 4)
    before = base.weight.detach().clone()
    adapted = LoRALinear(base, 2, initialisation="pissa")
    assert adapted.base is not base and base.weight.requires_grad and torch.equal(base.weight, before)


def test_the_base_itself_is_wrapped_where_that_is_asked_for():
    base = nn.Linear(5, 4)
    adapted = LoRALinear(base, 2, copied=False)
    assert adapted.base is base and adapted.bias is base.bias and not base.weight.requires_grad
    assert LoRALinear(nn.Linear(5, 4, bias=False), 2).bias is None


def test_dropout_is_on_the_adapters_inputs_and_in_training_only():
    adapted, x = randomised(LoRALinear(nn.Linear(6, 4), 3, dropout=0.5)), torch.randn(7, 6)
    b, a = adapted.scale * adapted.lora_b, adapted.lora_a
    torch.manual_seed(3)
    expected = adapted.base(x) + F.linear(F.linear(F.dropout(x, 0.5), a), b)
    torch.manual_seed(3)
    assert torch.equal(adapted(x), expected)
    adapted.eval()
    assert torch.equal(adapted(x), adapted.base(x) + F.linear(F.linear(x, a), b)) and "dropout=0.5" in repr(adapted)
    assert "dropout" not in repr(LoRALinear(nn.Linear(6, 4), 3))


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5, math.nan])
def test_an_impossible_dropout_is_refused(dropout):
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
        LoRALinear(nn.Linear(6, 4), 3, dropout=dropout)


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_beside_a_layer_that_computes_something_else_there_is_no_adapter():
    """ΔW·x added to its output would not be what W + ΔW makes of x."""
    for base in (Doubled(4, 3), parametrizations.weight_norm(nn.Linear(4, 3)), nn.Conv2d(1, 1, 1)):
        with pytest.raises(ValueError, match="base must be x·Wᵀ \\+ bias with a W of its own, got"):
            LoRALinear(base, 2)


@pytest.mark.parametrize("adapter", [lambda w, *a, **k: LoRALinear(linear(w), *a, **k), LoRAWeight])
def test_options_are_those_of_the_layer(adapter):
    """α is the rank unless it is given; what cannot be is refused."""
    weight = torch.randn(5, 8)
    assert adapter(weight, 3).scale == 1 and adapter(weight, 3, 6.0).scale == 2
    assert adapter(weight, 4, 6.0, scaling="rslora").scale == 3
    for arguments, message in (
        ({"rank": 0}, "rank must be an integer of at least 1, got 0"),
        ({"rank": 2, "alpha": 0.0}, "alpha must be positive and finite, got 0.0"),
        ({"rank": 2, "alpha": math.inf}, "alpha must be positive and finite, got inf"),
        ({"rank": 2, "scaling": "dora"}, "scaling must be lora or rslora, got 'dora'"),
        ({"rank": 2, "initialisation": "random"}, "initialisation must be zero or pissa, got 'random'"),
        ({"rank": 6, "initialisation": "pissa"}, r"rank must be at most min\(out, in\) = 5 for pissa, got 6"),
    ):
        with pytest.raises(ValueError, match=message):
            adapter(weight, **arguments)


def linear(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(*weight.shape[::-1])
    layer.weight = nn.Parameter(weight.clone())
    return layer


def test_pissa_needs_a_weight():
    with pytest.raises(ValueError, match="a LowRankLinear has none of its own"):
        LoRALinear(LowRankLinear(6, 4, 2), 2, initialisation="pissa")


@given(sizes, sizes, sizes, alphas, scalings, st.sampled_from([None, slice(0, 2), slice(2, 4), slice(4, 6)]), seeds)
def test_inside_a_weight_it_is_added_to_its_rows(inp, rank, layers, alpha, scaling, rows, seed):
    torch.manual_seed(seed)
    weight = torch.randn(6, inp)
    adapter = randomised(LoRAWeight(weight, rank, alpha, scaling=scaling, part="k_proj", rows=rows), seed)
    before = weight.clone()
    expected = exact(weight)
    own = slice(0, 6) if rows is None else rows
    scale = alpha / (rank if scaling == "lora" else math.sqrt(rank))
    a, b = exact(adapter.lora_a), exact(adapter.lora_b)
    expected[own] += scale * b @ a
    bound = np.zeros_like(expected)
    bound[own] = (rank + 3) * EPS * (abs(exact(weight))[own] + scale * abs(b) @ abs(a))
    assert (abs(exact(adapter(weight)) - expected) <= bound).all() and torch.equal(weight, before)
    assert adapter.delta().shape == weight[own].shape


def test_pissa_inside_a_weight_takes_from_its_rows_alone():
    weight = nn.Parameter(torch.randn(6, 5))
    before = weight.detach().clone()
    adapter = LoRAWeight(weight, 2, 6.0, initialisation="pissa", rows=slice(2, 4))
    assert torch.equal(weight[:2], before[:2]) and torch.equal(weight[4:], before[4:])
    assert (abs(exact(weight)[2:4]) <= 8 * EPS * np.linalg.norm(exact(before), 2)).all()  # all of two rows is of rank 2
    assert (abs(exact(adapter(weight)) - exact(before)) <= 8 * EPS * np.linalg.norm(exact(before), 2)).all()


def test_into_a_module_and_out_again():
    module, x = nn.Linear(5, 4).eval(), torch.randn(3, 5)
    weight = module.weight
    assert inserted(module) == [] and original(module, "weight") is weight
    for seed in (0, 1):
        insert(module, "weight", randomised(LoRAWeight(original(module, "weight"), 2), seed))
    first, second = adapters_in(module, "weight")
    assert inserted(module) == ["weight"] and original(module, "weight") is weight
    assert torch.equal(module(x), F.linear(x, weight + first.delta() + second.delta(), module.bias))
    assert not any(each.training for each in module.modules())
    assert list(originals_of(module, "weight")) == ["original"]
    before, value = weight.detach().clone(), nn.Parameter(evaluated(module, "weight"))
    take_out(module, "weight", value)
    assert type(module) is nn.Linear and module.weight is value and torch.equal(weight, before)


def test_other_parametrisations_come_first_and_stand_still_meanwhile():
    """Of a spectral norm an evaluation in training mode would move the singular vectors on."""
    module = parametrizations.weight_norm(nn.Linear(5, 4))
    assert torch.equal(original(module, "weight"), module.weight)
    module = parametrizations.spectral_norm(nn.Linear(5, 4))
    state = copy.deepcopy(module.state_dict())
    norm = module.parametrizations.weight[0]
    insert(module, "weight", randomised(LoRAWeight(original(module, "weight"), 2)))
    (adapter,) = adapters_in(module, "weight")
    assert original(module, "weight").shape == (4, 5) and adapter.training and norm.training
    value = evaluated(module, "weight")
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in state.items())
    assert module.training and norm.training and not value.requires_grad
    module.eval()
    assert torch.equal(module.weight, value) and torch.equal(
        value, norm(module.parametrizations.weight.original) + adapter.delta()
    )
    assert not parametrize.is_parametrized(nn.Linear(2, 2))


def test_frozen_is_what_trained_and_thawed_what_did():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    model[0].bias.requires_grad_(False)
    adapted = nn.Sequential(LoRALinear(model[0], 2), model[1], model[2])
    freeze(adapted)
    assert [name for name, p in adapted.named_parameters() if p.requires_grad] == ["0.lora_a", "0.lora_b"]
    freeze(adapted)  # a second time nothing is forgotten
    thaw(copy.deepcopy(adapted))
    thaw(adapted)
    assert [name for name, p in adapted.named_parameters() if not p.requires_grad] == ["0.base.bias"]
    assert not any("frozen" in name for module in adapted.modules() for name in vars(module))
