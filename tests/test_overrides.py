"""Settings from outside: a question of their own, shown as what they are."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rankstudy import UsageError, data, registry
from rankstudy.__main__ import main
from rankstudy.study import jobs, overrides, questions, times


@dataclass(frozen=True)
class Inner:
    name: str
    rates: tuple[float, ...]
    rank: int | None = None
    on: bool = False


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...]
    seeds: int


OUTER = Outer(Inner("a", (0.1,)), (Inner("b", ()), Inner("c", (1.0,))), 3)


@pytest.mark.parametrize(
    "path, text, found",
    [
        ("seeds", "5", 5),
        ("inner.name", "relu", "relu"),
        ("inner.rates", "1e-3,0.01", (1e-3, 0.01)),
        ("inner.rates", "0.5", (0.5,)),
        ("inner.rank", "8", 8),
        ("inner.rank", "none", None),
        ("inner.on", "true", True),
        ("many.1.name", "d", "d"),
    ],
)
def test_a_value_is_read_as_its_field_s_kind(path, text, found):
    value = overrides.applied(OUTER, {path: text})
    for name in path.split("."):
        value = value[int(name)] if name.isdecimal() else getattr(value, name)
    assert value == found and type(value) is type(found)


@pytest.mark.parametrize(
    "path, text, message",
    [
        ("sedes", "5", "there is no field 'sedes'; there are inner, many, seeds"),
        ("seeds", "2.5", "not a value of int"),
        ("seeds", "many", "not a value of int"),
        ("seeds", "true", "not a value of int"),
        ("inner", "a", "it has fields of its own: inner.name"),
        ("inner.name.x", "a", "there is nothing below inner.name"),
        ("many.2.name", "a", "'2' is none of the numbers 0 to 1"),
        ("many.1", "a", "name a field"),
        ("inner.rates", "fast", "not a value of"),
    ],
)
def test_what_cannot_be_set_is_named(path, text, message):
    with pytest.raises(UsageError, match=message):
        overrides.applied(OUTER, {path: text})


def test_an_impossible_setting_is_refused_by_the_config_itself():
    settings = questions.module("training").CONFIGS["quick"]
    with pytest.raises(UsageError, match="activation is 'swish'; allowed are relu"):
        overrides.applied(settings, {"network.activation": "swish"})


@pytest.mark.parametrize("text", ["seeds=3", "training", "nothing.seeds=3", "training.=3"])
def test_a_wrong_variable_is_one_line(monkeypatch, text):
    monkeypatch.setenv(overrides.VARIABLE, text)
    with pytest.raises(UsageError, match=r"it must be EXPERIMENT\.FIELD=VALUE"):
        questions.settings("training")


def test_it_is_a_question_of_its_own_and_says_so(fresh, monkeypatch, capsys):
    """Computed, listed, exported and imported beside the profile's own result, which is not touched."""
    own = questions.result("training")
    assert main(["run", "training", "--set", "network.widths=784,16,10", "--set", "seeds=3"]) == 0
    monkeypatch.setenv(overrides.VARIABLE, "training.network.widths=784,16,10; training.seeds=3")
    found = questions.result("training")
    assert found.typed.history.test_accuracy.shape[0] == 3 and found.typed.parameters == 784 * 16 + 160
    assert found.settings == "smoke, with network.widths=784,16,10; seeds=3"
    assert own.settings != found.settings and len(list(jobs.store().records("measured"))) == 2
    capsys.readouterr()
    assert main(["list"]) == 0
    assert "network.widths=784,16,10" in capsys.readouterr().out
    assert main(["export", str(fresh / "all.zip")]) == 0
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(fresh / "elsewhere"))
    assert main(["import", str(fresh / "all.zip")]) == 0
    assert questions.stored("training")
    monkeypatch.delenv(overrides.VARIABLE)
    assert questions.result("training").typed.history.seeds.tolist() == own.typed.history.seeds.tolist()


def test_what_is_published_is_as_it_is(fresh, monkeypatch, capsys):
    """A change that nobody would see is refused, by the command and by a page."""
    monkeypatch.setenv("RANKSTUDY_PROFILE", "published")
    assert main(["run", "training", "--set", "seeds=3"]) == 2
    assert "changes seeds of training, and profile published computes nothing" in capsys.readouterr().err
    monkeypatch.setenv(overrides.VARIABLE, "training.seeds=3")
    with pytest.raises(UsageError, match="changes seeds of training"):
        questions.result("training")
    assert questions.result("rank").profile == "published"


def test_how_long_other_settings_take_is_not_noted_as_the_profile_s(fresh, monkeypatch):
    monkeypatch.setattr(data, "available", lambda: "mnist")
    monkeypatch.setattr(questions, "FALLBACK", "mnist")
    noted = []
    monkeypatch.setattr(times, "note", lambda name, *_, **__: noted.append(name))
    monkeypatch.setattr(questions, "result", lambda name: None)
    monkeypatch.setattr(registry, "FALLBACK", "mnist")  # smoke's data set
    assert main(["run", "training", "--set", "seeds=3"]) == 0 and noted == []
    assert main(["run", "training"]) == 0 and noted == ["training"]


def test_set_needs_one_chapter(fresh, capsys):
    assert main(["run", "--set", "seeds=3"]) == 2
    assert "name it" in capsys.readouterr().err
    assert main(["run", "training", "--set", "seeds"]) == 2
    assert "FIELD=VALUE" in capsys.readouterr().err
