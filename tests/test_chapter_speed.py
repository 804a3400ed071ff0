"""Chapter 3's figure of the elimination's speed says what the committed benchmark says."""

from __future__ import annotations

import json

import pytest

from rankstudy.book.chapters import speed


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    rows = [
        {"what": f"{n}×{n}{kind}", "against": "numpy.linalg.matrix_rank", "ratio": n if ratio is None else ratio}
        for n in (8, 16)
        for kind, ratio in ((", a gap, rank 3", None), (" float32, a random layer", 2.0), (", graded over 17", 0.5))
    ]
    rows.append({"what": "64 of 784×256 float32, full rank", "against": "torch.linalg.matrix_rank", "ratio": 99.0})
    provenance = {"device": "an abacus", "numpy": "9.9", "commit": "abc+"}
    path = tmp_path / "rank.json"
    path.write_text(json.dumps({"rows": rows, "provenance": provenance}), encoding="utf-8")
    monkeypatch.setattr(speed, "RECORDED", path)
    speed.recorded.cache_clear()
    yield
    speed.recorded.cache_clear()


def test_rows_are_sorted_by_kind_and_size(benchmark):
    assert speed.against_svd() == {
        "a gap in the spectrum": {8: [8], 16: [16]},
        "a random float32 layer": {8: [2.0], 16: [2.0]},
        "singular values near τ": {8: [0.5], 16: [0.5]},
    }
    assert speed.text()["speed_ranges"] == "0.5 to 8 times at n = 8, 0.5 to 16 times at n = 16"
    assert "an abacus" in speed.text()["speed_where"]


def test_figure_spans_the_ratios(benchmark):
    drawn = sorted(y for line in speed.figure().axes[0].lines[:-1] for y in line.get_ydata())
    assert drawn == sorted([8, 8, 16, 16, 2, 2, 2, 2, 0.5, 0.5, 0.5, 0.5])


def test_committed_benchmark_has_every_kind():
    assert all(len(by_side) >= 4 for by_side in speed.against_svd().values())
