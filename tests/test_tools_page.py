"""The page on the tools: what it shows is what its code prints, and what needs torch was run as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import tools
from rankstudy.book import kept, notebook
from tests import page_checks

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "report" / "tools.qmd"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_renders_without_torch_and_prints_what_its_open_cells_print(tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSTUDY_PROFILE", "published")
    program = "\n".join(page_checks.open_cells(TEXT)) + "\nimport sys\nassert 'torch' not in sys.modules\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    executed = notebook.execute(PAGE)
    printed = "".join(
        output.get("text", "")
        for cell in executed.cells
        if cell.cell_type == "code" and cell.metadata.get("code-fold") is False
        for output in cell.outputs
    )
    assert done.stdout == printed
    for said in ("3 of 4 matrices as factors (--keep 0.25)", "(--rank-error 0.5)", "(--energy 0.9)"):
        assert said in re.sub(r"\s+", " ", printed)
    assert list(tmp_path.iterdir()) == []


def test_open_cells_fit_a_page():
    for code in page_checks.open_cells(TEXT):
        assert len(code.strip().splitlines()) <= page_checks.LINES
        assert max(map(len, code.splitlines())) <= page_checks.COLUMNS


def test_what_needs_torch_is_shown_as_it_was_run():
    blocks = tools.blocks()
    outputs = kept.result("tools")["tables"][tools.OUTPUTS][1:]
    assert [code for code, _ in outputs] == blocks, "run `python -m benchmarks tools`"
    shown = [int(place) for place in re.findall(r'^kept\.printed\("tools", (\d)\)$', TEXT, re.M)]
    assert shown == list(range(len(blocks)))
    before, after = map(float, re.search(r"metric ([\d.]+) -> ([\d.]+)", outputs[0][1].replace("\n", " ")).groups())
    assert before > 0.9 and after >= before - 0.002  # MNIST, and within the loss that the page allows


def test_the_blocks_run_on_the_fallback_data(monkeypatch):
    monkeypatch.setenv("RANKSTUDY_DATASET", "digits")
    (_, decided), (_, loaded), (_, calibrated) = tools.run(tools.blocks())
    assert "metric within 0.002" in decided and re.fullmatch(r"(?s)MLP\(.*\nreads \S+% instead of \S+%\n", loaded)
    assert len(re.findall(r"^keep \S+: accuracy \S+% plain, \S+% with calibration$", calibrated, re.M)) == 3


@pytest.mark.parametrize("name", ["networks", "tools"])
def test_what_is_kept_says_where_it_comes_from(name):
    told = kept.result(name)
    assert json.dumps(told) and re.fullmatch(r".+, commit `\w{7,}.*`, torch \S+, NumPy \S+", kept.origin(told))
    with pytest.raises(ValueError):
        kept.table_of(told, "no such table")


def test_what_the_page_says_of_an_allotted_share_is_what_was_measured():
    heads, *rows = kept.result("allocation")["tables"]["Accuracy"]
    assert heads[5] == "difference 0.5 / 0.25 / 0.1"
    for row in rows:
        half, quarter, tenth = (float(each.replace("−", "-")) for each in row[5].split(" / "))
        assert max(abs(half), abs(quarter)) < 0.3, row
        assert abs(tenth) < 0.3 if row[1] == "none (linear)" else tenth > 0.3 or "512" in row[0], row
        assert min(half, quarter, tenth) > -0.15, row


def test_what_the_readme_says_of_public_networks_is_what_was_measured():
    """Allotted against one share for each matrix, at three shares; calibrated never below it."""
    heads, *rows = kept.result("networks")["tables"]["Behaviour"]
    apart = {}
    for row in rows:
        alike, allotted, calibrated = ([float(each) for each in cell.split(" / ")] for cell in row[3:6])
        assert all(c >= a for c, a in zip(calibrated, alike, strict=True)), row
        apart[row[0]] = [round(b - a, 2) for a, b in zip(alike, allotted, strict=True)]
    assert heads[4].startswith("allotted")
    helped = {name: sum(each > 0.03 for each in found) for name, found in apart.items()}
    assert [name for name, count in helped.items() if count == 2] == [
        "speech LSTM (resemblyzer)",
        "pitch CNN (torchcrepe, tiny)",
    ]
    assert min(min(found) for found in apart.values()) == -0.03
