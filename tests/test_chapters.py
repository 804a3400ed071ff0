"""Chapters 1, 2 and 7: computed under smoke, drawn, claimed. (The others have files of their own.)"""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

import pytest
import yaml

from rankstudy.book import notebook, preview
from rankstudy.book.chapters import data, training
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import banner
from rankstudy.data import checksum
from rankstudy.study import provenance, questions
from tests.test_preview import html

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def smoke(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        yield


@pytest.mark.parametrize("module", [data, training])
def test_a_chapter_has_text_figures_and_claims(module):
    chapter = module.Chapter()
    assert all(isinstance(text, str) and text for text in chapter.text.values())
    for claim in chapter.claims():
        assert claim.verdict in claims.VERDICTS and claim.evidence
    for name in ("examples", "counts", "mean_picture", "curves", "accuracies", "tuning"):
        if hasattr(chapter, name):
            getattr(chapter, name)()


def test_the_stand_in_is_said_on_the_page():
    assert "This is not MNIST" in banner(questions.result("data"))


def test_a_claim_flips_with_its_data():
    """Lower one network's stored accuracy below the target: sentence and verdict change."""
    chapter = training.Chapter()
    accuracy = chapter.history["test_accuracy"].copy()
    accuracy[:, -1] = 0.96
    chapter.history = {**chapter.history, "test_accuracy": accuracy}
    (before,) = chapter.claims()
    assert before.verdict == "holds" and "at least 95 %" in before.sentence
    accuracy[0, -1] = 0.94
    (after,) = chapter.claims()
    assert after.verdict == "fails" and "Not every network" in after.sentence


SENTENCES = {"holds": "networks gets at least 95 %", "fails": "Not every network reaches 95 %"}


def page(folder: Path) -> str:
    """Chapter 2 as a reader sees it, no-break spaces as spaces."""
    preview.preview(folder, folder / "_preview")
    return html(folder / "_preview" / "index.html").replace("\xa0", " ")


def test_the_sentence_on_the_page_flips_with_the_stored_result(tmp_path, monkeypatch):
    """A mutation: a result is changed so that a claim flips, and everything that the page says of it flips too."""
    (tmp_path / "report").mkdir()
    shutil.copy(ROOT / "report" / "02-training.qmd", tmp_path / "index.qmd")  # a book of one chapter
    shutil.copy(ROOT / "report" / "references.bib", tmp_path / "report")
    book = {"book": {"title": "One", "chapters": ["index.qmd"]}, "bibliography": "report/references.bib"}
    (tmp_path / "_quarto.yml").write_text(yaml.safe_dump(book), encoding="utf-8")

    shown = questions.result("training")
    before = "holds" if min(shown["history"]["test_accuracy"][:, -1]) >= 0.95 else "fails"
    (after,) = SENTENCES.keys() - {before}
    original = page(tmp_path)
    assert SENTENCES[before] in original and SENTENCES[after] not in original

    results = shutil.copytree(os.environ["RANKSTUDY_RESULTS"], tmp_path / "results")  # the others' stays as it is
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(results))
    value = copy.deepcopy(dict(shown.value))
    value["history"]["test_accuracy"] = value["history"]["test_accuracy"].copy()
    value["history"]["test_accuracy"][:, -1] = 0.987 if after == "holds" else 0.123
    settings = questions.settings("training")
    digest = provenance.digest("study.experiments.training", *provenance.TRAINED)
    question = questions.Question("measured", "training", settings, checksum("digits"))
    origin = {**shown.provenance, "created": shown.provenance["created"] + 1}
    questions.store().put(question, digest, origin, value)

    mutated = page(tmp_path)
    assert SENTENCES[after] in mutated and SENTENCES[before] not in mutated
    number = "98.7" if after == "holds" else "12.3"
    assert number in mutated and number not in original  # the answer's number and the table's follow too


def test_a_string_in_prose_keeps_its_no_break_spaces_in_plain_quarto(tmp_path):
    """Quarto takes what the kernel prints, in which Python alone would escape them."""
    (tmp_path / "_quarto.yml").touch()
    page = tmp_path / "page.qmd"
    setup = "```{python}\nimport rankstudy.book.chapters.common\n```\n\n"
    page.write_text(setup + '`{python} "20\\u202f000, 5\\u00a0% of it\'s"`\n', encoding="utf-8")
    (cell,) = [cell for cell in notebook.execute(page).cells if cell.metadata.get("inline")]
    assert cell.outputs[0].data["text/plain"] == '"20\u202f000, 5\u00a0% of it\'s"'
