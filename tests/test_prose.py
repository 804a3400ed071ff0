"""Numbers in prose come from results: a page has none that was typed, but for what is cited or given.

`prose` takes away what is not prose (code, formulas, attributes, references). What is left may hold a number only as
[750]{.cited}, as a name (Task 2, the digit 9), or in one of the phrases of GIVEN.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from rankstudy.book.notebook import CODE

ROOT = Path(__file__).parents[1]
CHAPTERS = [ROOT / "index.qmd", *sorted((ROOT / "report").rglob("*.qmd"))]


def name(chapter: Path) -> str:
    """03-rank, or evidence/03-rank."""
    return chapter.relative_to(ROOT).with_suffix("").as_posix().removeprefix("report/")


NO_PROSE = [
    r"(?m)^(```+)(?!\s*\{python).*?^\1",  # code that is only shown
    r"<!--.*?-->",
    r"\$\$.*?\$\$",
    r"\$[^$\n]+\$",
    r"`[^`\n]+`",
    r"\[[^\]]*\]\{\.cited\}",
    r"\[(?:Chapter )?\d\]\(report/0\d[^)]*\)",  # a chapter's number; tests/test_home.py compares it with its file's
    r"\{claim=[^}]*\}",
    r"\{[#.][^}]*?\}",  # labels and classes; a callout's title is prose and is looked at by itself
    r"\]\([^)]*\)",
    r"@[\w-]+",
]
NAMES = [
    r"\bTasks? \d\b",
    r"\bdigits? (?:from )?\d(?:(?: to |, | and )\d)*\b",
    r"\bepoch 0\b",
    r"(?:±|\b(?:its|are|and|with|bands,?)) 95 % (?:Student-t )?(?:intervals?|bands?|over)\b|; 95 % intervals",
    r"^\d\. ",  # a numbered list
]
GIVEN = {  # what is asked, and what the words on the page mean; never what came out
    "index": ("to 95 % or more",),
    "01-data": ("**1. Back", "**2. How many", "**3. How many"),
    "02-training": (
        "Does a plain network reach 95 %?",
        "read at least 95 % of the test images",
        "ends at 95 % or more",
        "(exercise 2)",
        "**1. When does each network pass 95 %?",
        "gives 0 also to one",
        "**2. How exact",
        "**3. What would",
    ),
    "evidence/02-training": ("Intervals are 95 % Student t", "ends at 95 % or more", "Epoch 0 is"),
    "03-rank": (
        "(exercise 2)",
        "(exercise 3)",
        "**1. Where",
        "Which one makes it 255",
        "**2. Make a matrix of rank 32.",
        "**3. Is it",
    ),
    "evidence/03-rank": (
        "fresh seeds, from 100 on",
        "Intervals are 95 % Student t",
        "95 % quantile",
        "in bfloat16 from 128 rows on",
    ),
    "change-something": ("their numbers from 0",),
    "04-overfitting": (
        "**1. Stop early.",
        "**2. Another",
        "**3. How low",
    ),
    "evidence/04-overfitting": (
        "Intervals are 95 % Student t",
        "Epoch 0 is",
        "the images (layer 0)",
        "a width of 1,024",
    ),
    "05-approximation": ("**1. How many", "**2. When does", "**3. Does another"),
    "evidence/05-approximation": (
        "fresh seeds, from 100 on",
        "Intervals are 95 % Student t",
        "the third keeps 90 % of the squared norm",
    ),
    "06-low-rank-training": (
        "(exercise 3)",
        "From 32 MiB of outputs",
        "**1. When does the output",
        "**2. How many units",
        "**3. How small",
    ),
    "evidence/06-low-rank-training": ("Intervals are 95 % Student t",),
    "08-lora": (
        "at 90 % on the new digit by",
        "its section 4.3",
        "When 90 % of the new digit is read, 90 % of the squared norm of full",
        "on GPT-3 LoRA took",
        "**1. From which rank on",
        "**2. How much of an update",
        "that rank 4 keeps of each",
        "**3. Which score",
    ),
    "evidence/08-lora": (
        "intervals are 95 % Student t",
        "learning rates √2 apart",
        "on the old digits when 90 %",
        "at which 90 % of the new digit",
        ", algorithm 1]",
        "for GPT-3",
    ),
    "teachers": (
        "**256 for every layer.**",
        '**"Only 0.3 points less."**',
        "gives 256 for all layers",  # a student's solution
        "Rank 16 keeps",
        "effective rank is 16",
        "loses only 0.3 points",
        "to 98 % in half",
        "and 0.3 points are many errors",
    ),
    "07-conclusions": (
        "GPT-3",
        "the bar its 95 % interval",
        "of so many 95 % intervals",
        "(exercise 1)",
        "(exercise 2)",
        "**1. Reach",
        "**2. Denoise",
        "a matrix of rank 32",
        "**3. Does",
    ),
    "09-intrinsic-dimension": (
        "90 % of the test images",
        "a *test accuracy of 0.90*",
        "90 % of what the same network",
        "Dimensions to a test accuracy of 0.90, and to 90 % of",
        "passes 0.90 in",
        "need more dimensions to 0.90",
        "the digits 5 to 9 alone",
    ),
}


def prose(text: str) -> str:
    """What a reader reads as text, captions and titles of boxes included."""
    code = "".join(cell["cell"] or "" for cell in CODE.finditer(text))
    captions = re.findall(r'^#\| (?:fig-cap|tbl-cap|fig-alt): "(.*)"$', code, re.M)
    titles = re.findall(r'\{\.callout-[^}]*?title="([^"]*)"', text)
    text = re.sub("[\u00a0\u202f]", " ", "\n".join([CODE.sub("", text), *titles, *captions]))  # no-break spaces
    for pattern in NO_PROSE:
        text = re.sub(pattern, " ", text, flags=re.S)
    return text


def literals(text: str, given: Sequence[str] = ()) -> list[str]:
    """The typed numbers of a page, each with the words around it."""
    text = prose(text)
    for pattern in [*map(re.escape, given), *NAMES]:
        text = re.sub(pattern, " ", text, flags=re.M)
    found = re.finditer(r"(?<![\w.~])\d[\d.,]*", text)
    return [text[max(0, number.start() - 30) : number.end() + 25].replace("\n", " ") for number in found]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=name)
def test_no_number_in_prose_is_typed(chapter):
    assert literals(chapter.read_text(encoding="utf-8"), GIVEN.get(name(chapter), ())) == []


@pytest.mark.parametrize(("chapter", "phrase"), [(page, each) for page, phrases in GIVEN.items() for each in phrases])
def test_what_is_given_is_still_said(chapter, phrase):
    (page,) = (path for path in CHAPTERS if name(path) == chapter)
    assert phrase in prose(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "typed",
    [
        "The accuracy is 0.981.",
        "It needs **12** directions.",
        "Rank 7 is enough.",
        "About 3,000 of them, ± 2 points.",
        "a [750] that is cited without saying so",
        '```{python}\n#| label: fig-x\n#| fig-cap: "It falls to 31 %."\nx\n```',
        '::: {.callout-note title="All 44 of them"}\ntext\n:::',
        "a test accuracy of 95 %",
        "mean of 5, after 95 % of the images",
    ],
)
def test_a_typed_number_is_found(typed):
    assert len(literals(typed)) >= 1


@pytest.mark.parametrize(
    "fine",
    [
        'It is `{python} text["x1"]`, see @fig-rank-2 and @li2018.',
        "Li et al. report [750]{.cited}; Task 4 and the digit 9; mean ± 95 % interval; the digits 0, 3 and 5",
        "$a_1 = 2$ and\n$$\n3 x\n$$ {#eq-x1}",
        "float32, σ₁, W₀, d90, `rank=3`, [a link](page-2.html)",
        "```{python}\n#| label: fig-x2\nchapter.figure(4)\n```",
        "1. first\n2. second",
        "```sh\ncompress --rank-error 0.05\n```",
    ],
)
def test_what_is_no_typed_number_is_left_alone(fine):
    assert literals(fine) == []
