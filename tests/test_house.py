"""The house holds: imports point up the list, importing does nothing, and the lists that say the same thing agree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import rankstudy
from rankstudy.study import questions

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rankstudy"
FLOORS = [  # a module may import from its own floor and the floors above it in this list; a folder is on one floor
    {"__init__", "registry", "sources", "pictures", "config", "console", "device", "files"},
    {"_linalg", "rank", "spectrum", "factorization"},
    {"replace", "targets", "places", "layers", "lora", "lora_layers", "subspace"},
    {"data", "training", "snapshot", "finetuning", "measure"},
    {"study"},
    {"book"},
    {"tools"},
    {"__main__"},
]


def modules() -> list[str]:
    return [".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in sorted(PACKAGE.rglob("*.py"))]


def floor(name: str) -> int:
    (number,) = (number for number, names in enumerate(FLOORS) if name.partition(".")[0] in names)
    return number


def imports(source: str) -> set[str]:
    """The modules of the package that a source imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rankstudy":
            parent = node.module.partition(".")[2]
            found |= {name for alias in node.names if (name := f"{parent}.{alias.name}".lstrip(".")) in EVERYTHING}
            found |= {parent} & EVERYTHING
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("rankstudy.")}
    return found


EVERYTHING = {name.removesuffix(".__init__") for name in modules()}


def against(name: str, source: str) -> list[str]:
    """What a module imports from further down the list."""
    return [other for other in imports(source) if floor(other) > floor(name)]


@pytest.mark.parametrize("name", modules())
def test_imports_point_up(name):
    source = PACKAGE.joinpath(*name.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    assert not against(name, source)


@pytest.mark.parametrize(
    "name, planted",
    [
        ("rank", "from rankstudy.layers import MLP"),
        ("layers", "def f():\n    from rankstudy import training"),
        ("study.experiments.rank", "import rankstudy.book.stats"),
        ("_linalg.gram", "from rankstudy.study import store"),
    ],
)
def test_an_import_against_the_direction_is_noticed(name, planted):
    assert against(name, planted)


def test_only_figures_and_plots_import_matplotlib():
    users = [
        name
        for name in modules()
        if re.search(
            r"^\s*(import|from) matplotlib",
            (PACKAGE.joinpath(*name.split(".")).with_suffix(".py")).read_text(encoding="utf-8"),
            re.M,
        )
    ]
    assert all(name == "tools.figure" or name.startswith("book.plots.") for name in users)


CHAPTERS = [
    f"{folder}.{name}"
    for folder in ("study.experiments",)
    for name in questions.known()
    if (ROOT / "rankstudy" / folder.replace(".", "/") / f"{name}.py").exists()
]
LIGHT = [
    "study.engine",
    *CHAPTERS,
    "study.store",
    "rank",
    "spectrum",
    "factorization",
    "study.run",
]


def test_the_render_path_imports_no_torch():
    program = (
        f"import sys\nimport {', '.join(f'rankstudy.{name}' for name in LIGHT)}\n"
        "print([name for name in ('torch', 'torchvision', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_what_a_newcomer_types_first_is_there_and_importing_it_is_light():
    """Every name of the package's `__all__` can be had from it; torch comes with those that need it, and not before."""
    program = (
        "import sys, rankstudy\n"
        "print('torch' in sys.modules, set(rankstudy.__all__) <= set(dir(rankstudy)))\n"
        "rankstudy.matrix_rank, rankstudy.truncated_svd, rankstudy.entropy_rank\n"
        "print('torch' in sys.modules)\n"
        "print([name for name in rankstudy.__all__ if not callable(getattr(rankstudy, name))])\n"
        "from rankstudy import MLP, layers, factorised\n"
        "print(MLP is layers.MLP, factorised is layers.factorised)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split("\n") == ["False True", "False", "[]", "True True", ""], done.stderr
    with pytest.raises(AttributeError, match="module 'rankstudy' has no attribute 'rnak'"):
        rankstudy.rnak  # noqa: B018


def test_importing_everything_does_nothing(tmp_path):
    """No file read or written outside the installation, no network, no output."""
    names = [f"rankstudy.{name}".removesuffix(".__init__") for name in modules() if not name.endswith("__main__")]
    program = (
        "import sys, socket\n"
        "def no(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = no\n"
        f"import {', '.join(names)}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def _requirements() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["report"], *extras["test"]]
    return dict(re.fullmatch(r"([A-Za-z0-9_.-]+)>=([\d.]+)", line).groups() for line in lines)


def test_conda_and_pip_install_the_same():
    other = {"torch": "pytorch", "matplotlib": "matplotlib-base", "pypandoc_binary": "pypandoc"}
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    listed = dict(
        re.fullmatch(r"([a-z0-9_-]+)>=([\d.]+)", line).groups()
        for line in conda
        if isinstance(line, str) and ">" in line
    )
    for name, version in _requirements().items():
        assert listed.pop(other.get(name, name), None) == version, name
    assert set(listed) == {"python", "quarto", "pandoc"}


def test_reading_needs_what_rendering_needs_and_no_torch():
    """Nor Quarto's own engine, since chapters come to it executed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["report"]]
    computing = ("torch>", "torchvision>", "scikit-learn>", "jupyter>")
    text = (ROOT / "requirements-read.txt").read_text(encoding="utf-8")
    read = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert read == [line for line in lines if not line.startswith(computing)]


def test_every_dependency_is_bounded_below_and_used():
    source = "\n".join(
        path.read_text(encoding="utf-8") for folder in ("rankstudy", "tests") for path in (ROOT / folder).rglob("*.py")
    )
    imported = {"scikit-learn": "sklearn", "pyyaml": "yaml", "pypandoc_binary": "pypandoc", "python-flint": "flint"}
    indirect = {"jupyter", "ipykernel", "pytest-cov", "pytest-xdist"}  # Quarto's engine, the kernel, options of pytest
    for name in _requirements().keys() - indirect:
        module = imported.get(name, name)
        assert re.search(rf"(import|from) {module}\b|importorskip\(\"{module}", source), name


def test_the_tree_in_the_readme_is_the_tree():
    """Every module has its line, under its folder; but for the pieces that one module shares with nobody."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = re.search(r"^## The tree.*?```\n(.*?)```", text, re.M | re.S)[1]
    for name in modules():
        head, _, rest = name.partition(".")
        if name.endswith("__init__") or rest.startswith(("experiments.", "chapters.", "claims.")):
            continue
        last = re.escape((rest or head).rpartition(".")[2])
        assert re.search(rf"\b{last}(\.py)?\b", tree), f"README's tree lacks {name}"


def test_the_workflow_calls_what_there_is_and_publishes_page_and_pdf():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test-and-publish.yml").read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    called = {name for step in steps for name in re.findall(r"make ([\w-]+)", step.get("run", ""))}
    assert called == {"test", "check", "audit", "report", "check-report"}
    assert all(re.search(rf"^{name}:", makefile, re.M) for name in called)
    assert {"push", "pull_request"} <= workflow[True].keys()  # YAML reads `on` as true
    uploads = {step["uses"].partition("@")[0]: step["with"]["path"] for step in steps if "path" in step.get("with", {})}
    assert uploads == {"actions/upload-artifact": "_book/*.pdf", "actions/upload-pages-artifact": "_book"}
