"""The book from nothing: Quarto's step before rendering ends, alone or within `quarto render`, and leaves nobody."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from rankstudy.book import handout, render
from rankstudy.study import questions
from rankstudy.study.store import Store
from tests.conftest import PROFILE

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
ROOT = Path(__file__).parents[1]
STEP = ROOT / "report" / "styles" / "prerender.py"
LIMIT = 900  # seconds: it takes a minute, and only what never ends is a failure
QUARTO = render.find_quarto()


def begin(store: Path, *command: object, **options: object) -> subprocess.Popen[str]:
    """The command, in a process group of its own, under smoke with two workers."""
    environment = {name: value for name, value in os.environ.items() if name != "RANKSTUDY_SKIP_RUN"}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment |= {"RANKSTUDY_RESULTS": str(store), "RANKSTUDY_PROFILE": "smoke", "RANKSTUDY_WORKERS": "2"}
    environment |= {"QUARTO_PYTHON": sys.executable}
    return subprocess.Popen(
        [*map(str, command)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **{"cwd": ROOT, **options},
    )  # fmt: skip


def left_behind(group: int) -> list[str]:
    """The processes of a group that are alive, after those that are ending have had a moment."""
    for _ in range(100):
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                state, _, own, *_ = (path / "stat").read_text().rpartition(")")[2].split()
                if int(own) == group and state != "Z":
                    found.append((path / "cmdline").read_text().replace("\0", " "))
            except (OSError, ValueError):
                continue
        if not found:
            break
        time.sleep(0.1)
    return found


def files(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.rglob("*.safetensors")}


def interrupted(process: subprocess.Popen[str], store: Path, trainings: int = 1) -> str:
    """What it says when Ctrl-C comes in the middle of the work."""
    limit = time.monotonic() + LIMIT
    while len(list(Store(store).records("trained"))) < trainings:
        assert process.poll() is None and time.monotonic() < limit, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=LIMIT)
    assert process.returncode != 0, said
    assert left_behind(process.pid) == []
    for path in (store / "locks").glob("*"):
        try:
            FileLock(path).acquire(timeout=0).lock.release()
        except Timeout:
            pytest.fail(f"{path} is held")
    return said


def test_the_step_before_rendering_ends_and_leaves_no_process(tmp_path, smoke_store):
    """A worker imports the program that started it: without a guard it would begin the whole study, and wait for the
    locks of its parent. Stopped once on the way, it goes on from there."""
    store = tmp_path / "results"
    process = begin(store, sys.executable, STEP)
    said = interrupted(process, store)
    assert process.returncode == 130 and "are kept" in said and "Traceback" not in said and "semaphore" not in said
    before, known = files(store), set(questions.known())
    step = begin(store, sys.executable, STEP)
    out, said = step.communicate(timeout=LIMIT)
    assert step.returncode == 0 and "Traceback" not in said, said
    assert left_behind(step.pid) == []
    assert {line.split()[1].rstrip(":") for line in out.splitlines() if ": computed in" in line} <= known
    assert {record.experiment for record in Store(store).records("measured")} >= known
    complete = files(store)
    assert complete.items() >= before.items()
    assert begin(store, sys.executable, STEP).communicate(timeout=LIMIT)[0] == ""  # nothing is computed twice
    assert files(store) == complete
    for path in store.rglob("*.safetensors"):  # other tests need not compute it again
        target = smoke_store / path.relative_to(store)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)


@pytest.mark.skipif(QUARTO is None, reason="no Quarto 1.9 here")
@pytest.mark.skipif(PROFILE != "thorough", reason="rendering the whole book takes five minutes: make thorough")
def test_quarto_render_makes_the_whole_book_from_an_empty_store(tmp_path):
    """HTML only, which takes half as long."""
    project, store = tmp_path / "a clone", tmp_path / "results"
    for name in ("rankstudy", "report", "benchmarks", "published"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_quarto.yml", "index.qmd", "tutorial.ipynb"):
        shutil.copy(ROOT / name, project)
    interrupted(begin(store, QUARTO, "render", "--to", "html", cwd=project), store)
    book = begin(store, QUARTO, "render", "--to", "html", cwd=project)
    out, said = book.communicate(timeout=LIMIT)
    assert book.returncode == 0, out + said
    assert left_behind(book.pid) == []
    render.check(project / "_book")
    pages = {
        path.relative_to(project / "_book").with_suffix("").as_posix() for path in project.rglob("_book/**/*.html")
    }
    assert {path.relative_to(ROOT).with_suffix("").as_posix() for path in render.listed(ROOT)} <= pages
    handed = {path.name for path in (project / "_book" / "report").glob("*.ipynb")}
    assert handed | {None} == {handout.name(ROOT, path) for path in render.listed(ROOT)}
