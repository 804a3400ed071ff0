"""What was expected of learning against keeping, without replay; docs/hypotheses/08.md says why."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.frontier import Frontier

EVIDENCE = "sec-evidence-lora-frontier"
RANK = 4  # of the LoRA that stands for all


@hypothesis(
    "frontier-lora-full",
    "Without replay, at 90 % on the new digit, LoRA of rank 4 keeps more of the old digits than full fine-tuning, "
    "each at the learning rate and length chosen on other digits.",
    family="frontier",
    tier="primary",
    expects="above",
    unit="points",
    scale=100,
    evidence=EVIDENCE,
)
def lora_full(frontier: Frontier) -> np.ndarray | None:
    return frontier.difference(frontier.of("lora", RANK).old, frontier.of("full").old)


@hypothesis(
    "frontier-same-curve",
    "Without replay, at 90 % on the new digit, LoRA of rank 4 and full fine-tuning keep equally much of the old "
    "digits, to within 3 points.",
    family="frontier",
    expects="within",
    matters=3,
    unit="points",
    scale=100,
    evidence=EVIDENCE,
)
def same_curve(frontier: Frontier) -> np.ndarray | None:
    return lora_full(frontier)


@hypothesis(
    "frontier-tilt",
    "Without replay, at 90 % on the new digit, LoRA of rank 4 keeps more of the old digits than a single offset on "
    "the new digit's logit without any training.",
    family="frontier",
    tier="secondary",
    expects="above",
    unit="points",
    scale=100,
    evidence=EVIDENCE,
)
def tilt(frontier: Frontier) -> np.ndarray | None:
    return frontier.difference(frontier.of("lora", RANK).old, frontier.tilted)


@hypothesis(
    "frontier-rank",
    "Without replay, at 90 % on the new digit, LoRA of rank 16 keeps less of the old digits than that of rank 1, "
    "with α = r.",
    family="frontier",
    expects="below",
    unit="points",
    scale=100,
    evidence=EVIDENCE,
)
def rank(frontier: Frontier) -> np.ndarray | None:
    return frontier.difference(frontier.of("lora", 16).old, frontier.of("lora", 1).old)


@hypothesis(
    "frontier-alpha",
    "Without replay, at 90 % on the new digit and rank 16, α = 4 and α = r keep equally much of the old digits, to "
    "within 3 points, each at its own learning rate.",
    family="frontier",
    expects="within",
    matters=3,
    unit="points",
    scale=100,
    evidence=EVIDENCE,
)
def alpha(frontier: Frontier) -> np.ndarray | None:
    return frontier.difference(frontier.of("lora", 16, 4).old, frontier.of("lora", 16).old)


@hypothesis(
    "frontier-masked",
    "Without replay, at 90 % on the new digit and with its logit masked, LoRA of rank 4 and full fine-tuning keep "
    "equally much of the old digits, to within 3 points.",
    family="frontier",
    expects="within",
    matters=3,
    unit="points",
    scale=100,
    evidence=EVIDENCE,
)
def masked(frontier: Frontier) -> np.ndarray | None:
    return frontier.difference(frontier.of("lora", RANK).old_masked, frontier.of("full").old_masked)


@hypothesis(
    "frontier-shares",
    "Without replay, at 90 % on the new digit, a share of LoRA's whole update keeps as much of the old digits as "
    "stopping early, to within 3 points, at rank 4.",
    family="frontier",
    expects="within",
    matters=3,
    unit="points",
    scale=100,
    evidence=EVIDENCE,
)
def shares(frontier: Frontier) -> np.ndarray | None:
    kept = frontier.of("lora", RANK)
    return frontier.difference(kept.old_shares, kept.old)
