"""The parts of the README that are results: findings and headline figure, and the tour of a network that is not ours.

`findings` takes what the home page says from the store and commits to it in report/findings.json and
report/images/spectrum.png, with where it comes from; `written` puts that, and benchmarks/results/resnet18.json, between
the README's markers. So the README can be checked against its sources without the study.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankstudy import UsageError, sources
from rankstudy.book.chapters.common import computed_under
from rankstudy.book.tables import Markdown, table

FINDINGS, FIGURE, TOUR = "report/findings.json", "report/images/spectrum.png", "benchmarks/results/resnet18.json"
ALT = (
    "Singular values of the weight matrices of a trained network, one panel per layer: before training, after it, and "
    "of the update. The trained spectrum rises above the random one, most at its top; the update falls more steeply."
)


def findings() -> tuple[dict[str, Any], bytes]:
    """What the home page says under the current profile, and the headline figure as PNG."""
    from rankstudy.book.chapters.conclusions import Home
    from rankstudy.study import questions

    home = Home()
    result = home.chapters["rank"].result
    content = io.BytesIO()
    home.chapters["rank"].spectra().savefig(
        content, format="png", dpi=150, facecolor="white", metadata={"Software": None}
    )
    told = {
        "findings": home.findings().split("\n"),
        "profile": computed_under(result),
        "data": sources.label(result.data),
        "networks": len(home.chapters["training"].history["seeds"]),
        "commits": sorted({each.provenance["commit"] or "unknown" for each in home.results}),
        "devices": sorted({each.provenance["device"] for each in home.results}),
        "date": datetime.datetime.fromtimestamp(
            max(each.provenance["created"] for each in home.results), datetime.UTC
        ).strftime("%Y-%m-%d"),
        "moved_on": [number for number, name in questions.CHAPTERS.items() if home.chapters[name].result.stale],
        "figure": hashlib.sha256(content.getvalue()).hexdigest(),
    }
    return told, content.getvalue()


def findings_text(told: Mapping[str, Any]) -> str:
    commits = ", ".join(f"`{commit}`" for commit in told["commits"])
    quick = "; a quick run: few seeds, wide intervals" if told["profile"] == "quick" else ""
    moved = ", ".join(told["moved_on"])
    stale = f" Computed by code that has changed since then: chapters {moved}." if moved else ""
    origin = (
        f"*Profile `{told['profile']}`{quick}. Data: {told['data']}, computed on {', '.join(told['devices'])}, "
        f"{told['date']}, commit {commits}. The figure shows one of {told['networks']} networks.{stale}*"
    )
    return "\n".join([f"![{ALT}]({FIGURE})", "", *told["findings"], "", origin])


def tour(told: Mapping[str, Any] | None = None) -> Markdown:
    """What `analyze` found in ResNet-18, as a table (on the home page too), and what was done to it."""
    told = told or json.loads((Path(__file__).parents[2] / TOUR).read_text(encoding="utf-8"))
    ((title, (heads, *rows)),) = told["tables"].items()
    origin = f"*{title}; commit `{told['provenance']['commit']}`; `python -m benchmarks resnet18`.*"
    return Markdown(f"{table(heads, rows, download=False)}\n\n{origin}")


def written(text: str, root: Path) -> str:
    """The README's text with what is between its markers made from the committed sources below `root`."""
    for name, path, tell in (("findings", FINDINGS, findings_text), ("tour", TOUR, tour)):
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

    if missing := [name for name in questions.CHAPTERS.values() if not questions.stored(name)]:
        raise UsageError(f"nothing is stored for {', '.join(missing)}; `python -m rankstudy run` computes it")
    told, picture = findings()
    (root / FIGURE).write_bytes(picture)
    (root / FINDINGS).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = written((root / "README.md").read_text(encoding="utf-8"), root)
    (root / "README.md").write_text(text, encoding="utf-8")
    print(f"rankstudy: README.md, {FINDINGS} and {FIGURE} are those of profile {told['profile']}")
    return 0
