"""A record is there whole or not at all, answers only its own question, and betrays its own damage."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from rankstudy import UsageError, files
from rankstudy.__main__ import main
from rankstudy.study import jobs, store
from rankstudy.study.store import Question, Store
from tests.test_jobs import Square


@dataclass(frozen=True)
class Config:
    width: int = 3
    rates: tuple[float, ...] = (0.1, 0.01)


ORIGIN = {"device": "test", "seconds": 1.0}
QUESTION = Question("measured", "test", Config(), "abc")
SECRET = Question("measured", "secret", Config(), "abc")
PLAIN = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8)
ARRAYS = arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]), array_shapes(min_dims=0, min_side=0)
)
VALUES = st.recursive(
    PLAIN | ARRAYS,
    lambda inner: st.dictionaries(st.text(max_size=6), inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=8,
)


def same(a, b) -> bool:
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(value=st.dictionaries(st.text(max_size=6), VALUES, max_size=4))
def test_what_is_put_is_found(value, tmp_path_factory):
    memory = Store(tmp_path_factory.mktemp("store"))
    memory.put(QUESTION, "d", ORIGIN, value)
    assert same(value, memory.find(QUESTION, "d").value)


def test_an_object_is_refused(tmp_path):
    for value in ({"a": object()}, {"a": np.array([object()])}, {"a": {1, 2}}, {"a": np.array(["text"])}):
        with pytest.raises(TypeError, match="/a"):
            Store(tmp_path).put(QUESTION, "d", ORIGIN, value)
    assert list(Store(tmp_path).records()) == []


def test_arrays_come_back_read_only(tmp_path):
    record = Store(tmp_path).put(QUESTION, "d", ORIGIN, {"a": np.zeros(3)})
    with pytest.raises(ValueError, match="read-only"):
        record.value["a"][0] = 1


def test_another_question_code_or_data_is_not_answered(tmp_path):
    memory = Store(tmp_path)
    memory.put(QUESTION, "d", ORIGIN, {"a": 1})
    assert memory.find(QUESTION, "other code") is None
    assert memory.find(QUESTION) is not None
    for other in (
        Question("measured", "test", Config(width=4), "abc"),
        Question("measured", "test", Config(), "other data"),
        Question("measured", "other", Config(), "abc"),
        Question("trained", "test", Config(), "abc"),
    ):
        assert memory.find(other, "d") is None


def test_the_newest_record_answers(tmp_path):
    memory = Store(tmp_path)
    for created, value in ((2.0, "new"), (1.0, "old")):
        memory.put(QUESTION, "d", {**ORIGIN, "created": created}, {"a": value})
    assert memory.find(QUESTION, "d").value["a"] == "new"
    assert [record.provenance["created"] for record in memory.records()] == [1.0, 2.0]


def test_every_flipped_byte_is_noticed(tmp_path, capsys):
    """Damage anywhere in the file: the record is not served, is set aside, and stderr says so."""
    memory = Store(tmp_path)
    path = memory.put(QUESTION, "d", ORIGIN, {"a": np.arange(4.0)}).path
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        assert memory.find(QUESTION, "d") is None, position
        assert (tmp_path / "damaged" / path.name).read_bytes() == damaged
        assert "damaged" in capsys.readouterr().err
    path.write_bytes(content)
    assert memory.find(QUESTION, "d") is not None


def test_every_truncation_is_noticed(tmp_path):
    memory = Store(tmp_path)
    path = memory.put(QUESTION, "d", ORIGIN, {"a": np.arange(4.0)}).path
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert memory.find(QUESTION, "d") is None, length


def test_a_record_of_another_format_is_left_alone(tmp_path, monkeypatch):
    memory = Store(tmp_path)
    monkeypatch.setattr(store, "FORMAT", 0)
    with pytest.raises(AssertionError):
        monkeypatch.setattr(Store, "read", lambda self, path: None)
        memory.put(QUESTION, "d", ORIGIN, {"a": 1})
    monkeypatch.undo()
    assert memory.find(QUESTION, "d") is None
    assert len(list((tmp_path / "measured").iterdir())) == 1


STEPS = ("open", "write", "flush", "fsync", "replace")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_fault_at_any_step_of_the_write_leaves_the_store_as_it_was(step, error, tmp_path, monkeypatch):
    memory = Store(tmp_path)
    before = memory.put(QUESTION, "d", ORIGIN, {"a": 1}).path.read_bytes()

    def fail(*_args, **_options):
        raise error

    if step in ("open", "write", "flush"):

        def opened(path, mode, **options):
            if mode != "xb":
                return open(path, mode, **options)
            return fail() if step == "open" else _Failing(open(path, mode, **options), step, fail)

        monkeypatch.setattr(files, "open", opened, raising=False)
    else:
        monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(UsageError if isinstance(error, OSError) else KeyboardInterrupt):
        memory.put(QUESTION, "other", ORIGIN, {"a": 2})
    monkeypatch.undo()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in kept] == [before]
    assert memory.find(QUESTION, "d").value == {"a": 1}
    assert memory.find(QUESTION, "other") is None


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_a_record_may_be_read_by_whom_the_umask_lets(tmp_path):
    """A store that one user fills and another reads."""
    before = os.umask(0o022)
    try:
        path = Store(tmp_path).put(QUESTION, "d", ORIGIN, {"a": 1}).path
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


class _Failing:
    """A file one of whose methods fails."""

    def __init__(self, file, method, fail):
        self.file, self.method, self.fail = file, method, fail

    def __getattr__(self, name):
        return self.fail if name == self.method else getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def unprivileged(work: Callable[[], object]) -> list[str]:
    """The messages of a child that does the work, as user 65534 where this process is root's, who may do anything."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            sys.stdout = sys.stderr = open(1, "w", closefd=False)  # pytest holds the others
            try:
                print(work())
            except UsageError as error:
                print("UsageError:", error)
            except BaseException as error:
                print(repr(error))
            sys.stdout.flush()
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(child, 0)
    return lines


