"""Ways to break rankstudy/targets.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/targets.py"
TESTS = ("tests/test_targets.py",)
MUTANTS = [
    ("a whole name is an ending too", " or [name for name in names if name.endswith", " + [name for name in names if name.endswith"),
    ("an ending need not be a part", 'name.endswith(f".{target}")', "name.endswith(target)"),
    ("regular expressions match a beginning", "re.fullmatch(target, name)", "re.match(target, name)"),
    ("nothing is a target", "    if not found:\n        raise", "    if False:\n        raise"),
    ("what cannot be is passed over", "        if name in others:\n", "        if False:\n"),
    ("the order is that of the targets", "return [part for parts in layers.values() for part in parts if part in found]", "return sorted(found, reverse=True)"),
    ("an expression that is none", "        except re.error as error:\n", "        except KeyError as error:\n"),
    ("a general key wins", "key=lambda item: item[0] in parts)", "key=lambda item: item[0] not in parts)"),
    ("two values for one", "and found[part] != value:", "and False:"),
    ("lazy layers are let in", "    if any(is_lazy(parameter) for parameter in layer.parameters()):\n", "    if False:\n"),
    ("an object's own forward is let in", '    if "forward" in vars(layer):\n', "    if False:\n"),
    ("weights made by hooks are let in", "    if weight is None:\n", "    if False:\n"),
    ("integers are let in", "if not weight.is_floating_point() or ", "if "),
    ("packed weights are let in", " or weight.shape != (layer.out_features, layer.in_features):", ":"),
    ("parametrised layers are kept out", '    if parametrize.is_parametrized(layer, "weight"):\n        return None\n', ""),
    ("no forward is a subclass's own", "return type(layer).forward is not nn.Linear.forward", "return type(layer) is not nn.Linear"),
    ("vectors are matrices", "(is_lazy(p) or p.ndim > 1)", "(is_lazy(p) or p.ndim > 0)"),
    ("lazy parameters are asked for their shape", "(is_lazy(p) or p.ndim > 1)", "(p.shape and p.ndim > 1)"),
]  # fmt: skip
