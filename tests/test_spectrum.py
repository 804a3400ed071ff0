"""Laws of the soft ranks, the Marchenko–Pastur law and the simulated nulls.

Tolerances: LAPACK's SVD is backward stable, so by Weyl's inequality every σ moves by at most `delta`·σ₁, delta =
10·max(m, n)·eps, and a matrix rounded to a coarser dtype adds √k·eps of that dtype, k = min(m, n), since ‖rounding‖_F
≤ eps·‖A‖_F. The soft ranks are functions of x = σ/σ₁ ∈ [0, 1] with Σx² ≥ 1; `slack` bounds how far delta moves them.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstudy import rank, spectrum
from rankstudy._linalg.nulls import marchenko_pastur_median
from rankstudy.spectrum import Spectrum, effective_rank, input_baseline, numerical_rank
from tests import strategies as own

EPS = float(np.finfo(np.float64).eps)
SOFT_RANKS = (spectrum.stable_rank, spectrum.participation_ratio, spectrum.effective_rank)
RANKS = {
    **{f.__name__: f for f in SOFT_RANKS},
    "numerical_rank": spectrum.numerical_rank,
    "energy_rank": lambda a: spectrum.energy_rank(a, 0.9),
    "noise_std": lambda a: spectrum.noise_std(a, "bulk"),
    "outlier_rank": lambda a: spectrum.outlier_rank(a, "entries"),
    "rank_above": lambda a: spectrum.rank_above(a, 1.0),
    "null_largest": lambda a: spectrum.null_largest(a, "signs", draws=2),
    "null_quantile": lambda a: spectrum.null_quantile(a, "shuffle", level=0.5, draws=2),
    "battery": spectrum.battery,
}
OF_A_SPECTRUM = [name for name in RANKS if not name.startswith("null")]


def delta(shape: tuple[int, int], eps: float = EPS) -> float:
    """How far a computed σ/σ₁ may be from the true one."""
    return 10 * max(shape) * EPS + (np.sqrt(min(shape)) * eps if eps > EPS else 0.0)


def slack(shape: tuple[int, int], eps: float = EPS) -> float:
    """Relative error of a soft rank when every x moves by d: the sums move by ≤ 4kd, their quotients by twice that; the
    entropy by ≤ k·d'·(1 + log(1/d')) with d' = 2kd, as |x log x − y log y| ≤ −d log d for |x − y| ≤ d ≤ 1/e."""
    k, d = min(shape), delta(shape, eps)
    moved = 2 * k * d
    return max(8 * k * d, np.expm1(k * moved * (1 + np.log(1 / moved))))


def formulas(s: np.ndarray) -> list[float]:
    """Stable rank, participation ratio, effective rank from the definitions, term by term."""
    s = [float(x) for x in s if x > 0]
    if not s:
        return [0.0, 0.0, 0.0]
    p = [x / sum(s) for x in s]
    squares = [x * x for x in s]
    entropy = -sum(x * np.log(x) for x in p)
    return [sum(squares) / max(squares), sum(squares) ** 2 / sum(x * x for x in squares), float(np.exp(entropy))]


def ranks_of(a) -> list:
    return [f(a) for f in SOFT_RANKS]


# --- the soft ranks ---------------------------------------------------------------------------------------------------


@given(own.known_spectra(), own.containers())
def test_soft_ranks_are_their_definitions(known, container):
    expected = formulas(known.singular_values)
    np.testing.assert_allclose(
        ranks_of(container(known.matrix)), expected, rtol=slack(known.matrix.shape, container.eps)
    )


def test_soft_ranks_of_known_matrices():
    np.testing.assert_allclose(ranks_of(np.diag([3.0, 4.0])), [25 / 16, 625 / 337, 3 ** (-3 / 7) * 4 ** (-4 / 7) * 7])
    np.testing.assert_allclose(ranks_of(np.eye(7, 9)), [7, 7, 7])
    np.testing.assert_allclose(ranks_of(np.outer([1, 2, 3], [4, 5])), [1, 1, 1])
    assert ranks_of(np.zeros((3, 4))) == [0, 0, 0]


