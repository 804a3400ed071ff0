"""Ways to break rankstudy/_linalg/arrays.py, each of which a test must notice: (what is wrong, old text, new text)."""

FILE = "rankstudy/_linalg/arrays.py"
TESTS = ("tests/test_arrays.py", "tests/test_rank.py", "-k", "arrays or input or dtype")
MUTANTS = [
    ("what is handed out can be written", "    view.flags.writeable = False\n", ""),
    ("longdouble's eps", "max(eps, FLOAT64_EPS)", "eps"),
    ("infinity passes", "    if not np.isfinite(values).all():\n", "    if np.isnan(values).any():\n"),
    ("NaN is called infinity", '"NaN" if np.isnan(values).any() else "infinity"', '"infinity"'),
    ("complex numbers pass", 'if a.dtype.kind not in "biuf":', 'if a.dtype.kind not in "biufc":'),
    ("complex tensors pass", "if a.is_complex() or a.is_quantized:", "if a.is_quantized:"),
    ("masks are ignored", "    if np.ma.is_masked(a):\n", "    if False:\n"),
    ("tensors that require grad are refused", "    a = a.detach()\n", ""),
    ("vectors pass", "if array.ndim < 2 or", "if array.ndim < 1 or"),
    ("True is a whole number", "isinstance(value, (bool, np.bool_)) or number < minimum", "number < minimum"),
    ("zero is positive", "number < 0 or (number == 0 and not zero)", "number < 0"),
]  # fmt: skip
