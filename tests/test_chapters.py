"""Chapters 1 and 2, and what all pages share: what they show follows the stored results, and their code works."""

from __future__ import annotations

import copy
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from rankstudy.book import claims, measured, notebook, preview, results, tables
from rankstudy.study import questions
from tests.test_preview import html

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def smoke(smoke_store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_RESULTS", str(smoke_store))
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        yield


@pytest.mark.parametrize("profile", ["smoke", "published"])
def test_the_images_have_the_stored_numbers(profile, monkeypatch):
    monkeypatch.setenv("RANKSTUDY_PROFILE", profile)
    data, stored = results.data(), questions.result("data").value
    assert data.dark.sum() == stored["always_zero"]["train"] and data.always_dark == stored["always_zero"]["official"]
    assert data.different_columns == 784 - data.dark.sum() + 1
    assert data.size() == sum(int(found.sum()) for found in stored["counts"].values())
    assert data.size("test") == data.counts["test"].sum() and data.size("train", "test") < data.size()


def test_bytes_become_the_networks_inputs_as_the_page_does_it():
    """The loader's first image of a digit is the page's, by the page's mean and deviation."""
    from rankstudy.data import load

    data = results.data()
    split = load(questions.settings("data").data).train
    seven = split.images[split.labels == 7][0].numpy()
    assert np.abs((data.examples[7, 0].reshape(784) / 255 - data.mean) / data.std - seven).max() < 1e-5


def test_equal_columns_are_told_from_others():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "published")
        data = results.data()
    equal = {each.hypothesis.id: each for each in claims.judged(data)}["data-equal-columns"]
    assert equal.verdict == "supported" and equal.met == (data.dark.sum(),) * 2
    lit = dataclasses.replace(data, dark=~data.dark)
    other = {each.hypothesis.id: each for each in claims.judged(lit)}["data-equal-columns"]
    assert other.verdict == "refuted" and other.met[0] == 0
    elsewhere = dataclasses.replace(data, origin=dataclasses.replace(data.origin, data="digits"))
    assert "data-equal-columns" in {each.hypothesis.id for each in claims.judged(elsewhere) if each.effect is None}
    bright = dataclasses.replace(data, always_dark=0)
    assert {each.hypothesis.id: each.verdict for each in claims.judged(bright)}["data-dark-pixels"] == "refuted"


def test_a_verdict_flips_with_its_data_and_the_sentence_does_not():
    training = results.training()

    def judged(train, test):
        history = dataclasses.replace(training.history, train_accuracy=train, test_accuracy=test)
        found = claims.judged(dataclasses.replace(training, history=history))
        return {each.hypothesis.id: (each.verdict, each.hypothesis.sentence) for each in found}

    test = np.full(training.history.test_accuracy.shape, 0.96)
    train = test + 0.01 * np.array([[1.0], [1.1]])
    before = judged(train, test)
    assert {verdict for verdict, _ in before.values()} == {"supported"}
    test[0, -1] = 0.94
    assert judged(train, test)["training-reaches-95"] == ("refuted", before["training-reaches-95"][1])
    assert judged(2 * test - train, test)["training-gap"][0] != "supported"


def test_tables_hold_every_network_epoch_and_learning_rate():
    training = results.training()
    history, images = training.history, results.data().size("test")
    rows = [line for line in tables.networks(history, images).splitlines() if line.startswith("|")][2:]
    wrong = [int(row.split("|")[5]) for row in rows]
    assert wrong == [round(images * (1 - right)) for right in history.test_accuracy[:, -1]]
    assert len([line for line in tables.epochs(history).splitlines() if re.match(r"\| \d", line)]) == history.epochs + 1
    assert tables.learning_rates(None, 0.1) == "*Not run under this profile.*" and training.rates_tried == 1
    accuracy, loss = np.array([[0.9], [0.98], [0.97]]), np.array([[0.3], [0.2], [0.1]])
    tuned = dataclasses.replace(
        training, learning_rate=0.02, tuning=measured.Tuning(np.array([0.01, 0.02, 0.04]), accuracy, loss)
    )
    assert tuned.rates_tried == 3 and tuned.rate_of_lowest_loss == 0.04
    (taken,) = (line for line in tables.learning_rates(tuned.tuning, 0.02).splitlines() if "taken |" in line)
    assert "98.00" in taken and "boundary" not in taken
    assert "taken, at the boundary" in tables.learning_rates(tuned.tuning, 0.04)


