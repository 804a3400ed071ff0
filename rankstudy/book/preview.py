"""The chapters of the book as plain HTML, without Quarto: executed by nbclient, turned into pages by pandoc.

`notebook` makes Markdown of the executed chapters, `pages` trees of that, and pandoc writes a page of each. Whatever
would be a warning is an error here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rankstudy import UsageError
from rankstudy.book import handout
from rankstudy.book.notebook import ChapterError, execute, execute_all, listed, markdown, settings
from rankstudy.book.pages import STYLES, assembled, element, page_of, pandoc
from rankstudy.files import fresh
from rankstudy.study import contents

__all__ = ["execute", "main", "page_of", "preview"]


def preview(root: Path, output: Path, chosen: Sequence[str] = ()) -> None:
    """Writes the book of the folder `root`; if some chapters are `chosen`, the others are shown but not executed.

    Raises:
        UsageError: a chosen chapter is not in the book.
        ChapterError: a cell raises or writes to stderr, a reference or citation leads nowhere, pandoc warns.
    """
    config = settings(root)
    paths = listed(root)
    names = {path.relative_to(root).with_suffix("").as_posix(): path for path in paths}
    found = {name: contents.find(name, list(names)) for name in chosen}
    if unknown := [name for name, page in found.items() if page is None]:
        raise UsageError(f"there is no chapter {unknown[0]!r}; there are {', '.join(path.stem for path in paths)}")
    wanted = [path for name, path in names.items() if not chosen or name in found.values()]
    executed = dict(zip(wanted, execute_all(wanted), strict=True))
    bibliography = root / config["bibliography"]
    options = ["-f", "json", "-t", "html", "--template", STYLES / "preview.html", "--mathml", "--citeproc"]
    options += ["--lua-filter", STYLES / "tables.lua", "--lua-filter", STYLES / "telling.lua"]
    options += ["-V", f"styles={(STYLES / 'telling.css').read_text(encoding='utf-8')}"]
    with fresh(output) as folder:
        trees, titles = assembled(root, {path: markdown(book, folder) for path, book in executed.items()})
        handout.write(root, executed, folder)
        own = {page_of(path): handout.name(root, path) for path in executed}
        for page, tree in trees.items():
            tree["meta"]["book"] = tree["meta"]["pagetitle"] = element("MetaString", config["book"]["title"])
            tree["meta"]["contents"] = element("MetaBlocks", [element("BulletList", titles)])
            if own.get(page):
                tree["meta"]["own-notebook"] = element("MetaString", own[page])
            text = pandoc(page, json.dumps(tree), *options, "--bibliography", bibliography)
            (folder / page).write_text(text, encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    """`preview [chapter …] [--output DIR]`: 0, or 1 and what is wrong on stderr."""
    parser = argparse.ArgumentParser(prog="python -m rankstudy preview", description=__doc__.split("\n")[0])
    parser.add_argument(
        "chapter", nargs="*", metavar="CHAPTER", help="as in 3, rank or 03-rank; the others are shown but not executed"
    )
    parser.add_argument("--output", type=Path, default=Path("_preview"), help="folder, replaced on success")
    given = parser.parse_args(argv[1:])
    try:
        preview(Path.cwd(), given.output.absolute(), given.chapter)
    except ChapterError as error:
        print(f"rankstudy: {error}", file=sys.stderr)
        return 1
    print(f"rankstudy: the preview is {given.output / 'index.html'}")
    return 0
