"""One name for a chapter everywhere: its number, its experiment or its page.

`3`, `03`, `rank`, `03-rank`, `03-rank.qmd` and `report/03-rank.qmd` are one chapter, for every command.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from rankstudy import UsageError
from rankstudy.study import questions

SUMMARIES = ("index", "07-conclusions")  # pages that draw on every experiment


def find(wanted: str, pages: Sequence[str]) -> str | None:
    """The page that a name stands for; of several (a chapter and its evidence) the first.

    Args:
        wanted: a number, a name, or a path with or without its suffix.
        pages: paths without suffix, such as `report/03-rank`.

    Example:
        >>> find("3", ["index", "report/03-rank"])
        'report/03-rank'
    """
    asked = _plain(wanted)
    if not asked.strip("."):
        return None
    for page in pages:
        whole = _plain(page)
        number, _, title = whole.rpartition("/")[2].partition("-")
        same = f"/{whole}".endswith(f"/{asked}") or asked.endswith(f"/{whole}")  # either may say more of the path
        if number.isdigit():
            same = same or asked == title or (asked.isdigit() and int(asked) == int(number))
        if same:
            return page
    return None


def experiments(chapters: Sequence[str]) -> list[str]:
    """The experiments that chapters draw on, in the book's order; all of them where no chapter is named.

    Raises:
        UsageError: there is no such chapter.
    """
    pages = {f"{number}-{name}": [name] for number, name in questions.CHAPTERS.items()}
    pages |= {page: list(questions.CHAPTERS.values()) for page in SUMMARIES}
    chosen: set[str] = set()
    for chapter in chapters:
        page = find(chapter, list(pages))
        if page is None:
            known = ", ".join(f"{number} {name}" for number, name in questions.CHAPTERS.items())
            raise UsageError(f"there is no chapter {chapter!r}; there are {known}")
        chosen.update(pages[page])
    return [name for name in questions.CHAPTERS.values() if name in chosen or not chapters]


def number(experiment: str) -> str:
    """The number of an experiment's chapter: "03"."""
    return next(number for number, name in questions.CHAPTERS.items() if name == experiment)


def _plain(name: str) -> str:
    path = PurePath(name.strip().replace("\\", "/").lower().replace("_", "-"))
    return (path.with_suffix("") if path.suffix in (".qmd", ".html") else path).as_posix()
