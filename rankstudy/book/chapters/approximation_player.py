"""Chapter 5: the figure to play with. Everything is computed; a few lines of script choose what is shown.

It needs nothing from the web, and its input is the browser's own slider, so keyboard, touch and screen readers work.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.stats import number_text, percent
from rankstudy.book.tables import Markdown
from rankstudy.study.experiments.truncation import SPLITS, STEPS

SIDE = 28  # pixels of a picture
STRIP = (1, 4, 16, 64)  # ranks of the static strip, as far as they were tried, and the whole

STYLE = """
.player { max-width: 40rem; margin: 0 auto; }
.player input { width: 100%; }
.player img { display: block; width: 100%; aspect-ratio: 8; object-fit: cover; image-rendering: pixelated; }
.player img.cut { object-position: 0 calc(100% * var(--stop) / var(--last)); }
.player p { margin: .4rem 0 .1rem; }
.player svg { display: block; width: 100%; max-width: 28rem; margin: .8rem auto 0; overflow: visible; }
.player svg text { font-size: 11px; fill: currentColor; }
.player dl { display: grid; grid-template-columns: repeat(3, 1fr); gap: .2rem .8rem; }
.player dt { font-weight: normal; font-size: .85rem; }
.player dd { margin: 0; font-weight: bold; font-variant-numeric: tabular-nums; }
"""
SCRIPT = """
(() => {
  const box = document.currentScript.parentElement, input = box.querySelector("input");
  const stops = JSON.parse(box.querySelector("script").textContent);
  const show = () => {
    const stop = stops[input.value];
    for (const name in stop.shown) box.querySelector("." + name).textContent = stop.shown[name];
    box.querySelector(".lost").setAttribute("x", stop.x);
    box.querySelector(".lost").setAttribute("width", 330 - stop.x);
    box.style.setProperty("--stop", input.value);
    input.setAttribute("aria-valuetext", "rank " + stop.shown.rank);
  };
  input.addEventListener("input", show);
  show();
})();
"""
LABELS = {
    "error": "relative error, layer 1",
    "mean": "mean over layers",
    "numbers": "numbers in B and C, layer 1",
    **{split: f"{split} accuracy" for split in SPLITS},
}


def stops(chapter: Any) -> list[dict[str, str]]:
    """What is written at each rank of the sweep, about the first network with every layer cut to that rank."""
    ranks = chapter.settings["sweep"]["ranks"]
    out, inputs = chapter.shapes[0]
    mean = chapter.average_error(np.array(ranks))[0]
    found = []
    for index, rank in enumerate(ranks):
        error = float(chapter.bound("weights", 0, rank)[0])
        share = min(rank, out, inputs) * (out + inputs) / (out * inputs)
        found.append(
            {
                "rank": str(rank) if rank < min(out, inputs) else f"{rank} (the whole matrix)",
                "error": number_text(error, 3),
                "mean": number_text(float(mean[index]), 3),
                "numbers": f"{percent(share)} of W",
                **{
                    split: percent(float(chapter.result["truncated"][0, index, 1, column]), 2)
                    for column, split in enumerate(SPLITS)
                },
            }
        )
    return found


def html(chapter: Any) -> str:
    """The figure as a self-contained piece of a page (which is XML as well), at the effective rank to begin with."""
    ranks = list(chapter.settings["sweep"]["ranks"])
    start, found = ranks.index(chapter.rank), stops(chapter)
    line, ticks, places = _spectrum(chapter, ranks)
    data = json.dumps([{"x": round(x, 1), "shown": stop} for x, stop in zip(places, found, strict=True)])
    images = _tiles(chapter)
    whole, cut = (_address(part) for part in (images[-SIDE - 2 :], images))
    readings = "".join(
        f'<div><dt>{label}</dt><dd class="{name}">{found[start][name]}</dd></div>' for name, label in LABELS.items()
    )
    count = len(chapter.result["pictures"]["rows"])
    return f"""<div class="player" role="group" aria-label="Figure to play with: the first layer cut to rank r"
 style="--stop: {start}; --last: {len(ranks) - 1}">
