"""The tutorial runs top to bottom on the fallback data, all but its installation; so does its core in the README.

What is committed of it holds the outputs of its cells, and is a page of the book."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest

from rankstudy.__main__ import main
from rankstudy.book import tutorial

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
(CORE,) = re.findall(r"<!-- core -->\n\n```python\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(tutorial.FILE, as_version=4)


@pytest.fixture(scope="module")
def book():
    book = nbformat.read(tutorial.FILE, as_version=4)
    tutorial.execute(book, {"RANKSTUDY_DATASET": "digits"})
    return book


def kinds(book: nbformat.NotebookNode) -> list[list[str]]:
    """What each cell has put out: text or a picture."""
    return [
        ["image/png" if "image/png" in output.get("data", {}) else "text/plain" for output in cell.get("outputs", ())]
        for cell in book.cells
    ]


def printed(book: nbformat.NotebookNode) -> str:
    return "".join(
        output.get("text", "") for cell in book.cells for output in cell.get("outputs", ()) if output.get("text")
    )


def test_it_installs_in_one_cell_and_types_public_names_alone(committed):
    assert [cell.metadata.tags for cell in committed.cells if "%pip" in cell.source] == [["install"]]
    code = [cell.source for cell in committed.cells if cell.cell_type == "code"]
    assert 25 <= len(code) <= 35 and max(source.count("\n") + 1 for source in code) <= 15
    assert not re.search(r"rankstudy\.(book|study|_linalg)", "\n".join(code)), "public names only"


def test_its_outputs_are_those_of_its_cells(committed, book):
    """`python -m rankstudy tutorial` keeps them; a cell that is changed afterwards is noticed."""
    assert committed.metadata[tutorial.KEPT]["cells"] == tutorial.digest(committed), (
        "run `python -m rankstudy tutorial`"
    )
    assert kinds(committed) == kinds(book)
    changed = copy.deepcopy(committed)
    changed.cells[-2].source += "\n1 + 1"
    assert tutorial.digest(changed) != tutorial.digest(committed)
    numbers = [cell.execution_count for cell in committed.cells if cell.cell_type == "code"]
    assert numbers == [None, *range(1, len(numbers))]
    assert tutorial.FILE.stat().st_size < 500_000


def test_the_page_shows_every_cell_with_its_outputs(committed):
    page = tutorial.page()
    for cell in committed.cells:
        assert "%pip" in cell.source or cell.source.splitlines()[-1] in page
    pictures = [
        cell.metadata["alt"]
        for cell, found in zip(committed.cells, kinds(committed), strict=True)
        if "image/png" in found
    ]
    assert re.findall(r'alt="([^"]*)"', page) == pictures and len(set(pictures)) == 7
    assert page.count("{=typst}") == 7 and "%pip" not in page and not page.startswith("# ")
    assert printed(committed).split("\n")[0] in page and "Executed on MNIST" in page


def test_rendering_it_imports_no_torch():
    program = "import sys\nfrom rankstudy.book import tutorial\ntutorial.page()\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_a_cell_that_fails_leaves_what_was_committed(tmp_path, monkeypatch, capsys):
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "tutorial.ipynb")
    before = (tmp_path / "tutorial.ipynb").read_bytes()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANKSTUDY_DATASET", "digits")
    assert main(["tutorial"]) == 1 and "ZeroDivisionError" in capsys.readouterr().err
    assert (tmp_path / "tutorial.ipynb").read_bytes() == before
    cells[1].source = "1 + 1"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "tutorial.ipynb")
    assert main(["tutorial"]) == 0
    made = nbformat.read(tmp_path / "tutorial.ipynb", as_version=4)
    assert made.cells[1].outputs[0].data["text/plain"] == "2" and made.metadata[tutorial.KEPT]["data"] == "digits"
    assert "~~~~\n2\n~~~~" in tutorial.page(tmp_path / "tutorial.ipynb")


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
