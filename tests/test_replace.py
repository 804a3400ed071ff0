"""Replacing a layer: it is another one wherever it was, with what hung on it, and the original does not notice."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from rankstudy.replace import copied, join, replace_, replaced, ties


class Wrapper(nn.Module):
    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.base(x)


class Everywhere(nn.Module):
    """One layer under two names, in a list, in a dictionary, and bound to a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.plain = [self.first, {"again": self.first}]
        self.other = nn.Linear(4, 4)
        self.other.register_forward_hook(self.watch)
        self.seen: list[nn.Module] = []

    def watch(self, module: nn.Module, args: tuple, output: torch.Tensor) -> None:
        self.seen.append(self.first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(self.plain[1]["again"](self.plain[0](self.second(self.first(x)))))


def doubled(name: str, module: nn.Module) -> nn.Module | None:
    return Wrapper(module) if name == "first" else None


def test_a_layer_is_replaced_in_every_place():
    model, x = Everywhere(), torch.randn(3, 4)
    new = replaced(model, doubled)
    places = [new.first, new.second, new.plain[0], new.plain[1]["again"]]
    assert all(place is new.first for place in places) and type(new.first) is Wrapper
    assert type(new.first.base) is nn.Linear and torch.equal(new.first.base.weight, model.first.weight)
    expected = x
    for _ in range(4):
        expected = 2 * model.first(expected)
    assert torch.equal(new(x), model.other(expected))
    assert new.seen == [new.first]  # the hook is the copy's, and sees what is there now
    assert type(model.first) is nn.Linear and new.first.base is not model.first


def test_each_module_is_asked_for_once_by_its_first_name():
    asked = []
    replaced(Everywhere(), lambda name, module: asked.append(name))
    assert asked == ["", "first", "other"]


def test_the_model_itself_can_be_the_layer():
    model = nn.Linear(3, 2)
    new = replaced(model, lambda name, module: Wrapper(module))
    assert type(new) is Wrapper and type(model) is nn.Linear
    x = torch.randn(5, 3)
    assert torch.equal(new(x), 2 * model(x))


def test_children_of_what_is_wrapped_are_asked_for_too():
    model = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Tanh()))
    kinds = {"0": Wrapper, "0.1": lambda _: nn.GELU()}
    new = replaced(model, lambda name, module: kinds[name](module) if name in kinds else None)
    assert [type(m) for m in new.modules()] == [nn.Sequential, Wrapper, nn.Sequential, nn.ReLU, nn.GELU]


def test_in_place_it_is_the_model_itself():
    model = Everywhere()
    assert replace_(model, doubled) is None and type(model.second) is Wrapper


@pytest.mark.parametrize("wraps", [True, False])
def test_hooks_move_and_run_once_on_the_new_module(wraps):
    model, seen = nn.Sequential(nn.Linear(3, 3)), []
    layer = model[0]
    layer.register_forward_pre_hook(lambda module, args: seen.append(("before", type(module))))
    layer.register_forward_hook(
        lambda module, args, kwargs, output: seen.append(("after", type(module))), with_kwargs=True, always_call=True
    )
    layer.register_full_backward_hook(lambda module, into, out: seen.append(("gradient", type(module))))
    layer.register_full_backward_pre_hook(lambda module, out: seen.append(("before gradient", type(module))))
    new = replaced(model, lambda name, module: (Wrapper(module) if wraps else nn.Identity()) if name == "0" else None)
    new(torch.randn(2, 3, requires_grad=True)).sum().backward()
    assert seen == [(when, type(new[0])) for when in ("before", "after", "before gradient", "gradient")]
    seen.clear()
    model(torch.randn(2, 3, requires_grad=True)).sum().backward()
    assert [kind for _, kind in seen] == [nn.Linear] * 4  # the original keeps its own


