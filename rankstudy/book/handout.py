"""A chapter's page as a notebook that runs: made of the executed page when the book is rendered, never committed.

Words are the page's, with its numbers in them and its sentences under their verdicts. Cells whose code a reader sees
are cells; so are those that draw, and those that the others need. A listing or a table of the page's own is text.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

from rankstudy.book import notebook, tutorial
from rankstudy.book.notebook import settings
from rankstudy.book.pages import STYLES, assembled, element, elements, pandoc
from rankstudy.study import overrides, questions

LIVE = "live"  # class of a code block that becomes a cell
TOLD = "::: {.told}"  # what `told.page` gives begins so
MARK = "⁂"  # stands around the number of a cell while pandoc has the text of all
FOLDED = "<details><summary>Answer</summary>\n\n{}\n\n</details>"
PREFACE = """*This is a page of the book “{}” as a notebook. Its words hold the numbers of the day it was made; its
cells can be run and changed, where `rankstudy` is installed, as its README has it.*"""


@dataclass(frozen=True)
class Part:
    """What becomes a cell."""

    blocks: list  # of pandoc's tree
    code: str = ""
    answer: bool = False  # folded on the page


def name(root: Path, page: Path) -> str | None:
    """The file that a page of the folder `root` can be downloaded as; None for all but chapters and the tutorial."""
    if page.parent == root / "report" and (re.match(r"\d\d-", page.name) or page.stem == tutorial.FILE.stem):
        return f"{page.stem}.ipynb"
    return None


def write(root: Path, executed: Mapping[Path, nbformat.NotebookNode], folder: Path) -> None:
    """Notebooks of the executed pages, as far as they have one, into a folder.

    Raises:
        ChapterError: a reference leads nowhere, or pandoc warns.
    """
    pages = [page for page in executed if name(root, page)]
    if pages:
        folder.mkdir(parents=True, exist_ok=True)
    if any(page.stem == tutorial.FILE.stem for page in pages):
        shutil.copy(root / tutorial.FILE.name, folder)
    if not (chosen := [page for page in pages if page.stem != tutorial.FILE.stem]):
        return
    config = settings(root)
    trees, _ = assembled(root, {page: _text(executed[page]) for page in chosen})
    for page in chosen:
        cells = _cells(page.name, trees[f"{page.stem}.html"], root / config["bibliography"])
        preface = nbformat.v4.new_markdown_cell(PREFACE.replace("\n", " ").format(config["book"]["title"]))
        cells[1:1] = [preface, nbformat.v4.new_code_cell(_environment())]
        for number, cell in enumerate(cells):
            cell.id = f"cell-{number}"
        spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
        made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec, "language_info": {"name": "python"}})
        (folder / str(name(root, page))).write_text(nbformat.writes(made) + "\n", encoding="utf-8")


def _environment() -> str:
    """A cell by which results are those of the page, unless the reader has chosen others."""
    chosen = questions.profile()
    why = "nothing is computed" if chosen == "published" else "what the store lacks is computed"
    lines = [f'os.environ.setdefault("RANKSTUDY_PROFILE", "{chosen}")  # {why}']
    for variable in ("RANKSTUDY_DATASET", overrides.VARIABLE):
        if value := os.environ.get(variable):
            lines.append(f"os.environ.setdefault({variable!r}, {value!r})")
    return "\n".join(["import os", "", *lines])


def _text(book: nbformat.NotebookNode) -> str:
    """The executed page as Markdown in which what becomes a cell is a block of the class LIVE."""
    return "".join(_live(cell) if _is_live(cell) else notebook.shown(cell, Path()) for cell in book.cells)


def _is_live(cell: nbformat.NotebookNode) -> bool:
    told = cell.metadata
    if cell.cell_type != "code" or told.inline or not told.get("eval", True):
        return False
    if told.echo and told.include:
        return True
    if not all(isinstance(node, ast.Expr) for node in ast.parse(cell.source).body):
        return True  # what comes later may need it
    kinds = [output.get("data", {}) for output in cell.outputs]
    return any("```{=html}\n<div" in data.get("text/markdown", "") or "image" in " ".join(data) for data in kinds)


def _live(cell: nbformat.NotebookNode) -> str:
    told, code = cell.metadata, _untold(re.sub(r"^#\|.*\n", "", cell.source, flags=re.M)).strip("\n")
    block = f"\n~~~~ {{.{LIVE}}}\n{code}\n~~~~\n" if code else ""
    told_here = [output.get("data", {}).get("text/markdown", "") for output in cell.outputs]
    block += "".join(f"\n{text}\n" for text in told_here if TOLD in text)  # the filter asks for it
    if told.get("label", "").startswith(("fig-", "tbl-")):
        caption = told.get("fig-cap") or told.get("tbl-cap") or ""
        return f"\n::: {{#{told.label}}}\n{block}\n{caption}\n\n:::\n"
    return block


def _untold(code: str) -> str:
    """Without `told.page(…)`, which tells a page's filter what has been put into words here."""
    lines = code.splitlines()
    for node in ast.parse(code).body:
        if isinstance(node, ast.Expr) and ast.unparse(node).startswith("told.page("):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)  # type: ignore[operator]
    return "\n".join(lines)


