"""A new entry is everywhere: an activation, a data set and a network of another depth, on the pages."""

from __future__ import annotations

import ast
import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from rankstudy import registry, sources
from rankstudy.book import notebook, results
from rankstudy.study import overrides, questions
from tests.test_data import write

ROOT = Path(__file__).parents[1]


def cells(page: str) -> str:
    """What a page's cells print, executed here, top to bottom."""
    names: dict[str, object] = {}
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        for cell in notebook.read(ROOT / page).cells:
            if cell.cell_type != "code":
                continue
            tree = ast.parse(cell.source)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, page, "exec"), names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), page, "eval"), names)
                print(value._repr_markdown_() if hasattr(value, "_repr_markdown_") else value)
    return shown.getvalue()


@pytest.fixture
def swish(fresh, smoke_store, monkeypatch):
    """An activation by one entry, and Task 2's shape with one layer fewer; the controls are those of other tests."""
    if smoke_store.exists():
        shutil.copytree(smoke_store, fresh / "results", ignore=shutil.ignore_patterns("locks"))
    entry = registry.Activation("Swish", "torch.nn.functional.silu", lambda z: z / (1 + np.exp(-z)))
    monkeypatch.setitem(registry.ACTIVATIONS, "silu", entry)
    rates = "(('relu', (3e-3,)), ('tanh', (3e-3,)), ('silu', (3e-3,)), ('identity', (3e-3,)))"
    monkeypatch.setenv(
        overrides.VARIABLE,
        f"rank.shallow.rates={rates}; rank.matched.rates={rates}; rank.base.network.widths=784,32,32,10; "
        "rank.shallow.network.widths=784,32,32,10; rank.matched.network.widths=784,32,32,10",
    )


def test_a_new_activation_and_another_depth_are_on_the_page(swish):
    found = results.rank()
    assert set(found.activations) == {"relu", "tanh", "silu", "identity"}
    assert found.activations["silu"].update.entropy_rank.shape == (2, 3)
    assert found.origin.computed_under.startswith("smoke, with ")
    for page in ("report/03-rank.qmd", "report/evidence/03-rank.qmd"):
        assert "Swish" in cells(page), page


def test_a_data_set_of_the_same_shape_is_called_by_its_name(tmp_path, monkeypatch):
    """FashionMNIST's files, small ones: trained on, and no page takes it for MNIST or for the fallback."""
    write(tmp_path / "data" / "FashionMNIST" / "raw", "fashion")
    monkeypatch.setenv("RANKSTUDY_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RANKSTUDY_DATASET", "fashion")
    monkeypatch.setenv("RANKSTUDY_PROFILE", "quick")
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv(
        overrides.VARIABLE,
        "training.network.widths=784,8,10; training.training.epochs=1; training.seeds=2; "
        "training.data.validation_size=10; data.data.validation_size=10",
    )
    found = questions.result("training")
    assert found.data == "fashion" and found.typed.history.test_accuracy.shape == (2, 2)
    assert sources.label(found.data) == "FashionMNIST"
    said = cells("report/02-training.qmd")
    assert "FashionMNIST" in said and "fallback" not in said
