"""Quarto's step before rendering: compute what is missing. `RANKSTUDY_SKIP_RUN` set: somebody has done so already."""

import os
import sys
from pathlib import Path

if not os.environ.get("RANKSTUDY_SKIP_RUN"):
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from rankstudy.__main__ import main

    sys.exit(main(["run", "--quiet"]))
