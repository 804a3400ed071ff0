"""Laws of the rank, exact and numerical; what elimination must and must not be trusted with.

`ranker` runs a test twice: as shipped, where LAPACK's SVD is asked about small matrices, and with elimination and
inertia deciding at every size.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankstudy._linalg import exact, inertia
from rankstudy.rank import PIVOTINGS, eliminate, matrix_rank, pivots, rank_tolerance
from tests import adversarial
from tests import strategies as own

EPS = float(np.finfo(np.float64).eps)
BIG, SMALL = 2.0**664, 2.0**-664  # about 1e±200


@pytest.fixture
def no_svd_when_small(monkeypatch):
    monkeypatch.setattr(inertia, "_SMALL_GRAM", 0)
    monkeypatch.setattr(inertia, "_SMALL_LU", 0)


@pytest.fixture
def no_svd_at_all(no_svd_when_small, monkeypatch):
    """Whoever counts now does it by elimination, or the test fails."""

    def refuse(*_):
        raise AssertionError("the SVD was asked")

    monkeypatch.setattr(inertia, "count_by_svd", refuse)


@pytest.fixture(params=["as shipped", "elimination at every size"], scope="module")
def ranker(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "as shipped":
            patch.setattr(inertia, "_SMALL_GRAM", 0)
            patch.setattr(inertia, "_SMALL_LU", 0)
        yield matrix_rank


def tolerance(a: np.ndarray) -> float:
    """τ by its definition, from NumPy's SVD."""
    eps = np.finfo(a.dtype).eps if a.dtype.kind == "f" else EPS
    return max(a.shape) * float(eps) * np.linalg.svd(a.astype(np.float64), compute_uv=False).max(initial=0)


# --- exact rank -------------------------------------------------------------------------------------------------------


@given(own.known_rank_matrices(min_side=0))
def test_exact_rank_of_a_known_rank(known):
    assert matrix_rank(known.matrix) == known.rank


@given(own.integer_matrices())
def test_exact_rank_agrees_with_the_rationals(a):
    assert matrix_rank(a) == own.rational_rank(a)


@given(own.known_rank_matrices(), st.data())
def test_exact_rank_survives_transposition_permutation_and_row_operations(known, data):
    """rank(A) = rank(Aᵀ) = rank(PAQ) = rank(A with c times row i added to row j) = rank(cA)."""
    a, rank = known
    m, n = a.shape
    assert matrix_rank(a.T) == rank
    assert matrix_rank(a[data.draw(st.permutations(range(m)))][:, data.draw(st.permutations(range(n)))]) == rank
    i, j = data.draw(st.integers(0, m - 1)), data.draw(st.integers(0, m - 1))
    factor = data.draw(st.sampled_from([-5, -2, 3]))
    assert matrix_rank(a * factor) == rank
    if i != j:
        a = a.copy()
        a[j] += factor * a[i]
        assert matrix_rank(a) == rank


@given(own.shapes(), st.data())
def test_exact_rank_of_sums_and_products(shape, data):
    """rank(A + B) ≤ rank A + rank B; rank A + rank C − n ≤ rank(AC) ≤ min(rank A, rank C) (Sylvester)."""
    a, b = (data.draw(own.known_rank_matrices(shape)) for _ in range(2))
    c = data.draw(own.known_rank_matrices((shape[1], data.draw(st.integers(1, 8)))))
    assert matrix_rank(a.matrix + b.matrix) <= a.rank + b.rank
    product = matrix_rank(a.matrix @ c.matrix)
    assert a.rank + c.rank - shape[1] <= product <= min(a.rank, c.rank)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", "uint64"])
def test_exact_rank_of_every_integer_dtype(dtype):
    largest = 1 if dtype == "bool" else np.iinfo(dtype).max
    a = np.array([[largest, 0, largest], [0, largest, largest], [0, 0, 0]], dtype=dtype)
    assert matrix_rank(a) == 2
    if dtype != "uint64":  # whose list NumPy reads as floats
        assert matrix_rank(a.tolist()) == 2


def test_exact_rank_sees_what_no_float_can():
    """Entries beyond 2⁵³: a float64 rank is wrong, whatever the tolerance."""
    a = np.array([[2**62, 2**62 + 1], [2**62 - 1, 2**62]])  # determinant 1
    assert matrix_rank(a) == 2
    assert matrix_rank(a, method="svd") == 1


def test_exact_rank_of_unsigned_integers_beyond_int64():
    """Read as int64 this is [[−1, 1], [1, −1]]."""
    assert matrix_rank(np.array([[2**64 - 1, 1], [1, 2**64 - 1]], dtype=np.uint64)) == 2


def test_a_prime_that_divides_a_minor_is_not_believed(monkeypatch):
    """One prime is proof of a full rank only, or where it exceeds Hadamard's bound; the second sees what it missed."""
    p, q = 2**61 - 1, 2**31 - 1
    for a, rank in (
        ([[p, 0], [0, 1]], 2),
        ([[p, p], [1, 1]], 1),
        (np.diag([q * 2**31, 2**62, 0]), 2),  # modulo q it has rank 1
    ):
        for draws in ([p, q], [q, p]):
            drawn = iter(draws)
            monkeypatch.setattr(exact, "_random_prime", lambda: next(drawn))  # noqa: B023
            assert matrix_rank(a) == rank
    drawn = iter([7, 5, 3])
    monkeypatch.setattr(exact, "_random_prime", lambda: next(drawn))
    assert matrix_rank([[7, 0], [0, 1]]) == 2 and next(drawn) == 3  # the second was asked, and was enough
    drawn = iter([7, 5, 3])
    assert matrix_rank([[35, 0], [0, 1]]) == 1 and next(drawn) == 3  # two in 2.7e16 primes: 1e-32


