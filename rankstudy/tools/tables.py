"""An analysis as text, CSV, JSON and Markdown, and what to do with it."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

if TYPE_CHECKING:
    from rankstudy.tools.checkpoint import Analysis, Matrix

ORDINARY = (
    "a vector",
    "a number",
    "no tensor",
    "optimiser state",
    "a buffer",
    "EMA copy",
    "integers",
    "not included",
    "excluded",
)
WIDTH = 120
WEIGHTS = (
    "rank: singular values above max(m, n)·eps·σ₁; stable rank ‖W‖²/σ₁²; entropy rank: exp of the entropy of σ/Σσ; "
    "90 %, 99 %: smallest ranks that hold this share of ‖W‖²; outliers: singular values above the Marchenko–Pastur "
    "edge; break-even: largest rank at which factors hold no more numbers than the matrix; r at {error:g}: smallest "
    "rank with this relative error ‖W − BC‖/‖W‖; saves: parameters"
)
UPDATES = (
    "size: ‖ΔW‖/‖W₀‖; rounding: the share of ‖ΔW‖ that storing W in its precision may be; rank: singular values above "
    "rounding; r=4 … r=64: share of ‖ΔW‖² that an adapter of this rank holds; r at {error:g}: smallest rank with this "
    "relative error ‖ΔW − BA‖/‖ΔW‖"
)


def plain(text: str) -> str:
    """A name from a file, safe to print: control characters are shown, not sent to the terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _heads_and_cells(found: Analysis) -> tuple[list[str], list[list[str]]]:
    last = f"r at {found.rank_error:g}"
    if found.update:
        heads = ["matrix", "m × n", "size", "rounding", "rank", "stable", "entropy", "r=4", "r=8", "r=16", "r=32",
                 "r=64", last]  # fmt: skip
        return heads, [_update_cells(m) for m in found.matrices]
    heads = ["matrix", "m × n", "rank", "stable", "entropy", "90 %", "99 %", "outliers", "break-even", last, "saves",
             "stays"]  # fmt: skip
    return heads, [
        [
            _label(m),
            f"{m.shape[0]}×{m.shape[1]}",
            str(m.rank),
            f"{m.stable_rank:.1f}",
            f"{m.entropy_rank:.1f}",
            str(m.energy_rank_90),
            str(m.energy_rank_99),
            str(m.outliers),
            str(m.break_even_rank),
            str(m.needed_rank),
            f"{m.saved:+,}",
            m.kept,
        ]
        for m in found.matrices
    ]


def _update_cells(m: Matrix) -> list[str]:
    shape = f"{m.shape[0]}×{m.shape[1]}"
    size = "" if m.change is None else f"{m.change:.2g}"
    if m.change == 0:
        return [_label(m), shape, "unchanged", *[""] * 10]
    rounding = "" if m.rounding is None else f"{m.rounding:.1%}"
    shares = [f"{share:.1%}" for share in m.shares]
    return [_label(m), shape, size, rounding, str(m.rank), f"{m.stable_rank:.1f}", f"{m.entropy_rank:.1f}", *shares,
            str(m.needed_rank)]  # fmt: skip


def _label(m: Matrix) -> str:
    return plain(m.name) + {"convolution": " (conv)", "adapter": " (adapter)"}.get(m.kind, "")


def text(found: Analysis) -> str:
    """Table, legend, curve, reading and everything that is left out."""
    heads, cells = _heads_and_cells(found)
    if not any(row[-1] for row in cells):  # nothing stays: no column for it
        heads, cells = heads[:-1], [row[:-1] for row in cells]
    align = ["left"] + ["right"] * (len(heads) - 2) + ["left" if heads[-1] == "stays" else "right"]
    legend = (UPDATES if found.update else WEIGHTS).format(error=found.rank_error)
    if any(m.kind == "convolution" for m in found.matrices):
        legend += "; (conv): a convolution as the matrix out × (in·kh·kw)"
    parts = [tabulate(cells, headers=heads, colalign=align, disable_numparse=True), wrap(legend), curve_line(found),
             wrap(reading(found)), *left_out_lines(found.left_out)]  # fmt: skip
    return "\n".join(part for part in parts if part)


def wrap(paragraph: str) -> str:
    """Lines that fit a terminal."""
    return textwrap.fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)


def curve_line(found: Analysis) -> str:
    """The size at each error, in one line."""
    curve = found.curve()
    if found.update:
        shown = ", ".join(f"{error:g}: {size:,}" for error, size in curve.items())
        return wrap(
            f"parameters of an adapter at each relative error: {shown} (the matrices have {found.parameters:,})"
        )
    shown = ", ".join(f"{error:g}: {size / found.parameters:.0%}" for error, size in curve.items())
    return wrap(f"size at each relative error, of the {found.parameters:,} parameters of the matrices: {shown}")


def left_out_lines(left_out: Mapping[str, str]) -> list[str]:
    """Every name: what is odd on a line of its own, what every file has (vectors, numbers, …) in one line each."""
    lines, groups = [], defaultdict(list)
    for name, why in left_out.items():
        if why in ORDINARY or why.startswith(("EMA copy", "beside the model")):
            groups["EMA copy" if why.startswith("EMA") else why].append((plain(name), why))
        else:
            lines.append(f"left out: {plain(name)} ({why})")
    for why, names in groups.items():
        if len(names) == 1:
            lines.append("left out: {} ({})".format(*names[0]))
        else:
            lines.append(wrap(f"left out: {', '.join(name for name, _ in names)} ({why}; {len(names)} of them)"))
    return lines


