"""`compress`, then `load_compressed`, on chapter 4's networks: the ranks and accuracies that chapter 5 gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

import rankstudy
from rankstudy import factorization
from rankstudy.spectrum import Spectrum
from rankstudy.study import engine, jobs, questions, typed
from rankstudy.study.experiments import overfitting, truncation

EDGE = 2  # images on the edge between two digits that rounding may move


def compressed(found: engine.Trained, rank_error: float, folder: Path) -> tuple[list, np.ndarray]:
    """What `compress` says that it did, and (2, 3) loss and accuracy by split of what `load_compressed` makes of it."""
    model = found.model()
    save_file(model.state_dict(), folder / "model.safetensors")
    done = rankstudy.compress(
        folder / "model.safetensors", folder / "small.safetensors", rank_error=rank_error, include=".", min_saving=0
    ).choices
    small = rankstudy.load_compressed(model, folder / "small.safetensors")
    return done, truncation.scores(small, engine.dataset_on_device(found.run.data))


def check_the_cut(found: engine.Trained, spectra: list[Spectrum], rank_error: float, folder: Path) -> np.ndarray:
    """Ranks are those of chapter 5's spectra at this error, and the network does as one that is cut to them by hand."""
    done, got = compressed(found, rank_error, folder)
    layers = []
    for weight, spectrum, choice in zip(found.weights, spectra, done, strict=True):
        shape, rank, error = choice.shape, choice.rank, choice.error
        asked = int(factorization.smallest_rank(spectrum, rank_error))
        pays = asked * sum(shape) < np.prod(shape)
        assert rank == (asked if pays else None) and error <= rank_error
        layers.append(factorization.truncated_svd(weight, asked) if pays else weight)
    assert any(choice.rank is not None for choice in done)
    dataset = engine.dataset_on_device(found.run.data)
    wanted = truncation.scores(truncation.assembled(found.run.network, layers), dataset)
    assert np.allclose(got[0], wanted[0], rtol=1e-4)  # losses
    images = np.array([len(getattr(dataset, split)) for split in truncation.SPLITS])
    assert (np.abs(got[1] - wanted[1]) * images < EDGE + 0.5).all()
    return got


def spectra_of(stored: dict, found: engine.Trained, index: tuple = ()) -> list[Spectrum]:
    """One network's spectra in what chapter 5 keeps."""
    values = [stored["spectra"]["weights"][str(layer)][index] for layer in range(len(found.weights))]
    return [Spectrum(each, weight.shape) for each, weight in zip(values, found.weights, strict=True)]


def test_the_compressed_network_is_as_right_as_chapter_5_says(fresh):
    settings = questions.settings("approximation")
    run = overfitting.runs(settings.overfitting)[0][0]
    (found,) = engine.trained([run])
    told = typed.values(jobs.answer(truncation.Piece(run, settings.sweep)))
    for rank_error in (0.5, 0.7):
        got = check_the_cut(found, spectra_of(told, found), rank_error, fresh)
        assert not np.allclose(got[0], told["original"][0], rtol=1e-3)  # something was cut away


@pytest.fixture
def stored(request):
    """Chapter 5's result and chapter 4's networks under the profile at hand, if they are there: nothing is computed."""
    if questions.profile() == "published" or not questions.stored("approximation"):
        pytest.skip("chapter 5's result is not in this store")
    runs = overfitting.runs(questions.settings("approximation").overfitting)[0]
    if not all(jobs.record(run) for run in runs):
        pytest.skip("chapter 4's networks are not in this store")
    return questions.result("approximation"), runs


@pytest.mark.parametrize("seed", range(5))
def test_the_study_s_own_networks(seed, stored, tmp_path):
    """RANKSTUDY_PROFILE=full RANKSTUDY_RESULTS=STORE pytest -rP tests/test_compression.py prints the numbers.

    At chapter 5's threshold, the mean relative error at its effective rank, `compress` chooses the ranks that its
    spectra ask for and loses what a cut to those ranks by hand loses. The chapter cuts every layer to one rank,
    `compress` to one error: at the same mean they spread it differently (the last layer has ten rows, and only
    `compress` cuts it), so the chapter's own accuracies are printed beside and bound nothing.
    """
    result, runs = stored
    if seed >= len(runs):
        pytest.skip(f"the profile has {len(runs)} networks")
    (found,) = engine.trained([runs[seed]])
    rank, spectra = result["rank"], spectra_of(result, found, (seed,))
    told = result["truncated"][seed, questions.settings("approximation").sweep.ranks.index(rank), 1]
    errors = [factorization.eckart_young_error(each, min(rank, *each.shape), relative=True) for each in spectra]
    rank_error = float(np.mean(errors))
    got = check_the_cut(found, spectra, rank_error, tmp_path)[1]
    for split, ours, chapter in zip(truncation.SPLITS, got, told, strict=True):
        whole = found.history[f"{split}_accuracy"][-1]
        print(f"seed {found.run.seed}, relative error {rank_error:.3f}, {split} accuracy: compressed {ours:.2%}, "
              f"chapter 5 at rank {rank} {chapter:.2%}, original {whole:.2%}")  # fmt: skip
