"""Result -> Markdown table, and under it a link that downloads the same numbers as CSV.

The file is in the link itself (a data address), so it works offline and travels with the page; the PDF drops it.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

import numpy as np
from tabulate import tabulate

from rankstudy.book import display
from rankstudy.book.missing import Missing
from rankstudy.book.stats import Estimate, estimate, interval_text, short

_NUMBER = r"[+−-]?[\d\u202f]*\.?\d+(?:e[+-]?\d+)?"
_CELL = re.compile(rf"({_NUMBER})(?: ± ({_NUMBER}))?(?: ([^\d\W]+|%))?")


MEASURES = {
    "rank_float64": "rank, float64 tolerance",
    "rank_float32": "rank, float32 tolerance",
    "energy_rank_99": "energy rank, 99 %",
    "energy_rank_95": "energy rank, 95 %",
    "energy_rank_90": "energy rank, 90 %",
    "entropy_rank": "entropy rank",
    "participation_ratio": "participation ratio",
    "stable_rank": "stable rank",
    "outliers": "singular values above the edge",
    "norm": "Frobenius norm",
}


class Markdown(str):
    """Text that Jupyter shows as Markdown. (IPython's own class would make IPython a dependency of the package.)"""

    def _repr_markdown_(self) -> str:
        return str(self) if display.on_a_page() else display.plain(self)


NOT_RUN = Markdown("*Not run under this profile.*")
Control = TypeVar("Control")
Parameters = ParamSpec("Parameters")


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], *, download: bool = True) -> Markdown:
    """A pipe table; first column left, the others right. Estimates print with their interval."""
    cells = [[str(cell).replace("\u00a0", " ") for cell in row] for row in rows]
    align = ["left"] + ["right"] * (len(headers) - 1)
    shown = tabulate(
        [[_whole(cell) for cell in row] for row in cells],
        headers=[_whole(header) for header in headers],
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
    """With no-break spaces, so that no interval, no unit and no value after its label or its mark stands at
    the start of a line; a bar, as in |x|, ends no cell."""
    cell = re.sub(r"(?<!\\)\|", r"\\|", cell)
    kept = r" (?=[±%/×] ?)|(?<= [±/×]) |(?<=\d) (?=(?:s|ms|kB|MB)\b)|(?<=\d:) |(?<=^[✓✗?<]) "
    return re.sub(kept, "\u00a0", cell)


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
    if not rows:
        return NOT_RUN
    cells = [[_printed(cell) for cell in row] for row in rows]
    if total:
        cells[-1] = [f"**{cell}**" if cell else "" for cell in cells[-1]]
    return table(headers, cells, download=download)


def of_control(
    made: Callable[Concatenate[Control, Parameters], Markdown],
) -> Callable[Concatenate[Control | Missing, Parameters], Markdown]:
    """A table of a control's result, which says so where that has not been computed."""

    @wraps(made)
    def shown(control: Control | Missing, *arguments: Parameters.args, **named: Parameters.kwargs) -> Markdown:
        return NOT_RUN if isinstance(control, Missing) else made(control, *arguments, **named)

    return shown


def of_rows(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Markdown:
    """Some fields of rows, under heads of their own: {"m × n": "shape"}; a shape as 256×784."""

    def cell(value: Any) -> str:
        if isinstance(value, tuple):
            return "×".join(map(str, value))
        return f"{value:.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)

    return table(list(columns), [[cell(row[name]) for name in columns.values()] for row in rows])


def hypotheses(judged: Sequence[Any]) -> Markdown:
    """Every hypothesis of a page (`claims.judged`) with verdict, effect, n, tier and p; each row can be linked to."""
    marks = {"supported": "✓", "refuted": "✗", "inconclusive": "?"}
    rows = [
        [
            f"[{each.hypothesis.sentence}]{{#claim-{each.hypothesis.id}}}",
            "not measured yet" if each.word.startswith("not") else f"{marks[each.verdict]}\u00a0{each.word}",
            each.size(),
            str(each.n or ""),
            each.hypothesis.tier,
            "" if each.p is None else "<\u00a00.0001" if each.p < 1e-4 else f"{each.p:.2g}",
        ]
        for each in judged
    ]
    shown = table(["hypothesis", "verdict", "effect", "n", "tier", "p"], rows, download=False)
    return Markdown(f"::: {{.hypotheses}}\n{shown}\n:::")


def _printed(cell: Any) -> str:
    if isinstance(cell, Estimate):
        return interval_text(cell)
    if isinstance(cell, (bool, str)):
        return str(cell)
    return short(float(cell))


def by_layer(
    group: Any,
    columns: Mapping[str, np.ndarray],
    *,
    averaged: Collection[str] | None = None,
    intervals: bool = False,
) -> Markdown:
    """A row a layer of `measured.Networks` and their average; columns: header -> (networks, layers), of which the mean
    over networks is shown.

    The average is what the assignment asks for; the layers stand beside it, since one of ten rows says little of the
    others. `averaged`: the headers that have one, unset all of them; measures other than the rank are asked of layers
    of one shape only. `intervals`: with 95 % intervals, for the evidence.
    """
    names = [f"{layer + 1},\u00a0{out}\u00a0×\u00a0{inp}" for layer, (out, inp) in enumerate(group.shapes)]
    found = {header: [estimate(each) for each in values.T] for header, values in columns.items()}
    wanted = columns if averaged is None else averaged
    whole = [estimate(values.mean(axis=1)) if header in wanted else "" for header, values in columns.items()]
    rows: list[list[Any]] = [[name, *[each[layer] for each in found.values()]] for layer, name in enumerate(names)]
    if wanted:
        rows.append(["average", *whole])
    if not intervals:
        rows = [[each.short() if isinstance(each, Estimate) else each for each in row] for row in rows]
    return show(["layer", *columns], rows, total=bool(wanted) and not intervals)


def down(
    head: str,
    values: Sequence[Any],
    columns: Mapping[str, np.ndarray],
    *,
    intervals: bool = True,
) -> Markdown:
    """A row for each of some values (ranks, limits, names), whose header is `head`; columns: header -> (networks,
    values), of which the mean over networks is shown, or one number a value.

    `intervals`: with 95 % intervals, for the evidence.
    """
    rows = []
    for index, value in enumerate(values):
        cells: list[Any] = []
        for header, each in columns.items():
            if np.ndim(each) < 2:
                cells.append(short(float(each[index])))
                continue
            found = estimate(np.asarray(each, dtype=float)[:, index])
            if not math.isfinite(found.mean):
                cells.append("")
            elif header.endswith("%") and intervals:
                highest = 100.0 if np.nanmax(each) <= 100 else math.inf  # a share, or a change that may be more
                cells.append(interval_text(found, "%", highest=highest).removesuffix(" %"))
            else:
                cells.append(found.short() if not intervals else interval_text(found))
        rows.append([value if isinstance(value, str) else short(float(value)), *cells])
    return show([head, *columns], rows)


def measures(group: Any, matrix: str) -> Markdown:
    """Every measure of one matrix ("initial", "weights" or "update") of `measured.Networks`, a row a measure."""
    found = getattr(group, matrix)
    rows = []
    for name, label in MEASURES.items():
        values = getattr(found, name)
        average = estimate(values.mean(axis=1)) if name.startswith("rank") else ""  # of unlike layers, for ranks only
        rows.append([label, *[estimate(each) for each in values.T], average])
    heads = [f"layer\u00a0{layer + 1}, {out}\u00a0×\u00a0{inp}" for layer, (out, inp) in enumerate(group.shapes)]
    return show(["measure", *heads, "average"], rows)


def conditions(groups: Mapping[str, Any]) -> Markdown:
    """How each condition trained, and its ranks: a row each; entropy ranks are means over the square layers."""
    rows = []
    for group in groups.values():
        square = group.square
        at_boundary = group.tuning is not None and group.tuning.at_boundary(group.learning_rate)
        rows.append(
            [
                group.label + ("" if group.did_train else " (did not train)"),
                f"{group.learning_rate:g}" + (" (boundary)" if at_boundary else ""),
                percentage(group.history.train_accuracy[:, -1]),
                percentage(group.history.test_accuracy[:, -1]),
                estimate(group.weights.rank_float64.mean(axis=1)),
                estimate(group.weights.rank_float32.mean(axis=1)),
                estimate(group.weights.entropy_rank[:, square].mean(axis=1)),
                estimate(group.update.entropy_rank[:, square].mean(axis=1)),
            ]
        )
    heads = ["activation", "learning rate", "train, %", "test, %", "rank of W (mean over layers), float64", "float32"]
    return show([*heads, "entropy rank of W", "of W − W₀"], rows)


def epochs(history: Any) -> Markdown:
    """Loss and accuracy of `measured.History` after each epoch, a row an epoch, with 95 % intervals."""
    splits = {"train": "training", "validation": "validation", "test": "test"}
    rows = [
        [
            str(epoch),
            *[estimate(getattr(history, f"{split}_loss")[:, epoch]) for split in splits],
            *[percentage(getattr(history, f"{split}_accuracy")[:, epoch]) for split in splits],
        ]
        for epoch in range(history.epochs + 1)
    ]
    heads = [*(f"{name} loss" for name in splits.values()), *(f"{name}, %" for name in splits.values())]
    return show(["epoch", *heads], rows)


def networks(history: Any, images: int) -> Markdown:
    """Each network of `measured.History` after its last epoch, a row a seed; `images`: in the test set."""
    right = {split: getattr(history, f"{split}_accuracy")[:, -1] for split in ("train", "validation", "test")}
    rows = [
        [
            str(seed),
            *[f"{100 * values[row]:.2f}" for values in right.values()],
            str(round((1 - right["test"][row]) * images)),
            f"{history.test_loss[row, -1]:.4f}",
        ]
        for row, seed in enumerate(history.seeds)
    ]
    return show(["seed", "training, %", "validation, %", "test, %", "test errors", "test loss"], rows)


def learning_rates(tuning: Any, chosen: float) -> Markdown:
    """The learning rates of `measured.Tuning` on validation data, and which was taken; None: it was given."""
    if tuning is None:
        return show([], [])
    found = zip(tuning.learning_rate, tuning.validation_accuracy, tuning.validation_loss, strict=True)
    taken = "taken, at the boundary" if tuning.at_boundary(chosen) else "taken"
    rows = [
        [
            f"{rate:g}",
            percentage(accuracy) if len(accuracy) > 1 else f"{100 * accuracy[0]:.2f}",
            estimate(loss) if len(loss) > 1 else f"{loss[0]:.4f}",
            str(len(loss)),
            taken if rate == chosen else "",
        ]
        for rate, accuracy, loss in found
    ]
    if chosen not in tuning.learning_rate:
        rows.append([f"{chosen:g}", "", "", "", "taken, the vertex of a parabola"])
        rows.sort(key=lambda row: float(row[0]))
    return show(["learning rate", "validation accuracy, %", "validation loss, nats", "seeds", "choice"], rows)


def percentage(values: np.ndarray) -> str:
    """Fractions, one a network, for a column whose header says %."""
    return interval_text(estimate(100 * np.asarray(values)), "%", highest=100).removesuffix(" %")