def reading(found: Analysis) -> str:
    """What to do with this."""
    return _update_reading(found) if found.update else _weights_reading(found)


def _weights_reading(found: Analysis) -> str:
    curve = found.curve()
    whole = found.parameters
    full = sum(m.rank == min(m.shape) for m in found.matrices)
    kept = [m for m in found.matrices if m.kept]
    said = [
        f"{full} of {len(found.matrices)} matrices have full rank, and at a relative error of {found.rank_error:g} "
        f"factors save {found.saved:,} of {whole:,} parameters ({found.saved / whole:.0%})."
    ]
    pays = next((error for error, size in curve.items() if size <= 0.8 * whole), None)
    best = sorted((m for m in found.matrices if m.saved > 0 and not m.kept), key=lambda m: -m.saved)[:3]
    if pays is None:
        said.append(f"Even an error of {max(curve):g} saves less than a fifth: low rank is no way to make it smaller.")
    else:
        said.append(f"A fifth of the parameters is saved from an error of {pays:g} on.")
    if best:
        said.append("Most of the saving at this error: " + ", ".join(plain(m.name) for m in best) + ".")
    if kept:
        said.append(
            f"{len(kept)} matrices ({sum(math.prod(m.shape) for m in kept) / whole:.0%} of the parameters) stay as "
            "they are unless --include names them: truncating embeddings, heads and narrow layers is the usual mistake."
        )
    said.append("An error in weights says little of the error in behaviour: measure the network after `compress`.")
    return " ".join(said)


def _update_reading(found: Analysis) -> str:
    moved = [m for m in found.matrices if m.change != 0 and m.singular_values.any()]
    if not moved:
        return "No matrix changed."
    said = [f"{len(moved)} of {len(found.matrices)} matrices changed."]
    noisy = [m for m in moved if m.rounding is not None and m.rounding > 0.3]
    if noisy:
        said.append(f"In {len(noisy)} the update is little more than rounding in the stored precision.")
    for rank in (4, 8, 16, 32, 64):
        at = (4, 8, 16, 32, 64).index(rank)
        if all(m.shares[at] >= 0.9 for m in moved):
            said.append(f"Rank {rank} holds at least 90 % of ‖ΔW‖² of each.")
            break
    else:
        worst = min(moved, key=lambda m: m.shares[-1])
        said.append(f"Rank 64 holds {worst.shares[-1]:.0%} of ‖ΔW‖² of {plain(worst.name)}: the rest is lost.")
    said.append(
        "`extract` writes an adapter. The error in weights is not monotone in behaviour: try two ranks on your task."
    )
    return " ".join(said)


def csv_text(found: Analysis) -> str:
    """All columns; a row of what is left out has its name, the kind "left out" and the reason as `kept`."""
    file = io.StringIO()
    rows = found.rows()
    shares = [f"share_{r}" for r in (4, 8, 16, 32, 64)]
    names = [name for name in rows[0] if name != "shares"] + (shares if found.update else [])
    writer = csv.DictWriter(file, names, restval="")
    writer.writeheader()
    for row in rows:
        values = dict(zip(shares, row.pop("shares"), strict=False)) if found.update else {}
        row.pop("shares", None)
        writer.writerow({**row, **values, "shape": "x".join(map(str, row["shape"]))})
    writer.writerows({"name": name, "kind": "left out", "kept": why} for name, why in found.left_out.items())
    return file.getvalue()


def json_text(found: Analysis, spectra: bool) -> str:
    """One object; numbers that JSON has no word for are null."""
    rows: list[dict[str, Any]] = found.rows()
    if spectra:
        for row, m in zip(rows, found.matrices, strict=True):
            row["singular_values"] = m.singular_values.tolist()
    for row in rows:
        if row["change"] is not None and not math.isfinite(row["change"]):
            row["change"] = None
    content = {
        "rank_error": found.rank_error,
        "update": found.update,
        "parameters": found.parameters,
        "saved": found.saved,
        "matrices": rows,
        "left_out": [{"name": name, "why": why} for name, why in found.left_out.items()],
        "curve": [{"rank_error": error, "parameters": size} for error, size in found.curve().items()],
        "reading": reading(found),
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def markdown(found: Analysis) -> str:
    """A pipe table, the curve, the reading, and what is left out as a list."""
    heads, cells = _heads_and_cells(found)
    safe = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    table = tabulate(safe, headers=heads, tablefmt="pipe", colalign=["left"] + ["right"] * (len(heads) - 1),
                     disable_numparse=True)  # fmt: skip
    legend = (UPDATES if found.update else WEIGHTS).format(error=found.rank_error)
    left_out = "\n".join(f"- left out: `{plain(name)}` ({why})" for name, why in found.left_out.items())
    return f"{table}\n\n*{legend}.*\n\n{curve_line(found)}\n\n{reading(found)}\n\n{left_out}\n"


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """A plain table; the columns in `left` are aligned left."""
    align = ["left" if i in left else "right" for i in range(len(heads))]
    return tabulate(rows, headers=list(heads), colalign=align if rows else None, disable_numparse=True)
