"""Ways to break rankstudy/_inertia.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/_inertia.py"
TESTS = ("tests/test_rank.py", "-k", "not exact and not elimination_of and not bad_input and not integer_matrices")
MUTANTS = [
    ("σ = τ counts", "return (s > tau)", "return (s >= tau)"),
    ("one matrix's σ₁ for the batch", "unit * s[..., :1]", "unit * s[:1]"),
    ("wide matrices are not transposed", "if m >= n else values.reshape(-1, m, n).swapaxes(-1, -2)", ""),
    ("τ for τ²", "-= tau**2", "-= tau"),
    ("the shift has the wrong sign", "-= tau**2", "+= tau**2"),
    ("2×2 pivots are forgotten", "+ (swaps < 0).sum() // 2", ""),
    ("2×2 pivots count twice", "(swaps < 0).sum() // 2", "(swaps < 0).sum()"),
    ("zero pivots count", "np.diagonal(ldl) > 0", "np.diagonal(ldl) >= 0"),
    ("diagonals of 2×2 pivots are read", "(swaps > 0) & (np.diagonal(ldl) > 0)", "np.diagonal(ldl) > 0"),
    ("no random signs", ".choice([-1.0, 1.0], (2,", ".choice([1.0], (2,"),
    ("mixed once only", ", (2, a.shape[1]))", ", (1, a.shape[1]))"),
    ("the mixing is not orthogonal", 'axis=1, norm="ortho"', "axis=1"),
    ("what the LU leaves is not looked at", "return k if eigenvalue <= (tau / 4) ** 2 else None", "return k"),
    ("it may be far above τ", "eigenvalue <= (tau / 4) ** 2", "eigenvalue <= (1e4 * tau) ** 2"),
    ("the leading block of the LU is not looked at", "if k == 0 or _smallest_singular_value(block, factored=True) < 4 * _CLEAR * tau:", "if k == 0:"),
    ("L is left out of σ_min(LU)", "        if factored:\n            x = _solve(block, _solve(block, x, trans=1, **unit_lower), **unit_lower)\n", ""),
    ("ill-conditioned H and T are believed", "if max(np.linalg.norm(h), np.linalg.norm(t)) > _LARGEST_SOLUTION:\n        return None\n", "if False:\n        return None\n"),
    ("ill-conditioned T is believed near τ", " and np.linalg.norm(t) <= _LARGEST_SOLUTION", ""),
    ("any block is eliminated first", "_smallest_singular_value(block) >= _CLEAR * tau and ", ""),
    ("the null space is not normalised", "            v = _solve(_cholesky_of_identity_plus(t.T), r[k:end, k:].T, lower=True).T  # (end − k, n − k)\n", "            v = r[k:end, k:]\n"),
    ("k is forgotten", "return k + _count_by_gram(v.T, unit, tau)", "return _count_by_gram(v.T, unit, tau)"),
    ("k is forgotten in the bordered form", "return k + _positive_eigenvalues(bordered)", "return _positive_eigenvalues(bordered)"),
    ("τ² on the border's diagonal", "np.fill_diagonal(bordered, -tau)", "np.fill_diagonal(bordered, -(tau**2))"),
    ("the border's sign", "np.fill_diagonal(bordered, -tau)", "np.fill_diagonal(bordered, tau)"),
    ("rows that matter are left out", "_NEGLIGIBLE = 0.03", "_NEGLIGIBLE = 30.0"),
    ("elimination below the rounding level", "if ratio < 0.9 * max(m, n) * FLOAT64_EPS:", "if False:"),
    ("AᵀA for float64 tolerances", "n * FLOAT64_EPS <= 1e-3 * ratio**2", "n * FLOAT64_EPS <= 1e12 * ratio**2"),
    ("zero matrices are eliminated", "    if not a.any():\n        return 0\n", ""),
    ("½I for I", "gram.flat[:: len(gram) + 1] += 1.0", "gram.flat[:: len(gram) + 1] += 0.5"),
    ("Woodbury's sign", "(lambda x: x - t @ solve(t.T @ x))", "(lambda x: x + t @ solve(t.T @ x))"),
    ("Lanczos stops early", "<= rtol * values[-1]", "<= 0.3 * values[-1]"),
    ("Lanczos forgets its basis", "basis[: k + 1] @ w) @ basis[: k + 1]", "basis[k] @ w) * basis[k]"),
]  # fmt: skip
