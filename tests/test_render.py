"""The book: nothing half-rendered, nothing unresolved, and the last good one survives what goes wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rankstudy import UsageError
from rankstudy.book import preview, render
from rankstudy.book.notebook import ChapterError
from tests.test_preview import write

ROOT = Path(__file__).parents[1]
QUARTO = render.find_quarto()
needs_quarto = pytest.mark.skipif(QUARTO is None, reason="no Quarto 1.9 here")


def fake_quarto(folder: Path, rendering: str = "", version: str = "1.10.2") -> str:
    """An executable that answers with its version and else does `rendering`, with the output folder in `out`."""
    folder.mkdir(exist_ok=True)
    path = folder / "quarto"
    path.write_text(
        f"#!{sys.executable}\nimport os, pathlib, sys\n"
        f"if '--version' in sys.argv: print('{version}'); sys.exit()\n"
        f"out = pathlib.Path(sys.argv[sys.argv.index('--output-dir') + 1])\n{rendering}\n"
    )
    path.chmod(0o755)
    return str(path)


def plain(root: Path) -> Path:
    """A book in which nothing must be executed."""
    write(root, first="# First {#sec-first}\n", second="# Second {#sec-second}\n")
    (root / "index.qmd").write_text("# Home {.unnumbered}\n")
    return root


def test_a_fresh_folder_replaces_the_target_when_all_went_well(tmp_path):
    target = tmp_path / "out"
    for words in ("first", "second"):
        with render.fresh(target) as folder:
            (folder / words).write_text(words)
            assert not (target / words).exists()
        assert [path.name for path in target.iterdir()] == [words]
    assert list(tmp_path.iterdir()) == [target]


def test_a_fresh_folder_is_thrown_away_when_something_went_wrong(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "good").touch()
    with pytest.raises(KeyboardInterrupt), render.fresh(target) as folder:
        (folder / "half").touch()
        raise KeyboardInterrupt
    assert [path.name for path in target.iterdir()] == ["good"]
    assert list(tmp_path.iterdir()) == [target]


CLEAN = """<html><script src="site_libs/quarto.js"></script><script>var x = "?@y {python}";</script>
<p>Is it so? <strong>Why?</strong> <a href="https://example.org">a link</a>
<a class="quarto-xref" href="#a">Figure 1</a></p></html>"""


def test_a_clean_page_passes(tmp_path):
    (tmp_path / "index.html").write_text(CLEAN)
    render.check(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("see <strong>?@fig-none</strong>", "unresolved reference: ?@fig-none"),
        ('<a href="#sec-x" class="quarto-xref quarto-unresolved-ref">sec-x</a>', "unresolved reference: sec-x"),
        ('<span class="citation" data-cites="li">(<strong>li?</strong>)</span>', "unknown citation: ( li?"),
        ("<code>{python} r.rank</code>", "code that was not executed: {python} r.rank"),
        ("<pre>Traceback (most recent call last): x</pre>", "traceback: Traceback (most recent call last)"),
        ('<div class="cell-output cell-output-stderr"><pre>noise</pre>', "output on stderr: noise"),
        ('<script src="https://cdn.example/x.js"></script>', "loaded from the web"),
    ],
)
def test_a_fault_is_named_with_its_page(tmp_path, text, complaint):
    (tmp_path / "report").mkdir()
    (tmp_path / "index.html").write_text(CLEAN)
    (tmp_path / "report" / "03-rank.html").write_text(CLEAN.replace("Is it so?", text))
    with pytest.raises(render.BookError, match=re.escape(f"report/03-rank.html: {complaint}")):
        render.check(tmp_path)


@pytest.mark.parametrize(("version", "found"), [("1.8.25", False), ("1.9.0", True), ("1.10.2", True), ("2.0", True)])
def test_quarto_must_be_new_enough(tmp_path, monkeypatch, version, found):
    path = fake_quarto(tmp_path / "bin", version=version)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))  # nothing beside it
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert render.find_quarto() == (path if found else None)


BROKEN = {
    "no program": ("not a program", "quarto cannot start"),
    "fails": (f"#!{sys.executable}\nimport sys; sys.exit('no deno')", "ends with code 1: no deno"),
    "hangs, and its child too": ("#!/bin/sh\nsleep 600 & sleep 600", "has not ended after 1 s"),
}


@pytest.mark.skipif(os.name != "posix", reason="file modes")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_quarto_is_one_line(name, tmp_path, monkeypatch):
    text, message = BROKEN[name]
    other = fake_quarto(tmp_path / "other")
    path = Path(fake_quarto(tmp_path / "bin"))
    path.write_text(text)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))  # nothing beside it
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(render, "ANSWER_SECONDS", 1)
    with pytest.raises(UsageError, match=re.escape(message)) as raised:
        render.find_quarto()
    assert "\n" not in str(raised.value)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "other" / "python"))  # another one that works is taken
    assert render.find_quarto() == other


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_a_rendering_that_hangs_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    note = tmp_path / "child"
    hanging = (
        "import subprocess, time\nchild = subprocess.Popen(['sleep', '600'])\n"
        f"print(child.pid, file=open({str(note)!r}, 'a'), flush=True)\ntime.sleep(600)"
    )
    monkeypatch.setattr(render, "RENDER_SECONDS", 5)
    root = plain(tmp_path / "book")
    with pytest.raises(UsageError, match="has not ended after 5 s"):
        render.render(fake_quarto(tmp_path / "bin", hanging), "all", root, root / "_book")
    assert not (root / "_book").exists()
    children = [int(number) for number in note.read_text().split()]
    assert len(children) == 2 and not any(map(running, children))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_quarto_beside_the_running_python_is_found(tmp_path, monkeypatch):
    fake_quarto(tmp_path / "old", version="1.4.1")
    path = fake_quarto(tmp_path / "venv")
    monkeypatch.setenv("PATH", str(tmp_path / "old"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    assert render.find_quarto() == path


def test_both_formats_are_rendered_side_by_side_with_this_python(tmp_path):
    """Each waits until the other has begun; both are in the book."""
    told = "sys.argv[1:], os.environ['QUARTO_PYTHON'], os.environ['RANKSTUDY_SKIP_RUN']"
    rendering = (
        "import time\nform = sys.argv[sys.argv.index('--to') + 1]\n"
        f"begun = pathlib.Path({str(tmp_path)!r})\n(begun / form).touch()\n"
        "while not all((begun / each).exists() for each in ('html', 'typst')): time.sleep(0.01)\n"
        f"out.mkdir()\nwith open(out / f'{{form}}.html', 'w') as page: print({told}, file=page)"
    )
    render.render(fake_quarto(tmp_path / "bin", rendering), "all", plain(tmp_path / "a book"), tmp_path / "_book")
    for form in ("html", "typst"):
        page = (tmp_path / "_book" / f"{form}.html").read_text().strip()
        assert f"'--to', '{form}'" in page and page.endswith(f"{sys.executable} 1")


def test_one_format_that_fails_is_named_and_takes_the_other_with_it(tmp_path):
    rendering = "out.mkdir()\nif 'typst' in sys.argv: print('no such font'); sys.exit(1)"
    with pytest.raises(render.BookError, match="quarto render --to typst failed:\nno such font"):
        render.render(fake_quarto(tmp_path / "bin", rendering), "all", plain(tmp_path / "book"), tmp_path / "_book")
    assert not (tmp_path / "_book").exists()


@pytest.mark.parametrize(
    ("rendering", "complaint"),
    [
        ("out.mkdir(); print('chapter 3: a mistake'); sys.exit(1)", "failed:\nchapter 3: a mistake"),
        ("print('WARNING: Unable to resolve crossref @fig-x', file=sys.stderr)", "Unable to resolve crossref @fig-x"),
        ("out.mkdir(); (out / 'index.html').write_text('?@fig-x')", "index.html: unresolved reference: ?@fig-x"),
    ],
)
def test_the_last_good_book_survives(tmp_path, rendering, complaint):
    root = plain(tmp_path)
    (tmp_path / "_book").mkdir()
    (tmp_path / "_book" / "index.html").write_text("good")
    with pytest.raises(render.BookError, match=re.escape(complaint)):
        render.render(fake_quarto(tmp_path / "bin", rendering), "html", root, tmp_path / "_book")
    assert (tmp_path / "_book" / "index.html").read_text() == "good"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_book", "_quarto.yml", "bin", "index.qmd", "report"]


def test_a_failing_chapter_is_named_before_quarto_is_asked(tmp_path):
    root = plain(tmp_path)
    (root / "report" / "02-second.qmd").write_text("# Second {#sec-second}\n\n```{python}\n#| label: sum\n1 / 0\n```\n")
    (root / "_book").mkdir()
    with pytest.raises(ChapterError, match=r"02-second.qmd, cell .sum.: ZeroDivisionError: division by zero"):
        render.render("never started", "html", root, root / "_book")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_book", "_quarto.yml", "index.qmd", "report"]


def test_a_listed_chapter_that_is_missing_is_one_line(tmp_path):
    root = plain(tmp_path)
    (root / "report" / "02-second.qmd").unlink()
    with pytest.raises(UsageError, match=r"_quarto.yml lists report/02-second.qmd, which does not exist"):
        render.render("never started", "html", root, root / "_book")


@pytest.fixture
def computed(tmp_path, monkeypatch) -> list[list[str]]:
    """In a project where nothing must be computed; the calls of `run`."""
    calls = []
    monkeypatch.setattr("rankstudy.study.run.main", lambda argv: calls.append(argv) or 0)
    monkeypatch.chdir(plain(tmp_path))
    return calls


def test_report_computes_first_then_renders(computed, tmp_path, monkeypatch, capsys):
    made = "out.mkdir(); (out / 'index.html').touch()"
    monkeypatch.setattr(render, "find_quarto", lambda: fake_quarto(tmp_path / "bin", made))
    assert render.main(["report", "--to", "html"]) == 0
    assert computed == [["run"]]
    assert "_book/index.html" in capsys.readouterr().out


def test_report_does_not_render_what_could_not_be_computed(computed, monkeypatch):
    monkeypatch.setattr("rankstudy.study.run.main", lambda argv: 3)
    monkeypatch.setattr(render, "find_quarto", lambda: "quarto")
    monkeypatch.setattr(render, "render", lambda *_: pytest.fail("rendered"))
    assert render.main(["report"]) == 3


def test_report_says_what_is_wrong(computed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(render, "find_quarto", lambda: fake_quarto(tmp_path / "bin", "sys.exit('no such chapter')"))
    assert render.main(["report"]) == 1
    said = capsys.readouterr().err
    assert "no such chapter" in said and "the book is not replaced" in said


def test_without_quarto_there_is_the_preview(computed, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(render, "find_quarto", lambda: None)
    monkeypatch.setattr(render, "install_quarto", lambda: pytest.fail("installed what nobody asked for"))
    monkeypatch.setattr(preview, "main", lambda argv: asked.append(argv) or 0)
    assert render.main(["report"]) == 0
    assert asked == [["preview"]]
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_quarto_is_installed_only_when_asked_and_never_into_the_systems_python(computed, monkeypatch):
    ran = []
    monkeypatch.setattr(render, "find_quarto", lambda: None)
    monkeypatch.setattr(preview, "main", lambda argv: 0)
    monkeypatch.setattr(subprocess, "run", lambda command, **options: ran.append((command, options["timeout"])))
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    assert render.main(["report", "--install-quarto"]) == 0
    assert ran == []
    monkeypatch.setattr(sys, "base_prefix", "/elsewhere")
    assert render.main(["report", "--install-quarto"]) == 0
    [(command, seconds)] = ran
    assert command[0] == sys.executable and command[-1].startswith("quarto-cli") and seconds <= 300


def test_report_outside_a_project_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no _quarto.yml in .*; start this in the project's folder"):
        render.main(["report"])


def test_the_book_lists_every_chapter_that_there_is():
    config = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))
    listed = config["book"]["chapters"]
    pages = {*listed[1:], *config["book"]["appendices"]}
    assert pages == {path.relative_to(ROOT).as_posix() for path in (ROOT / "report").rglob("*.qmd")}
    assert listed[0]["href"] == "index.qmd" and listed[-1] == "report/references.qmd"
    named = config["bibliography"], config["project"]["pre-render"], config["format"]["typst"]["include-before-body"]
    assert all((ROOT / path).is_file() for path in named)


def test_the_step_before_rendering_does_nothing_when_it_was_done():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "report" / "styles" / "prerender.py"],
        env=os.environ | {"RANKSTUDY_SKIP_RUN": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    imported = re.findall(r"\|\s+(\w+)$", done.stderr, re.M)
    assert "site" in imported and "rankstudy" not in imported


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    root = write(tmp_path_factory.mktemp("a book with späces"))
    render.render(QUARTO, "all", root, root / "_book")
    return root / "_book"


def words(page: Path) -> str:
    """What a page says: without tags, in one line."""
    text = re.sub(r"<math.*?</math>|<[^>]*>", "", page.read_text(encoding="utf-8"), flags=re.S)
    return re.sub(r"(?:\s|&nbsp;|\xa0)+", " ", text)


@needs_quarto
def test_each_chapters_page_leads_to_its_notebook(rendered):
    for name in ("01-first", "02-second"):
        (link,) = re.findall(
            r'<p class="own-notebook"><a href="([^"]*)"', (rendered / "report" / f"{name}.html").read_text()
        )
        assert (rendered / "report" / link).resolve() == rendered / "report" / f"{name}.ipynb"
        assert (rendered / "report" / link).is_file()


@needs_quarto
def test_quarto_makes_every_page_and_the_pdf(rendered):
    pages = {path.relative_to(rendered).as_posix() for path in rendered.rglob("*.html")}
    assert pages == {"index.html", "report/01-first.html", "report/02-second.html", "report/references.html"}
    [pdf] = rendered.glob("*.pdf")
    assert pdf.read_bytes().startswith(b"%PDF")


@pytest.fixture(scope="module")
def plainly(rendered) -> Path:
    """The same book by plain `quarto render`, which executes the chapters itself."""
    settings = os.environ | {"QUARTO_PYTHON": sys.executable}
    command = [QUARTO, "render", rendered.parent, "--to", "html", "--output-dir", "_plain"]
    subprocess.run(command, env=settings, cwd=rendered.parent, capture_output=True, check=True)
    return rendered.parent / "_plain"


@needs_quarto
def test_the_book_plain_quarto_and_the_preview_say_the_same(rendered, plainly, tmp_path):
    """Numbers, captions, values: whoever makes the page."""
    preview.preview(rendered.parent, tmp_path)
    render.check(plainly)
    for chapter, expected in {
        "01-first": [
            "The rank is 0.98 ± 0.01 *not bold* &lt;b&gt;, or bold",
            "See Figure 1.1, 1.1, Figure 1.2 and Section 1.1; (Li 2018).",
            "Figure 1.1: A line: and ",
            "Table 1.1: Two rows.",
            "Figure 1.2: Made with 2 seeds.",
            "A printed paragraph.",
            "plain &lt; text",
            "only_shown()",
            "With a heading",
        ],
        "02-second": ["Both Figure 1.1 and Table 2.1, Figure 1.1", "Section 1.2", "Equation 2.1; Li (2018) says so."],
    }.items():
        pages = [tmp_path / f"{chapter}.html", *(by / "report" / f"{chapter}.html" for by in (rendered, plainly))]
        for page in pages:
            for text in expected:
                assert text in words(page), (page, text)
            assert page.read_text(encoding="utf-8").count("<img") == (2 if chapter == "01-first" else 0), page


@needs_quarto
def test_figures_are_vectors_with_a_description_and_formulas_need_no_script(rendered):
    page = (rendered / "report" / "01-first.html").read_text(encoding="utf-8")
    assert re.search(r'<img src="\w+.svg" [^>]*alt="It &quot;rises&quot;"', page)
    assert all((rendered / "report" / file).is_file() for file in re.findall(r'<img src="([^"]*)"', page))
    assert "<math" in page and "mathjax" not in page.lower()


@needs_quarto
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext here")
def test_the_pdf_is_complete(rendered):
    [pdf] = rendered.glob("*.pdf")
    text = subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True).stdout
    for expected in ("42 is a value", "Chapter 1, then Chapter 2;", "Figure 1.2: Made with 2", "Li, Chunyuan. 2018"):
        assert expected in text
    assert "only in the PDF" in text and "only on the page" not in text
    assert "?@" not in text and "IPython" not in text and "figure.subplots" not in text  # no code
