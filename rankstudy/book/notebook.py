"""A chapter as a notebook: read, executed, and as Markdown with its outputs.

A `.qmd` file becomes a notebook in which every inline expression is a cell of its own. It is executed once, whoever
makes the pages; what comes out is Markdown without code to run, for Quarto in each format and for the preview.
Whatever would be a gap or noise in a page is an error here, which names the chapter and the cell.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import yaml
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from rankstudy import UsageError
from rankstudy.book import display

CODE = re.compile(
    r"^(?P<fence>```+) *\{python\} *\n(?P<cell>.*?)^(?P=fence) *$|(?<!`)`\{python\}[ \t](?P<inline>[^`]+)`", re.M | re.S
)
# what torch logs of the machine, not of the page: such as a compiler for CUDA where there is no GPU
TORCH_LOGS = re.compile(r"^[WI]\d{4} [^\n]*\btorch/[^\n]*\n?", re.M)
SETUP = "from matplotlib_inline.backend_inline import set_matplotlib_formats as s\ns('svg')\ndel s"  # as Quarto does


FOLDED = """::: {{.content-visible when-format="html"}}
<details class="code-fold"><summary>Code</summary>

~~~~python
{}
~~~~

</details>
:::"""


class ChapterError(Exception):
    """What is wrong, in which chapter and cell."""


class ThisPython(AsyncKernelManager):
    """Starts kernels of the running interpreter, not of whichever is registered as "python3" on the machine."""

    kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "--log-level=40", "-f", "{connection_file}"]
    )


def settings(root: Path) -> dict[str, Any]:
    """What `_quarto.yml` in the folder `root` says.

    Raises:
        UsageError: it is not there, or it is no book's.
    """
    try:
        found = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no _quarto.yml in {root}; start this in the project's folder") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{root / '_quarto.yml'} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or "chapters" not in (found.get("book") or {}):
        raise UsageError(f"{root / '_quarto.yml'} lists no chapters of a book")
    return found


def listed(root: Path) -> list[Path]:
    """The chapters and appendices in `_quarto.yml` of the folder `root`. Raises `UsageError` if one is not there."""
    book = settings(root)["book"]
    entries = [*book["chapters"], *book.get("appendices", ())]
    chapters = [entry["href"] if isinstance(entry, dict) else entry for entry in entries]  # some with another name
    if missing := [chapter for chapter in chapters if not (root / chapter).exists()]:
        raise UsageError(f"_quarto.yml lists {missing[0]}, which does not exist")
    return [root / chapter for chapter in chapters]


def read(path: Path) -> nbformat.NotebookNode:
    """The chapter as a notebook that is not executed; what a code cell is told (`#|`) is in its metadata."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ChapterError(f"{path.name} is not UTF-8: {error}") from error
    text = re.sub(r"\A---\n.*?^---\n", "", text, flags=re.M | re.S)
    cells, end = [], 0
    for match in CODE.finditer(text):
        source = match["inline"] or match["cell"]
        options = yaml.safe_load("".join(re.findall(r"^#\| ?(.*\n)", source, re.M))) or {}
        where = f"{path.name}, cell {options.get('label') or source.strip().splitlines()[-1]!r}"
        told = {"where": where, "inline": bool(match["inline"]), "include": True, "echo": True} | options
        told["tags"] = [] if told.get("eval", True) else ["skip-execution"]  # nbclient's word for it
        cells.append(nbformat.v4.new_markdown_cell(text[end : match.start()]))
        cells.append(nbformat.v4.new_code_cell(source, metadata=told))
        end = match.end()
    return nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_markdown_cell(text[end:])])


