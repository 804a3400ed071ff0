"""What `benchmarks/results` keeps, for pages: tables, and what code that needs torch printed when it was run last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rankstudy.book.tables import Markdown, table

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def result(name: str) -> dict[str, Any]:
    """What `python -m benchmarks NAME` kept: provenance, rows, tables by title with the heads first."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table_of(told: dict[str, Any], title: str | None = None, *, download: bool = True) -> Markdown:
    """One of its tables; the only one if none is named."""
    (found,) = [each for name, each in told["tables"].items() if title in (None, name)]
    return table(found[0], found[1:], download=download)


def origin(told: dict[str, Any]) -> Markdown:
    """Where it was measured: device, commit, versions."""
    where = told["provenance"]
    return Markdown(f"{where['device']}, commit `{where['commit']}`, torch {where['torch']}, NumPy {where['numpy']}")


def printed(name: str, place: int) -> Markdown:
    """The output of the page's block of that number, from 0."""
    return Markdown(f"```\n{result(name)['tables']['outputs'][place + 1][1].rstrip()}\n```")
