"""base and tuned -> a LoRA adapter that peft loads, and that does what it says."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import rankstudy
from rankstudy import UsageError
from rankstudy.__main__ import main
from rankstudy.factorization import truncated_svd
from rankstudy.lora import save_adapters


class Net(nn.Module):
    """Names that a suffix would confuse: "0" is in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(30, 24)
        self.body = nn.Sequential(nn.Linear(24, 40), nn.Tanh(), nn.Linear(40, 32))
        self.inner = nn.ModuleDict({"0": nn.Linear(32, 32), "10": nn.Linear(32, 32)})
        self.conv = nn.Conv2d(1, 16, 3)
        self.head = nn.Linear(16 * 4 * 30, 18)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.inner["10"](self.inner["0"](self.body(self.emb(x)))).unsqueeze(1)
        return self.head(self.conv(h).flatten(1))


@pytest.fixture
def pair():
    """A network and itself after an update of which rank 3 is most; one layer does not move."""
    torch.manual_seed(0)
    base = Net().eval()
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if p.dim() > 1 and "emb" not in name and name != "inner.0.weight":
                flat = p.flatten(1)
                m, n = flat.shape
                flat += 0.02 * (torch.randn(m, 3) @ torch.randn(3, n)) + 0.002 * torch.randn(m, n)
    return base, tuned


INPUT = torch.arange(12).reshape(2, 6)


def with_truncated_update(base: nn.Module, tuned: nn.Module, ranks: dict[str, int]) -> nn.Module:
    """Base + the best approximation of the update of each rank, by NumPy."""
    model = copy.deepcopy(base)
    for name, rank in ranks.items():
        before, after = base.get_parameter(name).detach(), tuned.get_parameter(name).detach()
        update = (after - before).flatten(1).double().numpy()
        product = truncated_svd(update, rank).product()
        model.get_parameter(name).data += torch.from_numpy(product).to(before).reshape(before.shape)
    return model


@pytest.mark.parametrize("amount", [{}, {"rank": 2}, {"rank_error": 0.3}, {"energy": 0.9}, {"budget": 4000}])
def test_peft_loads_it_and_computes_base_plus_truncated_update(pair, amount, tmp_path):
    peft = pytest.importorskip("peft")
    base, tuned = pair
    done = rankstudy.extract_adapter(base, tuned, tmp_path / "adapter", **amount)
    ranks = {part.name: part.rank for part in done.parts if part.rank}
    assert "inner.0.weight" not in ranks and "inner.10.weight" in ranks and "emb.weight" not in ranks
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "adapter").eval()
    assert sum(p.numel() for name, p in loaded.named_parameters() if "lora" in name) == done.parameters
    if "budget" in amount:
        assert done.parameters <= 4000
    wanted = with_truncated_update(base, tuned, ranks)
    with torch.no_grad():
        assert torch.allclose(loaded(INPUT), wanted(INPUT), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(loaded(INPUT), base(INPUT), atol=1e-3)
    for part in done.parts:  # the error that is stated is the one that is there
        if part.rank:
            update = (tuned.get_parameter(part.name) - base.get_parameter(part.name)).detach().flatten(1).double()
            there = (wanted.get_parameter(part.name) - base.get_parameter(part.name)).detach().flatten(1).double()
            assert float((update - there).norm() / update.norm()) == pytest.approx(part.error, abs=1e-4)
            if "rank_error" in amount or "energy" in amount:
                assert part.error <= amount.get("rank_error", np.sqrt(0.1)) + 1e-6


def test_analyze_reads_it_back(pair, tmp_path):
    base, tuned = pair
    done = rankstudy.extract_adapter(base, tuned, tmp_path / "adapter", rank=3)
    found = rankstudy.analyze(tmp_path / "adapter")
    assert found.update and {m.name for m in found.matrices} == {part.name for part in done.parts if part.rank}
    assert {m.rank for m in found.matrices} == {3} and all(m.kind == "adapter" for m in found.matrices)
    direct = {m.name: m for m in rankstudy.analyze(tuned, base).matrices}
    for m in found.matrices:
        assert np.allclose(m.singular_values[:3], direct[m.name].singular_values[:3], rtol=1e-4)
        assert direct[m.name].change == pytest.approx(
            float(
                (tuned.get_parameter(m.name) - base.get_parameter(m.name)).detach().norm()
                / base.get_parameter(m.name).detach().norm()
            ),
            rel=1e-4,
        )


def test_peft_s_own_adapters_are_read_with_their_scale(tmp_path):
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    base = Net()
    config = peft.LoraConfig(r=4, lora_alpha=12, target_modules=["body.0", "inner.10"], rank_pattern={"inner.10": 2})
    model = peft.get_peft_model(copy.deepcopy(base), config)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(p)
    model.save_pretrained(tmp_path / "a")
    merged = model.merge_and_unload()
    for m in rankstudy.analyze(tmp_path / "a").matrices:
        update = (merged.get_parameter(m.name) - base.get_parameter(m.name)).detach().double()
        exact = torch.linalg.svdvals(update).numpy()
        assert np.allclose(m.singular_values, exact, atol=1e-5 * exact[0])
        assert m.rank == (2 if "inner" in m.name else 4)


def test_adapters_of_other_trainers_have_the_scale_that_lies_beside_their_factors(tmp_path):
    torch.manual_seed(2)
    down, up = torch.randn(4, 20), torch.randn(24, 4)
    factors = {"lora_te_q.lora_down.weight": down, "lora_te_q.lora_up.weight": up}
    exact = torch.linalg.svdvals((up @ down).double()).numpy()
    for alpha, wanted in ((None, 1.0), (2.0, 0.5)):
        save_file(
            factors | ({} if alpha is None else {"lora_te_q.alpha": torch.tensor(alpha)}), tmp_path / "a.safetensors"
        )
        (m,) = rankstudy.analyze(tmp_path / "a.safetensors").matrices
        assert (m.name, m.kind, m.rank) == ("lora_te_q.weight", "adapter", 4)
        assert np.allclose(m.singular_values, wanted * exact, atol=1e-5 * exact[0])


def test_names_behind_prefixes_and_what_changed_beside(pair, tmp_path, capsys):
    base, tuned = pair
    save_file(base.state_dict(), tmp_path / "base.safetensors")
    state = {f"module.{name}": value.clone() for name, value in tuned.state_dict().items()}
    state["module.head.bias"] += 1
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "tuned.pt")
    arguments = ["extract", str(tmp_path / "base.safetensors"), str(tmp_path / "tuned.pt"), str(tmp_path / "adapter")]
    assert main([*arguments, "--energy", "0.9", "--exclude", "conv", "--json", str(tmp_path / "a.json")]) == 0
    out = capsys.readouterr().out
    assert "head.bias (changed, and not in the adapter: a vector)" in out
    assert "conv.weight (changed, and not in the adapter: excluded)" in out
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["rank_pattern"] == config["alpha_pattern"]
    assert json.loads((tmp_path / "a.json").read_text())["parameters"] > 0
    assert main(arguments) == 2 and "not empty" in capsys.readouterr().err


