"""Hypothesis profiles: `dev` (few, random), `ci` (derandomised, the default), `thorough` (≥ 2,000 examples a property).

HYPOTHESIS_PROFILE chooses one; the number of examples that were really run is printed at the end.
"""

from __future__ import annotations

import os

# side by side (pytest-xdist) each process gets its share of the cores; before anything imports torch or NumPy
if (processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))) > 1:
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", str(max(1, os.cpu_count() // processes)))

import pytest
from hypothesis import HealthCheck, settings

EVERYWHERE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("dev", max_examples=20, **EVERYWHERE)
settings.register_profile("ci", max_examples=60, derandomize=True, database=None, **EVERYWHERE)
settings.register_profile("thorough", max_examples=2000, **EVERYWHERE)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
settings.load_profile(PROFILE)

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
