"""The book: compute what it needs, render it with Quarto into a fresh folder, look at it, and only then swap it in.

Quarto executes every chapter once per format, one after the other, answers an unresolved reference with a warning,
and deletes the last good output when a chapter fails. Here chapters are executed once, two at a time, and both formats
are made of the same outputs, side by side; a gap in a page is an error; and what was there stays until all is well.
Plain `quarto render` works too. Where there is no Quarto, the preview is made instead.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from nbformat import NotebookNode

from rankstudy import UsageError
from rankstudy.book import handout
from rankstudy.book.notebook import ChapterError, execute_all, listed, markdown
from rankstudy.files import fresh

REQUIRED = (1, 9)  # Quarto: the first that makes a book with Typst
ANSWER_SECONDS = 60  # within which a Quarto says its version
RENDER_SECONDS = 1800  # within which it makes one format of executed chapters; it takes about a minute
INSTALL_SECONDS = 300  # PyPI's quarto-cli fetches the Quarto release of some 150 MB
TARGETS = {"html": ["html"], "pdf": ["typst"], "all": ["html", "typst"]}
FAULTS = {  # what must not be in a page; Quarto itself goes on
    r'class="[^"]*quarto-unresolved-ref[^>]*>[^<]*': "unresolved reference",
    r"\?@[\w-]+": "unresolved reference",
    r'class="citation"[^>]*>[^<]*<strong>[^<]*\?</strong>': "unknown citation",
    r"\{python\}[^<]*": "code that was not executed",
    r"Traceback \(most recent call last\)": "traceback",
    r'<(?:script|link|img|iframe)[^>]*(?:src|href)="https?:[^"]*': "loaded from the web",
    r'class="[^"]*cell-output-(?:stderr|error)[^>]*>[\s\S]{0,300}': "output on stderr",
}
WARNINGS = re.compile(r"^.*(?:Unable to resolve crossref|[Cc]itation \S+ not found).*$", re.M)


class BookError(Exception):
    """What is wrong with the book, and where."""


def find_quarto() -> str | None:
    """Path of a Quarto that is new enough: on the PATH, or else beside the running Python.

    Raises:
        UsageError: there is one that cannot start or does not answer, and no other.
    """
    failed = ""
    for path in (None, str(Path(sys.executable).parent)):
        found = shutil.which("quarto", path=path)
        if found is None:
            continue
        try:
            code, said = _output([found, "--version"], ANSWER_SECONDS)
        except UsageError as error:
            failed = failed or str(error)
            continue
        if code:
            failed = failed or f"{found} --version ends with code {code}: {' '.join(said.split())[:200]}"
        elif _version(said) >= REQUIRED:
            return found
    if failed:
        raise UsageError(f"{failed}; mend it, or take it from the PATH for the preview")
    return None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def install_quarto() -> str | None:
    """Tries PyPI's quarto-cli in the running virtual environment; answers like `find_quarto`."""
    if sys.prefix == sys.base_prefix:  # never touch the system's Python
        return None
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    command = [*(uv if importlib.util.find_spec("uv") else pip), "quarto-cli>=1.9.36"]
    try:
        subprocess.run(command, capture_output=True, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return find_quarto()


def render(quarto: str, to: str, root: Path, output: Path) -> None:
    """Renders the book of the folder `root` in the formats of `TARGETS[to]`; the folder `output` is replaced.

    Raises:
        ChapterError: a cell raises or makes noise.
        BookError: Quarto fails, or a page has one of `FAULTS`.
        UsageError: Quarto cannot start, or does not end in time. In all cases `output` is as it was.
    """
    settings = {"QUARTO_PYTHON": sys.executable, "RANKSTUDY_SKIP_RUN": "1"}
    with fresh(output) as folder, tempfile.TemporaryDirectory(prefix="rankstudy-") as copy:
        paths = listed(root)
        executed = dict(zip(paths, execute_all(paths), strict=True))
        projects = {form: executed_copy(root, Path(copy).resolve() / form, executed) for form in TARGETS[to]}
        commands = [
            [quarto, "render", str(project), "--to", form, "--output-dir", "_book"]
            for form, project in projects.items()
        ]
        answers = _outputs(commands, RENDER_SECONDS, list(projects.values()), os.environ | settings)
        for form, (code, said) in zip(projects, answers, strict=True):
            said = re.sub(r"\x1b\[[\d;]*m", "", said)
            if code:
                raise BookError(f"quarto render --to {form} failed:\n{said[-6000:].strip()}")
            if warning := WARNINGS.search(said):
                raise BookError(f"quarto render --to {form}: {warning[0].strip()}")
        for form, project in projects.items():
            if form == "html":
                handout.write(root, executed, project / "_book" / "report")
            shutil.copytree(project / "_book", folder, dirs_exist_ok=True)
        check(folder)


def _output(command: list[str], seconds: float) -> tuple[int, str]:
    """Exit code and output of one program, as `_outputs`."""
    return _outputs([command], seconds, [Path.cwd()], os.environ)[0]


def _outputs(
    commands: Sequence[list[str]], seconds: float, folders: Sequence[Path], environment: Mapping[str, str]
) -> list[tuple[int, str]]:
    """Exit code and output of programs side by side, each in its folder. Each ends with all that it has started: in
    time, or killed.

    Raises:
        UsageError: one cannot start, or takes longer.
    """
    with ExitStack() as stack:
        started = []
        limit = time.monotonic() + seconds
        try:
            for command, folder in zip(commands, folders, strict=True):
                output = stack.enter_context(tempfile.TemporaryFile())  # no pipe: a grandchild would keep it open
                try:
                    process = subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                        cwd=folder, env=environment,
                    )  # fmt: skip
                except OSError as error:
                    raise UsageError(f"{command[0]} cannot start: {error.strerror}") from error
                started.append((process, output))
            codes = [process.wait(max(0.0, limit - time.monotonic())) for process, _ in started]
        except BaseException as error:  # Ctrl-C too: it reaches our group, not the programs'
            for process, _ in started:
                _kill(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise UsageError(f"{' '.join(error.cmd[:2])} has not ended after {seconds:.0f} s") from None
            raise
        for _, output in started:
            output.seek(0)
        return [
            (code, output.read().decode(errors="replace")) for code, (_, output) in zip(codes, started, strict=True)
        ]


def _kill(process: subprocess.Popen) -> None:
    """The program and its children."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:  # Windows
        process.kill()
    process.wait()


def executed_copy(root: Path, copy: Path, executed: Mapping[Path, NotebookNode]) -> Path:
    """The book's own files, with Markdown in place of chapters that would have to be executed."""
    copy.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "_quarto.yml", copy)
    shutil.copytree(root / "report", copy / "report")
    for path, book in executed.items():
        page = copy / path.relative_to(root)
        page.write_text(markdown(book, page.parent), encoding="utf-8")
    return copy


