"""The chapters of the book as plain HTML, without Quarto: executed by nbclient, turned into pages by pandoc.

A `.qmd` file becomes a notebook in which every inline expression is a cell of its own; the executed notebook becomes
Markdown; pandoc parses it, the cross references are numbered over all chapters in the syntax tree, and pandoc writes a
page of each. Whatever would be a warning or a gap in a page is an error here.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pypandoc
import yaml
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from rankstudy import UsageError
from rankstudy.book import fresh

CODE = re.compile(
    r"^(?P<fence>```+) *\{python\} *\n(?P<cell>.*?)^(?P=fence) *$|(?<!`)`\{python\}[ \t](?P<inline>[^`]+)`", re.M | re.S
)
SETUP = "from matplotlib_inline.backend_inline import set_matplotlib_formats as s\ns('svg')\ndel s"  # as Quarto does
KINDS = {"fig": "Figure", "tbl": "Table", "eq": "Equation"}
TEMPLATE = Path(__file__).parents[1] / "report" / "styles" / "preview.html"


class PreviewError(Exception):
    """What is wrong, in which chapter and cell."""


class ThisPython(AsyncKernelManager):
    """Starts kernels of the running interpreter, not of whichever is registered as "python3" on the machine."""

    kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "--log-level=40", "-f", "{connection_file}"]
    )


def read(path: Path) -> nbformat.NotebookNode:
    """The chapter as a notebook that is not executed; what a code cell is told (`#|`) is in its metadata."""
    text = re.sub(r"\A---\n.*?^---\n", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
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

    Raises `PreviewError`, which names chapter and cell, where a cell raises or the kernel dies.
    """
    root = next(folder for folder in path.resolve().parents if (folder / "_quarto.yml").exists())
    book, running = read(path), []
    if len(book.cells) == 1:  # nothing to run
        return book
    book.cells.insert(0, nbformat.v4.new_code_cell(SETUP, metadata={"where": f"{path.name}, set-up"}))
    client = NotebookClient(book, kernel_manager_class=ThisPython, resources={"metadata": {"path": str(root)}})
    client.on_cell_start = lambda cell, cell_index: running.append(cell)
    try:
        client.execute()
    except CellExecutionError as error:
        raise PreviewError(f"{running[-1].metadata.where}: {error.ename}: {error.evalue}") from error
    except (DeadKernelError, AssertionError) as error:  # nbclient's clean-up may trip over the dead kernel
        raise PreviewError(f"{running[-1].metadata.where}: the kernel died") from error
    del book.cells[0]
    return book


def shown(cell: nbformat.NotebookNode, folder: Path) -> str:
    """The cell as pandoc's Markdown, with its outputs; images become files in the folder."""
    if cell.cell_type == "markdown":
        return cell.source
    told, inline, parts = cell.metadata, cell.metadata.inline, []
    if inline and cell.execution_count is None:  # in a chapter that was not asked for
        return f"`{cell.source}`"
    for output in cell.outputs if told.include and told.get("output", True) else ():
        if output.get("name") == "stderr":
            raise PreviewError(f"{told.where} writes to stderr: {output.text.strip()}")
        data = output.get("data") or {"text/markdown" if told.get("output") == "asis" else "text/plain": output.text}
        if "text/html" in data:
            raise PreviewError(f"{told.where} shows HTML, for which Quarto loads scripts from the web; use Markdown")
        kind = next(k for k in ("text/markdown", "image/svg+xml", "image/png", "text/plain") if k in data)
        value = data[kind]
        if kind.startswith("image"):
            content = base64.b64decode(value) if kind == "image/png" else value.encode()
            file = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.{kind[6:9]}"
            file.write_bytes(content)
            value = f"![]({file.name}){{alt={json.dumps(told.get('fig-alt', ''), ensure_ascii=False)}}}"
        elif kind == "text/plain" and inline:  # a string in prose is text without quotes and without markup
            value = re.sub(r"([^\w\s])", r"\\\1", ast.literal_eval(value) if value[0] in "'\"" else value)
        elif kind == "text/plain":
            value = f"~~~~\n{value}\n~~~~"
        parts.append(value)
    if inline:
        return "".join(parts)
    if told.get("label", "").startswith(("fig-", "tbl-")):
        parts = [f"::: {{#{told.label}}}", *parts, told.get("fig-cap") or told.get("tbl-cap") or "", ":::"]
    if told.include and told.echo:
        code = re.sub(r"^#\|.*\n", "", cell.source, flags=re.M)
        parts.insert(0, f"<details><summary>Code</summary>\n\n~~~~python\n{code}\n~~~~\n\n</details>")
    return "\n" + "\n\n".join(parts) + "\n"


