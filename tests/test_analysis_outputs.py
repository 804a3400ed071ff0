"""What `analyze` writes: text, CSV, JSON, Markdown, figures; for 3 matrices and for 300."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

import rankstudy
from rankstudy.__main__ import main
from rankstudy.tools import figure

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def deep():
    """300 matrices of a transformer's names, and vectors between them."""
    kinds = (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    )
    state = {}
    for i in range(50):
        for kind in kinds:
            rank = 1 + (i + len(kind)) % 20
            low = RNG.standard_normal((24, rank)) @ RNG.standard_normal((rank, 32))
            state[f"model.layers.{i}.{kind}.weight"] = low + 0.01 * RNG.standard_normal((24, 32))
        state[f"model.layers.{i}.norm.weight"] = np.ones(24)
    return rankstudy.analyze(state)


def test_json_holds_everything_and_the_spectra_on_request(deep):
    content = json.loads(deep.json())
    assert len(content["matrices"]) == 300 and "singular_values" not in content["matrices"][0]
    assert len(content["left_out"]) == 50 and content["reading"] == deep.reading()
    assert {row["name"]: row["entropy_rank"] for row in content["matrices"]} == {
        m.name: m.entropy_rank for m in deep.matrices
    }
    full = json.loads(deep.json(spectra=True))
    assert np.allclose(full["matrices"][7]["singular_values"], deep.matrices[7].singular_values)
    assert [each["parameters"] for each in content["curve"]] == list(deep.curve().values())


def test_the_curve_is_what_compress_would_write(deep, tmp_path):
    state = {
        "fc.weight": RNG.standard_normal((60, 40)) * 0.8 ** np.arange(40),
        "lm_head.weight": RNG.standard_normal((90, 40)),
    }
    found = rankstudy.analyze(state)
    for error, size in found.curve((0.1, 0.3, 0.5)).items():
        done = rankstudy.compress(state, tmp_path / "a.safetensors", rank_error=error, min_saving=0)
        assert size == done.parameters[1]
    sizes = list(deep.curve().values())
    assert sizes == sorted(sizes, reverse=True)


def test_csv_and_markdown_are_tables(deep):
    rows = list(csv.DictReader(io.StringIO(deep.csv())))
    assert len(rows) == 350 and rows[0]["shape"] == "24x32"
    lines = deep.markdown().splitlines()
    assert len({line.count("|") for line in lines[:302]}) == 1 and lines[1].startswith("|:")
    assert deep.markdown().count("left out: ") == 50


def test_a_figure_of_300_matrices_is_one_page_and_names_no_one_twice(deep):
    begun = time.perf_counter()
    drawn = figure.by_depth(deep)
    text = figure.drawn(deep, Path("a.svg")).decode()
    assert time.perf_counter() - begun < 30
    assert max(drawn.get_size_inches()) <= 10
    labels = [each.get_text() for each in drawn.legends[0].get_texts()]
    assert len(labels) == len(set(labels)) == 6 and "layers.·.self_attn.q_proj" in labels
    assert "break-even" in text and len(text) < 2_000_000
    assert figure.drawn(deep, Path("a.png"))[:4] == b"\x89PNG"


def test_spectra_of_chosen_matrices_have_titles_of_their_own(deep):
    chosen = figure._matching(deep, r"layers\.(1|2|31)\.(self_attn\.q|mlp\.up)")
    drawn = figure.spectra(chosen, deep)
    titles = [axis.get_title() for axis in drawn.axes]
    assert len(titles) == len(set(titles)) == 6  # no empty panel either
    with pytest.raises(rankstudy.UsageError, match="matches 300 of 300"):
        figure.drawn(deep, Path("a.svg"), "weight")
    with pytest.raises(rankstudy.UsageError, match="no regular expression"):
        figure.drawn(deep, Path("a.svg"), "(")


def test_long_names_that_end_alike_keep_what_tells_them_apart():
    names = [f"encoder.block.{i}.layer.0.SelfAttention.relative.projection.output.dense.weight" for i in (3, 11)]
    assert len({figure._two_lines(name) for name in names}) == 2


