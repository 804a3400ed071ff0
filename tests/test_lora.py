"""LoRA: what the adapter adds, what it leaves alone, and that `peft` says the same."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from rankstudy import files
from rankstudy.config import Network
from rankstudy.layers import LowRankLinear, build, weights
from rankstudy.lora import LoRALinear, add_lora, load_adapters, merged, save_adapters, trainable

EPS = float(np.finfo(np.float32).eps)
NETWORK = Network((12, 9, 7))
sizes = st.integers(1, 9)
alphas = st.floats(0.1, 20)
scalings = st.sampled_from(["lora", "rslora"])
seeds = st.integers(0, 2**32 - 1)


def exact(x: torch.Tensor) -> np.ndarray:
    """float32 values as float64, in which the references are computed."""
    return x.detach().double().numpy()


def randomised(model: nn.Module, seed: int = 0, std: float = 1.0) -> nn.Module:
    """The model with adapters as after some training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.normal_(0, std, generator=generator)
    return model


@given(sizes, sizes, scalings, seeds)
def test_before_training_it_is_its_base(rank, batch, scaling, seed):
    """B = 0, so output, merged weight and ΔW are those of the base, bit for bit; A does not depend on anyone else."""
    model = build(NETWORK, seed)
    state = torch.get_rng_state()
    adapted = add_lora(model, rank, 3.0, scaling=scaling, seed=seed)
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.randn(batch, 12, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(adapted(x), model(x)) and torch.equal(merged(adapted)(x), model(x))
    again, other = add_lora(model, rank, seed=seed), add_lora(model, rank, seed=seed + 1)
    for own, same, another in zip(adapted.layers, again.layers, other.layers, strict=True):
        assert not own.delta().any() and own.lora_a.abs().max() <= 1 / math.sqrt(own.in_features)
        assert torch.equal(own.lora_a, same.lora_a) and not torch.equal(own.lora_a, another.lora_a)


def test_only_adapters_get_gradients_and_the_base_never_moves():
    model = build(NETWORK, 0)
    before = copy.deepcopy(model.state_dict())
    adapted = randomised(add_lora(model, 2))
    base = [found.base.weight.clone() for found in adapted.layers]
    optimizer = torch.optim.SGD(adapted.parameters(), lr=0.1, weight_decay=0.1)
    adapted(torch.randn(5, 12)).square().sum().backward()
    optimizer.step()
    for found, weight in zip(adapted.layers, base, strict=True):
        assert found.base.weight.grad is None and torch.equal(found.base.weight, weight)
        assert found.lora_a.grad.abs().sum() > 0 and found.lora_b.grad.abs().sum() > 0
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(p.requires_grad for p in model.parameters())  # the argument stays as it was


def test_merging_leaves_its_argument_alone():
    adapted = randomised(add_lora(build(NETWORK, 0), 2))
    before = copy.deepcopy(adapted.state_dict())
    merged(adapted)
    assert all(torch.equal(adapted.state_dict()[name], value) for name, value in before.items())
    assert trainable(adapted).names == tuple(name for name in before if "lora_" in name)


def test_trainable_says_names_numbers_and_bytes():
    model = build(NETWORK, 0)
    everything = trainable(model)
    assert everything.names == ("layers.0.weight", "layers.1.weight")
    assert everything.parameters == 12 * 9 + 9 * 7 and everything.bytes == 4 * everything.parameters
    found = trainable(add_lora(model, 2).double())
    assert found.names == tuple(f"layers.{i}.lora_{x}" for i in (0, 1) for x in "ab")
    assert found.parameters == 2 * (12 + 9) + 2 * (9 + 7) and found.bytes == 8 * found.parameters


def test_every_linear_layer_is_adapted_wherever_it_is():
    inner = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    model = nn.Sequential(inner, nn.Dropout(0.5), LowRankLinear(6, 5, 2), nn.Linear(5, 3)).eval()
    adapted = add_lora(model, 2)
    assert isinstance(adapted[0][0], LoRALinear) and isinstance(adapted[3], LoRALinear)
    assert isinstance(adapted[2].base, LowRankLinear) and not adapted[2].base.b.requires_grad
    assert [name for name in trainable(adapted).names if "lora" not in name] == []
    plain = merged(randomised(adapted))
    assert [type(m) for m in plain.modules()] == [type(m) for m in model.modules()]
    assert all(p.requires_grad for p in plain.parameters())
    assert isinstance(add_lora(nn.Linear(4, 3), 2), LoRALinear)  # the model itself may be the layer


@given(st.integers(1, 7), alphas, scalings, seeds)
def test_pissa_splits_the_base_by_singular_value(rank, alpha, scaling, seed):
    """It begins as the base, the adapter holding the best rank-r approximation and the base the rest."""
    model = build(NETWORK, seed)
    adapted = add_lora(model, rank, alpha, scaling=scaling, initialisation="pissa")
    for before, after in zip(model.layers, adapted.layers, strict=True):
        w, delta, rest = exact(before.weight), exact(after.delta()), exact(after.base.weight)
        u, s, vh = np.linalg.svd(w)
        # factors rounded to float32 and divided, multiplied by the scale, and (r + 2) roundings of their product
        rounding = (rank + 8) * EPS * s[: rank + 1].sum()
        assert np.linalg.norm(delta - (u[:, :rank] * s[:rank]) @ vh[:rank]) <= rounding
        assert np.linalg.norm(delta + rest - w) <= EPS * np.linalg.norm(rest)  # one rounding of W − ΔW


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 0}, "rank must be an integer of at least 1, got 0"),
        ({"rank": 2.5}, "rank must be an integer of at least 1, got 2.5"),
        ({"rank": 2, "alpha": 0}, "alpha must be positive and finite, got 0"),
        ({"rank": 2, "alpha": -1.0}, "alpha must be positive and finite"),
        ({"rank": 2, "alpha": math.nan}, "alpha must be positive and finite"),
        ({"rank": 2, "alpha": math.inf}, "alpha must be positive and finite"),
        ({"rank": 2, "scaling": "dora"}, "scaling must be lora or rslora, got 'dora'"),
        ({"rank": 2, "initialisation": "random"}, "initialisation must be zero or pissa, got 'random'"),
        ({"rank": 8, "initialisation": "pissa"}, "rank must be at most min\\(out, in\\) = 7 for pissa, got 8"),
    ],
)
def test_impossible_adapters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        add_lora(build(NETWORK, 0), **arguments)


