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
from rankstudy.study.experiments import blocks, inference, lora, overfitting, truncation
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


def examples() -> dict:
    """One of each kind."""
    chapter, other = questions.settings("approximation"), questions.settings("lora")
    run, base = overfitting.runs(chapter.overfitting)[0][0], lora.bases(other, other.digits[:1], [0])[0]
    block = blocks.Block(base, other.finetuning, ((other.arms[0], 1e-3),))
    return {"run": run, "piece": truncation.Piece(run, chapter.sweep), "block": block}


@pytest.mark.parametrize("kind", ["run", "piece", "block"])
def test_what_is_stored_is_not_sent_again(kind, fresh, monkeypatch):
    sent = []
    monkeypatch.setattr(scheduler, "_gather", lambda _, tasks: sent.extend(tasks))
    job = examples()[kind]
    scheduler._spread(None, [job])
    assert [task[0] for task in sent] == [job]
    job.ensure()
    scheduler._spread(None, [job])
    assert len(sent) == 1


def test_what_is_timed_stays_here(fresh, monkeypatch):
    monkeypatch.setattr(scheduler, "_gather", lambda *_: pytest.fail("sent"))
    setting = inference.Setting(questions.settings("training").network, (2,), (1,), 0.001)
    scheduler._spread(None, [inference.Timing(setting, "digits")])


def test_a_worker_with_other_code_says_so(cluster, fresh, monkeypatch):
    monkeypatch.setattr(engine.Run, "digest", classmethod(lambda cls: "another"))
    with scheduler.cluster(cluster.scheduler_address), pytest.raises(UsageError, match="other code"):
        questions.result("training")


def test_a_cluster_without_workers_is_one_line(fresh, monkeypatch, capsys):
    monkeypatch.setattr(scheduler, "SECONDS", 2)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as empty:
        assert main(["run", "02", "--scheduler", empty.scheduler_address]) == 2
    assert "the cluster has no worker" in capsys.readouterr().err
