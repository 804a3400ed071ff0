"""The public names as pages: signatures and docstrings, read as text, so that no torch is imported."""

from __future__ import annotations

import ast
import re
import textwrap

from rankstudy.book.listing import definition
from rankstudy.book.tables import Markdown

SECTION = re.compile(r"^(Args|Returns|Raises):[ \t]*", re.M)
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
    return f"### {node.name} {{#api-{label} .unnumbered}}\n\n```python\n{signature(node, text)}\n```\n\n{prose(told)}"


def signature(node: ast.FunctionDef | ast.ClassDef, text: str) -> str:
    """How a function or class is called, as its file has it: a function's first lines, those of a class's `__init__`,
    or the fields of a dataclass with their comments."""
    lines = text.splitlines()
    if isinstance(node, ast.FunctionDef):
        return "\n".join(lines[node.lineno - 1 : node.body[0].lineno - 1]).removesuffix(":")
    inits = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    if inits:
        called = textwrap.dedent("\n".join(lines[inits[0].lineno - 1 : inits[0].body[0].lineno - 1]))
        called = re.sub(r"def __init__\((\s*)self,?\s*", rf"class {node.name}(\1", called)
        return called.removesuffix(":").removesuffix(" -> None")
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    own = lines[fields[0].lineno - 1 : fields[-1].end_lineno]
    following = lines[fields[-1].end_lineno or 0 :]
    for line in following:  # comments that go on below the last field
        if not line.lstrip().startswith("#"):
            break
        own.append(line)
    return "\n".join([f"class {node.name}:", *own])


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
