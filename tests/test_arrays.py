"""The one door through which arguments come in."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given

from rankstudy._linalg.arrays import (
    FLOAT64_EPS,
    frobenius,
    matrices,
    non_negative,
    positive_number,
    ratio_of,
    scaled,
    whole_number,
)
from tests import strategies as own


@given(own.float_matrices(min_side=0), own.containers())
def test_values_are_float64_and_eps_is_the_dtypes(a, container):
    values, eps, integers, _ = matrices(container(a))
    assert values.dtype == np.float64 and integers is None
    assert eps == container.eps
    np.testing.assert_array_equal(values, a)  # entries are exact in float32


@pytest.mark.parametrize("make", [np.array, torch.tensor, lambda x: x])
def test_integers_come_along(make):
    for a in ([[1, 2], [3, 4]], [[True, False], [False, True]]):
        values, eps, integers, _ = matrices(make(a))
        assert eps == FLOAT64_EPS and integers is not None and integers.dtype.kind in "bi"
        np.testing.assert_array_equal(integers, a)
        np.testing.assert_array_equal(values, a)


def test_nothing_handed_out_can_be_written():
    for a in (np.eye(2), np.eye(2, dtype=int), torch.eye(2), torch.eye(2, dtype=torch.int64)):
        found = matrices(a)
        for out in (found.values, found.integers):
            if out is not None:
                with pytest.raises(ValueError, match="read-only"):
                    out[0, 0] = 5
        a[0, 0] = 7  # and the caller still can


def test_the_argument_keeps_its_name():
    with pytest.raises(ValueError, match=r"^weights must be matrices over the last two axes; found shape"):
        matrices(np.ones(3), "weights")
    with pytest.raises(ValueError, match=r"^weights must be an array of 3 axes; found shape"):
        matrices(np.ones((2, 2)), "weights", ndim=3)
    assert matrices(np.ones((2, 2, 2)), ndim=3).values.shape == (2, 2, 2)


def test_whole_numbers():
    for value in (0, 3, np.int64(3), np.uint8(2), torch.tensor(3)):
        assert whole_number(value, "rank", 0, 3) == int(value)
    assert whole_number(10**9, "rank", 1) == 10**9
    for value in (-1, 4, 1.0, 2.5, True, np.True_, "2", None, np.nan, [1]):
        with pytest.raises(ValueError, match="rank must be a whole number of at least 0 and at most 3; found"):
            whole_number(value, "rank", 0, 3)
    with pytest.raises(ValueError, match="rank must be a whole number of at least 1; found 0"):
        whole_number(0, "rank", 1)


def test_positive_numbers():
    for value in (1, 0.5, np.float32(2), torch.tensor(0.25)):
        assert positive_number(value, "std") == float(value)
    assert positive_number(0, "std", zero=True) == 0.0
    for value in (0, -1, np.nan, np.inf, True, "1", None, [1, 2]):
        with pytest.raises(ValueError, match="std must be a finite number > 0; found"):
            positive_number(value, "std")


def test_numbers_for_a_batch():
    assert non_negative(2, "tol", ()) == non_negative(2, "tol", (3,)) == 2.0
    assert non_negative([1, 0, 2], "tol", (3,)).tolist() == [1.0, 0.0, 2.0]
    assert non_negative([[1, 0, 2]], "tol").dtype == np.float64
    for value in ([1.0, 2.0], [[1.0] * 3], -1, [1, -1, 1], np.nan, [np.inf] * 3, True, "1", None, 1j, [[1], [1, 2]]):
        with pytest.raises(ValueError, match=r"tol must be a finite number ≥ 0, or 3 of them, one a matrix; found"):
            non_negative(value, "tol", (3,))
    with pytest.raises(ValueError, match=r"tol must be a finite number ≥ 0; found \[1.0\]"):
        non_negative([1.0], "tol", ())
    with pytest.raises(ValueError, match=r"std must be finite numbers ≥ 0; found -1"):
        non_negative(-1, "std")


@pytest.mark.parametrize("exponent", [-1060, -1022, -664, 0, 664, 1019])
def test_scales_are_taken_out_without_rounding(exponent):
    a = np.rint(np.random.default_rng(0).standard_normal((2, 5, 4)) * 2**8)
    a[1] *= 4
    at = np.ldexp(a, exponent - 10)
    unit, exponents = scaled(at)
    np.testing.assert_array_equal(np.ldexp(unit, exponents[:, None, None]), at)
    assert ((np.abs(unit).max((1, 2)) >= 0.5) & (np.abs(unit).max((1, 2)) < 1)).all()
    for axis in ((-2, -1), -1, -2):
        expected = np.linalg.norm(a, axis=axis) * 2.0**-10
        np.testing.assert_allclose(frobenius(at, axis), np.ldexp(expected, exponent), rtol=1e-12, atol=5e-324)
    assert matrices(np.eye(2, dtype=np.float16)).smallest == matrices(torch.eye(2).half()).smallest == 2.0**-24
    assert frobenius(np.zeros((2, 2))) == 0  # 0/0 is 0
    zero, exponents = scaled(np.zeros((3, 0, 2)))
    assert zero.shape == (3, 0, 2) and not exponents.any()
    assert frobenius(np.zeros((3, 0, 2))).tolist() == [0, 0, 0]


def test_ranks_need_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np; from rankstudy.rank import matrix_rank\n"
        "assert matrix_rank(np.eye(3)) == matrix_rank([[1, 0], [0, 1], [1, 1]]) + 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_of_nothing_is_nothing():
    """0/0 is 0, x/0 infinite, shapes and scalars as NumPy's."""
    with np.errstate(all="raise"):  # and no warning is given
        found = ratio_of(np.array([0.0, 0.0, 1.0, 3.0]), np.array([0.0, 2.0, 0.0, 2.0]))
    np.testing.assert_array_equal(found, [0.0, 0.0, np.inf, 1.5])
    assert ratio_of(0.0, 0.0) == 0.0 and np.isscalar(ratio_of(0.0, 0.0))