@given(own.known_spectra(min_side=1))
def test_soft_ranks_are_ordered(known):
    """1 ≤ stable rank ≤ participation ratio ≤ effective rank ≤ number of non-zero singular values."""
    s = Spectrum(known.singular_values, known.matrix.shape)
    count = np.count_nonzero(known.singular_values)
    chain = [min(count, 1), *ranks_of(s), count]
    rounding = 1 + 8 * len(known.singular_values) * EPS
    for smaller, larger in itertools.pairwise(chain):
        assert smaller <= larger * rounding


@given(own.float_matrices(), own.scales(), st.sampled_from([1, -1]))
def test_scale_changes_no_soft_rank(a, scale, sign):
    np.testing.assert_array_equal(ranks_of(a), ranks_of(a * scale))
    np.testing.assert_allclose(ranks_of(3 * sign * a), ranks_of(a), rtol=2 * slack(a.shape))
    np.testing.assert_array_equal(spectrum.outlier_rank(a * scale, 0.5 * scale), spectrum.outlier_rank(a, 0.5))
    for name in ("entries", "bulk"):
        np.testing.assert_array_equal(spectrum.outlier_rank(a * scale, name), spectrum.outlier_rank(a, name))
        np.testing.assert_array_equal(spectrum.noise_std(a * scale, name), spectrum.noise_std(a, name) * scale)


@given(own.known_spectra(), st.integers(0, 2**32 - 1))
def test_orthogonal_transforms_and_transposes_change_no_soft_rank(known, seed):
    a = known.matrix
    rng = np.random.default_rng(seed)
    rotated = own.orthogonal(a.shape[0], rng) @ a @ own.orthogonal(a.shape[1], rng)
    expected = ranks_of(a)
    np.testing.assert_allclose(ranks_of(rotated), expected, rtol=4 * slack(a.shape))  # two products and two SVDs
    np.testing.assert_allclose(ranks_of(a.T), expected, rtol=2 * slack(a.shape))


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_extreme_scales_neither_overflow_nor_vanish(scale):
    a = np.diag([1.0, 0.5, 0.25]) * scale
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(ranks_of(a), formulas(np.array([1.0, 0.5, 0.25])), rtol=1e-12)
        np.testing.assert_allclose(spectrum.noise_std(a, "entries"), np.sqrt(1.3125 / 9) * scale, rtol=1e-12)
        signs = spectrum.null_largest(a, "signs", draws=3)
    np.testing.assert_allclose(signs, scale, rtol=1e-12)
    assert spectrum.energy_rank(a, 0.99) == 3


@given(own.float_matrices(max_side=5, batch=(2, 3)), own.containers())
def test_a_batch_is_its_matrices(batch, container):
    held = container(batch)
    edges = {"ones": np.ones((2, 3)), "one": 1.0}
    found = spectrum.battery(held, edges=edges)
    for i in np.ndindex(2, 3):
        alone = spectrum.battery(held[i], edges={"ones": 1.0, "one": 1.0})
        for name, values in found.items():  # counts exactly; sums of powers in whatever order, twice
            slack = 0 if np.issubdtype(values.dtype, np.integer) else 8 * batch.shape[-1] * EPS
            np.testing.assert_allclose(values[i], alone[name], rtol=slack, atol=0, err_msg=name)
        assert found.keys() == alone.keys()
        np.testing.assert_array_equal(
            spectrum.null_largest(held, "shuffle", draws=3)[i], spectrum.null_largest(held[i], "shuffle", draws=3)
        )


@given(own.float_matrices(max_side=6))
def test_torch_is_numpy_and_a_spectrum_is_its_matrix(a):
    torch = pytest.importorskip("torch")
    expected = spectrum.battery(a)
    assert spectrum.battery(torch.from_numpy(a)) == expected
    assert spectrum.battery(torch.from_numpy(a).requires_grad_()) == expected
    assert spectrum.battery(Spectrum.of(a)) == expected
    stored = Spectrum(Spectrum.of(a).values.tolist(), list(a.shape))
    assert spectrum.battery(stored) == expected


