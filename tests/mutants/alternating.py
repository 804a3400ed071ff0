"""Ways to break rankstudy/_linalg/alternating.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/_linalg/alternating.py"
TESTS = ("tests/test_factorization.py",)
MUTANTS = [
    ("the bound is forgotten", "if squared[-1] - tail <= tol:", "if squared[-1] <= tol:"),
    ("stops too early", "if squared[-1] - tail <= tol:", "if squared[-1] - tail <= 10 * tol:"),
    ("never stands still", "elif len(squared) > 2 and squared[-3] - squared[-1] <= rounding:", "elif False:"),
    ("half of the iterations", "elif len(squared) == 2 * max_iterations:", "elif len(squared) >= max_iterations:"),
    ("the wrong reason", 'stopped = "stationary"', 'stopped = "iterations"'),
    ("squared errors for errors", "[max(x, 0.0) ** 0.5 for x in squared]", "[max(x, 0.0) for x in squared]"),
    ("rounding makes NaN", "max(x, 0.0) ** 0.5", "x ** 0.5"),
    ("halves are exchanged", "squared += [total - after_b, total - after_c]", "squared += [total - after_c, total - after_b]"),
    ("a zero matrix has norm 1", "total = float(np.vdot(a, a))", "total = 1.0"),
    ("the start of least squares is dropped", "np.concatenate([c, rng.standard_normal((columns - len(c), a.shape[1]))]).T", "rng.standard_normal((columns, a.shape[1])).T"),
    ("B is not updated", "basis, triangle = np.linalg.qr(a @ q)", "basis, triangle = np.linalg.qr((a @ q)[:, ::-1] * 0 + np.eye(len(a), q.shape[1]))"),
    ("q is not updated", "q, triangle = np.linalg.qr(a.T @ basis)", "_, triangle = np.linalg.qr(a.T @ basis)"),
    ("the wrong q in the product", "partial(_cut, basis, triangle.T @ q.T, rank)", "partial(_cut, basis, triangle @ q.T, rank)"),
    ("the smallest part counts", "[excess:] if excess > 0", "[:rank] if excess > 0"),
    ("the whole basis counts", "[excess:] if excess > 0", "[0:] if excess > 0"),
    ("the cut is not the best", "u = np.linalg.svd(c, full_matrices=False)[0][:, :rank]", "u = np.eye(len(c))[:, :rank]"),
    ("r + 1 columns are left", "[0][:, :rank]\n    return basis @ u", "[0][:, : rank + 1]\n    return basis @ u"),
    ("the start of the gradient is dropped", "    b, c = _balanced(b, c)\n", "    b, c = b[:, :0], c[:0]\n"),
    ("new rows as they come", "fresh = _balanced((a - b @ c) @ fresh.T, fresh)[1]", "fresh = fresh * 30"),
    ("new columns change the product", "b = np.concatenate([b, np.zeros((len(a), len(fresh)))], axis=1)", "b = np.concatenate([b, np.ones((len(a), len(fresh)))], axis=1)"),
    ("C is not updated", "        c = ct.T\n", "        pass\n"),
    ("uphill", "x = x + descent * (", "x = x - descent * ("),
    ("half a step", "(np.vdot(descent, descent) / curvature)", "(0.5 * np.vdot(descent, descent) / curvature)"),
    ("twice the step", "(np.vdot(descent, descent) / curvature)", "(1.9 * np.vdot(descent, descent) / curvature)"),
    ("a fixed step", "x = x + descent * (np.vdot(descent, descent) / curvature)", "x = x + descent * 0.5"),
    ("a flat direction divides by zero", "    if curvature > 0:", "    if True:"),
    ("the explained part is counted twice", "2 * np.vdot(target, x) - np.vdot(x.T @ x, gram)", "2 * np.vdot(target, x)"),
    ("balancing changes the product", "return b * scale, c / scale[:, None]", "return b * scale, c * scale[:, None]"),
    ("balanced the wrong way", "np.divide(rows, columns, out=", "np.divide(columns, rows, out="),
    ("zero columns become NaN", "out=np.ones(len(rows)), where=used", "out=np.ones(len(rows))"),
]  # fmt: skip
