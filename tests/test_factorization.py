"""Laws of the Eckart–Young bound, the truncated and weighted SVD and the alternating methods.

Tolerances: everything is judged relative to ‖A‖_F. A squared relative error is a sum of products of length max(m, n) at
most, or comes from a backward stable SVD or QR of that size, so it is right to `rounding` = 10·max(m, n)·eps; an error
whose true value is zero is then at most its square root if it comes from a difference of squares, and at most
`rounding` itself if it is formed from A − BC. A matrix in a coarser dtype is judged as rounded: nothing is added.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.decomposition import TruncatedSVD

from rankstudy import factorization as fac
from rankstudy._linalg import alternating
from rankstudy.factorization import Factors
from rankstudy.spectrum import Spectrum, energy_rank
from tests import strategies as own

EPS = float(np.finfo(np.float64).eps)
METHODS = {
    "least squares": fac.alternating_least_squares,
    "textbook": lambda a, rank, **options: fac.alternating_least_squares(a, rank, oversampling=0, **options),
    "oversampled": lambda a, rank, **options: fac.alternating_least_squares(a, rank, oversampling=2, **options),
    "gradient": fac.alternating_gradient,
    "single gradient": lambda a, rank, **options: fac.alternating_gradient(a, rank, steps=1, **options),
}
methods = st.sampled_from(sorted(METHODS)).map(METHODS.get)


def rounding(a: np.ndarray) -> float:
    return 10 * max(a.shape[-2:]) * EPS


def multiplied(a: np.ndarray, factors: fac.Factors) -> float:
    """Rounding of ‖A − BC‖/‖A‖: it grows with what cancels in B·C."""
    return rounding(a) * growth(a, factors)


def cancelled(a: np.ndarray, factors: fac.Factors) -> float:
    """Rounding of ‖A‖² − ‖A − BC‖², found from inner products of the factors, where it grows as the square."""
    return rounding(a) * growth(a, factors) ** 2


def growth(a: np.ndarray, factors: fac.Factors) -> float:
    return max(1.0, np.linalg.norm(factors.b) * np.linalg.norm(factors.c) / (np.linalg.norm(a) or 1.0))


def norm(a: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a, axis=(-2, -1))


def ranks(a: np.ndarray) -> range:
    return range(min(a.shape) + 1)


def same(first: fac.Fit, second: fac.Fit) -> None:
    """Bit by bit."""
    np.testing.assert_array_equal(first.factors.b, second.factors.b)
    np.testing.assert_array_equal(first.factors.c, second.factors.c)
    np.testing.assert_array_equal(first.errors, second.errors)
    assert (first.iterations, first.stopped) == (second.iterations, second.stopped)
    assert first.certificate.excess == second.certificate.excess


@st.composite
def problems(draw: st.DrawFn, max_side: int = 8, min_rank: int = 0) -> tuple[np.ndarray, int]:
    """A matrix and a rank it can be approximated at."""
    a = draw(st.one_of(own.float_matrices(max_side=max_side), own.known_spectra(max_side=max_side).map(lambda k: k[0])))
    return a, draw(st.integers(min_rank, min(a.shape)))


# --- the bound --------------------------------------------------------------------------------------------------------


@given(own.known_spectra())
def test_eckart_young_error_is_the_norm_of_the_tail(known):
    a, s = known
    for rank in ranks(a):
        tail = np.sqrt((s[rank:] ** 2).sum())
        # each of the k tail values is right to rounding·σ₁
        slack = np.sqrt(len(s)) * rounding(a) * s.max(initial=0)
        assert abs(fac.eckart_young_error(a, rank) - tail) <= slack
        total = np.sqrt((s**2).sum())
        assert abs(fac.eckart_young_error(a, rank, relative=True) * total - tail) <= 2 * slack


@given(problems(), own.containers())
def test_the_truncated_svd_attains_the_bound(problem, container):
    a, rank = problem
    held = container(a)
    a = own.to_numpy(held).astype(np.float64)
    factors = fac.truncated_svd(held, rank)
    assert (factors.b.shape, factors.c.shape, factors.rank) == ((a.shape[0], rank), (rank, a.shape[1]), rank)
    assert factors.b.dtype == factors.c.dtype == np.float64
    # of the SVD; and of the product, an entry of which is `rank` products of three numbers, added up
    slack = rounding(a) * norm(a) + (rank + 4) * EPS * norm(factors.b) * norm(factors.c)
    assert abs(norm(a - factors.product()) - fac.eckart_young_error(held, rank)) <= slack
    np.testing.assert_allclose(norm(factors.b), norm(factors.c), rtol=rounding(a), atol=0)  # balanced
    certificate = fac.certify(held, factors)
    assert abs(certificate.excess) <= 2 * rounding(a)
    assert np.isnan(certificate.ratio) or abs(certificate.ratio - 1) * certificate.error <= rounding(a)


@given(problems(min_rank=1), st.integers(0, 2**32 - 1), st.floats(1e-6, 10))
def test_nothing_beats_the_bound(problem, seed, size):
    """Neither random factors nor a disturbed optimum."""
    a, rank = problem
    rng = np.random.default_rng(seed)
    b, c = rng.standard_normal((a.shape[0], rank)), rng.standard_normal((rank, a.shape[1]))
    best = fac.truncated_svd(a, rank)
    scale = size * np.sqrt(norm(a) or 1.0)
    for factors in (Factors(scale * b, scale * c), Factors(best.b + scale * b, best.c + scale * c)):
        certificate = fac.certify(a, factors)
        assert certificate.excess >= -2 * rounding(a)
        assert not certificate.ratio < 1 - rounding(a) / max(certificate.error, EPS)


@given(problems())
def test_a_certificate_is_its_definition(problem):
    a, rank = problem
    assume(a.any())
    factors = Factors(np.ones((a.shape[0], rank)), np.ones((rank, a.shape[1])))
    certificate = fac.certify(a, factors)
    residual, tail = norm(a - rank * np.ones(a.shape)), fac.eckart_young_error(a, rank)
    scale = max(residual, norm(a)) / norm(a)
    assert abs(certificate.error - residual / norm(a)) <= rounding(a) * scale
    assert abs(certificate.excess - (residual**2 - tail**2) / norm(a) ** 2) <= 2 * rounding(a) * scale**2
    if rank < np.linalg.matrix_rank(a):
        assert certificate.ratio == pytest.approx(residual / tail, rel=1e-12)
    else:
        assert np.isnan(certificate.ratio)


def test_a_certificate_of_known_numbers():
    certificate = fac.certify(np.diag([4.0, 3.0, 0.0]), Factors(np.eye(3)[:, 1:2], 3 * np.eye(3)[1:2]))
    assert (certificate.error, certificate.excess) == pytest.approx((4 / 5, (16 - 9) / 25))
    assert certificate.ratio == pytest.approx(4 / 3)
    zero = fac.certify(np.zeros((2, 3)), Factors(np.ones((2, 1)), np.ones((1, 3))))
    assert zero.error == np.inf  # something where nothing was
    assert np.isnan(zero.ratio)


@given(own.known_spectra(), st.floats(0, 1.2))
def test_smallest_rank_is_the_smallest_within_the_threshold(known, threshold):
    a = Spectrum(known.singular_values, known.matrix.shape)
    rank = fac.smallest_rank(a, threshold)
    assert fac.eckart_young_error(a, int(rank), relative=True) <= threshold
    assert rank == 0 or fac.eckart_young_error(a, int(rank) - 1, relative=True) > threshold
    assert fac.smallest_rank(known.matrix, 1.0) == 0
    assert fac.smallest_rank(a, 0.0) == np.count_nonzero(known.singular_values)


def test_smallest_rank_and_energy_rank_are_one_question():
    """A relative error of t leaves an energy of 1 − t²."""
    a = np.random.default_rng(0).standard_normal((3, 20, 30))
    for threshold in (0.1, 0.3, 0.5, 0.7, 0.9):
        np.testing.assert_array_equal(fac.smallest_rank(a, threshold), energy_rank(a, 1 - threshold**2))
    assert fac.smallest_rank(np.eye(100), 0.1) == 99
    each = [fac.smallest_rank(x, threshold) for x, threshold in zip(a, (0.1, 0.5, 0.9), strict=True)]
    np.testing.assert_array_equal(fac.smallest_rank(a, [0.1, 0.5, 0.9]), each)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_break_even_rank_is_the_last_that_saves(m, n):
    rank = fac.break_even_rank(m, n)
    assert rank * (m + n) <= m * n
    assert (rank + 1) * (m + n) > m * n or m + n == 0
    assert (fac.break_even_rank(784, 256), fac.break_even_rank(4, 4)) == (192, 2)


@given(own.float_matrices(max_side=6))
def test_leading_factors_are_the_smaller_truncated_svd(a):
    full = fac.truncated_svd(a, min(a.shape))
    for rank in ranks(a):
        np.testing.assert_array_equal(full.leading(rank).product(), fac.truncated_svd(a, rank).product())


@pytest.mark.parametrize("shape", [(60, 40), (40, 60)])
def test_truncated_svd_agrees_with_scikit_learn(shape):
    a = np.random.default_rng(0).standard_normal(shape)
    peer = TruncatedSVD(7, algorithm="arpack").fit(a)
    product = peer.transform(a) @ peer.components_
    gap = np.subtract(*np.linalg.svd(a, compute_uv=False)[6:8])
    # the subspaces move by (backward error)/gap (Davis–Kahan), and the product with them
    np.testing.assert_allclose(fac.truncated_svd(a, 7).product(), product, atol=4 * rounding(a) * norm(a) ** 2 / gap)


# --- one budget for all layers ----------------------------------------------------------------------------------------


def spectra_of(rng: np.random.Generator, shapes: list[tuple[int, int]]) -> list[Spectrum]:
    return [Spectrum.of(rng.standard_normal(shape) * 0.5 ** np.arange(shape[1])) for shape in shapes]


def left_by(spectra: list[Spectrum], weights: np.ndarray, ranks) -> float:
    errors = [fac.eckart_young_error(s, r, relative=True) for s, r in zip(spectra, ranks, strict=True)]
    return float((weights * np.array(errors) ** 2).sum())


def cost_of(spectra: list[Spectrum], ranks) -> int:
    return sum(r * sum(s.shape) for s, r in zip(spectra, ranks, strict=True))


@given(st.integers(0, 10_000), st.integers(0, 50), st.integers(0, 1), st.booleans())
def test_a_budget_is_spent_as_well_as_on_any_allocation(seed, extra, minimum, equal):
    """Against all of them: the best where layers cost the same; else above the best by less than one further rank of
    any layer saves, and better than every other allocation that does not cost more than its greedy part."""
    rng = np.random.default_rng(seed)
    spectra = spectra_of(rng, [(4, 4), (5, 3), (3, 5)] if equal else [(4, 6), (4, 4), (2, 4)])
    weights = rng.uniform(0, 2, 3)
    budget = cost_of(spectra, [minimum] * 3) + extra
    ranks = fac.allocate(spectra, budget, weights=weights, minimum=minimum)
    every = itertools.product(*(range(minimum, min(s.shape) + 1) for s in spectra))
    affordable = [each for each in every if cost_of(spectra, each) <= budget]
    assert tuple(ranks) in affordable
    best = min(left_by(spectra, weights, each) for each in affordable)
    found = left_by(spectra, weights, ranks)
    gains = [
        found - left_by(spectra, weights, [r + (i == layer) for i, r in enumerate(ranks)])
        for layer, s in enumerate(spectra)
        if ranks[layer] < min(s.shape)
    ]
    assert found <= best + (0 if equal else max(gains, default=0)) + 1e-12


def test_a_budget_goes_where_the_singular_values_and_the_weights_are():
    flat, steep = Spectrum(np.ones(4), (4, 4)), Spectrum([1, 0.1, 0.01, 0.001], (4, 4))
    assert fac.allocate([flat, steep], 8 * 5) == [4, 1]
    assert fac.allocate([flat, steep], 8 * 5, weights=[1e-6, 1]) == [1, 4]
    assert fac.allocate([flat, steep], 8 * 5, minimum=0) == [4, 1]
    assert fac.allocate([flat, steep], 10**6) == [4, 4]
    assert fac.allocate([Spectrum(np.ones(4) * 1e-300, (4, 4)), steep], 8 * 5) == [4, 1]  # relative errors: any scale
    assert fac.allocate([Spectrum(np.zeros(4), (4, 4)), steep], 8 * 5) == [1, 4]
    assert fac.allocate([flat, Spectrum([], (0, 3))], 8) == [1, 0]
    wide, narrow = Spectrum([2.0, 1.9], (2, 8)), Spectrum([2.0, 1.5], (2, 2))
    assert fac.allocate([wide, narrow, narrow], 18 + 10) == [1, 2, 2]  # two for less than the price of one
    wide, narrow = Spectrum([2.0, 1.9], (2, 8)), Spectrum([2.0, 0.1], (2, 2))
    assert fac.allocate([wide, narrow], 14 + 9) == [1, 2]  # the better bargain does not fit, the other does
    assert fac.allocate([wide, narrow], 14 + 10) == [2, 1]


# --- the weighted SVD -------------------------------------------------------------------------------------------------


@st.composite
def weighted_problems(draw: st.DrawFn) -> tuple[np.ndarray, int, np.ndarray]:
    a, rank = draw(problems(max_side=6))
    rows = draw(st.integers(0, 9))
    return a, rank, draw(own.float_matrices(shape=(rows, a.shape[1])))


@given(weighted_problems())
def test_weighted_svd_is_optimal_in_its_own_norm(problem):
    """It attains the Eckart–Young error of X·Aᵀ, so it is never worse than the truncated SVD, and both errors are seen
    by `weighted_error`."""
    a, rank, x = problem
    factors = fac.weighted_svd(a, rank, x)
    outputs = x @ a.T
    scale = norm(x) * norm(a)
    assert factors.rank == rank
    found = norm(x @ (a - factors.product()).T)
    possible = min(rank, min(outputs.shape))
    assert abs(found - fac.eckart_young_error(outputs, possible)) <= 4 * rounding(np.zeros((20, 1))) * scale
    plain = fac.truncated_svd(a, rank)
    assert found <= norm(x @ (a - plain.product()).T) + 4 * rounding(np.zeros((20, 1))) * scale
    assume(norm(outputs) > 1e-6 * scale)
    for these, error in ((factors, found), (plain, norm(x @ (a - plain.product()).T))):
        assert abs(fac.weighted_error(a, these, x) - error / norm(outputs)) <= 4 * rounding(np.zeros((20, 1))) * 1e6


@given(problems())
def test_weighted_by_the_identity_is_the_truncated_svd(problem):
    a, rank = problem
    s = np.append(np.linalg.svd(a, compute_uv=False), 0.0)
    factors, plain = fac.weighted_svd(a, rank, np.eye(a.shape[1])), fac.truncated_svd(a, rank)
    assert abs(fac.certify(a, factors).excess) <= 4 * rounding(a)
    assert abs(fac.weighted_error(a, factors, np.eye(a.shape[1])) - fac.certify(a, factors).error) <= 4 * rounding(a)
    gap = s[rank - 1] - s[rank] if rank else np.inf
    assume(gap > 1e-3 * s[0])  # otherwise the best product is not the only one
    np.testing.assert_allclose(factors.product(), plain.product(), atol=4 * rounding(a) * s[0] ** 2 * len(s) / gap)


@given(weighted_problems(), own.scales(), st.integers(0, 2**32 - 1))
def test_weights_are_the_inputs_second_moment(problem, scale, seed):
    """Rotating or scaling the inputs, or handing over their R, moves no weighted error; one input needs rank 1."""
    a, rank, x = problem
    rotated = own.orthogonal(len(x), np.random.default_rng(seed)) @ x if len(x) else x
    slack = 4 * rounding(np.zeros((20, 1))) * 1e6
    assume(norm(x @ a.T) > 1e-6 * norm(x) * norm(a))
    expected = fac.weighted_error(a, fac.weighted_svd(a, rank, x), x)
    for inputs in (rotated, scale * x, np.linalg.qr(x, mode="r")):
        assert abs(fac.weighted_error(a, fac.weighted_svd(a, rank, inputs), x) - expected) <= slack
        assert abs(fac.weighted_error(a, fac.weighted_svd(a, rank, x), inputs) - expected) <= slack
    if rank:
        assert fac.weighted_error(a, fac.weighted_svd(a, rank, x[:1]), x[:1]) <= slack


def test_weighted_svd_spends_its_rank_where_the_inputs_are():
    a = np.diag([3.0, 2.0, 1.0])
    x = np.diag([0.0, 0.1, 10.0])  # the first column is always dark
    np.testing.assert_allclose(fac.weighted_svd(a, 1, x).product(), np.diag([0, 0, 1.0]), atol=1e-14)
    np.testing.assert_allclose(fac.weighted_svd(a, 2, x).product(), np.diag([0, 2.0, 1.0]), atol=1e-14)
    assert fac.weighted_error(a, fac.weighted_svd(a, 1, x), x) == pytest.approx(0.2 / np.hypot(10, 0.2))
    none = fac.weighted_svd(a, 2, np.zeros((0, 3)))
    assert fac.weighted_error(a, none, np.zeros((0, 3))) == 0
    assert none.product().shape == (3, 3)


# --- the alternating methods ------------------------------------------------------------------------------------------


@given(problems(), methods, st.integers(0, 100))
def test_the_error_never_grows(problem, method, seed):
    """Half-step by half-step, down to rounding of its square; and the last one is the certificate's."""
    a, rank = problem
    fit = method(a, rank, tol=0.0, max_iterations=15, seed=seed)
    squared = fit.errors**2
    assert len(squared) == 2 * fit.iterations
    assert (np.diff(squared) <= cancelled(a, fit.factors)).all()
    assert abs(squared[-1] - fit.certificate.error**2) <= cancelled(a, fit.factors)
    assert fit.certificate.excess >= -rounding(a)
    np.testing.assert_allclose(fit.certificate.error, fac.certify(a, fit.factors).error, rtol=0, atol=0)
    assert fit.factors.rank == rank


