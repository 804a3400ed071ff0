"""Weights as images, and the figure to play with: a slider over ranks, with what is kept, lost and still right.

Everything is computed before the page is opened; a few lines of script choose what is shown. It needs nothing from the
web, and its input is the browser's own slider, so keyboard, touch and screen readers work. The PDF gets a static twin.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

from rankstudy.book.approximation import Approximation
from rankstudy.book.plots.curves import by_rank
from rankstudy.book.plots.drawing import SERIES, Drawing, panel
from rankstudy.book.stats import percent, short

SIGNED = "RdBu_r"  # blue negative, red positive, zero clear; told apart by colour-blind readers too
WIDTH, HEIGHT, LEFT, TOP = 330, 154, 34, 20  # of the slider's plot, in its own units

SCRIPT = """
(() => {
  const box = document.currentScript.parentElement, input = box.querySelector("input");
  const stops = JSON.parse(box.querySelector("script").textContent);
  const show = () => {
    const stop = stops[input.value];
    box.querySelector("output").textContent = stop.rank;
    stop.readings.forEach((text, i) => box.querySelectorAll("dd")[i].textContent = text);
    stop.y.forEach((y, i) => {
      const dot = box.querySelectorAll("circle")[i];
      dot.setAttribute("cx", stop.x);
      dot.setAttribute("cy", y);
    });
    const here = box.querySelector(".here");
    here.setAttribute("x1", stop.x);
    here.setAttribute("x2", stop.x);
    box.style.setProperty("--stop", input.value);
    input.setAttribute("aria-valuetext", "rank " + stop.rank);
  };
  input.addEventListener("input", show);
  show();
})();
"""


class Slider:
    """What `slider` returns: prints itself for HTML, and its static twin for the PDF and for notebooks."""

    def __init__(self, html: str, static: Drawing) -> None:
        self.html, self.static = html, static

    def _repr_html_(self) -> str | None:
        return self.static._repr_html_()

    def _repr_markdown_(self) -> str:
        _, fence, typst = self.static._repr_markdown_().partition("```{=typst}")
        return f"```{{=html}}\n{self.html}\n```\n\n{fence}{typst}"


def truncation(found: Approximation) -> Slider:
    """The networks of chapter 5 truncated to each rank: rows of the first matrix, error and accuracy moving apart."""
    right, error = (100 * values.mean(axis=0) for values in (found.truncated.test_accuracy, found.hidden_error))
    names = ("of the numbers, in B and C", "error of the matrices", "of the test digits read correctly")
    return slider(
        [int(rank) for rank in found.ranks],
        found.images[-1][:6],
        found.images[:, :6],
        {"digits read correctly, %": right, "matrices off by, %": error},
        {
            names[0]: [f"{short(100 * share)}\u00a0%" for share in found.numbers],
            names[1]: [f"{short(value)}\u00a0%" for value in error],
            names[2]: [percent(value / 100, 1).replace(" ", "\u00a0") for value in right],
        },
        start=found.rank,
        label="Move to rank r =",
        colours={
            "digits read correctly, %": "accuracy",
            "matrices off by, %": "error",
            names[1]: "error",
            names[2]: "accuracy",
        },
    )


def slider(
    ranks: Sequence[int],
    whole: np.ndarray,
    images: np.ndarray,
    curves: Mapping[str, np.ndarray],
    readings: Mapping[str, Sequence[str]],
    *,
    start: int,
    colours: Mapping[str, str],
    label: str = "Keep rank r =",
) -> Slider:
    """A network truncated to each of some ranks, at the reader's choice.

    Args:
        ranks: ascending, (stops,).
        whole: (rows, h, w) in [−1, 1], rows of a weight matrix as images.
        images: (stops, rows, h, w), the same rows truncated to each rank.
        curves: name -> (stops,) in per cent, drawn against the rank from 0 to 100.
        readings: what it means -> what is written at each stop, such as "98.3 %".
        start: the rank at which it opens; one of `ranks`.
        colours: name of a curve or reading -> a series of the book, such as "accuracy".

    Raises:
        ValueError: `start` is none of the ranks.
    """
    if start not in ranks:
        raise ValueError(f"start must be one of the ranks {list(ranks)}; found {start}")
    first, last = list(ranks).index(start), len(ranks) - 1
    across = LEFT + (WIDTH - LEFT - 8) * np.log(np.asarray(ranks, dtype=float)) / np.log(ranks[-1])
    down = {name: TOP + (HEIGHT - TOP - 26) * (1 - np.asarray(values) / 100) for name, values in curves.items()}
    stops = [
        {
            "rank": str(rank),
            "x": round(float(across[index]), 1),
            "y": [round(float(values[index]), 1) for values in down.values()],
            "readings": [texts[index] for texts in readings.values()],
        }
        for index, rank in enumerate(ranks)
    ]
    shown = "".join(
        f'<div style="border-color: var({_variable(name, colours)})"><dd>{texts[first]}</dd><dt>{name}</dt></div>'
        for name, texts in readings.items()
    )
    rows, height, width = whole.shape
    aspect = rows * (width + 2) / (height + 2)
    html = f"""<div class="slider" role="group" aria-label="Figure to play with: a network truncated to rank r"
 style="--stop: {first}; --last: {last}; --aspect: {aspect:.4f}">
