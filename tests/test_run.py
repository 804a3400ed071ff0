"""The command line: computes once, resumes, says what is wrong in one line."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rankstudy import device
from rankstudy.__main__ import COMMANDS, main
from rankstudy.study import contents, engine, jobs, listing, progress, questions, times

ROOT = Path(__file__).parents[1]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


def test_the_second_run_computes_nothing(fresh, capsys):
    assert main(["run", "01", "02"]) == 0
    said = capsys.readouterr().out
    assert "missing chapters 01, 02 (2 trainings on 9.90k images)" in said and "computed data, training" in said
    before = files(fresh / "results")
    assert main(["run", "01", "training"]) == 0
    assert "nothing to compute" in capsys.readouterr().out
    assert main(["run", "02", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert files(fresh / "results") == before


def test_what_is_missing_is_said_of_the_rest_alone(fresh):
    """A training is known by its settings but for the learning rate, which may have been searched for."""
    wanted = progress.missing(["training"])["training"]
    assert len(wanted) == 2 and sum(run.training_images() for run in wanted) == 2 * 4 * (1437 - 200)
    other = replace(wanted[0], training=replace(wanted[0].training, learning_rate=0.02))
    engine.trained([other])
    assert progress.missing(["training"])["training"] == wanted[1:]
    assert progress.missing(["training", "rank"])["rank"] == progress.missing(["rank"])["rank"][1:]


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
def test_a_plan_names_trainings_each_once(profile, fresh, monkeypatch):
    monkeypatch.setenv("RANKSTUDY_PROFILE", profile)
    planned = progress.planned(list(questions.known()))
    runs = [run for each in planned.values() for run in each]
    assert len(runs) == len(set(runs)) > 50
    assert all(run.training_images() > 0 for run in runs)


def test_the_images_foretold_are_the_images_trained_on(fresh, monkeypatch):
    """... or the time that the bar says is left would be that of another study."""
    seen = []
    monkeypatch.setattr(jobs, "progress", lambda runs: seen.append)
    names = ["training", "rank", "lora"]
    foretold = sum(run.training_images() for runs in progress.missing(names).values() for run in runs)
    for name in names:
        questions.result(name)
    assert sum(seen) == pytest.approx(foretold, rel=0.05)


def test_times_add_up_over_interruptions_and_are_published(fresh, monkeypatch):
    monkeypatch.setattr(questions, "PUBLISHED", fresh / "published" / "results.zip")
    times.note("rank", 5.0, "here", afresh=False)  # begun before the time was taken
    assert times.publish(["rank"]) == 0 and times.earlier(["rank"], "smoke") == ""
    times.note("rank", 5.0, "here", afresh=True)
    times.note("rank", 60.0, "there", afresh=False)
    times.note("data", 2.0, "there", afresh=True)
    assert main(["export", "--times"]) == 0
    assert times.earlier(["rank"], "smoke") == "1 min 5 s on there"
    assert times.earlier(["data", "rank"], "smoke") == "1 min 7 s on there"
    assert times.earlier(["data", "lora"], "smoke") == times.earlier(["rank"], "full") == ""


NAMES = ["3", "03", "rank", "Rank", "03-rank", "03-rank.qmd", "report/03-rank.qmd", "./report/03-rank.html", "03_rank"]


@pytest.mark.parametrize("name", [*NAMES, str(ROOT / "report" / "03-rank.qmd")])
def test_a_chapter_has_one_name_whatever_it_is_called(name):
    alone = ["rank"] if name.lower() == "rank" else [each for each, of in questions.known().items() if of == "03"]
    assert contents.experiments([name]) == alone and alone[0] == "rank"
    pages = ["index", "report/03-rank", "report/06-low-rank-training", "report/evidence/03-rank"]
    assert contents.find(name, pages) == "report/03-rank"


@pytest.mark.parametrize(
    "name, page",
    [
        ("6", "report/06-low-rank-training"),
        ("low_rank_training", "report/06-low-rank-training"),
        ("index", "index"),
        ("evidence/03-rank", "report/evidence/03-rank"),
        ("33", None),
        ("ank", None),
        ("", None),
        ("3-", None),
    ],
)
def test_names_of_pages(name, page):
    pages = ["index", "report/03-rank", "report/06-low-rank-training", "report/evidence/03-rank"]
    assert contents.find(name, pages) == page


def test_a_page_that_draws_on_all_names_all():
    everything = list(questions.known())
    assert contents.experiments(["7"]) == contents.experiments(["index"]) == contents.experiments([]) == everything
    assert contents.experiments(["lora", "rank", "frontier"]) == ["rank", "lora", "frontier"]


def test_without_arguments_there_is_the_help(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in COMMANDS)


def test_profile_is_heard_and_said(fresh, monkeypatch, capsys):
    monkeypatch.delenv("RANKSTUDY_PROFILE")
    monkeypatch.setenv("PROFILE", "smoke")
    assert main(["run", "01"]) == 0
    said = capsys.readouterr()
    assert "profile smoke" in said.out and "PROFILE=smoke is taken" in said.err
    monkeypatch.setenv("RANKSTUDY_PROFILE", "quick")
    assert questions.profile() == "quick"
    monkeypatch.setenv("PROFILE", "release")  # somebody else's word
    assert main(["list"]) == 0 and capsys.readouterr().err == ""


def test_seeds_add_up(fresh, monkeypatch):
    """More seeds later: the networks that are there are not trained again."""
    from rankstudy.study.experiments import training

    questions.result("training")
    trained = files(fresh / "results" / "trained")
    more = replace(training.CONFIGS["smoke"], seeds=3)
    monkeypatch.setitem(training.CONFIGS, "smoke", more)
    result = questions.result("training")
    assert result["history"]["seeds"].tolist() == [100, 101, 102]
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
    for answer in ("", "n\n", "\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        assert main(["prune"]) == 0 and "nothing removed" in capsys.readouterr().out
    assert main(["prune", "3"]) == 0 and "nothing to remove" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))  # out of a pipe
    assert main(["prune"]) == 0
    assert len(files(fresh / "results" / "measured")) == 0 and len(files(fresh / "results" / "trained")) == 2


def test_two_results_never_read_the_same_in_the_list(fresh):
    (run, *_) = progress.missing(["training"])["training"]
    fast, long = replace(run.training, learning_rate=0.02), replace(run.training, epochs=1)
    engine.trained([run, replace(run, training=fast), replace(run, training=long), replace(run, observe="spectra")])
    questions.result("lora")
    records = list(questions.store().records())
    texts = listing.settings(records)
    assert len(set(zip([record.experiment for record in records], texts, strict=True))) == len(records) > 10
    assert any("learning rate 0.02" in text for text in texts)
    assert max(map(len, texts)) < 160


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
    "unknown number of workers": (["run", "02"], {"RANKSTUDY_WORKERS": "many"}, "'many'; allowed are whole numbers"),
    "no CUDA here": (["run", "02"], {"RANKSTUDY_DEVICE": "cuda:99"}, "RANKSTUDY_DEVICE"),
    "unknown device index": (["run", "02"], {"RANKSTUDY_DEVICE": "cuda:first"}, "'cuda:first'; allowed are"),
    "unknown option": (["run", "--fast"], {}, "unrecognized arguments: --fast"),
    "unknown page": (["preview", "99-end"], {}, "no chapter '99-end'; there are index, 01-data"),
    "unknown chapter of the store": (["list", "99"], {}, "'99'; there are 01 data"),
    "unknown format": (["report", "--to", "docx"], {}, "'docx' (choose from"),
    "nobody at the address": (["run", "02", "--scheduler", "tcp://127.0.0.1:9"], {}, "--scheduler"),
    "not an address": (["run", "02", "--scheduler", "tcp:/x"], {}, "--scheduler"),
    "published, nothing to publish": (["export", "--published"], {"RANKSTUDY_PROFILE": "published"}, "publish full"),
    "published, not computed": (["export", "--published"], {}, "profile smoke has no result of data, training"),
    "file and published": (["export", "x.zip", "--published"], {}, "one of FILE, --published and --times"),
    "export to a folder": (["export", "tests"], {}, "run first"),
    "no checkpoint": (["analyze", "nowhere.safetensors"], {}, "nowhere.safetensors"),
    "not a checkpoint": (["analyze", str(ROOT / "LICENSE")], {}, "LICENSE"),
    "no such error": (["analyze", "x.safetensors", "--rank-error", "2"], {}, ""),
    "not a number": (["compress", "a.safetensors", "b.safetensors", "--rank-error", "x"], {}, "invalid float value"),
    "missing file": (["import", "nowhere.zip"], {}, "nowhere.zip cannot be read"),
    "not an export": (["import", str(ROOT / "LICENSE")], {}, "no export of rankstudy"),
    "empty store": (["export", "x.zip"], {}, "run first"),
    "no argument": (["export"], {}, "one of FILE"),
    "import of a folder": (["import", "tests"], {}, "tests cannot be read"),
    "analysis of a folder": (["analyze", "tests"], {}, "tests"),
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
@pytest.mark.parametrize("when", ["01 data: computed", "missing chapters 01, 03, 09"])
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
    assert kept > 0 or "missing" in when
