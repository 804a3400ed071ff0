"""Tables: what is printed can be downloaded as numbers."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from urllib.parse import unquote

import numpy as np
import pypandoc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstudy.book import numbers, tables
from rankstudy.book.pages import STYLES
from rankstudy.book.stats import Estimate, estimate, interval_text, number_text
from rankstudy.book.tables import csv_text, down, table


def downloaded(shown: str) -> list[list[str]]:
    (address,) = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', shown)
    text = unquote(address)
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text[1:], newline="")))


def test_the_download_holds_the_numbers_of_the_table():
    shown = table(
        ["arm, or so", "test", "", "ms", "steps"],
        [
            ["dense", Estimate(98.25, 0.5, 3).text(1), "50 %", "1.5 ms", number_text(12345)],
            ['low "rank"', Estimate(-97.5, 1.0, 3), "5 ± 1 %", "", "no value"],
        ],
    )
    assert downloaded(shown) == [
        ["arm, or so", "test", "test ±", "test (%)", "test ± (%)", "ms (ms)", "steps"],
        ["dense", "98.2", "0.5", "50", "", "1.5", "12\u202f345"],
        ['low "rank"', "-97.5", "1.0", "5", "1", "", "no value"],
    ]


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=5), st.integers(0, 4))
def test_a_column_of_numbers_downloads_as_numbers(values, places):
    text = csv_text(["x"], [[number_text(value, places)] for value in values])
    assert [float(row[0]) for row in list(csv.reader(io.StringIO(text)))[1:]] == [
        pytest.approx(round(value, places)) for value in values
    ]


def test_intervals_and_units_do_not_break():
    shown = table(["x", "y"], [["a ± b", "98.3 ± 0.1 %"]]).split("\n\n")[0]
    assert "98.3\u00a0±\u00a00.1\u00a0%" in shown and " ±" not in shown
    assert "0.001:\u00a098\u00a0%; 0.01:\u00a097\u00a0%" in str(table(["a", "b"], [["x", "0.001: 98 %; 0.01: 97 %"]]))
    shown = str(table(["a", "b"], [["✗ refuted: why? 1 case", "✓ +0.2 ± 0.1 points"]]))
    assert "✗\u00a0refuted: why? 1 case" in shown and "✓\u00a0+0.2\u00a0±\u00a00.1 points" in shown
    assert "<\u00a00.0001" in str(table(["a", "p"], [["x", "< 0.0001"]]))
    assert "2.5\u00a0ms" in str(table(["a", "b"], [["x", "2.5 ms"]]))


@pytest.mark.parametrize("form, links", [("html", 1), ("typst", 0)])
def test_the_link_is_in_the_page_and_not_in_the_pdf(form, links):
    command = [pypandoc.get_pandoc_path(), "-f", "markdown", "-t", form]
    page = subprocess.run(command, input=table(["x"], [["1"]]), capture_output=True, encoding="utf-8", check=True)
    assert page.stdout.count("data:text/csv") == page.stdout.count(">CSV<") == links


@pytest.mark.parametrize("first, widths", [("word " * 20, "(42%, auto)"), ("word", "2")])
def test_on_paper_a_first_column_of_sentences_is_wide_enough_to_be_read(first, widths):
    command = [pypandoc.get_pandoc_path(), "-f", "markdown", "-t", "typst", "--lua-filter", STYLES / "tables.lua"]
    shown = table(["x", "y"], [[first, "1"]])
    page = subprocess.run(command, input=shown, capture_output=True, encoding="utf-8", check=True)
    assert f"columns: {widths}," in page.stdout


def test_a_card_on_a_phone_names_the_columns_that_it_has():
    """p once stood before the tier."""
    heads = [cell.strip() for cell in tables.hypotheses([]).splitlines()[1].strip("|").split("|")]
    css = (STYLES / "telling.css").read_text(encoding="utf-8")
    named = re.findall(r'\.hypotheses td:nth-child\((\d)\)::before { content: "(.*?)"; }', css)
    assert [heads[int(place) - 1] for place, _ in named] == [word.strip(" =") for _, word in named] == ["n", "p"]


def test_down_has_a_row_a_value():
    values = np.array([[1.0, 4.0], [3.0, 4.0]])
    for intervals, first in ((True, "2 ± 13"), (False, "2")):
        shown = down("rank", [8, 16], {"error": values, "tried": np.array([8, 32])}, intervals=intervals)
        rows = [
            [cell.strip().replace("\u00a0", " ") for cell in line.split("|")[1:-1]] for line in shown.splitlines()[:4]
        ]
        assert rows[0] == ["rank", "error", "tried"] and rows[2:] == [["8", first, "8"], ["16", "4", "32"]]


def test_a_bar_ends_no_cell():
    """The mean |cos| of a hypothesis once took its row apart."""
    shown = table(["what", "|x|"], [["mean |cos|", "1"], [r"already \|escaped\|", "2"]], download=False)
    found = pypandoc.convert_text(shown, "html", format="markdown")
    assert re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", found) == [
        "what",
        "|x|",
        "mean |cos|",
        "1",
        "already |escaped|",
        "2",
    ]


def test_a_change_in_per_cent_may_pass_a_hundred_and_a_share_may_not():
    shares, changes = np.array([[99.99, 50.0], [100.0, 52.0]]), np.array([[6_000.0, 2.0], [6_200.0, 4.0]])
    found = down("rank", [1, 2], {"read, %": shares, "errors, %": changes})
    first = found.splitlines()[2]
    assert "to 100" in first and "6\u202f100\u00a0±" in first.replace(" ± ", "\u00a0±")


def test_what_is_the_same_in_every_network_has_no_interval():
    """Also where the mean over layers was rounded differently."""
    values = np.full(5, 1546 / 7)
    values[1:3] = np.nextafter(values[1:3], 300)
    assert "±" not in interval_text(estimate(values))


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(98.0, "%", "98"), (98.5, "%", "98.5"), (99.985, "%", "99.98"), (100.0, "%", "100"), (0.003, "", "0.003"),
     (40, "", "40"), (10.0, "", "10"), (-2.5, "", "−2.5")],
)  # fmt: skip
def test_a_number_without_an_interval_is_as_it_is(value, unit, shown):
    assert numbers.fixed(value, unit) == shown + (f"\u00a0{unit}" if unit else "")
