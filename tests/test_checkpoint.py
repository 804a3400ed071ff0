"""Anyone's network: planted ranks are found, the stated error is reproduced, nothing harmful is loaded."""

from __future__ import annotations

import csv
import io
import json
import pickle
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_numpy
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file as save_torch
from torch import nn

import rankstudy
from rankstudy import UsageError
from rankstudy.__main__ import main
from rankstudy._linalg.gram import singular_values
from rankstudy.rank import matrix_rank
from rankstudy.tools.reading import B, C

RNG = np.random.default_rng(0)


def planted(m: int, n: int, rank: int, scale: float = 1.0) -> np.ndarray:
    """(m, n) float32 of a rank that is certain: factors with orthonormal columns, equal singular values."""
    u, v = np.linalg.qr(RNG.standard_normal((m, rank)))[0], np.linalg.qr(RNG.standard_normal((n, rank)))[0]
    return (scale * u @ v.T).astype(np.float32)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 24)
        self.conv = nn.Conv2d(3, 32, 5)
        self.body = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 40, bias=False))
        self.norm = nn.BatchNorm1d(40)


def test_every_matrix_is_there_and_nothing_is_dropped_silently():
    torch.manual_seed(0)
    found = rankstudy.analyze(Small())
    assert {m.name: (m.kind, m.shape) for m in found.matrices} == {
        "embedding.weight": ("matrix", (50, 24)),
        "conv.weight": ("convolution", (32, 75)),
        "body.0.weight": ("matrix", (48, 64)),
        "body.2.weight": ("matrix", (40, 48)),
    }
    assert {m.name for m in found.matrices} | set(found.left_out) == set(Small().state_dict())
    assert {m.name: m.kept for m in found.matrices if m.kept} == {"embedding.weight": "an embedding"}
    table = found.table()
    assert "conv.weight (conv)" in table and "out × (in·kh·kw)" in table
    for name, why in found.left_out.items():
        assert name in table and why in table
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert {row["name"]: row["kept"] for row in rows if row["kind"] == "left out"} == found.left_out
    assert {each["name"]: each["why"] for each in json.loads(found.json())["left_out"]} == found.left_out


def test_numbers_are_those_of_the_mathematics():
    from rankstudy.spectrum import effective_rank, stable_rank

    model = Small()
    for m in rankstudy.analyze(model, rank_error=0.3).matrices:
        weight = model.state_dict()[m.name].flatten(1)
        assert m.rank == matrix_rank(weight) == matrix_rank(weight, method="svd")
        exact = np.linalg.svd(weight.double().numpy(), compute_uv=False)
        assert np.allclose(m.singular_values, exact, rtol=1e-9, atol=1e-9 * exact[0])
        assert m.stable_rank == pytest.approx(float(stable_rank(weight)))
        assert m.entropy_rank == pytest.approx(float(effective_rank(weight)))
        tails = np.sqrt(np.cumsum(exact[::-1] ** 2)[::-1])
        assert tails[m.needed_rank] / tails[0] <= 0.3 < tails[m.needed_rank - 1] / tails[0]
        rows, columns = m.shape
        assert m.saved == rows * columns - m.needed_rank * (rows + columns)


