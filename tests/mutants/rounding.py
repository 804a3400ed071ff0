"""Ways to break rankstudy/_linalg/rounding.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/_linalg/rounding.py"
TESTS = ("tests/test_rounding.py", "tests/test_rank.py", "-k", "planted or floor or spacing or dtype or bfloat16")
MUTANTS = [
    ("float32 is coarse", "return eps > FLOAT32_EPS", "return eps >= FLOAT32_EPS"),
    ("only bfloat16 is coarse", "return eps > FLOAT32_EPS", "return eps > 2**-9"),
    ("only one operand was rounded", "likely = reduce(np.hypot, halves)", "likely = halves[0]"),
    ("what is certain knows one operand", "total = sum(halves)", "total = halves[0]"),
    ("rows only", "(rows + columns) / np.sqrt(3)", "rows / np.sqrt(3)"),
    ("uniform errors are as wide as their interval", "(rows + columns) / np.sqrt(3)", "2 * (rows + columns)"),
    ("chance is left out", "DEVIATIONS = 3.0", "DEVIATIONS = 0.0"),
    ("chance is everything", "DEVIATIONS = 3.0", "DEVIATIONS = 30.0"),
    ("nothing is certain", "floor = np.minimum(expected, certain)", "floor = expected"),
    ("only what is certain", "floor = np.minimum(expected, certain)", "floor = certain"),
    ("the larger of the two", "floor = np.minimum(expected, certain)", "floor = np.maximum(expected, certain)"),
    ("one sum for both", "np.sqrt(total.sum(-2).max", "np.sqrt(total.sum(-1).max"),
    ("the norm to be expected is the largest", "size = frobenius(reduce(np.hypot, _half_spacings(operands, dtype))) / np.sqrt(3)", "size = frobenius(reduce(np.hypot, _half_spacings(operands, dtype)))"),
    ("the spacing is its half", "np.ldexp(form.eps / 4, exponents)", "np.ldexp(form.eps / 2, exponents)"),
    ("half of the half", "np.ldexp(form.eps / 4, exponents)", "np.ldexp(form.eps / 8, exponents)"),
    ("relative to the number itself", "np.ldexp(form.eps / 4, exponents)", "form.eps / 2 * np.abs(values)"),
    ("no subnormal numbers", "np.maximum(np.ldexp(form.eps / 4, exponents), form.smallest / 2)", "np.ldexp(form.eps / 4, exponents)"),
    ("zero is rounded like one", "np.where(values == 0, form.smallest / 2, ", "np.where(values == 1e400, form.smallest / 2, "),
    ("the given format is ignored", "own if given is None else _named(given)", "own"),
    ("one format for all operands", "own if given is None else _named(given)", "own if given is None else _named(named[0])"),
    ("whole numbers are rounded", "Format(0.0, 0.0) if each.integers is not None else", "Format(0.5, 0.5) if each.integers is not None else"),
    ("shapes may differ", "    if len({each.values.shape for each in checked}) > 1:", "    if False:"),
    ("bfloat16 is float16", '"bfloat16": Format(2.0**-7, 2.0**-133)', '"bfloat16": Format(2.0**-10, 2.0**-24)'),
    ("the two kinds of float8 are exchanged", '"float8_e4m3fn": Format(2.0**-3, 2.0**-9)', '"float8_e4m3fn": Format(2.0**-2, 2.0**-16)'),
]  # fmt: skip
