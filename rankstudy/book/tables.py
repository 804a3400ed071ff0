"""Result -> Markdown table, and under it a link that downloads the same numbers as CSV.

The file is in the link itself (a data address), so it works offline and travels with the page; the PDF drops it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from tabulate import tabulate

from rankstudy.book.stats import Estimate, interval_text, short

_NUMBER = r"[+−-]?[\d\u202f]*\.?\d+(?:e[+-]?\d+)?"
_CELL = re.compile(rf"({_NUMBER})(?: ± ({_NUMBER}))?(?: ([^\d\W]+|%))?")


class Markdown(str):
    """Text that Jupyter shows as Markdown. (IPython's own class would make IPython a dependency of the package.)"""

    def _repr_markdown_(self) -> str:
        return str(self)


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], *, download: bool = True) -> Markdown:
    """A pipe table; first column left, the others right. Estimates print with their interval."""
    cells = [[str(cell).replace("\u00a0", " ") for cell in row] for row in rows]
    align = ["left"] + ["right"] * (len(headers) - 1)
    shown = tabulate(
        [[_whole(cell) for cell in row] for row in cells],
        headers=list(headers),
        tablefmt="pipe",
        colalign=align if rows else None,
        disable_numparse=True,
    )
    return Markdown(f"{shown}\n\n{_download(headers, cells)}" if download else shown)


def csv_text(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """The table for a spreadsheet: plain numbers, the unit in the header, half-widths of intervals beside the means.

    A column of anything but numbers is left as it is printed. An empty header goes with the column before it.
    """
    columns, name = [], ""
    for index, header in enumerate(headers):
        name = header or name
        columns += _columns(name, [row[index] for row in cells])
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerows(zip(*columns, strict=True))
    return file.getvalue()


def _columns(name: str, cells: list[str]) -> list[list[str]]:
    """One column of the table as the columns it becomes, headers first."""
    found = [_CELL.fullmatch(cell) for cell in cells]
    units = {match[3] or "" for match in found if match}
    if len(units) != 1 or any(cell and not match for cell, match in zip(cells, found, strict=True)):
        return [[name, *(cell.replace("`", "") for cell in cells)]]
    unit = f" ({units.pop()})".removesuffix(" ()")
    means, halves = ([_plain(match[part]) if match else "" for match in found] for part in (1, 2))
    return [[name + unit, *means]] + ([[f"{name} ±{unit}", *halves]] if any(halves) else [])


def _plain(number: str | None) -> str:
    return (number or "").replace("\u202f", "").replace("−", "-").removeprefix("+")


def _whole(cell: str) -> str:
    """With no-break spaces, so that no interval, no unit and no value after its label stands at the start of a line."""
    return re.sub(r" (?=[±%/] ?)|(?<= [±/]) |(?<=\d) (?=(?:s|ms|kB|MB)\b)|(?<=\d:) ", "\u00a0", cell)


def _download(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    name = "-".join(re.findall(r"[a-z0-9]+", " ".join(headers).lower()))[:40].strip("-") or "table"
    data = quote("\ufeff" + csv_text(headers, cells))  # the mark tells spreadsheets that this is UTF-8
    link = f'<a download="{name}.csv" href="data:text/csv;charset=utf-8,{data}" title="Download this table">CSV</a>'
    return f'```{{=html}}\n<p class="csv">{link}</p>\n```'


def show(
    headers: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    download: bool = True,
    total: bool = False,
) -> Markdown:
    """A table of the story or the evidence: units in the headers, one value a cell; `total`: the last row is bold.

    `Estimate`s print by the one rule for intervals, other numbers as `numbers.short` has them.
    """
    cells = [[_printed(cell) for cell in row] for row in rows]
    if total:
        cells[-1] = [f"**{cell}**" if cell else "" for cell in cells[-1]]
    return table(headers, cells, download=download)


def hypotheses(judged: Sequence[Any]) -> Markdown:
    """Every hypothesis of a page (`claims.judged`) with verdict, effect, n and p; each row can be linked to."""
    marks = {"supported": "✓ supported", "refuted": "✗ refuted", "inconclusive": "? inconclusive"}
    rows = [
        [
            f"[{each.hypothesis.sentence}]{{#claim-{each.hypothesis.id}}}",
            marks[each.verdict],
            each.size(),
            str(each.n or ""),
            "" if each.p is None else "< 0.0001" if each.p < 1e-4 else f"{each.p:.2g}",
        ]
        for each in judged
    ]
    shown = table(["hypothesis", "verdict", "effect", "n", "p"], rows, download=False)
    return Markdown(f"::: {{.hypotheses}}\n{shown}\n:::")


def _printed(cell: Any) -> str:
    if isinstance(cell, Estimate):
        return interval_text(cell)
    if isinstance(cell, (bool, str)):
        return str(cell)
    return short(float(cell))