# --- counts -----------------------------------------------------------------------------------------------------------


@given(own.known_spectra(), st.floats(0.01, 1.0))
def test_energy_rank_is_the_smallest_that_holds_the_energy(known, energy):
    s = known.singular_values
    r = spectrum.energy_rank(Spectrum(s, known.matrix.shape), energy)
    total, rounding = (s**2).sum(), 2 * (len(s) + 1) * EPS * (s**2).sum()
    assert (s[:r] ** 2).sum() >= energy * total - rounding
    assert r == 0 or (s[: r - 1] ** 2).sum() <= energy * total + rounding


@given(own.known_spectra())
def test_energy_rank_grows_with_the_energy_up_to_the_nonzero_singular_values(known):
    s = Spectrum(known.singular_values, known.matrix.shape)
    found = [spectrum.energy_rank(s, energy) for energy in (0.01, 0.3, 0.5, 0.9, 0.99, 1.0)]
    assert found == sorted(found)
    assert found[-1] == np.count_nonzero(known.singular_values)


@pytest.mark.parametrize("n", [10, 20, 100])
@pytest.mark.parametrize("energy", [0.1, 0.7, 0.9, 0.95, 1.0])
def test_energy_rank_of_equal_singular_values_has_no_rounding(n, energy):
    assert spectrum.energy_rank(np.eye(n), energy) == np.ceil(round(energy * n, 6))


def test_energy_one_sees_the_smallest_singular_value():
    assert spectrum.energy_rank(np.diag([1.0, 1e-100]), 1.0) == 2
    assert spectrum.energy_rank(np.diag([1.0, 1e-3]), 1 - 1e-6) == 1
    assert spectrum.energy_rank(np.diag([1.0, 1e-3]), 1 - 1e-7) == 2


@given(own.known_rank_matrices(min_side=0), own.containers())
def test_numerical_rank_is_matrix_rank(known, container):
    held = container(known.matrix)
    assert spectrum.numerical_rank(held, container.eps) == rank.matrix_rank(held, method="svd")


def test_numerical_rank_uses_the_longer_side_and_a_strict_inequality():
    s = np.array([1.0, 50 * EPS, 20 * EPS])
    assert spectrum.numerical_rank(Spectrum(s, (3, 20))) == 2
    for scale in (1e-9, 1e9):
        assert spectrum.numerical_rank(Spectrum(s * scale, (3, 20))) == 2
    assert spectrum.numerical_rank(Spectrum(s, (20, 3))) == 2
    assert spectrum.numerical_rank(Spectrum(s, (3, 3))) == 3
    assert spectrum.numerical_rank(Spectrum(s, (3, 3)), 0.1) == 1


def test_a_floor_is_what_every_count_starts_above():
    """One number or one per matrix; the soft ranks and the energy know nothing of it."""
    s = Spectrum([[4.0, 3.0, 2.0], [4.0, 3.0, 2.0]], (3, 3), [2.0, 3.5])
    plain = Spectrum(s.values, s.shape)
    assert spectrum.numerical_rank(s).tolist() == [2, 1]
    assert spectrum.rank_above(s, 0).tolist() == spectrum.outlier_rank(s, 0.0).tolist() == [2, 1]
    assert spectrum.rank_above(s, 3.7).tolist() == [1, 1]
    assert spectrum.numerical_rank(Spectrum(s.values, s.shape, 2.5)).tolist() == [2, 2]
    for name in ("stable_rank", "participation_ratio", "effective_rank", "energy_rank_90", "energy_rank_99"):
        np.testing.assert_array_equal(spectrum.battery(s)[name], spectrum.battery(plain)[name])
    found = spectrum.battery(s)
    assert found["numerical_rank_float64"].tolist() == found["numerical_rank_float32"].tolist() == [2, 1]


