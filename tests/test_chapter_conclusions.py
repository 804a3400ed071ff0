"""Chapter 7 tells of every hypothesis of the book, measured or not."""

from __future__ import annotations

import json

import pytest

from rankstudy.book import claims, plots, results, told
from rankstudy.book.missing import Missing
from rankstudy.study import questions


@pytest.fixture(scope="module")
def book():
    """The published results, all controls missing."""
    there = {name: each for name, each in questions.published().items() if name not in questions.CONTROLS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "published")
        patch.setattr(questions, "published", lambda: there)
        yield results.book()


def test_every_family_has_its_result():
    assert set(claims.FAMILIES) <= set(questions.known())
    assert [family for family in claims.FAMILIES if not callable(getattr(results, family, None))] == []


def test_what_is_not_published_is_not_measured(book):
    assert isinstance(book["labels"], Missing) and book["rank"].origin.experiment == "rank"
    assert list(book) == list(claims.FAMILIES)
    judged = claims.all_judged(book)
    assert len(judged) == sum(len(claims.stated(family)) for family in claims.FAMILIES)
    missing = [each for each in judged if each.hypothesis.family in questions.CONTROLS]
    assert missing and {each.verdict for each in missing} == {"inconclusive"}
    assert {each.size() for each in missing} == {"no result under this profile"}


def test_the_page_has_a_verdict_and_a_row_for_each(book):
    content = json.loads(told.page(*book.values()).split("````{.json}\n")[1].split("\n````")[0])
    ids = [each.hypothesis.id for each in claims.all_judged(book)]
    assert list(content["claims"]) == ids and content["provenance"]
    figure = plots.forest(claims.all_judged(book))._repr_markdown_()
    assert all(figure.count(f'href="claim:{each}"') == 1 for each in ids)
    families = {each.hypothesis.family for each in claims.all_judged(book)}
    assert figure.count('class="forest-head"') == figure.count("```{=typst}") == len(families)