def test_nothing_changed_is_one_line_and_no_folder(pair, tmp_path):
    base, _ = pair
    with pytest.raises(UsageError, match="nothing changed"):
        rankstudy.extract_adapter(base, base, tmp_path / "adapter")
    with pytest.raises(UsageError, match="less than rank 1"):
        rankstudy.extract_adapter(*pair, tmp_path / "adapter", budget=10)
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_is_the_update_whatever_base_is_given():
    """Not the difference of its product and the base, which has full rank."""
    rng = np.random.default_rng(0)
    a, b, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 64), (48, 4), (48, 64)))
    adapter = {"base_model.model.fc.lora_A.weight": a, "base_model.model.fc.lora_B.weight": b / 100}
    for beside in ({}, {"base_model.model.fc.base_layer.weight": w}):
        (found,) = rankstudy.analyze(adapter | beside, {"fc.weight": w}).matrices
        assert (found.name, found.kind, found.rank) == ("fc.weight", "adapter", 4) and found.shares[0] == 1
        assert found.change == pytest.approx(np.linalg.norm(b @ a / 100) / np.linalg.norm(w), rel=1e-6)
    with pytest.raises(UsageError, match="--base holds a LoRA adapter; the network before fine-tuning is wanted"):
        rankstudy.analyze({"fc.weight": w}, adapter)


@pytest.mark.parametrize("order", [1, -1])
def test_an_adapter_is_nothing_to_extract_from(order, tmp_path):
    w = np.eye(48, 64, dtype=np.float32)
    adapter = {"fc.lora_A.weight": np.ones((4, 64), np.float32), "fc.lora_B.weight": np.ones((48, 4), np.float32)}
    with pytest.raises(UsageError, match=f"{'TUNED' if order == 1 else 'BASE'} holds a LoRA adapter already"):
        rankstudy.extract_adapter(*[{"fc.weight": w}, adapter][::order], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scaling", ["lora", "rslora"])
def test_adapters_of_this_package_are_read_as_updates_too(scaling, tmp_path):
    adapted = rankstudy.add_lora(rankstudy.MLP(64, 48, 32), 4, alpha=8, scaling=scaling)
    for layer in adapted.layers:
        nn.init.normal_(layer.lora_b)
    update = adapted.layers[0].weight - adapted.layers[0].base.weight
    save_adapters(adapted, tmp_path / "adapter.safetensors")
    first, _ = rankstudy.analyze(tmp_path / "adapter.safetensors").matrices
    assert (first.name, first.kind, first.rank) == ("layers.0.weight", "adapter", 4)
    assert np.linalg.norm(first.singular_values) == pytest.approx(float(update.detach().norm()), rel=1e-5)
    found = {m.name: (m.kind, m.rank) for m in rankstudy.analyze(adapted).matrices}  # with what it sits on
    assert found["layers.0.weight"] == ("adapter", 4) and found["layers.0.base.weight"] == ("matrix", 48)
