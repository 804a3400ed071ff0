"""The strategies draw what they promise: tests of the tests' inputs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests import strategies as own


@given(own.known_rank_matrices(min_side=0))
def test_known_rank_matrices_have_that_rank(known):
    assert own.rational_rank(known.matrix) == known.rank
    assert known.matrix.dtype == np.int64


@given(own.known_spectra())
def test_known_spectra_have_that_spectrum(known):
    found = np.linalg.svd(known.matrix, compute_uv=False)
    np.testing.assert_allclose(found, known.singular_values, atol=50 * np.finfo(float).eps)


@given(st.integers(1, 12), st.integers(0, 100))
def test_orthogonal_is_orthogonal(n, seed):
    q = own.orthogonal(n, np.random.default_rng(seed))
    np.testing.assert_allclose(q.T @ q, np.eye(n), atol=50 * np.finfo(float).eps)


@given(own.containers(), own.float_matrices())
def test_containers_keep_the_values(container, matrix):
    held = container(matrix)
    assert container.library in type(held).__module__
    assert container.dtype in str(held.dtype)
    np.testing.assert_array_equal(own.to_numpy(held), matrix)


def test_shapes_reach_wide_tall_square_and_empty():
    seen = set()

    @given(own.shapes(min_side=0))
    def collect(shape):
        m, n = shape
        seen.add("empty" if 0 in shape else "square" if m == n else "wide" if n > m else "tall")

    collect()
    assert seen == {"empty", "square", "wide", "tall"}
