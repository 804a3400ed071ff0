"""Ways to break rankstudy/_linalg/bounds.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/_linalg/bounds.py"
TESTS = ("tests/test_factorization.py",)
MUTANTS = [
    ("factors in the wrong order", "return self.b @ self.c", "return (self.c.swapaxes(-1, -2) @ self.b.swapaxes(-1, -2)).swapaxes(-1, -2) * -1"),
    ("the last columns lead", "Factors(self.b[..., :rank], self.c[..., :rank, :])", "Factors(self.b[..., self.rank - rank :], self.c[..., self.rank - rank :, :])"),
    ("r + 1 for r in the bound", "spectrum.largest * np.sqrt(spectrum.tails()[..., rank])", "spectrum.largest * np.sqrt(spectrum.tails()[..., min(rank + 1, min(spectrum.shape))])"),
    ("r + 1 for r in the relative bound", "return _relative_tails(spectrum)[..., rank] if relative", "return _relative_tails(spectrum)[..., min(rank + 1, min(spectrum.shape))] if relative"),
    ("the bound without σ₁", "spectrum.largest * np.sqrt(spectrum.tails()[..., rank])", "np.sqrt(spectrum.tails()[..., rank])"),
    ("the squared bound", "spectrum.largest * np.sqrt(spectrum.tails()[..., rank])", "spectrum.largest * spectrum.tails()[..., rank]"),
    ("the bound relative to σ₁", "np.sqrt(ratio_of(tails, tails[..., :1]))", "np.sqrt(tails)"),
    ("rank beyond the matrix is let in", 'rank = whole_number(rank, "rank", 0, min(spectrum.shape))\n    return', 'rank = min(whole_number(rank, "rank", 0), min(spectrum.shape))\n    return'),
    ("smallest rank one too high", "(tails > non_negative", "(tails >= non_negative"),
    ("a threshold of the square", "(tails > non_negative", "(tails**2 > non_negative"),
    ("one threshold for the batch", 'non_negative(threshold, "threshold", tails.shape[:-1])[..., None]', 'non_negative(threshold, "threshold", tails.shape[:-1]).max()'),
    ("the gap is the ratio", "return self.ratio - 1", "return self.ratio"),
    ("break-even rounds up", "return m * n // max(m + n, 1)", "return -(-m * n // max(m + n, 1))"),
    ("break-even of the half", "return m * n // max(m + n, 1)", "return m * n // max(2 * (m + n), 1)"),
    ("the certificate ignores the factors' rank", "tail = eckart_young_error(spectrum, rank)", "tail = eckart_young_error(spectrum, 0)"),
    ("excess of norms, not squares", "(error - bound) * (error + bound)", "error - bound"),
    ("excess has the wrong sign", "(error - bound) * (error + bound)", "(bound - error) * (error + bound)"),
    ("a zero tail has a ratio", "following > tolerance(spectrum)", "following > -1"),
    ("the singular value before the tail", "spectrum.values[..., rank : rank + 1]", "spectrum.values[..., max(rank - 1, 0) : max(rank, 1)]"),
    ("the ratio upside down", "ratio_of(residual, tail), np.nan", "ratio_of(tail, residual), np.nan"),
    ("any spectrum will do", "if (np.abs(eckart_young_error(spectrum, 0) - norm) > FLOAT32_EPS * norm).any():", "if False:"),
    ("a stored spectrum is refused", "> FLOAT32_EPS * norm)", "> 1e-16 * norm)"),
    ("a spectrum of another shape", "if spectrum.shape != values.shape[-2:] or spectrum", "if spectrum"),
    ("a spectrum of another batch", "spectrum.values.shape[:-1] != values.shape[:-2]:", "False:"),
    ("the given spectrum is not used", "    norm = frobenius(values)\n    if (np", "    spectrum = Spectrum.of(values)\n    norm = frobenius(values)\n    if (np"),
    ("factors that do not fit", "if b.shape[:-1] + c.shape[-1:] != values.shape or", "if False or"),
    ("factors of two ranks", "c.shape[:-1] != values.shape[:-2] + b.shape[-1:]", "False"),
    ("the residual has the wrong sign", "return values - b @ c", "return values + b @ c"),
    ("the certified residual has the wrong sign", "frobenius(unit - product)", "frobenius(unit + product)"),
    ("the scale goes into one factor", "half = -exponents[..., None, None] // 2", "half = -exponents[..., None, None]"),
    ("the residual's scale is not given back", "np.ldexp(frobenius(unit - product), exponents)", "frobenius(unit - product)"),
]  # fmt: skip
