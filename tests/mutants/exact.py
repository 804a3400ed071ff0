"""Ways to break rankstudy/_linalg/exact.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/_linalg/exact.py"
TESTS = ("tests/test_rank.py", "-k", "exact or prime or modulo or integer_matrices")
MUTANTS = [
    ("one prime is believed", ">= tried - 1e-6", ">= 1e9"),
    ("the last prime is believed", "np.maximum(ranks[todo], _rank_modulo(stack[todo], p))", "_rank_modulo(stack[todo], p)"),
    ("the bound of order 1 for every order", "bounds[deficient, ranks[deficient]]", "bounds[deficient, 0]"),
    ("norms are not multiplied", "largest.cumsum(axis=-1)", "largest"),
    ("no bound", "np.minimum(_log2_minors(stack), _log2_minors(stack.swapaxes(-1, -2)))", "0 * _log2_minors(stack)"),
    ("a row gives many pivots", "free[each[found], row[found]] = False", "pass"),
    ("a panel's update has the wrong sign", "rest[...] = _modulo(rest - multipliers @ top, p)", "rest[...] = _modulo(rest + multipliers @ top, p)"),
    ("pivot rows are not updated", "        for i in range(1, width):\n", "        for i in range(1, 0):\n"),
    ("products of residues are rounded", "_LARGEST = 2**23", "_LARGEST = 2**27"),
    ("uint64 wraps around", "if stack.dtype != np.uint64:", "if True:"),
    ("composites pass for primes", "range(3, int(odd**0.5) + 1, 2)", "range(3, 4)"),
]  # fmt: skip
