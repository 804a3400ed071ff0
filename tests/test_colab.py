"""The notebook for Colab runs top to bottom under smoke, all but its installation, and shows figures and tables."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from rankstudy.book.notebook import ThisPython

ROOT = Path(__file__).parents[1]


def test_the_notebook_runs_and_shows_what_it_promises(tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSTUDY_PROFILE", "smoke")
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path / "results"))
    book = nbformat.read(ROOT / "colab.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "commit it without outputs"
    assert [cell.metadata.tags for cell in book.cells if "%pip" in cell.source] == [["install"]]
    client = NotebookClient(book, kernel_manager_class=ThisPython, resources={"metadata": {"path": str(tmp_path)}})
    client.skip_cells_with_tag = "install"
    client.execute(env=dict(os.environ))
    shown = {kind for cell in book.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())}
    assert {"image/png", "text/markdown"} <= shown
    last = book.cells[-1].outputs[-1].data["text/markdown"]
    assert "2.weight" in last and "10×128" in last
