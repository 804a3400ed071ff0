"""Any file ends in a table or in one line, with exit code 0 or 2, and nothing is half written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import rankstudy
from rankstudy.__main__ import main
from tests import odd_checkpoints


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return odd_checkpoints.corpus(tmp_path_factory.mktemp("odd"))


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_every_odd_file_ends_in_a_table_or_one_line(corpus, tmp_path, capfd, monkeypatch):
    assert len(corpus) >= 60
    monkeypatch.chdir(tmp_path)
    wrong = []
    for name, case in corpus.items():
        code = main(["analyze", str(case.path)])
        out, error = capfd.readouterr()
        text = re.sub(r"\s+", " ", out if code == 0 else error)
        good = code == case.code and all(re.sub(r"\s+", " ", said) in text for said in case.said)
        good &= error.count("\n") == 1 and not out if code == 2 else out.count("\n") > 2
        if not good:
            wrong.append((name, code, text[:600]))
    assert not wrong
    assert not files(tmp_path)


def test_compress_writes_a_loadable_file_or_nothing(corpus, tmp_path, capfd):
    from safetensors import safe_open

    wrong = []
    for name, case in corpus.items():
        out = tmp_path / f"{name}.out.safetensors"
        code = main(["compress", str(case.path), str(out)])
        error = capfd.readouterr().err
        expected = 2 if name in odd_checkpoints.ADAPTERS else case.code
        if code != expected or out.exists() != (code == 0) or (code == 2 and error.count("\n") != 1):
            wrong.append((name, code, error[:300]))
        if code == 0:
            with safe_open(out, framework="np") as file:
                assert file.keys() is not None
            assert main(["analyze", str(out)]) == 0, name
            capfd.readouterr()
    assert not wrong
    assert {path for path in files(tmp_path) if not path.name.endswith(".out.safetensors")} == set()


def test_what_is_left_out_is_in_text_csv_and_json(tmp_path):
    odd = odd_checkpoints.odd_tensors()
    torch.save(
        {"w": odd_checkpoints.weight()} | {name: tensor for name, (tensor, _) in odd.items()}, tmp_path / "all.pt"
    )
    found = rankstudy.analyze(tmp_path / "all.pt")
    assert [m.name for m in found.matrices] == ["w"]
    assert found.left_out.keys() == odd.keys()
    listed = {each["name"]: each["why"] for each in json.loads(found.json())["left_out"]}
    text, csv = re.sub(r"\s+", " ", found.table()), found.csv()
    for name, (_, why) in odd.items():
        assert why in found.left_out[name] == listed[name]
        assert name in text and f"{name},left out" in csv
    assert "left out: sparse (not a dense tensor: sparse_coo)" in text


def test_adapters_inside_a_model_stay_and_the_rest_is_compressed(corpus, tmp_path):
    done = rankstudy.compress(corpus["adapted-model.pt"].path, tmp_path / "a.safetensors", keep=0.5, include=".")
    assert {choice.why for choice in done.choices if "lora" in choice.name} == {"a LoRA factor"}
    assert done.ranks["b.weight"]
    before, after = torch.load(corpus["adapted-model.pt"].path), load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before if "lora" in name)


def test_what_is_no_checkpoint_in_python_is_one_line():
    lazy = torch.nn.Sequential(torch.nn.LazyLinear(3))
    repeated = {"w": np.broadcast_to(np.float32(1), (1 << 13, 1 << 12))}
    wrong = [(torch.nn.Linear, "is the class Linear"), (lazy, "not initialised yet"), (None, "holds NoneType")]
    for source, said in [*wrong, (np.ones((3, 3)), "holds ndarray"), (repeated, "a view that repeats few numbers")]:
        with pytest.raises(rankstudy.UsageError, match=said):
            rankstudy.analyze(source)


def test_safetensors_are_analysed_without_torch(tmp_path):
    """float8 and bfloat16 too; small matrices are taken by several threads, none of which may import torch."""
    from safetensors.torch import save_file

    kinds = (torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float32)
    save_file(
        {f"w{i}": odd_checkpoints.weight(64, 48, dtype=kinds[i % 4]) for i in range(24)}, tmp_path / "a.safetensors"
    )
    program = (
        "import sys\nfrom rankstudy.__main__ import main\n"
        f"path = {str(tmp_path / 'a.safetensors')!r}\n"
        "assert main(['analyze', path]) == 0 and main(['compress', path, path + '.safetensors']) == 0\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "False", done.stderr
