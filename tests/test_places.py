"""Adapters in other people's models: transformers, a vision transformer, a ResNet, tied and parametrised layers.

Where a module reads its weight, adapted and merged hand it the same numbers, so the outputs are equal bit for bit.
Where a layer is called, they differ by the rounding of its sums, and each such layer is held to the bound for those on
the inputs that it really gets.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from rankstudy.config import Network
from rankstudy.layers import LowRankLinear, build
from rankstudy.lora import LoRALinear, add_lora, load_adapters, merged, save_adapters, trainable
from rankstudy.places import Place, adaptable
from tests.test_lora_layers import randomised

READ = ("attn.qkv", "attn.proj")  # Swin's attention reads the weights of its layers and does not call them
PARTS = ("q_proj", "k_proj", "v_proj", "out_proj")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Tied(nn.Module):
    """A language model whose output layer has the embedding's weight, and two layers that have one between them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.again = self.first
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.again(torch.tanh(self.second(torch.tanh(self.first(self.embedding(x)))))))


class Masked(nn.Linear):
    """A subclass whose output is not x·Wᵀ + bias."""

    def __init__(self, inp: int, out: int) -> None:
        super().__init__(inp, out)
        self.register_buffer("mask", (torch.arange(out * inp).view(out, inp) % 3 != 0).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight * self.mask) ** 2 + self.bias


class Unpacked(nn.Module):
    """Attention whose queries, keys and values have widths of their own, so a weight each."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x[..., :6], x[..., :4])[0]


def encoder(batch_first: bool, norm_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=batch_first, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def decoder() -> nn.Module:
    layer = nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x, 2 * x)

    return Both()


def vit() -> nn.Module:
    model = torchvision.models.VisionTransformer(
        image_size=8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=5
    )
    nn.init.normal_(model.heads.head.weight)  # torchvision begins with zeros
    return model


def normed() -> nn.Module:
    norms = parametrizations.weight_norm, parametrizations.spectral_norm
    return nn.Sequential(norms[0](nn.Linear(8, 7)), nn.ReLU(), norms[1](nn.Linear(7, 6)), nn.Linear(6, 5))


def tokens() -> torch.Tensor:
    return torch.randint(0, 11, (3, 4), generator=generator())


def vectors(*shape: int):
    return lambda: torch.randn(*shape, generator=generator())


MODELS = {
    "encoder": (lambda: encoder(True, False), vectors(3, 5, 8), 12),  # q, k, v, out and two of the block, twice
    "encoder, norm first": (lambda: encoder(True, True), vectors(3, 5, 8), 12),
    "encoder, sequence first": (lambda: encoder(False, False), vectors(5, 3, 8), 12),
    "decoder": (decoder, vectors(5, 3, 8), 10),
    "unpacked attention": (Unpacked, vectors(5, 3, 8), 4),
    "vision transformer": (vit, vectors(2, 3, 8, 8), 13),
    "resnet": (lambda: torchvision.models.resnet18(num_classes=5), vectors(2, 3, 32, 32), 1),
    "swin": (
        lambda: torchvision.models.SwinTransformer([2, 2], 8, [2], [2], [4, 4], num_classes=5),
        vectors(1, 3, 16, 16), 9,
    ),
    "tied": (Tied, tokens, 2),  # the layer used twice and the one with its weight share an adapter
    "normed": (normed, vectors(3, 8), 3),
    "subclass": (lambda: nn.Sequential(Masked(8, 6), nn.Linear(6, 4)), vectors(3, 8), 2),
    "factorised": (lambda: build(Network((8, 7, 5), rank=3), 0), vectors(3, 8), 2),
}  # fmt: skip


def made(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(4)
    model, inputs, _ = MODELS[name]
    return model().eval(), inputs()


def rounding(layer: LoRALinear, x: torch.Tensor) -> torch.Tensor:
    """Twice the bound for one of x·(W + ΔW)ᵀ + bias, adapted or merged (as in tests/test_lora_layers.py)."""
    eps = torch.finfo(x.dtype).eps
    base, x = layer.base, x.detach().double().abs()
    factors = (base.b, base.c) if isinstance(base, LowRankLinear) else (base.weight,)
    widths = [abs(w.detach().double()) for w in factors]
    largest = widths[0] if len(widths) == 1 else widths[0] @ widths[1]
    largest = largest + layer.scale * layer.lora_b.detach().double().abs() @ layer.lora_a.detach().double().abs()
    offset = 0 if base.bias is None else base.bias.detach().double().abs()
    terms = layer.in_features + layer.rank + (len(widths) - 1) * getattr(base, "rank", 0) + 6
    return 2 * terms * eps * (x @ largest.T + offset)


def check_every_called_layer(adapted: nn.Module, plain: nn.Module, x: torch.Tensor) -> None:
    """On what each adapted layer is given, it and its merged twin differ by no more than rounding."""
    seen: list[tuple[str, torch.Tensor]] = []
    watched = copy.deepcopy(adapted)
    for name, layer in watched.named_modules():
        if isinstance(layer, LoRALinear):
            layer.register_forward_hook(lambda _, args, __, name=name: seen.append((name, args[0])))
    watched(x)
    called = {name for name, layer in adapted.named_modules() if isinstance(layer, LoRALinear)}
    assert {name for name, _ in seen} == {name for name in called if not name.endswith(READ)}
    for name, given in seen:
        layer, twin = adapted.get_submodule(name), plain.get_submodule(name)
        assert ((layer(given) - twin(given)).abs() <= rounding(layer, given)).all(), name


@pytest.mark.parametrize("name", MODELS)
def test_adapted_is_the_model_then_merged_is_the_adapted(name):
    """Before training the outputs are the model's own; after it those of the merged one; and all layers take part."""
    model, x = made(name)
    before = copy.deepcopy(model.state_dict())
    adapted = add_lora(model, 2, 3.0)
    assert torch.equal(adapted(x), model(x))
    pairs = len(trainable(adapted).names) // 2
    assert pairs == MODELS[name][2] and all("lora_" in each for each in trainable(adapted).names)
    randomised(adapted, std=0.5)
    adapted(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapted.parameters() if p.requires_grad)
    plain = merged(adapted, untie=name == "tied")
    difference = (adapted(x) - model(x)).abs().max()
    assert (adapted(x) - plain(x)).abs().max() <= 1e-4 * difference
    check_every_called_layer(adapted, plain, x)
    with torch.no_grad():  # torch's fast path, which reads the weights of a whole layer
        assert (adapted(x) - plain(x)).abs().max() <= 1e-4 * difference
    assert plain.state_dict().keys() == model.state_dict().keys() or name in ("normed", "factorised")
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", ["encoder", "unpacked attention"])
def test_attention_alone_is_merged_bit_for_bit(name):
    model, x = made(name)
    adapted = randomised(add_lora(model, 2, targets=r".*(q|k|v|out)_proj"))
    assert torch.equal(adapted(x), merged(adapted)(x)) and not torch.equal(adapted(x), model(x))


