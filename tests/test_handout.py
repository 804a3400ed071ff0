"""Each chapter's page as a notebook: the page's words without its markup, its cells as they are, and it runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from rankstudy.book import display, handout, notebook, plots, tables
from tests.test_preview import write as small_book
from tests.test_telling import told

ROOT = Path(__file__).parents[1]
PAGES = [page for page in notebook.listed(ROOT) if handout.name(ROOT, page)]
CHAPTERS = [page.stem for page in PAGES if page.stem != "tutorial"]


CODE = "# {} {{#{}}}\n\n```{{{{python}}}}\n1 + 1\n```\n"


def run(book: nbformat.NotebookNode, folder: Path, **variables: str) -> list:
    """The outputs of a notebook in a fresh kernel of an empty folder, which knows no page."""
    client = NotebookClient(
        book, kernel_manager_class=notebook.ThisPython, resources={"metadata": {"path": str(folder)}}
    )
    unset = (display.PAGE, "RANKSTUDY_PROFILE")
    client.execute(env={name: text for name, text in os.environ.items() if name not in unset} | variables)
    return [output for cell in book.cells for output in cell.get("outputs", ())]


@pytest.fixture(scope="module")
def handed(published_book, tmp_path_factory):
    """The notebooks beside the published pages, executed in a kernel of its own each; and their outputs."""
    folder = published_book / "_preview"
    elsewhere = tmp_path_factory.mktemp("empty")
    books = {name: nbformat.read(folder / f"{name}.ipynb", as_version=4) for name in CHAPTERS}
    with ThreadPoolExecutor(2) as pool:
        return folder, books, dict(zip(books, pool.map(lambda book: run(book, elsewhere), books.values()), strict=True))


def test_the_chapters_and_the_tutorial_have_one():
    assert [page.stem for page in PAGES[:-1]] == CHAPTERS and len(CHAPTERS) == 9 and PAGES[-1].stem == "tutorial"


def test_the_tutorials_is_the_tutorial(handed):
    assert (handed[0] / "tutorial.ipynb").read_bytes() == (ROOT / "tutorial.ipynb").read_bytes()


@pytest.mark.parametrize("name", CHAPTERS)
def test_it_runs_under_the_published_results_and_shows_what_a_notebook_can(handed, name):
    outputs = handed[2][name]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    shown = [output.data for output in outputs if "data" in output]
    assert shown or outputs
    for data in shown:
        if "{=html}" in (text := data.get("text/markdown", "")):
            assert "<svg" in data["text/html"]  # which is taken before it
        else:
            assert ":::" not in text and "]{" not in text


@pytest.mark.parametrize("name", CHAPTERS)
def test_its_words_are_the_pages_without_markup(handed, name):
    book = handed[1][name]
    text = "\n\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    assert not re.search(r":::|\]\{|\{python\}|\{=html\}|<span|<div|@(?:sec|fig|tbl)-|\.html|⁂|\[\^", text)
    source = (ROOT / "report" / f"{name}.qmd").read_text(encoding="utf-8")
    title = re.search(r"^# (.*?) *\{", source, re.M)[1]
    assert title.replace("'", "’") in book.cells[0].source.replace("'", "’")
    assert "as a notebook" in book.cells[1].source and "RANKSTUDY_PROFILE" in book.cells[2].source


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_open_cell_of_the_page_is_in_it(handed, name):
    code = [cell.source for cell in handed[1][name].cells if cell.cell_type == "code"]
    assert not any("told.page(" in source for source in code)
    for cell in notebook.read(ROOT / "report" / f"{name}.qmd").cells:
        if cell.metadata.get("code-fold") is False:
            assert re.sub(r"^#\|.*\n", "", cell.source, flags=re.M).strip() in code


PAGE = """# A page {#sec-first}

```{python}
#| echo: false
import json
from rankstudy.book.tables import Markdown
six = 6
Markdown(TOLD)
```

::: {.short-answer task="3"}
How many?
:   [**Six:** it falls to `{python} six`.]{claim="x"}
:::