@given(own.known_rank_matrices(), st.sampled_from(["least squares", "textbook", "oversampled"]), own.containers())
def test_enough_rank_leaves_nothing(known, name, container):
    """r ≥ rank A gives zero in one iteration: the range of A·Q is that of A, for almost every Q."""
    a = known.matrix.astype(np.float64)
    for rank in {known.rank, min(a.shape)}:
        fit = METHODS[name](container(a), rank, max_iterations=1)
        # the random basis loses the condition of A·Q at most, here under 1e6
        assert fit.certificate.error <= 1e6 * rounding(a)
        assert np.isnan(fit.certificate.ratio)


@given(own.known_spectra(ratio=4.0), methods)
def test_where_nothing_is_left_the_error_is_rounding(known, method):
    """Condition and gap are no obstacle here: all non-zero singular values within 4."""
    a = known.matrix
    for rank in {0, np.count_nonzero(known.singular_values), min(a.shape)}:
        fit = method(a, rank, max_iterations=5000)
        least = fac.eckart_young_error(a, rank, relative=True)
        assert fit.stopped == "tolerance" or least == 0
        assert fit.certificate.error <= (1 + 1e-2) * least + 10 * multiplied(a, fit.factors)
        assert abs(fit.errors[-1] - fit.certificate.error) <= 2 * multiplied(a, fit.factors)


