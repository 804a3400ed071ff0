"""The preview: what a chapter may contain comes out readable, and whatever is missing is an error that says where."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from rankstudy import UsageError
from rankstudy.__main__ import main
from rankstudy.book import notebook, preview

INDEX = """\
# A small book {.unnumbered}

```{python}
#| include: false
six = 6
```

Read @sec-first, then @sec-second; the bound is @eq-bound. `{python} six * 7` is a value.

## No number here
"""

FIRST = """\
# First {#sec-first}

```{python}
#| label: setup
#| include: false
from IPython.display import Markdown
from matplotlib.figure import Figure
figure = Figure(figsize=(2, 1))
_ = figure.subplots().plot([0, 1], label="line")
text = "0.98 ± 0.01 *not bold* <b>"
print("never seen")
```

The rank is `{python} text`, or `{python} Markdown("**bold** $x^2$")`; [750]{.cited}.
See @fig-line, [-@tbl-two], @fig-made and @sec-part; [@li2018].

## A part {#sec-part}

```{python}
#| label: fig-line
#| fig-cap: "A *line*: and $x$."
#| fig-alt: 'It "rises"'
figure
```

```{python}
#| label: tbl-two
#| tbl-cap: "Two rows."
#| echo: false
Markdown("| a | b |\\n|--:|:--|\\n| 1 | 2 |")
```