def check(folder: Path) -> None:
    """Raises `BookError`, which names page and text, if a page of the folder has one of `FAULTS`."""
    found = []
    for page in sorted(folder.rglob("*.html")):
        text = re.sub(r"(<script[^>]*>)[\s\S]*?</script>", r"\1", page.read_text(encoding="utf-8"))
        for pattern, meaning in FAULTS.items():
            if fault := re.search(pattern, text):
                words = re.sub(r'<[^>]*>|class="[^>]*>', " ", fault[0]).split()
                found.append(f"{page.relative_to(folder)}: {meaning}: {' '.join(words)}")
    if found:
        raise BookError("\n".join(found))


def main(argv: Sequence[str]) -> int:
    """`report [--to html|pdf|all]`: 0, or not and what is wrong on stderr."""
    parser = argparse.ArgumentParser(prog="python -m rankstudy report", description="Compute, then render the book.")
    parser.add_argument("--to", choices=TARGETS, default="all", help="default: %(default)s")
    parser.add_argument("--install-quarto", action="store_true", help="try PyPI's quarto-cli where there is no Quarto")
    given = parser.parse_args(argv[1:])
    root = Path.cwd()
    listed(root)  # a folder that is no book's is said before anything is computed
    from rankstudy.study.run import main as run  # imports the study, which nobody needs to find Quarto

    quarto = find_quarto() or (install_quarto() if given.install_quarto else None)  # a broken one is said at once
    if code := run(["run"]):
        return code
    begun = time.perf_counter()
    if quarto is None:
        from rankstudy.book import preview

        print(
            "rankstudy: there is no Quarto 1.9 or later (https://quarto.org/docs/get-started), so the same chapters "
            "go to _preview/ as plain HTML"
        )
        return preview.main(["preview"])
    try:
        print(f"rankstudy: rendering ({', '.join(TARGETS[given.to])}) with {quarto}", flush=True)
        render(quarto, given.to, root, root / "_book")
    except (ChapterError, BookError) as error:
        print(f"rankstudy: {error}\nrankstudy: the book is not replaced", file=sys.stderr)
        return 1
    made = [*Path("_book").glob("index.html"), *Path("_book").glob("*.pdf")]
    print(f"rankstudy: {' and '.join(map(str, made))} in {time.perf_counter() - begun:.0f} s")
    return 0