A [rank]{.term def="A *count*."} of $x^2$, see @sec-second, [the web](https://example.org).

```{python}
#| echo: false
Markdown("Only said.")
```

```{python}
#| label: fig-one
#| fig-cap: "It falls."
from matplotlib.figure import Figure
figure = Figure(figsize=(1, 1))
figure
```

::: {.answer}
```{python}
#| echo: true
#| code-fold: false
print(six + 1)
```

Seven.
:::
""".replace("TOLD", repr(told()))


@pytest.mark.parametrize("verdict", ["supported", "refuted"])
def test_directives_become_readable(tmp_path, monkeypatch, verdict):
    monkeypatch.setenv("RANKSTUDY_PROFILE", "smoke")
    page = PAGE.replace("supported", verdict).replace("Supported", verdict.capitalize())
    root = small_book(tmp_path, first=page, second="# Second {#sec-second}\n")
    (root / "index.qmd").write_text("# Home {.unnumbered}\n", encoding="utf-8")
    assert handout.main(root, tmp_path / "out") == 0
    book = nbformat.read(tmp_path / "out" / "01-first.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    assert ("it falls to 6. ✓" in text) == (verdict == "supported")
    assert ("Refuted" in text and "Rank *falls* with depth." in text) == (verdict == "refuted")
    assert "**How many?**" in text and "**Short answer Task 3**" in text
    assert "> **rank**: A *count*." in text and "$x^2$" in text
    assert "see Chapter 2, [the web](https://example.org)." in text and "Only said." in text
    assert "Figure 1.1: It falls." in text and "<summary>Answer</summary>\n\nSeven." in text
    code = [cell.source for cell in book.cells if cell.cell_type == "code"]
    assert code[0].endswith("# what the store lacks is computed") and code[-1] == "print(six + 1)"
    assert not any("Only said" in source or source.startswith("#|") for source in code)
    (answer,) = (cell for cell in book.cells if cell.source == "print(six + 1)")
    assert answer.metadata.jupyter.source_hidden
    assert any(output.get("text") == "7\n" for output in run(book, tmp_path))


def test_it_computes_what_it_needs_under_smoke(fresh):
    """Chapter 1's, in a store of its own."""
    page = ROOT / "report" / "01-data.qmd"
    handout.write(ROOT, {page: notebook.execute(page)}, fresh)
    book = nbformat.read(fresh / "01-data.ipynb", as_version=4)
    assert '"smoke"' in book.cells[2].source
    assert any("fallback data set" in cell.source for cell in book.cells)
    outputs = run(book, fresh, RANKSTUDY_RESULTS=str(fresh / "elsewhere"))
    assert any("svg" in output.get("data", {}).get("text/html", "") for output in outputs)


def test_what_the_books_helpers_give_prints_itself_for_where_it_is_shown(monkeypatch):
    monkeypatch.delenv(display.PAGE, raising=False)
    monkeypatch.delenv(display.QUARTO, raising=False)
    table, drawing = tables.table(["a"], [["1"]]), plots.sizes({"σ": [3.0, 1.0]})
    assert "csv" not in table._repr_markdown_() and "| a" in table._repr_markdown_()
    assert drawing._repr_html_().startswith('<div class="panels"')
    monkeypatch.setenv(display.PAGE, "1")
    assert table._repr_markdown_() == table and "csv" in table and drawing._repr_html_() is None


def test_code_without_what_tells_the_filter():
    code = "import json\ntold.page(\n    rank,\n)\nx = 1"
    assert ast.dump(ast.parse(handout._untold(code))) == ast.dump(ast.parse("import json\nx = 1"))


def test_quartos_step_after_rendering_writes_them_beside_the_pages(tmp_path):
    """Where the whole book was rendered as HTML by plain Quarto, and not otherwise."""
    root = small_book(tmp_path, first=CODE.format("First", "sec-first"), second=CODE.format("Second", "sec-second"))
    (root / "index.qmd").write_text("# Home {.unnumbered}\n", encoding="utf-8")
    step = [sys.executable, "report/styles/postrender.py"]
    known = os.environ | {
        "PYTHONPATH": str(ROOT),
        "RANKSTUDY_PROFILE": "published",
        "QUARTO_PROJECT_OUTPUT_DIR": "_book",
    }
    page, pdf = "_book/index.html\n_book/report/01-first.html", "_book/Book.pdf"
    for changes in (
        {"QUARTO_PROJECT_OUTPUT_FILES": page},
        {"QUARTO_PROJECT_OUTPUT_FILES": pdf, "QUARTO_PROJECT_RENDER_ALL": "1"},
        {"QUARTO_PROJECT_OUTPUT_FILES": page, "QUARTO_PROJECT_RENDER_ALL": "1", "RANKSTUDY_SKIP_RUN": "1"},
    ):
        subprocess.run(step, cwd=root, env=known | changes, check=True)
        assert not (root / "_book").exists()
    subprocess.run(step, cwd=root, env=known | changes | {"RANKSTUDY_SKIP_RUN": ""}, check=True)
    assert sorted(path.name for path in (root / "_book" / "report").iterdir()) == ["01-first.ipynb", "02-second.ipynb"]