def test_a_rank_above_the_layer_is_legal_and_alpha_is_the_rank():
    adapted = add_lora(build(NETWORK, 0), 16)
    assert adapted.layers[1].lora_b.shape == (7, 16) and adapted.layers[1].alpha == 16 and adapted.layers[1].scale == 1
    assert "rank=16, alpha=16, scaling=lora" in repr(adapted)


def test_misuse_is_refused(tmp_path):
    model = build(NETWORK, 0)
    with pytest.raises(ValueError, match="has LoRA adapters already"):
        add_lora(add_lora(model, 2), 2)
    with pytest.raises(ValueError, match="no linear or attention layer to adapt"):
        add_lora(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), 2)
    with pytest.raises(ValueError, match="no LoRA adapters to merge"):
        merged(model)
    with pytest.raises(ValueError, match="no LoRA adapters to save"):
        save_adapters(model, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_a_merged_weight_that_is_not_finite_is_refused(value):
    adapted = randomised(add_lora(build(NETWORK, 0), 2))
    with torch.no_grad():
        adapted.layers[1].lora_a[0, 0] = value  # 3e38 overflows in the product
        adapted.layers[1].lora_b[:, 0] = 2.0
    with pytest.raises(ValueError, match=r"merged weight of layer 'layers\.1' is not finite"):
        merged(adapted)


# --- the file ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5), alphas, scalings, st.sampled_from(["zero", "pissa"]))
def test_adapters_survive_the_file(tmp_path_factory, rank, alpha, scaling, initialisation):
    """load(save(adapters)) = adapters, bit for bit, and the file holds nothing else."""
    path = tmp_path_factory.mktemp("lora") / "adapters.safetensors"
    options = {"scaling": scaling, "initialisation": initialisation}
    source = randomised(add_lora(build(NETWORK, 0), rank, alpha, **options))
    target = add_lora(build(NETWORK, 0), rank, alpha, **options)
    save_adapters(source, path)
    load_adapters(target, path)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(trainable(source).names)
    assert [p.name for p in path.parent.iterdir()] == ["adapters.safetensors"]


def changed(change):
    """A model that is not quite the one whose adapters were saved."""
    return {
        "rank": lambda: add_lora(build(NETWORK, 0), 3, 2.0),
        "alpha": lambda: add_lora(build(NETWORK, 0), 2, 4.0),
        "scaling": lambda: add_lora(build(NETWORK, 0), 2, 2.0, scaling="rslora"),
        "initialisation": lambda: add_lora(build(NETWORK, 0), 2, 2.0, initialisation="pissa"),
        "dtype": lambda: add_lora(build(NETWORK, 0), 2, 2.0).double(),
        "layers": lambda: add_lora(build(Network((12, 9, 7, 7)), 0), 2, 2.0),
        "nothing": lambda: build(NETWORK, 0),
    }[change]()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rank", r"layers\.0\.lora_a is torch\.float32 \(2, 12\), the model has torch\.float32 \(3, 12\)"),
        ("alpha", '"alpha": 2.0.*the model has.*"alpha": 4.0'),
        ("scaling", '"scaling": "lora".*the model has.*"rslora"'),
        ("initialisation", '"zero".*the model has.*"pissa"'),
        ("dtype", "the model has torch.float64"),
        ("layers", r"missing \['layers\.2\.lora_a', 'layers\.2\.lora_b'\], unknown \[\]"),
        ("nothing", r"missing \[\], unknown \['layers\.0\.lora_a'"),
    ],
)
def test_adapters_of_another_model_are_refused_whole(tmp_path, change, message):
    save_adapters(randomised(add_lora(build(NETWORK, 0), 2)), tmp_path / "a.safetensors")
    target = changed(change)
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(ValueError, match=message):
        load_adapters(target, tmp_path / "a.safetensors")
    assert all(torch.equal(target.state_dict()[name], value) for name, value in before.items())