@pytest.mark.parametrize("seed", [1295, 630, 2846, 1070])
def test_an_ill_conditioned_start_leaves_no_more_than_rounding_either(seed):
    """A random C of condition 50 to 100: steps along A·Cᵀ − B·(C·Cᵀ) stood still at 20 to 200 times max(m, n)·eps."""
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 13, 2)
    rank = int(rng.integers(1, min(m, n) + 1))
    a = own.with_spectrum(np.sort(rng.uniform(1, 4, rank))[::-1], (m, n), rng)
    fit = fac.alternating_gradient(a, rank)
    assert fit.stopped == "tolerance" and fit.certificate.error <= rounding(a)


def test_where_factors_cancel_rounding_is_that_of_their_product():
    """Entries of B and C are right to eps, so B·C is right to eps·‖B‖‖C‖, here 1e8 times ‖A‖, and gets no better."""
    turn = np.array([[1.0, 1e4], [1.0, 1e4 + 1e-4]])  # of condition 1e12
    arrived = []
    for seed in range(30):  # so near to no rank at all, rounding decides which of them stand still on the way
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 8))
        vt = np.linalg.svd(a)[2]
        fit = fac.alternating_gradient(a, 2, start=Factors(a @ vt[:2].T @ turn, np.linalg.solve(turn, vt[:2])))
        size = norm(fit.factors.b) * norm(fit.factors.c) / norm(a)
        if fit.stopped == "tolerance":
            arrived.append(size)
            assert fit.certificate.error <= rounding(a) * max(1.0, size)
        else:
            assert fit.stopped == "stationary" and fit.certificate.error > rounding(a)
    assert max(arrived, default=0.0) > 1e8


