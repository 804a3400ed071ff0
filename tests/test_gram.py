"""torch on a device gives the singular values and factors that NumPy gives; a GPU is not needed to know it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import rankstudy
from rankstudy import UsageError, device
from rankstudy._linalg import gram
from rankstudy._linalg.gram import accelerator, singular_values
from rankstudy._linalg.leading import leading_factors
from rankstudy.tools import checkpoint, decomposition

EPS = np.finfo(np.float64).eps
RNG = np.random.default_rng(0)
CPU = torch.device("cpu")
DEVICES = [
    CPU,  # torch's own CPU kernels: another LAPACK than NumPy's
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")),
]


def gaussian(m: int, n: int, scale: float = 1.0) -> np.ndarray:
    return (RNG.standard_normal((m, n)) * scale).astype(np.float32)


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("shape", [(40, 40), (90, 30), (30, 90), (1, 5), (0, 3), (700, 200)])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_device_gives_numpys_singular_values(where, shape, scale, monkeypatch):
    """Each Gram matrix is off by (m + n)·eps·‖A‖² at most: Σ of m rounded products, and n·eps·‖G‖ of its eigenvalues;
    so squares of singular values differ by twice that. The SVD's own differ by twice (m + n)·eps·σ₁."""
    monkeypatch.setattr(gram, "BLOCK", 2**14)  # several blocks
    a = gaussian(*shape, scale)
    rounding = 2 * sum(shape) * EPS
    ours, theirs = singular_values(a), singular_values(a, device=where)
    norm = np.linalg.norm(a.astype(np.float64))
    assert theirs.dtype == np.float64 and theirs.shape == (min(shape),) and (np.diff(theirs) <= 0).all()
    assert (np.abs((ours / (norm or 1)) ** 2 - (theirs / (norm or 1)) ** 2) <= rounding).all()
    for precise in ({"dtype": "F64"}, {"rank_error": 1e-9}):
        ours, theirs = singular_values(a, **precise), singular_values(a, **precise, device=where)
        assert (np.abs(ours - theirs) <= rounding * norm).all()
    assert singular_values(np.zeros((4, 3), np.float32), device=where).tolist() == [0, 0, 0]


@pytest.mark.parametrize("where", DEVICES)
def test_a_device_gives_the_best_factors(where):
    a = gaussian(60, 45)
    found, wanted = leading_factors(a, 7, where), leading_factors(a, 7)
    assert found.b.dtype == found.c.dtype == np.float64 and (found.b.shape, found.c.shape) == ((60, 7), (7, 45))
    s = np.linalg.svd(a.astype(np.float64), compute_uv=False)
    # singular subspaces of two SVDs differ by their errors over the gap (Wedin 1972), and the product by σ₁ times that
    bound = 4 * (60 + 45) * EPS * s[0] * (1 + s[0] / (s[6] - s[7]))
    assert np.linalg.norm(found.product() - wanted.product()) <= bound
    assert np.allclose((found.b**2).sum(axis=0), (found.c**2).sum(axis=1))  # balanced


@pytest.mark.parametrize("where", DEVICES)
def test_analyze_and_compress_go_where_they_are_sent(where, tmp_path, monkeypatch):
    planted = gaussian(80, 4) @ gaussian(4, 60) + gaussian(80, 60, 0.01)  # so that no number hangs on rounding
    path, small, again = (tmp_path / f"{name}.safetensors" for name in ("model", "small", "again"))
    save_file({"planted": planted, "noise": gaussian(64, 64), "precise": RNG.standard_normal((20, 30))}, path)
    before = {"planted": planted / 2, "noise": gaussian(64, 64), "precise": np.zeros((20, 30))}
    plain, update = rankstudy.analyze(path), rankstudy.analyze(path, before)
    options = {"rank_error": 0.05, "include": ".", "min_saving": 0}
    told = rankstudy.compress(path, small, **options).choices
    sent: list[str] = []
    real = gram.sent
    monkeypatch.setattr(gram, "sent", lambda block, to: (sent.append(str(to)), real(block, to))[1])
    for module in (checkpoint, decomposition):
        monkeypatch.setattr(module, "accelerator", lambda: where)
    for ours, theirs in ((plain, rankstudy.analyze(path)), (update, rankstudy.analyze(path, before))):
        for one, other in zip(ours.rows(), theirs.rows(), strict=True):
            close = {
                name: pytest.approx(v, rel=1e-6) if isinstance(v, (float, tuple)) else v for name, v in other.items()
            }
            assert one == close
    assert len(sent) == 6 and set(sent) == {str(where)}
    for ours, theirs in zip(told, rankstudy.compress(path, again, **options).choices, strict=True):
        assert (ours.name, ours.rank) == (theirs.name, theirs.rank)
        assert ours.error == pytest.approx(theirs.error, rel=1e-4)  # rounded to float32, neighbours may differ
    assert len(sent) == 9  # one decomposition of each of three matrices


@pytest.mark.parametrize(("kind", "wanted"), [("cuda", "cuda"), ("mps", None), ("cpu", None)])
def test_only_cuda_accelerates(kind, wanted, monkeypatch):
    """MPS has no float64."""
    monkeypatch.setattr(device, "has_cuda", lambda: True)
    monkeypatch.setattr(device, "choose", lambda: torch.device(kind))
    found = accelerator()
    assert (found if found is None else found.type) == wanted


def test_without_a_driver_torch_is_not_asked(monkeypatch):
    monkeypatch.setattr(device, "has_cuda", lambda: False)
    monkeypatch.setattr(device, "choose", lambda: pytest.fail("asked"))
    assert accelerator() is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_device_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setenv("RANKSTUDY_DEVICE", "cuda")
    device.choose.cache_clear()
    with pytest.raises(UsageError, match="asks for cuda"):
        rankstudy.analyze({"w": gaussian(3, 3)})
    device.choose.cache_clear()