@pytest.mark.parametrize("page", ["01-data", "02-training"])
def test_what_a_page_tells_to_type_works(page, tmp_path):
    """The blocks that need torch are not run when the page is rendered; here they are, on the fallback data."""
    text = (ROOT / "report" / f"{page}.qmd").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    selection = 'config.Data("digits", validation_size=200)'
    block = block.replace('"mnist"', selection).replace("epochs=10", "epochs=1").replace("256", "16")
    check = {
        "01-data": "assert images.shape == (128, 784) and labels.shape == (128,) and len(test) > 1",
        "02-training": "assert history.test_accuracy.shape == (1, 2)",
    }
    done = subprocess.run(
        [sys.executable, "-c", f"from rankstudy import config\n{block}{check[page]}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr


SUPPORTED = "networks read at least 95 % of the test images correctly; on average"
REFUTED = "Every network of Task 2 reads at least 95 % of the test images correctly."  # what was expected, in its place


def page(folder: Path) -> str:
    """Chapter 2 as a reader sees it, no-break spaces as spaces."""
    preview.preview(folder, folder / "_preview")
    return html(folder / "_preview" / "index.html").replace("\xa0", " ")


def test_the_sentence_on_the_page_flips_with_the_stored_result(tmp_path, monkeypatch):
    """A mutation: a result is changed so that a verdict flips, and everything that the page says of it flips too."""
    shutil.copytree(ROOT / "report" / "styles", tmp_path / "report" / "styles")
    shutil.copy(ROOT / "report" / "02-training.qmd", tmp_path / "index.qmd")
    shutil.copy(ROOT / "report" / "references.bib", tmp_path / "report")
    led_to = re.findall(r"@(sec-[\w-]+)", (tmp_path / "index.qmd").read_text(encoding="utf-8"))
    (tmp_path / "others.qmd").write_text("\n\n".join(f"# Other {{#{label}}}" for label in sorted({*led_to})))
    pages = ["index.qmd", "others.qmd"]
    book = {"book": {"title": "Two", "chapters": pages}, "bibliography": "report/references.bib"}
    (tmp_path / "_quarto.yml").write_text(yaml.safe_dump(book), encoding="utf-8")

    shown = questions.result("training")
    reached = bool(min(shown["history"]["test_accuracy"][:, -1]) >= 0.95)
    original = page(tmp_path)
    assert (SUPPORTED in original) == reached and (REFUTED in original) != reached

    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path / "results"))  # the others' store stays as it is
    value = copy.deepcopy(dict(shown.value))
    value["history"]["test_accuracy"] = value["history"]["test_accuracy"].copy()
    value["history"]["test_accuracy"][:, -1] = 0.123 if reached else 0.987
    job = questions.settings("training")
    origin = {**shown.provenance, "created": shown.provenance["created"] + 1}
    questions.store().put(job.question(), job.digest(), origin, value)

    mutated = page(tmp_path)
    assert (SUPPORTED in mutated) != reached and (REFUTED in mutated) == reached
    number = "0.123" if reached else "0.987"
    assert number in mutated and number not in original  # what the live cell prints follows too


def test_a_string_in_prose_keeps_its_no_break_spaces_in_plain_quarto(tmp_path):
    """Quarto takes what the kernel prints, in which Python alone would escape them."""
    (tmp_path / "_quarto.yml").touch()
    page = tmp_path / "page.qmd"
    setup = "```{python}\nimport rankstudy.book.display\n```\n\n"
    page.write_text(setup + '`{python} "20\\u202f000, 5\\u00a0% of it\'s"`\n', encoding="utf-8")
    (cell,) = [cell for cell in notebook.execute(page).cells if cell.metadata.get("inline")]
    assert cell.outputs[0].data["text/plain"] == '"20\u202f000, 5\u00a0% of it\'s"'
