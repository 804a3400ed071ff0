"""Quarto's step before rendering: compute what is missing. `RANKSTUDY_SKIP_RUN` set: somebody has done so already.

Everything is below the guard: a worker process imports the program that started it, and would do all of it again.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__" and not os.environ.get("RANKSTUDY_SKIP_RUN"):
    sys.path.insert(0, str(Path(__file__).parents[2]))
    try:
        from rankstudy import console
        from rankstudy.__main__ import main

        console.run(lambda: main(["run", "--quiet"]))
    except ModuleNotFoundError as error:  # Quarto has chosen another Python than the one that all is installed in
        sys.exit(
            f"rankstudy: {sys.executable} has no {error.name}; set QUARTO_PYTHON to the Python of the environment, "
            "for example .venv/bin/python"
        )
