"""The examples run: those in docstrings, and those in CONTRIBUTING, as one metric, experiment, hypothesis and page."""

from __future__ import annotations

import doctest
import re
import sys
import types
from importlib import import_module
from pathlib import Path

import pytest

from rankstudy.book import claims, notebook, results
from rankstudy.study import provenance, questions
from tests.test_prose import literals

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
METRIC, EXPERIMENT, CHAPTER = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)
(PAGE,) = re.findall(r"^````markdown\n(.*?)^````$", TEXT, re.M | re.S)


EXAMPLES = {  # module -> examples at least
    "rank": 7, "_linalg.rounding": 4, "spectrum": 14, "_linalg.nulls": 3, "factorization": 13, "_linalg.bounds": 5,
    "config": 3, "registry": 2, "data": 8, "layers": 8, "training": 15, "lora": 12, "lora_layers": 2, "finetuning": 10,
    "tools.checkpoint": 2, "tools.compression": 4, "tools.loading": 5, "tools.extraction": 5,
    "study.example": 1, "book.stats": 2,
}  # fmt: skip


@pytest.mark.parametrize(("name", "least"), EXAMPLES.items())
def test_the_examples_in_docstrings(name, least):
    failed, tried = doctest.testmod(import_module(f"rankstudy.{name}"))
    assert failed == 0 and tried >= least


def test_a_metric():
    exec(METRIC, {})


def test_an_experiment_its_hypotheses_and_its_page(tmp_path, monkeypatch):
    for kind, source in (("study.experiments", EXPERIMENT), ("book.claims", CHAPTER)):
        module = types.ModuleType(f"rankstudy.{kind}.widths")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(claims, "REGISTRY", dict(claims.REGISTRY))
        exec(source, module.__dict__)
    monkeypatch.setattr(results, "widths", sys.modules["rankstudy.book.claims.widths"].widths, raising=False)
    monkeypatch.setitem(questions.CHAPTERS, "10", "widths")
    monkeypatch.setattr(provenance, "digest", lambda *names: "of a module that has no file")
    monkeypatch.setenv("RANKSTUDY_PROFILE", "smoke")
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path))

    (tmp_path / "10-widths.qmd").write_text(PAGE, encoding="utf-8")
    names: dict = {}
    for cell in notebook.read(tmp_path / "10-widths.qmd").cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    assert literals(PAGE) == []
    (judged,) = claims.judged(names["widths"])
    assert judged.verdict in claims.VERDICTS and judged.n == 3
    assert len(list(tmp_path.glob("measured/*"))) == 1  # the result was stored