def decaying(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A trained layer's kind of spectrum: a slow decay over two decades."""
    return own.with_spectrum(np.geomspace(1, 1e-2, min(shape)), shape, np.random.default_rng(seed))


INDEX = np.arange(1, 31)
SPECTRA = {
    "flat": np.ones(30),
    "nearly flat": np.linspace(1, 0.999, 30),
    "falling a little": np.linspace(1, 0.9, 30),
    "1/√i": INDEX**-0.5,
    "1/i": 1 / INDEX,
    "1/i²": 1.0 / INDEX**2,
    "two decades": np.geomspace(1, 1e-2, 30),
    "ten decades": np.geomspace(1, 1e-10, 30),
    "a cliff": np.repeat([1, 1e-3], [7, 23]),
    "a high cliff": np.repeat([1, 1e-7], [7, 23]),
    "a rough cliff": np.r_[np.linspace(1, 0.9, 7), np.linspace(1e-3, 0.9e-3, 23)],
    "a random matrix": np.linalg.svd(np.random.default_rng(1).standard_normal((40, 30)), compute_uv=False),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize(("name", "tol", "most"), [("least squares", 1e-4, 20), ("gradient", 1e-2, 60)])
def test_the_error_is_within_its_tolerance_of_the_least_one_at_every_rank(spectrum, name, tol, most, thorough):
    """Whatever the spectrum, and in few iterations; but for gradient steps where singular values below 1e-5·σ₁ are
    asked of them, which then say that they have not arrived."""
    a = own.with_spectrum(SPECTRA[spectrum], (40, 30), np.random.default_rng(0))
    for rank in range(1, 30, 1 if thorough else 4):
        hard = name == "gradient" and spectrum == "ten decades" and rank > 15
        fit = METHODS[name](a, rank, max_iterations=most)
        assert fit.stopped == "tolerance" or hard, rank
        if fit.stopped != "tolerance":
            assert fit.stopped == "iterations" and fit.gap > tol
            continue
        least = fac.eckart_young_error(a, rank, relative=True)
        assert fit.certificate.error <= (1 + tol) * least + 2 * rounding(a)
        assert -2 * rounding(a) <= fit.gap * least or np.isnan(fit.gap)
        assert fit.gap == fit.certificate.gap == fit.certificate.ratio - 1 or np.isnan(fit.gap)


@pytest.mark.parametrize("s", [np.repeat([1, 1e-3], [20, 70]), 1 / np.arange(1, 91)], ids=["a cliff", "1/i"])
def test_the_matrices_that_were_left_far_above_the_bound(s, thorough):
    """90 times the least possible error by gradient steps at r = 89, 38 % above it by least squares at r = 45."""
    a = own.with_spectrum(s, (120, 90), np.random.default_rng(0))
    for rank in range(1, 90) if thorough else (1, 20, 45, 89):
        for name, tol in (("least squares", 1e-4), ("gradient", 1e-2)):
            fit = METHODS[name](a, rank)
            assert fit.stopped == "tolerance" and -1e-9 <= fit.gap <= tol * (1 + 1e-6)


def test_a_tolerance_is_of_the_error_and_one_for_each_matrix():
    a = decaying((20, 30))
    loose, tight = (fac.alternating_least_squares(a, 5, oversampling=0, tol=tol) for tol in (0.1, 1e-8))
    assert 1e-8 < loose.gap <= 0.1 and tight.gap <= 1.1e-8 and loose.iterations < tight.iterations
    both = fac.alternating_least_squares(np.stack([a, a]), 5, oversampling=0, tol=[0.1, 1e-8])
    assert both.iterations.tolist() == [loose.iterations, tight.iterations]
    with pytest.raises(ValueError, match="tol must be a finite number ≥ 0, or 2 of them, one a matrix; found"):
        fac.alternating_gradient(np.stack([a, a]), 5, tol=[0.1, 0.1, 0.1])


def test_remembering_and_oversampling_need_fewer_iterations():
    for s in (np.geomspace(1, 1e-2, 50), np.linspace(1, 0.9, 50)):
        a = own.with_spectrum(s, (60, 50), np.random.default_rng(0))
        plain = fac.alternating_least_squares(a, 10, tol=1e-6, oversampling=0)
        few, default = (fac.alternating_least_squares(a, 10, tol=1e-6, oversampling=p) for p in (1, None))
        assert 3 * few.iterations <= plain.iterations and default.iterations <= few.iterations
        assert default.factors.rank == 10
        assert default.errors[0] < plain.errors[0]
        trace = fac.alternating_least_squares(a, 10, tol=0.0, oversampling=2, max_iterations=12).errors
        assert (np.diff(trace**2) <= rounding(a)).all() and trace[-1] < trace[4] < trace[2]  # the best rows are kept
        single, conjugate = (fac.alternating_gradient(a, 10, steps=steps) for steps in (1, 100))
        assert conjugate.iterations <= single.iterations


def test_a_whole_basis_is_the_svd():
    """Oversampling up to min(m, n) leaves nothing to iterate, and more changes nothing."""
    a = decaying((12, 9))
    for oversampling in (6, 100):
        fit = fac.alternating_least_squares(a, 3, tol=0.0, oversampling=oversampling, max_iterations=1)
        assert abs(fit.certificate.excess) <= rounding(a)


def test_by_default_more_than_half_of_the_columns_are_all_of_them():
    """Two iterations of half the columns would cost more than one of all, which is the SVD."""
    a = decaying((60, 50))
    default = [int(fac.alternating_least_squares(a, rank, tol=1e-9).iterations) for rank in (5, 14, 15, 30, 49)]
    assert default[2:] == [1, 1, 1] and min(default[:2]) > 1
    assert fac.alternating_least_squares(a, 15, tol=1e-9, oversampling=10).iterations > 1


def test_least_squares_half_steps_are_least_squares():
    """The product after an update of C is the best for that B: no change of C lowers the error, so BᵀE = 0."""
    a = decaying((9, 12))
    fit = fac.alternating_least_squares(a, 3, tol=0.0, max_iterations=2, oversampling=0)
    residual = a - fit.factors.product()
    np.testing.assert_allclose(fit.factors.b.T @ residual, 0, atol=rounding(a))
    # the same by normal equations from the same start, as the textbook has it
    c = np.random.default_rng(0).standard_normal((3, 12))
    for _ in range(2):
        b = np.linalg.lstsq(c.T, a.T)[0].T
        c = np.linalg.lstsq(b, a)[0]
    np.testing.assert_allclose(fit.factors.product(), b @ c, atol=1e-10)


def test_gradient_steps_are_the_best_along_the_gradient():
    """One iteration by hand, the step found by minimising the parabola through three points."""
    a = decaying((6, 8))
    unit = a / norm(a)
    c = np.random.default_rng(0).standard_normal((2, 8))
    c /= np.linalg.norm(c, axis=1, keepdims=True)
    c *= np.sqrt(np.linalg.norm(unit @ c.T, axis=0))[:, None]  # balanced with the columns of b to come
    b = np.zeros((6, 2))

    def best(b, c, db, dc):
        f = [norm(unit - (b + t * db) @ (c + t * dc)) ** 2 for t in (-1.0, 0.0, 1.0)]
        t = (f[0] - f[2]) / (2 * (f[0] - 2 * f[1] + f[2]))
        return b + t * db, c + t * dc

    errors = []
    for _ in range(3):
        b, c = best(b, c, (unit - b @ c) @ c.T, 0 * c)
        errors.append(norm(unit - b @ c))
        b, c = best(b, c, 0 * b, b.T @ (unit - b @ c))
        errors.append(norm(unit - b @ c))
    fit = fac.alternating_gradient(a, 2, tol=0.0, max_iterations=3, steps=1)
    np.testing.assert_allclose(fit.errors, errors, rtol=1e-10)
    np.testing.assert_allclose(fit.factors.product(), b @ c * norm(a), atol=1e-10)


def test_conjugate_steps_solve_the_least_squares_problem_in_as_many_as_c_has_rows(monkeypatch):
    """Each is at least as good as the plain one, and together they end where elimination would (Hestenes & Stiefel)."""
    rng = np.random.default_rng(0)
    a, c, x = rng.standard_normal((9, 12)), rng.standard_normal((4, 12)), rng.standard_normal((9, 4))
    target, gram = a @ c.T, c @ c.T

    def descended(x, steps):
        return alternating.descend(x, target - x @ gram, target, gram, steps)

    found, explained = descended(x, 100)
    slope, start = (norm((a - y @ c) @ c.T) for y in (found, x))
    assert 1e-6 * start <= slope <= 0.1 * start  # it ends early
    assert explained == pytest.approx(norm(a) ** 2 - norm(a - found @ c) ** 2)
    monkeypatch.setattr(alternating, "_REDUCTION", 0.0)
    left = [norm(a - descended(x, steps)[0] @ c) for steps in (1, 2, 3)]
    best = norm(a - target @ np.linalg.solve(gram, c))
    assert norm(a - x @ c) > left[0] > left[1] > left[2] > best
    plain = x
    for steps in range(3):
        plain = descended(plain, 1)[0]
        assert left[steps] <= norm(a - plain @ c) * (1 + 1e-12)
    assert left[2] - best < 0.9 * (norm(a - plain @ c) - best)
    assert norm(a - descended(x, 4 * 9)[0] @ c) == pytest.approx(best, rel=1e-12)


def test_the_listed_step_is_short_and_is_what_the_fit_does():
    """A page prints it: at most ten lines, the docstring aside."""
    tree = ast.parse(inspect.getsource(alternating.alternate)).body[0]
    assert tree.end_lineno - tree.body[1].lineno + 2 <= 10
    a = decaying((9, 12))
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 12)).T)[0]
    for _ in range(2):
        p, _, q, triangle = alternating.alternate(a, q)
    fit = fac.alternating_least_squares(a, 3, tol=0.0, max_iterations=2, oversampling=0)
    np.testing.assert_allclose(fit.factors.product(), p @ triangle.T @ q.T, atol=rounding(a))
    b_triangle = alternating.alternate(a, q)[1]
    np.testing.assert_allclose(norm(b_triangle), norm(a @ q))


