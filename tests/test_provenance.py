"""The digest changes when computing code changes, and only then."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rankstudy.study import provenance, questions
from rankstudy.study.provenance import normalised

SOURCE = textwrap.dedent(
    '''
    """Module docstring."""

    import math  # a comment


    class A:
        """Class docstring
        over lines."""

        name = "# not a comment"

        def f(self, x):
            """Docstring."""
            # why
            return math.sqrt(x)  # root

        def g(self): """one line"""


    text = f"{math.pi:.3f} # neither {'x'}"
    lines = """first

    last"""
    '''
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another comment"),
        ("# why\n", "# why not\n            # at all\n"),
        ('"""Docstring."""', '"""Another docstring, with "quotes" and # signs."""'),
        ('"""Class docstring\n    over lines."""', '"""One line."""'),
        ('"""Module docstring."""', '"""Module docstring.\n\nAnd more."""'),
        ("\n        return", "\n\n        return"),
        ('"""one line"""', '"""another line"""'),
    ],
)
def test_comments_docstrings_and_blank_lines_do_not_count(old, new):
    assert old in SOURCE
    assert normalised(SOURCE) == normalised(SOURCE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sqrt(x)", "sqrt(-x)"),
        ('"# not a comment"', '"# still not"'),
        (":.3f", ":.2f"),
        ("def g", "def h"),
        ("# neither", "#neither"),
        ("first\n\n", "first\n"),
    ],
)
def test_code_counts(old, new):
    assert old in SOURCE
    assert normalised(SOURCE) != normalised(SOURCE.replace(old, new))


@pytest.mark.parametrize(
    "refusal",
    [
        "if x < 0:\n    raise ValueError('x')",
        "if not isinstance(x, float) or len(str(x)) > 9: raise TypeError(f'{x!r}')",
        "if not math.isfinite(x):  # why\n    raise ValueError(\n        f'{x}'\n    ) from None",
        "if x:\n    if x > 3:\n        raise ValueError(x)\n    if x > 2:\n        raise ValueError(x)",
    ],
)
def test_what_can_only_refuse_does_not_count(refusal):
    """What was computed went past it."""
    refusal = textwrap.indent(refusal, "        ") + "\n"
    if refusal.count("if") == 3:  # an `if` that holds refusals alone is empty without them, and stays
        with_one = SOURCE.replace("        # why\n", refusal)
        assert normalised(with_one) == normalised(with_one.replace("x > 3", "x > 4")) != normalised(SOURCE)
    else:
        assert normalised(SOURCE) == normalised(SOURCE.replace("        # why\n", refusal))


@pytest.mark.parametrize(
    "code",
    [
        "if x < 0:\n    return 0",
        "if x < 0:\n    x = 1\n    raise ValueError(x)",
        "if x < 0:\n    raise ValueError(x)\nelse:\n    x = 1",
        "if (x := x + 1) < 0:\n    raise ValueError(x)",
        "if next(x) < 0:\n    raise ValueError(x)",
        "if not x.acquire():\n    raise ValueError(x)",
        "if measured(x)():\n    raise ValueError(x)",
        "raise ValueError(x)",
    ],
)
def test_what_does_more_than_refuse_counts(code):
    changed = SOURCE.replace("        # why\n", textwrap.indent(code, "        ") + "\n")
    assert normalised(changed) != normalised(SOURCE)


def test_what_is_left_is_the_same_program():
    """Of every file of the package, nothing but docstrings and refusals is gone from the syntax tree."""
    for path in provenance.PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert ast.dump(ast.parse(_filled(normalised(source)))) == ast.dump(_bare(ast.parse(source))), path


def _filled(text: str) -> str:
    """With `pass` where a body has become empty."""
    heads = ("if", "elif", "else", "for", "while", "def", "class", "try", "except", "finally", "with", "async", ")")
    lines = text.splitlines() or ["pass"]
    filled = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        filled.append(line)
        indent = len(line) - len(line.lstrip())
        is_head = line.endswith(":") and line.lstrip().startswith(heads)
        if is_head and (line.lstrip()[0] == ")" or line.count("(") >= line.count(")")):
            if len(following) - len(following.lstrip()) > indent:
                continue
            filled.append(" " * (indent + 4) + "pass")
    return "\n".join(filled)


