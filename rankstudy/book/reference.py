"""The public names as pages: signatures and docstrings, read as text, so that no torch is imported."""

from __future__ import annotations

import ast
import re
import textwrap

from rankstudy.book.listing import definition
from rankstudy.book.tables import Markdown

SECTION = re.compile(r"^(Args|Returns|Raises|Example|Yields):[ \t]*", re.M)
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
    node = definition(name)[1]
    text = ast.get_docstring(node)  # type: ignore[arg-type]
    if not text:
        raise ValueError(f"{name} has no docstring")
    title = name.rpartition(".")[2]
    return f"### {title} {{#api-{name.replace('.', '-').replace('_', '-').lower()}}}\n\n{signature(node)}\n\n{prose(text)}"


def signature(node: ast.AST) -> str:
    """How a function or class is called, without annotations of what it takes but with defaults, as a code block."""
    call = node
    if isinstance(node, ast.ClassDef):
        own = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
        if not own:  # a dataclass or a named tuple: its fields
            fields = [f"{ast.unparse(f.target)}: {ast.unparse(f.annotation)}" for f in node.body if _is_field(f)]  # type: ignore[attr-defined]
            return _block(node.name, fields, "")
        call = own[0]
    assert isinstance(call, ast.FunctionDef) and isinstance(node, (ast.FunctionDef, ast.ClassDef))
    arguments = [part.strip() for part in _split(ast.unparse(call.args))]
    if call is not node:
        arguments = arguments[1:]  # self
    returns = f" -> {ast.unparse(call.returns)}" if call is node and call.returns else ""
    return _block(node.name, arguments, returns)


def _is_field(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign)


def _block(name: str, arguments: list[str], returns: str) -> str:
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) > 80:
        line = f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f"){returns}"
    return f"```python\n{line}\n```"


def _split(arguments: str) -> list[str]:
    """At the commas that stand in no bracket and no string."""
    parts, depth, quote = [""], 0, ""
    for letter in arguments:
        quote = ("" if letter == quote else quote) or (letter if letter in "'\"" and not quote else "")
        depth += (letter in "([{") - (letter in ")]}") if not quote else 0
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


def prose(text: str) -> str:
    """A docstring as Markdown: paragraphs, sections with their entries as lists, examples as code."""
    return "\n\n".join(_part(part) for part in re.split(r"\n\s*\n", text))


def _part(part: str) -> str:
    if part.startswith(">>>"):
        return f"```python\n{part}\n```"
    if found := SECTION.match(part):
        rest = part[found.end() :].strip("\n")
        title = f"**{found[1]}**"
        if found[1] == "Example":
            return f"{title}\n\n```python\n{textwrap.dedent(rest)}\n```" if "`" not in rest else f"{title}: {_plain(rest)}"
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