::: {#fig-made}
```{python}
figure
```

Made with `{python} 1 + 1` seeds.
:::

```{python}
#| output: asis
print("A *printed* paragraph.")
```

```{python}
#| eval: false
only_shown()
```

```{python}
print("plain < text")
Markdown("```{=html}\\n<span id=raw>html</span>\\n```")
```

::: {.content-visible when-format="typst"}
only in the PDF
:::

::: {.content-visible when-format="html"}
only on the page
:::

::: {.callout-note title="Which one"}
The one.
:::

::: {.callout-tip}
## With a heading
Told `{python} "so"`.
:::

## Last part {#sec-last}

The end.
"""

SECOND = """\
# Second {#sec-second}

$$
\\sigma_1 \\le \\tau
$$ {#eq-bound}

Both @fig-line and @tbl-mine, [@fig-line; @sec-last], @eq-bound; @li2018 says so.

```{python}
#| label: tbl-mine
#| tbl-cap: "Mine."
from IPython.display import Markdown
Markdown("| a |\\n|---|\\n| 1 |")
```
"""

BIBLIOGRAPHY = "@article{li2018, title={Measuring}, author={Li, Chunyuan}, year={2018}, journal={ICLR}}\n"
REFERENCES = "# References {.unnumbered}\n\n::: {#refs}\n:::\n"


def write(root: Path, first: str = FIRST, second: str = SECOND) -> Path:
    """A book of two chapters, a home page and references in the folder."""
    (root / "report").mkdir(parents=True, exist_ok=True)
    chapters = ["index.qmd", "report/01-first.qmd", "report/02-second.qmd", "report/references.qmd"]
    for chapter, text in zip(chapters, [INDEX, first, second, REFERENCES], strict=True):
        (root / chapter).write_text(text, encoding="utf-8")
    (root / "report" / "references.bib").write_text(BIBLIOGRAPHY, encoding="utf-8")
    config = yaml.safe_load((Path(__file__).parents[1] / "_quarto.yml").read_text(encoding="utf-8"))
    del config["project"]["pre-render"]  # nothing to compute
    config["book"]["chapters"] = chapters
    del config["book"]["appendices"]
    (root / "_quarto.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    shutil.copytree(Path(__file__).parents[1] / "report" / "styles", root / "report" / "styles")
    return root


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    root = write(tmp_path_factory.mktemp("book"))
    preview.preview(root, root / "_preview")
    return {page.name: html(page) for page in (root / "_preview").glob("*.html")} | {"folder": str(root / "_preview")}


def html(page: Path) -> str:
    """The page's own part in one line; formulas as their source."""
    text = re.sub(r"\s+", " ", page.read_text(encoding="utf-8"))
    text = re.sub(r"<math.*?<annotation[^>]*> ?(.*?) ?</annotation></semantics></math>", r"$\1$", text)
    return text[text.index("<body>") :]


def test_every_chapter_is_a_page_and_every_page_says_what_it_is(pages):
    assert pages.keys() == {"index.html", "01-first.html", "02-second.html", "references.html", "folder"}
    for name in pages.keys() - {"folder"}:
        assert "This is the preview, made without Quarto" in pages[name]
        for target, title in [("index", "A small book"), ("01-first", "1 First"), ("02-second", "2 Second")]:
            assert f'<a href="{target}.html">{title}</a>' in pages[name]


def test_values_come_out_as_text_or_as_markup(pages):
    page = pages["01-first.html"]
    assert "The rank is 0.98 ± 0.01 *not bold* &lt;b&gt;, or <strong>bold</strong> $x^2$;" in page
    assert "42 is a value" in pages["index.html"]
    assert "{python}" not in "".join(pages.values())


def test_figures_have_number_caption_and_description(pages):
    page = pages["01-first.html"]
    image = r'<div id="fig-line"> <p><img src="\w+.svg" alt="It &quot;rises&quot;" /></p> '
    assert re.search(image + r"<p>Figure 1.1: A <em>line</em>: and \$x\$.</p> </div>", page)
    assert re.search(r'<img src="\w+.svg" alt="" /></p> <p>Figure 1.2: Made with 2 seeds.</p>', page)
    for file in re.findall(r'src="([^"]*)"', page):
        assert (Path(pages["folder"]) / file).read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_a_figure_is_shown_once(pages):
    assert pages["01-first.html"].count("<img") == 2


def test_tables(pages):
    assert re.search(r'<div id="tbl-two"> <table>.*?<p>Table 1.1: Two rows.</p>', pages["01-first.html"])
    assert "Table 2.1: Mine." in pages["02-second.html"]


def test_code_is_folded_and_can_be_hidden(pages):
    page = pages["01-first.html"]
    assert "<summary> Code </summary>" in page and "never" not in page
    assert "fig-cap" not in page and "only_shown" in page
    assert "six = 6" not in pages["index.html"]


def test_printed_output_is_text_unless_it_is_markdown(pages):
    page = pages["01-first.html"]
    assert "<p>A <em>printed</em> paragraph.</p>" in page
    assert "<pre><code>plain &lt; text" in page
    assert "<span id=raw>html</span>" in page


def test_a_chapter_is_a_notebook_too(pages):
    for name in ("01-first", "02-second"):
        assert f'<a href="{name}.ipynb" download>This page as a notebook</a>' in pages[f"{name}.html"]
        cells = nbformat.read(Path(pages["folder"]) / f"{name}.ipynb", as_version=4).cells
        assert cells[0].source.startswith(f"# {int(name[:2])} ") and any(cell.cell_type == "code" for cell in cells)
    assert "as a notebook" not in pages["index.html"] + pages["references.html"]


def test_what_is_meant_for_one_format(pages):
    assert "only on the page" in pages["01-first.html"]
    assert "only in the PDF" not in pages["01-first.html"]


def test_callouts(pages):
    page = pages["01-first.html"]
    assert '<div class="callout-note" title="Which one"> <p>The one.</p> </div>' in page
    assert '<div class="callout-tip"> <p><strong>With a heading</strong></p> <p>Told so.</p> </div>' in page


@pytest.mark.parametrize(
    ("page", "text", "address"),
    [
        ("index.html", "Chapter 1", "01-first.html#sec-first"),
        ("index.html", "Chapter 2", "02-second.html#sec-second"),
        ("index.html", "Equation 2.1", "02-second.html#eq-bound"),
        ("01-first.html", "Figure 1.1", "01-first.html#fig-line"),
        ("01-first.html", "1.1", "01-first.html#tbl-two"),
        ("01-first.html", "Figure 1.2", "01-first.html#fig-made"),
        ("01-first.html", "Section 1.1", "01-first.html#sec-part"),
        ("02-second.html", "Figure 1.1", "01-first.html#fig-line"),
        ("02-second.html", "Section 1.2", "01-first.html#sec-last"),
    ],
)
def test_references_lead_to_what_they_name(pages, page, text, address):
    assert f'<a href="{address}">{text}</a>' in pages[page]
    target, anchor = address.split("#")
    assert f'id="{anchor}"' in pages[target]


def test_headings_and_equations_are_numbered(pages):
    assert '<h1 id="sec-second">2 Second</h1>' in pages["02-second.html"]
    assert '<h2 id="sec-part">1.1 A part</h2>' in pages["01-first.html"]
    assert re.search(r"<h2 [^>]*>No number here</h2>", pages["index.html"])
    equation = '<div id="eq-bound" class="equation"> <p>$\\sigma_1 \\le \\tau$ (2.1)</p> </div>'
    assert equation in pages["02-second.html"]


def test_citations(pages):
    assert "(Li 2018)" in pages["01-first.html"] and "Li (2018)</span> says so" in pages["02-second.html"]
    for page in ("01-first.html", "02-second.html", "references.html"):
        assert "Li, Chunyuan. 2018." in pages[page]


@pytest.mark.parametrize(
    ("chapter", "complaint"),
    [
        ("See @fig-nowhere.", "02-second.html: nothing has the label @fig-nowhere"),
        ("See @nobody2020.", "02-second.html: nothing has the label @nobody2020"),
        ("$$ x $$ {#eq-bound}\n\nTwice.\n\n$$ y $$ {#eq-bound}", "a second eq-bound"),
        ("$\\undefined{x}$", "02-second.html: .*undefined"),
        ("```{python}\n#| label: breaks\n1 / 0\n```", "02-second.qmd, cell 'breaks': ZeroDivisionError: "),
        ("`{python} missing`", "02-second.qmd, cell 'missing': NameError: name 'missing' is not defined"),
        ("```{python}\nimport os\nos._exit(1)\n```", r"02-second.qmd, cell 'os._exit\(1\)': the kernel died"),
        ("```{python}\nx = ''\n```\n\n`{python} x`", "02-second.qmd, cell 'x' is empty"),
        ("```{python}\nimport sys\nprint('noise', file=sys.stderr)\n```", "writes to stderr: noise"),
        ("```{python}\nfrom IPython.display import HTML\nHTML('x')\n```", r"cell \"HTML\('x'\)\" shows HTML"),
    ],
)
def test_what_is_wrong_is_an_error_that_says_where(tmp_path, monkeypatch, capsys, chapter, complaint):
    """... and the last good preview stays."""
    write(tmp_path, first="# First {#sec-first}\n", second=f"# Second {{#sec-second}}\n\n{chapter}\n")
    (tmp_path / "index.qmd").write_text("# Home {.unnumbered}\n")
    (tmp_path / "_preview").mkdir()
    (tmp_path / "_preview" / "index.html").write_text("the last good one")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert preview.main(["preview"]) == 1
    assert re.search(complaint, capsys.readouterr().err)
    assert (tmp_path / "_preview" / "index.html").read_text() == "the last good one"
    assert sorted(tmp_path.iterdir()) == before


def test_what_torch_logs_of_the_machine_is_no_fault_of_the_page(tmp_path):
    """A compiler for CUDA without a GPU, which importing `torch.utils.benchmark` mentions."""
    log = "W1130 07:25:56.741000 3009 torch/utils/cpp_extension.py:183] No CUDA runtime is found, using CUDA_HOME='/x'"
    log += "\n" + log.replace(" torch/", " .venv/lib/torch/")  # as the path is seen from another folder
    (tmp_path / "_quarto.yml").write_text("project:\n  type: book\n")
    page = tmp_path / "page.qmd"
    for more, fault in (("", False), ("noise", True)):
        cell = f"#| echo: false\nimport sys\nprint({log!r}, {more!r}, sep='\\n', file=sys.stderr)"
        page.write_text(f"# One\n\n```{{python}}\n{cell}\n```\n")
        book = notebook.execute(page)
        if fault:
            with pytest.raises(notebook.ChapterError, match=r"writes to stderr: noise$"):
                notebook.markdown(book, tmp_path)
        else:
            assert "W1130" not in notebook.markdown(book, tmp_path)


@pytest.mark.parametrize("name", ["02-second", "2"])
def test_a_chosen_chapter_is_executed_and_the_others_are_shown(name, tmp_path, monkeypatch):
    """Every reference still resolves."""
    write(tmp_path, first=FIRST + "\n```{python}\n1 / 0\n```\n")
    monkeypatch.chdir(tmp_path)
    assert preview.main(["preview", name]) == 0
    assert "<table>" in html(tmp_path / "_preview" / "02-second.html")
    other = html(tmp_path / "_preview" / "01-first.html")
    assert "<code>text</code>" in other and "Figure 1.1: A" in other and "<img" not in other


BROKEN = {"": "start this in the project's folder", "book: [": "cannot be read", "book: {}": "lists no chapters"}


@pytest.mark.parametrize("command", ["preview", "report"])
@pytest.mark.parametrize("content", BROKEN)
def test_outside_a_project_is_one_line(command, content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if content:
        (tmp_path / "_quarto.yml").write_text(content)
    assert main([command]) == 2
    said = capsys.readouterr().err
    assert BROKEN[content] in said and said.count("\n") == 1


def test_an_unknown_chapter(tmp_path):
    with pytest.raises(UsageError, match=r"no chapter '3'; there are index, 01-first, 02-second, references"):
        preview.preview(write(tmp_path), tmp_path / "_preview", ["2", "3"])


def test_execute_runs_a_chapter_with_this_python_in_the_project(tmp_path):
    second = "# A\n\n```{python}\nimport os, sys\nprint(sys.executable, os.getcwd())\n```\n`{python} 1 < 2`\n"
    book = preview.execute(write(tmp_path, second=second) / "report" / "02-second.qmd")
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert outputs[0].text.split() == [sys.executable, str(tmp_path)]
    assert outputs[1].data["text/plain"] == "True"
