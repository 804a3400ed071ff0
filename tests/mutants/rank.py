"""Ways to break rankstudy/rank.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/rank.py"
TESTS = (
    "tests/test_rank.py",
    "-k",
    "not exact and not integer_matrices and not trained and not adversarial and not any_mixing",
)
MUTANTS = [
    ("a row swap is not recorded", "(rows, row, row + i), ", ""),
    ("rows are not swapped", "((work, row, row + i), ", "("),
    ("columns are not swapped", "        work[:, [column, column + j]] = work[:, [column + j, column]]\n", ""),
    ("the multiple of the pivot row is added", "rest -= np.multiply", "rest += np.multiply"),
    ("the sign of the pivot is forgotten", "/ pivots[-1]", "/ abs(pivots[-1])"),
    ("a pivot equal to the tolerance counts", "column + j]) > tolerance", "column + j]) >= tolerance"),
    ("an empty column ends it", 'column = n if pivoting == "complete" else column + 1', "column = n"),
    ("partial pivoting looks at signed entries", "np.abs(rest[:, 0]).argmax()", "rest[:, 0].argmax()"),
    ("rows for columns", "np.abs(rest).argmax()), rest.shape[1]", "np.abs(rest).argmax()), rest.shape[0]"),
    ("rook pivoting stops after one column", "        i = best\n", "        break\n"),
    ("rook pivoting never looks along the row", "best = int(np.abs(rest[i]).argmax())", "best = j"),
    ("growth upside down", "largest / start if start", "start / largest if start"),
    ("passed-over columns come first", "[pivot_columns, others]", "[others, pivot_columns]"),
    ("min(m, n) for max(m, n)", "return max(shape[-2:]) * eps", "return min(shape[-2:]) * eps"),
    ("float64's eps for every dtype", "_relative_tolerance(values.shape, eps) * norms", "_relative_tolerance(values.shape, 2**-52) * norms"),
    ("float64's eps in the rank", "unit = _relative_tolerance(values.shape, eps)", "unit = _relative_tolerance(values.shape, 2**-52)"),
    ("the tolerance is not scaled back", "norms, exponents)", "norms, 0)"),
    ("tol is not scaled", "np.ldexp(absolute, -exponents)", "np.ldexp(absolute, 0 * exponents)"),
    ("a large tol is cut", "np.minimum(np.ldexp(absolute, -exponents), m * n)", "np.minimum(np.ldexp(absolute, -exponents), 0.5)"),
    ("nothing is scaled", "np.ldexp(values, -exponents[..., None, None])", "values"),
    ("methods swapped", 'if method == "svd" else count_above', 'if method != "svd" else count_above'),
    ("tol is ignored for integers", " and integers is not None and tol is None", " and integers is not None"),
    ("Frobenius norm for σ₁", "np.linalg.norm(values, 2,", 'np.linalg.norm(values, "fro",'),
]  # fmt: skip
