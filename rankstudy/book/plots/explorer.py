"""The figure to play with in chapter 8: a digit, a method, with or without replay, step by step.

Everything is computed before the page is opened; some lines of script choose what is shown. It needs nothing from the
web, and its inputs are the browser's own, so keyboard, touch and screen readers work. The PDF gets a static twin.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from rankstudy.book.lora import Condition, LoRA
from rankstudy.book.plots.drawing import SERIES, Drawing, colour, direct, line, panel
from rankstudy.book.plots.finetuning import _by_step
from rankstudy.book.plots.images import Slider

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 330, 170, 34, 16, 144  # of the plot, in its own units
SERIES_OF = {"new digit": "update", "old digits": "weights", "old, masked": "accuracy"}  # name -> colour of the book
TICKS = (0, 1, 3, 10, 30, 100, 300)

SCRIPT = """
(() => {
  const box = document.currentScript.parentElement, all = JSON.parse(box.querySelector("script").textContent);
  const [digit, method] = box.querySelectorAll("select"), [replay, step] = box.querySelectorAll("input");
  const across = (index) => all.x[index], down = (value) => all.top + (all.bottom - all.top) * (1 - value / 100);
  const show = () => {
    const found = all.shown[digit.value][method.value][+replay.checked], at = +step.value;
    box.querySelectorAll("polyline").forEach((line, i) => line.setAttribute("points",
      (found.lines[i] || []).map((value, index) => across(index) + "," + down(value).toFixed(1)).join(" ")));
    box.querySelectorAll("circle").forEach((dot, i) => {
      dot.setAttribute("visibility", found.lines[i] ? "visible" : "hidden");
      dot.setAttribute("cx", across(at));
      dot.setAttribute("cy", found.lines[i] ? down(found.lines[i][at]) : 0);
    });
    box.querySelectorAll("dd").forEach((text, i) =>
      text.textContent = found.lines[i] ? found.lines[i][at].toFixed(1) + "\\u00a0%" : "not measured");
    box.querySelectorAll(".bar").forEach((bar, i) => {
      bar.style.setProperty("--share", found.bars ? found.bars[at][i] : 0);
      bar.classList.toggle("new", all.digits[digit.value] === i);
      bar.setAttribute("aria-label", "digit " + i + (found.bars ? ": " + found.bars[at][i] + " per cent" : ""));
    });
    box.querySelector(".bars").hidden = !found.bars;
    box.querySelector(".here").setAttribute("x1", across(at));
    box.querySelector(".here").setAttribute("x2", across(at));
    box.querySelector("output").textContent = all.steps[at];
    step.setAttribute("aria-valuetext", "step " + all.steps[at]);
  };
  [digit, method, replay, step].forEach((input) => input.addEventListener("input", show));
  show();
})();
"""


def explorer(found: LoRA) -> Slider:
    """Test accuracy on the new and on the old digits after each look of every fine-tuning, at the reader's choice."""
    methods = found.alike(replay=True)
    steps = methods[0].path.steps
    x = LEFT + (WIDTH - LEFT - 8) * np.log1p(steps) / np.log1p(steps[-1])
    places = [None, *range(len(found.digits))]  # None: the mean over digits
    content = {
        "digits": [None, *(int(digit) for digit in found.digits)],
        "steps": [int(step) for step in steps],
        "x": [round(float(each), 1) for each in x],
        "top": TOP,
        "bottom": BOTTOM,
        "shown": [
            [
                [_shown(found.of(each.method, each.rank, replay=replay), place) for replay in (False, True)]
                for each in methods
            ]
            for place in places
        ],
    }
    names = ["mean of all", *(f"{digit}" for digit in found.digits)]
    begin = methods.index(found.of("lora", replay=True))
    lines = "".join(
        f'<polyline fill="none" stroke="{_variable(shade)}" stroke-width="2"/>' for shade in SERIES_OF.values()
    )
    dots = "".join(f'<circle r="4" fill="{_variable(shade)}"/>' for shade in SERIES_OF.values())
    readings = "".join(
        f'<div style="border-color: {_variable(shade)}"><dd></dd><dt>{name}</dt></div>'
        for name, shade in SERIES_OF.items()
    )
    bars = "".join(f'<span class="bar" role="img"><b>{digit}</b></span>' for digit in range(10))
    html = f"""<div class="slider explorer" role="group" aria-label="Figure to play with: a fine-tuning step by step">
<p class="slider-choice"><label>New digit {_select(names, 0)}</label> <label>Method {
        _select([each.label for each in methods], begin)
    }</label> <label><input type="checkbox" checked/> half of each batch replayed</label></p>
<p class="slider-choice"><label for="explorer-step">After step</label> <output for="explorer-step"></output>
<input id="explorer-step" type="range" min="0" max="{len(steps) - 1}" step="1" value="{len(steps) - 1}"/></p>
<div class="slider-body">
<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Test accuracy by step on the new and on the old digits">
{_axes(steps, x)}
{lines}<line class="here" y1="{TOP}" y2="{BOTTOM}"/>{dots}
</svg>
<div class="bars" role="group" aria-label="Test images of each digit that are classified correctly">{bars}</div></div>
<dl aria-live="polite">{readings}</dl>
<script type="application/json">{json.dumps(content, separators=(",", ":"))}</script>
<script>{SCRIPT}</script>
</div>"""
    return Slider(html, _static([found.of("lora", replay=replay) for replay in (False, True)]))


