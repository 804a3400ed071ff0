"""Ways to break rankstudy/_linalg/nulls.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/_linalg/nulls.py"
TESTS = ("tests/test_spectrum.py",)
MUTANTS = [
    ("the edge of the longer side alone", "* (np.sqrt(m) + np.sqrt(n))", "* 2 * np.sqrt(max(m, n))"),
    ("the edge's square", 'non_negative(std, "std") * (', 'non_negative(std, "std") ** 2 * ('),
    ("the middle of the law for its median", "return float(x(brentq(excess, 0.5, np.pi)))", "return float(x(np.pi / 2))"),
    ("the support of the law without its root", "2 * np.sqrt(ratio) * np.cos(t)", "2 * ratio * np.cos(t)"),
    ("another quantile for the median", "[0] - 0.5", "[0] - 0.4"),
    ("a density without the sine", "np.sin(u) ** 2 / x(u)", "np.sin(u) / x(u)"),
    ("unknown nulls are let in", 'if null not in ("signs", "shuffle"):', "if False:"),
    ("the mean stays in the shuffle", "values = values - values.mean((-2, -1), keepdims=True)", "values = values + 0"),
    ("one mean for the whole batch", "values.mean((-2, -1), keepdims=True)", "values.mean()"),
    ("nothing is shuffled", "entries[:, rng.permutation(m * n)]", "entries"),
    ("shuffled with replacement", "entries[:, rng.permutation(m * n)]", "entries[:, rng.integers(0, m * n, m * n)]"),
    ("signs by row only", "rng.choice((-1.0, 1.0), size=m * n)", "np.repeat(rng.choice((-1.0, 1.0), size=m), n)"),
    ("signs that may be zero", "rng.choice((-1.0, 1.0), size=m * n)", "rng.choice((-1.0, 0.0, 1.0), size=m * n)"),
    ("the seed is ignored", 'np.random.default_rng(whole_number(seed, "seed", 0))', 'np.random.default_rng(whole_number(seed, "seed", 0) * 0)'),
    ("draws unsorted", "np.sort(largest, axis=-1).reshape", "largest.reshape"),
    ("rows and columns exchanged", "copy.reshape(m, n)", "copy.reshape(n, m)"),
    ("the second largest", "last = len(a) - 1", "last = max(len(a) - 2, 0)"),
    ("σ₁² for σ₁", "peak * np.sqrt(eigh(a @ a.T, eigvals_only=True, subset_by_index=(last, last))[0])", "peak * eigh(a @ a.T, eigvals_only=True, subset_by_index=(last, last))[0]"),
    ("the Gram matrix overflows", "if a.shape[0] <= a.shape[1] else a.T) / peak", "if a.shape[0] <= a.shape[1] else a.T) / (peak := 1.0)"),
    ("one order statistic too low", "[..., position - 1]", "[..., max(position - 2, 0)]"),
    ("draws for draws + 1", 'positive_number(level, "level") * (draws + 1), 9)', 'positive_number(level, "level") * draws, 9)'),
    ("rounding asks for one more", 'ceil(round(positive_number(level, "level") * (draws + 1), 9))', 'ceil(positive_number(level, "level") * (draws + 1))'),
    ("too few draws are enough", "    if position > draws:\n        raise", "    position = min(position, draws)\n    if position > draws:\n        raise"),
]  # fmt: skip