def test_a_file_without_description_is_refused(tmp_path):
    adapted = add_lora(build(NETWORK, 0), 2)
    save_file({name: p.detach() for name, p in adapted.named_parameters() if "lora" in name}, tmp_path / "a")
    with pytest.raises(ValueError, match=r"was saved with \{\}"):
        load_adapters(adapted, tmp_path / "a")


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_file_that_is_not_whole_is_refused(tmp_path, kept):
    path, adapted = tmp_path / "a.safetensors", add_lora(build(NETWORK, 0), 2)
    save_adapters(adapted, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        load_adapters(adapted, path)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, step):
    path, adapted = tmp_path / "a.safetensors", add_lora(build(NETWORK, 0), 2)
    save_adapters(adapted, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        save_adapters(randomised(adapted), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


# --- peft -------------------------------------------------------------------------------------------------------------


def with_peft(model: nn.Module, rank: int, alpha: float, scaling: str, start: bool | str) -> nn.Module:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=["layers.0", "layers.1"], lora_dropout=0.0,
        use_rslora=scaling == "rslora", init_lora_weights=start,
    )  # fmt: skip
    return peft.get_peft_model(copy.deepcopy(model), config)


def pairs(theirs: nn.Module, ours: nn.Module):
    """(peft's A, our A), (peft's B, our B) of each layer."""
    for other, own in zip(theirs.base_model.model.layers, ours.layers, strict=True):
        yield other.lora_A["default"].weight, own.lora_a
        yield other.lora_B["default"].weight, own.lora_b


@pytest.mark.parametrize("scaling", ["lora", "rslora"])
@pytest.mark.parametrize(("rank", "alpha"), [(1, 2.0), (4, 8.0), (16, 4.0)])
def test_peft_agrees_before_during_and_after_training(rank, alpha, scaling):
    """The same outputs, gradients, steps and merged weights, bit for bit where the scale is a power of two.

    The two multiply by the scale at different places. A power of two commutes with rounding (short of underflow, hence
    the small adapters), so it makes no difference.
    """
    model = build(NETWORK, 1)
    ours = randomised(add_lora(model, rank, alpha, scaling=scaling), std=0.2)
    theirs = with_peft(model, rank, alpha, scaling, True)
    assert math.log2(ours.layers[0].scale).is_integer()
    with torch.no_grad():
        for other, own in pairs(theirs, ours):
            other.copy_(own)
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(6, 12, generator=generator), torch.randint(0, 7, (6,), generator=generator)
    optimizers = [torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=1e-2) for m in (ours, theirs)]
    assert sum(p.numel() for p in theirs.parameters() if p.requires_grad) == trainable(ours).parameters
    for _ in range(10):
        assert torch.equal(ours(x), theirs(x))
        for network, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
        assert all(torch.equal(own.grad, other.grad) and torch.equal(own, other) for other, own in pairs(theirs, ours))
    for own, other in zip(weights(merged(ours)), weights(theirs.merge_and_unload()), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("scaling", ["lora", "rslora"])
def test_peft_agrees_at_any_scale(scaling):
    """Merged weights differ by the (r + 3) roundings an entry that either of them makes."""
    model = build(NETWORK, 1)
    ours = randomised(add_lora(model, 3, 8.0, scaling=scaling))
    theirs = with_peft(model, 3, 8.0, scaling, True)
    with torch.no_grad():
        for other, own in pairs(theirs, ours):
            other.copy_(own)
    for adapted, other in zip(ours.layers, weights(theirs.merge_and_unload()), strict=True):
        w, a, b = exact(adapted.base.weight), exact(adapted.lora_a), exact(adapted.lora_b)
        largest = abs(w) + adapted.scale * abs(b) @ abs(a)
        assert (abs(exact(merged(adapted).weight) - exact(other)) <= 6 * EPS * largest).all()


@pytest.mark.parametrize("scaling", ["lora", "rslora"])
def test_peft_agrees_on_pissa(scaling):
    """The same ΔW and the same remaining base; singular vectors have free signs, so factors are not compared.

    peft's SVD is in float32: backward error max(m, n)·eps·‖W‖, which a gap between σ_r and σ_{r+1} turns into at most
    1 + 2σ_r/(σ_r − σ_{r+1}) times as much in the truncated matrix (Wedin 1972).
    """
    model = build(NETWORK, 3)
    spectrum = torch.tensor([4.0, 3.0, 2.0, 0.4, 0.3, 0.2, 0.1])
    for found in model.layers:
        u, _, vh = torch.linalg.svd(found.weight.detach(), full_matrices=False)
        found.weight.data = ((u[:, :7] * spectrum) @ vh[:7]).contiguous()
    ours = add_lora(model, 3, 6.0, scaling=scaling, initialisation="pissa")
    theirs = with_peft(model, 3, 6.0, scaling, "pissa")
    for other, own in zip(theirs.base_model.model.layers, ours.layers, strict=True):
        bound = 12 * EPS * np.linalg.norm(exact(own.weight)) * (1 + 2 * 2.0 / (2.0 - 0.4))
        assert np.linalg.norm(exact(other.get_delta_weight("default")) - exact(own.delta())) <= bound
        assert np.linalg.norm(exact(other.base_layer.weight) - exact(own.base.weight)) <= bound


# --- which layers, with what ------------------------------------------------------------------------------------------


class Shared(nn.Module):
    """One layer under two names, and another with the same weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(5, 5)
        self.b = nn.Linear(5, 5)
        self.again = self.a
        self.b.weight = self.a.weight
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.again(self.b(self.a(x))))


def ranks(model: nn.Module) -> dict[str, tuple[int, float]]:
    return {name: (m.rank, m.alpha) for name, m in model.named_modules() if isinstance(m, LoRALinear)}


def test_rank_and_alpha_are_one_for_all_or_each_its_own():
    model = nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 4)), nn.Linear(4, 3))
    assert ranks(add_lora(model, 2)) == {name: (2, 2.0) for name in ("0", "1.0", "1.1", "2")}
    assert ranks(add_lora(model, 2, 3.0, targets=r"1\.\d")) == {"1.0": (2, 3.0), "1.1": (2, 3.0)}
    assert ranks(add_lora(model, {"2": 1, r"1\..": 3})) == {"1.0": (3, 3.0), "1.1": (3, 3.0), "2": (1, 1.0)}
    some = add_lora(model, {"2": 1, r"1\..": 3, "1.1": 2}, {"1.0": 6.0}, targets=["1.0", "1.1"])
    assert ranks(some) == {"1.0": (3, 6.0), "1.1": (2, 2.0)}
    assert trainable(some).parameters == 3 * (5 + 5) + 2 * (5 + 4)
    assert some[0].weight.requires_grad is False and isinstance(some[0], nn.Linear)


def test_the_same_layers_get_the_same_adapters_however_they_are_asked_for():
    model = build(NETWORK, 0)
    ways = [
        add_lora(model, 2),
        add_lora(model, 2, targets=r"layers\.\d"),
        add_lora(model, {"layers.0": 2, "layers.1": 2}),
    ]
    for other in ways[1:]:
        assert all(torch.equal(a, b) for a, b in zip(ways[0].parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": "layers.2"}, "target 'layers.2' matches no layer; there are 'layers.0', 'layers.1'"),
        ({"targets": []}, "model has no linear or attention layer to adapt"),
        ({"rank": {"layers.0": 2, "head": 3}}, "target 'head' matches no layer"),
        ({"alpha": {"head": 3}}, "target 'head' matches no layer"),
        (
            {"rank": {"layers.0": 2}, "targets": ["layers.0", "layers.1"]},
            "rank has none for 'layers.1'",
        ),
        ({"rank": {"layers.0": 0}}, "rank must be an integer of at least 1, got 0"),
        ({"alpha": {"layers.1": -2.0}}, "alpha must be positive and finite, got -2.0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
    ],
)
def test_what_cannot_be_adapted_as_asked_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        add_lora(build(NETWORK, 0), **{"rank": 2, **options})


def test_layers_that_cannot_be_adapted_are_named():
    lazy = nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(2))
    with pytest.raises(ValueError, match="'1' cannot be adapted: a LazyLinear has no weight before its first call"):
        add_lora(lazy, 2)
    adapted = add_lora(lazy, 2, targets="0")  # the others do not matter then
    assert ranks(adapted) == {"0": (2, 2.0)} and not adapted[1].weight.requires_grad
    lazy(torch.zeros(1, 3))
    assert ranks(add_lora(lazy, 2)) == {"0": (2, 2.0), "1": (2, 2.0)}
    with pytest.raises(ValueError, match=r"dropout is on a layer's inputs, and the adapter of 'q_proj' has only"):
        add_lora(nn.MultiheadAttention(4, 2), 2, dropout=0.1)


def test_dropout_is_every_adapters():
    adapted = randomised(add_lora(build(NETWORK, 0), 2, dropout=0.5))
    x = torch.randn(4, 12)
    assert not torch.equal(adapted(x), adapted(x))
    adapted.eval()
    assert torch.equal(adapted(x), randomised(add_lora(build(NETWORK, 0), 2))(x))


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_layer_used_twice_is_adapted_in_both_places_and_one_weight_has_one_adapter():
    model, x = Shared(), torch.randn(3, 5)
    adapted = randomised(add_lora(model, 2))
    assert adapted.again is adapted.a and adapted.b.base.weight is adapted.a.base.weight
    assert adapted.b.lora_a is adapted.a.lora_a and adapted.b.lora_b is adapted.a.lora_b
    assert trainable(adapted).parameters == 2 * (5 + 5) + 2 * (5 + 3)
    w, head = adapted.a.weight, adapted.head.weight
    by_hand = x @ w.T + model.a.bias
    by_hand = by_hand @ w.T + model.b.bias
    by_hand = (by_hand @ w.T + model.a.bias) @ head.T + model.head.bias
    assert torch.allclose(adapted(x), by_hand, rtol=1e-4, atol=1e-5) and not torch.allclose(adapted(x), model(x))
    plain = merged(adapted)
    assert plain.again is plain.a and plain.a.weight is plain.b.weight and torch.equal(plain.a.weight, w)
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in model.parameters())


def test_adapters_that_layers_share_are_in_the_file_once(tmp_path):
    source, target = randomised(add_lora(Shared(), 2)), add_lora(Shared(), 2)
    save_adapters(source, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["a.lora_a", "a.lora_b", "head.lora_a", "head.lora_b"]
    load_adapters(target, tmp_path / "a.safetensors")
    assert torch.equal(target.b.delta(), source.b.delta()) and source.b.delta().any()


def test_one_weight_cannot_be_two():
    model = Shared()
    with pytest.raises(ValueError, match=r"'a' and 'b' are one weight, but \(2, None\) and \(3, None\) are wanted"):
        add_lora(model, {"a": 2, "b": 3})
    with pytest.raises(ValueError, match=r"pissa would take ΔW of 'a' off 'b\.weight' too"):
        add_lora(model, 2, targets="a", initialisation="pissa")
    with pytest.raises(ValueError, match="pissa takes ΔW off a weight, and '0' has none of its own"):
        add_lora(nn.Sequential(LowRankLinear(4, 4, 2)), 2, initialisation="pissa")
    with pytest.raises(ValueError, match="pissa takes ΔW off a weight, and '0' has none of its own"):
        add_lora(nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))), 2, initialisation="pissa")
    x = torch.randn(3, 5)
    one = randomised(add_lora(model, 2, targets="a"))
    with pytest.raises(
        ValueError, match=r"'a' shares its weight with 'b\.weight', to which nothing .* untie=True makes"
    ):
        merged(one)
    apart = merged(one, untie=True)
    assert torch.equal(apart.b.weight, model.b.weight) and torch.equal(apart.a.weight, one.a.weight)
    assert torch.allclose(apart(x), one(x), rtol=1e-4, atol=1e-5)


def test_pissa_changes_a_shared_weight_once():
    model, x = Shared(), torch.randn(3, 5)
    adapted = add_lora(model, 2, initialisation="pissa")
    assert adapted.b.initialisation == "pissa" and adapted.b.delta().any()
    assert torch.allclose(adapted.a.weight, model.a.weight, atol=1e-6) and torch.allclose(
        adapted(x), model(x), atol=1e-5
    )


def test_nobody_elses_random_numbers_move():
    state = torch.get_rng_state()
    add_lora(Shared(), 2), add_lora(nn.MultiheadAttention(4, 2), 2)
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    Shared(), nn.MultiheadAttention(4, 2)
    assert torch.equal(torch.get_rng_state(), after)


def flags(model: nn.Module) -> dict[str, bool]:
    return {name: p.requires_grad for name, p in model.named_parameters()}


def test_merged_trains_what_trained_before():
    """Frozen parameters stay frozen, whatever was adapted; what the user lets train meanwhile goes on training."""
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.MultiheadAttention(4, 2), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    model[1].weight.requires_grad_(False)
    model[2].in_proj_bias.requires_grad_(False)
    model[3].weight.requires_grad_(False)
    adapted = add_lora(model, 2)
    assert flags(merged(adapted)) == flags(model)
    assert not any(trains for name, trains in flags(adapted).items() if "lora" not in name)
    adapted[1].weight.requires_grad_(True)
    assert flags(merged(adapted)) == flags(model) | {"1.weight": True}
    frozen = add_lora(copy.deepcopy(model).requires_grad_(False), 2)
    assert trainable(frozen).parameters == trainable(adapted).parameters - 4
    assert not any(flags(merged(frozen)).values())
    inner = nn.Sequential(frozen, model)  # part of a larger model
    assert not any(flags(merged(inner)[0]).values()) and flags(merged(inner)[1]) == flags(model)
    normed = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(4, 4)), parametrizations.spectral_norm(nn.Linear(4, 4))
    )
    normed[1].requires_grad_(False)
    again = merged(add_lora(normed, 2))
    assert flags(again) == {"0.weight": True, "0.bias": True, "1.weight": False, "1.bias": False}


def test_hooks_flags_and_kind_are_those_of_the_layer():
    model, seen = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), []
    model[0].register_forward_hook(lambda module, args, output: seen.append(type(module)))
    model[1].eval()
    adapted = add_lora(model, 2)
    assert [m.training for m in adapted] == [True, False]
    plain = merged(adapted)
    for network in (model, adapted, plain):
        network(torch.randn(2, 4))
    assert seen == [nn.Linear, LoRALinear, nn.Linear]
    assert [m.training for m in plain] == [True, False] and type(plain[0]) is nn.Linear
    assert adapted[0].bias is adapted[0].base.bias and adapted[0].in_features == adapted[0].out_features == 4


def test_merging_leaves_the_adapted_model_whole():
    """Also where a parametrisation is taken off, which torch keeps on a class that copies share."""
    adapted = randomised(add_lora(nn.MultiheadAttention(4, 2).eval(), 2))
    x = torch.randn(5, 3, 4)
    before = adapted(x, x, x)[0]
    merged(adapted)
    assert torch.equal(adapted(x, x, x)[0], before)


def test_on_the_meta_device_there_are_shapes_and_no_values(tmp_path):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(6, 5), nn.MultiheadAttention(6, 2), LowRankLinear(5, 4, 2))
    for initialisation, names in (("zero", None), ("pissa", ["0", "1"])):
        adapted = add_lora(model, 2, initialisation=initialisation, targets=names)
        assert all(p.is_meta for p in adapted.parameters())
        plain = merged(adapted)
        assert all(p.is_meta for p in plain.parameters()) and plain[0].weight.shape == (5, 6)
    for action in (save_adapters, load_adapters):
        with pytest.raises(ValueError, match="'0' is on the meta device and has no values"):
            action(adapted, tmp_path / "a.safetensors")


# --- peft on other models ---------------------------------------------------------------------------------------------


def test_peft_agrees_on_attention():
    """peft has one A for q, k and v; given the same numbers the two give the same outputs and merged weights.

    In training mode (there is no dropout), since in evaluation torch's fast path reads the weights past peft's
    adapters; and with nothing on out_proj, whose update peft 0.21 adds twice.
    """
    peft = pytest.importorskip("peft")
    if not hasattr(peft.tuners.lora.layer, "MultiheadAttention"):
        pytest.skip("this peft has no adapters for attention")
    torch.manual_seed(2)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True), 2)
    ours = randomised(add_lora(model, 2, 4.0, targets=["q_proj", "k_proj", "v_proj"]))
    config = peft.LoraConfig(r=2, lora_alpha=4.0, target_modules=["self_attn"], lora_dropout=0.0)
    theirs = peft.get_peft_model(copy.deepcopy(model), config)
    with torch.no_grad():
        for i in range(2):
            attention = ours.layers[i].self_attn
            other = theirs.base_model.model.layers[i].self_attn
            q, k, v = attention.parametrizations.in_proj_weight
            for own in (k, v):
                own.lora_a.copy_(q.lora_a)
            other.lora_A["default"].weight.copy_(q.lora_a)
            other.lora_B["default"].weight.copy_(torch.cat([own.lora_b for own in (q, k, v)]))
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(theirs(x), ours(x), rtol=1e-4, atol=1e-5)
    assert (ours(x) - model(x)).abs().max() > 0.1
    plain, whole = merged(ours), theirs.merge_and_unload()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(whole.state_dict()[name], value, rtol=0, atol=8 * EPS * float(value.abs().max()))


def test_peft_agrees_on_ranks_alphas_and_dropout_of_some_layers():
    """Scales that are powers of two, so bit for bit; dropout draws the same numbers in the same order."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    ours = randomised(add_lora(model, {"0": 2, "4": 4}, {"0": 4.0, "4": 2.0}, dropout=0.25), std=0.2)
    config = peft.LoraConfig(
        r=2, lora_alpha=4.0, target_modules=["0", "4"], lora_dropout=0.25,
        rank_pattern={"4": 4}, alpha_pattern={"4": 2.0},
    )  # fmt: skip
    theirs = peft.get_peft_model(copy.deepcopy(model), config)
    with torch.no_grad():
        for name in ("0", "4"):
            own, other = ours.get_submodule(name), theirs.base_model.model.get_submodule(name)
            other.lora_A["default"].weight.copy_(own.lora_a)
            other.lora_B["default"].weight.copy_(own.lora_b)
    x, outputs = torch.randn(5, 6), []
    for network in (ours, theirs):
        torch.manual_seed(7)
        outputs.append(network(x))
    assert torch.equal(*outputs)
    assert torch.equal(ours.eval()(x), theirs.eval()(x)) and not torch.equal(ours(x), outputs[0])
