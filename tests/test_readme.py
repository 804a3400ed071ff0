"""The README says what its committed sources say, and those say what the published results say, where there are any."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from rankstudy import UsageError
from rankstudy.book import readme
from rankstudy.study import questions

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
TOLD = json.loads((ROOT / readme.FINDINGS).read_text(encoding="utf-8"))


def test_the_readme_is_current():
    assert readme.written(TEXT, ROOT) == TEXT, "run `python -m rankstudy readme`"


def test_the_figure_is_the_one_of_the_findings():
    assert hashlib.sha256((ROOT / readme.FIGURE).read_bytes()).hexdigest() == TOLD["figure"]


def test_the_findings_are_the_home_pages_three_and_say_where_they_come_from():
    assert len(TOLD["findings"]) == 3
    assert all(re.search(r"\[Chapter \d\]\(report/\d\d-[\w-]+\.qmd#sec-[\w-]+\)$", each) for each in TOLD["findings"])
    assert "profile" in TOLD["origin"] and "commit" in TOLD["origin"]
    for address in re.findall(r"\]\((report/[^)#]+)", readme.findings_text(TOLD)):
        assert (ROOT / address).is_file()


@pytest.mark.skipif(not questions.PUBLISHED.exists(), reason="nothing is published yet")
def test_the_findings_are_the_published_ones(monkeypatch):
    monkeypatch.setenv("RANKSTUDY_PROFILE", "published")
    found = readme.findings()[0]
    for name in ("findings", "origin"):
        assert found[name] == TOLD[name], "run `RANKSTUDY_PROFILE=published python -m rankstudy readme`"


def test_another_finding_would_be_noticed(tmp_path):
    for path in (readme.FINDINGS, readme.TOUR, readme.NETWORKS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text(encoding="utf-8"), encoding="utf-8")
    assert readme.written(TEXT, tmp_path) == TEXT
    changed = {**TOLD, "findings": ["Nothing was found. [Chapter 3](report/03-rank.qmd#sec-rank)"]}
    (tmp_path / readme.FINDINGS).write_text(json.dumps(changed), encoding="utf-8")
    other = readme.written(TEXT, tmp_path)
    assert "Nothing was found." in other and TOLD["findings"][0] not in other


def test_a_readme_without_its_markers_is_one_line():
    with pytest.raises(UsageError, match="the README has 0 places for findings"):
        readme.written("# nothing\n", ROOT)


def test_without_results_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANKSTUDY_PROFILE", "smoke")
    (tmp_path / "README.md").write_text("# untouched\n", encoding="utf-8")
    with pytest.raises(UsageError, match="nothing is stored for data, training"):
        readme.main(["readme"])
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "# untouched\n"
