"""Another layer in the place of one, in a copy of a model: wherever the one stood, and with what hung on it.

A layer is replaced by *becoming* the other: the object stays, its class and contents change. So it is replaced in every
place at once, be it used twice, kept in a list, bound to a hook, or the whole model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.utils import parametrize

HOOKS = [name for name in vars(nn.Module()) if name.startswith(("_forward", "_backward"))]  # on calls and gradients
STATE_HOOKS = [name for name in vars(nn.Module()) if "state_dict" in name]


def replaced(model: nn.Module, make: Callable[[str, nn.Module], nn.Module | None]) -> nn.Module:
    """A copy of the model in which each module is what `make(name, module)` gives for it, or stays if that is None.

    `make` is asked once for each module of the copy, by the first of its names, parents before children. It may use up
    what it is given: wrap the module, take over its parameters (which keeps them tied), or change it and return None.
    Whoever used the old module uses the new one, which has the old one's hooks on calls and gradients, and its training
    flag. Hooks on the state dict stay with a module that is wrapped.

    Example:
        replaced(model, lambda name, layer: nn.GELU() if isinstance(layer, nn.ReLU) else None)

    Raises: ValueError if hooks on the state dict would be lost; the module is named.
    """
    model = copied(model)
    replace_(model, make)
    return model


def replace_(model: nn.Module, make: Callable[[str, nn.Module], nn.Module | None]) -> None:
    """`replaced`, in the model itself."""
    for name, module in list(model.named_modules()):
        new = make(name, module)
        if new is not None and new is not module:
            _become(name, module, new)


def _become(name: str, module: nn.Module, new: nn.Module) -> None:
    """Make `module` be `new`; where `new` wraps `module`, the old contents move into an object of their own."""
    old = object.__new__(type(module))
    object.__setattr__(old, "__dict__", module.__dict__)
    wrapped = False
    for inner in list(new.modules()):
        for key, child in inner._modules.items():
            if child is module:
                inner._modules[key], wrapped = old, True
    if not wrapped and any(vars(module)[kind] for kind in STATE_HOOKS):
        raise ValueError(f"{name!r} has hooks on its state dict, which a {type(new).__name__} cannot keep")
    hooks = {kind: vars(module)[kind] for kind in HOOKS}
    for kind, own in hooks.items():
        if wrapped:
            vars(old)[kind] = type(own)()
        vars(new)[kind].update(own)
    if module._is_full_backward_hook is not None:
        new._is_full_backward_hook, old._is_full_backward_hook = module._is_full_backward_hook, None
    new.training = old.training
    object.__setattr__(module, "__dict__", new.__dict__)
    module.__class__ = type(new)


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of the model that shares nothing with it.

    `copy.deepcopy` leaves parametrised modules the class of the original, on which torch keeps their tensors as
    properties: whoever takes a parametrisation off the copy takes it off the original. And it refuses tensors that
    were computed from parameters, as the old `torch.nn.utils.weight_norm`, `spectral_norm` and `prune` leave behind in
    a module until its next call: here the copy has their values.
    """
    held = [value for each in model.modules() for value in [*vars(each).values(), *each.buffers(recurse=False)]]
    computed = [value for value in held if isinstance(value, Tensor) and not value.is_leaf]
    model = copy.deepcopy(model, {id(value): value.detach().clone() for value in computed})
    for module in model.modules():
        if parametrize.is_parametrized(module):
            kind = type(module)
            own = {key: value for key, value in vars(kind).items() if key not in ("__dict__", "__weakref__")}
            module.__class__ = type(kind)(kind.__name__, kind.__bases__, own)
    return model


def ties(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Which parameters are one tensor: the name of each -> the names of all that are the same one, itself included.

    Names are those of distinct modules: a module used in two places has its parameters listed once.
    """
    groups: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        for own, parameter in module._parameters.items():
            if parameter is not None:
                groups.setdefault(id(parameter), []).append(join(path, own))
    return {name: tuple(names) for names in groups.values() for name in names}


def join(path: str, own: str) -> str:
    """The name of a module's own parameter or part; the model itself has the name ""."""
    return f"{path}.{own}" if path else own
