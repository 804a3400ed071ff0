"""What a page asks of its reader, counted: `python -m tests.page_checks report/03-rank.qmd …`, or all pages.

Words, "±", numbers per paragraph, figures, tables, open cells and how many of them use public names, and where the
answers stand, all read from the source. Story pages that are done (DONE) must keep within the design's limits; the
others are only counted.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from rankstudy.book import notebook

ROOT = Path(__file__).parents[1]
DONE = (  # grows page by page
    "index.qmd",
    "report/01-data.qmd",
    "report/02-training.qmd",
    "report/03-rank.qmd",
    "report/04-overfitting.qmd",
    "report/05-approximation.qmd",
    "report/06-low-rank-training.qmd",
    "report/07-conclusions.qmd",
    "report/08-lora.qmd",
)
WORDS, LONGER = 1200, {"report/08-lora.qmd": 1500, "report/07-conclusions.qmd": 1500, "index.qmd": 400}
FIGURES, MORE_FIGURES = 4, {"report/03-rank.qmd": 5, "report/06-low-rank-training.qmd": 5}
TABLES, NUMBERS, LINES, COLUMNS, FOLDED_COLUMNS, QUESTIONS = 2, 3, 15, 72, 66, 6
HOME, HOME_QUESTIONS, ANSWER = "index.qmd", (18, 20), 12  # words of an answer
PUBLIC = re.compile(r"\b(?:from|import) rankstudy(?!\.book\.chapters)")


@dataclass(frozen=True)
class Counts:
    """Of one page."""

    words: int  # of running text: no captions, listings, short answer's questions, folded answers
    plus_minus: int  # "±" in running text
    numbers: int  # the most in one paragraph
    figures: int
    tables: int
    open_cells: int
    public: int  # open cells that use the package's public names, or what an earlier one defined
    answers_at: int  # how far down the short answer begins, in per cent of the running text; −1: there is none


def cells(text: str) -> list[tuple[dict[str, str], str]]:
    """(options, code) of each executable cell."""
    found = []
    for match in notebook.CODE.finditer(text):
        if match["cell"] is not None:
            options = dict(re.findall(r"^#\| *([\w-]+): *(.*)$", match["cell"], re.M))
            found.append((options, re.sub(r"^#\|.*\n", "", match["cell"], flags=re.M)))
    return found


def open_cells(text: str) -> list[str]:
    """Code that is shown unfolded."""
    return [code for options, code in cells(text) if options.get("code-fold") == "false"]


def running(text: str) -> str:
    """The text that is read from top to bottom; an inline number counts as one word, N."""
    text = re.sub(r"\A---\n.*?^---\n", "", text, flags=re.M | re.S)
    text = notebook.CODE.sub(lambda match: "N" if match["inline"] else "", text)
    text = re.sub(r"^::: *\{(?:#fig|#tbl|\.answer).*?^:::$", "", text, flags=re.M | re.S)
    text = re.sub(r"^(```+).*?^\1 *$|^[|][^\n]*$|<!--.*?-->|^:::[^\n]*$", "", text, flags=re.M | re.S)
    text = re.sub(r"\$\$?[^$]+\$\$?", "formula", text)
    text = re.sub(r"\b(Tasks?|exercise|digits?) \d\b", r"\1", text)
    return re.sub(r"\{[^{}]*\}|@[\w-]+|\]\([^)]*\)|[\[\]*#`]", " ", text)


def questions(text: str) -> list[list[str]]:
    """[task, question, answer, chapter] of each row of the home page's table; a task is named in its first row."""
    table = re.search(r"^::: \{\.questions\}$(.*?)^:::$", text, re.M | re.S)
    lines = re.findall(r"^\|(.*)\|$", table[1], re.M)[2:] if table else []
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def words(text: str) -> int:
    """Of running text; an inline number is one."""
    return len(re.findall(r"[^\W_]+(?:[’'-][^\W_]+)*", running(text)))


def count(text: str) -> Counts:
    """What the source of a page holds."""
    read = running(text)
    paragraphs = re.split(r"\n\s*\n", read)
    place = text.find("{.short-answer")
    before = running(text[:place]) if place >= 0 else ""
    opened = open_cells(text)
    return Counts(
        words=words(text),
        plus_minus=read.count("±"),
        numbers=max(len(re.findall(r"\bN\b|(?<![\w.])\d[\d.,]*", part)) for part in paragraphs),
        figures=len(re.findall(r"^::: *\{#fig-|^#\| label: fig-", text, re.M)),
        tables=len(re.findall(r"^::: *\{#tbl-|^#\| label: tbl-", text, re.M)),
        open_cells=len(opened),
        public=_public(opened),
        answers_at=round(100 * len(before.split()) / max(1, len(read.split()))) if place >= 0 else -1,
    )


def _public(opened: Sequence[str]) -> int:
    """Cells that import from the package, or use a name that an earlier one imported or made."""
    known: set[str] = set()
    found = 0
    for code in opened:
        names = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
        found += bool(PUBLIC.search(code) or names & known)
        known |= names if PUBLIC.search(code) or names & known else set()
    return found


def beyond(page: str, text: str) -> list[str]:
    """Where a page passes the limits of a story page that is done."""
    found = count(text)
    faults = []

    def most(what: str, value: int, limit: int) -> None:
        if value > limit:
            faults.append(f"{what}: {value}, at most {limit}")

    most("words", found.words, LONGER.get(page, WORDS))
    most("± in running text", found.plus_minus, 0)
    most("numbers in a paragraph", found.numbers, NUMBERS)
    most("figures", found.figures, MORE_FIGURES.get(page, FIGURES))
    most("tables", found.tables, TABLES)
    if page == HOME:
        rows = questions(text)
        if not HOME_QUESTIONS[0] <= len(rows) <= HOME_QUESTIONS[1]:
            faults.append(f"questions: {len(rows)}, between {HOME_QUESTIONS[0]} and {HOME_QUESTIONS[1]}")
        for _, question, answer, _ in rows:
            most(f"words of the answer to {question!r}", words(answer), ANSWER)
    else:
        most("per cent down to the short answer", found.answers_at if found.answers_at >= 0 else 100, 5)
        if not found.open_cells:
            faults.append("no open cell")
    if found.public < found.open_cells:
        faults.append(f"open cells without public names: {found.open_cells - found.public}")
    folded = "\n".join(re.findall(r"^::: *\{\.answer.*?^:::$", text, re.M | re.S))
    for code in open_cells(text):
        most(f"lines of the cell {code.splitlines()[0]!r}", len(code.strip().splitlines()), LINES)
        limit = FOLDED_COLUMNS if code in folded else COLUMNS
        most(f"columns of the cell {code.splitlines()[0]!r}", max(map(len, code.splitlines())), limit)
    box = re.search(r"^::: *\{\.short-answer.*?^:::$", text, re.M | re.S)
    most("questions in the short answer", len(re.findall(r"^: ", box[0], re.M)) if box else 0, QUESTIONS)
    return faults


def main(pages: Sequence[str]) -> int:
    """Prints a line a page; 1 if a page that is done passes a limit."""
    chosen = pages or ["index.qmd", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("report/*.qmd"))]
    names = [field.name for field in fields(Counts)]
    print(f"{'page':32} " + " ".join(f"{name:>10}" for name in names))
    failed = False
    for page in chosen:
        text = (ROOT / page).read_text(encoding="utf-8")
        found = count(text)
        print(f"{page:32} " + " ".join(f"{getattr(found, name):10}" for name in names))
        for fault in beyond(page, text) if page in DONE or page in pages else ():
            failed = failed or page in DONE
            print(f"    {fault}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