def elements(tree: object) -> Iterator[dict]:
    """Every element of a pandoc tree, outermost first; it may be changed in place before the next one is taken."""
    if isinstance(tree, dict) and "t" in tree:
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from elements(part)


def element(kind: str, *content: object) -> dict:
    return {"t": kind, "c": content[0] if len(content) == 1 else [*content]}


def number(page: str, blocks: list, heads: list[int], labels: dict[str, tuple[str, str, str]]) -> list:
    """Numbers headings, figures, tables and equations of a page; returns its title.

    `heads` holds the numbers of the last heading, level by level; `labels` gets the word, number and address of each
    label that is found.
    """
    counts, chapter, title = Counter(), "", []

    def name(label: str, word: str, position: str) -> str:
        if label in labels:
            raise PreviewError(f"{page}: a second {label}; the first is {labels[label][2]}")
        labels[label] = word, position, f"{page}#{label}"
        return position

    def count(label: str) -> str:
        kind = label.split("-")[0]
        counts[kind] += 1
        return name(label, KINDS[kind], f"{chapter}.{counts[kind]}".lstrip("."))

    for node in elements(blocks):
        match node:
            case {"t": "Header", "c": [level, [label, classes, _], text]}:
                if "unnumbered" not in classes and (chapter or level == 1):
                    heads[level - 1 :] = [heads[level - 1] + 1] + [0] * (6 - level)
                    position = ".".join(map(str, heads[:level]))
                    if label.startswith("sec-"):
                        name(label, "Chapter" if level == 1 else "Section", position)
                    text[:0] = [element("Str", position), {"t": "Space"}]
                    chapter = str(heads[0])
                title = text if level == 1 else title
            case {"t": "Div", "c": [[label, classes, pairs], content]}:
                meant = all((v == "html") == (k == "when-format") for k, v in pairs if k.endswith("-format"))
                if ("content-hidden" if meant else "content-visible") in classes:
                    content.clear()
                elif label.startswith(("fig-", "tbl-")):
                    if not (content and content[-1]["t"] == "Para" and content[-1]["c"][0]["t"] != "Image"):
                        content.append(element("Para", []))  # no caption
                    content[-1]["c"].insert(0, element("Str", f"{KINDS[label[:3]]} {count(label)}: "))
                elif content and content[0]["t"] == "Header":  # the title of a callout
                    content[0] = element("Para", [element("Strong", content[0]["c"][2])])
            case {"t": "Para", "c": [{"t": "Math"} as math, *_, {"t": "Str", "c": end}]} if end.startswith("{#eq-"):
                label = end[2:-1]
                line = element("Para", [math, element("Str", f" ({count(label)})")])
                node.update(element("Div", [label, ["equation"], []], [line]))
    return title


def resolve(page: str, blocks: list, labels: dict[str, tuple[str, str, str]], keys: set[str]) -> None:
    """Makes links of the references to labels; raises `PreviewError` for one that is no key of the bibliography."""
    for node in elements(blocks):
        links = []
        for cite in node["c"][0] if node["t"] == "Cite" else ():
            if (label := cite["citationId"]) in labels:
                word, position, address = labels[label]
                text = position if cite["citationMode"]["t"] == "SuppressAuthor" else f"{word} {position}"
                links += [element("Str", "; ")] * bool(links)
                links += [element("Link", ["", [], []], [element("Str", text)], [address, ""])]
            elif label not in keys:
                raise PreviewError(f"{page}: nothing has the label @{label}")
        if links:
            node.update(element("Span", ["", [], []], links))