@pytest.mark.parametrize("training", [True, False])
def test_the_training_flag_is_that_of_the_layer_alone(training):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).train(not training)
    model[0].training = training
    new = replaced(model, lambda name, module: Wrapper(module) if name == "0" else None)
    assert new[0].training is training and new[0].base.training is training and new[1].training is not training


def test_hooks_on_the_state_dict_stay_with_what_is_wrapped_or_are_refused():
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].register_state_dict_post_hook(lambda module, state, prefix, meta: state.update({prefix + "mark": prefix}))
    new = replaced(model, doubled_zero := lambda name, module: Wrapper(module) if name == "0" else None)
    assert new.state_dict()["0.base.mark"] == "0.base." and "0.mark" not in new.state_dict()
    assert doubled_zero("1", model) is None
    with pytest.raises(ValueError, match="'0' has hooks on its state dict, which a Identity cannot keep"):
        replaced(model, lambda name, module: nn.Identity() if name == "0" else None)


def test_dtype_flags_and_tied_parameters_are_the_copys_own():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)).bfloat16()
    model[1].weight = model[0].weight
    model[0].weight.requires_grad_(False)
    new = replaced(model, lambda name, module: Wrapper(module) if name == "1" else None)
    assert new[1].base.weight is new[0].weight and new[0].weight is not model[0].weight
    assert new[0].weight.dtype == torch.bfloat16 and not new[0].weight.requires_grad
    assert sum(p.numel() for p in new.parameters()) == 20


def test_a_copy_of_a_parametrised_module_does_not_touch_the_original():
    """`copy.deepcopy` alone leaves both one class; taking the parametrisation off the copy then breaks the original."""
    model = parametrizations.weight_norm(nn.Linear(4, 3))
    before = model.weight.detach().clone()
    new = copied(model)
    parametrize.remove_parametrizations(new, "weight")
    assert type(new) is nn.Linear and torch.equal(new.weight, before)
    assert torch.equal(model.weight, before) and parametrize.is_parametrized(model, "weight")
    shared = copy.deepcopy(model)
    parametrize.remove_parametrizations(shared, "weight")
    with pytest.raises(AttributeError):  # what it is for
        model.weight  # noqa: B018


@pytest.mark.parametrize(
    "wrap", [nn.utils.weight_norm, nn.utils.spectral_norm, lambda m: prune.random_unstructured(m, "weight", 3)]
)
def test_a_tensor_that_a_hook_computes_is_copied_by_value(wrap):
    """torch refuses to copy it; the copy has a hook of its own, which computes it anew."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a newer one
        model, x = nn.Sequential(nn.ReLU(), wrap(nn.Linear(4, 3))).eval(), torch.randn(2, 4)
    before = model(x)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    new = copied(model)
    assert torch.equal(new[1].weight, model[1].weight) and new[1].weight is not model[1].weight
    assert torch.equal(new(x), before)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.mul_(-2)
    assert not torch.equal(new(x), before) and torch.equal(model(x), before)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_scripted_modules_are_copied_too():
    model = nn.Sequential(torch.jit.trace(nn.Linear(3, 3), torch.zeros(1, 3)), nn.Linear(3, 3))
    new, x = replaced(model, lambda name, module: Wrapper(module) if name == "1" else None), torch.randn(2, 3)
    assert torch.equal(new(x), 2 * model(x)) and ties(new)["0.weight"] == ("0.weight",)


def test_ties_name_every_parameter_that_is_the_same_one():
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3, bias=False), "c": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    model["d"] = model["c"]  # a module used twice is no tie
    assert ties(model) == {
        "a.weight": ("a.weight", "b.weight"),
        "b.weight": ("a.weight", "b.weight"),
        **{name: (name,) for name in ("a.bias", "c.weight", "c.bias")},
    }
    assert ties(nn.Linear(2, 2)) == {"weight": ("weight",), "bias": ("bias",)}
    assert join("", "weight") == "weight" and join("a.b", "weight") == "a.b.weight"
