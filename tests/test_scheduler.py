"""A cluster gives the serial results, also when one of its workers dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rankstudy import UsageError
from rankstudy.__main__ import main
from rankstudy.study import engine, questions, scheduler
from rankstudy.study.experiments import blocks, lora, overfitting, truncation
from rankstudy.study.store import Store
from tests.faults import answers

distributed = pytest.importorskip("distributed")
ROOT = Path(__file__).parents[1]
CHAPTERS = ("02", "05", "08")  # trainings, cut networks, fine-tunings
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """What one process computes."""
    folder = tmp_path_factory.mktemp("serial")
    environment = {**os.environ, **ONE_THREAD, "RANKSTUDY_RESULTS": str(folder), "RANKSTUDY_PROFILE": "smoke"}
    subprocess.run([sys.executable, "-m", "rankstudy", "run", *CHAPTERS], cwd=ROOT, env=environment, check=True)
    return answers(folder)


@pytest.fixture
def cluster(monkeypatch):
    """Two workers, processes of their own, on loopback."""
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster:
        yield cluster


def busy(cluster) -> list[int]:
    """Ids of the processes of the workers that are working."""
    workers = cluster.scheduler.workers.values()
    return [cluster.workers[worker.name].process.pid for worker in workers if worker.processing]


def test_a_worker_that_dies_does_not_matter(cluster, serial, fresh, monkeypatch):
    """Networks are trained, cut and fine-tuned by the workers that are left, and nothing of that is done here."""
    for module, name in ((engine, "_train"), (truncation, "_measure"), (blocks, "_block")):
        monkeypatch.setattr(module, name, lambda *_, name=name: pytest.fail(f"{name} was called here"))
    killed = []

    def kill():
        while len(list(Store(fresh / "results").records("trained"))) < 2 or not (found := busy(cluster)):
            time.sleep(0.01)
        os.kill(found[0], signal.SIGKILL)
        killed.append(found[0])

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    assert main(["run", *CHAPTERS, "--scheduler", cluster.scheduler_address]) == 0
    killer.join(timeout=1)
    assert killed and any(worker.process.pid not in killed for worker in cluster.workers.values())
    assert answers(fresh / "results") == serial


def calls() -> dict:
    """One of each kind."""
    chapter, other = questions.settings("approximation"), questions.settings("lora")
    run, base = overfitting.runs(chapter.overfitting)[0][0], lora.bases(other, other.digits[:1], [0])[0]
    block = blocks.Block(base, other.finetuning, ((other.arms[0], 1e-3),))
    return {engine.trained: ([run],), truncation.measured: (run, chapter.sweep), blocks.answer: (block,)}


@pytest.mark.parametrize("function", [engine.trained, truncation.measured, blocks.answer])
def test_what_is_stored_is_not_sent_again(function, fresh, monkeypatch):
    """The scheduler's question is the one that the call's answer is stored under."""
    sent = []
    monkeypatch.setattr(scheduler, "_gather", lambda _, tasks, __: sent.extend(tasks))
    call = calls()[function]
    scheduler._spread(None, function, [call])
    assert [task[:2] for task in sent] == [(function, call)]
    function(*call)
    scheduler._spread(None, function, [call])
    assert len(sent) == 1


def test_a_worker_with_other_code_says_so(cluster, fresh, monkeypatch):
    monkeypatch.setitem(scheduler.COMPUTED_BY, engine.trained, ("rank",))
    with scheduler.cluster(cluster.scheduler_address), pytest.raises(UsageError, match="other code"):
        questions.result("training")


def test_a_cluster_without_workers_is_one_line(fresh, monkeypatch, capsys):
    monkeypatch.setattr(scheduler, "SECONDS", 2)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as empty:
        assert main(["run", "02", "--scheduler", empty.scheduler_address]) == 2
    assert "the cluster has no worker" in capsys.readouterr().err
