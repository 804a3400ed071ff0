"""Which trainings share a GPU, and what they are said to take."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rankstudy import config, device
from rankstudy.study import engine

RUN = engine.Run(config.Network((784, 256, 256, 256, 10)), config.Training(1), config.Data("mnist"), 0)
SUBSPACE = replace(RUN, subspace=config.Subspace(100))


@pytest.fixture
def gpu(monkeypatch):
    """A device of which only the name and the free memory are asked."""
    free = {}
    monkeypatch.setattr(device, "choose", lambda: torch.device("cuda"))
    monkeypatch.setattr(device, "free_memory", lambda where: free["bytes"])
    return free


@pytest.mark.parametrize("run", [RUN, SUBSPACE])
def test_a_group_is_split_where_it_would_not_fit(gpu, run):
    runs = [replace(run, seed=seed) for seed in range(10)]
    gpu["bytes"] = 10.5 * engine.memory(run) / engine.FILLED
    assert engine._batches(runs) == [runs]
    gpu["bytes"] = 4.5 * engine.memory(run) / engine.FILLED
    assert engine._batches(runs) == [runs[:4], runs[4:8], runs[8:]]
    gpu["bytes"] = 1  # one at a time is the least there is
    assert engine._batches(runs) == [[run] for run in runs]


def test_only_equal_shapes_share(gpu):
    gpu["bytes"] = 1e12
    others = [replace(RUN, network=replace(RUN.network, activation="tanh")), replace(RUN, seed=1)]
    assert engine._batches([RUN, *others]) == [[RUN, others[1]], [others[0]]]


def test_memory_counts_what_is_there():
    """Weights, gradients and Adam's two moments are 16 bytes a weight; the rest is what 8192 images make."""
    weights = 784 * 256 + 2 * 256**2 + 2560
    more = engine.memory(RUN) - 16 * weights
    assert 0 < more <= 1.1 * 4 * 8192 * (3 * 256 + 10)
    wide = replace(RUN, network=config.Network((784, 1024, 1024, 1024, 10)))
    assert engine.memory(wide) > engine.memory(RUN)
    assert engine.memory(replace(RUN, subspace=config.Subspace(100, "dense"))) - engine.memory(RUN) == 4 * 100 * weights