<p class="slider-choice"><label for="slider-rank">{label}</label> <output for="slider-rank">{start}</output>
<input id="slider-rank" type="range" min="0" max="{last}" step="1" value="{first}" aria-valuetext="rank {start}"/></p>
<div class="slider-body"><div class="slider-images">
<p>{rows} rows of the trained matrix W</p>
<img src="{_address(_tiles(whole[None]))}" alt="Rows of W as images: blotches in the middle, noise all over."/>
<p>the same rows at rank r</p>
<img class="truncated" src="{_address(_tiles(images))}"
 alt="The same rows at the chosen rank: smooth at a low one, noisier at a higher one."/>
</div>
<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{" and ".join(curves)} against the rank, in per cent">
{_axes(ranks, across)}
{"".join(_curve(name, across, down[name], colours) for name in curves)}
<line class="here" x1="{across[first]:.1f}" x2="{across[first]:.1f}" y1="{TOP}" y2="{HEIGHT - 26}"/>
{"".join(_dot(name, across[first], values[first], colours) for name, values in down.items())}
</svg></div>
<dl aria-live="polite">{shown}</dl>
<script type="application/json">{json.dumps(stops, ensure_ascii=False)}</script>
<script>{SCRIPT}</script>
</div>"""
    strip = [index for index, rank in enumerate(ranks) if rank in (1, 4, 16, 64)]
    drawn = by_rank(np.asarray(ranks), dict(curves), "per cent", colours=colours)
    rows_at = weight_images(np.stack([*images[strip], whole]), [*(f"r = {ranks[index]}" for index in strip), "W"])
    return Slider(html, Drawing([*drawn.figures, *rows_at.figures]))


def weight_images(images: np.ndarray, names: Sequence[str]) -> Drawing:
    """(lines, columns, h, w) images of values in [−1, 1], each line with its name."""
    lines, columns = images.shape[:2]
    figure, axes = panel(size=(7.0, 7.0 / (columns + 1) * lines))
    axes.remove()
    for place, image in enumerate(images.reshape(-1, *images.shape[2:])):
        each = figure.add_subplot(lines, columns, place + 1)
        each.imshow(image, cmap=SIGNED, vmin=-1, vmax=1)
        each.set(xticks=[], yticks=[])
        for spine in each.spines.values():
            spine.set_visible(False)
        if place % columns == 0:
            each.set_ylabel(names[place // columns], rotation=0, ha="right", va="center")
    return Drawing([figure], columns=1)


def digits(examples: np.ndarray) -> Drawing:
    """Images of each digit, (digits, examples, h, w) of grey values from 0 to 255: a column a digit, named above it."""
    columns, lines, height, width = examples.shape
    figure, axes = panel(size=(4.6, 4.6 / columns * lines + 0.3))
    sheet = examples.transpose(1, 2, 0, 3).reshape(lines * height, columns * width)
    axes.imshow(_inked(sheet / 255), aspect="equal")
    axes.xaxis.tick_top()
    axes.set_xticks(width * (np.arange(columns) + 0.5), [str(digit) for digit in range(columns)])
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return Drawing([figure], columns=1, ink=True)


def mean_image(image: np.ndarray, marked: np.ndarray, label: str) -> Drawing:
    """An image (h, w), dark ink where its value is highest, with the `marked` (h, w) pixels as dots under a label."""
    figure, axes = panel(size=(3.6, 3.6))
    span = float(np.ptp(image)) or 1.0
    axes.imshow(_inked((image - image.min()) / span), aspect="equal")
    rows, columns = np.nonzero(marked)
    axes.plot(columns, rows, "s", color=SERIES["update"][0], markersize=3)
    axes.set_title(label, color=SERIES["update"][0])
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    return Drawing([figure], columns=1, ink=True)


def _inked(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as ink on nothing, (h, w, 4): a page turns its colour as it turns its letters'."""
    return np.dstack([np.zeros((*values.shape, 3)), values])