def test_the_format_of_a_matrix_brings_its_floor_along():
    a = np.random.default_rng(0).standard_normal((2, 9, 5))
    held = a.astype(np.float16)
    np.testing.assert_array_equal(Spectrum.of(held).floor, rank.rounding_floor(held))
    for fine in (a, a.astype(np.float32), np.eye(3, dtype=int)):
        assert Spectrum.of(fine).floor == 0
    np.testing.assert_array_equal(Spectrum.of(held, floor=0.25).floor, 0.25)
    np.testing.assert_array_equal(spectrum.numerical_rank(np.diag([1, 1e-4]).astype(np.float16)), 1)
    assert spectrum.numerical_rank(Spectrum.of(np.diag([1, 1e-4]).astype(np.float16), floor=0)) == 2


@pytest.mark.parametrize("scale", [2.0**-1050, 2.0**-1022, 2.0**-664, 2.0**664, 2.0**1020])
def test_counts_at_the_ends_of_float64(scale):
    """Subnormal numbers included: max(m, n)·eps·σ₁ is 0 there, and so is what rounding makes of a singular value."""
    rng = np.random.default_rng(0)
    a = np.rint(rng.standard_normal((9, 4)) * 8) @ np.rint(rng.standard_normal((4, 7)) * 8) / 2**10
    for name in ("numerical_rank_float64", "numerical_rank_float32", "energy_rank_99", "outliers_bulk"):
        assert spectrum.battery(a * scale)[name] == spectrum.battery(a)[name]
    assert spectrum.numerical_rank(a * scale) == 4
    if scale > 1e-310:
        np.testing.assert_allclose(ranks_of(a * scale), ranks_of(a), rtol=1e-9)
        for null in ("signs", "shuffle"):
            large = spectrum.null_largest(a * scale, null, draws=3)
            np.testing.assert_allclose(large, spectrum.null_largest(a, null, draws=3) * scale, rtol=1e-9)


def test_rank_above_counts_what_exceeds_the_edge_but_never_rounding():
    s = Spectrum([[4.0, 3.0, 2.0], [1.0, 1e-17, 0.0]], (3, 3))
    assert spectrum.rank_above(s, 3.0).tolist() == [1, 0]
    assert spectrum.rank_above(s, [2.5, 0.5]).tolist() == [2, 1]
    assert spectrum.rank_above(s, 0).tolist() == [3, 1]


# --- the Marchenko–Pastur law -----------------------------------------------------------------------------------------


def test_marchenko_pastur_edge():
    assert spectrum.marchenko_pastur_edge((16, 25), 2.0) == 18.0
    assert spectrum.marchenko_pastur_edge((25, 16), 0.5) == 4.5
    assert spectrum.marchenko_pastur_edge((0, 9), [1, 2]).tolist() == [3.0, 6.0]


@pytest.mark.parametrize("ratio", [0.02, 0.3, 0.5, 0.99, 1.0])
def test_marchenko_pastur_median_halves_the_density(ratio):
    """Against the law's density itself, ∫√((x₊ − x)(x − x₋))/(2π·ratio·x)dx, by the midpoint rule in √x."""
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2

    def mass(upper: float, points: int = 200_000) -> float:
        root = np.linspace(np.sqrt(low), np.sqrt(upper), points + 1)
        middle = (root[1:] + root[:-1]) / 2
        x = middle**2
        density = np.sqrt((high - x) * (x - low)) / (2 * np.pi * ratio * x)
        return float((density * 2 * middle).sum() * (root[1] - root[0]))

    assert mass(high) == pytest.approx(1, abs=1e-6)  # the square-root ends cost the rule h^1.5 ≈ 1e-8, and a constant
    assert mass(marchenko_pastur_median(ratio)) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("shape", [(300, 300), (150, 400), (400, 150)])
