"""What every chapter says: where its numbers come from."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from typing import Any

from rankstudy import registry, sources
from rankstudy.book.chapters import statements as claims
from rankstudy.book.tables import Markdown, table
from rankstudy.study.questions import Result


def _print_no_break_spaces() -> None:
    """Plain `quarto render` prints a string in prose as Python represents it, and Python escapes no-break spaces."""
    if shell := "IPython" in sys.modules and sys.modules["IPython"].get_ipython():

        def represent(text: str, printer: Any, cycle: bool) -> None:
            printer.text(repr(text).replace("\\u202f", "\u202f").replace("\\xa0", "\u00a0"))

        shell.display_formatter.formatters["text/plain"].for_type(str, represent)


_print_no_break_spaces()


def banner(result: Result) -> Markdown:
    """Profile, data set and device of the numbers on the page; loud where they are not the real study."""
    when = datetime.datetime.fromtimestamp(result.provenance["created"], datetime.UTC).strftime("%Y-%m-%d")
    source = computed_under(result)
    under = f", computed under `{source}`" if source != result.profile else ""
    line = (
        f"::: {{.provenance}}\nProfile `{result.profile}`{under} · "
        f"data: {sources.label(result.data)} · computed on "
        f"{result.provenance['device']} · {when} · commit `{result.provenance['commit'] or 'unknown'}`"
    )
    if result.stale:
        line += " · its code has changed since"
    line += "\n:::"
    if source == "quick":
        line += "\n\n*A quick run: few seeds and short trainings, so intervals are wide, and many claims are open.*"
    if result.data == registry.FALLBACK:
        line += (
            '\n\n::: {.callout-warning title="This is not MNIST"}\n'
            "MNIST could not be had or was not asked for. Every number on this page comes from the fallback data set, "
            "1\u202f797 small handwritten digits, and says nothing about MNIST.\n:::"
        )
    elif result.data != "mnist":
        line += (
            f'\n\n::: {{.callout-warning title="This is not MNIST"}}\n'
            f"Every number on this page comes from {sources.label(result.data)}. Where the text says MNIST, it "
            "means what the study was designed for.\n:::"
        )
    return Markdown(line)


def computed_under(result: Result) -> str:
    """The profile whose settings a result was computed with."""
    return result.settings


def over(n: int, what: str = "networks") -> str:
    """What a number in an answer box is: a mean with its interval over n networks (digits, rounds), if there is one."""
    return f"mean ± 95 % interval over n = {n} {what}" if n > 1 else f"n = {n}, so there is no interval"


def conclude(found: Sequence[claims.Claim]) -> Markdown:
    """The chapter's claims, as printed at its end."""
    return Markdown(claims.markdown(found))


__all__ = ["Markdown", "banner", "conclude", "over", "table"]
