"""The book's pages as pandoc's trees: numbered over all chapters, with references resolved, without Quarto.

The preview writes HTML of them, `handout` notebooks. Whatever would be a warning is an error here.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pypandoc

from rankstudy.book.notebook import ChapterError, listed, markdown, read, settings

KINDS = {"fig": "Figure", "tbl": "Table", "eq": "Equation"}
BOUND = re.compile(r"\]\{claim=[^{}]*\}")
STYLES = Path(__file__).parents[2] / "report" / "styles"


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
            raise ChapterError(f"{page}: a second {label}; the first is {labels[label][2]}")
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
            case {"t": "Image", "c": [[_, _, pairs], *_]}:
                pairs[:] = [["alt" if key == "fig-alt" else key, text] for key, text in pairs]
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
    """Makes links of the references to labels; raises `ChapterError` for one that is no key of the bibliography."""
    for node in elements(blocks):
        links = []
        for cite in node["c"][0] if node["t"] == "Cite" else ():
            if (label := cite["citationId"]) in labels:
                word, position, address = labels[label]
                text = position if cite["citationMode"]["t"] == "SuppressAuthor" else f"{word} {position}"
                links += [element("Str", "; ")] * bool(links)
                links += [element("Link", ["", [], []], [element("Str", text)], [address, ""])]
            elif label not in keys:
                raise ChapterError(f"{page}: nothing has the label @{label}")
        if links:
            node.update(element("Span", ["", [], []], links))


def pandoc(page: str, given: str, *options: object) -> str:
    """What pandoc makes of a page; a warning of its is an error."""
    command = [pypandoc.get_pandoc_path(), "--fail-if-warnings", *map(str, options)]
    done = subprocess.run(command, input=given, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise ChapterError(f"{page}: {done.stderr.strip()}")
    return done.stdout


def page_of(path: Path) -> str:
    """03-rank.html; of the evidence, whose files have their chapters' names, evidence-03-rank.html."""
    return f"evidence-{path.stem}.html" if path.parent.name == "evidence" else f"{path.stem}.html"


def assembled(root: Path, written: Mapping[Path, str]) -> tuple[dict[str, dict], list]:
    """The book's pages as pandoc's trees, numbered and with their references resolved; and links with their titles.

    Args:
        written: Markdown of the pages that were executed; the others are as they stand in their sources.

    Raises:
        ChapterError: a reference or citation leads nowhere, pandoc warns.
    """
    bibliography = (root / settings(root)["bibliography"]).read_text(encoding="utf-8")
    keys = set(re.findall(r"@\w+\{\s*([^,\s]+)", bibliography))
    heads, labels, trees, titles = [0] * 6, {}, {}, []
    for path in listed(root):
        page, executed = page_of(path), path in written
        # of a page that is not executed nothing has judged its sentences
        text = written[path] if executed else BOUND.sub("]{.bound}", markdown(read(path), root))
        everything = "---\nnocite: '@*'\n---\n\n" if "{#refs}" in text else ""  # other pages list what they cite
        trees[page] = json.loads(pandoc(path.name, everything + text, "-f", "markdown", "-t", "json"))
        if not executed:
            trees[page]["meta"]["not-executed"] = element("MetaBool", True)
        title = number(page, trees[page]["blocks"], heads, labels)
        titles.append([element("Plain", [element("Link", ["", [], []], title, [page, ""])])])
    for page, tree in trees.items():
        resolve(page, tree["blocks"], labels, keys)
    return trees, titles
