"""python -m tests.mutants [NAME ...]: see the package's docstring. Exit status 1 if a mutant survives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def run(tests: Sequence[str], folder: Path) -> subprocess.CompletedProcess:
    """pytest in `folder`, whose `rankstudy` comes before any installed one."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "HYPOTHESIS_PROFILE": "ci", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def killer(path: Path, old: str, new: str, tests: Sequence[str], folder: Path) -> str:
    """The first test that fails with the mutant in place; "" if none does."""
    original = path.read_text(encoding="utf-8")
    if original.count(old) != 1:
        raise SystemExit(f"{path.name} has this {original.count(old)} times, not once: {old!r}")
    path.write_text(original.replace(old, new), encoding="utf-8")
    try:
        result = run(tests, folder)
    finally:
        path.write_text(original, encoding="utf-8")
    if result.returncode == 0:
        return ""
    failed = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if result.returncode > 2 or not failed:  # pytest itself did not work, so nothing was shown
        raise SystemExit(f"the tests did not run with {new!r}:\n{result.stdout}\n{result.stderr}")
    return failed[0].split("::")[-1].split(" - ")[0]


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise SystemExit(f"no mutants of {', '.join(unknown)}; there are mutants of {', '.join(NAMES)}")
    rows, survivors = [], 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part in ("rankstudy", "tests", "benchmarks"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "results"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        for name in names or NAMES:
            module = import_module(f"tests.mutants.{name}")
            unchanged = run(module.TESTS, folder)
            if unchanged.returncode != 0:
                raise SystemExit(f"{' '.join(module.TESTS)} fails without any mutant:\n{unchanged.stdout}")
            for wrong, old, new in module.MUTANTS:
                begun = time.perf_counter()
                test = killer(folder / module.FILE, old, new, module.TESTS, folder)
                survivors += not test
                rows.append([name, wrong, test or "SURVIVED", f"{time.perf_counter() - begun:.0f} s"])
                print(*rows[-1], sep=" | ", flush=True)
    print("\n" + tabulate(rows, headers=["file", "what is wrong", "noticed by", "time"], tablefmt="pipe"))
    print(f"\n{len(rows) - survivors} of {len(rows)} mutants killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
