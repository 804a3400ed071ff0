"""A question is answered once, its answer comes back as its class, and code that is not behind it changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import pytest

from rankstudy.study import jobs, questions, typed
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Floats


@dataclass(frozen=True)
class Part:
    name: str
    values: Floats
    missing: Floats | None = None
    rank: int | None = 3


@dataclass(frozen=True)
class Squares:
    values: Floats
    parts: list[Part]
    by_name: dict[str, Part]
    often: int


@dataclass(frozen=True)
class Square(Job[Squares]):
    NAME = "tests-square"
    ANSWER = Squares

    number: int
    seconds: float = 0.0

    @classmethod
    def modules(cls) -> tuple[str, ...]:
        return ("rank",)

    def selection(self) -> str:
        return "digits"

    def compute(self) -> Squares:
        time.sleep(self.seconds)
        part = Part("a", np.arange(self.number) ** 2.0, rank=None)
        return Squares(np.array([self.number**2.0]), [part], {"b": replace(part, missing=np.ones(2))}, self.number)


def test_an_answer_is_computed_once_and_comes_back_as_its_class(fresh, monkeypatch):
    first = jobs.answer(Square(3))
    monkeypatch.setattr(Square, "compute", lambda self: pytest.fail("computed again"))
    again = jobs.answer(Square(3))
    assert isinstance(again, Squares) and isinstance(again.by_name["b"], Part)
    assert again.parts[0].missing is None and again.parts[0].rank is None
    np.testing.assert_array_equal(again.parts[0].values, [0, 1, 4])
    np.testing.assert_array_equal(again.by_name["b"].missing, [1, 1])
    assert (again.often, again.values.tolist()) == (first.often, first.values.tolist())
    assert not again.values.flags.writeable


def test_a_new_version_or_other_code_is_another_answer(fresh, monkeypatch):
    jobs.answer(Square(3))
    found = jobs.record(Square(3))
    assert found is not None and jobs.accepted(found) and found.version == 1
    monkeypatch.setattr(Square, "VERSION", 2)
    assert not jobs.accepted(found)
    monkeypatch.setattr(Square, "VERSION", 1)
    monkeypatch.setattr(Square, "modules", classmethod(lambda cls: ("spectrum",)))
    assert jobs.record(Square(3)) is None and not jobs.accepted(found)


def test_many_are_asked_of_the_workers_first_and_only_what_is_missing(fresh, monkeypatch):
    jobs.answer(Square(1))
    asked = []
    monkeypatch.setattr(jobs, "spread", asked.extend)
    assert [found.often for found in jobs.answers([Square(1), Square(2), Square(2)])] == [1, 2, 2]
    assert asked == [Square(2)]


def test_what_does_not_fit_its_class_is_named():
    with pytest.raises(ValueError, match=r"a stored Squares does not fit.*often"):
        typed.result(Squares, {"values": np.ones(1), "parts": [], "by_name": {}})
    with pytest.raises(ValueError, match="expected ndarray"):
        typed.result(Squares, {"values": 3, "parts": [], "by_name": {}, "often": 1})
    with pytest.raises(TypeError, match="dataclass"):
        typed.values({"a": 1})


def test_fields_that_there_are_no_more_are_let_be():
    stored = typed.values(Square(2).compute()) | {"norm": np.ones(3)}
    assert typed.result(Squares, stored).often == 2


@pytest.mark.parametrize("name", [name for name in questions.known() if name in questions.published()])
def test_every_committed_result_is_of_its_class(name, monkeypatch):
    monkeypatch.setenv("RANKSTUDY_PROFILE", "published")
    result = questions.result(name)
    assert isinstance(result.typed, questions.module(name).Config.ANSWER)
