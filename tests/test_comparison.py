"""Which findings stay on other data: every hypothesis that both have measured, counted once, whatever is committed."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from rankstudy import UsageError
from rankstudy.__main__ import main
from rankstudy.book import claims, comparison, notebook, results
from rankstudy.book.comparison import Comparison, Finding
from rankstudy.study import questions
from rankstudy.study.experiments import data as data_experiment
from tests.test_telling import visible

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "report" / "another-data-set.qmd"


@pytest.fixture(scope="module")
def same():
    """MNIST beside itself."""
    return comparison.comparison(comparison.OWN)


def planted(findings, verdict):
    return tuple(dataclasses.replace(each, other=dataclasses.replace(each.other, verdict=verdict)) for each in findings)


def test_a_data_set_agrees_with_itself_on_every_hypothesis_that_is_measured(same):
    assert same.only("the same") == list(same.findings) and same.only("contradicted") == same.only("open on one") == []
    stated = [each.id for family in claims.FAMILIES for each in claims.stated(family)]
    seen = [each.own.hypothesis.id for each in same.findings]
    assert seen == [id for id in stated if id in seen] and len(seen) == len(stated) - same.unmeasured > 20


def test_it_shows_what_the_book_shows(same, monkeypatch):
    monkeypatch.setenv("RANKSTUDY_PROFILE", "published")
    shown = {each.hypothesis.id: each for each in claims.judged(results.rank(), planted={})}
    assert {each.own.hypothesis.id: each.own for each in same.findings}.items() >= {
        id: found for id, found in shown.items() if found.met or found.effect
    }.items()


@pytest.mark.parametrize("verdict", claims.VERDICTS)
def test_every_finding_is_of_one_kind_and_is_counted_once(same, verdict):
    found = dataclasses.replace(same, findings=planted(same.findings, verdict))
    kinds = [found.only(kind) for kind in ("the same", "contradicted", "open on one")]
    assert sum(map(len, kinds)) == len(found.findings)
    cells = re.findall(r"\d+", "".join(line for line in comparison.counts(found).split("\n") if "|" in line))
    assert sum(map(int, cells)) == len(found.findings)
    table = comparison.verdicts(found.findings)
    assert len([line for line in table.split("\n") if line.startswith("|")]) == len(found.findings) + 2
    if verdict == "inconclusive":
        assert found.only("decided") == found.only("contradicted") == []
    else:
        assert all(each.other.verdict == verdict != each.own.verdict for each in found.only("contradicted"))


def test_nothing_to_compare_is_no_failure():
    none = Comparison("", (), 3, ((), ()))
    assert none.label == "none" and "None" in comparison.verdicts([]) and "Not run" in comparison.counts(none)
    with pytest.raises(ValueError, match="kind is 'else'; allowed are the same, decided"):
        none.only("else")


def test_the_line_of_provenance_is_a_line(same):
    changed = dataclasses.replace(same.origins[0][0], computed_under="full, with seeds=3; arms=[1, 2]")
    line = comparison.provenance(dataclasses.replace(same, origins=((changed,), ())))
    assert "profile full, changed ·" in line and "arms" not in line


@pytest.fixture
def other(fresh, monkeypatch):
    """Chapter 1's result of the fallback data, committed beside MNIST's."""
    folder = fresh / "published"
    folder.mkdir()
    shutil.copy(questions.PUBLISHED, folder)
    monkeypatch.setattr(questions, "PUBLISHED", folder / "results.zip")
    before = questions.PUBLISHED.read_bytes()
    monkeypatch.setenv("RANKSTUDY_DATASET", "digits")
    assert main(["run", "--quiet", "1"]) == 0 and main(["export", "--published", "1"]) == 0
    assert questions.PUBLISHED.read_bytes() == before  # MNIST's is as it was
    assert sorted(path.name for path in folder.iterdir()) == ["digits.zip", "results.zip"]
    return folder


def test_another_data_sets_results_are_committed_beside_mnists(other, monkeypatch):
    assert questions.others() == ["digits"]
    found = comparison.comparison()
    assert found.other == "digits" and {each.own.hypothesis.family for each in found.findings} == {"data"}
    assert {origin.data for origin in found.origins[1]} == {"digits"}
    assert {origin.data for origin in found.origins[0]} == {"mnist"}
    monkeypatch.setenv("RANKSTUDY_SET", "data.data.validation_size=100")  # changes no comparison
    assert comparison.comparison() == found or comparison.comparison().other == "digits"


def test_what_other_code_wrote_and_todays_cannot_read_is_left_out(other, monkeypatch):
    def changed():
        raise ValueError("a stored Data does not fit")

    monkeypatch.setattr(comparison.results, "data", changed)
    with pytest.raises(ValueError, match="does not fit"):  # today's code wrote it: a fault
        comparison.judged("digits")
    monkeypatch.setattr(data_experiment.Config, "digest", classmethod(lambda cls: "another"))
    assert comparison.judged("digits") == {}
    with pytest.raises(UsageError, match=r"nothing is published yet \(published/fashion.zip\)"):
        comparison.judged("fashion")


def test_the_page_executes_and_its_counts_add_up(published_book, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSTUDY_PROFILE", "smoke")
    under_smoke = notebook.markdown(notebook.execute(PAGE), tmp_path)
    published = visible((published_book / "_preview" / f"{PAGE.stem}.html").read_text(encoding="utf-8"))
    for profile, text in (("smoke", under_smoke), ("published", published)):
        monkeypatch.setenv("RANKSTUDY_PROFILE", profile)
        total, same = map(int, re.search(r"Of (\d+) hypotheses .*? (\d+) have the same verdict", text).groups())
        found = comparison.comparison()
        assert (total, same) == (len(found.findings), len(found.only("the same"))) and total > 0
    assert isinstance(found.findings[0], Finding)
