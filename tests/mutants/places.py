"""Ways to break rankstudy/places.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/places.py"
TESTS = ("tests/test_places.py",)
MUTANTS = [
    ("out_proj is called", "        if id(module) in read:\n            continue\n", ""),
    ("out_proj is left out", '            own[join(path, "out_proj")] = Place(paths[id(module.out_proj)], inside=True)\n', ""),
    ("any attention will do", "and type(module).forward is nn.MultiheadAttention.forward", ""),
    ("queries and values are exchanged", '("q_proj", "k_proj", "v_proj")  #', '("v_proj", "k_proj", "q_proj")  #'),
    ("rows overlap", "(i + 1) * module.embed_dim) for i", "(i + 2) * module.embed_dim) for i"),
    ("separate weights are taken for packed ones", "    if not module._qkv_same_embed_dim:\n", "    if False:\n"),
    ("a subclass's forward is passed over", "inside=own_forward(module) or parametrize", "inside=parametrize"),
    ("parametrised layers are wrapped", 'inside=own_forward(module) or parametrize.is_parametrized(module, "weight")', "inside=own_forward(module)"),
    ("factorised layers are left out", "        elif isinstance(module, LowRankLinear):\n            own[path] = Place(path)\n", ""),
    ("convolutions are not known of", "elif has_matrix(module):", "elif False:"),
    ("weights made by hooks are let in", '                reason = "one of its weights is no parameter"', "                reason = None"),
    ("refused layers are let in", "            reason = refusal(module)\n", ""),
]  # fmt: skip
