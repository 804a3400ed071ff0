"""The blocks of report/tools.qmd that need torch, run in order; the page shows what they printed, from the result.

Nothing is fetched: MNIST where it is there, else the fallback data.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import report

PAGE = Path(__file__).parents[1] / "report" / "tools.qmd"
OUTPUTS = "outputs"


def main(arguments: list[str]) -> None:
    argparse.ArgumentParser(prog="python -m benchmarks tools", description=__doc__).parse_args(arguments)
    begun = time.perf_counter()
    rows = [[code, output] for code, output in run(blocks())]
    report("tools", [], time.perf_counter() - begun, {OUTPUTS: [["code", "printed"], *rows]})


def blocks() -> list[str]:
    """The code that the page shows and does not execute."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def run(codes: list[str]) -> list[tuple[str, str]]:
    """Each block and what it printed, in one namespace and a folder that vanishes."""
    names: dict[str, Any] = {"__name__": "__main__"}
    found, before = [], Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for code in codes:
                output = io.StringIO()
                with contextlib.redirect_stdout(output):
                    exec(compile(code, str(PAGE), "exec"), names)
                found.append((code, output.getvalue()))
        finally:
            os.chdir(before)
    return found
