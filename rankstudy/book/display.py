"""Where output is shown: on a page of the book, or in somebody's notebook, whose Markdown knows less.

A page takes pandoc's Markdown, with raw blocks for one format, divs and attributes. JupyterLab, Colab and their like
show those as they are typed. So what the book's helpers return prints itself for a page where a page is being made,
and plainly everywhere else.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

PAGE = "RANKSTUDY_PAGE"  # set in the kernels that `notebook.execute` starts
QUARTO = "QUARTO_EXECUTE_INFO"  # set in those that Quarto starts
RAW = re.compile(r"^(`{3,})\{=\w+\}\n.*?^\1\n*", re.M | re.S)
DIV = re.compile(r"^:{3,}.*\n?", re.M)
SPAN = re.compile(r"\[([^\[\]]*)\]\{[^{}]*\}")


def on_a_page() -> bool:
    """Whether what is shown now goes onto a page of the book."""
    return bool(os.environ.get(PAGE) or os.environ.get(QUARTO))


def plain(text: str) -> str:
    """A page's Markdown as a notebook can show it: words, tables and code, without raw blocks, divs and attributes.

    >>> plain("::: {.a}\\n[98 %]{.number data-tip='97.6'} of them\\n:::\\n")
    '98 % of them'
    """
    text = DIV.sub("", RAW.sub("", text))
    while (shorter := SPAN.sub(r"\1", text)) != text:
        text = shorter
    return text.strip()


def _print_no_break_spaces() -> None:
    """Plain `quarto render` prints a string in prose as Python represents it, and Python escapes no-break spaces."""
    if shell := "IPython" in sys.modules and sys.modules["IPython"].get_ipython():

        def represent(text: str, printer: Any, cycle: bool) -> None:
            printer.text(repr(text).replace("\\u202f", "\u202f").replace("\\xa0", "\u00a0"))

        shell.display_formatter.formatters["text/plain"].for_type(str, represent)


_print_no_break_spaces()
