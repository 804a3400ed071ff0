"""What `compress` writes, `load_compressed` puts back: the outputs of the dense product, in less memory."""

from __future__ import annotations

import copy
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import rankstudy
from rankstudy import UsageError


class Everything(nn.Module):
    """A layer of each kind that has a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 64)
        self.conv = nn.Conv1d(64, 48, 5, padding="same")
        self.image = nn.Conv2d(1, 32, 5, padding=1, padding_mode="circular", dilation=2)
        self.lstm = nn.LSTM(48, 64, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(128, 64, batch_first=True)
        self.cell = nn.LSTMCell(64, 64)
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.0)
        self.up = nn.ConvTranspose1d(64, 32, 4)
        self.grouped = nn.Conv1d(64, 64, 3, groups=2)
        self.head = nn.Linear(64, 100, bias=False)
        self.head.weight = self.embed.weight
        self.again = self.layer.linear1  # one module in two places

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.conv(self.embed(x).transpose(1, 2)).transpose(1, 2)
        x = self.gru(self.lstm(x)[0])[0]
        x = self.layer(x + self.attention(x, x, x)[0])
        x = x + self.cell(x[:, 0])[0][:, None]
        y = x.transpose(1, 2)
        return self.head(x), self.up(y), self.grouped(y), self.image(x[:, None]), self.again(x)


INPUT = torch.arange(24).reshape(2, 12)


@pytest.mark.parametrize("amount", [{"keep": 0.4}, {"rank": 5}, {"rank_error": 0.5}, {"energy": 0.6}])
@pytest.mark.parametrize("include", [None, "."])
def test_every_layer_computes_with_factors_what_the_product_would(amount, include, tmp_path):
    torch.manual_seed(0)
    model = Everything().eval()
    done = rankstudy.compress(model, tmp_path / "small.safetensors", include=include, **amount)
    back = rankstudy.load_compressed(model, tmp_path / "small.safetensors")
    rankstudy.compress(model, tmp_path / "dense.safetensors", include=include, dense=True, **amount)
    dense = copy.deepcopy(model)
    dense.load_state_dict(load_file(tmp_path / "dense.safetensors"))
    for training in (False, True):
        back.train(training), dense.train(training)
        for ours, theirs in zip(back(INPUT), dense(INPUT), strict=True):
            assert torch.allclose(ours, theirs, atol=2e-5)
    factored = [choice for choice in done.choices if choice.rank]
    assert {"lstm.weight_hh_l0", "cell.weight_ih", "attention.in_proj_weight"} <= {choice.name for choice in factored}
    held = sum(p.numel() * p.element_size() for p in back.parameters())
    assert held == done.memory[1] < done.memory[0] == sum(p.numel() * 4 for p in model.parameters())
    if include:
        assert back.embed.b is back.head.b and type(back.head).__name__ == "LowRankLinear"
    assert back.again is back.layer.linear1
    copy.deepcopy(back)
    back(INPUT)[0].sum().backward()  # the factors train
    assert all(p.grad is not None for name, p in back.named_parameters() if name.startswith(("lstm", "cell", "layer")))


def test_what_is_not_compressed_is_byte_for_byte_as_it_was(tmp_path):
    torch.manual_seed(0)
    odd = {
        "w": torch.randn(40, 30), "ids": torch.arange(7), "flags": torch.tensor([True, False]),
        "z": torch.randn(3, 3, dtype=torch.complex64), "f8": torch.randn(8, 8).to(torch.float8_e4m3fn),
        "nan": torch.full((20, 20), float("nan")), "n._extra_state": torch.tensor([1, 2, 3]),
        "half": torch.randn(5).half(),
    }  # fmt: skip
    save_file(odd, tmp_path / "a.safetensors", metadata={"format": "pt", "who": "me"})
    rankstudy.compress(tmp_path / "a.safetensors", tmp_path / "b.safetensors", rank=2)
    before, after = (header_and_bytes(tmp_path / f"{name}.safetensors") for name in "ab")
    for name, content in before[1].items():
        assert name == "w" or after[1][name] == content
    assert after[0]["who"] == "me" and after[0]["format"] == "pt"


def header_and_bytes(path: Path) -> tuple[dict[str, str], dict[str, tuple]]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__")
    data = content[8 + length :]
    return metadata, {
        name: (told["dtype"], told["shape"], data[slice(*told["data_offsets"])]) for name, told in header.items()
    }


def test_tied_weights_are_written_once(tmp_path):
    shared = torch.randn(200, 32)
    torch.save({"embed.weight": shared, "head.weight": shared, "fc.weight": torch.randn(32, 32)}, tmp_path / "a.pt")
    done = rankstudy.compress(tmp_path / "a.pt", tmp_path / "b.safetensors", rank=4)
    assert done.disk[1] < 200 * 32 * 4 + 32 * 32 * 4 + 2000 and done.parameters[0] == 200 * 32 + 32 * 32
    model = nn.ModuleDict({"embed": nn.Embedding(200, 32), "head": nn.Linear(32, 200, bias=False),
                           "fc": nn.Linear(32, 32, bias=False)})  # fmt: skip
    back = rankstudy.load_compressed(model, tmp_path / "b.safetensors")
    assert torch.equal(back["embed"].weight, shared) and torch.equal(back["head"].weight, shared)


def test_copies_in_a_safetensors_file_are_tied_too(tmp_path):
    """A file cannot share memory; an embedding and a head of equal bytes were one tensor."""
    torch.manual_seed(0)
    shared = torch.randn(200, 32)
    save_file({"embed.weight": shared, "lm_head.weight": shared.clone()}, tmp_path / "a.safetensors")
    found = rankstudy.analyze(tmp_path / "a.safetensors")
    assert found.left_out == {"lm_head.weight": "tied to embed.weight"} and found.parameters == 200 * 32
    done = rankstudy.compress(tmp_path / "a.safetensors", tmp_path / "b.safetensors", rank=4, include=".")
    assert done.parameters == (200 * 32, 4 * 232)
    model = nn.ModuleDict({"embed": nn.Embedding(200, 32), "lm_head": nn.Linear(32, 200, bias=False)})
    back = rankstudy.load_compressed(model, tmp_path / "b.safetensors")
    assert torch.equal(back["embed"].weight, back["lm_head"].weight) and back["embed"].b is back["lm_head"].b


def test_parametrised_layers_and_extra_state(tmp_path):
    """weight_norm's direction is a matrix too; a module's extra state that is no tensor is said, not stumbled over."""

    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"version": 3}

        def set_extra_state(self, state):
            assert state == {"version": 3}

    torch.manual_seed(0)
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(40, 40)), Extra(40, 40))
    done = rankstudy.compress(model, tmp_path / "a.safetensors", rank=5)
    assert done.ranks["0.parametrizations.weight.original1"] == done.ranks["1.weight"] == 5
    assert done.not_written == ("1._extra_state",)
    back = rankstudy.load_compressed(model, tmp_path / "a.safetensors")
    x = torch.randn(3, 40)
    assert back(x).shape == (3, 40) and torch.linalg.matrix_rank(back[0].weight) == 5
    assert sum(p.numel() for p in back.parameters()) == done.parameters[1]


def test_compressing_twice_never_grows(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(60, 60), nn.Linear(60, 60), nn.Linear(60, 60))
    paths = [tmp_path / f"{i}.safetensors" for i in range(4)]
    save_file(model.state_dict(), paths[0])
    sizes = [rankstudy.compress(paths[0], paths[1], rank=12).disk[1]]
    again = rankstudy.compress(paths[1], paths[2], rank=20)  # no smaller: what is there stays, to the byte
    assert header_and_bytes(paths[1])[1] == header_and_bytes(paths[2])[1]
    assert set(again.ranks.values()) == {12}
    less = rankstudy.compress(paths[2], paths[3], rank=5)
    assert set(less.ranks.values()) == {5} and less.disk[1] < sizes[0]
    assert rankstudy.load_compressed(model, paths[3])(torch.randn(2, 60)).shape == (2, 60)
    assert {m.rank for m in rankstudy.analyze(paths[3]).matrices} == {5}


@pytest.mark.parametrize("level", ["state_dict", "model", "model_state"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_nested_and_wrapped_names_are_loaded(level, prefix, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 40), nn.BatchNorm1d(40), nn.Linear(40, 40))
    adam = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 40)).sum().backward()
    adam.step()
    state = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({level: state, "optimizer": adam.state_dict(), "epoch": 1}, tmp_path / "a.pt")
    done = rankstudy.compress(tmp_path / "a.pt", tmp_path / "b.safetensors", rank_error=0.2)
    assert any(name.startswith("optimizer.state.0.exp_avg") for name in done.not_written)
    back = rankstudy.load_compressed(model, tmp_path / "b.safetensors")
    assert torch.equal(back[1].running_mean, model[1].running_mean)
    x = torch.randn(4, 40)
    assert back.eval()(x).shape == model.eval()(x).shape


def test_shards_stay_shards(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(4)))
    folder = tmp_path / "model"
    folder.mkdir()
    state = model.state_dict()
    names = {name: f"model-0000{1 + int(name[0]) // 2}-of-00002.safetensors" for name in state}
    for file in set(names.values()):
        save_file({name: state[name] for name in state if names[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "config.json").write_text('{"model_type": "mlp"}')
    done = rankstudy.compress(folder, tmp_path / "small", keep=0.5)
    written = {path.name for path in (tmp_path / "small").iterdir()}
    assert written == {*names.values(), "model.safetensors.index.json", "config.json"}
    one = rankstudy.compress(folder, tmp_path / "one.safetensors", keep=0.5)
    assert one.ranks == done.ranks
    x = torch.randn(3, 64)
    outputs = [rankstudy.load_compressed(model, path)(x) for path in (tmp_path / "small", tmp_path / "one.safetensors")]
    assert torch.equal(*outputs)
    assert [m.rank for m in rankstudy.analyze(tmp_path / "small").matrices] == list(done.ranks.values())
    base = rankstudy.analyze(tmp_path / "small", base=folder)
    assert len(base.matrices) == 4 and all(0 < m.change < 1 for m in base.matrices)
    shard = next(path for path in sorted(folder.iterdir()) if path.suffix == ".safetensors")
    content = shard.read_bytes()
    for source in (folder / "model.safetensors.index.json", folder):
        with pytest.raises(UsageError, match="is a shard of FILE" if source != folder else "lies inside FILE"):
            rankstudy.compress(source, shard, keep=0.5)
    assert shard.read_bytes() == content
    with pytest.raises(UsageError, match="is a folder that is not empty"):
        rankstudy.compress(folder, tmp_path / "small", keep=0.5)


def test_selection_and_amounts(tmp_path):
    torch.manual_seed(0)
    model = nn.ModuleDict({"embed": nn.Embedding(500, 64), "fc1": nn.Linear(64, 256), "fc2": nn.Linear(256, 64),
                           "lm_head": nn.Linear(64, 500)})  # fmt: skip

    def done(**options):
        return rankstudy.compress(model, tmp_path / "a.safetensors", **options)

    kept = {choice.name: choice.why for choice in done(rank=4).choices if choice.rank is None}
    assert kept == {"embed.weight": "an embedding", "lm_head.weight": "a head"}
    assert done(rank=4, include="lm_head").ranks["lm_head.weight"] == 4
    only = done(rank=4, include=".", exclude=["fc", "emb"]).ranks
    assert {name for name, rank in only.items() if rank} == {"lm_head.weight"}
    for keep in (0.2, 0.5, 0.8):
        chosen = done(keep=keep)
        size = sum(
            np.prod(c.shape) if c.rank is None else c.rank * sum(c.shape) for c in chosen.choices if c.name[:2] == "fc"
        )
        assert 0.9 * keep <= size / (2 * 64 * 256) <= keep
    assert done().amount == "--keep 0.5, the default"
    assert done(rank=48, min_saving=0.2).ranks["fc1.weight"] is None
    bad = [{"rank": 0}, {"energy": 1.0}, {"keep": 0}, {"rank": 2, "keep": 0.5}, {"min_saving": 1}, {"include": "["}]
    for options in (*bad, {"include": "nowhere"}, {"rank_error": True}):
        with pytest.raises(UsageError):
            done(**options)


def test_expert_stacks_are_told_slice_by_slice_and_stay(tmp_path):
    torch.manual_seed(0)
    low = torch.randn(4, 80, 3) @ torch.randn(4, 3, 70)
    save_file({"moe.experts.w1": low, "fc.weight": torch.randn(40, 40)}, tmp_path / "a.safetensors")
    found = {m.name: m for m in rankstudy.analyze(tmp_path / "a.safetensors").matrices}
    assert [found[f"moe.experts.w1[{i}]"].rank for i in range(4)] == [3] * 4
    done = rankstudy.compress(tmp_path / "a.safetensors", tmp_path / "b.safetensors", rank=3, include=".")
    assert done.ranks["moe.experts.w1[0]"] is None and "stack" in done.table()
    assert torch.equal(load_file(tmp_path / "b.safetensors")["moe.experts.w1"], low)


def test_an_older_version_s_index_buffer_is_named_and_passed_over(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 40))
    torch.save({**model.state_dict(), "position_ids": torch.arange(5)}, tmp_path / "a.pt")
    rankstudy.compress(tmp_path / "a.pt", tmp_path / "b.safetensors", rank=3)
    with pytest.warns(UserWarning, match="no such buffer: position_ids"):
        back = rankstudy.load_compressed(model, tmp_path / "b.safetensors")
    assert back[0].rank == 3
    torch.save({**model.state_dict(), "scale": torch.ones(5)}, tmp_path / "c.pt")
    rankstudy.compress(tmp_path / "c.pt", tmp_path / "d.safetensors", rank=3)
    with pytest.raises(ValueError, match="unknown scale; strict=False loads the rest"):
        rankstudy.load_compressed(model, tmp_path / "d.safetensors")


def test_a_file_with_more_or_less_than_the_model_is_loaded_if_that_is_wanted(tmp_path):
    """As a speech network of a public package is: its file has two numbers of the loss that the module lacks."""
    torch.manual_seed(0)
    model, other = (nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40)) for _ in range(2))
    state = {name: value for name, value in other.state_dict().items() if name != "1.bias"}
    torch.save({**state, "similarity_weight": torch.ones(1)}, tmp_path / "a.pt")
    rankstudy.compress(tmp_path / "a.pt", tmp_path / "b.safetensors", rank=3)
    with pytest.raises(ValueError, match=r"missing 1\.bias; unknown similarity_weight; strict=False"):
        rankstudy.load_compressed(model, tmp_path / "b.safetensors")
    with pytest.warns(UserWarning, match=r"missing 1\.bias; unknown similarity_weight"):
        back = rankstudy.load_compressed(model, tmp_path / "b.safetensors", strict=False)
    assert [layer.rank for layer in back] == [3, 3] and torch.equal(back[0].bias, other[0].bias)
    assert torch.equal(back[1].bias, model[1].bias)
    wide = nn.Sequential(nn.Linear(40, 50), nn.Linear(50, 40))
    with pytest.raises(ValueError, match=r"of another shape 0\.weight") as refused:
        rankstudy.load_compressed(wide, tmp_path / "b.safetensors", strict=False)
    assert "strict" not in str(refused.value)


@pytest.mark.parametrize("name", ["small", "small/", "small.pt", "small.npz"])
def test_what_is_written_is_named_as_what_it_is(name, tmp_path):
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    with pytest.raises(UsageError, match=r"is to be a safetensors file; name it .*small[.\w]*\.safetensors$"):
        rankstudy.compress(model, f"{tmp_path}/{name}")
    assert not any(tmp_path.iterdir())
    done = rankstudy.compress(model, tmp_path / "small.safetensors")
    assert str(done) == done.table() and "small.safetensors, which rankstudy.load_compressed reads" in " ".join(
        done.table().split()
    )
    assert str(rankstudy.analyze(model)) == rankstudy.analyze(model).table()
