"""rankstudy: what is the rank of a trained neural network, and what is it good for?

Importing the package trains nothing, reads nothing, downloads nothing and does not import torch.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# what a newcomer types first -> where it is; imported on first use, since some of them need torch
_LAZY = {
    "Data": "config.Data",
    "Network": "config.Network",
    "Training": "config.Training",
    "eliminate": "rank.eliminate",
    "matrix_rank": "rank.matrix_rank",
    "pivots": "rank.pivots",
    "rank_tolerance": "rank.rank_tolerance",
    "entropy_rank": "spectrum.effective_rank",  # Roy and Vetterli's, whose own name there is older
    "stable_rank": "spectrum.stable_rank",
    "input_baseline": "spectrum.input_baseline",
    "alternating_gradient": "factorization.alternating_gradient",
    "alternating_least_squares": "factorization.alternating_least_squares",
    "break_even_rank": "factorization.break_even_rank",
    "smallest_rank": "factorization.smallest_rank",
    "truncated_svd": "factorization.truncated_svd",
    "LowRankLinear": "layers.LowRankLinear",
    "MLP": "layers.MLP",
    "build": "layers.build",
    "factorised": "layers.factorised",
    "LoRALinear": "lora.LoRALinear",
    "add_lora": "lora.add_lora",
    "merged": "lora.merged",
    "evaluate": "training.evaluate",
    "train": "training.train",
    "finetune": "finetuning.finetune",
    "example_network": "study.example.example_network",
    "analyze": "tools.checkpoint.analyze",
    "compress": "tools.compression.compress",
    "load_compressed": "tools.loading.load_compressed",
    "extract_adapter": "tools.extraction.extract_adapter",
}
__all__ = ["UsageError", *_LAZY]


class UsageError(Exception):
    """Something the user can mend. The message is one line that says what was found and what is allowed;
    the command line prints it and exits with code 2, without a traceback."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, _, own = _LAZY[name].rpartition(".")
        return getattr(import_module(f"rankstudy.{module}"), own)
    if name == "effective_rank":  # two things are called so
        raise AttributeError(
            "rankstudy has no effective_rank: entropy_rank is Roy and Vetterli's, and smallest_rank(w, 0.2) the least "
            "rank that approximates w within that error"
        )
    near = "" if name.startswith("_") else ", ".join(get_close_matches(name, __all__, cutoff=0.7))
    raise AttributeError(f"module 'rankstudy' has no attribute {name!r}" + (f"; there is {near}" if near else ""))


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
