"""Ways to break rankstudy/_linalg/arrays.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/_linalg/arrays.py"
TESTS = ("tests/test_arrays.py", "tests/test_rank.py", "-k", "arrays or input or dtype or network or batch or scale")
MUTANTS = [
    ("what is handed out can be written", "    view.flags.writeable = False\n", ""),
    ("longdouble's eps", "max(float(form.eps), FLOAT64_EPS)", "float(form.eps)"),
    ("infinity passes", "    if not np.isfinite(values).all():\n", "    if np.isnan(values).any():\n"),
    ("NaN is called infinity", '"NaN" if np.isnan(values).any() else "infinity"', '"infinity"'),
    ("complex numbers pass", 'if a.dtype.kind not in "biuf":', 'if a.dtype.kind not in "biufc":'),
    ("complex tensors pass", "if a.is_complex() or a.is_quantized:", "if a.is_quantized:"),
    ("masks are ignored", "    if np.ma.is_masked(a):\n", "    if False:\n"),
    ("tensors that require grad are refused", "    a = a.detach()\n", ""),
    ("vectors pass", "if array.ndim < 2 or", "if array.ndim < 1 or"),
    ("True is a whole number", "isinstance(value, (bool, np.bool_)) or number < minimum", "number < minimum"),
    ("zero is positive", "number < 0 or (number == 0 and not zero)", "number < 0"),
    ("networks are objects", 'hasattr(a, "named_parameters") or isinstance(a, (str, Mapping))', "False"),
    ("a vector is named as the matrix", "if tensor.ndim == 2), \"\")", "if tensor.ndim == 1), \"\")"),
    ("scaled by what is no power of two", "return np.ldexp(values, -exponents[..., None, None]), exponents", "return values / np.maximum(np.abs(values).max((-2, -1), initial=0.0, keepdims=True), 5e-324), exponents"),
    ("the norm overflows", "(peak * np.sqrt(np.square(scaled, out=scaled).sum(axis, keepdims=True)))", "np.sqrt((a**2).sum(axis, keepdims=True))"),
    ("the norm of zeros is NaN", "a / np.where(peak == 0, 1.0, peak)", "a / peak"),
    ("the largest entry is the largest of the positive ones", "np.maximum(a.max(axis, initial=0.0, keepdims=True), -a.min(axis, initial=0.0, keepdims=True))", "a.max(axis, initial=0.0, keepdims=True)"),
    ("0/0 is not 0", "np.where(x == 0, 0.0, np.divide(x, y))[()]", "np.divide(x, y)[()]"),
    ("any number of tolerances", "fits = batch is None or found.shape in ((), batch)", "fits = True"),
    ("infinite tolerances", "(np.isfinite(found).all() and (found >= 0).all())", "((found >= 0).all())"),
    ("negative tolerances", "(found >= 0).all())", "True)"),
    ("the smallest number is a normal one", "float(form.tiny) * float(form.eps)", "float(form.tiny)"),
]  # fmt: skip
