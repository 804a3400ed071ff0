"""One mutant, tried in a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("rankstudy", "tests", "benchmarks")


@contextlib.contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Both streams, at the level of the process: what pytest itself says when it fails goes there too."""
    with path.open("w", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        yield
        sys.stdout.flush()
        sys.stderr.flush()


def tests_of(name: str, mutant: int | None) -> tuple[str, float]:
    """The first test that fails with that mutant in place ("" if none does), and the seconds it took.

    None: with nothing changed. It runs in a process of its own and a folder of its own,
    whose `rankstudy` and `tests` come before any others.
    """
    begun = time.perf_counter()
    module = import_module(f"tests.mutants.{name}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part in COPIED:
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("results"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        if mutant is not None:
            _, old, new = module.MUTANTS[mutant]
            path = folder / module.FILE
            original = path.read_text(encoding="utf-8")
            if original.count(old) != 1:
                raise SystemExit(f"{path.name} has this {original.count(old)} times, not once: {old!r}")
            path.write_text(original.replace(old, new), encoding="utf-8")
        for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] in COPIED]:
            del sys.modules[loaded]
        sys.path.insert(0, str(folder))
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": str(folder), "HYPOTHESIS_PROFILE": "ci"}  # tests start processes too
        output = folder / "output.txt"
        with written_to(output):
            code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *module.TESTS])
        said = output.read_text(encoding="utf-8", errors="replace")
        used = sys.modules.get("rankstudy")
        if used is None or not Path(str(used.__file__)).is_relative_to(folder):
            raise SystemExit(f"the tests of {name} read another rankstudy: {used}")
        os.chdir(ROOT)
    failed = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if code > 2 or (code and not failed):  # pytest itself did not work, so nothing was shown
        raise SystemExit(f"the tests of {name} did not run:\n{said}")
    return (failed[0].split("::")[-1].split(" - ")[0] if failed else ""), time.perf_counter() - begun