@pytest.mark.parametrize("seed", [1, 3, 98])
def test_a_warm_start_with_factors_that_cancel(seed):
    """‖B‖·‖C‖ up to 60 times ‖A‖: the error starts no higher than ended, to the rounding of that."""
    a = np.array([[1.5, 0.0], [0.0, 0.0], [1.0, 2.0]])
    before = fac.alternating_gradient(a, 2, tol=0.0, max_iterations=5, seed=seed)
    after = fac.alternating_gradient(a, 2, tol=0.0, max_iterations=5, seed=seed, start=before.factors)
    assert after.errors[0] ** 2 <= before.certificate.error**2 + cancelled(a, before.factors)


@given(own.float_matrices(max_side=6), methods, st.integers(0, 5), st.data())
def test_a_warm_start_goes_on_where_it_left(a, method, seed, data):
    """Along r the error starts no higher than it ended, and A is not needed to be new to the method."""
    low = data.draw(st.integers(0, min(a.shape)))
    high = data.draw(st.integers(low, min(a.shape)))
    before = method(a, low, tol=0.0, max_iterations=5, seed=seed)
    b, c = before.factors.b.copy(), before.factors.c.copy()
    after = method(a, high, tol=0.0, max_iterations=5, seed=seed, start=before.factors)
    # the bound twice: the half-step from there rounds, and so does its error
    assert after.errors[0] ** 2 <= before.certificate.error**2 + 2 * cancelled(a, before.factors)
    assert after.factors.rank == high
    np.testing.assert_array_equal(before.factors.b, b)
    np.testing.assert_array_equal(before.factors.c, c)