def test_noise_std_of_noise_is_its_std(shape):
    a = 0.7 * np.random.default_rng(0).standard_normal(shape)
    # the mean square of N normal entries has relative deviation √(2/N), the std half of that: 5 deviations
    assert spectrum.noise_std(a, "entries") == pytest.approx(0.7, rel=5 * np.sqrt(0.5 / a.size))
    # the median of k repelling singular values moves by O(log k/k) of the support
    assert spectrum.noise_std(a, "bulk") == pytest.approx(0.7, rel=np.log(min(shape)) / min(shape))
    assert spectrum.noise_std(a.T, "bulk") == pytest.approx(spectrum.noise_std(a, "bulk"), rel=1e-12)


def test_entries_is_the_root_mean_square():
    a = np.arange(12.0).reshape(3, 4)
    assert spectrum.noise_std(a, "entries") == pytest.approx(np.sqrt((a**2).mean()), rel=1e-13)


def test_outliers_are_the_planted_ones_by_the_right_estimators():
    """Spikes inflate the entries and hardly move the bulk."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((200, 300))
    edge = float(spectrum.marchenko_pastur_edge(noise.shape, 1.0))
    a = noise + own.with_spectrum(np.linspace(10, 2, 8) * edge, noise.shape, rng)  # rms of the sum: about 2.7
    assert spectrum.outlier_rank(a, 1.0) == spectrum.outlier_rank(a, "bulk") == 8
    assert spectrum.outlier_rank(a, "entries") < 8
    assert spectrum.noise_std(a, "entries") > 2
    assert spectrum.noise_std(a, "bulk") == pytest.approx(1, rel=0.05)  # 8 of 200 shift the median's place by 2 %
    assert spectrum.outlier_rank(a, [2.0, 1.0]).tolist()[1] == 8


@given(own.known_rank_matrices())
def test_rounding_is_no_outlier(known):
    """The bulk of a matrix of low rank is rounding: its edge must not count that."""
    a = known.matrix * 0.1
    assert spectrum.outlier_rank(a, "bulk") <= spectrum.numerical_rank(a)
    assert spectrum.outlier_rank(a, 0.0) == spectrum.numerical_rank(a)


# --- simulated nulls --------------------------------------------------------------------------------------------------


def test_signs_draw_every_pattern_of_signs_and_nothing_else():
    a = np.array([[3.0, 1.0], [2.0, 5.0]])
    patterns = [np.reshape(s, (2, 2)) for s in itertools.product((-1, 1), repeat=4)]
    possible = np.unique(np.round([np.linalg.norm(a * s, 2) for s in patterns], 9))
    found = np.unique(np.round(spectrum.null_largest(a, "signs", draws=60), 9))
    np.testing.assert_array_equal(found, possible)


def test_shuffle_draws_every_order_of_the_centred_entries_and_nothing_else():
    a = np.array([[3.0, 1.0], [2.0, 7.0]])
    orders = [np.reshape(order, (2, 2)) for order in itertools.permutations((a - a.mean()).ravel())]
    possible = np.unique(np.round([np.linalg.norm(order, 2) for order in orders], 9))
    found = np.unique(np.round(spectrum.null_largest(a, "shuffle", draws=60), 9))
    np.testing.assert_array_equal(found, possible)


@given(st.integers(1, 8), st.booleans(), st.integers(0, 100))
def test_nulls_of_a_vector_are_its_norm(n, column, seed):
    """A vector's one singular value is its norm, which neither null changes but for the mean."""
    v = np.random.default_rng(seed).standard_normal((1, n))
    a = v.T if column else v
    tol = 10 * n * EPS * np.linalg.norm(v)
    for null, expected in (("signs", np.linalg.norm(v)), ("shuffle", np.linalg.norm(v - v.mean()))):
        np.testing.assert_allclose(spectrum.null_largest(a, null, draws=3, seed=seed), expected, atol=tol)


