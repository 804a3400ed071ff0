"""The home page: short, in the tasks' order, true under every verdict and profile; its numbers are the chapters'."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from rankstudy.book import claims, notebook, plots, readme, results
from rankstudy.study import questions
from tests import page_checks
from tests.test_prose import prose

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "index.qmd").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def told():
    """Typed views of the published results, by chapter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "published")
        names = ("overfitting", "approximation", "low_rank_training", "lora")
        yield {name: getattr(results, name)() for name in names}


def test_the_questions_are_the_assignments_in_its_order():
    rows = page_checks.questions(TEXT)
    tasks = [task for task, *_ in rows if task]
    assert tasks == [f"Task {number}" for number in range(1, 9)]
    task = ""
    for name, question, answer, chapter in rows:
        task = name or task
        assert question[-1] in ".?" and answer and f"[{task[-1]}](report/0{task[-1]}-" in chapter


def test_links_say_the_number_of_the_chapter_they_lead_to():
    links = re.findall(r"\[(?:Chapter )?(\d)\]\(report/0(\d)-([\w-]+)\.qmd#([\w-]+)\)", TEXT)
    assert len(links) == TEXT.count("](report/0") > 20
    for number, digit, name, label in links:
        assert number == digit
        assert f"{{#{label}}}" in (ROOT / "report" / f"0{digit}-{name}.qmd").read_text(encoding="utf-8")


def test_a_home_page_beyond_the_limits_is_noticed():
    assert page_checks.beyond("index.qmd", TEXT) == []
    assert any("words: " in fault for fault in page_checks.beyond("index.qmd", TEXT + "\n\nWord" + " word" * 400))
    row = next(line for line in TEXT.splitlines() if line.startswith("| Task 1"))
    longer = TEXT.replace(row, row.replace("images to train on.", "images to train on." + " word" * 9))
    assert any("words of the answer" in fault for fault in page_checks.beyond("index.qmd", longer))
    assert any("questions: " in fault for fault in page_checks.beyond("index.qmd", TEXT.replace(row, f"{row}\n{row}")))


def test_the_home_page_defines_no_words_and_types_no_result():
    assert ".term" not in TEXT and not re.search(r"\d\d? (?:points|epochs|times|parameters)", prose(TEXT))


# views: equal numbers


def scaled(variants: dict, **factors: float) -> dict:
    """All but the dense variant, with fields of theirs times a factor."""
    return {
        name: each
        if name == "dense"
        else dataclasses.replace(each, **{f: k * getattr(each, f) for f, k in factors.items()})
        for name, each in variants.items()
    }


@pytest.mark.parametrize(
    ("chapter", "field", "values", "claim"),
    [
        ("overfitting", "memorised", lambda old: ~old, "overfitting-reached"),
        ("low_rank_training", "memory", lambda old: scaled(old, parameters=100), "low-rank-fewer"),
        ("low_rank_training", "network", lambda old: scaled(old, low=0.1), "low-rank-faster"),
        ("lora", "activations", lambda old: 0 * old, "lora-activations"),
    ],
)
def test_a_flipped_result_flips_its_verdict(told, chapter, field, values, claim):
    def verdict(view):
        return {each.hypothesis.id: each.verdict for each in claims.judged(view)}[claim]

    view = told[chapter]
    assert verdict(view) == "supported"
    assert verdict(dataclasses.replace(view, **{field: values(getattr(view, field))})) == "refuted"


def test_what_the_slider_says_is_what_the_page_says(told):
    view = told["approximation"]
    made = plots.truncation(view)
    stops = json.loads(re.search(r'<script type="application/json">(.*?)</script>', made.html)[1])
    stop = next(stop for stop in stops if stop["rank"] == str(view.rank))
    numbers, error, right = (float(text.split("\u00a0")[0]) for text in stop["readings"])
    assert numbers == pytest.approx(100 * view.numbers[view.at], abs=0.05)
    assert error == pytest.approx(100 * view.hidden_error[:, view.at].mean(), abs=0.5)
    assert right == pytest.approx(100 * view.truncated.test_accuracy[:, view.at].mean(), abs=0.05)
    assert len(made.static.figures) == 2 and "http" not in made.html


@pytest.mark.parametrize("verdict", claims.VERDICTS)
def test_the_readmes_findings_follow_the_verdicts(verdict):
    claim = {
        "verdict": verdict,
        "word": verdict,
        "sentence": "It falls.",
        "summary": "n = 2",
        "page": "03-rank",
        "anchor": "sec-rank",
    }
    content = json.dumps({"claims": {"x": claim}, "provenance": "P", "warning": ""})
    told = f"::: {{.told}}\n````{{.json}}\n{content}\n````\n:::\n"
    said = '[**It fell.**]{claim="x"}\n\nIt is 3.\n\n[Chapter 3](report/03-rank.qmd#sec-rank)'
    card = f"::: {{.cards}}\n::: {{}}\n{said}\n:::\n:::"
    (found,) = readme.cards(f"{told}\n{card}\n")
    assert found.endswith("It is 3. [Chapter 3](report/03-rank.qmd#sec-rank)")
    assert ("It fell" in found) == (verdict == "supported") and ("Hypothesis" in found) == (verdict != "supported")


def test_the_page_executes_under_smoke_on_the_fallback_data(tmp_path, smoke_store, monkeypatch):
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(smoke_store))
    monkeypatch.setenv("RANKSTUDY_PROFILE", "smoke")
    for chapter in ("training", "rank", "dissection", "overfitting", "approximation", "low_rank_training", "lora"):
        questions.result(chapter)
    shown = notebook.markdown(notebook.execute(ROOT / "index.qmd"), tmp_path)
    assert "This is not MNIST" in shown and shown.count("claim=") == TEXT.count("claim=")
