"""Ways to break rankstudy/replace.py, each of which a test must notice: (what is wrong, old text, new text)."""
# ruff: noqa: E501

FILE = "rankstudy/replace.py"
TESTS = ("tests/test_replace.py",)
MUTANTS = [
    ("the argument is changed", "    model = copied(model)\n", ""),
    ("a wrapped module contains itself", "                inner._modules[key], wrapped = old, True", "                wrapped = True"),
    ("hooks run twice", "            vars(old)[kind] = type(own)()\n", "            pass\n"),
    ("hooks are lost", "        vars(new)[kind].update(own)\n", "        pass\n"),
    ("gradients' hooks are taken for another kind", "        new._is_full_backward_hook, old._is_full_backward_hook = module._is_full_backward_hook, None\n", "        pass\n"),
    ("hooks on the state dict are lost", "    if not wrapped and any(", "    if False and any("),
    ("hooks on the state dict are refused always", "    if not wrapped and any(", "    if any("),
    ("new modules train", "    new.training = old.training\n", ""),
    ("the class stays", "    module.__class__ = type(new)\n", ""),
    ("copies share a class", "            module.__class__ = type(kind)(kind.__name__, kind.__bases__, own)\n", "            pass\n"),
    ("what hooks compute is not copied", ", {id(value): value.detach().clone() for value in computed})", ")"),
    ("what hooks compute is shared", "value.detach().clone() for value", "value for value"),
    ("ties name the first alone", "for name in names}\n", "for name in names[:1]}\n"),
    ("a name begins with a dot", 'return f"{path}.{own}" if path else own', 'return f"{path}.{own}"'),
]  # fmt: skip