def test_a_reading_says_when_low_rank_is_no_way():
    noise = rankstudy.analyze({f"a.{i}.weight": RNG.standard_normal((64, 64)) for i in range(3)}, rank_error=0.1)
    assert "factors save 0 of 12,288 parameters" in noise.reading() and "from an error of 0.5 on" in noise.reading()
    flat = rankstudy.analyze({"a.weight": np.linalg.qr(RNG.standard_normal((64, 64)))[0]})
    assert "low rank is no way to make it smaller" in flat.reading()
    low = rankstudy.analyze({"a.weight": RNG.standard_normal((64, 2)) @ RNG.standard_normal((2, 64))})
    assert "A fifth of the parameters is saved from an error of 0.05 on" in low.reading()
    assert "0 of 1 matrices have full rank" in low.reading()


def test_an_update_tells_what_ranks_hold_and_what_is_rounding(tmp_path):
    base = {f"l.{i}.weight": RNG.standard_normal((80, 60)).astype(np.float32) for i in range(3)}
    tuned = {name: value.copy() for name, value in base.items()}
    tuned["l.0.weight"] += (RNG.standard_normal((80, 6)) @ RNG.standard_normal((6, 60))).astype(np.float32) * 0.01
    tuned["l.1.weight"] = np.nextafter(
        tuned["l.1.weight"], np.float32(np.inf) * RNG.choice([-1, 1], (80, 60)), dtype="f4"
    )
    tuned["new_head.weight"] = RNG.standard_normal((20, 80)).astype(np.float32)
    found = rankstudy.analyze({f"module.{name}": value for name, value in tuned.items()}, base)
    real, noise, same = found.matrices
    assert real.shares[1] > 0.99 and real.rank == 6 and real.rounding < 0.01
    update = tuned["l.0.weight"].astype(float) - base["l.0.weight"]
    assert real.change == pytest.approx(np.linalg.norm(update) / np.linalg.norm(base["l.0.weight"]))
    sigma = np.linalg.svd(update, compute_uv=False)
    assert real.shares[0] == pytest.approx((sigma[:4] ** 2).sum() / (sigma**2).sum())
    assert noise.rounding > 0.3
    assert same.change == 0
    assert found.left_out["module.new_head.weight"] == "--base has no such tensor"
    text = re.sub(r"\s+", " ", found.table())
    assert "unchanged" in text and "2 of 3 matrices changed" in text and "not monotone in behaviour" in text
    assert "In 1 the update is little more than rounding" in text
    assert "r=4" in text and found.saved == 0


def test_outliers_never_exceed_the_rank():
    low = RNG.standard_normal((60, 5)) @ RNG.standard_normal((5, 50))
    (m,) = rankstudy.analyze({"w": low.astype(np.float32)}).matrices
    assert m.outliers <= m.rank == 5


def test_all_outputs_of_one_command(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", w=RNG.standard_normal((30, 20)), b=np.ones(3))
    names = {option: tmp_path / f"out.{end}" for option, end in
             {"--json": "json", "--csv": "csv", "--markdown": "md", "--figure": "svg"}.items()}  # fmt: skip
    options = [str(each) for pair in names.items() for each in pair]
    assert main(["analyze", str(tmp_path / "a.npz"), *options, "--spectra", "--panels", "w"]) == 0
    assert all(path.stat().st_size > 100 for path in names.values())
    assert len(json.loads(names["--json"].read_text())["matrices"][0]["singular_values"]) == 20
    capsys.readouterr()
    assert main(["analyze", str(tmp_path / "a.npz"), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == [{"name": "b", "why": "a vector"}]
    before = sorted(tmp_path.iterdir())
    bad = ["--csv", str(tmp_path / "new.csv"), "--figure", str(tmp_path / "a.nonsense")]
    assert main(["analyze", str(tmp_path / "a.npz"), *bad]) == 2  # none is written where one cannot be
    assert "a.nonsense" in capsys.readouterr().err and sorted(tmp_path.iterdir()) == before
