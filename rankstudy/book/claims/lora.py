"""What was expected of fine-tuning with LoRA."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.views import LoRA


@hypothesis(
    "lora-activations",
    "LoRA keeps at least as many bytes of activations for the backward pass as full fine-tuning, at every rank.",
    family="lora",
    expects="every",
    evidence="sec-lora",
)
def activations(lora: LoRA) -> np.ndarray:
    return lora.activations >= lora.activations_full


@hypothesis(
    "lora-step-slower",
    "On networks this small, a training step with LoRA takes longer than one of full fine-tuning.",
    family="lora",
    expects="above",
    unit="%",
    scale=100,
    evidence="sec-lora",
)
def step_slower(lora: LoRA) -> np.ndarray:
    return lora.step_ratio - 1