@pytest.mark.parametrize("null", ["signs", "shuffle"])
def test_nulls_repeat_by_seed_and_come_in_order(null):
    a = np.random.default_rng(0).standard_normal((4, 6))
    first = spectrum.null_largest(a, null, draws=30, seed=1)
    assert first.shape == (30,)
    assert (np.diff(first) > 0).all()
    np.testing.assert_array_equal(first, spectrum.null_largest(a, null, draws=30, seed=1))
    assert not np.isin(first, spectrum.null_largest(a, null, draws=30, seed=2)).any()
    np.testing.assert_array_equal(8 * first, spectrum.null_largest(8 * a, null, draws=30, seed=1))


@pytest.mark.parametrize(("level", "draws", "place"), [(0.99, 99, 99), (0.95, 199, 190), (0.07, 99, 7), (0.5, 4, 3)])
def test_null_quantile_is_the_order_statistic(level, draws, place):
    """⌈level·(draws + 1)⌉, rounding of the product (0.07·100 > 7) aside."""
    a = np.random.default_rng(0).standard_normal((3, 4))
    largest = spectrum.null_largest(a, "signs", draws=draws, seed=3)
    assert spectrum.null_quantile(a, "signs", level=level, draws=draws, seed=3) == largest[place - 1]


def test_null_quantile_has_its_level():
    """Symmetric noise exceeds the 0.8 quantile of 4 draws in one of five cases, exactly: 5 deviations of 600 trials."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((600, 3, 4)) * np.arange(1, 13).reshape(3, 4)  # any variance profile
    edges = [spectrum.null_quantile(a, "signs", level=0.8, draws=4, seed=seed) for seed, a in enumerate(noise)]
    above = (np.linalg.norm(noise, 2, axis=(-2, -1)) > edges).mean()
    assert abs(above - 0.2) <= 5 * np.sqrt(0.2 * 0.8 / 600)


@pytest.mark.parametrize("null", ["signs", "shuffle"])
def test_structure_exceeds_its_null_and_noise_of_the_same_entries_does_not(null):
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((40, 30))
    spiked = noise + own.with_spectrum([30.0, 25.0], noise.shape, rng)
    assert spectrum.rank_above(spiked, spectrum.null_quantile(spiked, null)) == 2
    assert spectrum.rank_above(noise, spectrum.null_quantile(noise, null)) == 0
    shifted = noise + 1.0  # a mean is an outlier that neither null repeats
    assert spectrum.rank_above(shifted, spectrum.null_quantile(shifted, null)) == 1


# --- one call for all, and bad input ----------------------------------------------------------------------------------


def test_battery_is_the_functions_one_by_one():
    a = np.random.default_rng(0).standard_normal((8, 12)).astype(np.float32)
    edge = spectrum.marchenko_pastur_edge(a.shape, 0.3)
    found = spectrum.battery(a, edges={"initialisation": edge})
    assert found == {
        "numerical_rank_float32": rank.matrix_rank(a),
        "numerical_rank_float64": rank.matrix_rank(a.astype(np.float64)),
        "stable_rank": spectrum.stable_rank(a),
        "effective_rank": spectrum.effective_rank(a),
        "participation_ratio": spectrum.participation_ratio(a),
        "energy_rank_90": spectrum.energy_rank(a, 0.9),
        "energy_rank_95": spectrum.energy_rank(a, 0.95),
        "energy_rank_99": spectrum.energy_rank(a, 0.99),
        "outliers_entries": spectrum.outlier_rank(a, "entries"),
        "outliers_bulk": spectrum.outlier_rank(a, "bulk"),
        "outliers_initialisation": spectrum.outlier_rank(a, 0.3),
    }


def test_battery_tells_the_float_tolerances_apart():
    s = Spectrum([1.0, 1e-8, 1e-17], (3, 3))
    found = spectrum.battery(s)
    assert (found["numerical_rank_float32"], found["numerical_rank_float64"]) == (1, 2)


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (4, 0), (2, 0, 3), (0, 3, 4), (3, 3), (2, 3, 4)])
def test_empty_and_zero_matrices_have_every_rank_zero(shape):
    zeros = np.zeros(shape)
    for values in spectrum.battery(zeros, edges={"none": 0.0}).values():
        assert values.shape == shape[:-2]
        assert not values.any()
    assert spectrum.noise_std(zeros, "bulk").shape == shape[:-2]
    for null in ("signs", "shuffle"):
        assert spectrum.null_largest(zeros, null, draws=2).tolist() == np.zeros((*shape[:-2], 2)).tolist()


BAD = [
    (np.array([[1.0, np.nan]]), "NaN"),
    (np.array([[np.inf, 1.0]]), "infinity"),
    (np.array([[1.0, -np.inf]], dtype=np.float32), "infinity"),
    (np.array([[1.0 + 0j]]), "complex"),
    (np.array(3.0), r"shape \(\)"),
    (np.ones(3), r"shape \(3,\)"),
    ([["x"]], "U1"),
    ([[1.0], [1.0, 2.0]], "list"),
    (None, "object"),
]


@pytest.mark.parametrize("name", RANKS)
@pytest.mark.parametrize(("bad", "found"), BAD)
def test_bad_matrices_are_named(name, bad, found):
    with pytest.raises(ValueError, match=rf"^a must be .*{found}"):
        RANKS[name](bad)


@pytest.mark.parametrize("name", RANKS)
def test_any_real_array_is_right_and_stays_as_it_was(name):
    a = np.array([[3, 1, 0], [1, 4, 1]])
    expected = RANKS[name](a.astype(np.float64))
    frozen = a.astype(np.float64)
    frozen.flags.writeable = False
    padded = np.zeros((4, 6))
    padded[::2, ::2] = a
    column_major = np.asfortranarray(frozen)
    for given_ in (a, a.tolist(), a.astype(np.int8), a.astype(np.float16), frozen, padded[::2, ::2], column_major):
        before = np.array(given_)
        assert RANKS[name](given_) == pytest.approx(expected, rel=1e-14)
        np.testing.assert_array_equal(given_, before)
    assert RANKS[name](a > 0) == pytest.approx(RANKS[name]((a > 0) * 1.0), rel=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: spectrum.energy_rank(a, 0.0), "energy must be .*0.0"),
        (lambda a: spectrum.energy_rank(a, 1.5), "energy must be .*1.5"),
        (lambda a: spectrum.energy_rank(a, np.nan), "energy must be .*nan"),
        (lambda a: spectrum.energy_rank(a, "90 %"), "energy must be .*90"),
        (lambda a: spectrum.numerical_rank(a, -1.0), "eps must be .*-1.0"),
        (lambda a: spectrum.numerical_rank(a, 1 / 3), r"eps must be below 1/max\(m, n\).*found 0.33.*rounding_floor"),
        (lambda a: Spectrum([1.0, 0.5], (2, 2), -1.0), "floor must be a finite number ≥ 0; found -1.0"),
        (lambda a: Spectrum([1.0, 0.5], (2, 2), [1.0]), "floor must be a finite number ≥ 0; found"),
        (lambda a: Spectrum.of(a, floor=np.nan), "floor must be a finite number ≥ 0; found nan"),
        (lambda a: Spectrum.of(Spectrum.of(a), floor=1.0), "floor must be part of the Spectrum"),
        (lambda a: spectrum.outlier_rank(a, "median"), "std must be .*median"),
        (lambda a: spectrum.noise_std(a, "signs"), "std must be .*signs"),
        (lambda a: spectrum.outlier_rank(a, -1.0), "std must be .*-1.0"),
        (lambda a: spectrum.outlier_rank(a, np.nan), "std must be .*nan"),
        (lambda a: spectrum.outlier_rank(a, None), "std must be .*None"),
        (lambda a: spectrum.outlier_rank(a, 1j), "std must be .*1j"),
        (lambda a: spectrum.rank_above(a, np.inf), "edge must be .*inf"),
        (lambda a: spectrum.battery(a, edges={"signs": np.nan}), "edge must be .*nan"),
        (lambda a: spectrum.marchenko_pastur_edge((3, -1), 1.0), "shape must be .*-1"),
        (lambda a: spectrum.marchenko_pastur_edge((3, 1.5), 1.0), "shape must be .*1.5"),
        (lambda a: spectrum.marchenko_pastur_edge((3,), 1.0), r"shape must be .*\(3,\)"),
        (lambda a: spectrum.marchenko_pastur_edge(3, 1.0), "shape must be .*3"),
        (lambda a: spectrum.null_largest(a, "gauss"), "null must be .*gauss"),
        (lambda a: spectrum.null_largest(a, "signs", draws=0), "draws must be .*0"),
        (lambda a: spectrum.null_largest(a, "signs", seed=-1), "seed must be .*-1"),
        (lambda a: spectrum.null_quantile(a, "signs", draws=98), "level must be .*0.99"),
        (lambda a: spectrum.null_quantile(a, "signs", level=0.0), "level must be .*0.0"),
        (lambda a: spectrum.null_quantile(a, "signs", draws=2.5), "draws must be .*2.5"),
        (lambda a: Spectrum([1.0, 2.0], (2, 2)), "values must be .*increasing"),
        (lambda a: Spectrum([1.0, -2.0], (2, 2)), "values must be .*negative"),
        (lambda a: Spectrum([1.0, np.nan], (2, 2)), "values must be .*NaN"),
        (lambda a: Spectrum(1.0, (1, 1)), "values must be"),
        (lambda a: Spectrum([1.0], (2, 2)), "values must have .*2 .*found 1"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.eye(3))


def test_the_baseline_of_inputs_without_structure_is_a_gaussian_matrix():
    made = input_baseline(np.eye(30), 20, draws=3, seed=5)
    rng = np.random.default_rng(5)
    for values in made.values:
        np.testing.assert_allclose(values, np.linalg.svd(rng.standard_normal((20, 30)), compute_uv=False), rtol=1e-12)
    assert made.shape == (20, 30)


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 10), st.floats(1e-150, 1e150))
def test_the_baseline_has_the_rank_and_the_scale_of_its_inputs(count, pixels, rows, scale):
    rng = np.random.default_rng(count + 13 * pixels)
    inputs = rng.standard_normal((count, pixels))
    inputs[:, pixels // 2 :] = inputs[:, :1]  # equal pixels
    made, larger = input_baseline(inputs, rows, draws=2), input_baseline(scale * inputs, rows, draws=2)
    np.testing.assert_allclose(larger.values / scale, made.values, rtol=1e-9, atol=1e-12 * made.values.max())
    rank = int(numerical_rank(inputs))
    assert (numerical_rank(made) == min(rank, rows)).all()
    assert (made.values[:, rank:] == 0).all()  # rounding of the inputs is no direction of theirs
    again = input_baseline(Spectrum.of(inputs), rows, draws=2)
    np.testing.assert_array_equal(again.values, made.values)


def test_the_baseline_is_what_random_errors_on_the_inputs_make():
    """Δ·X, drawn as it is meant, and by the baseline's short cut: equal means of a rank and of the energy."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((400, 40)) * 0.9 ** np.arange(40)
    meant = Spectrum.of(rng.standard_normal((200, 30, 400)) @ inputs)
    made = input_baseline(inputs, 30, draws=200)
    for measure in (effective_rank, lambda spectrum: (spectrum.values**2).sum(-1)):
        one, other = measure(meant), measure(made)
        error = np.hypot(one.std(), other.std()) / np.sqrt(200)
        assert abs(one.mean() - other.mean()) < 4 * error


def test_inputs_that_are_zero_make_nothing():
    assert (input_baseline(np.zeros((5, 4)), 3).values == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 5, 4)), 3), "inputs must be one matrix"),
        ((np.zeros((5, 4)), 0), "rows"),
        ((np.full((5, 4), np.nan), 3), "finite"),
    ],
)
def test_a_baseline_of_nothing_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        input_baseline(*arguments)
    with pytest.raises(ValueError, match="draws"):
        input_baseline(np.eye(3), 2, draws=0)