def test_each_projection_of_attention_can_be_had_alone():
    """ΔW is in the rows of its own projection and nowhere else."""
    model, _ = made("encoder")
    for i, part in enumerate(PARTS):
        adapted = randomised(add_lora(model, 2, targets=f"layers.1.self_attn.{part}"))
        assert trainable(adapted).parameters == 2 * (8 + 8)
        plain = merged(adapted)
        changed = (plain.layers[1].self_attn.in_proj_weight != model.layers[1].self_attn.in_proj_weight).any(1)
        assert changed.view(3, 8).all(1).tolist() == [i == row for row in range(3)] and changed.sum() in (0, 8)
        own = not torch.equal(plain.layers[1].self_attn.out_proj.weight, model.layers[1].self_attn.out_proj.weight)
        assert own == (part == "out_proj")
        assert torch.equal(plain.layers[0].self_attn.in_proj_weight, model.layers[0].self_attn.in_proj_weight)


def test_attention_keeps_what_hangs_on_it():
    """Its class, hooks, masks, returned weights and training flags."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    attention.register_forward_hook(lambda module, args, output: (2 * output[0], output[1]))
    adapted = add_lora(attention, {"q_proj": 2, "v_proj": 3})
    x = torch.randn(2, 5, 8)
    mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    for mine, theirs in zip(adapted(x, x, x, attn_mask=mask), attention(x, x, x, attn_mask=mask), strict=True):
        assert torch.equal(mine, theirs)
    assert isinstance(adapted, nn.MultiheadAttention) and not any(m.training for m in adapted.modules())
    assert type(merged(adapted)) is nn.MultiheadAttention


def test_attention_adapters_survive_the_file(tmp_path):
    model, x = made("encoder")
    source, target = (randomised(add_lora(model, 2), seed) for seed in (0, 1))
    save_adapters(source, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert "layers.0.self_attn.q_proj.lora_a" in file.keys() and len(list(file.keys())) == 24
    assert not torch.equal(source(x), target(x))
    load_adapters(target, tmp_path / "a.safetensors")
    assert torch.equal(source(x), target(x))


def test_where_adapters_can_be():
    model = nn.ModuleDict({
        "attention": nn.MultiheadAttention(4, 2), "linear": nn.Linear(2, 2), "masked": Masked(2, 2),
        "factors": LowRankLinear(2, 2, 1), "conv": nn.Conv2d(1, 1, 1), "norm": nn.LayerNorm(2),
        "lazy": nn.LazyLinear(2), "relu": nn.ReLU(),
    })  # fmt: skip
    places, layers, others = adaptable(model)
    assert layers["attention"] == tuple(f"attention.{part}" for part in PARTS)
    assert list(layers) == ["attention", "linear", "masked", "factors"] and set(others) == {"conv", "lazy"}
    assert places["attention.k_proj"] == Place("attention", "in_proj_weight", True, "k_proj", slice(4, 8))
    assert places["attention.out_proj"] == Place("attention.out_proj", inside=True)
    assert places["linear"] == Place("linear") and places["masked"].inside and places["factors"] == Place("factors")


def test_attention_of_a_kind_that_is_not_known_is_refused_by_name():
    class Own(nn.MultiheadAttention):
        def forward(self, x):
            return x

    model = nn.Sequential(Own(4, 2), nn.Linear(4, 4))
    with pytest.raises(ValueError, match="'0' cannot be adapted: a Own has a forward of its own"):
        add_lora(model, 2)
    assert isinstance(add_lora(model, 2, targets="1")[1], LoRALinear)
    attention = nn.MultiheadAttention(4, 2)
    nn.utils.spectral_norm(attention, "in_proj_weight")
    with pytest.raises(ValueError, match="'0' cannot be adapted: one of its weights is no parameter"):
        add_lora(nn.Sequential(attention), 2)


@pytest.mark.parametrize("name", ["encoder", "tied", "factorised"])
def test_bfloat16(name):
    """Everything stays in the model's dtype, and merging is within that dtype's rounding."""
    model, x = made(name)
    model = model.bfloat16()
    x = x.bfloat16() if x.is_floating_point() else x
    adapted = randomised(add_lora(model, 2), std=0.1)
    plain = merged(adapted, untie=name == "tied")
    assert {p.dtype for p in [*adapted.parameters(), *plain.parameters()]} == {torch.bfloat16}
    assert adapted(x).dtype == torch.bfloat16
    check_every_called_layer(adapted, plain, x)


compiles = pytest.mark.skipif(not torch._dynamo.is_dynamo_supported(), reason="torch.compile does not work here")


@compiles
@pytest.mark.parametrize("name", ["encoder", "tied", "normed", "subclass", "factorised"])
def test_compiled_it_is_the_same_model(name):
    """Traced whole, backward too; "aot_eager" leaves out torch's C++ compiler, which needs half a minute a model."""
    model, x = made(name)
    adapted = randomised(add_lora(model, 2), std=0.3)
    torch._dynamo.reset()
    compiled = torch.compile(adapted, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(x), adapted(x), rtol=1e-5, atol=1e-6)
    gradients = []
    for network in (compiled, adapted):
        adapted.zero_grad()
        network(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in adapted.parameters() if p.requires_grad])
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(*gradients, strict=True))


@compiles
def test_a_compiled_model_can_be_adapted():
    model, x = made("factorised")
    compiled = torch.compile(model, backend="eager")
    adapted = randomised(add_lora(compiled, 2))
    assert torch.equal(adapted(x), merged(adapted)(x)) or torch.allclose(adapted(x), merged(adapted)(x), rtol=1e-4)
    assert not torch.allclose(adapted(x), compiled(x)) and trainable(adapted).parameters == 2 * (8 + 7) + 2 * (7 + 5)


@pytest.mark.parametrize("name", MODELS)
def test_a_deep_copy_is_a_model_of_its_own(name):
    model, x = made(name)
    adapted = randomised(add_lora(model, 2), std=0.3)
    before = adapted(x)
    twin = copy.deepcopy(adapted)
    assert torch.equal(twin(x), before)
    randomised(twin, seed=5)
    merged(twin, untie=True)
    assert torch.equal(adapted(x), before) and not torch.equal(twin(x), before)
