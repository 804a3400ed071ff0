"""The tutorial runs top to bottom on the fallback data, all but its installation; so does its core in the README."""

from __future__ import annotations

import os
import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient

from rankstudy.book.notebook import ThisPython

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
(CORE,) = re.findall(r"<!-- core -->\n\n```python\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tutorial")
    book = nbformat.read(ROOT / "tutorial.ipynb", as_version=4)
    client = NotebookClient(book, kernel_manager_class=ThisPython, resources={"metadata": {"path": str(folder)}})
    client.skip_cells_with_tag = "install"
    client.execute(env=dict(os.environ) | {"RANKSTUDY_DATASET": "digits"})
    return book


def printed(book: nbformat.NotebookNode) -> str:
    return "".join(
        output.get("text", "") for cell in book.cells for output in cell.get("outputs", ()) if output.get("text")
    )


def test_it_is_committed_without_outputs_and_installs_in_one_cell():
    book = nbformat.read(ROOT / "tutorial.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells)
    assert [cell.metadata.tags for cell in book.cells if "%pip" in cell.source] == [["install"]]
    code = [cell.source for cell in book.cells if cell.cell_type == "code"]
    assert 25 <= len(code) <= 35 and max(source.count("\n") + 1 for source in code) <= 15
    assert not re.search(r"rankstudy\.(book|study|_linalg)", "\n".join(code)), "public names only"


def test_every_cell_runs_and_nothing_is_said_on_stderr(book):
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 7
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


def test_it_shows_what_the_book_is_about(book):
    text = printed(book)
    assert float(re.search(r"test accuracy ([\d.]+)%", text)[1]) > 95
    assert "256 pivots, 256 by partial pivoting, 256 singular values" in text
    taught = re.findall(r"new digit [\d.]+ % → ([\d.]+) %, old digits ([\d.]+) % → ([\d.]+) %", text)
    (new, before, after), (again, _, kept) = [tuple(map(float, each)) for each in taught]
    assert new > 90 and again > 80 and after < before - 10 and kept > after  # it forgets, and less with old images
    needed = re.search(r"^\[([\d, ]+)\]$", text, re.M)[1]
    assert 1 <= max(map(int, needed.split(", "))) <= 4


def test_the_core_in_the_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    assert CORE.count("\n") <= 25
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANKSTUDY_DATASET", "digits")
    exec(compile(CORE, "README core", "exec"), {})
    plt.close("all")
    said = capsys.readouterr().out
    assert len(said.splitlines()) >= 4 and "256" in said
    assert (tmp_path / "model.safetensors").exists()
