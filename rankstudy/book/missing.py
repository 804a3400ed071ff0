"""A control that is not published yet: every part of it is no value, so that its page can be read without it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin


class Missing(NDArrayOperatorsMixin):
    """Stands for a result and for each of its parts, and for what is computed of them; as a number it is NaN.

    >>> narrow = Missing("narrow")
    >>> float(100 * narrow.gain()[:, narrow.at] - 1), len(narrow.ranks)
    (nan, 0)
    """

    def __init__(self, experiment: str) -> None:
        self.experiment = experiment

    def __getattr__(self, name: str) -> Missing:
        if name.startswith("_"):  # what others look for in an object, not a part of a result
            raise AttributeError(name)
        return self

    def __getitem__(self, place: Any) -> Missing:
        return self

    def __call__(self, *arguments: Any, **named: Any) -> Missing:
        return self

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Any:
        return iter(())

    def __float__(self) -> float:
        return np.nan

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array([np.nan], dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Missing:
        return self