def pandoc(page: str, given: str, *options: object) -> str:
    """What pandoc makes of a page; a warning of its is an error."""
    command = [pypandoc.get_pandoc_path(), "--fail-if-warnings", *map(str, options)]
    done = subprocess.run(command, input=given, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise PreviewError(f"{page}: {done.stderr.strip()}")
    return done.stdout


def preview(root: Path, output: Path, chosen: Sequence[str] = ()) -> None:
    """Writes the book of the folder `root`; if some chapters are `chosen`, the others are shown but not executed.

    Raises:
        UsageError: a chosen chapter is not in the book.
        PreviewError: a cell raises or writes to stderr, a reference or citation leads nowhere, pandoc warns.
    """
    config = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
    paths = [root / chapter for chapter in config["book"]["chapters"]]
    if unknown := set(chosen) - {path.stem for path in paths}:
        raise UsageError(f"no chapter {min(unknown)!r}; there are {', '.join(path.stem for path in paths)}")
    if missing := [path for path in paths if not path.exists()]:
        raise UsageError(f"_quarto.yml lists {missing[0].relative_to(root)}, which does not exist")

    def attempt(path: Path) -> nbformat.NotebookNode | PreviewError:
        try:
            return execute(path) if not chosen or path.stem in chosen else read(path)
        except PreviewError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        books = list(pool.map(attempt, paths))
    if failed := [str(book) for book in books if isinstance(book, PreviewError)]:
        raise PreviewError("\n".join(failed))
    bibliography = root / config["bibliography"]
    options = ["-f", "json", "-t", "html", "--template", TEMPLATE, "--mathml", "--citeproc"]
    keys = set(re.findall(r"@\w+\{\s*([^,\s]+)", bibliography.read_text(encoding="utf-8")))
    heads, labels, trees, contents = [0] * 6, {}, {}, []
    with fresh(output) as folder:
        for path, book in zip(paths, books, strict=True):
            page, text = f"{path.stem}.html", "".join(shown(cell, folder) for cell in book.cells)
            everything = "---\nnocite: '@*'\n---\n\n" if "{#refs}" in text else ""  # other pages list what they cite
            trees[page] = json.loads(pandoc(path.name, everything + text, "-f", "markdown", "-t", "json"))
            title = number(page, trees[page]["blocks"], heads, labels)
            contents.append([element("Plain", [element("Link", ["", [], []], title, [page, ""])])])
        for page, tree in trees.items():
            resolve(page, tree["blocks"], labels, keys)
            tree["meta"]["book"] = element("MetaString", config["book"]["title"])
            tree["meta"]["contents"] = element("MetaBlocks", [element("BulletList", contents)])
            text = pandoc(page, json.dumps(tree), *options, "--bibliography", bibliography)
            (folder / page).write_text(text, encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    """`preview [chapter …] [--output DIR]`: 0, or 1 and what is wrong on stderr."""
    parser = argparse.ArgumentParser(prog="python -m rankstudy preview", description=__doc__.split("\n")[0])
    parser.add_argument("chapter", nargs="*", help="as in 03-rank; the others are shown but not executed")
    parser.add_argument("--output", type=Path, default=Path("_preview"), help="folder, replaced on success")
    given = parser.parse_args(argv[1:])
    try:
        preview(Path.cwd(), given.output.absolute(), given.chapter)
    except PreviewError as error:
        print(f"rankstudy: {error}", file=sys.stderr)
        return 1
    print(f"rankstudy: the preview is {given.output / 'index.html'}")
    return 0
