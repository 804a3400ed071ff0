"""The parts of the README that are results: the home page's findings and figure, the tour of a network that is not
ours, and what truncation does to those of public packages.

`findings` takes what the home page's cards say from the store and commits to it in report/findings.json and
report/images/truncation.png, with where it comes from; `written` puts that, and two of benchmarks/results, between the
README's markers. So the README can be checked against its sources without the study.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankstudy import UsageError
from rankstudy.book import kept
from rankstudy.book.tables import Markdown, table

ROOT = Path(__file__).parents[2]
FINDINGS, FIGURE = "report/findings.json", "report/images/truncation.png"
TOUR, NETWORKS = "benchmarks/results/resnet18.json", "benchmarks/results/networks.json"
ALT = "Against the rank of the truncated matrices: how far they are off, and how many test digits are read right."


def findings() -> tuple[dict[str, Any], bytes]:
    """What the home page's cards say under the current profile, and its figure as PNG."""
    from rankstudy.book import notebook, plots, results

    with tempfile.TemporaryDirectory() as folder:
        page = notebook.markdown(notebook.execute(ROOT / "index.qmd"), Path(folder))
    content = io.BytesIO()
    drawn, _ = plots.truncation(results.approximation()).static.figures  # the curves, and the images beside them
    drawn.savefig(content, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    told = {
        "findings": cards(page),
        "origin": json.loads(re.search(r"^````\{\.json\}\n(.*)\n````$", page, re.M)[1])["provenance"],  # type: ignore[index]
        "figure": hashlib.sha256(content.getvalue()).hexdigest(),
    }
    return told, content.getvalue()


def cards(page: str) -> list[str]:
    """The cards of a page's Markdown, each as one paragraph of the README, its sentences by their verdicts."""
    from rankstudy.book.pages import STYLES, element, elements, pandoc

    tree = json.loads(pandoc("index.qmd", page, "-f", "markdown", "-t", "json", "--lua-filter", STYLES / "telling.lua"))
    found = []
    for node in elements(tree["blocks"]):
        if node["t"] == "Superscript":  # of which GitHub's Markdown knows nothing
            node.update(element("Span", ["", [], []], [{"t": "Space"}, *node["c"]]))
    for node in elements(tree["blocks"]):
        if node["t"] == "Div" and "cards" in node["c"][0][1]:
            for card in node["c"][1]:
                inlines = [part for block in card["c"][1] for part in (*block["c"], {"t": "Space"})]
                one = json.dumps({**tree, "blocks": [element("Para", inlines)]})
                found.append(pandoc("README.md", one, "-f", "json", "-t", "gfm-raw_html", "--wrap=none").strip())
    return found


def findings_text(told: Mapping[str, Any]) -> str:
    listed = [f"{number}. {finding}" for number, finding in enumerate(told["findings"], 1)]
    origin = f"*{told['origin']}. ✓: a hypothesis that these results support.*"
    return "\n".join([f"![{ALT}]({FIGURE})", "", *listed, "", origin])


def tour(told: Mapping[str, Any] | None = None) -> Markdown:
    """What `analyze` found in ResNet-18, as a table, and what was done to it."""
    told = told or json.loads((ROOT / TOUR).read_text(encoding="utf-8"))
    ((title, (heads, *rows)),) = told["tables"].items()
    origin = f"*{title}; commit `{told['provenance']['commit']}`; `python -m benchmarks resnet18`.*"
    return Markdown(f"{table(heads, rows, download=False)}\n\n{origin}")


def networks(told: Mapping[str, Any]) -> Markdown:
    """What truncation does to networks of public packages, and where that was measured."""
    shown = kept.table_of(told, "Behaviour", download=False)
    return Markdown(f"{shown}\n\n*{kept.origin(told)}; `python -m benchmarks networks`.*")


def written(text: str, root: Path) -> str:
    """The README's text with what is between its markers made from the committed sources below `root`."""
    parts = (("findings", FINDINGS, findings_text), ("tour", TOUR, tour), ("networks", NETWORKS, networks))
    for name, path, tell in parts:
        told = tell(json.loads((root / path).read_text(encoding="utf-8")))
        pattern = rf"(?<=<!-- {name}: made by `python -m rankstudy readme` -->\n).*?(?=<!-- /{name} -->)"
        text, count = re.subn(pattern, lambda _, told=told: f"\n{told}\n\n", text, flags=re.S)
        if count != 1:
            raise UsageError(f"the README has {count} places for {name}; it must have one")
    return text


def main(argv: Sequence[str]) -> int:
    """`readme`: rewrites the sources from the store and the README from them."""
    description = "Write the README's findings and figure from the results of the profile."
    argparse.ArgumentParser(prog="python -m rankstudy readme", description=description).parse_args(argv[1:])
    root = Path.cwd()
    if not (root / "README.md").exists():
        raise UsageError(f"no README.md in {root}; start this in the project's folder")
    from rankstudy.study import questions

    if missing := [name for name in questions.known() if not questions.stored(name)]:
        raise UsageError(f"nothing is stored for {', '.join(missing)}; `python -m rankstudy run` computes it")
    told, picture = findings()
    (root / FIGURE).write_bytes(picture)
    (root / FINDINGS).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = written((root / "README.md").read_text(encoding="utf-8"), root)
    (root / "README.md").write_text(text, encoding="utf-8")
    print(f"rankstudy: README.md, {FINDINGS} and {FIGURE} say: {told['origin']}")
    return 0
