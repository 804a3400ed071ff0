"""Figures of an analysis: rank by depth for any number of matrices, and spectra of a few that are chosen."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rankstudy import UsageError
from rankstudy.tools.levels import canonical
from rankstudy.tools.tables import plain

if TYPE_CHECKING:
    from rankstudy.tools.checkpoint import Analysis, Matrix

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's
GREY = "#999999"
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
         "svg.fonttype": "none", "grid.color": "#dddddd", "grid.linewidth": 0.6, "legend.frameon": False,
         "legend.fontsize": 7}  # fmt: skip
NAMED = 40  # matrices that have their names under the axis; more have numbers
PANELS = 24  # spectra that a reader can take in


def drawn(found: Analysis, path: Path, panels: str | None = None) -> bytes:
    """The figure as the content of a file of that name: rank by depth, or spectra of what `panels` matches.

    Raises:
        UsageError: `panels` is no regular expression or matches nothing; matplotlib does not know the format.
    """
    with rc_context(STYLE):
        figure = by_depth(found) if panels is None else spectra(_matching(found, panels), found)
        content = io.BytesIO()
        try:
            figure.savefig(content, format=path.suffix.lstrip(".") or "svg")
        except ValueError as error:
            raise UsageError(f"--figure {path}: {error}") from error
    return content.getvalue()


def by_depth(found: Analysis) -> Figure:
    """Two panels over the matrices in their order: the rank that is needed against break-even, and the entropy rank.

    Matrices of one kind, named alike but for numbers, have one colour and a line; the rarer kinds are grey.
    """
    matrices = found.matrices
    kinds = [_kind(m) for m in matrices]
    common = [kind for kind, count in Counter(kinds).most_common(len(COLOURS)) if count > 1 or len(matrices) <= 8]
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    needed = np.array([m.needed_rank / max(1, m.break_even_rank) for m in matrices])
    entropy = np.array([100 * m.entropy_rank / min(m.shape) for m in matrices])
    for axis, values in ((upper, needed), (lower, entropy)):
        for kind in [*common, None]:
            at = [i for i, each in enumerate(kinds) if (each if each in common else None) == kind]
            if at:
                colour = GREY if kind is None else COLOURS[common.index(kind)]
                label = "other" if kind is None else plain(kind)
                axis.plot(
                    at,
                    values[at],
                    "o" if kind is None else "o-",
                    color=colour,
                    label=label,
                    markersize=3,
                    linewidth=0.9,
                )
    upper.axhline(1, color="#444444", linewidth=0.8, linestyle="--")
    upper.annotate("break-even", (0, 1), xytext=(2, 2), textcoords="offset points", fontsize=7)
    upper.set(ylabel=f"rank at error {found.rank_error:g},\nof break-even", ylim=(0, None))
    lower.set(ylabel="entropy rank,\n% of full", ylim=(0, None))
    _name(lower, [m.name for m in matrices])
    upper.set_title("Update W − W₀, matrix by matrix" if found.update else "Weights, matrix by matrix", fontsize=9)
    if common:
        figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def spectra(matrices: Sequence[Matrix], found: Analysis) -> Figure:
    """Singular values on logarithmic axes, one panel a matrix, dashed at the rank of the error."""
    columns = min(4, len(matrices))
    rows = -(-len(matrices) // columns)
    figure = Figure(figsize=(2.3 * columns + 0.4, 1.8 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, m in zip(axes.flat, matrices, strict=False):
        values = m.singular_values
        floor = 1e-9 * max(float(values.max(initial=0.0)), 1e-300)
        axis.loglog(np.arange(1, len(values) + 1), np.maximum(values, floor), color=COLOURS[0])
        axis.axvline(m.needed_rank + 0.5, color=COLOURS[1], linewidth=1, linestyle="--")
        axis.set_title(_two_lines(plain(m.name)), fontsize=7)
    for axis in axes.flat[len(matrices) :]:
        axis.remove()
    figure.supxlabel("index", fontsize=8)
    figure.supylabel(f"singular value (dashed: rank at error {found.rank_error:g})", fontsize=8)
    return figure


def _matching(found: Analysis, panels: str) -> list[Matrix]:
    try:
        chosen = [m for m in found.matrices if re.search(panels, m.name)]
    except re.error as error:
        raise UsageError(f"--panels {panels!r} is no regular expression: {error}") from error
    if not 0 < len(chosen) <= PANELS:
        raise UsageError(
            f"--panels {panels!r} matches {len(chosen)} of {len(found.matrices)} matrices; 1 to {PANELS} fit"
        )
    return chosen


def _kind(m: Matrix) -> str:
    """The name without its numbers."""
    return re.sub(r"\d+", "·", canonical(m.name)).removesuffix(".weight")


def _name(axis: Axes, names: Sequence[str]) -> None:
    if len(names) > NAMED:
        axis.set_xlabel("matrix, in the order of the file")
        return
    short = [plain(name.removesuffix(".weight"))[-40:] for name in names]
    axis.set_xticks(range(len(names)), short, rotation=90, fontsize=6)


def _two_lines(name: str, width: int = 34) -> str:
    """Long names break at a dot; of longer ones start and end stay, which is where they differ."""
    if len(name) > 2 * width:
        name = f"{name[: width - 1]}…{name[-width:]}"
    if len(name) <= width:
        return name
    cut = max((i for i in range(min(width, len(name))) if name[i] in "._…"), default=width - 1)
    return f"{name[: cut + 1]}\n{name[cut + 1 :]}"