def test_few_primes_are_drawn(monkeypatch):
    """None more than what proves the rank; two at most."""
    drawn = []
    monkeypatch.setattr(exact, "_random_prime", lambda: drawn.append(1) or 2**61 - 1)
    rng = np.random.default_rng(0)
    for a, count in (
        (np.eye(50, dtype=int), 1),
        (rng.integers(0, 2, (4, 4)) * [[1], [1], [1], [0]], 1),  # minors below 2⁶¹
        (rng.integers(-9, 9, (60, 30)) @ rng.integers(-9, 9, (30, 60)), 2),
    ):
        drawn.clear()
        matrix_rank(a)
        assert len(drawn) == count


def test_primes_are_primes_and_fresh():
    found = [exact._random_prime() for _ in range(40)]
    assert len(set(found)) == 40
    for p in found:
        assert 2**60 < p < 2**61 and pow(2, p - 1, p) == pow(3, p - 1, p) == 1
    assert max(found) > 1.5 * 2**60 > min(found)


@pytest.mark.parametrize("shape, rank", [((150, 200), 150), ((200, 150), 149), ((150, 150), 70), ((130, 150), 64)])
def test_exact_rank_over_several_panels(shape, rank):
    rng = np.random.default_rng(rank)
    a = rng.integers(-3, 4, (2, shape[0], rank)) @ rng.integers(-3, 4, (2, rank, shape[1]))
    assert matrix_rank(a[0]) == matrix_rank(a[0], method="svd") == rank
    a[1, 3] = a[1, 2]
    np.testing.assert_array_equal(matrix_rank(a), matrix_rank(a.astype(float), method="svd"))


