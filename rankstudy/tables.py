"""Result -> Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from rankstudy.intervals import Estimate


class Markdown(str):
    """Text that Jupyter shows as Markdown. (IPython's own class would make IPython a dependency of the package.)"""

    def _repr_markdown_(self) -> str:
        return str(self)


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> Markdown:
    """A pipe table; first column left, the others right. Estimates print with their interval."""
    cells = [[str(cell) if isinstance(cell, Estimate) else cell for cell in row] for row in rows]
    align = ["left"] + ["right"] * (len(headers) - 1)
    return Markdown(
        tabulate(cells, headers=list(headers), tablefmt="pipe", colalign=align if rows else None, disable_numparse=True)
    )
