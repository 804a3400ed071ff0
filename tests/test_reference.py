"""The reference has every public name, each with an example, and is read as text."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rankstudy
from rankstudy import factorization, rank, spectrum
from rankstudy.book import reference, render
from rankstudy.book.listing import definition

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "report" / "reference.qmd").read_text(encoding="utf-8")
NAMES = re.findall(r'"([\w.]+\.\w+)"', PAGE)


def found(name: str) -> object:
    module, _, own = name.rpartition(".")
    return getattr(importlib.import_module(f"rankstudy.{module}"), own)


def test_no_name_is_there_twice():
    assert len(set(NAMES)) == len(NAMES) > 60


def test_every_public_name_is_there():
    shown = [found(name) for name in NAMES]
    assert [name for name in rankstudy.__all__ if name != "UsageError" and getattr(rankstudy, name) not in shown] == []
    for module in (rank, spectrum, factorization):
        assert [name for name in module.__all__ if getattr(module, name) not in shown] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_function_has_an_example_that_runs(name):
    """`test_examples` runs them. A class that is only handed back needs none: its fields are its documentation."""
    node = definition(name)[1]
    text = reference.reference(name)
    assert text.startswith(f"### {name.rpartition('.')[2]} {{#api-")
    if isinstance(node, ast.FunctionDef):
        assert "```python\n>>> " in text


def test_no_example_looks_like_a_page_that_failed():
    """The book is not replaced where a page holds what a failed cell prints."""
    assert not re.search("|".join(render.FAULTS), reference.reference(*NAMES))


def test_it_is_read_without_importing_what_it_is_about():
    program = (
        "import sys\nfrom rankstudy.book.reference import reference\n"
        f"reference(*{NAMES!r})\nprint('torch' in sys.modules, 'rankstudy.lora' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False False", done.stderr


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("layers.build", "build(config: Network, seed: int) -> MLP"),
        ("rank.matrix_rank", 'matrix_rank(a: Any, *, method: str = "elimination", tol: Any = None) -> Any'),
        ("data.loader", "loader(split: Split, batch_size: int, *seeds: int) -> DataLoader"),
        ("layers.LowRankLinear", "LowRankLinear(in_features: int, out_features: int, rank: int, bias: bool = False)"),
        ("config.Network", ""),
    ],
)
def test_signatures_are_as_they_are_called(name, called):
    found = reference.signature(definition(name)[1])
    assert re.sub(r",?\n *", lambda part: ", " if "," in part[0] else "", found).replace(", )", ")") == called
    assert max(map(len, found.split("\n"))) <= reference.COLUMNS


def test_fields_are_listed_with_their_comments():
    text = reference.reference("config.Network")
    assert "\n- `widths: tuple[int, ...]`: units per layer, input first" in text
    assert '- `initialisation: str = "default"`: "default": torch\'s own' in text and "dense variance; " in text


def test_a_docstring_becomes_markdown():
    told = "Counts a_b < 3.\n\nArgs:\n    a: (..., m, n),\n        or a list.\n    tol: `x_y`."
    told += "\n\nRaises: ValueError.\n\n>>> 1\n1"
    assert reference.prose(told) == (
        "Counts a\\_b \\< 3.\n\n**Args**\n\n- `a`: (..., m, n), or a list.\n- `tol`: `x_y`.\n\n**Raises**: ValueError."
        "\n\n```python\n>>> 1\n1\n```"
    )


@pytest.mark.parametrize(("name", "message"), [("rank.nothing", "defines no"), ("data.Split", "no docstring")])
def test_what_is_not_there_is_named(name, message):
    with pytest.raises(ValueError, match=message):
        reference.reference(name)
