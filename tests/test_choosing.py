"""How a budget is allotted: laws, and what it does to networks that are trained here in seconds."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import rankstudy
from rankstudy.factorization import allocate, truncated_svd
from rankstudy.spectrum import Spectrum
from rankstudy.tools import choosing
from tests.small_networks import accuracy, trained

SHAPES = st.lists(st.tuples(st.integers(2, 40), st.integers(2, 40)), min_size=1, max_size=5)


def spectra_of(shapes: list[tuple[int, int]], seed: int = 0) -> list[Spectrum]:
    rng = np.random.default_rng(seed)
    return [Spectrum.of(rng.standard_normal(shape) * np.exp(-rng.random() * np.arange(shape[1]))) for shape in shapes]


def cost(spectra: list[Spectrum], ranks: list[int | None]) -> int:
    return sum(math.prod(s.shape) if r is None else r * sum(s.shape) for s, r in zip(spectra, ranks, strict=True))


@given(SHAPES, st.floats(0.05, 1.0), st.integers(0, 3))
def test_a_budget_is_met_and_no_rank_is_wasted(shapes, share, seed):
    spectra = spectra_of(shapes, seed)
    least = cost(spectra, choosing.allocate(spectra, 0))
    budget = max(least, int(share * sum(map(math.prod, shapes))))
    ranks = choosing.allocate(spectra, budget)
    assert cost(spectra, ranks) <= budget
    for rank, shape in zip(ranks, shapes, strict=True):
        assert rank is None or 1 <= rank <= choosing.highest_rank(shape, 0.0)


@given(SHAPES, st.floats(-200, 200), st.integers(0, 3))
def test_the_scale_of_a_matrix_changes_nothing(shapes, power, seed):
    spectra = spectra_of(shapes, seed)
    scaled = [Spectrum(spectra[0].values * 2.0 ** round(power), spectra[0].shape), *spectra[1:]]
    budget = sum(map(math.prod, shapes)) // 2
    assert choosing.allocate(spectra, budget) == choosing.allocate(scaled, budget)


@given(st.tuples(st.integers(2, 60), st.integers(2, 60)), st.floats(0, 0.9))
def test_the_highest_rank_saves_what_is_asked(shape, saving):
    top = choosing.highest_rank(shape, saving)
    size = math.prod(shape)
    assert top * sum(shape) < size or top == 0
    assert top * sum(shape) <= (1 - saving) * size + 1e-9
    assert (top + 1) * sum(shape) > (1 - saving) * size - 1e-6 * size or (top + 1) * sum(shape) >= size


def test_exact_low_rank_gets_its_rank_and_no_more():
    rng = np.random.default_rng(0)
    low = Spectrum.of(rng.standard_normal((40, 3)) @ rng.standard_normal((3, 40)))
    assert choosing.allocate([low, Spectrum.of(rng.standard_normal((40, 40)))], 2400) == [3, None]


def planted(strong: int, shape: tuple[int, int], seed: int) -> Spectrum:
    """So many directions three times as strong as the edge of the noise in which they lie."""
    rng = np.random.default_rng(seed)
    b, c = (np.linalg.qr(rng.standard_normal((side, strong)))[0] for side in shape)
    return Spectrum.of(rng.standard_normal(shape) + 3 * sum(map(math.sqrt, shape)) * b @ c.T)


@pytest.mark.parametrize("shape", [(40, 40), (40, 100), (128, 64), (200, 200)])
@pytest.mark.parametrize("strong", [0, 1, 5, 12])
def test_what_was_planted_is_the_signal_and_noise_is_none(shape, strong):
    """Also where it is a third of all directions and the median with it is no noise's."""
    share = choosing.signal(planted(strong, shape, seed=strong))
    assert (share[:strong] > 0.6 / max(strong, 1)).all() and share.sum() < 1
    assert share[strong:].sum() < 0.25  # the largest of noise alone stand out by a hair


def test_what_stands_out_comes_first_and_the_rest_is_alike():
    spectra = [planted(20, (100, 100), 0), planted(5, (100, 100), 1)]
    assert choosing.allocate(spectra, 200 * 2 * 12) == [15, 9]  # three quarters of 12 are everyone's
    assert choosing.allocate(spectra, 200 * 2 * 16) == [20, 12]
    assert choosing.allocate(spectra, 200 * 2 * 30) == [30, 30]


def test_a_matrix_of_noise_has_no_signal_and_a_vector_neither():
    assert choosing.signal(Spectrum.of(np.ones((1, 9)))).tolist() == [0.0]
    assert choosing.signal(Spectrum.of(np.zeros((4, 5)))).tolist() == [0.0] * 4


@pytest.fixture(scope="module")
def networks():
    return [trained(seed) for seed in range(2)]


def test_an_allotted_budget_keeps_as_much_accuracy_as_one_rank_for_all(networks):
    """Head kept, at the size of these ranks for all: within an image or two of 500, where Σ error² loses tens."""
    differences, whole = [], []
    for model in networks:
        weights = [layer.weight.detach().numpy() for layer in model if isinstance(layer, nn.Linear)][:-1]
        spectra = [Spectrum.of(weight) for weight in weights]
        whole.append(accuracy(model))
        for rank in (24, 16, 12, 10, 8):
            budget = cost(spectra, [rank] * len(spectra))
            ours, errors = choosing.allocate(spectra, budget), allocate(spectra, budget)
            alike = accuracy(cut(model, [rank] * len(spectra)))
            differences.append([accuracy(cut(model, ranks)) - alike for ranks in (ours, errors)])
    assert min(whole) > 0.9
    kept, lost = np.array(differences).T
    assert kept.mean() > -0.003 and kept.min() > -0.01 and lost.min() < -0.03, differences


def cut(model: nn.Sequential, ranks: list[int | None]) -> nn.Sequential:
    small = copy.deepcopy(model)
    layers = [layer for layer in small if isinstance(layer, nn.Linear)]
    for layer, rank in zip(layers, ranks, strict=False):
        if rank is not None:
            layer.weight.data = torch.from_numpy(truncated_svd(layer.weight, rank).product()).float()
    return small


def test_the_head_is_not_what_breaks_first(networks):
    """Under the default selection the output layer stays; the share is kept, and so is the accuracy."""
    for model in networks:
        done = rankstudy.compress(model, keep=0.3)
        assert [choice.why for choice in done.choices][-1] in ("narrow: a side of 10", "the last layer")
        assert sum(c.rank * sum(c.shape) for c in done.choices if c.rank) <= 0.3 * sum(
            math.prod(c.shape) for c in done.choices[:-1]
        )
        assert accuracy(done.model) > accuracy(model) - 0.02
