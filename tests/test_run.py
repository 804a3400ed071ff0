"""The command line: computes once, resumes, says what is wrong in one line."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from rankstudy.__main__ import main
from rankstudy.experiments import study
from rankstudy.store import Store

ROOT = Path(__file__).parents[1]


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty store, the smoke profile."""
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("RANKSTUDY_PROFILE", "smoke")
    monkeypatch.delenv("RANKSTUDY_DATASET", raising=False)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


def test_the_second_run_computes_nothing(fresh, capsys):
    assert main(["run", "01", "02"]) == 0
    said = capsys.readouterr().out
    assert "computed data, training" in said and "predicted" in said
    before = files(fresh / "results")
    assert main(["run", "01", "training"]) == 0
    assert "nothing to compute" in capsys.readouterr().out
    assert main(["run", "02", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert files(fresh / "results") == before


def test_prediction_alone_computes_nothing(fresh, capsys):
    assert main(["run", "02", "--predict"]) == 0
    assert "about" in capsys.readouterr().out
    assert files(fresh / "results") == {}


def test_seeds_add_up(fresh, monkeypatch):
    """More seeds later: the networks that are there are not trained again."""
    from dataclasses import replace

    from rankstudy.experiments import training

    study.result("training")
    trained = files(fresh / "results" / "trained")
    more = replace(training.CONFIGS["smoke"], seeds=3)
    monkeypatch.setitem(training.CONFIGS, "smoke", more)
    result = study.result("training")
    assert result["history"]["seeds"].tolist() == [0, 1, 2]
    assert files(fresh / "results" / "trained").items() >= trained.items()
    assert len(files(fresh / "results" / "trained")) == len(trained) + 1


def test_list_shows_and_prune_asks(fresh, capsys, monkeypatch):
    assert main(["list"]) == 0 and "empty" in capsys.readouterr().out
    main(["run", "02"])
    capsys.readouterr()
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert "smoke" in said and "784-32-32-32-10 relu seed 1" in said and " no" not in said.replace("no ", "")
    assert main(["prune"]) == 0 and "nothing to remove" in capsys.readouterr().out
    monkeypatch.setattr("rankstudy.run.accepted", lambda record: record.kind == "trained")
    assert main(["prune"]) == 0 and "nothing removed" in capsys.readouterr().out
    assert main(["prune", "--yes"]) == 0
    assert len(files(fresh / "results" / "measured")) == 0 and len(files(fresh / "results" / "trained")) == 2


def test_export_and_import(fresh, capsys, monkeypatch):
    main(["run", "01", "02"])
    assert main(["export", str(fresh / "out" / "a.zip")]) == 0
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(fresh / "other"))
    assert main(["import", str(fresh / "out" / "a.zip")]) == 0
    assert files(fresh / "other" / "measured") == files(fresh / "results" / "measured")
    capsys.readouterr()
    assert main(["import", str(fresh / "out" / "a.zip")]) == 0 and "2 were there already" in capsys.readouterr().out
    assert main(["run", "01", "02"]) == 0 and "nothing to compute" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["../../escape.safetensors", "measured/../../x.safetensors", "trained/x.safetensors", "x.txt"]
)
def test_import_refuses_what_is_no_result(name, fresh, capsys):
    with zipfile.ZipFile(fresh / "a.zip", "w") as archive:
        archive.writestr(name, b"content")
    assert main(["import", str(fresh / "a.zip")]) == 2
    assert "nothing is imported" in capsys.readouterr().err
    assert sorted(path.name for path in fresh.iterdir()) == ["a.zip"]


def test_import_notices_damage(fresh, capsys, monkeypatch):
    main(["run", "02"])
    main(["export", str(fresh / "a.zip")])
    with zipfile.ZipFile(fresh / "a.zip") as archive:
        (name,) = archive.namelist()
        content = bytearray(archive.read(name))
    content[-1] ^= 1
    with zipfile.ZipFile(fresh / "b.zip", "w") as archive:
        archive.writestr(name, bytes(content))
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(fresh / "other"))
    assert main(["import", str(fresh / "b.zip")]) == 2
    content = (fresh / "a.zip").read_bytes()
    (fresh / "c.zip").write_bytes(content[: len(content) // 2])
    assert main(["import", str(fresh / "c.zip")]) == 2
    assert not (fresh / "other").exists()


BAD = {
    "unknown command": (["fly"], {}, "fly"),
    "unknown chapter": (["run", "42"], {}, "'42'"),
    "unknown profile": (["run"], {"RANKSTUDY_PROFILE": "huge"}, "'huge'; allowed are smoke, quick, full, published"),
    "unknown device": (["run", "02"], {"RANKSTUDY_DEVICE": "tpu"}, "'tpu'; allowed are cpu, cuda, cuda:N and mps"),
    "unknown data set": (
        ["run", "02"],
        {"RANKSTUDY_PROFILE": "quick", "RANKSTUDY_DATASET": "letters"},
        "'letters'; allowed",
    ),
    "missing file": (["import", "nowhere.zip"], {}, "nowhere.zip cannot be read"),
    "not an export": (["import", str(ROOT / "LICENSE")], {}, "is not an export"),
    "empty store": (["export", "x.zip"], {}, "run first"),
    "no argument": (["export"], {}, "file"),
    "store is a file": (["run", "02"], {"RANKSTUDY_RESULTS": str(ROOT / "LICENSE")}, "cannot be written"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(name, fresh):
    arguments, environment, message = BAD[name]
    done = subprocess.run(
        [sys.executable, "-m", "rankstudy", *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= (1 if done.stderr.startswith("rankstudy:") else 4)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupt_says_what_is_kept(fresh):
    worker = _start(fresh / "results", "03")
    time.sleep(3.0)
    if worker.poll() is None:
        worker.send_signal(signal.SIGINT)
        begun = time.perf_counter()
        _, error = worker.communicate(timeout=30)
        assert time.perf_counter() - begun < 5
        assert worker.returncode in (130, -signal.SIGINT)
        assert "Traceback" not in error or worker.returncode != 130


def _start(results: Path, *chapters: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "rankstudy", "run", *chapters],
        env={**os.environ, "RANKSTUDY_RESULTS": str(results), "RANKSTUDY_PROFILE": "smoke"},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.faults
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_kills_lose_nothing_that_was_finished(fresh):
    """20 kills at random moments: what was stored stays, byte for byte, and the last run completes it."""
    results, generator = fresh / "results", random.Random(0)
    kept: dict[str, bytes] = {}
    for _ in range(20):
        worker = _start(results, "01", "02")
        time.sleep(generator.uniform(1.0, 6.0))
        worker.kill()
        worker.wait()
        now = files(results)
        assert kept.items() <= now.items()
        kept = now
        for record in Store(results).records():
            assert Store(results).read(record.path) is not None
    assert main(["run", "01", "02"]) == 0
    assert not (results / "damaged").exists()
