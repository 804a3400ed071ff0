"""A study at a smaller scale: the same conditions with fewer seeds, epochs, images, units and learning rates.

An experiment writes down its `full` settings; `quick` and `smoke` are those, scaled. Nothing is left out, so every page
has the same rows under every profile.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from rankstudy import config

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The most that is allowed of each; None: as it is."""

    seeds: int | None = None  # fields `seeds` and `…_seeds`
    epochs: int | None = None  # of every training, and of fields `…epochs`
    train_size: int | None = None  # images of every training split
    validation_size: int | None = None
    width: int | None = None  # units of a hidden layer
    rates: int | None = None  # learning rates that are tried: the middle ones of fields `…rates`
    images: int | None = None  # fields `images`: what is measured on


QUICK = Scale(seeds=3, epochs=3, train_size=6000, validation_size=1000, width=256, rates=1, images=200)
SMOKE = Scale(seeds=2, epochs=2, validation_size=200, width=32, rates=1, images=200)


def scaled(settings: Settings, scale: Scale) -> Settings:
    """The settings within a scale, recursively: every network, training and data set in them, and fields by their name.

    >>> scaled(config.Training(10, learning_rate=3e-3), Scale(epochs=2)).epochs
    2
    """
    if isinstance(settings, tuple):
        return tuple(scaled(each, scale) for each in settings)  # type: ignore[return-value]
    if isinstance(settings, config.Network):
        first, *hidden, last = settings.widths
        return replace(settings, widths=(first, *(_least(width, scale.width) for width in hidden), last))
    if isinstance(settings, config.Data):
        size = scale.train_size if settings.train_size is None else _least(settings.train_size, scale.train_size)
        return replace(
            settings, train_size=size, validation_size=_least(settings.validation_size, scale.validation_size)
        )
    if not is_dataclass(settings) or isinstance(settings, type):
        return settings
    return replace(
        settings, **{each.name: _field(each.name, getattr(settings, each.name), scale) for each in fields(settings)}
    )


def _field(name: str, value: Any, scale: Scale) -> Any:
    """A field's value, by the field's name where that says what it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        last = name.rpartition("_")[2]
        return _least(value, getattr(scale, last)) if last in ("seeds", "epochs", "images") else value
    if name.rpartition("_")[2] == "rates" and isinstance(value, tuple):
        return _middle(value, scale.rates)
    return scaled(value, scale)


def _middle(rates: tuple[Any, ...], count: int | None) -> tuple[Any, ...]:
    """The middle ones of rates in order; of pairs (name, rates), each pair's."""
    if count is None:
        return rates
    if any(isinstance(each, tuple) for each in rates):
        return tuple((name, _middle(each, count)) for name, each in rates)
    start = max(0, (len(rates) - count + 1) // 2)
    return rates[start : start + count]


def _least(value: int, most: int | None) -> int:
    return value if most is None else min(value, most)
