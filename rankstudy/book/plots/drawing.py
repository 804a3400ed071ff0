"""A drawing: panels that a page stacks as its width allows, in the page's own ink, dark or light.

Each panel is an SVG of its own without background: ink is `currentColor`, a series is a CSS variable, letters are the
page's. HTML gets them inline, Typst as images; both are emitted, and each format drops the other's. Made without
pyplot, so nothing is shown twice and nothing stays open.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from rankstudy.book import display
from rankstudy.book.stats import band, number_text

INK, GRID = "#010203", "#dcdcdd"
# one colour for one thing through the whole book: name -> (on white, CSS variable)
SERIES = {
    "initial": ("#6b7280", "--series-initial"),
    "weights": ("#0072b1", "--series-weights"),
    "update": ("#c85200", "--series-update"),
    "accuracy": ("#00795c", "--series-accuracy"),
    "error": ("#9c3d8a", "--series-error"),
    "muted": ("#9aa0a9", "--series-muted"),
}
OTHERS = ("#0072b1", "#c85200", "#00795c", "#9c3d8a", "#8a6d00", "#3b8fc4", "#6b7280")  # conditions without a name
NAMES = {"initial": "W₀", "weights": "W", "update": "W − W₀"}
STYLE = {
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


class Drawing:
    """Panels side by side where there is room, else one under another; `alt` is the figure's, on the page.

    `ink`: images in it are black on nothing, and white on a dark page."""

    def __init__(self, figures: Sequence[Figure], columns: int = 2, *, ink: bool = False) -> None:
        self.figures, self.columns, self.ink = list(figures), columns, ink
        self._drawn: list[str] = []

    def svgs(self) -> list[str]:
        """Drawn once, and shown in both formats."""
        self._drawn = self._drawn or [svg(figure) for figure in self.figures]
        return self._drawn

    def _repr_html_(self) -> str | None:
        """For notebooks only: where a page is shown HTML, Quarto loads scripts from the web."""
        return None if display.on_a_page() else self._html(self.svgs())

    def _html(self, found: Sequence[str]) -> str:
        ink = " data-ink" if self.ink else ""
        inline = "\n".join(themed(each) for each in found)
        return f'<div class="panels"{ink} style="--columns: {min(self.columns, len(found))}">\n{inline}\n</div>'

    def _repr_markdown_(self) -> str:
        if not self.figures:
            return "*Not run under this profile.*"
        return f"```{{=html}}\n{self._html(self.svgs())}\n```\n\n" + self.typst()

    def typst(self, width: str = "") -> str:
        """For the PDF alone; width: of all panels together."""
        images = ",\n".join(f'image(bytes("{_quoted(each)}"), format: "svg", width: 100%)' for each in self.svgs())
        count = min(self.columns, len(self.figures))
        width = width or ("100%" if count > 1 else "62%")
        return (
            f"```{{=typst}}\n#align(center, block(width: {width}, grid(columns: {count}, gutter: 8pt, {images})))\n```"
        )


def beside(*drawings: Drawing) -> Drawing:
    """Drawings as panels of one, all of the usual panel's size."""
    figures = [figure for drawing in drawings for figure in drawing.figures]
    for figure in figures:
        figure.set_size_inches(3.6, 2.6)
    return Drawing(figures)


def nothing(x: np.ndarray | Sequence[float]) -> bool:
    """Whether there is no place to draw at, since nothing was measured."""
    return not np.isfinite(np.asarray(x, dtype=float)).any()


def panel(title: str = "", *, size: tuple[float, float] = (3.6, 2.6)) -> tuple[Figure, Axes]:
    """A figure of one axes in the book's style; size in inches."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.set_axisbelow(True)
        if title:
            axes.set_title(title)
    return figure, axes


def svg(figure: Figure) -> str:
    """The figure as SVG without what a page does not need: prologue, metadata, names of its parts."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "rankstudy"}):
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.S)
    # a style of its own would hold for the whole page
    text = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, flags=re.S)
    # matplotlib says no fill where that is black, as of a text that was added after the style was taken back
    text = text.replace("<svg ", f'<svg style="stroke-linejoin: round; stroke-linecap: butt; fill: {INK}" ', 1)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    prefix = hashlib.sha256(text.encode()).hexdigest()[:6]  # several drawings share a page, ids must not
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", text)
    text = re.sub(r"\n\s*\n+", "\n", text)
    return re.sub(r">\s*\n\s*<", "><", text).strip()


