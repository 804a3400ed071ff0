"""What was expected of fine-tuning with LoRA; docs/hypotheses/08.md says why."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.lora import Condition, LoRA, Variant

ACCURACY = "sec-evidence-lora-accuracy"
MASKED = "sec-evidence-lora-masked"
COSTS = "sec-evidence-lora-costs"
UPDATES = "sec-evidence-lora-updates"
VARIANTS = "sec-evidence-lora-variants"
LEARNED = 0.95  # of the new digit's images
HALF_A_POINT = 0.5  # the smallest difference in accuracy that would matter


@hypothesis(
    "masked-forgetting",
    "Without replay, with the new digit's logit masked, LoRA of rank 4 loses less than half of what it loses "
    "unmasked on the old digits, where it stops.",
    family="lora",
    tier="primary",
    expects="below",
    unit="points",
    scale=100,
    evidence=MASKED,
)
def masked(lora: LoRA) -> np.ndarray | None:
    return _beyond_half(lora, lora.of("lora", replay=False))


@hypothesis(
    "masked-forgetting-full",
    "Without replay, with the new digit's logit masked, full fine-tuning loses less than half of what it loses "
    "unmasked on the old digits, where it stops.",
    family="lora",
    expects="below",
    unit="points",
    scale=100,
    evidence=MASKED,
)
def masked_full(lora: LoRA) -> np.ndarray | None:
    return _beyond_half(lora, lora.of("full", replay=False))


@hypothesis(
    "lora-offset",
    "Without replay, LoRA of rank 4 ends with a higher harmonic mean of new and old test accuracy than the network "
    "that is not trained, but has the best single offset on the new digit's logit.",
    family="lora",
    tier="secondary",
    expects="above",
    unit="points",
    scale=100,
    evidence=MASKED,
)
def offset(lora: LoRA) -> np.ndarray | None:
    return None if lora.tilted is None else lora.of("lora", replay=False).test.harmonic - lora.tilted.harmonic


@hypothesis(
    "lora-untouched",
    "Without replay, LoRA of rank 4 ends with a lower test accuracy on all ten digits than the network that is not "
    "fine-tuned.",
    family="lora",
    expects="below",
    unit="points",
    scale=100,
    evidence=ACCURACY,
)
def untouched(lora: LoRA) -> np.ndarray:
    return lora.of("lora", replay=False).test.overall - lora.before.overall


@hypothesis(
    "lora-collapse",
    "After the last step without replay, LoRA at every rank and full fine-tuning are worse on all ten digits than "
    "the network that is not fine-tuned, for every digit.",
    family="lora",
    expects="every",
    evidence=ACCURACY,
)
def collapse(lora: LoRA) -> np.ndarray:
    moved = [each for each in lora.alike(replay=False) if each.method in ("lora", "full")]
    return np.stack([each.end.overall < lora.before.overall for each in moved], axis=1)


@hypothesis(
    "lora-learns",
    "With replay, LoRA of rank 4 classifies more than 95 % of the new digit's test images correctly.",
    family="lora",
    expects="above",
    unit="points",
    scale=100,
    evidence=ACCURACY,
)
def learns(lora: LoRA) -> np.ndarray:
    return lora.of("lora", replay=True).test.new - LEARNED


@hypothesis(
    "lora-replay-harmonic",
    "With replay, LoRA of rank 4 ends with a higher harmonic mean of new and old test accuracy than full fine-tuning.",
    family="lora",
    tier="secondary",
    expects="above",
    matters=HALF_A_POINT,
    unit="points",
    scale=100,
    evidence=ACCURACY,
)
def replay_harmonic(lora: LoRA) -> np.ndarray:
    return lora.of("lora", replay=True).test.harmonic - lora.of("full", replay=True).test.harmonic


@hypothesis(
    "lora-replay-overall",
    "With replay, LoRA of rank 4 ends with a higher test accuracy on all ten digits than full fine-tuning.",
    family="lora",
    tier="secondary",
    expects="above",
    matters=HALF_A_POINT,
    unit="points",
    scale=100,
    evidence=ACCURACY,
)
def replay_overall(lora: LoRA) -> np.ndarray:
    return _overall(lora.of("lora", replay=True), lora.of("full", replay=True))


@hypothesis(
    "lora-rank",
    "With replay, LoRA of the largest rank ends with a higher test accuracy on all ten digits than that of rank 1.",
    family="lora",
    expects="above",
    matters=HALF_A_POINT,
    unit="points",
    scale=100,
    evidence=ACCURACY,
)
def rank(lora: LoRA) -> np.ndarray:
    return _overall(lora.of("lora", lora.ranks[-1], replay=True), lora.of("lora", 1, replay=True))


@hypothesis(
    "lora-row",
    "With replay, training the new output's weights alone ends with a higher test accuracy on all ten digits than "
    "LoRA of rank 4.",
    family="lora",
    expects="above",
    matters=HALF_A_POINT,
    unit="points",
    scale=100,
    evidence=ACCURACY,
)
def row(lora: LoRA) -> np.ndarray:
    return _overall(lora.of("row", replay=True), lora.of("lora", replay=True))


@hypothesis(
    "lora-rslora",
    "With replay, at rank 16 and a learning rate tuned at rank 4, the scale α/√r ends with a higher test accuracy "
    "than α/r.",
    family="lora",
    expects="above",
    matters=HALF_A_POINT,
    unit="points",
    scale=100,
    evidence=VARIANTS,
)
def rslora(lora: LoRA) -> np.ndarray | None:
    return _gain(lora.variant("rslora", 16), lora.variant("lora", 16))


@hypothesis(
    "lora-pissa",
    "With replay, at rank 4, starting the adapter at W's leading directions (PiSSA) ends with a higher test "
    "accuracy than starting it at zero.",
    family="lora",
    expects="above",
    matters=HALF_A_POINT,
    unit="points",
    scale=100,
    evidence=VARIANTS,
)
def pissa(lora: LoRA) -> np.ndarray | None:
    return _gain(lora.variant("pissa", 4), lora.variant("lora", 4))


@hypothesis(
    "lora-update-low-rank",
    "With replay, 90 % of full fine-tuning's update lies in fewer than 16 directions in the square layers, where it"
    " stops.",
    family="lora",
    expects="below",
    unit="directions",
    evidence=UPDATES,
)
def update_low_rank(lora: LoRA) -> np.ndarray:
    return lora.of("full", replay=True).update.energy_rank[:, lora.square] - 16


@hypothesis(
    "lora-update-aligned",
    "With replay, full fine-tuning changes a square matrix along its own ten leading directions more than chance "
    "would.",
    family="lora",
    expects="above",
    unit="% of ‖ΔW‖²",
    scale=100,
    evidence=UPDATES,
)
def update_aligned(lora: LoRA) -> np.ndarray:
    update = lora.of("full", replay=True).update
    return (update.share - update.chance)[:, lora.square]


@hypothesis(
    "lora-activations",
    "LoRA keeps at least as many bytes of activations for the backward pass as full fine-tuning, at every rank.",
    family="lora",
    expects="every",
    evidence=COSTS,
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
    evidence=COSTS,
)
def step_slower(lora: LoRA) -> np.ndarray:
    return lora.step_ratio - 1


def _beyond_half(lora: LoRA, condition: Condition) -> np.ndarray | None:
    """(digits,) loss on the old digits, masked, less half of it unmasked."""
    if lora.before.old_masked is None or condition.test.old_masked is None:
        return None
    return (lora.before.old_masked - condition.test.old_masked) - (lora.before.old - condition.test.old) / 2


def _overall(one: Condition, other: Condition) -> np.ndarray:
    return one.test.overall - other.test.overall


def _gain(one: Variant | None, other: Variant | None) -> np.ndarray | None:
    return None if one is None or other is None else one.test.overall - other.test.overall
