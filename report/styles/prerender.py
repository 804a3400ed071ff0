"""Quarto's step before rendering: compute what is missing, and write down what was run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))  # Quarto starts it in the project's folder

from rankstudy.book import prerender

sys.exit(prerender())
