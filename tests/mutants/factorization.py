"""Ways to break rankstudy/factorization.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/factorization.py"
TESTS = ("tests/test_factorization.py",)
MUTANTS = [
    ("σ in both factors", "root = np.sqrt(s[..., :rank])", "root = s[..., :rank]"),
    ("all of σ in one factor", "root[..., None] * vt[..., :rank, :]", "(root**0)[..., None] * vt[..., :rank, :]"),
    ("unbalanced factors", "Factors(u[..., :rank] * root[..., None, :], root[..., None] * vt[..., :rank, :])", "Factors(u[..., :rank] * s[..., None, :rank], vt[..., :rank, :])"),
    ("the smallest singular values are kept", "return Factors(u[..., :rank] * root[..., None, :], root[..., None] * vt[..., :rank, :])", "root = np.sqrt(s[..., len(s.T) - rank :])\n    return Factors(u[..., u.shape[-1] - rank :] * root[..., None, :], root[..., None] * vt[..., vt.shape[-2] - rank :, :])"),
    ("the weights are forgotten", "np.linalg.svd(values @ _triangle(inputs, values), full_matrices=False)", "np.linalg.svd(values + 0 * (values @ _triangle(inputs, values)), full_matrices=False)"),
    ("R for Rᵀ", "return np.swapaxes(ratio_of(r, frobenius(r)[..., None, None]), -1, -2)", "return ratio_of(r, frobenius(r)[..., None, None])"),
    ("a sign in the weighted factors", "return Factors(u, np.swapaxes(u, -1, -2) @ values)", "return Factors(u, -np.swapaxes(u, -1, -2) @ values)"),
    ("r + 1 for r in the weighted SVD", "full_matrices=False)[0][..., :rank]", "full_matrices=False)[0][..., : rank + 1]"),
    ("the weighted error has no weights", "frobenius(residual_of(values, factors) @ rt)", "frobenius(residual_of(values, factors))"),
    ("the weighted error is absolute", "ratio_of(frobenius(residual_of(values, factors) @ rt), frobenius(values @ rt))", "frobenius(residual_of(values, factors) @ rt)"),
    ("columns of the inputs are not checked", "    if x.shape[-1] != n:\n", "    if False:\n"),
    ("too few inputs", "    if x.shape[-2] < n:", "    if False:"),
    ("the scale of the inputs overflows", "ratio_of(r, frobenius(r)[..., None, None])", "r"),
    ("oversampling is forgotten", 'whole_number(oversampling, "oversampling", 0) + whole_number(rank, "rank", 0)', '0 * whole_number(oversampling, "oversampling", 0) + whole_number(rank, "rank", 0)'),
    ("the seed is ignored", "np.random.default_rng(seed)", "np.random.default_rng(0)"),
    ("one generator for the batch", "b0[i] / norm, c0[i], np.random.default_rng(seed)", "b0[i] / norm, c0[i], np.random.default_rng(seed + sum(i))"),
    ("the start is ignored", 'b0, c0 = fitting(values, start, "start")', 'b0, c0 = fitting(values, start, "start")\n    b0, c0 = b0[..., :0], c0[..., :0, :]'),
    ("the start keeps its scale", "b0[i] / norm, c0[i]", "b0[i], c0[i]"),
    ("a start of a higher rank", '    whole_number(start.rank, "start.rank", 0, rank)\n', ""),
    ("the bound of norms, not squares", "eckart_young_error(spectrum, rank, relative=True) ** 2", "eckart_young_error(spectrum, rank, relative=True)"),
    ("the scale is not given back", "        b[i] *= norm\n", ""),
    ("half-steps are iterations", "iterations[i] = len(history) // 2", "iterations[i] = len(history)"),
    ("histories are filled with zeros", "np.full((len(histories), max(map(len, histories), default=0)), np.nan)", "np.zeros((len(histories), max(map(len, histories), default=0)))"),
    ("the spectrum is computed twice", "certify(values, factors, spectrum=spectrum)", "certify(values, factors)"),
    ("a negative tolerance", 'tol = positive_number(tol, "tol", zero=True)', "tol = abs(tol)"),
]  # fmt: skip