@pytest.mark.parametrize("name", METHODS)
def test_a_warm_start_saves_iterations(name):
    a = decaying((40, 50))
    first = METHODS[name](a, 8, tol=1e-5)
    again = METHODS[name](a, 8, tol=1e-5, start=first.factors)
    assert again.iterations == 1 < first.iterations
    warm, cold = METHODS[name](a, 9, tol=1e-5, start=first.factors), METHODS[name](a, 9, tol=1e-5)
    assert warm.errors[0] < cold.errors[0]  # more is not promised: the gradient may need as many iterations again


@given(own.float_matrices(max_side=5, batch=(2, 2)), methods, own.containers())
def test_a_batch_is_its_matrices(batch, method, container):
    held = container(batch)
    rank = min(batch.shape[-2:]) // 2
    spectrum = Spectrum.of(held)
    fit = method(held, rank, max_iterations=20, tol=1e-3, spectrum=spectrum)
    svd = fac.truncated_svd(held, rank)
    weighted = fac.weighted_svd(held, rank, np.eye(batch.shape[-1]))
    for i in np.ndindex(2, 2):
        alone = method(held[i], rank, max_iterations=20, tol=1e-3)
        steps = 2 * alone.iterations
        np.testing.assert_array_equal(fit.errors[i][:steps], alone.errors)
        assert np.isnan(fit.errors[i][steps:]).all()
        assert (fit.iterations[i], fit.stopped[i]) == (alone.iterations, alone.stopped)
        for name in ("error", "excess", "ratio"):
            np.testing.assert_array_equal(getattr(fit.certificate, name)[i], getattr(alone.certificate, name))
        np.testing.assert_array_equal(fit.factors.product()[i], alone.factors.product())
        np.testing.assert_array_equal(svd.product()[i], fac.truncated_svd(held[i], rank).product())
        np.testing.assert_array_equal(
            weighted.product()[i], fac.weighted_svd(held[i], rank, np.eye(batch.shape[-1])).product()
        )
        assert fac.eckart_young_error(held, rank)[i] == fac.eckart_young_error(held[i], rank)
        assert fac.smallest_rank(held, 0.3)[i] == fac.smallest_rank(held[i], 0.3)
    restarted = method(held, rank, max_iterations=1, start=fit.factors)
    alone = method(held[1, 0], rank, max_iterations=1, start=Factors(fit.factors.b[1, 0], fit.factors.c[1, 0]))
    np.testing.assert_array_equal(restarted.factors.product()[1, 0], alone.factors.product())


@given(problems(), methods)
def test_torch_is_numpy_and_runs_repeat(problem, method):
    torch = pytest.importorskip("torch")
    a, rank = problem
    options = {"tol": 1e-3, "max_iterations": 10, "seed": 3}
    first = method(a, rank, **options)
    same(first, method(a, rank, **options))
    same(first, method(torch.from_numpy(a).requires_grad_(), rank, **options))
    start = Factors(torch.from_numpy(first.factors.b), torch.from_numpy(first.factors.c))
    same(method(a, rank, start=first.factors, **options), method(a, rank, start=start, **options))


@given(problems(min_rank=1), methods, own.scales())
def test_scale_changes_nothing_but_the_scale(problem, method, scale):
    a, rank = problem
    options = {"tol": 1e-3, "max_iterations": 5}
    small, large = method(a, rank, **options), method(a * scale, rank, **options)
    np.testing.assert_array_equal(small.errors, large.errors)
    np.testing.assert_array_equal(small.factors.product() * scale, large.factors.product())


