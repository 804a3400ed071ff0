"""Processes side by side give what one gives; one that dies takes nothing with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rankstudy import UsageError
from rankstudy.__main__ import main
from rankstudy.study import engine, jobs, parallel, questions
from rankstudy.study.store import Store
from tests.faults import answers
from tests.test_jobs import Square

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
ROOT = Path(__file__).parents[1]
ONE_THREAD = dict.fromkeys(parallel.THREADS, "1")


def begin(folder: Path, *words: str) -> subprocess.Popen:
    environment = {**os.environ, **ONE_THREAD, "RANKSTUDY_RESULTS": str(folder), "RANKSTUDY_PROFILE": "smoke"}
    command = [sys.executable, "-m", "rankstudy", "run", *words]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def children(process: subprocess.Popen) -> list[int]:
    """The workers of a run, told from the process that keeps books for multiprocessing."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except (OSError, ValueError):
            continue
    return found


def wait_for(condition, seconds: float = 300.0):  # only a hang is a failure: beside other work a start takes minutes
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """What one process computes: trainings, sweeps and blocks of fine-tunings."""
    folder = tmp_path_factory.mktemp("serial")
    process = begin(folder, "02", "05", "08", "--workers", "1")
    assert process.communicate()[1] is not None and process.returncode == 0
    return answers(folder)


def test_two_workers_give_what_one_process_gives(serial, tmp_path):
    """The same bits of every network, and of everything measured that is no time."""
    process = begin(tmp_path / "räum e", "02", "05", "08", "--workers", "2")
    _, said = process.communicate()
    assert process.returncode == 0, said
    found = answers(tmp_path / "räum e")
    assert found.keys() == serial.keys()
    trained = {record.key for record in Store(tmp_path / "räum e").records("trained")}
    assert trained and all(found[key] == serial[key] for key in trained)


def test_this_process_trains_nothing(fresh, monkeypatch):
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(engine, "_train", lambda *_: pytest.fail("trained here"))
    before = jobs.spread
    with parallel.beside(2):
        assert questions.result("training")["history"]["seeds"].tolist() == [100, 101]
    assert jobs.spread is before


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_a_killed_worker_is_said_in_one_line_and_the_next_run_goes_on(serial, tmp_path):
    process = begin(tmp_path, "02", "05", "08", "--workers", "2")
    wait_for(lambda: len(list(Store(tmp_path).records("trained"))) >= 2)
    os.kill(children(process)[0], signal.SIGKILL)
    _, said = process.communicate()
    if process.returncode != 0:  # it was not between two pieces of work
        assert process.returncode == 2 and "a worker was killed" in said and "Traceback" not in said
    assert begin(tmp_path, "02", "--workers", "1").wait() == 0
    found = answers(tmp_path)
    trained = {record.key for record in Store(tmp_path).records("trained")}
    assert all(found[key] == serial[key] for key in trained)


def test_a_worker_killed_between_two_pieces_of_work_is_said_in_one_line_too(fresh):
    with parallel.beside(2):
        jobs.spread([Square(1), Square(2)])
        for process in list(jobs.spread.pool._processes.values()):
            process.kill()
            process.join()
        with pytest.raises(UsageError, match="a worker was killed"):
            for _ in range(100):  # until the pool has noticed
                jobs.spread([Square(3, 0.01)])


def test_ctrl_c_that_reached_the_workers_alone_is_ctrl_c():
    """Where it comes while Python runs a callback, this process hears nothing of it."""
    with pytest.raises(KeyboardInterrupt), parallel.beside(2):
        jobs.spread([Square(1), Square(2)])
        for process in jobs.spread.workers:
            os.kill(process.pid, signal.SIGINT)
            process.join()
        for _ in range(100):  # until the pool has noticed
            jobs.spread([Square(3, 0.01)])


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_run(tmp_path, number):
    process = begin(tmp_path, "02", "05", "08", "--workers", "2")
    wait_for(lambda: len(list(Store(tmp_path).records("trained"))) >= 1)
    own = children(process)
    assert len(own) == 2
    begun = time.monotonic()
    os.kill(process.pid, number)
    _, said = process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in own), 5.0)
    if number == signal.SIGINT:
        assert process.returncode == 130 and "are kept" in said and "Traceback" not in said, said
        assert time.monotonic() - begun < 5  # a second on idle cores


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--workers", "0"], "must be at least 1, got 0"),
        (["--workers", "two"], "invalid int value: 'two'"),
        (["--workers", "2", "--scheduler", "tcp://localhost:1"], "not together with --scheduler"),
    ],
)
def test_a_bad_number_is_one_line(fresh, capsys, words, expected):
    with pytest.raises(SystemExit) as stopped:
        main(["run", "02", *words])
    assert stopped.value.code == 2 and expected in capsys.readouterr().err


def test_a_machine_has_room_for_at_least_one():
    assert 1 <= parallel.cores() <= (os.cpu_count() or 1)
