"""The package's own source, by name, read as text: so the book shows no code that is not the code."""

from __future__ import annotations

import ast
from pathlib import Path

from rankstudy.book.tables import Markdown

PACKAGE = Path(__file__).parents[1]
LONGEST = 40  # lines that a reader is asked to read at once


def source(name: str) -> tuple[str, str]:
    """(file, text) of a function, class or method of the package, such as "rank.pivots" or "layers.MLP.forward".

    Raises:
        ValueError: the package has no such module, or the module no such definition.
    """
    file, node, text = definition(name)
    segment = ast.get_source_segment(text, node, padded=True)
    lines = (segment or "").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    return str(file.relative_to(PACKAGE.parent)), "\n".join(line[margin:] for line in lines)


def definition(name: str) -> tuple[Path, ast.AST, str]:
    """(file, its node, the file's text) of a definition. Errors as `source`."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        file = PACKAGE.joinpath(*parts[:cut]).with_suffix(".py")
        if file.is_file():
            break
    else:
        raise ValueError(f"no module of rankstudy holds {name!r}")
    text = file.read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for part in parts[cut:]:
        named = (each for each in ast.iter_child_nodes(node) if getattr(each, "name", None) == part)
        if (found := next(named, None)) is None:
            raise ValueError(f"{file.relative_to(PACKAGE.parent)} defines no {'.'.join(parts[cut:])!r}")
        node = found
    return file, node, text


def listing(name: str, *, docstring: bool = True) -> Markdown:
    """The definition as a code block under its file's name; `docstring=False` leaves that out.

    Raises:
        ValueError: as `source`; or it has more than 40 lines, which belong in the file and not in a page.
    """
    file, text = source(name)
    if not docstring:
        text = _bare(text)
    if (count := text.count("\n") + 1) > LONGEST:
        raise ValueError(f"{name} has {count} lines; a page lists at most {LONGEST}")
    return Markdown(f'::: {{.listing file="{file}"}}\n```python\n{text}\n```\n:::')


def _bare(text: str) -> str:
    """A definition without its docstring."""
    (node,) = ast.parse(text).body
    first = node.body[0]  # type: ignore[attr-defined]
    if ast.get_docstring(node) is None:  # type: ignore[arg-type]
        return text
    lines = text.splitlines()
    rest = "\n".join(lines[first.end_lineno :]).lstrip("\n")  # a class has an empty line after its docstring
    return "\n".join([*lines[: first.lineno - 1], rest])