def test_the_exact_rank_of_large_deficient_matrices(thorough):
    """Of 400 a side, or the 2,000 of a real data set under `thorough`: pixels, of which many are always dark."""
    side, rank = (2000, 1500) if thorough else (400, 300)
    rng = np.random.default_rng(0)
    a = rng.integers(-2, 3, (side, rank)) @ rng.integers(-2, 3, (rank, side))
    assert matrix_rank(a) == rank
    pixels = np.tile(rng.integers(0, 256, (side // 4, side // 2)).astype(np.uint8), (4, 1))
    pixels[:, ::5] = 0
    assert matrix_rank(pixels) == matrix_rank(pixels.T) == side // 4


def test_ten_thousand_integer_matrices(monkeypatch, thorough):
    """No rank is wrong by the exact path; none by floating point if σ_r ≥ 100τ; the rest agree with the SVD.

    Elimination without the help of the SVD, which is slow on so many small ones, tries them all under `thorough`.
    """
    rng = np.random.default_rng(0)
    certified = 0
    for _ in range(50):
        m, n = rng.integers(1, 9, 2)
        rank, bound = rng.integers(0, min(m, n) + 1), rng.choice([1, 3, 30])
        a = rng.integers(-bound, bound + 1, (200, m, rank)) @ rng.integers(-bound, bound + 1, (200, rank, n))
        truth = np.array([own.rational_rank(x) for x in a])
        np.testing.assert_array_equal(matrix_rank(a), truth)
        for dtype in (np.float32, np.float64):
            floats = a.astype(dtype)
            assert (floats == a).all()  # exact in the dtype
            s = np.linalg.svd(a.astype(float), compute_uv=False)
            s_r = np.take_along_axis(s, np.maximum(truth - 1, 0)[:, None], axis=1)[:, 0]
            clear = (truth == 0) | (s_r >= 100 * max(m, n) * np.finfo(dtype).eps * s[:, 0])
            reference = matrix_rank(floats, method="svd")
            for small, some in ((inertia._SMALL_LU, slice(None)), (0, slice(None, None, 1 if thorough else 8))):
                with monkeypatch.context() as patch:
                    patch.setattr(inertia, "_SMALL_GRAM", small)
                    patch.setattr(inertia, "_SMALL_LU", small)
                    found = matrix_rank(floats[some])
                np.testing.assert_array_equal(found[clear[some]], truth[some][clear[some]])
                np.testing.assert_array_equal(found, reference[some])
            certified += clear.sum()
    assert certified > 19_000  # of 20,000


# --- numerical rank ---------------------------------------------------------------------------------------------------


@given(own.known_spectra(max_side=12), own.containers())
def test_numerical_rank_of_a_known_spectrum(ranker, known, container):
    """Singular values within a factor 1000 of each other, and zeros: rounding to the dtype leaves a gap around τ."""
    a = container(known.matrix)
    expected = int((known.singular_values > 0).sum())
    assert ranker(a) == ranker(a, method="svd") == expected


@given(own.known_spectra(max_side=12), st.data())
def test_a_given_tolerance_counts_singular_values_above_it(ranker, known, data):
    s = np.concatenate([[2.0], known.singular_values, [0.0]])
    at = data.draw(st.integers(0, len(s) - 2))
    upper, lower = s[at], max(s[at + 1], 1e-6)
    if upper - lower > 1e-4 * upper:  # else rounding may decide
        middle = (upper + lower) / 2
        assert ranker(known.matrix, tol=middle) == ranker(known.matrix, method="svd", tol=middle) == at


def test_a_given_tolerance_counts_for_whole_numbers_too():
    assert [matrix_rank([[3, 0], [0, 1]], tol=tol) for tol in (0.5, 2.0, 4.0)] == [2, 1, 0]


def test_the_method_asked_for_is_the_one_that_counts(monkeypatch):
    a = own.with_spectrum(np.ones(4), (6, 5), np.random.default_rng(0))
    monkeypatch.setattr("rankstudy.rank.count_by_svd", lambda *_: 7)
    assert (matrix_rank(a), matrix_rank(a, method="svd")) == (4, 7)


def test_a_given_tolerance_too_fine_for_a_gram_matrix_is_not_left_to_one(no_svd_when_small):
    """Rounding of AᵀA, about 1e-16, would drown τ² = 1e-20."""
    a = own.with_spectrum([1.0] * 30 + [1e-11] * 30, (80, 60), np.random.default_rng(0))
    assert [matrix_rank(a, tol=tol) for tol in (1e-10, 1e-12)] == [30, 60]


def test_a_tolerance_finer_than_float64s_own_is_the_svds(no_svd_when_small, monkeypatch):
    a = own.with_spectrum(np.ones(20), (30, 20), np.random.default_rng(0))
    asked = []
    monkeypatch.setattr(inertia, "count_by_svd", lambda *given: asked.append(given) or 7)
    fine = rank_tolerance(a) / 10
    assert (matrix_rank(a, tol=fine), len(asked)) == (7, 1)
    assert (matrix_rank(a, tol=fine * 100), len(asked)) == (20, 1)


@given(own.known_spectra(), st.data())
def test_numerical_rank_survives_transposition_permutation_rotation_and_powers_of_two(ranker, known, data):
    a = known.matrix
    m, n = a.shape
    rank = ranker(a)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    assert ranker(a.T) == rank
    assert ranker(a[rng.permutation(m)][:, rng.permutation(n)]) == rank
    assert ranker(own.orthogonal(m, rng) @ a @ own.orthogonal(n, rng)) == rank
    assert ranker(a * data.draw(own.scales())) == rank


@given(own.float_matrices())
def test_numerical_rank_agrees_with_numpy(ranker, a):
    """Away from the tolerance, where the rounding of two SVDs may differ."""
    s = np.linalg.svd(a, compute_uv=False)
    if not (np.abs(s - tolerance(a)) < 0.9 * tolerance(a)).any():
        assert ranker(a) == np.linalg.matrix_rank(a)


def test_sum_and_row_scaling_do_not_bound_the_numerical_rank():
    """rank(A + B) ≤ rank A + rank B and rank(DA) = rank(A) are laws of exact rank only: the tail crosses τ."""
    a, b = np.diag([1.0, 1e-17]), np.diag([-1.0, 0.0])
    assert matrix_rank(a) == matrix_rank(b) == 1
    assert matrix_rank(np.diag([1.0, 1e-17, 1e-17]) + np.diag([-1.0, 0.0, 0.0])) == 2
    assert matrix_rank(np.diag([1.0, 1e17]) @ a) == 2


@pytest.mark.parametrize("n", [33, 64, 100, 200])
def test_adversarial_matrices_agree_with_the_svd(no_svd_when_small, n):
    rng = np.random.default_rng(n)
    wrong = [
        (name, dtype, found, reference)
        for name, a in adversarial.named(n, rng)
        for dtype in ("float64", "float32")
        if (found := matrix_rank(a.astype(dtype))) != (reference := matrix_rank(a.astype(dtype), method="svd"))
    ]
    assert not wrong


def test_adversarial_matrices_beyond_the_small_sizes():
    """As shipped, no size is asked of the SVD here but that which `tol` leaves to it."""
    n = inertia._SMALL_LU + 20
    rng = np.random.default_rng(0)
    u, v = own.orthogonal(n, rng), own.orthogonal(n, rng)
    for height in adversarial.PLATEAUS:
        a = (u * np.r_[np.ones(n // 2), np.full(n - n // 2, height * n * EPS)]) @ v.T
        assert matrix_rank(a) == (n if height > 1 else n // 2)
    for a in (adversarial.wilkinson(n), adversarial.hilbert(n), adversarial.kahan(n, 1.2), u * np.logspace(0, -17, n)):
        assert matrix_rank(a) == matrix_rank(a, method="svd")


@pytest.mark.parametrize("height, expected", [(0.01, 60), (0.3, 60), (0.9, 60), (1.1, 120), (3, 120), (1e3, 120)])
def test_elimination_decides_inside_the_band_without_an_svd(no_svd_at_all, height, expected):
    a = adversarial.plateau(120, height, 60, np.random.default_rng(1))
    assert matrix_rank(a) == matrix_rank(a.T) == expected
    b = adversarial.plateau(120, 2 * height, 60, np.random.default_rng(2))
    tall = np.vstack([b, b])  # singular values √2 times as large
    assert matrix_rank(tall, tol=np.sqrt(2) * 240 * EPS) == matrix_rank(tall) == expected


@pytest.mark.parametrize("height, expected", [(0.01, 60), (0.9, 60), (1.1, 120), (1e3, 120)])
def test_elimination_decides_at_the_tolerance_of_float32_without_an_svd(no_svd_at_all, height, expected):
    eps = float(np.finfo(np.float32).eps)
    a = adversarial.plateau(120, height, 60, np.random.default_rng(1), eps)
    assert matrix_rank(a, tol=120 * eps) == expected


@pytest.mark.parametrize("rank", [1, 30, 90, 119, 120])
def test_a_gap_is_seen_by_the_lu_alone(no_svd_at_all, monkeypatch, rank):
    def refuse(*_):
        raise AssertionError("the LU was not enough")

    monkeypatch.setattr(inertia, "_count_near", refuse)
    rng = np.random.default_rng(rank)
    for m in (120, 150, 400):
        a = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, 120))
        assert matrix_rank(a) == matrix_rank(a.T) == rank


@pytest.mark.parametrize("height, expected", [(0.5, 30), (1.1, 60)])
def test_a_very_tall_matrix_is_reduced_to_a_square_one(no_svd_at_all, height, expected):
    """Its R has its singular values; its first rows have not."""
    b = adversarial.plateau(60, 5 * height, 30, np.random.default_rng(3))  # five times as many rows below
    tall = np.vstack([np.zeros((60, 60)), b, b, b, b])
    assert matrix_rank(tall) == matrix_rank(tall.T) == expected
    low = np.random.default_rng(4).standard_normal((600, 20)) @ np.random.default_rng(5).standard_normal((20, 120))
    assert matrix_rank(low) == matrix_rank(low.T) == 20


def test_a_full_rank_that_is_not_far_above_the_tolerance(no_svd_at_all, capfd):
    """60τ: the LU does not vouch for it, and nothing is left to eliminate; BLAS, which prints, gets nothing empty."""
    a = adversarial.plateau(120, 60, 119, np.random.default_rng(6))
    assert matrix_rank(a) == 120
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(5))
def test_any_mixing_gives_the_same_rank(no_svd_when_small, monkeypatch, seed):
    monkeypatch.setattr(inertia, "_SEED", 1000 + seed)
    rng = np.random.default_rng(seed)
    for name, a in adversarial.named(70, rng):
        assert matrix_rank(a) == matrix_rank(a, method="svd"), name


def test_trained_layers_give_the_rank_of_the_svd_for_any_seed(no_svd_at_all, monkeypatch):
    """A bias-free network's float32 layers, before and after training, square ones near their tolerance."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(i, o, bias=False) for i, o in ((64, 160), (160, 160), (160, 160), (160, 10))]
    matrices = [layer.weight.detach().clone() for layer in layers]
    model = torch.nn.Sequential(*(x for layer in layers for x in (layer, torch.nn.ReLU())))
    x = torch.randn(512, 64)
    y = (x @ torch.randn(64, 10)).argmax(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    matrices += [layer.weight for layer in layers]
    matrices += [after.detach() - before for after, before in zip(matrices[4:], matrices[:4], strict=True)]
    s = [torch.linalg.svdvals(a.detach().double()).numpy() for a in matrices]
    expected = [int((x > 160 * 2.0**-23 * x[0]).sum()) for x in s]
    for seed in range(6):
        monkeypatch.setattr(inertia, "_SEED", seed)
        assert [matrix_rank(a) for a in matrices] == expected


def test_square_random_layers_lie_inside_the_band_and_agree(ranker):
    """The smallest singular value of a square random float32 matrix is near its tolerance: some are deficient."""
    a = np.random.default_rng(0).standard_normal((20, 260, 260)).astype(np.float32)
    found = ranker(a)
    np.testing.assert_array_equal(found, matrix_rank(a, method="svd"))
    assert 255 < found.min() < found.max() == 260


def test_numerical_rank_agrees_with_pivoted_qr_where_there_is_a_gap(ranker):
    rng = np.random.default_rng(0)
    for rank in (3, 40, 80):
        a = rng.standard_normal((100, rank)) @ rng.standard_normal((rank, 80))
        r = np.abs(np.diagonal(scipy.linalg.qr(a, mode="r", pivoting=True)[0]))
        assert ranker(a) == (r > tolerance(a)).sum() == rank


def test_same_input_same_answer(no_svd_when_small):
    a = adversarial.plateau(100, 1.0, 50, np.random.default_rng(0))  # as near the tolerance as can be
    state = np.random.get_state()[1].copy()
    assert len({matrix_rank(a) for _ in range(5)}) == 1
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # and nobody's generator moved


# --- precision --------------------------------------------------------------------------------------------------------


def test_the_dtype_decides_the_tolerance(ranker):
    s = np.array([1.0, 1e-5, 1e-9, 1e-20])
    a = np.diag(s)
    for dtype, rank in (("float64", 3), ("float32", 2), ("float16", 1)):
        assert ranker(a.astype(dtype)) == rank
        assert ranker(torch.from_numpy(a).to(getattr(torch, dtype))) == rank
    assert ranker(torch.from_numpy(a).bfloat16()) == 1
    assert rank_tolerance(a.astype(np.float32)) == pytest.approx(4 * 2.0**-23)
    assert rank_tolerance(torch.from_numpy(a).bfloat16()) == 2.0**-8  # half the spacing at 1: it is diagonal
    assert rank_tolerance(a) == rank_tolerance(a.astype(np.longdouble)) == pytest.approx(4 * EPS)


# --- batches, scale ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["elimination", "svd"])
def test_a_batch_may_have_a_tolerance_for_each_matrix(ranker, method):
    a = np.diag([8.0, 4.0, 2.0, 1.0]) * np.array([1.0, 2.0, 1.0])[:, None, None]
    assert ranker(a, tol=[1.5, 1.5, 5.0], method=method).tolist() == [3, 4, 1]
    assert ranker(a[None], tol=np.array([[1.5, 1.5, 5.0]], np.float32), method=method).tolist() == [[3, 4, 1]]
    assert ranker(a.astype(int), tol=[1.5, 1.5, 5.0], method=method).tolist() == [3, 4, 1]
    for tol in ([1.0, 2.0], [[1.0], [1.0], [1.0]], [1.0, -1.0, 1.0], [np.nan] * 3, "1"):
        with pytest.raises(ValueError, match="tol must be a finite number ≥ 0, or 3 of them, one a matrix; found"):
            ranker(a, tol=tol, method=method)


def test_a_network_or_a_file_is_told_what_to_write_instead():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    for function in FUNCTIONS:
        with pytest.raises(ValueError, match=r'get_parameter\("1.weight"\); rankstudy.analyze\(model\) .*; found S'):
            function(model)
        for thing in (model.state_dict(), "model.safetensors", torch.nn.ReLU()):
            with pytest.raises(ValueError, match=r"a must be one matrix, or a batch of them; rankstudy.analyze\("):
                function(thing)
    assert matrix_rank(model.get_parameter("1.weight")) == 3


@given(own.batch_shapes(), own.shapes(min_side=0, max_side=6), own.containers(), st.integers(0, 100))
def test_a_batch_is_its_matrices(ranker, batch, shape, container, seed):
    rng = np.random.default_rng(seed)
    rank = rng.integers(0, min(shape) + 1)
    a = container(rng.standard_normal((*batch, shape[0], rank)) @ rng.standard_normal((*batch, rank, shape[1])))
    for options in ({}, {"method": "svd"}, {"tol": 1e-3}):
        found = ranker(a, **options)
        if not batch:
            assert type(found) is int
            continue
        assert found.shape == batch and found.dtype == np.int64
        for index in np.ndindex(batch):
            assert found[index] == ranker(a[index], **options)
    tau = rank_tolerance(a)
    assert type(tau) is float if not batch else tau.shape == batch
    for index in np.ndindex(batch):
        np.testing.assert_allclose(np.asarray(tau)[index], tolerance(own.to_numpy(a)[index]), rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (3, 0, 5), (0, 4, 5)])
def test_an_empty_matrix_has_rank_zero(ranker, shape):
    for method in ("elimination", "svd"):
        assert np.all(ranker(np.zeros(shape), method=method) == 0)
        assert np.shape(ranker(np.zeros(shape, dtype=int), method=method)) == shape[:-2]
    assert np.all(rank_tolerance(np.zeros(shape)) == 0)
    if len(shape) == 2:
        assert eliminate(np.zeros(shape)).rank == 0


def test_a_zero_matrix_has_rank_zero(ranker):
    for shape in ((1, 1), (4, 7), (2, 5, 3)):
        for options in ({}, {"tol": 0.0}, {"tol": 1.0}, {"method": "svd"}):
            assert np.all(ranker(np.zeros(shape), **options) == 0)
    found = eliminate(np.zeros((3, 2)))
    assert (found.rank, found.growth, found.tolerance) == (0, 1.0, 0.0)


@pytest.mark.parametrize("scale", [BIG, SMALL, 2.0**1000, 2.0**-1000])
def test_scale_does_not_matter(ranker, scale):
    """Entries near 1e±200 and beyond: their squares are no float64."""
    rng = np.random.default_rng(0)
    for rank in (1, 20, 40):
        a = rng.standard_normal((50, rank)) @ rng.standard_normal((rank, 40))
        assert ranker(a * scale) == ranker(a * scale, method="svd") == rank
        assert ranker(a * scale, tol=1e-3 * scale) == rank
        assert rank_tolerance(a * scale) == rank_tolerance(a) * scale
        assert eliminate(a * scale, tol=1e-9 * scale).rank == rank
        assert eliminate(a * scale).growth == eliminate(a).growth
        np.testing.assert_array_equal(eliminate(a * scale).pivots, eliminate(a).pivots * scale)
        assert eliminate(a * scale).tolerance == eliminate(a).tolerance * scale
    assert ranker(np.diag([scale, scale, 0.0])) == 2
    assert ranker(np.diag([BIG, SMALL])) == 1


def test_the_ends_of_float64(ranker):
    assert ranker(np.full((3, 3), np.finfo(float).max)) == 1
    assert ranker(np.diag([5e-324, 5e-324])) == 2
    assert ranker(np.diag([np.finfo(float).max] * 2), tol=1.0) == 2
    assert ranker(np.diag([5e-324] * 2), tol=1e300) == 0
    assert eliminate(np.full((3, 3), np.finfo(float).max)).rank == 1
    assert [eliminate(np.diag([5e-324] * 2), tol=tol).rank for tol in (None, 0.0, 5e-324, 1e300)] == [2, 2, 0, 0]


def test_elimination_of_subnormal_numbers_is_that_of_normal_ones():
    """Their noise is no pivot, though eps times the largest of them is 0."""
    rng = np.random.default_rng(0)
    a = np.ldexp(np.rint(rng.standard_normal((9, 4)) * 64) @ np.rint(rng.standard_normal((4, 7)) * 64), -1070)
    for pivoting in PIVOTINGS:
        assert eliminate(a, pivoting=pivoting).rank == matrix_rank(a) == 4


@pytest.mark.parametrize("tol", [0.0, 1e-300, 1e-20])
def test_a_tolerance_below_rounding_is_left_to_the_svd(ranker, tol):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((60, 30)) @ rng.standard_normal((30, 40))
    assert ranker(a, tol=tol) == ranker(a, method="svd", tol=tol)


# --- the parts --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(0, 200), st.booleans())
def test_positive_pivots_are_positive_eigenvalues(n, seed, hollow):
    """Sylvester's law of inertia; a zero diagonal makes 2×2 pivots."""
    rng = np.random.default_rng(seed)
    a = rng.integers(-3, 4, (n, n)).astype(float)
    a = a + a.T
    if hollow:
        np.fill_diagonal(a, 0)
    eigenvalues = np.linalg.eigvalsh(a)
    if np.abs(eigenvalues).min() > 1e-9:
        assert inertia._positive_eigenvalues(a) == (eigenvalues > 0).sum()


def test_a_zero_pivot_is_not_positive():
    assert inertia._positive_eigenvalues(np.diag([0.0, 1.0, -1.0, 0.0])) == 1


@given(st.integers(1, 60), st.integers(0, 200))
def test_the_largest_eigenvalue_is_never_too_large_and_converges(n, seed):
    a = np.random.default_rng(seed).standard_normal((n, n))
    truth = np.linalg.norm(a, 2) ** 2
    rough = inertia._largest_eigenvalue(lambda x: a.T @ (a @ x), n, steps=6)
    fine = inertia._largest_eigenvalue(lambda x: a.T @ (a @ x), n)
    assert truth / 4 <= rough <= fine * (1 + 1e-9)
    assert fine == pytest.approx(truth, rel=1e-6)


def test_lanczos_stops_at_an_invariant_subspace():
    calls = []

    def identity(x):
        calls.append(1)
        return 3.0 * x

    assert inertia._largest_eigenvalue(identity, 50) == pytest.approx(3.0)
    assert len(calls) == 1


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6)])
def test_identity_plus_a_gram_matrix_is_inverted(shape):
    t = np.random.default_rng(0).standard_normal(shape)
    whole = np.eye(shape[0]) + t @ t.T
    x = np.arange(1.0, shape[0] + 1)
    np.testing.assert_allclose(inertia._inverse_of_identity_plus(t)(whole @ x), x, rtol=1e-10)
    root = inertia._cholesky_of_identity_plus(t)
    np.testing.assert_allclose(np.tril(root) @ np.tril(root).T, whole, rtol=1e-12)


def test_the_smallest_singular_value_of_a_packed_factorization():
    a = np.random.default_rng(0).standard_normal((30, 30))
    packed, _ = scipy.linalg.lu_factor(a)
    packed = np.asfortranarray(packed)
    lower, upper = np.tril(packed, -1) + np.eye(30), np.triu(packed)
    for found, matrix in (
        (inertia._smallest_singular_value(packed), upper),
        (inertia._smallest_singular_value(packed, factored=True), lower @ upper),
    ):
        assert 1 - 1e-9 <= found / np.linalg.norm(matrix, -2) <= 2


def test_mixing_keeps_singular_values_and_spreads_columns():
    a = np.zeros((40, 30))
    a[:, :3] = np.random.default_rng(0).standard_normal((40, 3))
    mixed = inertia._mix_columns(a)
    s = np.linalg.svd(a, compute_uv=False)
    np.testing.assert_allclose(np.linalg.svd(mixed, compute_uv=False), s, atol=30 * EPS * s[0])
    norms = np.linalg.norm(mixed, axis=0)
    assert norms.max() < 10 * norms.min() and norms.min() > 0
    # slow cosines would make any leading columns nearly dependent
    first = np.linalg.svd(mixed[:, :3], compute_uv=False)
    assert first[-1] > 0.01 * first[0]


@pytest.mark.parametrize("height", [0.5, 2.0])
@pytest.mark.parametrize("limit", [0.0, 1e6])
def test_near_the_tolerance_the_split_does_not_matter(monkeypatch, height, limit):
    """With no block allowed to be eliminated first, the bordered matrix alone must give the answer."""
    monkeypatch.setattr(inertia, "_LARGEST_SOLUTION", limit)
    for dropped in (0.0, 0.03):
        monkeypatch.setattr(inertia, "_NEGLIGIBLE", dropped)
        a = adversarial.plateau(90, height, 40, np.random.default_rng(3))
        assert inertia._count_near(a, 90 * EPS, None) == (90 if height > 1 else 40)
        assert inertia._clear_rank(a, 90 * EPS) is None


@pytest.mark.parametrize("height, expected", [(0.5, 1), (3, 2)])
def test_a_block_whose_solution_is_huge_is_not_eliminated_first(height, expected):
    """R₁₁ = 1e-9 is far above τ, but T = (1e9, 1e9), and rounding loses the identity in I + TᵀT."""
    tau = 3 * EPS * np.sqrt(2)
    r = np.array([[1e-9, 1.0, 1.0], [0.0, height * tau, 0.0], [0.0, 0.0, height * tau]])
    assert (np.linalg.svd(r, compute_uv=False) > tau).sum() == expected
    assert inertia._count_near(r, 3 * EPS, None) == expected


def test_the_lu_declines_where_rounding_could_have_hidden_the_answer(monkeypatch):
    a = inertia._mix_columns(np.random.default_rng(0).standard_normal((60, 20)) @ np.eye(20, 50))
    tau = 60 * EPS * np.linalg.norm(a, 2)
    assert inertia._clear_rank(a, tau) == 20
    assert inertia._clear_rank(a, 1e12 * tau) is None  # σ_20 is not far above that
    assert inertia._clear_rank(a, 1e15 * tau) is None  # no pivot is
    monkeypatch.setattr(inertia, "_LARGEST_SOLUTION", 1e-3)
    assert inertia._clear_rank(a, tau) is None


def test_what_the_lu_leaves_may_be_exactly_zero():
    a = np.zeros((20, 20))
    a[:5, :5] = np.eye(5)
    assert inertia._clear_rank(a, 1e-14) == 5


# --- the textbook -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pivoting", PIVOTINGS)
@given(known=own.known_rank_matrices())
def test_elimination_of_small_integers(pivoting, known):
    """Permutations are permutations; A[rows][:, columns] has leading minors p₁, p₁p₂, …, which fixes every swap."""
    a, rank = known
    found = eliminate(a.astype(float), pivoting=pivoting, tol=1e-9)
    assert found.rank == rank == len(found.pivots)
    assert sorted(found.rows) == list(range(a.shape[0])) and sorted(found.columns) == list(range(a.shape[1]))
    leading = a[found.rows][:, found.columns].astype(float)
    for k in range(1, rank + 1):
        assert np.linalg.det(leading[:k, :k]) == pytest.approx(np.prod(found.pivots[:k]), rel=1e-8)


@given(own.float_matrices(min_side=0, max_side=9), st.sampled_from([0.0, 1e-9, 1.0, 50.0]))
def test_the_shortest_elimination_finds_the_same_pivots(a, tol):
    np.testing.assert_array_equal(pivots(a, tol), eliminate(a, tol=tol).pivots)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_pivots_count_no_noise_unless_told_to(dtype):
    rng = np.random.default_rng(0)
    low = rng.standard_normal((256, 5)) @ rng.standard_normal((5, 784))
    assert len(pivots(low.astype(dtype))) == 5
    assert len(pivots(low.astype(dtype), 0)) == 256


def test_the_shortest_elimination_fits_a_screen_and_leaves_its_argument_alone():
    tree = ast.parse(textwrap.dedent(inspect.getsource(pivots))).body[0]
    assert tree.end_lineno - tree.body[1].lineno + 2 <= 14  # with its head, without its docstring
    a = np.array([[0.0, 2.0, 1.0], [0.0, 4.0, 3.0], [0.0, 2.0, 8.0]])
    before = a.copy()
    np.testing.assert_allclose(pivots(a, 1e-9), [8.0, 3.25])
    np.testing.assert_array_equal(a, before)
    assert len(pivots(torch.eye(3), 0.5)) == 3
    with pytest.raises(ValueError, match="a must be finite; found NaN"):
        pivots([[np.nan]])


@pytest.mark.parametrize("pivoting", PIVOTINGS)
@given(a=own.float_matrices(max_side=7))
def test_pivots_are_where_pivoting_says(pivoting, a):
    found = eliminate(a, pivoting=pivoting, tol=0)
    if not found.rank:
        assert not a.any()
        return
    first, row, column = abs(found.pivots[0]), found.rows[0], found.columns[0]
    assert first == abs(a[row, column])
    if pivoting == "complete":
        assert first == np.abs(a).max()
    if pivoting == "rook":
        assert first == np.abs(a[row]).max()
    assert first == np.abs(a[:, column]).max()
    if pivoting == "partial":
        assert column == np.flatnonzero(a.any(axis=0))[0]


@pytest.mark.parametrize("pivoting", PIVOTINGS)
def test_elimination_follows_the_textbook_on_an_example(pivoting):
    a = np.array([[0.0, 2.0, 1.0], [0.0, 4.0, 3.0], [0.0, 2.0, 8.0]])
    found = eliminate(a, pivoting=pivoting)
    if pivoting == "complete":
        np.testing.assert_allclose(found.pivots, [8.0, 3.25])
        assert (list(found.rows), list(found.columns)) == ([2, 1, 0], [2, 1, 0])
    else:  # the first column is passed over
        np.testing.assert_allclose(found.pivots, [4.0, 6.5])
        assert (list(found.rows), list(found.columns)) == ([1, 2, 0], [1, 2, 0])
    assert found.rank == 2
    assert found.growth == 1.0
    assert found.tolerance == 3 * EPS * 8


def test_growth_of_wilkinsons_matrix():
    a = adversarial.wilkinson(30)
    assert eliminate(a, pivoting="partial").growth == 2.0**29
    assert eliminate(a, pivoting="complete").growth == 2.0
    assert eliminate(a, pivoting="rook").growth < 4.0


def test_rook_pivoting_searches_until_nothing_is_larger():
    a = np.array([[1.0, 2.0, 0.0], [0.0, 3.0, 4.0], [0.0, 0.0, 5.0]])
    assert eliminate(a, pivoting="rook").pivots[0] == 5.0  # 1 → 2 → 3 → 4 → 5
    assert eliminate(a.T, pivoting="rook").pivots[0] == 5.0


def test_the_textbook_counts_noise_and_the_default_does_not():
    """The cautionary figure: rounding errors pass for pivots."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((512, 375)) @ rng.standard_normal((375, 512))
    assert eliminate(a, pivoting="partial").rank > 375
    assert eliminate(a, pivoting="complete").rank == 375
    assert matrix_rank(a) == matrix_rank(a, method="svd") == 375


def test_no_pivoting_is_safe():
    """Kahan's matrix: every pivot above τ, complete pivoting included, and a singular value below it."""
    a = adversarial.kahan(100, 1.2)
    for pivoting in PIVOTINGS:
        assert eliminate(a, pivoting=pivoting, tol=rank_tolerance(a)).rank > matrix_rank(a)


# --- bad input --------------------------------------------------------------------------------------------------------

FUNCTIONS = [matrix_rank, rank_tolerance, eliminate]
BAD = {
    "NaN": (np.array([[np.nan, 1.0]]), "NaN"),
    "infinity": (np.array([[1.0, np.inf]]), "infinity"),
    "minus infinity": (torch.tensor([[1.0, -torch.inf]]), "infinity"),
    "both": (np.array([[np.inf, np.nan]]), "NaN"),
    "too large for float64": (np.array([["1e400"]]).astype(np.longdouble), "infinity"),
    "complex": (np.ones((2, 2), dtype=complex), "complex"),
    "complex tensor": (torch.ones(2, 2, dtype=torch.complex64), "complex"),
    "text": ([["a", "b"]], "dtype"),
    "ragged": ([[1.0, 2.0], [3.0]], "list"),
    "objects": (np.array([[None, 1]]), "object"),
    "dates": (np.zeros((2, 2), dtype="datetime64[s]"), "datetime"),
    "scalar": (1.0, r"shape \(\)"),
    "0-d tensor": (torch.tensor(1.0), r"shape \(\)"),
    "1-d": (np.ones(3), r"shape \(3,\)"),
    "empty list": ([], r"shape \(0,\)"),
    "none": (None, "object"),
    "sparse tensor": (torch.eye(2).to_sparse(), "sparse"),
    "meta tensor": (torch.empty(2, 2, device="meta"), "meta"),
    "masked": (np.ma.array(np.eye(2), mask=[[1, 0], [0, 0]]), "masked"),
}
with warnings.catch_warnings(action="ignore"):  # deprecated, and still about
    BAD["quantised tensor"] = (torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8), "qint8")
