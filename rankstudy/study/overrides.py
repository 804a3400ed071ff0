"""Settings from outside: `run overfitting --set network.widths=784,512,512,10`, or RANKSTUDY_SET for any command.

RANKSTUDY_SET holds `EXPERIMENT.FIELD=VALUE`, several separated by semicolons. What is changed is a question of its own
in the store: nothing that was computed with other settings is lost or shown in its place.
"""

from __future__ import annotations

import ast
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, get_type_hints

from cattrs import BaseValidationError, Converter

from rankstudy import UsageError

VARIABLE = "RANKSTUDY_SET"
Settings = TypeVar("Settings")
_converter = Converter()


def asked(experiment: str, known: Sequence[str]) -> dict[str, str]:
    """Field -> value, as text, of what RANKSTUDY_SET changes in an experiment.

    Raises: UsageError for what is no `EXPERIMENT.FIELD=VALUE`, or of no experiment.
    """
    found = {}
    for part in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(";"))):
        path, equals, value = (each.strip() for each in part.partition("="))
        name, dot, field = path.partition(".")
        if not (equals and dot and field) or name not in known:
            raise UsageError(
                f"{VARIABLE} holds {part!r}; it must be EXPERIMENT.FIELD=VALUE, as in "
                f"overfitting.network.widths=784,512,512,10, with an experiment of {', '.join(known)}"
            )
        if name == experiment:
            found[field] = value
    return found


def applied(settings: Settings, changes: dict[str, str]) -> Settings:
    """The settings with fields changed; a path leads through fields and, in a tuple, numbers.

    Raises: UsageError that names the field, and says what there is or what was wrong with the value.

    Example: `applied(config, {"network.widths": "784,64,10"}).network.widths` is `(784, 64, 10)`.
    """
    for path, value in changes.items():
        settings = _changed(settings, path.split("."), value, path)
    return settings


def differences(today: object, stored: object, path: str = "") -> Iterator[str]:
    """What a stored config, as plain values, has otherwise than another: `network.widths=784,64,10`."""
    if isinstance(today, dict) and isinstance(stored, dict):
        for name in today:
            if name in stored and name != "class":
                yield from differences(today[name], stored[name], f"{path}.{name}" if path else name)
    elif isinstance(today, list) and isinstance(stored, list) and len(today) == len(stored) and _nested(today):
        for index, (one, other) in enumerate(zip(today, stored, strict=True)):
            yield from differences(one, other, f"{path}.{index}")
    elif today != stored:
        shown = ",".join(map(str, stored)) if isinstance(stored, list) and not _nested(stored) else str(stored)
        yield f"{path}={shown}"


def _nested(values: list[object]) -> bool:
    return any(isinstance(value, (list, dict)) for value in values)


def _changed(settings: Any, path: list[str], value: str, whole: str) -> Any:
    name, *rest = path
    if isinstance(settings, tuple):
        if not name.isdecimal() or int(name) >= len(settings):
            raise UsageError(f"--set {whole}: {name!r} is none of the numbers 0 to {len(settings) - 1}")
        if not rest:
            raise UsageError(f"--set {whole}: name a field of what stands there")
        index = int(name)
        return (*settings[:index], _changed(settings[index], rest, value, whole), *settings[index + 1 :])
    if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
        raise UsageError(f"--set {whole}: there is nothing below {'.'.join(whole.split('.')[: -len(path)])}")
    fields = [field.name for field in dataclasses.fields(settings)]
    if name not in fields:
        raise UsageError(f"--set {whole}: there is no field {name!r}; there are {', '.join(fields)}")
    own = getattr(settings, name)
    if rest:
        new = _changed(own, rest, value, whole)
    elif dataclasses.is_dataclass(own):
        inside = ", ".join(f"{whole}.{field.name}" for field in dataclasses.fields(own))
        raise UsageError(f"--set {whole}: it has fields of its own: {inside}")
    else:
        new = _read(value, get_type_hints(type(settings))[name], whole)
    try:
        return dataclasses.replace(settings, **{name: new})
    except (ValueError, TypeError) as error:
        raise UsageError(f"--set {whole}={value}: {error}") from error


def _read(text: str, kind: Any, whole: str) -> Any:
    """The value in a text, of the field's type."""
    try:
        literal = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        literal = None if text.lower() == "none" else {"true": True, "false": False}.get(text.lower(), text)
    if str(kind).startswith("tuple") and not isinstance(literal, (tuple, list)):
        literal = (literal,)
    try:
        value = _converter.structure(literal, kind)
    except (BaseValidationError, ValueError, TypeError) as error:
        raise UsageError(f"--set {whole}={text}: not a value of {getattr(kind, '__name__', kind)}") from error
    if value != (tuple(literal) if isinstance(literal, list) else literal) or isinstance(value, bool) != isinstance(
        literal, bool
    ):
        raise UsageError(f"--set {whole}={text}: not a value of {getattr(kind, '__name__', kind)}")
    return value
