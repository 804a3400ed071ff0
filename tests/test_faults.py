"""Nothing is lost and nothing wrong is served, whatever happens to the machine. `tests/faults.py` has the faults."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rankstudy import UsageError
from rankstudy.__main__ import main
from rankstudy.study import jobs, store
from rankstudy.study.store import Question, Store
from tests.test_jobs import Square

ROOT = Path(__file__).parents[1]
QUESTION = Question("measured", "test", None, "abc")
posix = pytest.mark.skipif(os.name != "posix", reason="fork and signals")


@posix
@pytest.mark.faults
@pytest.mark.parametrize("kind", ["steps", "kills", "damage", "together", "full"])
def test_nothing_is_lost_and_nothing_wrong_is_served(kind):
    # make thorough tries many more
    command = [sys.executable, "-m", "tests.faults", kind, "--kills", "10", "--damages", "25"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tried, lost, wrong = map(int, re.search(r" (\d+) +(\d+) +(\d+) +\d+ s$", done.stdout, re.M).groups())
    assert (lost, wrong) == (0, 0)
    assert tried >= {"steps": 60, "kills": 10, "damage": 25, "together": 4, "full": 20}[kind]


@pytest.mark.faults
def test_two_renders_and_a_run_at_once(tmp_path):
    """Each question is answered once, and everybody gets the answer."""
    environment = {**os.environ, "RANKSTUDY_RESULTS": str(tmp_path / "räum e"), "RANKSTUDY_PROFILE": "smoke"}
    commands = [["preview", "02-training", "--output", str(tmp_path / name)] for name in "ab"] + [["run", "02"]]
    workers = [subprocess.Popen([sys.executable, "-m", "rankstudy", *c], cwd=ROOT, env=environment) for c in commands]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    records = list(Store(tmp_path / "räum e").records())
    assert len(records) == len({record.key for record in records})
    # the page asks for the data's result, too
    assert sorted(record.experiment for record in records) == ["data", "network", "network", "training"]
    assert (tmp_path / "a" / "02-training.html").exists() and (tmp_path / "b" / "02-training.html").exists()


def test_a_small_disk_that_is_full(tmp_path):
    """The same as a quota, on a real file system of 64 kB where one may be mounted."""
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    program = (
        "import numpy as np\nfrom pathlib import Path\nfrom rankstudy import UsageError\n"
        "from rankstudy.study.store import Question, Store\n"
        f"memory, question = Store({str(tmp_path)!r}), Question('measured', 'test', None, 'abc')\n"
        "memory.put(question, 'old', {}, {'a': np.arange(3)})\n"
        "try:\n    memory.put(question, 'new', {}, {'a': np.arange(100_000)})\n"
        "except UsageError as error:\n    print(error)\n"
        "print(memory.find(question).digest, len([p for p in memory.root.rglob('*') if p.is_file()]))\n"
    )
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", *mounted], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    script = f'{" ".join(mounted)} && exec {sys.executable} -c "$0"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "No space left on device" in done.stdout and done.stdout.splitlines()[-1] == "old 1"


@pytest.fixture
def forbidden(tmp_path, monkeypatch):
    """A store whose files cannot be read: also for root, who may read everything."""
    memory = Store(tmp_path)
    path = memory.put(QUESTION, "d", {}, {"a": np.arange(3)}).path

    def no(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", no)
    monkeypatch.setattr(store, "open", no, raising=False)
    yield memory, path
    monkeypatch.undo()
    assert path.exists() and memory.find(QUESTION, "d") is not None


def test_a_result_that_may_not_be_read_is_one_line_and_stays(forbidden):
    """It is not damaged: nobody may set it aside."""
    memory, path = forbidden
    with pytest.raises(UsageError, match=f"{path.name} cannot be read: Permission denied"):
        memory.find(QUESTION, "d")
    with pytest.raises(UsageError, match="cannot be read"):
        list(memory.records())


@posix
def test_a_store_that_cannot_be_written_still_answers(tmp_path, monkeypatch):
    """Reading takes no lock; what is missing is said to be impossible in one line."""
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path))
    memory = Store(tmp_path)
    memory.put(QUESTION, "d", {}, {"a": 1})

    def no(*_args, **_options):
        raise OSError(30, "Read-only file system")

    for name in ("replace", "mkdir", "open"):
        monkeypatch.setattr(store.os, name, no)
    assert jobs.store().find(QUESTION, "d").value == {"a": 1}
    with pytest.raises(UsageError, match="cannot be written"):
        jobs.answer(Square(3))


def test_a_clock_that_jumps(tmp_path, monkeypatch, capsys):
    """Results from the future are served, and listed with their age as none."""
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path))
    memory = Store(tmp_path)
    for moment, question in ((4e9, QUESTION), (1.0, Question("measured", "other", None, "abc"))):
        monkeypatch.setattr(store.time, "time", lambda moment=moment: moment)
        memory.put(question, "d", {"device": "", "commit": "", "seconds": 1.0}, {"a": moment})
    monkeypatch.undo()
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path))
    assert memory.find(QUESTION, "d").value == {"a": 4e9}
    assert memory.find(Question("measured", "other", None, "abc"), "d").value == {"a": 1.0}
    assert main(["list"]) == 0 and "-" not in capsys.readouterr().out.splitlines()[-2].split("kB")[1]


def test_prune_sweeps_what_a_kill_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path))
    memory = Store(tmp_path)
    memory.put(QUESTION, "d", {}, {"a": 1})
    old, new = tmp_path / "measured" / ".writing-old", tmp_path / "measured" / ".writing-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert main(["prune", "--yes"]) == 0
    assert not old.exists() and new.exists()  # somebody may be writing the new one
