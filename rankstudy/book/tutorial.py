"""The tutorial: `tutorial.ipynb`, executed by a command, and a page of the book made of what is committed.

The notebook is the one source. `python -m rankstudy tutorial` runs it and keeps the outputs in it, so that a page,
GitHub and Colab show them and rendering trains nothing; what the cells said when they ran is noted by its hash, so that
a test can tell when outputs are of other cells.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from rankstudy import UsageError, sources
from rankstudy.book import notebook
from rankstudy.book.tables import Markdown
from rankstudy.files import write_atomically
from rankstudy.study import provenance

FILE = Path(__file__).parents[2] / "tutorial.ipynb"
INSTALL = "install"  # tag of the cell that a reader in Colab needs, and nobody else
KEPT = "rankstudy"  # in the notebook's metadata: what was executed, on what
FIGURES = 'from matplotlib_inline.backend_inline import set_matplotlib_formats as s\ns("png", dpi=110)\ndel s'


def digest(book: nbformat.NotebookNode) -> str:
    """Of what the cells say, whatever they have put out."""
    text = "\0".join(f"{cell.cell_type}\0{cell.source}" for cell in book.cells)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def execute(book: nbformat.NotebookNode, environment: dict[str, str] | None = None) -> None:
    """Run the cells top to bottom in an empty folder, all but the installation; outputs replace those before.

    Raises:
        ChapterError: a cell raises, or writes to stderr.
    """
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    book.cells.insert(0, nbformat.v4.new_code_cell(FIGURES))
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        client = NotebookClient(
            book, kernel_manager_class=notebook.ThisPython, resources=where, coalesce_streams=True,
            record_timing=False, skip_cells_with_tag=INSTALL,
        )  # fmt: skip
        try:
            client.execute(env=os.environ | (environment or {}))
        except CellExecutionError as error:
            raise notebook.ChapterError(f"tutorial.ipynb: {error.ename}: {error.evalue}") from error
    del book.cells[0]
    number = 0
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                raise notebook.ChapterError(f"tutorial.ipynb writes to stderr: {output.text.strip()}")
        if cell.cell_type == "code" and INSTALL not in cell.metadata.get("tags", ()):
            number += 1
            cell.execution_count = number
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = number


def page(file: Path = FILE) -> Markdown:
    """The committed notebook as a page: all but its title and its installation, each cell open, with its outputs."""
    book = nbformat.read(file, as_version=4)
    shown = [_part(cell) for cell in book.cells if INSTALL not in cell.metadata.get("tags", ())]
    text = re.sub(r"\A# .*\n+", "", "\n\n".join(filter(None, shown)))
    made = book.metadata[KEPT]
    return Markdown(
        f"{text}\n\n::: {{.provenance}}\nExecuted on {sources.label(made['data'])}, commit {made['commit']}\n:::"
    )


def _part(cell: nbformat.NotebookNode) -> str:
    if cell.cell_type != "code":
        return re.sub(r"^(##+ .*)$", r"\1 {.unnumbered .unlisted}", cell.source, flags=re.M)
    parts = [f"```python\n{cell.source}\n```"]
    for output in cell.outputs:
        data = output.get("data") or {"text/plain": output.get("text", "")}
        if "image/png" in data:
            parts.append(_picture(data["image/png"].replace("\n", ""), cell.metadata["alt"]))
        elif text := data.get("text/plain", "").rstrip():
            parts.append(f"~~~~\n{text}\n~~~~")
    return "\n\n".join(parts)


def _picture(png: str, alt: str) -> str:
    """A PNG in base64 for both formats. Typst reads no base64, but an SVG may hold it."""
    header = base64.b64decode(png[:64])
    width, height = (int.from_bytes(header[start : start + 4]) for start in (16, 20))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<image width="{width}" height="{height}" href="data:image/png;base64,{png}"/></svg>'
    )
    quoted = svg.replace('"', '\\"')
    image = f'<img src="data:image/png;base64,{png}" alt="{html.escape(alt)}" width="{width * 72 // 110}">'
    return (
        f"```{{=html}}\n<p>{image}</p>\n```\n\n"
        f'```{{=typst}}\n#image(bytes("{quoted}"), format: "svg", width: {min(100, width // 10)}%)\n```'
    )


def main(argv: Sequence[str]) -> int:
    """`tutorial`: executes the notebook of the project's folder and keeps its outputs in it."""
    description = "Execute tutorial.ipynb and keep its outputs in it: what the book shows of it."
    argparse.ArgumentParser(prog="python -m rankstudy tutorial", description=description).parse_args(argv[1:])
    file = Path.cwd() / FILE.name
    if not file.exists():
        raise UsageError(f"no {FILE.name} in {file.parent}; start this in the project's folder")
    from rankstudy import data

    book = nbformat.read(file, as_version=4)
    used = data.prepare()
    os.environ["RANKSTUDY_DATA"] = str(sources.folder().absolute())  # the cells run elsewhere
    try:
        execute(book)
    except notebook.ChapterError as error:
        print(f"rankstudy: {error}\nrankstudy: {FILE.name} is as it was", file=sys.stderr)
        return 1
    book.metadata[KEPT] = {"data": used, "commit": provenance.commit(), "cells": digest(book)}
    write_atomically(file, (nbformat.writes(book).rstrip("\n") + "\n").encode())
    print(f"rankstudy: {file} holds its outputs on {sources.label(used)}")
    return 0
