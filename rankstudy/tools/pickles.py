"""torch's own files, of which nothing is run: only what `weights_only` lets through is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rankstudy import UsageError


def torch_load(path: Path, name: str, mmap: bool) -> Any:
    """What `torch.load(weights_only=True)` gives, on the CPU, mapped into memory where the format allows.

    Raises:
        UsageError: the file is damaged, or holds a class that is not loaded; the message names it.
    """
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():  # torch's remarks on the format; what matters is an error
            warnings.simplefilter("ignore")
            if mmap and path.suffix != ".safetensors":  # whose name alone torch would believe; the old format has none
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            with open(path, "rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        what = _refused(str(error)) or _first_class(path)
        if what is None:
            reason = _first_line(error)
            raise UsageError(f"{name} {path} is no checkpoint (a damaged or foreign pickle): {reason}") from error
        raise UsageError(
            f"{name} {path} is a pickle that holds more than tensors ({what}) and may run code; it is not loaded. "
            "Save model.state_dict() instead"
        ) from error
    except Exception as error:  # a damaged pickle may raise anything: IndexError, struct.error, KeyError …
        raise UsageError(f"{name} {path} is no checkpoint that torch can read: {_first_line(error)}") from error


def _refused(message: str) -> str | None:
    """The class or function that torch's unpickler names."""
    found = re.search(
        r"GLOBAL ([\w.]+)|class ([\w.]+)|function ([\w.]+) which is blocked|type <class '([\w.]+)'>", message
    )
    return next(filter(None, found.groups()), None) if found else None


def _first_class(path: Path) -> str | None:
    """The first class that an old pickle names and torch does not know, read without building anything."""
    import pickletools

    strings: list[str] = []
    try:
        with open(path, "rb") as file:
            for code, argument, _ in pickletools.genops(file):
                if code.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if code.name == "STACK_GLOBAL" and len(strings) > 1:
                    return ".".join(strings[-2:])
                if isinstance(argument, str):
                    strings.append(argument)
    except Exception:  # a pickle that ends early says nothing more
        return None
    return None


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__