def _bare(tree: ast.Module) -> ast.Module:
    """Without docstrings and refusals, told by the tree alone."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    refusals = [node for node in ast.walk(tree) if provenance._refuses(node)]
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                left = [each for each in block if each not in refusals]
                chained = isinstance(node, ast.If) and field == "orelse"
                is_elif = chained and bool(block) and block[0].col_offset == node.col_offset
                if not left and (block or field == "body") and not is_elif:
                    left = [ast.Pass()]
                setattr(node, field, left)
    return tree


def test_the_closure_follows_imports(tmp_path, monkeypatch):
    package = tmp_path / "rankstudy"
    (package / "sub").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "a.py": "from rankstudy import b\n",
        "b.py": "def f():\n    from rankstudy.sub.c import g\n",
        "sub/__init__.py": "",
        "sub/c.py": "import rankstudy.d\n",
        "d.py": "x = 1\n",
        "unused.py": "x = 1\n",
    }
    for name, source in files.items():
        (package / name).write_text(source)
    monkeypatch.setattr(provenance, "PACKAGE", package)
    assert provenance.reached("a") == {"a", "b", "sub.c", "d"}

    def digest():
        provenance.digest.cache_clear()
        return provenance.digest("a")

    before = digest()
    (package / "unused.py").write_text("x = 2\n")
    assert digest() == before
    (package / "d.py").write_text("x = 1  # one\n")
    assert digest() == before
    (package / "d.py").write_text("x = 2\n")
    assert digest() != before
    provenance.digest.cache_clear()
    with pytest.raises(ValueError, match="nothing"):
        provenance.digest("nothing")


def test_mathematics_retrains_nothing():
    reached = provenance.reached(*provenance.TRAINED)
    assert reached.isdisjoint({"rank", "spectrum", "factorization", "measure"})
    assert "training" in reached and "layers" in reached


ALL = set(questions.CHAPTERS.values())
ALTERNATING = {"approximation", "low_rank_training"}
CHANGES = {  # module -> the experiments that are computed anew when its code changes
    "training": ALL,
    "layers": ALL,
    "subspace": ALL,
    "study.starts": ALL,
    "study.engine": ALL,
    "finetuning": {"lora"},
    "lora": {"lora"},
    "spectrum": ALL - {"data", "training", "intrinsic_dimension"},
    "_linalg.alternating": ALTERNATING,
    "factorization": ALTERNATING,
    "study.experiments.overfitting": {"overfitting", "approximation", "low_rank_training"},
    "registry": set(),  # what an entry does is in the key of what uses it
    "sources": set(),
    "pictures": ALL,  # what is made of a file decides numbers, where it lies does not
    "device": set(),
    "study.store": set(),
    "study.jobs": set(),
    "study.typed": set(),
}


@pytest.mark.parametrize("module", CHANGES)
def test_which_experiment_depends_on_which_module(module):
    found = {name for name in ALL if module in provenance.reached(*questions.module(name).Config.modules())}
    assert found == CHANGES[module]


def test_telling_is_not_computing():
    for name in ALL:
        reached = provenance.reached(*questions.module(name).Config.modules())
        assert not [module for module in reached if module.partition(".")[0] in ("book", "tools")], name


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_the_digest_is_the_same_under_every_python(version, tmp_path):
    """Where another supported Python is installed, it normalises the whole package to the same text."""
    program = (
        "import sys, json, pathlib, importlib.util, types\n"
        "sys.modules['rankstudy'] = types.ModuleType('rankstudy')\n"
        f"spec = importlib.util.spec_from_file_location('p', {str(provenance.PACKAGE / 'study' / 'provenance.py')!r})\n"
        "p = importlib.util.module_from_spec(spec); spec.loader.exec_module(p)\n"
        "files = sorted(p.PACKAGE.rglob('*.py'))\n"
        "print(json.dumps({str(f): p.normalised(f.read_text(encoding='utf-8')) for f in files}))"
    )
    python = _other_python(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    here = {
        str(path): normalised(path.read_text(encoding="utf-8")) for path in sorted(provenance.PACKAGE.rglob("*.py"))
    }
    assert json.loads(done.stdout) == here


def _other_python(version: str) -> str | None:
    import shutil

    candidates = [
        shutil.which(f"python{version}"),
        *map(str, Path(sys.base_prefix).parent.glob(f"{version}.*/bin/python3")),
    ]
    for python in candidates:
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


def test_provenance_names_machine_versions_and_commit():
    found = provenance.describe("a device", 1.23456)
    assert found["device"] == "a device" and found["seconds"] == 1.235
    assert found["peak_memory"] > 1e6 and found["torch"] and found["numpy"] and found["python"]