if np.finfo(np.longdouble).max == np.finfo(float).max:  # where longdouble is float64
    BAD["too large for float64"] = (np.array([[np.inf]]), "infinity")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore")
def test_bad_input_is_named(function, case):
    a, found = BAD[case]
    with pytest.raises(ValueError, match=rf"^a must be .*; found .*{found}"):
        function(a)


def test_more_bad_input():
    with pytest.raises(ValueError, match=r"^a must be an array of 2 axes; found shape \(1, 2, 2\)"):
        eliminate(np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="method must be one of elimination, svd; found 'qr'"):
        matrix_rank(np.eye(2), method="qr")
    with pytest.raises(ValueError, match="pivoting must be one of complete, rook, partial; found None"):
        eliminate(np.eye(2), pivoting=None)
    for tol in (-1.0, np.nan, np.inf, "1", True, [1.0, 2.0], None.__class__, 1j):
        for function in (matrix_rank, eliminate):
            with pytest.raises(ValueError, match="tol must be a finite number ≥ 0; found"):
                function(np.eye(2), tol=tol)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("method", ["elimination", "svd"])
def test_unusual_input_gives_the_right_answer(ranker, method):
    a = np.zeros((6, 4))
    a[0, 0] = a[2, 1] = a[4, 3] = 3.0
    grad = torch.tensor(a, requires_grad=True)
    frozen = a.copy()
    frozen.flags.writeable = False
    unusual = {
        "list": a.tolist(),
        "integers": a.astype(int),
        "list of integers": a.astype(int).tolist(),
        "booleans": a.astype(bool),
        "boolean tensor": torch.tensor(a) != 0,
        "unsigned tensor": torch.tensor(a).to(torch.uint8),
        "strided": np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
        "reversed": a[::-1, ::-1],
        "Fortran order": np.asfortranarray(a),
        "transposed tensor": torch.tensor(a.T.copy()).T,
        "read-only": frozen,
        "big-endian": a.astype(">f8"),
        "requires grad": grad,
        "parameter": torch.nn.Parameter(torch.tensor(a)),
        "unmasked": np.ma.array(a),
        "matrix": np.asmatrix(a),
    }
    for name, x in unusual.items():
        assert ranker(x, method=method) == 3, name
        assert eliminate(x).rank == 3, name
        assert rank_tolerance(x) >= 0, name
    assert grad.requires_grad and grad.grad is None


@given(own.float_matrices(min_side=2, max_side=6), own.containers())
def test_arguments_are_left_alone(ranker, a, container):
    x = container(a)
    before = own.to_numpy(x).copy()
    ranker(x), ranker(x, method="svd"), ranker(x, tol=0.5), rank_tolerance(x), eliminate(x)
    np.testing.assert_array_equal(own.to_numpy(x), before)


def test_arguments_of_every_path_are_left_alone(no_svd_when_small):
    rng = np.random.default_rng(0)
    for a in (
        adversarial.plateau(60, 1.1, 30, rng),
        rng.standard_normal((60, 60)).astype(np.float32),
        np.asfortranarray(rng.standard_normal((80, 10)) @ rng.standard_normal((10, 60))),
        rng.integers(0, 9, (70, 80)),
    ):
        before = a.copy()
        matrix_rank(a)
        np.testing.assert_array_equal(a, before)
