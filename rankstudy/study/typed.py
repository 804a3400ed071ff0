"""Typed results and the plain values that the store keeps of them.

A result is a frozen dataclass whose fields are arrays, plain values, other such dataclasses, or lists and string-keyed
dictionaries of these. The store keeps it by its fields; one that may be missing has None as its default, and is left
out where it is. Reading ignores what a class has no field for, so that a result which an older class wrote can be
shown as long as nothing is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from cattrs import BaseValidationError, Converter, transform_error
from numpy.typing import NDArray

Result = TypeVar("Result")

# what a field of a result is, beside the class of its numbers; its shape stands in the comment behind the field
Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
Flags = NDArray[np.bool_]

_converter = Converter()


def _is_array(kind: object) -> bool:
    return getattr(kind, "__origin__", kind) is np.ndarray


_converter.register_structure_hook_func(_is_array, lambda value, _: _array(value))


def _array(value: object) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"expected an array, found {type(value).__name__}")
    return value


def values(result: object) -> dict[str, Any]:
    """The fields of a result as nested dictionaries, lists, arrays and plain values.

    Raises: TypeError if it is no dataclass.

    Example: `values(Tuning(rates, accuracy, loss))["learning_rate"]` is `rates`.
    """
    if not dataclasses.is_dataclass(result) or isinstance(result, type):
        raise TypeError(f"a result must be a dataclass, got {type(result).__name__}")
    return _plain(result)


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: _plain(item) for field, item in pairs if item is not None or field.default is not None}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def result(kind: type[Result], stored: Mapping[str, object]) -> Result:
    """The result of that class out of its values.

    Raises: ValueError that names each field that is missing or of the wrong kind.

    Example: `result(Tuning, values(tuning))` equals `tuning`.
    """
    try:
        return _converter.structure(stored, kind)
    except BaseValidationError as error:
        wrong = "; ".join(transform_error(error)[:3])
        raise ValueError(f"a stored {kind.__name__} does not fit: {wrong}") from error