def _shown(condition: Condition, place: int | None) -> dict[str, object]:
    """What one choice shows, in per cent: three lines over the looks (None: not measured), bars for each digit."""
    path = condition.path
    lines = [path.new_accuracy["test"], path.old_accuracy["test"], path.old_masked]
    bars = None
    if path.by_digit is not None and place is not None:
        bars = [[round(100 * float(value)) for value in row] for row in path.by_digit[place]]
    return {"lines": [None if each is None else _tenths(each, place) for each in lines], "bars": bars}


def _tenths(values: np.ndarray, place: int | None) -> list[float]:
    """(digits, looks) -> (looks,) of one digit, or of their mean."""
    chosen = values.mean(axis=0) if place is None else values[place]
    return [round(100 * float(value), 1) for value in np.nan_to_num(chosen)]


def _static(conditions: Sequence[Condition]) -> Drawing:
    """Without replay and with it, the mean over digits."""
    drawn = []
    for condition in conditions:
        figure, axes = panel(f"{condition.label}, {'with' if condition.replay else 'without'} replay")
        path, ends = condition.path, {}
        values = (path.new_accuracy["test"], path.old_accuracy["test"], path.old_masked)
        for (name, shade), each in zip(SERIES_OF.items(), values, strict=True):
            if each is not None:
                mean = line(axes, path.steps, 100 * each, colour(shade))
                ends[name] = (float(mean[-1]), colour(shade))
        _by_step(axes, int(path.steps[-1]))
        axes.set(ylabel="test accuracy (%)", ylim=(-2, 102))
        direct(axes, ends)
        drawn.append(figure)
    return Drawing(drawn)


def _variable(shade: str) -> str:
    value, variable = SERIES[shade]
    return f"var({variable}, {value})"


def _select(names: Sequence[str], chosen: int) -> str:
    options = "".join(
        f'<option value="{index}"{" selected" if index == chosen else ""}>{name}</option>'
        for index, name in enumerate(names)
    )
    return f"<select>{options}</select>"


def _axes(steps: np.ndarray, x: np.ndarray) -> str:
    parts = [f'<path d="M{LEFT} {TOP}V{BOTTOM}H{WIDTH - 4}" fill="none" stroke="currentColor"/>']
    for level in (0, 50, 100):
        y = TOP + (BOTTOM - TOP) * (1 - level / 100)
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{level}</text>')
    for tick in (each for each in TICKS if each <= steps[-1]):
        place = float(np.interp(np.log1p(tick), np.log1p(steps), x))
        parts.append(f'<text x="{place:.1f}" y="{BOTTOM + 13}" text-anchor="middle">{tick}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 1}" text-anchor="middle">step</text>')
    parts.append(f'<text x="{LEFT - 26}" y="{TOP - 6}">test accuracy, %</text>')
    return "\n".join(parts)
