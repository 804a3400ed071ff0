"""Hypothesis profiles: `dev` (few, random), `ci` (derandomised, the default), `thorough` (≥ 2,000 examples a property).

HYPOTHESIS_PROFILE chooses one; the number of examples that were really run is printed at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# side by side (pytest-xdist) each process gets its share of the cores; before anything imports torch or NumPy
if (processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))) > 1:
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", str(max(1, os.cpu_count() // processes)))

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

EVERYWHERE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("dev", max_examples=20, **EVERYWHERE)
settings.register_profile("ci", max_examples=60, derandomize=True, database=None, **EVERYWHERE)
settings.register_profile("thorough", max_examples=2000, **EVERYWHERE)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
settings.load_profile(PROFILE)
ROOT = Path(__file__).parents[1]

_examples = {"properties": 0, "examples": 0}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """Count the examples of a property test by counting the calls of the function under @given."""
    handle = getattr(getattr(item, "obj", None), "hypothesis", None)
    if handle is None:
        return (yield)
    inner = handle.inner_test
    _examples["properties"] += 1

    def counted(*args, **kwargs):
        _examples["examples"] += 1
        return inner(*args, **kwargs)

    counted.__wrapped__ = inner
    handle.inner_test = counted
    try:
        return (yield)
    finally:
        handle.inner_test = inner


# by the seconds that they take: side by side, a long file that is begun last is waited for
LONGEST = ("prerender", "telling", "parallel", "faults", "handout", "portable", "render", "run", "chapter_rank")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):  # pytest-xdist's: by the number of a file's tests
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one process of several
        session.config.workeroutput["examples"] = _examples


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    for name, count in getattr(node, "workeroutput", {}).get("examples", {}).items():
        _examples[name] += count


def pytest_terminal_summary(terminalreporter) -> None:
    if _examples["properties"]:
        terminalreporter.write_line(
            f"hypothesis profile {PROFILE}: {_examples['examples']} examples of {_examples['properties']} properties"
        )


@pytest.fixture
def thorough() -> bool:
    """Whether a fixed-size test should run at its full size."""
    return PROFILE == "thorough"


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A folder with an empty store in it, and the smoke profile."""
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("RANKSTUDY_PROFILE", "smoke")
    monkeypatch.delenv("RANKSTUDY_DATASET", raising=False)
    return tmp_path


def shared(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder of this run that its processes share."""
    base = factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name


@pytest.fixture(scope="session")
def smoke_store(tmp_path_factory) -> Path:
    """A store for tests that ask it under `smoke` and leave it as it is: what one has computed, the others find. The
    whole of it comes from `test_prerender`, where that runs."""
    return shared(tmp_path_factory, "smoke_store")


@pytest.fixture(scope="session")
def published_book(tmp_path_factory) -> Path:
    """A clone with the book in `_preview`: today's pages, the committed results, and no torch, torchvision or
    scikit-learn to import. Made once, by the process that asks first."""
    folder = shared(tmp_path_factory, "published_book")
    with FileLock(f"{folder}.lock"):
        if not (folder / "_preview").exists():
            shutil.rmtree(folder, ignore_errors=True)
            for name in ("rankstudy", "report", "benchmarks", "published"):
                shutil.copytree(ROOT / name, folder / name)  # with its byte code, if there is any
            for name in ("_quarto.yml", "index.qmd", "tutorial.ipynb"):
                shutil.copy(ROOT / name, folder)
            done = without_torch(folder, "preview")
            assert done.returncode == 0, done.stderr
    return folder


NO_TORCH = """
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "sklearn"):
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Forbidden())
"""


def without_torch(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a clone of the project, where torch, torchvision and scikit-learn cannot be imported."""
    (clone / "sitecustomize.py").write_text(NO_TORCH)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RANKSTUDY_")}
    environment |= {"PYTHONPATH": str(clone), "RANKSTUDY_PROFILE": "published"}
    told = {"cwd": clone, "env": environment, "capture_output": True, "text": True}
    assert "torch is not installed" in subprocess.run([sys.executable, "-c", "import torch"], **told).stderr
    return subprocess.run([sys.executable, "-m", "rankstudy", *arguments], **told)
