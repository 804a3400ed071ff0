"""The command line: computes once, resumes, says what is wrong in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rankstudy import device
from rankstudy.__main__ import main
from rankstudy.study import questions

ROOT = Path(__file__).parents[1]


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

    from rankstudy.study.experiments import training

    questions.result("training")
    trained = files(fresh / "results" / "trained")
    more = replace(training.CONFIGS["smoke"], seeds=3)
    monkeypatch.setitem(training.CONFIGS, "smoke", more)
    result = questions.result("training")
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
    monkeypatch.setattr("rankstudy.study.questions.accepted", lambda record: record.kind == "trained")
    assert main(["prune"]) == 0 and "nothing removed" in capsys.readouterr().out
    assert main(["prune", "--yes"]) == 0
    assert len(files(fresh / "results" / "measured")) == 0 and len(files(fresh / "results" / "trained")) == 2


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
    "unknown experiment": (["run", "training", "sorting"], {}, "'sorting'; there are 01 data, 02 training"),
    "no CUDA here": (["run", "02"], {"RANKSTUDY_DEVICE": "cuda:99"}, "RANKSTUDY_DEVICE"),
    "unknown device index": (["run", "02"], {"RANKSTUDY_DEVICE": "cuda:first"}, "'cuda:first'; allowed are"),
    "unknown option": (["run", "--fast"], {}, "unrecognized arguments: --fast"),
    "unknown page": (["preview", "99-end"], {}, "no chapter '99-end'; there are index, 01-data"),
    "unknown format": (["report", "--to", "docx"], {}, "'docx' (choose from"),
    "nobody at the address": (["run", "02", "--scheduler", "tcp://127.0.0.1:9"], {}, "--scheduler"),
    "not an address": (["run", "02", "--scheduler", "tcp:/x"], {}, "--scheduler"),
    "published, nothing to publish": (["export", "--published"], {"RANKSTUDY_PROFILE": "published"}, "publish full"),
    "published, not computed": (["export", "--published"], {}, "profile smoke has no result of data, training"),
    "file and published": (["export", "x.zip", "--published"], {}, "not allowed with"),
    "export to a folder": (["export", "tests"], {}, "run first"),
    "no checkpoint": (["analyze", "nowhere.safetensors"], {}, "nowhere.safetensors"),
    "not a checkpoint": (["analyze", str(ROOT / "LICENSE")], {}, "LICENSE"),
    "no such error": (["analyze", "x.safetensors", "--rank-error", "2"], {}, ""),
    "not a number": (["compress", "a.safetensors", "b.safetensors", "--rank-error", "x"], {}, "invalid float value"),
    "missing file": (["import", "nowhere.zip"], {}, "nowhere.zip cannot be read"),
    "not an export": (["import", str(ROOT / "LICENSE")], {}, "no export of rankstudy"),
    "empty store": (["export", "x.zip"], {}, "run first"),
    "no argument": (["export"], {}, "file"),
    "store is a file": (["run", "02"], {"RANKSTUDY_RESULTS": str(ROOT / "LICENSE")}, "cannot be written"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(name, fresh, monkeypatch, capsys):
    """An exception that gets out would be a traceback, and fails this test."""
    arguments, environment, message = BAD[name]
    monkeypatch.chdir(ROOT)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    device.choose.cache_clear()
    try:
        code = main(arguments)
    except SystemExit as end:  # argparse: its usage, and then the line
        code = end.code
    device.choose.cache_clear()
    error = capsys.readouterr().err
    assert code == 2 and message in error
    assert len([line for line in error.splitlines() if not line.startswith((" ", "usage:"))]) == 1


def test_bad_input_in_a_process_of_its_own(fresh):
    """The same, as the shell sees it."""
    command = [sys.executable, "-m", "rankstudy", "run", "42"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("when", ["01 data: computed", "03 rank: about"])
def test_ctrl_c_ends_within_a_second_and_says_what_is_kept(when, fresh):
    """Once a chapter is done, or while the first network is trained."""
    worker = subprocess.Popen(
        [sys.executable, "-u", "-m", "rankstudy", "run", "01", "03", "09"],
        env={**os.environ, "RANKSTUDY_RESULTS": str(fresh / "results")},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while when not in (line := worker.stdout.readline()):
        assert line, worker.stderr.read()
    worker.send_signal(signal.SIGINT)
    begun = time.perf_counter()
    _, error = worker.communicate(timeout=30)
    assert time.perf_counter() - begun < max(1, os.getloadavg()[0])  # a machine that others use is given their time
    assert worker.returncode == 130 and "Traceback" not in error
    kept = len(files(fresh / "results"))
    assert f"the {kept} finished results in {fresh / 'results'} are kept" in error
    assert "python -m rankstudy run 01 03 09 goes on from there" in error
    assert kept > 0 or "about" in when