@pytest.mark.parametrize("scale", [1e-320, 1e-310, 1e-300, 1e-200, 1e-160, 1e160, 1e200, 1e300, 1e307])
def test_extreme_scales_neither_overflow_nor_vanish(scale):
    """Subnormal entries are whole multiples of 5e-324: at 1e-320 two thousand of them."""
    a = decaying((7, 5)) * scale
    precision = max(1e-10, 1e-321 / scale)
    tail = np.sqrt((np.geomspace(1, 1e-2, 5)[2:] ** 2).sum())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fac.eckart_young_error(a, 2) == pytest.approx(tail * scale, rel=precision)
        best = fac.certify(a, fac.truncated_svd(a, 2))
        assert best.ratio == pytest.approx(1, rel=precision)
        assert best.error == pytest.approx(fac.eckart_young_error(a, 2, relative=True), rel=precision)
        for inputs in (np.eye(5) * scale, np.eye(5) / min(scale, 1e300)) if scale > 1e-305 else (np.eye(5) * scale,):
            weighted = fac.weighted_svd(a, 2, inputs)
            assert fac.certify(a, weighted).ratio == pytest.approx(1, rel=precision)
            assert fac.weighted_error(a, weighted, inputs) == pytest.approx(best.error, rel=precision)
        for method in METHODS.values():
            fit = method(a, 2)
            assert fit.stopped == "tolerance" and fit.gap <= 1e-2 + precision
            assert method(a, 2, start=fit.factors).iterations == 1


@pytest.mark.parametrize("exponent", [-1070, -1000, 1000])
def test_the_scale_of_inputs_changes_nothing(exponent):
    rng = np.random.default_rng(0)
    a, x = rng.standard_normal((6, 5)), np.rint(64 * rng.standard_normal((9, 5)))
    factors, scaled = fac.weighted_svd(a, 2, x), fac.weighted_svd(a, 2, np.ldexp(x, exponent))
    np.testing.assert_allclose(scaled.product(), factors.product(), rtol=1e-12, atol=1e-13)
    assert fac.weighted_error(a, factors, np.ldexp(x, exponent)) == pytest.approx(fac.weighted_error(a, factors, x))


def test_different_seeds_start_differently():
    a = decaying((20, 30))
    for method in METHODS.values():
        first, second = (method(a, 4, tol=1e-3, seed=seed) for seed in (0, 1))
        assert first.errors[0] != second.errors[0]


def test_why_it_stopped():
    a = decaying((20, 30))
    exhausted = fac.alternating_gradient(a, 5, tol=0.0, max_iterations=3, steps=1)
    assert (exhausted.stopped, exhausted.iterations, len(exhausted.errors)) == ("iterations", 3, 6)
    nothing = Factors(np.zeros((20, 5)), np.zeros((5, 30)))  # a saddle: no gradient, nowhere near the bound
    stuck = fac.alternating_gradient(a, 5, start=nothing)
    assert (stuck.stopped, stuck.iterations) == ("stationary", 2)
    assert stuck.certificate.error == pytest.approx(1, rel=4 * EPS)  # a norm over a norm that was rounded
    settled = fac.alternating_least_squares(np.diag([3.0, 2.0, 0.5]), 2, tol=0.0)
    assert settled.stopped in ("stationary", "tolerance")
    assert settled.iterations < 100
    mixed = fac.alternating_least_squares(np.stack([a, 0 * a]), 5, tol=1e-9, oversampling=0)
    assert mixed.iterations[1] == 1 < mixed.iterations[0]
    assert np.isnan(mixed.errors[1, 2:]).all()


@pytest.mark.parametrize("name", METHODS)
def test_a_known_spectrum_saves_the_svd_and_changes_nothing(name, monkeypatch):
    a = decaying((8, 12))
    spectrum = Spectrum.of(a)
    expected = METHODS[name](a, 3)
    same(expected, METHODS[name](a, 3, spectrum=spectrum))
    stored = Spectrum(spectrum.values.astype(np.float32), a.shape)
    assert METHODS[name](a, 3, spectrum=stored).certificate.excess == pytest.approx(
        expected.certificate.excess, abs=1e-7
    )
    monkeypatch.setattr(Spectrum, "of", lambda a: pytest.fail("the SVD was not saved") if a is not spectrum else a)
    same(expected, METHODS[name](a, 3, spectrum=spectrum))


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (4, 0), (2, 0, 3), (0, 3, 4), (3, 3), (2, 3, 4)])
def test_empty_and_zero_matrices(shape):
    zeros = np.zeros(shape)
    for rank in range(min(shape[-2:]) + 1):
        found = [fac.truncated_svd(zeros, rank), fac.weighted_svd(zeros, rank, np.ones((2, shape[-1])))]
        fits = [method(zeros, rank) for method in METHODS.values()]
        for factors in [*found, *(fit.factors for fit in fits)]:
            assert factors.b.shape == (*shape[:-1], rank)
            np.testing.assert_array_equal(factors.product(), zeros)
            certificate = fac.certify(zeros, factors)
            assert certificate.error.shape == shape[:-2]
            assert not np.any(certificate.error) and not np.any(certificate.excess)
            assert np.isnan(certificate.ratio).all()
        for fit in fits:
            assert np.all(fit.iterations == 1) and np.all(fit.stopped == "tolerance")
        assert not np.any(fac.eckart_young_error(zeros, rank, relative=True))
    assert not np.any(fac.smallest_rank(zeros, 0.0))


# --- bad input --------------------------------------------------------------------------------------------------------

