"""rankstudy: what is the rank of a trained neural network, and what is it good for?

Importing the package trains nothing, reads nothing, downloads nothing and does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "analyze": "tools.checkpoint",
    "compress": "tools.compression",
    "load_compressed": "tools.loading",
    "extract_adapter": "tools.extraction",
}
__all__ = ["UsageError", "analyze", "compress", "extract_adapter", "load_compressed"]


class UsageError(Exception):
    """Something the user can mend. The message is one line that says what was found and what is allowed;
    the command line prints it and exits with code 2, without a traceback."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"rankstudy.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'rankstudy' has no attribute {name!r}")
