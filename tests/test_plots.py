"""Drawings carry the page's ink in both schemes, share a page without sharing ids, and show what they are given."""

from __future__ import annotations

import json
import re
import zlib
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.text import Text

from rankstudy.book import claims, plots, results
from rankstudy.book.plots.drawing import GRID, INK, SERIES, direct, panel
from rankstudy.book.plots.forest import place, standardised
from rankstudy.book.plots.images import signed_png
from rankstudy.book.stats import Estimate


@pytest.fixture(scope="module")
def rank():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "published")
        yield results.rank()


@pytest.fixture(scope="module")
def drawings(rank):
    values = np.geomspace(10, 0.1, 20)
    errors = np.linspace(90, 0, 5) + np.zeros((3, 1))
    return {
        "spectra": plots.spectra(rank.task2, range(4), edge=True),
        "sizes": plots.sizes({"values": values, "pivots": values[::-1] / 2}, tolerance=0.01),
        "window": plots.sizes({"values": values}, tolerance=0.01, window=(5, 15)),
        "by_layer": plots.by_layer({"a": rank.task2, "b": rank.deep["relu"]}),
        "by_condition": plots.by_condition(rank.activations, {"first": [0], "square": [1, 2]}),
        "by_tolerance": plots.by_tolerance(rank.task2, [1]),
        "trajectory": plots.trajectory(rank.activations["relu"]),
        "curves": plots.curves({"ReLU": rank.task2.history}),
        "by_rank": plots.by_rank(np.array([1, 2, 4, 8, 16]), {"error": errors}, "%", reference=("half", 45.0)),
        "beside": plots.beside(
            plots.by_rank(np.array([1, 2, 4, 8, 16]), {"error": errors}, "%", mark=4, since=2, simultaneous=True),
            plots.convergence({"a": [2.0, 1.5, 1.2, 1.01], "b": [2.0, 1.1]}, 1.0),
        ),
        "trade_off": plots.trade_off({"a": (errors[:, 0], errors[:, 1])}, "cost", "gain"),
        "forest": plots.forest(claims.judged(rank)).drawings()[0],
        "ellipse": plots.ellipse([[2.0, 1.0], [0.0, 1.0]]),
        "competitors": plots.competitors(values, values**2),
        "by_dimension": plots.by_dimension({"a": (np.array([10, 100]), values[:2] + np.zeros((3, 1)))}, "%"),
        "weight_images": plots.weight_images(np.zeros((2, 3, 4, 4)), ["a", "b"]),
    }