def signed_png(values: np.ndarray) -> bytes:
    """(h, w) values in [−1, 1] as a PNG with a palette of 255 colours, the clearer the nearer to zero."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape
    lines = np.pad(np.rint(127 * values + 127).astype(np.uint8), ((0, 0), (1, 0)))  # each begins with its filter, none
    level = np.linspace(-1, 1, 255)
    ends = matplotlib.colormaps[SIGNED](np.where(level < 0, 0.1, 0.85), bytes=True)[:, :3]
    clear = np.rint(255 * np.abs(level) ** 0.8).astype(np.uint8)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", ends.tobytes()),
            chunk(b"tRNS", clear.tobytes()),
            chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
            chunk(b"IEND", b""),
        ]
    )


def _tiles(images: np.ndarray) -> np.ndarray:
    """(stops · (h + 2), rows · (w + 2)): a line of images a stop, each with an empty border of one pixel."""
    tiles = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return tiles.transpose(0, 2, 1, 3).reshape(len(images) * tiles.shape[2], -1)


def _address(values: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(signed_png(np.clip(values, -1, 1))).decode()


def _variable(name: str, colours: Mapping[str, str]) -> str:
    shade, variable = SERIES[colours.get(name, "muted")]
    return f"{variable}, {shade}"


def _curve(name: str, across: np.ndarray, down: np.ndarray, colours: Mapping[str, str]) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    shade = f"var({_variable(name, colours)})"
    rising = down[-1] < down[0]
    x, anchor = (across[-1] - 4, "end")
    y = down[-1] - 8 if rising else down[len(down) * 3 // 4] - 12
    return (
        f'<polyline points="{points}" fill="none" stroke="{shade}" stroke-width="2"/>'
        f'<text class="name" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{shade}">{name}</text>'
    )


def _dot(name: str, x: float, y: float, colours: Mapping[str, str]) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var({_variable(name, colours)})"/>'


def _axes(ranks: Sequence[int], across: np.ndarray) -> str:
    bottom = HEIGHT - 26
    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - 4}" fill="none" stroke="currentColor"/>']
    for level in (0, 50, 100):
        y = TOP + (bottom - TOP) * (1 - level / 100)
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{level}</text>')
    for rank, x in zip(ranks, across, strict=True):
        if rank in (1, 4, 16, 64, 256, 1024):
            parts.append(f'<text x="{x:.1f}" y="{bottom + 13}" text-anchor="middle">{rank}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 1}" text-anchor="middle">rank r</text>')
    return "\n".join(parts)