FUNCTIONS = {
    **METHODS,
    "truncated_svd": fac.truncated_svd,
    "weighted_svd": lambda a, rank: fac.weighted_svd(a, rank, np.eye(3)),
    "eckart_young_error": fac.eckart_young_error,
    "smallest_rank": lambda a, rank: fac.smallest_rank(a, 0.5),
    "certify": lambda a, rank: fac.certify(a, Factors(np.ones((3, 1)), np.ones((1, 3)))),
    "weighted_error": lambda a, rank: fac.weighted_error(a, Factors(np.ones((3, 1)), np.ones((1, 3))), np.eye(3)),
}
RANKED = [*METHODS, "truncated_svd", "weighted_svd", "eckart_young_error"]
BAD = [
    (np.array([[1.0, np.nan]]), "NaN"),
    (np.array([[np.inf, 1.0]]), "infinity"),
    (np.array([[1.0 + 0j]]), "complex"),
    (np.array(3.0), r"shape \(\)"),
    (np.ones(3), r"shape \(3,\)"),
    ([["x"]], "U1"),
    ([[1.0], [1.0, 2.0]], "list"),
    (None, "object"),
]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("bad", "found"), BAD)
def test_bad_matrices_are_named(name, bad, found):
    with pytest.raises(ValueError, match=rf"^a must be .*{found}"):
        FUNCTIONS[name](bad, 1)
    with pytest.raises(ValueError, match=rf"^inputs must be .*{found}"):
        fac.weighted_svd(np.eye(2), 1, bad)
    with pytest.raises(ValueError, match=rf"^factors.b must be .*{found}"):
        fac.certify(np.eye(2), Factors(bad, np.eye(2)))


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("rank", [-1, 4, 1.0, 0.5, "1", None, True, np.nan])
def test_bad_ranks_are_named(name, rank):
    with pytest.raises(ValueError, match=r"^rank must be a whole number of at least 0"):
        FUNCTIONS[name](np.eye(3), rank)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_real_array_is_right_and_stays_as_it_was(name):
    def numbers(result) -> list:
        if isinstance(result, fac.Fit):
            return [result.factors.product(), result.errors, result.certificate.excess]
        if isinstance(result, Factors):
            return [result.product()]
        return [result.error, result.excess] if isinstance(result, fac.Certificate) else [result]

    a = np.array([[3, 1, 0], [1, 4, 1], [0, 1, 1]])
    expected = numbers(FUNCTIONS[name](a.astype(np.float64), np.int64(2)))
    frozen = a.astype(np.float64)
    frozen.flags.writeable = False
    padded = np.zeros((6, 6))
    padded[::2, ::2] = a
    for held in (a, a.tolist(), a.astype(np.int8), a.astype(np.float16), frozen, padded[::2, ::2], frozen.T.copy().T):
        before = np.array(held)
        for found, number in zip(numbers(FUNCTIONS[name](held, 2)), expected, strict=True):
            np.testing.assert_allclose(found, number, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(held, before)


I3 = np.eye(3)
ONE = Factors(np.ones((3, 1)), np.ones((1, 3)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f(I3, 1, tol=-1e-3), "tol must be .*-0.001"),
        (lambda f: f(I3, 1, tol=np.nan), "tol must be .*nan"),
        (lambda f: f(I3, 1, max_iterations=0), "max_iterations must be .*0"),
        (lambda f: f(I3, 1, seed=-1), "seed must be .*-1"),
        (lambda f: f(I3, 1, seed=None), "seed must be .*None"),
        (lambda f: f(I3, 0, start=ONE), "start.rank must be .*at most 0; found 1"),
        (lambda f: f(I3, 1, start=I3), "start must be Factors; found ndarray"),
        (lambda f: f(np.ones((2, 3)), 1, start=ONE), r"start must fit a of shape \(2, 3\)"),
        (lambda f: f(I3, 1, start=Factors(np.ones((3, 1)), np.ones((2, 3)))), "start must fit"),
        (lambda f: f(np.ones((2, 3, 3)), 1, start=ONE), "start must fit"),
        (lambda f: f(I3, 1, start=Factors(np.full((3, 1), np.nan), np.ones((1, 3)))), "start.b must be finite"),
        (lambda f: f(I3, 1, start=Factors(np.ones((3, 1)), np.full((1, 3), np.inf))), "start.c must be finite"),
        (lambda f: f(I3, 1, spectrum=[1.0, 1.0, 1.0]), "spectrum must be a Spectrum; found list"),
        (lambda f: f(I3, 1, spectrum=Spectrum.of(np.ones((3, 4)))), "spectrum must be that of a; found shape"),
        (lambda f: f(I3, 1, spectrum=Spectrum.of(np.ones((1, 3, 3)))), "spectrum must be that of a; found shape"),
        (lambda f: f(I3, 1, spectrum=Spectrum.of(1.001 * I3)), "spectrum must be that of a; found another"),
    ],
)
def test_bad_options_are_named(call, message):
    for method in METHODS.values():
        with pytest.raises(ValueError, match=message):
            call(method)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fac.alternating_gradient(I3, 1, steps=0), "steps must be .*at least 1; found 0"),
        (lambda: fac.smallest_rank(np.stack([I3, I3]), [0.1, 0.2, 0.3]), "threshold must be .*2 of them"),
        (lambda: fac.allocate([], 9), "spectra and weights must be one each a layer; found 0"),
        (lambda: fac.allocate([I3], 9), "spectra must be one Spectrum a layer"),
        (lambda: fac.allocate([Spectrum.of(np.stack([I3, I3]))], 9), "spectra must be one Spectrum a layer"),
        (lambda: fac.allocate([Spectrum.of(I3)], 5), "budget must pay for rank 1 in every layer, 6 numbers; found 5"),
        (lambda: fac.allocate([Spectrum.of(I3)], 6.5), "budget must be a whole number.*6.5"),
        (lambda: fac.allocate([Spectrum.of(I3)], 9, weights=[1, 1]), "spectra and weights must be one each a layer"),
        (lambda: fac.allocate([Spectrum.of(I3)], 9, weights=[-1]), "weights must be finite numbers ≥ 0"),
        (lambda: fac.allocate([Spectrum.of(I3)], 9, minimum=-1), "minimum must be .*-1"),
        (lambda: fac.alternating_least_squares(I3, 1, oversampling=-1), "oversampling must be .*-1"),
        (lambda: fac.alternating_least_squares(I3, 1, oversampling=0.5), "oversampling must be .*0.5"),
        (lambda: fac.smallest_rank(I3, -0.1), "threshold must be .*-0.1"),
        (lambda: fac.smallest_rank(I3, np.nan), "threshold must be .*nan"),
        (lambda: fac.break_even_rank(-1, 3), "m must be .*-1"),
        (lambda: fac.break_even_rank(3, 2.5), "n must be .*2.5"),
        (lambda: fac.weighted_svd(I3, 1, np.ones((5, 2))), "inputs must have 3 columns, as a has; found 2"),
        (lambda: fac.weighted_error(I3, ONE, np.ones((5, 4))), "inputs must have 3 columns, as a has; found 4"),
        (lambda: fac.weighted_error(I3, Factors(np.ones((2, 1)), np.ones((1, 3))), I3), "factors must fit"),
        (
            lambda: fac.certify(I3, Factors(np.ones((3, 4)), np.ones((4, 3)))),
            "factors.rank must be .*at most 3; found 4",
        ),
        (lambda: fac.certify(I3, (I3, I3)), "factors must be Factors; found tuple"),
        (lambda: ONE.leading(2), "rank must be .*at most 1; found 2"),
        (lambda: ONE.leading(-1), "rank must be .*-1"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
