"""How fast the elimination is: the committed benchmark of `python -m benchmarks rank`, not measured while rendering."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from rankstudy.book import figures

RECORDED = Path(__file__).parents[3] / "benchmarks" / "results" / "rank.json"
KINDS = {  # pattern of a row's name -> what the figure calls it
    r", a gap, rank": "a gap in the spectrum",
    r" float32, a random layer": "a random float32 layer",
    r", (half a plateau|graded)": "singular values near τ",
}


@lru_cache(maxsize=1)
def recorded() -> dict[str, Any]:
    """The benchmark's rows and provenance, as committed."""
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def against_svd() -> dict[str, dict[int, list[float]]]:
    """kind -> side n of the n×n matrices -> how many times faster than NumPy's SVD, one number a matrix."""
    found: dict[str, dict[int, list[float]]] = {kind: {} for kind in KINDS.values()}
    for row in recorded()["rows"]:
        if row["against"] == "numpy.linalg.matrix_rank":
            side = int(re.match(r"\d+", row["what"])[0])
            kind = next(name for pattern, name in KINDS.items() if re.search(pattern, row["what"]))
            found[kind].setdefault(side, []).append(row["ratio"])
    return found


def figure() -> Any:
    """Times faster than the SVD against size: the range over matrices of a kind."""
    drawn, axes = figures.panels(size=(5.0, 3.0))
    axis = axes[0, 0]
    for index, (kind, by_side) in enumerate(against_svd().items()):
        sides = sorted(by_side)
        low, high = ([pick(by_side[side]) for side in sides] for pick in (min, max))
        places = [side * 1.04 ** (index - 1) for side in sides]  # side by side, not on top of each other
        axis.vlines(places, low, high, color=figures.COLOURS[index], linewidth=4)
        axis.plot(places, low, figures.MARKERS[index], color=figures.COLOURS[index], label=kind)
        axis.plot(places, high, figures.MARKERS[index], color=figures.COLOURS[index])
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set(xscale="log", xlabel="n, for n×n matrices", ylabel="times faster than NumPy's SVD", ylim=(0, None))
    axis.set_xticks(sides, [str(side) for side in sides])
    axis.minorticks_off()
    axis.legend(loc="upper left")
    return drawn


def text() -> dict[str, str]:
    """Ready strings: where it was measured, and the worst and best ratio at each size."""
    found, origin = against_svd(), recorded()["provenance"]
    everything: dict[int, list[float]] = {}
    for by_side in found.values():
        for side, ratios in by_side.items():
            everything.setdefault(side, []).extend(ratios)
    return {
        "speed_where": f"{origin['device']}, NumPy {origin['numpy']}, commit {origin['commit'].rstrip('+')}",
        "speed_ranges": ", ".join(
            f"{min(ratios):.2g} to {max(ratios):.2g} times at n = {side}" for side, ratios in sorted(everything.items())
        ),
    }
