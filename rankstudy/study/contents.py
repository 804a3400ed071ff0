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

    An experiment's own name is that experiment alone; a number or a page is its chapter with all that it shows.

    Raises:
        UsageError: there is no such chapter.
    """
    known = questions.known()
    pages = {
        f"{number}-{own}": [name for name in known if known[name] == number]
        for number, own in questions.CHAPTERS.items()
    }
    pages |= {page: list(known) for page in SUMMARIES}
    chosen: set[str] = set()
    for chapter in chapters:
        if (alone := _plain(chapter).replace("-", "_")) in known:
            chosen.add(alone)
            continue
        page = find(chapter, list(pages))
        if page is None:
            names = ", ".join(f"{number} {name}" for name, number in known.items())
            raise UsageError(f"there is no chapter {chapter!r}; there are {names}")
        chosen.update(pages[page])
    return [name for name in known if name in chosen or not chapters]


def number(experiment: str) -> str:
    """The number of an experiment's chapter: "03"."""
    return questions.known()[experiment]


def _plain(name: str) -> str:
    path = PurePath(name.strip().replace("\\", "/").lower().replace("_", "-"))
    return (path.with_suffix("") if path.suffix in (".qmd", ".html") else path).as_posix()
