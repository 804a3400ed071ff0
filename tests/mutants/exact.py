"""Ways to break rankstudy/_linalg/exact.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/_linalg/exact.py"
TESTS = ("tests/test_rank.py", "-k", "exact or prime or integer_matrices")
MUTANTS = [
    ("one prime is believed", "_PRIMES = 2", "_PRIMES = 1"),
    ("a third is asked", "_PRIMES = 2", "_PRIMES = 3"),
    ("the last prime is believed", "rank = max(rank, flint.nmod_mat(m, n, entries, prime).rank())", "rank = flint.nmod_mat(m, n, entries, prime).rank()"),
    ("a full rank is not proof", "rank == min(m, n) or ", "rank == min(m, n) + 1 or "),
    ("the bound is never proof", "bounds[rank] < tried - 1e-6", "False"),
    ("the bound of order 1 for every order", "bounds[rank] < tried", "bounds[0] < tried"),
    ("norms are not multiplied", "[: min(a.shape)].cumsum()", "[: min(a.shape)]"),
    ("booleans are no numbers", "(a.astype(np.uint8) if a.dtype == bool else a)", "(1 - a.astype(np.uint8) if a.dtype == bool else a)"),
    ("transposed", "nmod_mat(m, n, entries", "nmod_mat(n, m, entries"),
    ("small primes", "_BITS = 60", "_BITS = 20"),
    ("the same prime every time", "secrets.randbits(_BITS)", "33"),
]  # fmt: skip
