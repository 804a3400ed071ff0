"""Fine-tuning step by step: what it gives back can be plotted; tests/test_chapter_lora.py has what it does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankstudy import MLP, add_lora
from rankstudy.data import Dataset, Split
from rankstudy.finetuning import finetune
from rankstudy.training import evaluate


def split(count: int, seed: int = 0) -> Split:
    """Images whose brightest of three pixels is their label, so that they can be learned."""
    images = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return Split(images, images.argmax(1))


DATASET = Dataset("digits", "none", split(60), split(30, 1), split(30, 2))


def network() -> nn.Module:
    torch.manual_seed(0)
    return MLP(3, 8, 3)


def test_every_step_is_told():
    """Loss and accuracy are those of the step's batch before its update, and the rate falls as half a cosine."""
    batches: list[tuple[float, float]] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = self.inner(x)
            batches.append(
                (F.cross_entropy(logits, x.argmax(1)).item(), (logits.argmax(1) == x.argmax(1)).float().mean().item())
            )
            return logits

    steps = finetune(Watched(), split(60), learning_rate=0.01, steps=20, batch_size=10, seed=3)
    assert steps.step.tolist() == list(range(1, 21))
    np.testing.assert_array_equal(np.stack([steps.loss, steps.accuracy], 1), np.array(batches))
    np.testing.assert_allclose(steps.learning_rate, [0.01 * (1 + math.cos(math.pi * i / 20)) / 2 for i in range(20)])
    assert steps.at.shape == steps.validation_loss.shape == steps.validation_accuracy.shape == (0,)


def test_of_a_data_set_the_training_split_is_learned_and_validation_evaluated():
    model, alone = network(), network()
    scores = []
    steps = finetune(
        model,
        DATASET,
        steps=40,
        batch_size=10,
        at=(0, 7, 40),
        look=lambda step: scores.append(evaluate(model, DATASET.validation)),
    )
    finetune(alone, DATASET.train, steps=40, batch_size=10)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), alone.parameters(), strict=True))
    assert steps.at.tolist() == [0, 7, 40]
    np.testing.assert_array_equal(np.stack([steps.validation_loss, steps.validation_accuracy], 1), np.array(scores))
    assert finetune(network(), DATASET, steps=40, batch_size=10).at.tolist() == list(range(0, 41, 2))
    assert finetune(network(), DATASET, steps=3, batch_size=10).at.tolist() == [0, 1, 2, 3]


def test_an_adapted_model_learns_by_default():
    torch.manual_seed(1)
    steps = finetune(add_lora(network(), 2), DATASET, learning_rate=0.03, steps=200)
    assert len(steps.loss) == 200 and steps.validation_accuracy[-1] > steps.validation_accuracy[0] + 0.3
    assert steps.loss[-1] < steps.loss[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": network().requires_grad_(False)}, "model has no parameter that requires a gradient"),
        ({"new": split(0)}, "new must hold at least one image"),
        ({"old": split(0)}, "old must hold at least one image"),
        ({"steps": 0}, "steps must be at least 1 and batch_size too"),
        ({"batch_size": 0}, "steps must be at least 1 and batch_size too"),
        ({"batch_size": 1, "old": split(5)}, r"batch_size too \(2 with old\)"),
    ],
)
def test_an_impossible_fine_tuning_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        finetune(**{"model": network(), "new": split(5), **options})