<style>{STYLE}</style>
<p><label for="player-rank">Rank r of every layer:</label> <b class="rank">{found[start]["rank"]}</b></p>
<input id="player-rank" type="range" min="0" max="{len(ranks) - 1}" step="1" value="{start}"
 aria-valuetext="rank {found[start]["rank"]}"/>
<p>{count} rows of the first matrix W, as images</p>
<img src="{whole}" alt="Blotches of positive and negative weights in the middle of each image, with noise all over."/>
<p>the same rows of B·C</p>
<img class="cut" src="{cut}"
 alt="The same rows at the chosen rank: smooth patterns at a low rank, more and more noise at higher ones."/>
<svg viewBox="0 0 340 152" role="img"
 aria-label="Falling singular values of the first layer; those that the cut drops are shaded.">
<rect class="lost" x="{places[start]:.1f}" y="8" width="{330 - places[start]:.1f}" height="112"
 fill="currentColor" opacity=".15"/>
<polyline points="{line}" fill="none" stroke="#2f86c9" stroke-width="2.5"/>
<path d="M40 8V120H330" fill="none" stroke="currentColor"/>
{ticks}
<text x="185" y="148" text-anchor="middle">index i (shaded: cut off)</text>
<text x="10" y="64" text-anchor="middle" transform="rotate(-90 10 64)">σᵢ / σ₁</text>
</svg>
<dl aria-live="polite">{readings}</dl>
<script type="application/json">{data}</script>
<script>{SCRIPT}</script>
</div>"""


def player(chapter: Any) -> Markdown:
    """For the page; the PDF drops it."""
    return Markdown(f"```{{=html}}\n{html(chapter)}\n```")


def strip(chapter: Any) -> figures.Figure:
    """For print: the same rows at a few ranks."""
    ranks = list(chapter.settings["sweep"]["ranks"])
    shown = [rank for rank in STRIP if rank in ranks] + [ranks[-1]]
    values = chapter.result["pictures"]["images"][[ranks.index(rank) for rank in shown]]
    names = [f"r = {rank}" for rank in shown[:-1]] + ["W"]
    return figures.weights(values.reshape(*values.shape[:2], SIDE, SIDE) / STEPS, names)


def _tiles(chapter: Any) -> np.ndarray:
    """(stops · 30, rows · 30) in [−1, 1]: a line of pictures per rank, each with an empty border of one pixel."""
    images = chapter.result["pictures"]["images"]
    tiles = np.pad(images.reshape(*images.shape[:2], SIDE, SIDE) / STEPS, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return tiles.transpose(0, 2, 1, 3).reshape(len(images) * (SIDE + 2), -1)


def _address(values: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(figures.signed_png(values)).decode()


def _spectrum(chapter: Any, ranks: list[int]) -> tuple[str, str, list[float]]:
    """The first layer's singular values as a line, the ticks of both (log) axes, and where each rank cuts."""
    values = chapter.spectra("weights")[0].values[0]
    index = np.unique(np.geomspace(1, len(values), 80).round().astype(int))
    relative = np.maximum(values[index - 1] / values[0], 1e-6)
    decades = int(np.ceil(-np.log10(relative.min()) - 1e-9)) or 1

    def across(at: Any) -> Any:
        return 40 + 290 * np.log(at) / np.log(len(values))

    def down(at: Any) -> Any:
        return 8 - 112 * np.log10(at) / decades

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across(index), down(relative), strict=True))
    ticks = [
        f'<text x="{across(10**power):.1f}" y="133" text-anchor="middle">{10**power}</text>'
        for power in range(len(str(len(values))))
    ]
    ticks += [
        f'<text x="36" y="{down(0.1**power) + 4:.1f}" text-anchor="end">{0.1**power:g}</text>'
        for power in range(decades + 1)
    ]
    return line, "\n".join(ticks), [float(across(min(rank + 0.5, len(values)))) for rank in ranks]
