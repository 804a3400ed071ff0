"""Ways to break rankstudy/lora.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/lora.py"
TESTS = ("tests/test_lora.py",)
MUTANTS = [
    ("α/r is forgotten", "return self.scale * self.lora_b, self.lora_a", "return self.lora_b, self.lora_a"),
    ("α for α/r", "return self.alpha / (self.rank if", "return self.alpha / (1 if"),
    ("rsLoRA scales as LoRA", 'self.rank if self.scaling == "lora" else math.sqrt(self.rank)', "self.rank"),
    ("ΔW has the wrong sign", "        b, a = self._factors()\n        return b @ a", "        b, a = self._factors()\n        return -(b @ a)"),
    ("the output lacks ΔW", "return self.base(x) + F.linear(F.linear(x, a), b)", "return self.base(x)"),
    ("the effective weight lacks ΔW", "return self.base.weight + self.delta()", "return self.base.weight"),
    ("B does not begin at zero", "b = torch.zeros(self.out_features, self.rank)", "b = torch.ones(self.out_features, self.rank)"),
    ("A begins at zero too", "a = uniform_(torch.empty(self.rank, self.in_features), generator)", "a = torch.zeros(self.rank, self.in_features)"),
    ("the base trains", "copy.deepcopy(base).requires_grad_(False)", "copy.deepcopy(base)"),
    ("the base is shared", "copy.deepcopy(base).requires_grad_(False)", "base.requires_grad_(False)"),
    ("everything else trains", "    adapted.requires_grad_(False)\n", ""),
    ("A does not train", "        layer.lora_a.requires_grad_(True)\n", ""),
    ("α is not the rank by default", "float(self.rank if alpha is None else alpha)", "float(1 if alpha is None else alpha)"),
    ("α of 0 is let in", "if not 0 < self.alpha < math.inf:", "if not 0 <= self.alpha < math.inf:"),
    ("PiSSA forgets the scale", "(factor / math.sqrt(self.scale) for factor in", "(factor for factor in"),
    ("PiSSA leaves the base whole", "            weight.sub_(self.delta().detach())", "            pass"),
    ("PiSSA at too large a rank", 'if initialisation == "pissa" and self.rank > min', "if False and self.rank > min"),
    ("the seed is ignored", "torch.Generator().manual_seed(seed)", "torch.Generator().manual_seed(0)"),
    ("adapters on adapters", "    if _adapters(model):\n", "    if False:\n"),
    ("the argument is changed", "    model = copy.deepcopy(model)\n", ""),
    ("merging forgets ΔW", "weight = layer.weight.detach()", "weight = layer.base.weight.detach()"),
    ("merged weights may be infinite", "if not weight.isfinite().all():", "if weight.isnan().any():"),
    ("merged models stay frozen", "_merged_layer).requires_grad_(True)", "_merged_layer)"),
    ("frozen parameters are counted", "for name, p in model.named_parameters() if p.requires_grad}", "for name, p in model.named_parameters()}"),
    ("numbers for bytes", "sum(p.numel() * p.element_size() for p in found.values())", "numbers"),
    ("the file is written in place", "            os.replace(file.name, path)", "            path.write_bytes(content); os.unlink(file.name)"),
    ("temporary files are left", "            os.unlink(file.name)\n            raise", "            raise"),
    ("missing adapters are let through", "if found.keys() != expected.keys():", "if not found.keys() <= expected.keys():"),
    ("shapes are not compared", "(value.shape, value.dtype) != (here.shape, here.dtype)", "value.dtype != here.dtype"),
    ("dtypes are not compared", "(value.shape, value.dtype) != (here.shape, here.dtype)", "value.shape != here.shape"),
    ("α and scaling are not compared", "if metadata != _description(model):", "if False:"),
    ("half the adapters are loaded", 'zip("ab", pair, strict=True)', 'zip("ab", pair[::-1], strict=True)'),
]  # fmt: skip
