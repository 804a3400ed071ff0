"""Targets: a name, the end of one, or a regular expression; and nothing that was asked for is left out."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from rankstudy.targets import chosen, has_matrix, meant, of_each, own_forward, refusal

LAYERS = {
    "0": ("0",),
    "blocks.0": ("blocks.0",),
    "blocks.0.attention": ("blocks.0.attention.q_proj", "blocks.0.attention.v_proj"),
    "blocks.0.fc": ("blocks.0.fc",),
    "blocks.1.fc": ("blocks.1.fc",),
    "head": ("head",),
}
OTHERS = {"conv": "a Conv2d has none", "blocks.1.conv": "a Conv2d has none"}


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        ("head", ["head"]),
        ("0", ["0"]),  # a whole name means itself alone, also where others end in it
        ("fc", ["blocks.0.fc", "blocks.1.fc"]),
        ("attention", ["blocks.0.attention.q_proj", "blocks.0.attention.v_proj"]),
        ("q_proj", ["blocks.0.attention.q_proj"]),
        ("blocks.0.attention.v_proj", ["blocks.0.attention.v_proj"]),
        (r"blocks\.\d\.fc|head", ["blocks.0.fc", "blocks.1.fc", "head"]),
        (r".*_proj", ["blocks.0.attention.q_proj", "blocks.0.attention.v_proj"]),
        (["head", "fc", "blocks.1.fc"], ["blocks.0.fc", "blocks.1.fc", "head"]),
        ([], []),
        (iter(["head"]), ["head"]),
    ],
)
def test_what_targets_mean(targets, names):
    assert chosen(targets, LAYERS, OTHERS) == names


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("missing", "target 'missing' matches no layer; there are .*'blocks.0.attention.q_proj'.*'head'"),
        ("proj", "target 'proj' matches no layer"),  # the end of a name is whole parts of it
        (["head", "hea"], "target 'hea' matches no layer"),  # a regular expression is for whole names
        ("conv", "target 'conv' matches 'conv', but a Conv2d has none"),
        ("blocks.1.conv", "target 'blocks.1.conv' matches 'blocks.1.conv', but"),
        (r"blocks\.1\..*", r"matches 'blocks\.1\.conv', but"),
        ("(", r"target '\(' is no name here, and no regular expression: missing \)"),
    ],
)
def test_targets_that_mean_nothing_or_what_cannot_be_are_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        chosen(targets, LAYERS, OTHERS)
    with pytest.raises(ValueError, match="there are none"):
        meant("head", {}, {})


def test_one_value_or_one_for_each():
    parts = ["blocks.0.fc", "blocks.1.fc", "head"]
    assert of_each(8, "rank", parts, LAYERS) == dict.fromkeys(parts, 8)
    assert of_each({"head": 2, "fc": 4}, "rank", parts, LAYERS) == {"blocks.0.fc": 4, "blocks.1.fc": 4, "head": 2}
    exact_wins = {"blocks.0.fc": 1, "fc": 4}
    assert of_each(exact_wins, "rank", parts, LAYERS) == {"blocks.0.fc": 1, "blocks.1.fc": 4}
    assert of_each({"fc": 4, r"blocks.*fc": 4}, "rank", parts, LAYERS) == {"blocks.0.fc": 4, "blocks.1.fc": 4}
    assert of_each({"0": 3}, "rank", parts, LAYERS) == {}  # a layer, but none of these
    with pytest.raises(ValueError, match=r"alpha gives 'blocks\.0\.fc' both 4 and 5"):
        of_each({"fc": 4, r"blocks.*fc": 5}, "alpha", parts, LAYERS)
    with pytest.raises(ValueError, match="target 'missing' matches no layer"):
        of_each({"fc": 4, "missing": 5}, "alpha", parts, LAYERS)


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def instance_forward() -> nn.Linear:
    layer = nn.Linear(3, 2)
    layer.forward = lambda x: x
    return layer


def pruned() -> nn.Linear:
    return prune.l1_unstructured(nn.Linear(3, 2), "weight", 2)


def old_spectral_norm() -> nn.Linear:
    return nn.utils.spectral_norm(nn.Linear(3, 2))


def reshaped() -> nn.Linear:
    layer = nn.Linear(3, 2)
    layer.weight = nn.Parameter(torch.zeros(6, 1))  # as libraries that pack 4-bit weights do
    return layer


def integer() -> nn.Linear:
    layer = nn.Linear(3, 2)
    layer.weight = nn.Parameter(torch.zeros(2, 3, dtype=torch.int8), requires_grad=False)
    return layer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LazyLinear(3), "a LazyLinear has no weight before its first call: call the model once"),
        (instance_forward, "its forward is an attribute of this one object"),
        (pruned, "its weight is no parameter but made by a hook"),
        (old_spectral_norm, "its weight is no parameter but made by a hook"),
        (reshaped, r"its weight is torch\.float32 \(6, 1\), not floating point and \(out, in\)"),
        (integer, r"its weight is torch\.int8 \(2, 3\)"),
    ],
)
def test_layers_that_nothing_can_stand_in_for(make, message):
    assert re.match(message, refusal(make()))


def test_layers_that_something_can_stand_in_for():
    called = nn.LazyLinear(3)
    called(torch.zeros(1, 2))
    for layer in (nn.Linear(3, 2), called, Doubled(3, 2), parametrizations.weight_norm(nn.Linear(3, 2))):
        assert refusal(layer) is None
    assert own_forward(Doubled(3, 2)) and not own_forward(nn.Linear(3, 2)) and not own_forward(called)
    assert not own_forward(parametrizations.weight_norm(nn.Linear(3, 2)))


def test_what_could_be_taken_for_a_matrix():
    for module in (nn.Linear(2, 2), nn.Embedding(2, 2), nn.Conv2d(1, 1, 1), nn.LazyConv2d(1, 1), nn.LSTM(2, 2)):
        assert has_matrix(module)
    for module in (nn.LayerNorm(2), nn.BatchNorm2d(2, affine=False), nn.Sequential(nn.Linear(2, 2)), nn.PReLU()):
        assert not has_matrix(module)