def themed(text: str) -> str:
    """For HTML: the page's ink, and series as CSS variables that a dark page sets anew."""
    text = text.replace(INK, "currentColor").replace(GRID, "var(--grid, #dcdcdd)")
    for colour, variable in SERIES.values():
        text = text.replace(colour, f"var({variable}, {colour})")
    return text.replace("<svg ", '<svg aria-hidden="true" ', 1)


def _quoted(text: str) -> str:
    return text.replace(INK, "#000000").replace("\\", "\\\\").replace('"', '\\"')


def colour(name: str, index: int = 0) -> str:
    """Of a series that has one in the whole book, else the index-th of the others."""
    return SERIES[name][0] if name in SERIES else OTHERS[index % len(OTHERS)]


def line(
    axes: Axes,
    x: Sequence[float] | np.ndarray,
    values: np.ndarray,
    shade: str,
    *,
    simultaneous: bool = False,
    **options: object,
) -> np.ndarray:
    """Mean over networks (axis 0 of `values`) with its 95 % band; one network is a bare line. Returns the mean.

    Two networks are drawn as they are, as thin lines beside their mean: an interval with one degree of freedom is so
    wide that its band would fill the figure.
    """
    values = np.atleast_2d(np.asarray(values, dtype=float))
    mean, low, high = band(values, simultaneous)
    axes.plot(x, mean, color=shade, **options)  # type: ignore[arg-type]
    if len(values) == 2:
        for each in values:
            axes.plot(x, each, color=shade, linewidth=0.6, alpha=0.7)
    elif len(values) > 2:
        axes.fill_between(np.asarray(x, dtype=float), low, high, color=shade, alpha=0.25, linewidth=0)
    return mean


def direct(axes: Axes, labels: Mapping[str, tuple[float, str]], gap: float = 0.085) -> None:
    """Names of lines at the right end instead of a legend: label -> (value at the end, colour), none over another."""
    axes.get_figure().draw_without_rendering()  # type: ignore[union-attr]  # scales are final only then
    to_axes = axes.transData + axes.transAxes.inverted()
    right = axes.get_xlim()[1]
    places = {label: float(to_axes.transform((right, value))[1]) for label, (value, _) in labels.items()}
    order = sorted(places, key=lambda label: places[label])
    heights = [min(max(places[label], 0.0), 1.0) for label in order]
    for _ in range(50):  # push neighbours apart, a little at a time
        for index in range(len(heights) - 1):
            if (short := gap - (heights[index + 1] - heights[index])) > 1e-6:
                heights[index] -= short / 2
                heights[index + 1] += short / 2
    for label, height in zip(order, heights, strict=True):
        shade = labels[label][1]
        axes.annotate(
            label, (1, height), (5, 0), "axes fraction", "offset points", color=shade, va="center", weight="bold",
            annotation_clip=False,
        )  # fmt: skip


def plain_log(axis: Axis, subs: Sequence[float] = (1.0,)) -> None:
    """Ticks of a log axis as 0.01, 1, 100 and not as powers in small print."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1000 else number_text(value)))
    axis.set_minor_locator(NullLocator())


def powers(axis: Axis, smallest: float, largest: float) -> None:
    """Few ticks of a log axis that spans many decades, as 10⁻³."""
    step = max(1, int(np.ceil((np.log10(largest) - np.log10(smallest)) / 6)))
    exponents = range(int(np.floor(np.log10(smallest))), int(np.ceil(np.log10(largest))) + 1, step)
    axis.set_ticks([10.0**power for power in exponents], [_power(power) for power in exponents])
    axis.set_minor_locator(NullLocator())


def _power(exponent: int) -> str:
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
