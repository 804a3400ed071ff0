"""`compress`, then `load_compressed`, on chapter 4's network: the ranks and accuracies that chapter 5 gives."""

from __future__ import annotations

import numpy as np
from safetensors.torch import save_file

import rankstudy
from rankstudy import factorization
from rankstudy.experiments import networks, overfitting, study, truncation
from rankstudy.spectrum import Spectrum


def test_the_compressed_network_is_as_right_as_chapter_5_says(tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSTUDY_PROFILE", "smoke")
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(tmp_path / "results"))
    settings = study.settings("approximation")
    run = overfitting.runs(settings.overfitting)[0][0]
    (found,) = networks.trained([run])
    told = truncation.measured(run, settings.sweep)  # what chapter 5 keeps of this network
    model = found.model()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    dataset = networks.dataset_on_device(run.data)
    for rank_error in (0.5, 0.7):
        done = rankstudy.compress(tmp_path / "model.safetensors", tmp_path / "small.safetensors", rank_error=rank_error)
        small = rankstudy.load_compressed(model, tmp_path / "small.safetensors")
        got = truncation.scores(small, dataset)

        layers = []
        for layer, (weight, (_, shape, rank, error)) in enumerate(zip(found.weights, done, strict=True)):
            spectrum = Spectrum(told["spectra"]["weights"][str(layer)], shape)
            asked = int(factorization.smallest_rank(spectrum, rank_error))  # the chapter's rank at this error
            pays = asked * sum(shape) < np.prod(shape)
            assert rank == (asked if pays else None) and error <= rank_error
            layers.append(factorization.truncated_svd(weight, asked) if pays else weight)
        assert any(rank is not None for _, _, rank, _ in done)
        wanted = truncation.scores(truncation.assembled(run.network, layers), dataset)
        assert np.allclose(got[0], wanted[0], rtol=1e-4)  # losses
        assert np.allclose(got[1], wanted[1], atol=1.5 / 200)  # accuracies: one image on the edge may fall
        assert not np.allclose(got[0], told["original"][0], rtol=1e-3)  # something was cut away
