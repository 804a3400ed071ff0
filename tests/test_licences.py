"""Every dependency's licence allows what is done here, and CONTRIBUTING's table tells it."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, files, metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# licence as the table tells it -> what packages call it; all may be used and passed on beside the MIT licence
NAMES = {
    "MIT": {"MIT", "MIT License"},
    "BSD": {"BSD", "BSD License", "BSD 3-Clause License", "BSD-2-Clause", "BSD-3-Clause", "0BSD"},
    "Apache-2.0": {"Apache", "Apache 2.0", "Apache-2.0", "Apache Software License", "LLVM-exception"},
    "MPL-2.0": {"MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)"},
    "PSF": {"PSF-2.0", "Python Software Foundation License"},
    "Unlicense": {"Unlicense", "The Unlicense (Unlicense)"},
    "LGPL, for libraries that are loaded and can be exchanged": {"LGPL-3.0-or-later"},
    "parts of a package": {"BSL-1.0", "CC0-1.0", "ISC", "Zlib"},
}


def requirements() -> list[str]:
    """Names in pyproject.toml, of the package and of every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return [re.match(r"[\w.-]+", line).group() for line in lines]


def licences(name: str) -> set[str]:
    """What an installed package says of itself: an SPDX expression, else its classifiers, else a line of text."""
    about = metadata(name)
    if expression := about.get("License-Expression"):
        return set(re.split(r" (?:AND|OR|WITH) ", expression.replace("(", "").replace(")", "")))
    told = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    if found := {each for each in told if each != "OSI Approved"}:
        return found
    text = about.get("License") or next(
        (path.read_text() for path in files(name) or [] if path.name.startswith("LICENSE")), ""
    )
    first = text.strip().partition("\n")[0]
    return set(re.split(r" (?:AND|OR) ", first))


TABLE = dict(
    re.findall(r"^\| `([\w.-]+)` \| ([^|]+?) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)
)


def test_the_table_has_every_dependency_and_no_other():
    assert sorted(TABLE) == sorted(requirements())


@pytest.mark.parametrize("name", requirements())
def test_a_dependency_has_the_licence_that_is_told(name):
    try:
        found = licences(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    unknown = found - set().union(*NAMES.values())
    assert not unknown, f"{name} is under {', '.join(sorted(unknown))}: may it be used?"
    assert any(found & NAMES[each] for each in TABLE[name].split(" or ")), f"{name}: {TABLE[name]}, but {found}"


def test_a_licence_that_binds_others_would_be_noticed(monkeypatch):
    about = {"License-Expression": "MIT AND GPL-3.0-only"}
    monkeypatch.setattr("tests.test_licences.metadata", lambda name: about)
    with pytest.raises(AssertionError, match=r"GPL-3\.0-only: may it be used"):
        test_a_dependency_has_the_licence_that_is_told("numpy")