def execute(path: Path) -> nbformat.NotebookNode:
    """The chapter run top to bottom, in a kernel of its own, in the folder of the nearest `_quarto.yml` above it.

    Raises `ChapterError`, which names chapter and cell, where a cell raises or the kernel dies.
    """
    root = next(folder for folder in path.resolve().parents if (folder / "_quarto.yml").exists())
    book, running = read(path), []
    if len(book.cells) == 1:  # nothing to run
        return book
    book.cells.insert(0, nbformat.v4.new_code_cell(SETUP, metadata={"where": f"{path.name}, set-up"}))
    where = {"metadata": {"path": str(root)}}
    # a kernel on a busy machine may send one line in two pieces
    client = NotebookClient(book, kernel_manager_class=ThisPython, resources=where, coalesce_streams=True)
    client.on_cell_start = lambda cell, cell_index: running.append(cell)
    try:
        client.execute(env=os.environ | {display.PAGE: "1"})
    except CellExecutionError as error:
        raise ChapterError(f"{running[-1].metadata.where}: {error.ename}: {error.evalue}") from error
    except (DeadKernelError, AssertionError) as error:  # nbclient's clean-up may trip over the dead kernel
        raise ChapterError(f"{running[-1].metadata.where}: the kernel died") from error
    del book.cells[0]
    return book


def execute_all(paths: Sequence[Path]) -> list[nbformat.NotebookNode]:
    """Several chapters, two at a time. Raises `ChapterError` for all that fail, not only for the first."""

    def attempt(path: Path) -> nbformat.NotebookNode | ChapterError:
        try:
            return execute(path)
        except ChapterError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        books = list(pool.map(attempt, paths))
    if failed := [str(book) for book in books if isinstance(book, ChapterError)]:
        raise ChapterError("\n".join(failed))
    return books


def markdown(book: nbformat.NotebookNode, folder: Path) -> str:
    """The notebook as Markdown with its outputs; images become files in the folder, which is the page's.

    Raises `ChapterError` where a cell writes to stderr, shows HTML, or an inline expression has nothing to say.
    """
    return "".join(shown(cell, folder) for cell in book.cells)


def shown(cell: nbformat.NotebookNode, folder: Path) -> str:
    """One cell for `markdown`."""
    if cell.cell_type == "markdown":
        return cell.source
    told, inline, parts = cell.metadata, cell.metadata.inline, []
    if inline and cell.execution_count is None:  # in a chapter that was not asked for
        return f"`{cell.source}`"
    for output in cell.outputs if told.include and told.get("output", True) else ():
        if output.get("name") == "stderr":
            if written := TORCH_LOGS.sub("", output.text).strip():
                raise ChapterError(f"{told.where} writes to stderr: {written}")
            continue
        data = output.get("data") or {"text/markdown" if told.get("output") == "asis" else "text/plain": output.text}
        if "text/html" in data:
            raise ChapterError(f"{told.where} shows HTML, for which Quarto loads scripts from the web; use Markdown")
        kind = next(k for k in ("text/markdown", "image/svg+xml", "image/png", "text/plain") if k in data)
        value = data[kind]
        if kind.startswith("image"):
            content = base64.b64decode(value) if kind == "image/png" else value.encode()
            file = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.{kind[6:9]}"
            file.write_bytes(content)
            alt = json.dumps(told.get("fig-alt", ""), ensure_ascii=False)
            value = f"![]({file.name}){{fig-alt={alt}}}"
        elif kind == "text/plain" and inline:  # a string in prose is text without quotes and without markup
            value = re.sub(r"([^\w\s])", r"\\\1", ast.literal_eval(value) if value[0] in "'\"" else value)
        elif kind == "text/plain":
            value = f"~~~~\n{value}\n~~~~"
        parts.append(value)
    if inline:
        if not (text := "".join(parts)):  # a plain `quarto render` would show the code
            raise ChapterError(f"{told.where} is empty")
        return text
    if told.get("label", "").startswith(("fig-", "tbl-")):
        parts = [f"::: {{#{told.label}}}", *parts, told.get("fig-cap") or told.get("tbl-cap") or "", ":::"]
    if told.include and told.echo:
        code = re.sub(r"^#\|.*\n", "", cell.source, flags=re.M)
        opened = told.get("code-fold", True) is False
        parts.insert(0, f"~~~~python\n{code}\n~~~~" if opened else FOLDED.format(code))
    return "\n" + "\n\n".join(parts) + "\n"
