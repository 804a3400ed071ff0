"""Quarto's step after rendering: each chapter's notebook beside its page, where the whole book was rendered as HTML.

`RANKSTUDY_SKIP_RUN` set: somebody does so who has the executed pages already. Everything is below the guard, as in
`prerender.py`.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__" and not os.environ.get("RANKSTUDY_SKIP_RUN") and os.environ.get("QUARTO_PROJECT_RENDER_ALL"):
    root = Path.cwd()
    sys.path.insert(0, str(Path(__file__).parents[2]))
    if any(path.endswith(".html") for path in os.environ["QUARTO_PROJECT_OUTPUT_FILES"].splitlines()):
        from rankstudy import console
        from rankstudy.book import handout

        console.run(lambda: handout.main(root, root / os.environ["QUARTO_PROJECT_OUTPUT_DIR"] / "report"))
