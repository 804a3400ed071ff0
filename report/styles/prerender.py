"""Quarto's step before rendering: compute what is missing. `RANKSTUDY_SKIP_RUN` set: somebody has done so already."""

import os
import sys
from pathlib import Path

if not os.environ.get("RANKSTUDY_SKIP_RUN"):
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from rankstudy.__main__ import main

    try:
        sys.exit(main(["run", "--quiet"]))
    except ModuleNotFoundError as error:  # Quarto has chosen another Python than the one that all is installed in
        sys.exit(
            f"rankstudy: {sys.executable} has no {error.name}; set QUARTO_PYTHON to the Python of the environment, "
            "for example .venv/bin/python"
        )