@pytest.fixture
def guarded():
    """A store that nobody may write into, with one record that may be read and one that may not."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        memory = Store(folder)
        memory.put(QUESTION, "d", ORIGIN, {"a": 1}).path.chmod(0o644)
        secret = memory.put(SECRET, "d", ORIGIN, {"a": 2}).path
        places = [(secret, 0o600), (secret.parent, 0o700), (memory.root, 0o700)]
        for path, mode in zip((place for place, _ in places), (0o000, 0o555, 0o555), strict=True):
            path.chmod(mode)
        yield memory
        for path, mode in reversed(places):
            path.chmod(mode)


@pytest.mark.skipif(os.name != "posix", reason="fork and users")
def test_a_user_without_permission_gets_one_line(guarded, monkeypatch):
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(guarded.root))
    other = Question("measured", "other", Config(), "abc")
    denied = f"the store {guarded.root} cannot be written: Permission denied"
    unreadable = "cannot be read: Permission denied"
    assert unprivileged(lambda: dict(jobs.store().find(QUESTION, "d").value)) == ["{'a': 1}"]  # reading takes no lock
    assert unprivileged(lambda: jobs.answer(Square(3))) == [f"UsageError: {denied}"]
    (line,) = unprivileged(lambda: guarded.put(other, "d", ORIGIN, {"a": 3}))
    assert line.startswith("UsageError: the result of other cannot be written to") and "Permission denied" in line
    (line,) = unprivileged(lambda: guarded.find(SECRET, "d"))
    assert line.startswith("UsageError: the stored result") and line.endswith(unreadable)
    *lines, code = unprivileged(lambda: main(["list"]))
    assert len(lines) == 1 and lines[0].endswith(unreadable) and code == "2"


def test_a_store_whose_folder_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        Store(tmp_path / "file").put(QUESTION, "d", ORIGIN, {"a": 1})
    with pytest.raises(UsageError, match="cannot be written"), Store(tmp_path / "file").lock(QUESTION):
        pass


def _answer_once(root: str, log: str) -> None:
    memory = Store(root)
    with memory.lock(QUESTION):
        if memory.find(QUESTION, "d") is None:
            with open(log, "a") as file:
                file.write("computed\n")
            memory.put(QUESTION, "d", ORIGIN, {"a": 1})


def test_four_processes_answer_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_answer_once, args=(str(tmp_path / "räum e"), str(tmp_path / "log"))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "log").read_text() == "computed\n"
    assert len(list(Store(tmp_path / "räum e").records())) == 1


def test_keys_tell_configs_apart_and_nothing_else():
    """1 and 1.0 and True are different configs; an equal config built twice is the same."""
    keys = {Question("measured", "test", Config(width=w), "abc").key for w in (1, 1.0, True)}
    assert len(keys) == 3
    assert Question("measured", "test", Config(), "abc").key == QUESTION.key
    with pytest.raises(TypeError, match="config"):
        _ = Question("measured", "test", {"a": object()}, "abc").key


def test_a_record_holds_no_code(tmp_path):
    """The file is a JSON header and raw numbers: nothing in it is ever executed."""
    path = Store(tmp_path).put(QUESTION, "d", ORIGIN, {"a": np.arange(3)}).path
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert set(header) == {"__metadata__", "/a"}
    assert len(content) == 8 + length + 24
