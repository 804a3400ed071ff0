"""The worked examples of "Change something" run as they stand, under smoke, and change what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rankstudy.__main__ import main
from rankstudy.registry import ACTIVATIONS
from rankstudy.study import overrides

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "report" / "change-something.qmd").read_text(encoding="utf-8")
EXAMPLES = {
    label: re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.M | re.S)
    for label, text in re.findall(r"\{#sec-change-(\w+)\}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
}
SAID = {
    "rank": r"enough, as chapter 5 has it: (?P<enough>\d+)\ndense None 0\.\d+\nlow rank (?P<rank>\d+) 0\.\d+\n",
    "widths": r"smoke, with network\.widths=784,24,24,24,24,24,10\nparameters: 21360\n"
    r"test accuracy: \[0\.\d+ +0\.\d+ *\]\n",
    "activation": r"gain: 2\.\d+\ntest accuracy: \[0\.\d+ +0\.\d+ *\]\n",
}


def test_there_are_three():
    assert EXAMPLES.keys() == SAID.keys()
    assert all("sh" in [kind for kind, _ in parts] for parts in EXAMPLES.values())


@pytest.mark.parametrize("name", SAID)
def test_an_example_runs_as_it_stands(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANKSTUDY_PROFILE", "smoke")
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path))
    monkeypatch.setenv(overrides.VARIABLE, "")
    before = dict(ACTIVATIONS)
    names: dict = {}
    try:
        for kind, text in EXAMPLES[name]:
            if kind == "python":
                capsys.readouterr()
                exec(text, names)
                continue
            command, *rest = text.strip().split("\n")
            assert not rest and command.startswith("python -m rankstudy ")
            assert main(command.split()[3:]) == 0
            assert "computed" in capsys.readouterr().out
    finally:
        ACTIVATIONS.clear()
        ACTIVATIONS.update(before)
    found = re.fullmatch(SAID[name], capsys.readouterr().out)
    assert found
    if name == "rank":
        assert int(found["rank"]) == max(1, round(int(found["enough"]) / 2))


def test_the_tables_of_settings_name_what_there_is():
    from rankstudy.study import questions

    training = questions.module("training").CONFIGS["smoke"]
    for path in re.findall(r"`--set ([\w.]+)=", PAGE):
        overrides.applied(training, {path: {"training.optimizer": "momentum"}.get(path, "2")})
    assert {"seeds", "training.epochs", "training.optimizer"} <= set(re.findall(r"`--set ([\w.]+)=", PAGE))
