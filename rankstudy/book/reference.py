"""The public names as pages: signatures and docstrings, read as text, so that no torch is imported."""

from __future__ import annotations

import ast
import re
import textwrap

from rankstudy.book.listing import definition
from rankstudy.book.tables import Markdown

SECTION = re.compile(r"^(Args|Returns|Raises):[ \t]*", re.M)
COLUMNS = 72  # that a page shows without scrolling
MARKUP = re.compile(r"([\\*_\[\]<>#~^$@|{}])")


def reference(*names: str) -> Markdown:
    """Each definition of the package as a heading, its signature, and what its docstring says.

    Args:
        names: such as "rank.matrix_rank", as in `listing.source`.

    Raises:
        ValueError: as `listing.source`; or a definition has no docstring.
    """
    return Markdown("\n\n".join(map(_entry, names)))


def _entry(name: str) -> str:
    _, node, text = definition(name)
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or not (told := ast.get_docstring(node)):
        raise ValueError(f"{name} has no docstring")
    label = re.sub(r"\W|_", "-", name).lower()
    called = signature(node)
    heading = f"### {node.name} {{#api-{label} .unnumbered .unlisted}}"
    parts = [heading, called and f"```python\n{called}\n```", prose(told)]
    return "\n\n".join(filter(None, [*parts, "" if called else _fields(node, text)]))


def signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """How a function or class is called; nothing for a dataclass or a named tuple, which its fields describe."""
    functions = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    if isinstance(node, ast.ClassDef) and not functions:
        return ""
    call = node if isinstance(node, ast.FunctionDef) else functions[0]
    own = call.args
    names, first = [*own.posonlyargs, *own.args], int(call is not node)  # without self
    defaults = [None] * (len(names) - len(own.defaults)) + list(own.defaults)
    parts = [_argument(*pair) for pair in zip(names[first:], defaults[first:], strict=True)]
    if own.vararg or own.kwonlyargs:
        parts.append("*" + (_argument(own.vararg, None) if own.vararg else ""))
    parts += [_argument(*pair) for pair in zip(own.kwonlyargs, own.kw_defaults, strict=True)]
    if own.kwarg:
        parts.append(f"**{_argument(own.kwarg, None)}")
    returns = f" -> {ast.unparse(call.returns)}" if call is node and call.returns else ""
    line = f"{node.name}({', '.join(parts)}){returns}"
    return (
        line
        if len(line) <= COLUMNS
        else "\n".join([f"{node.name}(", *(f"    {each}," for each in parts), f"){returns}"])
    )


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + ("" if default is None else f" = {ast.unparse(default)}".replace("'", '"'))


def _fields(node: ast.ClassDef, text: str) -> str:
    """The fields of a class as a list, with the comments that stand beside and below them."""
    lines, found = text.splitlines(), []
    for each in node.body:
        if not isinstance(each, ast.AnnAssign):
            continue
        last = each.end_lineno or each.lineno
        comment = [lines[last - 1][each.end_col_offset :]]
        while lines[last].lstrip().startswith("#"):
            comment.append(lines[last])
            last += 1
        said = _plain(" ".join(part.strip().lstrip("#").strip() for part in comment))
        default = "" if each.value is None else f" = {ast.unparse(each.value)}".replace("'", '"')
        code = f"`{ast.unparse(each.target)}: {ast.unparse(each.annotation)}{default}`"
        found.append(f"- {code}: {said}" if said else f"- {code}")
    return "\n".join(found)


def prose(text: str) -> str:
    """A docstring as Markdown: paragraphs, sections with their entries as lists, examples as code."""
    return "\n\n".join(_part(part) for part in re.split(r"\n\s*\n", text))


def _part(part: str) -> str:
    if part.startswith(">>>"):
        return f"```python\n{part}\n```"
    if found := SECTION.match(part):
        rest = part[found.end() :].strip("\n")
        title = f"**{found[1]}**"
        block = textwrap.dedent(rest)
        entries = re.findall(r"^([\w*, ]+): (.*(?:\n[ ]+.*)*)", block, re.M)
        if part[found.end() : found.end() + 1] == "\n" and entries:
            return f"{title}\n\n" + "\n".join(f"- `{key}`: {_plain(what)}" for key, what in entries)
        return f"{title}: {_plain(rest)}"
    if re.match(r"- ", part):
        return "\n".join(f"- {_plain(item)}" for item in re.split(r"(?:^|\n)- ", part) if item)
    return _plain(part)


def _plain(text: str) -> str:
    """Text with its markup characters escaped, but for what stands in backticks."""
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(piece if piece.startswith("`") else MARKUP.sub(r"\\\1", piece) for piece in pieces)