@pytest.mark.parametrize("shape", [(40, 40), (90, 30), (30, 90), (1, 5), (5, 1)])
@pytest.mark.parametrize("dtype", ["F32", "F64"])
def test_singular_values_of_any_shape_and_scale(shape, dtype):
    for scale in (1e-30, 1.0, 1e30):
        a = (RNG.standard_normal(shape) * scale).astype(np.float32 if dtype == "F32" else np.float64)
        exact = np.linalg.svd(a.astype(np.float64), compute_uv=False)
        assert np.allclose(singular_values(a, dtype), exact, rtol=1e-7, atol=1e-7 * exact[0])
    assert singular_values(np.zeros((4, 3), np.float32)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_every_precision_is_read(dtype, suffix, tmp_path):
    weight = torch.randn(20, 12).to(dtype)
    path = tmp_path / f"räum e.{suffix}"
    (save_torch if suffix == "safetensors" else torch.save)({"w": weight}, path)
    (m,) = rankstudy.analyze(path).matrices
    exact = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    assert np.allclose(m.singular_values, exact, atol=1e-7 * exact[0])
    assert m.rank == matrix_rank(weight) >= (12 if torch.finfo(dtype).bits > 8 else 1)
    assert m.outliers <= m.rank


def test_update_against_a_base_has_the_planted_rank(tmp_path):
    base = {"w": RNG.standard_normal((60, 50)).astype(np.float32), "b": np.zeros(60, np.float32)}
    tuned = {"w": base["w"] + planted(60, 50, 4, 30.0), "b": base["b"]}
    save_numpy(base, tmp_path / "base.safetensors")
    save_numpy(tuned, tmp_path / "tuned.safetensors")
    (m,) = rankstudy.analyze(tmp_path / "tuned.safetensors", tmp_path / "base.safetensors").matrices
    assert m.needed_rank == 4  # the rounding of the sum to float32 is far below 5 %
    assert rankstudy.analyze(tmp_path / "tuned.safetensors").matrices[0].rank == 50
    (same,) = rankstudy.analyze(base, base).matrices
    assert same.rank == 0 and same.needed_rank == 0 and same.saved == 0 and same.change == 0
    assert "unchanged" in rankstudy.analyze(base, base).table()


def test_nested_state_dicts_are_found(tmp_path):
    torch.save({"state_dict": {"w": torch.randn(5, 4)}, "epoch": 3}, tmp_path / "a.pt")
    found = rankstudy.analyze(tmp_path / "a.pt")
    assert [m.name for m in found.matrices] == ["w"] and found.left_out == {"epoch": "no tensor"}


def test_csv_and_figure(tmp_path, capsys):
    save_numpy({"w": planted(30, 20, 3)}, tmp_path / "a.safetensors")
    out = [str(tmp_path / name) for name in ("a.csv", "a.svg")]
    assert main(["analyze", str(tmp_path / "a.safetensors"), "--csv", out[0], "--figure", out[1]]) == 0
    lines = Path(out[0]).read_text().splitlines()
    assert lines[0].startswith("name,kind,shape,dtype,rank") and lines[1].startswith("w,matrix,30x20,F32,3")
    assert "<svg" in Path(out[1]).read_text()
    assert "1 matrices" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_large_folder_is_read_and_compressed_one_tensor_at_a_time(tmp_path, thorough):
    """300 MB in shards; planted ranks exactly; peak memory at most 4 × the largest matrix + 300 MB.

    Compressing all of it takes a minute and is for the thorough profile; else four of its matrices are.
    """
    tensors = {f"noise.{i}": RNG.standard_normal((2048, 2048), dtype=np.float32) for i in range(12)}
    ranks = {f"planted.{i}": rank for i, rank in enumerate((1, 7, 100, 512))}
    tensors |= {name: planted(1024, 1536, rank, 10.0) for name, rank in ranks.items()}
    tensors |= {f"rest.{i}": RNG.standard_normal((3000, 512), dtype=np.float32) for i in range(12)}
    folder = tmp_path / "large"
    folder.mkdir()
    files = {name: f"model-{i % 3}.safetensors" for i, name in enumerate(tensors)}
    for file in set(files.values()):
        save_numpy({name: tensors[name] for name in tensors if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    assert sum(path.stat().st_size for path in folder.iterdir()) > 290e6
    limit = 4 * 2048 * 2048 * 4 + 300e6
    found, peak = in_a_process("{m.name: m.rank for m in rankstudy.analyze(folder).matrices}", folder)
    assert {name: found[name] for name in ranks} == ranks
    assert len(found) == len(tensors)
    assert peak <= limit, f"analyze: peak {peak / 1e6:.0f} MB"
    include = "." if thorough else "planted"
    done, peak = in_a_process(
        f"rankstudy.compress(folder, folder + '-small', rank=64, include={include!r}).ranks", folder
    )
    assert {done[name] for name in ranks} == {64}
    assert peak <= limit, f"compress: peak {peak / 1e6:.0f} MB"


def in_a_process(expression: str, folder: Path) -> tuple[dict, int]:
    """The value of an expression on a folder, and the peak memory in bytes of a process that does nothing else."""
    program = textwrap.dedent(
        f"""
        import rankstudy, json
        folder = {str(folder)!r}
        value = {expression}
        with open("/proc/self/status") as status:  # getrusage would count what this process had before exec
            peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
        print(json.dumps([value, peak]))
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("rank_error", [0.05, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compress_reproduces_the_stated_error(rank_error, dtype, tmp_path):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(80, 60), nn.ReLU(), nn.Linear(60, 60), nn.ReLU(), nn.Linear(60, 10))
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(planted(60, 80, 5, 8.0)) + 0.01 * torch.randn(60, 80))
    model = model.to(dtype)
    save_torch(model.state_dict(), tmp_path / "a.safetensors")
    done = rankstudy.compress(tmp_path / "a.safetensors", tmp_path / "b.safetensors", rank_error=rank_error)
    ranks = done.ranks
    assert ranks["0.weight"] is not None and ranks["4.weight"] is None
    back = rankstudy.load_compressed(model, tmp_path / "b.safetensors")
    assert type(back[0]).__name__ == "LowRankLinear" and torch.equal(back[0].bias, model[0].bias)
    assert type(back[4]) is nn.Linear and torch.equal(back[4].weight, model[4].weight)
    for choice in done.choices:
        if choice.rank is not None:
            name, error = choice.name, choice.error
            a = model.get_parameter(name).detach().double()
            layer = back.get_submodule(name.removesuffix(".weight"))
            product = (layer.b.double() @ layer.c.double()).detach()
            measured = float((a - product).norm() / a.norm())
            assert measured == pytest.approx(error, rel=1e-9) and measured <= rank_error
    x = torch.randn(7, 80, dtype=dtype)
    assert back(x).shape == (7, 10) and type(model[0]) is nn.Linear
    stored = load_numpy(tmp_path / "b.safetensors") if dtype is torch.float32 else {}
    assert not stored or stored.keys() >= {"0.weight" + B, "0.weight" + C, "0.bias"}


def test_factors_of_other_modules_compute_as_their_products(tmp_path):
    torch.manual_seed(2)
    model = Small()
    with torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(planted(50, 24, 2)))
        model.conv.weight.copy_(torch.from_numpy(planted(32, 75, 3)).reshape(32, 3, 5, 5))
    torch.save(model.state_dict(), tmp_path / "a.pt")
    done = rankstudy.compress(tmp_path / "a.pt", tmp_path / "b.safetensors", rank_error=0.05, include=".").ranks
    assert done["embedding.weight"] == 2 and done["conv.weight"] == 3
    back = rankstudy.load_compressed(model, tmp_path / "b.safetensors")
    for name in ("embedding", "conv"):
        a, b = model.get_submodule(name).weight.detach(), back.get_submodule(name).weight.detach()
        assert a.shape == b.shape and float((a - b).norm() / a.norm()) < 1e-5
    assert sum(p.numel() for p in back.conv.parameters()) == 3 * (32 + 75) + 32  # it is small in memory too
    assert int(back.norm.num_batches_tracked) == 0
    with pytest.raises(ValueError, match=r"does not fit the model: missing weight, bias; unknown conv\.bias"):
        rankstudy.load_compressed(nn.Linear(3, 3), tmp_path / "b.safetensors")
    with pytest.raises(UsageError, match="no checkpoint written"):
        rankstudy.load_compressed(model, tmp_path / "a.pt")


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def safetensors_with(header: dict, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def bad_inputs(folder: Path) -> dict[str, tuple[list[str], str]]:
    good = folder / "good.safetensors"
    save_numpy({"w": RNG.standard_normal((4, 3)).astype(np.float32)}, good)
    files = {
        "empty": b"",
        "text": b"hello, I am no checkpoint",
        "truncated": good.read_bytes()[:-5],
        "overflow": safetensors_with(
            {"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"\0" * 4
        ),
        "negative": safetensors_with({"w": {"dtype": "F32", "shape": [-1, 4], "data_offsets": [0, 4]}}, b"\0" * 4),
        "offsets": safetensors_with({"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [4, 8]}}, b"\0" * 4),
        "dtype": safetensors_with({"w": {"dtype": "F13", "shape": [1, 1], "data_offsets": [0, 4]}}, b"\0" * 4),
        "list": safetensors_with([1, 2]),  # type: ignore[arg-type]
        "huge header": struct.pack("<Q", 2**62) + b"{}",
        "pickle": pickle.dumps({"w": Evil()}),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    torch.save({"w": Evil()}, folder / "evil.pt")
    torch.save(torch.randn(3, 3), folder / "tensor.pt")
    torch.save({"w": torch.tensor([[1.0, float("nan")]])}, folder / "nan.pt")
    save_numpy({"w": np.array([[1.0, np.inf]], np.float32)}, folder / "inf.safetensors")
    save_numpy({"b": np.zeros(3, np.float32)}, folder / "vectors.safetensors")
    save_numpy({"v": np.zeros((4, 3), np.float32)}, folder / "other.safetensors")
    save_numpy({"w": np.zeros((3, 4), np.float32)}, folder / "transposed.safetensors")
    damaged = ["text", "truncated", "overflow", "negative", "offsets", "list", "huge header"]
    (folder / "nothing").mkdir(exist_ok=True)
    path = {name: str(folder / name) for name in [*files, "evil.pt", "tensor.pt", "nan.pt"]}
    ok = str(good)
    return {
        "missing": ([str(folder / "nowhere")], "cannot be read"),
        "folder": ([str(folder / "nothing")], "is a folder without a checkpoint"),
        "dtype": ([str(folder / "dtype")], "no weight matrix: w (dtype F13 is not known)"),
        **{name: ([path[name]], "no checkpoint") for name in damaged},
        "empty": ([path["empty"]], "is empty"),
        "pickle": ([path["pickle"]], "may run code"),
        "torch pickle": ([path["evil.pt"]], "may run code"),
        "a tensor": ([path["tensor.pt"]], "maps names to tensors"),
        "nan": ([path["nan.pt"]], "w (holds NaN)"),
        "infinity": ([str(folder / "inf.safetensors")], "w (holds infinity)"),
        "no matrix": ([str(folder / "vectors.safetensors")], "no weight matrix"),
        "base lacks a key": ([ok, "--base", str(folder / "other.safetensors")], "w (--base has no such tensor)"),
        "base has another shape": ([ok, "--base", str(folder / "transposed.safetensors")], "has shape [3, 4] for w"),
        "error too large": ([ok, "--rank-error", "1.5"], "--rank-error is 1.5"),
        "error negative": ([ok, "--rank-error", "-0.1"], "--rank-error is -0.1"),
        "csv nowhere": ([ok, "--csv", "/proc/nowhere/a.csv"], "cannot be written"),
    }  # fmt: skip


def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, capsys):
    cases = bad_inputs(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for name, (arguments, message) in cases.items():
        assert main(["analyze", *arguments]) == 2, name
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, (name, error)
        if "--" not in " ".join(arguments) and name not in ("nan", "infinity"):  # those are written as they are
            assert main(["compress", *arguments, str(tmp_path / "out.safetensors")]) == 2, name
            capsys.readouterr()
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_compress_refuses_to_overwrite_its_source(tmp_path, capsys):
    save_numpy({"w": RNG.standard_normal((4, 3)).astype(np.float32)}, tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    assert main(["compress", str(tmp_path / "a.safetensors"), str(tmp_path / "a.safetensors")]) == 2
    assert main(["compress", str(tmp_path / "a.safetensors"), str(tmp_path / "no" / "b.safetensors")]) == 2
    assert "FILE itself" in capsys.readouterr().err
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert main(["compress", str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")]) == 0
    assert "stays" in capsys.readouterr().out