def _cells(page: str, tree: dict, bibliography: Path) -> list[nbformat.NotebookNode]:
    """The page's tree as cells."""
    for node in elements(tree["blocks"]):  # a definition begins with its term, since it will stand by itself
        if node["t"] == "Span" and "term" in node["c"][0][1]:
            pairs = node["c"][0][2]
            pairs[:] = [[key, f"**{_words(node['c'][1])}**: {text}" if key == "def" else text] for key, text in pairs]
    options = ["-f", "json", "-t", "json", "--citeproc", "--bibliography", bibliography]
    tree = json.loads(pandoc(page, json.dumps(tree), *options, "--lua-filter", STYLES / "telling.lua"))
    parts = list(_parts(tree["blocks"]))
    blocks = []
    for index, part in enumerate(parts):
        if not part.code:
            blocks += [element("Para", [element("Str", f"{MARK}{index}{MARK}")]), *part.blocks]
    written = pandoc(
        page,
        json.dumps({**tree, "blocks": blocks}),
        "-f",
        "json",
        "-t",
        "gfm-raw_html-tex_math_gfm+tex_math_dollars",
        "--wrap=none",
    )
    _, *pieces = re.split(rf"^{MARK}(\d+){MARK}$", written, flags=re.M)
    texts = {int(index): text.strip() for index, text in zip(pieces[::2], pieces[1::2], strict=True)}
    cells = []
    for index, part in enumerate(parts):
        if part.code:
            folded = {"jupyter": {"source_hidden": True}, "tags": ["answer"]} if part.answer else {}
            cells.append(nbformat.v4.new_code_cell(part.code, metadata=folded))
        elif texts[index]:
            cells.append(nbformat.v4.new_markdown_cell(FOLDED.format(texts[index]) if part.answer else texts[index]))
    return cells


def _parts(blocks: Sequence[dict]) -> Iterator[Part]:
    """Cells in their order: code, and what stands between two of them or below one heading."""
    text: list = []
    answer = False
    for block, folded in _flat(blocks):
        code = block["t"] == "CodeBlock" and LIVE in block["c"][0][1]
        if text and (code or folded != answer or block["t"] == "Header"):
            yield Part(text, answer=answer)
            text = []
        answer = folded
        if code:
            yield Part([], block["c"][1], folded)
        else:
            text += _plain(block)
    if text:
        yield Part(text, answer=answer)


def _flat(blocks: Sequence[dict], answer: bool = False) -> Iterator[tuple[dict, bool]]:
    """The blocks without the divs around them, and whether they stand in an answer, whose word FOLDED has."""
    for block in blocks:
        match block:
            case {"t": "Div", "c": [[_, classes, _], content]} if "short-answer-head" in classes:
                yield element("Para", [element("Strong", [element("Str", _words(content))])]), answer
            case {"t": "Div", "c": [[_, classes, _], content]}:
                folds = "answer" in classes
                yield from _flat(content[1:] if folds else content, answer or folds)
            case {"t": "DefinitionList", "c": items}:
                for term, definitions in items:
                    yield element("Para", [element("Strong", term)]), answer
                    for definition in definitions:
                        yield from _flat(definition, answer)
            case {"t": "RawBlock"}:
                pass
            case {"t": "Plain", "c": inlines}:
                yield element("Para", inlines), answer
            case _:
                yield block, answer


def _plain(block: dict) -> list[dict]:
    """A block in what a notebook's Markdown knows; definitions stand below it."""
    notes: list = []
    for node in elements([block]):
        match node:
            case {"t": "Header", "c": [_, attributes, _]}:
                attributes[:] = ["", [], []]
            case {"t": "Superscript", "c": [{"t": "Str", "c": "✓"} as check]}:
                node.update(element("Span", ["", [], []], [{"t": "Space"}, check]))
            case {"t": "Note", "c": content}:
                notes += content
                node.update(element("Str", ""))
            case {"t": "RawInline"}:
                node.update(element("Str", ""))
            case {"t": "Link", "c": [_, content, [address, _]]} if not address.startswith("http"):
                node.update(element("Span", ["", [], []], content))  # the other pages are not beside the notebook
            case {"t": "Image", "c": [_, content, _]}:
                node.update(element("Span", ["", [], []], content))
    return [block, *([element("BlockQuote", notes)] if notes else [])]


def _words(inlines: list) -> str:
    """What inlines say, as text."""
    return "".join(
        node["c"] if node["t"] == "Str" else node["c"][1] if node["t"] in ("Code", "Math") else " "
        for node in elements(inlines)
        if node["t"] in ("Str", "Space", "SoftBreak", "Code", "Math")
    )


def main(root: Path, folder: Path) -> int:
    """For plain `quarto render`, which keeps no executed page: the chapters are executed again. 0, or 1 and why."""
    pages = [page for page in notebook.listed(root) if name(root, page)]
    try:
        write(root, dict(zip(pages, notebook.execute_all(pages), strict=True)), folder)
    except notebook.ChapterError as error:
        print(f"rankstudy: {error}", file=sys.stderr)
        return 1
    return 0
