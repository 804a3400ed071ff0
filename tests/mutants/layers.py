"""Ways to break rankstudy/layers.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/layers.py"
TESTS = ("tests/test_layers.py",)
MUTANTS = [
    ("factors in the wrong order", "F.linear(F.linear(x, self.c), self.b, self.bias)", "F.linear(F.linear(x, self.b.T), self.c.T, self.bias)"),
    ("the bias is forgotten", "F.linear(F.linear(x, self.c), self.b, self.bias)", "F.linear(F.linear(x, self.c), self.b)"),
    ("the weight has the wrong sign", "return self.b @ self.c\n", "return -(self.b @ self.c)\n"),
    ("one Gram matrix on the wrong side", "(self.b.T @ self.b * (self.c @ self.c.T)).sum()", "self.b.square().sum() * self.c.square().sum()"),
    ("r + 1 for r", "self.b = nn.Parameter(torch.empty(out_features, self.rank))", "self.rank += 1\n        self.b = nn.Parameter(torch.empty(out_features, self.rank))"),
    ("rank 0 is let in", "if value < 1:", "if value < 0:"),
    ("booleans are ranks", "0 if isinstance(rank, bool) else operator.index(rank)", "operator.index(rank)"),
    ("rank is capped in silence", "LowRankLinear(inp, out, r)", "LowRankLinear(inp, out, min(r, inp, out))"),
    ("an activation after the last layer", "x if i == len(self.layers) - 1 else self._function", "x if i == len(self.layers) else self._function"),
    ("no activation at all", "x if i == len(self.layers) - 1 else self._function(x)", "x"),
    ("features before their layer", "            x = self._apply_layer(i, x)\n            found.append(x)", "            found.append(x)\n            x = self._apply_layer(i, x)"),
    ("leaky ReLU of another slope", '"leaky_relu": F.leaky_relu,', '"leaky_relu": lambda x: F.leaky_relu(x, 0.2),'),
    ("two activations exchanged", '"tanh": torch.tanh,', '"tanh": torch.sigmoid,'),
    ("the seed is ignored", "torch.Generator().manual_seed(seed)\n    with torch.no_grad():", "torch.Generator().manual_seed(0)\n    with torch.no_grad():"),
    ("the wrong bound of the uniform distribution", "a=math.sqrt(5)", "a=0"),
    ("the variance is matched in one factor only", "                    layer.c.mul_(3**0.25)\n", ""),
    ("the variance is matched as if it were the deviation", "layer.b.mul_(3**0.25)", "layer.b.mul_(3**0.5)"),
    ("the gain enters both factors whole", "            layer.b.mul_(math.sqrt(config.gain))", "            layer.b.mul_(config.gain)"),
    ("dense layers have no gain", "uniform_(layer.weight, generator).mul_(config.gain)", "uniform_(layer.weight, generator)"),
    ("a gain of 0 is let in", "if not 0 < config.gain < math.inf:", "if not 0 <= config.gain < math.inf:"),
    ("all of σ in one factor", "root, missing = s[:rank].sqrt(), max(rank - len(s), 0)", "root, missing = s[:rank], max(rank - len(s), 0)"),
    ("the last singular value is dropped", "root, missing = s[:rank].sqrt()", "s[rank - 1 :] = 0\n    root, missing = s[:rank].sqrt()"),
    ("factors are not filled up", "max(rank - len(s), 0)", "0"),
    ("weights come output side first", "for layer in model.layers]", "for layer in reversed(model.layers)]"),
    ("weights carry gradients", "layer.weight.detach() for", "layer.weight for"),
]  # fmt: skip
