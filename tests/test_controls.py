"""What rests on a control is shown where that has been computed, and nowhere else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pypandoc

from rankstudy.book import results, told
from rankstudy.book.missing import Missing

ROOT = Path(__file__).parents[1]

PAGE = """
::: {{.told}}
````{{.json}}
{content}
````
:::

Before.

:::: {{.control of="narrow"}}
Shown with [a number]{{.number data-tip="n = 3"}}.
::::

:::: {{.control .silent of="narrow"}}
Shown, too.
::::

After.
"""


def rendered(missing):
    content = json.dumps({"claims": {}, "missing": missing, "provenance": "", "warning": ""})
    command = [pypandoc.get_pandoc_path(), "-f", "markdown", "-t", "html", "--wrap=none"]
    command += ["--lua-filter", str(ROOT / "report" / "styles" / "telling.lua")]
    text = PAGE.format(content=content)
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def test_what_rests_on_a_missing_control_is_a_line_or_nothing():
    whole, without = rendered([]), rendered(["narrow"])
    assert "a number" in whole and "Shown, too." in whole and "not been computed" not in whole
    assert "a number" not in without and "Shown, too." not in without
    assert without.count("has not been run under this profile") == 1
    assert all("Before." in each and "After." in each for each in (whole, without))
    assert rendered(["labels"]) == whole


def test_a_page_says_which_controls_are_missing(monkeypatch):
    monkeypatch.setenv("RANKSTUDY_PROFILE", "published")
    text = told.page(results.rank(), Missing("narrow"), Missing("labels"))
    content = json.loads(str(text).split("````{.json}\n")[1].split("\n````")[0])
    assert content["missing"] == ["narrow", "labels"]
    assert content["claims"]["narrow-accuracy"]["verdict"] == content["claims"]["labels-shuffled-higher"]["verdict"]
    assert content["claims"]["narrow-accuracy"]["verdict"] == "inconclusive"
