"""Formats coarser than float32: what rounding the entries can make, and ranks and updates that were planted before it.

Every planted matrix is rounded by torch itself. By Weyl's inequality a singular value moves by ‖E‖₂ at most, and the
floor bounds that: one above twice the floor must count, and one that only rounding made must not.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankstudy._linalg.rounding import FORMATS, half_spacing
from rankstudy.rank import eliminate, matrix_rank, rank_tolerance, rounding_floor, rounding_norm
from rankstudy.spectrum import Spectrum, numerical_rank, outlier_rank
from tests import strategies as own

COARSE = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
}


def planted(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(m, n) with entries of about 1, which every format can hold."""
    k = min(shape)
    a = rng.standard_normal(shape)
    if kind == "low rank":
        a = rng.standard_normal((shape[0], k // 8)) @ rng.standard_normal((k // 8, shape[1]))
    elif kind == "graded":
        a = own.with_spectrum(np.logspace(0, -6, k), shape, rng)
    elif kind == "one large entry":
        a = 0.01 * rng.standard_normal((shape[0], k // 8)) @ rng.standard_normal((k // 8, shape[1]))
        a[0, 0] = 100.0
    elif kind == "zero":
        a = np.zeros(shape)
    return a / (np.sqrt((a**2).mean()) or 1.0)


def sides(thorough: bool) -> list[tuple[int, int]]:
    return [(32, 32), (48, 200), (300, 100), (384, 384), *([(1024, 1024), (4096, 512)] if thorough else [])]


@pytest.mark.parametrize("name", COARSE)
@pytest.mark.parametrize("kind", ["random", "low rank", "graded", "one large entry", "zero"])
def test_planted_singular_values_above_twice_the_floor_are_counted_and_rounding_is_not(kind, name, thorough):
    rng = np.random.default_rng(len(kind))
    for shape in sides(thorough):
        a = planted(kind, shape, rng).astype(np.float32)
        held = torch.from_numpy(a).to(COARSE[name])
        s = np.linalg.svd(a.astype(np.float64), compute_uv=False)
        true_rank = int((s > 1e-5 * s[0]).sum()) if kind != "graded" else len(s)
        floor = rank_tolerance(held)
        assert floor == rounding_floor(held) == rounding_floor(held.double(), dtype=COARSE[name])
        rank = matrix_rank(held)
        assert int((s > 2 * floor).sum()) <= rank <= true_rank
        if kind in ("low rank", "zero") and (s[true_rank - 1 : true_rank] > 2 * floor).all():
            assert rank == true_rank
        spectrum = Spectrum.of(held)
        assert rank == numerical_rank(spectrum) == matrix_rank(held.flip(0).T)
        error = np.linalg.norm(held.double().numpy() - a, 2)
        assert error <= floor
        for std in ("entries", "bulk", 0.0):
            assert outlier_rank(spectrum, std) <= rank


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("name", COARSE)
def test_planted_updates_of_rank_8(name, share, thorough):
    """W and W + Δ, both rounded: as many singular values of the difference count as Δ has, where they can be seen."""
    rng = np.random.default_rng(3)
    for shape in sides(thorough)[1:]:
        w0 = rng.standard_normal(shape)
        update = own.with_spectrum(np.ones(8), shape, rng)
        update *= share * np.linalg.norm(w0) / np.linalg.norm(update)
        before, after = (torch.from_numpy(x).to(COARSE[name]) for x in (w0, w0 + update))
        floor = rounding_floor(after, before)
        difference = after.double() - before.double()
        assert np.linalg.norm(difference.numpy() - update, 2) <= floor
        rank = matrix_rank(difference, tol=floor)
        assert rank <= 8 and (rank == 8 or np.linalg.norm(update, 2) < 2 * floor)
        spectrum = Spectrum.of(difference, floor=floor)
        assert numerical_rank(spectrum) == rank
        assert all(outlier_rank(spectrum, std) <= rank for std in ("entries", "bulk", 0.0))
        noise = np.linalg.norm(difference.numpy() - update)
        assert noise <= 1.05 * rounding_norm(after, before)
        if name in ("bfloat16", "float16") and share >= 0.01:
            assert rank == 8  # 1 % is far above what either can hide at these sides
            assert noise == pytest.approx(rounding_norm(after, before), rel=0.1)


def test_what_an_update_in_bfloat16_used_to_be():
    """A full-rank matrix had rank 0, and so had an update of 1 %."""
    torch.manual_seed(0)
    w = torch.randn(300, 200)
    assert matrix_rank(w.bfloat16()) == matrix_rank(w.half()) == 200
    assert eliminate(w.bfloat16()).rank == eliminate((w * 2.0**-40).bfloat16()).rank == 200
    assert eliminate(w.bfloat16()).tolerance == rounding_floor(w.bfloat16())
    tuned = w + 0.01 * w.norm() * torch.linalg.qr(torch.randn(300, 8))[0] @ torch.randn(8, 200) / 40
    after, before = tuned.bfloat16(), w.bfloat16()
    assert matrix_rank(after.double() - before.double(), tol=rounding_floor(after, before)) == 8


def test_the_floor_is_a_quantile_that_is_not_far_above_what_rounding_does():
    """Errors drawn uniformly, as the derivation has them: none of 150 above it, and it is less than twice theirs."""
    rng = np.random.default_rng(0)
    for n in (20, 100):
        for a in (
            rng.standard_normal((n, n)),
            rng.standard_normal((n, n)) * np.logspace(0, -4, n),
            np.kron(np.eye(n // 4), rng.standard_normal((4, 4))),
            np.diag(rng.standard_normal(n)),
        ):
            half = half_spacing(a, FORMATS["bfloat16"])
            floor = rounding_floor(a, dtype="bfloat16")
            errors = np.linalg.norm(half * rng.uniform(-1, 1, (150, n, n)), 2, axis=(-2, -1))
            assert errors.max() <= floor <= 4 * np.median(errors)
    assert floor >= np.abs(half).max()
    full = rng.standard_normal((400, 300))
    error = np.linalg.norm(half_spacing(full, FORMATS["float16"]) * rng.uniform(-1, 1, full.shape), 2)
    assert error <= rounding_floor(full, dtype="float16") <= 2 * error


@pytest.mark.parametrize("name", COARSE)
@given(x=st.floats(2.0**-20, 256.0))
def test_half_a_spacing_is_the_farthest_a_number_is_rounded(name, x):
    form = FORMATS[name]
    held = torch.tensor([[x, -x]], dtype=torch.float64).to(COARSE[name])
    half = half_spacing(held.double().numpy(), form)
    assert (np.abs(held.double().numpy() - [[x, -x]]) <= half).all()
    bits = held.view(torch.int16 if held.element_size() == 2 else torch.int8)
    up = (bits + 1).view(COARSE[name]).double().numpy()  # the next number away from zero
    np.testing.assert_array_equal(np.abs(up) - np.abs(held.double().numpy()), 2 * half)


def test_floors_of_batches_scales_and_several_operands():
    a = np.random.default_rng(0).standard_normal((2, 3, 8, 6)).astype(np.float16)
    floors = rounding_floor(a)
    assert floors.shape == (2, 3) and rounding_norm(a).shape == (2, 3)
    np.testing.assert_array_equal(matrix_rank(a), matrix_rank(a, tol=floors))
    for i in np.ndindex(2, 3):
        assert floors[i] == rounding_floor(a[i]) and type(rounding_floor(a[i])) is float
    w = a[0, 0].astype(np.float64)
    assert rounding_floor(w, 0 * w, dtype="float16") == pytest.approx(rounding_floor(w, dtype="float16"), rel=1e-4)
    assert rounding_norm(w, w, dtype="float16") == pytest.approx(np.sqrt(2) * rounding_norm(w, dtype=np.float16))
    assert rounding_floor(w, w, dtype=["float16", "bfloat16"]) == rounding_floor(w, w, dtype=["bfloat16", "float16"])
    assert rounding_floor(w, w, dtype="float32") < rounding_floor(w, w, dtype=["float16", "float32"])
    assert rounding_floor(w, np.ones((8, 6), int)) == rounding_floor(w) > 0 == rounding_floor(np.eye(3, dtype=int))
    for scale in (2.0**664, 2.0**-664):
        assert rounding_floor(w * scale) == pytest.approx(rounding_floor(w) * scale, rel=1e-12)
    tiny = np.full((4, 4), 2.0**-24, np.float16)  # its smallest number, which may have been rounded up from half of it
    assert rounding_floor(tiny) == pytest.approx(4 * 2.0**-25, rel=1e-12)
    assert matrix_rank(tiny) == 1
    assert rounding_floor(np.zeros((0, 4))) == 0
    for call, message in (
        (lambda: rounding_floor(), "operands must be one matrix or more; found none"),
        (lambda: rounding_floor(w, w.T), r"operands must have one shape; found \(8, 6\), \(6, 8\)"),
        (lambda: rounding_floor(w, dtype="int8"), "dtype must be one of float64, .*; found 'int8'"),
        (lambda: rounding_norm(w, dtype=torch.int32), "dtype must be one of float64, .*; found torch.int32"),
        (lambda: rounding_floor(w, w, dtype=["float16"]), "dtype must be one, or one for each of 2 operands; found 1"),
        (lambda: rounding_floor(w, [[np.nan]]), "operand 2 must be finite; found NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