def on_each_other(figure):
    """Pairs of texts that share more than a pixel's edge."""
    figure.draw_without_rendering()
    unseen = [  # matplotlib keeps ticks beyond an axis's ends, and does not draw them
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    ]
    texts = [text for text in figure.findobj(Text) if text not in unseen]
    shown = [text for text in texts if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    return [
        (one, other)
        for (one, a), (other, b) in combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


def test_no_text_stands_on_another(drawings):
    found = {name: [on_each_other(each) for each in drawing.figures] for name, drawing in drawings.items()}
    assert {name: pairs for name, pairs in found.items() if any(pairs)} == {}


def halves(drawing):
    text = drawing._repr_markdown_()
    inline, _, typst = text.partition("```{=typst}")
    return re.search(r"```\{=html\}\n(.*?)\n```", inline, re.S)[1], typst


def test_ink_and_series_are_the_pages(drawings):
    fixed = [INK, GRID, *(shade for shade, _ in SERIES.values())]
    for name, drawing in drawings.items():
        inline, _ = halves(drawing)
        bare = re.sub(r"var\([^)]*\)", "", inline)
        assert not [shade for shade in fixed if shade in bare], name
        assert "currentColor" in inline or name == "weight_images"
        assert "fill: #ffffff" not in bare and "#000000" not in bare, name
        for each in re.findall(r"<svg[^>]*>", inline):  # for text without a fill of its own, such as a legend's
            assert "fill: currentColor" in each, name


def test_each_panel_is_whole_xml_and_keeps_its_ids_to_itself(drawings):
    seen: set[str] = set()
    for drawing in drawings.values():
        inline, typst = halves(drawing)
        panels = re.findall(r"<svg.*?</svg>", inline, re.S)
        assert len(panels) == len(drawing.figures) == typst.count('format: "svg"')
        for each in panels:
            ElementTree.fromstring(each.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
                                   if "xmlns:xlink" not in each else each)  # fmt: skip
            ids = set(re.findall(r'\bid="([^"]+)"', each))
            used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', each))
            assert {a or b for a, b in used} <= ids
            assert not ids & seen
            seen |= ids


def test_the_pdf_gets_concrete_colours(drawings):
    for name, drawing in drawings.items():
        _, typst = halves(drawing)
        assert "var(" not in typst and "currentColor" not in typst and INK not in typst, name


def test_by_layer_draws_the_means_of_the_layers_that_can_share_an_axis(rank):
    (figure,) = plots.by_layer({"a": rank.task2}).figures
    lines = figure.axes[0].get_lines()
    np.testing.assert_allclose(lines[2].get_ydata(), rank.task2.update.entropy_rank.mean(axis=0)[:3])
    assert list(lines[0].get_xdata()) == [1, 2, 3]  # not the ten-row one


def test_by_condition_marks_what_did_not_train(rank):
    import dataclasses

    relu = rank.activations["relu"]
    history = dataclasses.replace(relu.history, train_accuracy=0 * relu.history.train_accuracy)
    groups = {"relu": relu, "untrained": dataclasses.replace(relu, history=history)}
    (figure,) = plots.by_condition(groups, {"square": [1, 2]}).figures
    faces = [line.get_markerfacecolor() for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    assert faces.count("none") == 3 and len(faces) == 6


def test_by_rank_begins_where_it_is_asked_to():
    values = np.array([[9.0, 3.0, 2.0, 1.0], [9.0, 3.2, 2.2, 1.2], [9.0, 2.8, 1.8, 0.8]])
    (figure,) = plots.by_rank(np.array([1, 2, 4, 8]), {"error": values}, "%", since=2).figures
    (drawn,) = (each for each in figure.axes[0].lines if len(each.get_xdata()) == 3)
    assert drawn.get_xdata().tolist() == [2, 4, 8] and drawn.get_ydata().tolist() == pytest.approx([3, 2, 1])


def test_convergence_draws_the_gap_after_whole_iterations():
    (figure,) = plots.convergence({"a": [2.0, 1.5, 1.2, 1.01]}, 0.5).figures
    drawn = figure.axes[0].lines[0]
    assert drawn.get_xdata().tolist() == [1, 2] and drawn.get_ydata().tolist() == pytest.approx([2.0, 1.02])


def judged(effect=None, met=None, verdict="supported", **asked):
    settings = {"matters": 0.0, "expects": "above", "tier": "descriptive", "unit": "", "scale": 1.0} | asked
    about = claims.Hypothesis(
        id="rank-x", sentence="It <rises>.", family="rank", evidence="sec-rank", test=lambda _: None, **settings
    )
    return claims.Judged(about, verdict, effect, met)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (judged(Estimate(4.0, 2.0, 5)), (1, 2, 3)),  # in half-widths: beyond 1 the interval leaves zero
        (judged(Estimate(-4.0, 2.0, 5), expects="below"), (1, 2, 3)),  # what was expected lies to the right
        (judged(Estimate(-4.0, 2.0, 5)), (-3, -2, -1)),
        (judged(Estimate(-0.5, 0.25, 5), expects="within", matters=0.5), (-1.5, -1, -0.5)),
        (judged(Estimate(75.0, 25.0, 5), matters=50), (1, 1.5, 2)),
        (judged(Estimate(0.0, 0.0, 5)), (0, 0, 0)),
        (judged(Estimate(1.0, float("nan"), 1)), None),
        (judged(met=(3, 3)), None),
    ],
)
def test_effects_stand_in_units_of_what_would_matter(found, expected):
    assert standardised(found) == (pytest.approx(expected) if expected else None)


def test_places_keep_the_order_and_the_sign():
    at = [place(value) for value in (-1e9, -10, -1, 0, 1, 10, 1e9)]
    assert at == sorted(at) and at[0] == -1 and at[3] == 0 and at[-1] == 1 and at[1] == -at[-2]


def test_a_row_of_the_forest_is_a_link_that_says_everything():
    text = plots.forest([judged(Estimate(4.0, 2.0, 5), unit="points"), judged(met=(1, 3), verdict="refuted")])
    rows = re.findall(r'<a class="forest-row ([\w ]+)" href="claim:rank-x".*?</a>', text._repr_markdown_(), re.S)
    assert rows == ["supported", "refuted counted"]
    page = text._repr_markdown_()
    assert "Chapter 3: rank" in page and "It &lt;rises&gt;." in page and "1 of 3" in page.replace("\u00a0", " ")
    assert page.count("```{=typst}") == 1 and "claim:" not in page.partition("```{=typst}")[2]


def test_the_ellipse_is_the_image_of_the_circle():
    a = np.array([[2.0, 1.0], [0.0, 1.0]])
    left, right = (figure.axes[0].lines for figure in plots.ellipse(a).figures)
    np.testing.assert_allclose(np.array(right[0].get_data()), a @ np.array(left[0].get_data()))
    ends = [np.array(each.get_data())[:, 1] for each in right[1:]]
    np.testing.assert_allclose([np.linalg.norm(end) for end in ends], np.linalg.svd(a, compute_uv=False))
    assert abs(ends[0] @ ends[1]) < 1e-12


def test_nothing_to_draw_is_said():
    assert "Not run under this profile" in plots.by_dimension({}, "%")._repr_markdown_()


def test_few_dimensions_are_all_written_on_the_axis_and_many_are_not():
    """Of 800, 1500 and 2800 only one is round."""
    for dimensions, written in (([800, 1500, 2800], [800, 1500, 2800]), (range(100, 200, 10), [100])):
        values = np.full((2, len(dimensions)), 0.5)
        (figure,) = plots.by_dimension({"a": (np.array(dimensions), values)}, "%").figures
        assert figure.axes[0].get_xticks().tolist() == written


def test_names_of_lines_do_not_cover_each_other():
    _, axes = panel()
    axes.plot([0, 1], [0, 1])
    direct(axes, {"a": (0.5, INK), "b": (0.5, INK), "c": (0.51, INK), "d": (0.9, INK)}, gap=0.1)
    heights = sorted(text.xy[1] for text in axes.texts)
    assert min(np.diff(heights)) > 0.099


def test_the_slider_writes_at_each_stop_what_it_was_given():
    ranks, images = [1, 4, 16], np.zeros((3, 2, 5, 5))
    made = plots.slider(
        ranks, images[0], images, {"right": np.array([10.0, 50.0, 98.0])}, {"kept": ["1 %", "4 %", "16 %"]},
        start=4, colours={"right": "accuracy"},
    )  # fmt: skip
    stops = json.loads(re.search(r'<script type="application/json">(.*?)</script>', made.html)[1])
    assert [stop["rank"] for stop in stops] == ["1", "4", "16"]
    assert [stop["readings"] for stop in stops] == [["1 %"], ["4 %"], ["16 %"]]
    heights = [stop["y"][0] for stop in stops]
    assert heights[0] > heights[1] > heights[2]  # up the page is better
    assert 'type="range"' in made.html and 'aria-valuetext="rank 4"' in made.html and "http" not in made.html
    assert "```{=typst}" in made._repr_markdown_()
    with pytest.raises(ValueError, match="start must be one of the ranks"):
        plots.slider(ranks, images[0], images, {}, {}, start=5, colours={})


def test_a_weight_of_zero_is_clear_and_a_large_one_is_not():
    data = signed_png(np.array([[-1.0, 0.0, 1.0]]))
    start = data.index(b"tRNS") + 4
    clear = data[start : start + 255]
    line = zlib.decompress(data[data.index(b"IDAT") + 4 :])[1:4]
    assert [clear[index] for index in line] == [255, 0, 255]
