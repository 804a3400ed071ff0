"""What chapter 8 asks of its data; each test was written before the result was seen."""

from __future__ import annotations

import numpy as np

from rankstudy import claims
from rankstudy.chapters.lora_accuracies import MATCHED, TEST, Accuracies
from rankstudy.chapters.lora_costs import scientific
from rankstudy.intervals import estimate, percent


def forgetting(found: Accuracies) -> list[claims.Claim]:
    """On the new digit alone."""
    moved = [index for index, name in enumerate(found.labels) if "LoRA" in name or "full" in name]
    alone = [index for index in moved if not found.replay[index]]
    end, before = found.ended["overall"][:, alone], found.before["overall"][:, TEST]
    counts = {found.labels[index]: int((found.ended["overall"][:, index] >= before).sum()) for index in alone}
    better = ", ".join(f"{label} ({count} of {len(before)} digits)" for label, count in counts.items() if count)
    lora = found.matched_gain(found.middle, "full fine-tuning", False)
    low, high = f"LoRA r = {found.ranks[0]}", f"LoRA r = {found.ranks[-1]}"
    rank = found.matched_gain(high, low, False)
    at = f"at the same accuracy on the new digit ({percent(MATCHED, 0)})"
    return [
        claims.every(
            "lora-collapse",
            end.max(axis=1) < before,
            holds="Trained to the last step on the new digit alone, LoRA at any rank and full fine-tuning all leave a "
            "worse classifier of the ten digits than there was before.",
            fails="Trained to the last step on the new digit alone, LoRA or full fine-tuning does not always leave a "
            f"worse classifier of the ten digits than there was before: not {better}.",
            evidence=f"n = {len(before)} digits; test accuracy {estimate(before).percent()} before, "
            f"{estimate(end.mean(axis=1)).percent()} after, mean over arms",
            surprise=1,
        ),
        claims.compare(
            "lora-forgets-less",
            lora,
            holds=f"Without replay, {found.middle} forgets less than full fine-tuning {at}.",
            fails=f"Without replay, {found.middle} forgets more than full fine-tuning {at}.",
            open=f"Without replay, it is not decided whether {found.middle} or full fine-tuning forgets more {at}.",
            evidence=f"n = {lora.n} digits, difference in old test accuracy {lora.points()}"
            + _edges(found, found.middle, "full fine-tuning"),
            surprise=2,
            confirmatory=True,
        ),
        claims.compare(
            "lora-rank-forgets",
            rank,
            holds=f"Without replay, {high} forgets less than {low} {at}: a higher rank protects better.",
            fails=f"Without replay, {high} forgets more than {low} {at}.",
            open=f"Without replay, it is not decided whether {high} or {low} forgets more {at}.",
            evidence=f"n = {rank.n} digits, difference in old test accuracy {rank.points()}"
            + _edges(found, high, low),
            surprise=2,
        ),
    ]


def _edges(found: Accuracies, *labels: str) -> str:
    """Which of these arms without replay might do better at a rate beyond those tried."""
    arms = [label for label in labels if found.at_edge(label, False)]
    return f"; the best rate of {' and of '.join(arms)} is at the edge of those tried" if arms else ""


def with_replay(found: Accuracies) -> list[claims.Claim]:
    full = found.gain("overall", found.middle, "full fine-tuning", True)
    row = found.gain("overall", "new output row", found.middle, True)
    low, high = f"LoRA r = {found.ranks[0]}", f"LoRA r = {found.ranks[-1]}"
    rank = found.gain("overall", high, low, True)
    n = f"n = {len(found.digits)} digits, difference in test accuracy on all ten"
    return [
        claims.compare(
            "lora-keeps-up",
            full,
            -0.01,
            holds=f"With replay, {found.middle} ends above full fine-tuning on the whole test set."
            if full.low > 0
            else f"With replay, {found.middle} is at most one point behind full fine-tuning on the whole test set.",
            fails=f"With replay, {found.middle} is more than one point behind full fine-tuning on the whole test set.",
            open=f"With replay, whether {found.middle} is more than one point behind full fine-tuning is not decided.",
            evidence=f"{n} {full.points()}",
            confirmatory=True,
        ),
        claims.compare(
            "lora-rank",
            rank,
            holds=f"With replay, {high} ends above {low} on the whole test set.",
            fails=f"With replay, {high} ends below {low} on the whole test set.",
            open=f"With replay, {high} and {low} are not told apart on the whole test set.",
            evidence=f"{n} {rank.points()}",
        ),
        claims.compare(
            "lora-row",
            row,
            holds=f"With replay, to train the new output's row alone does better than {found.middle} on the whole test "
            "set.",
            fails=f"With replay, {found.middle} does better than training the new output's row alone.",
            open=f"With replay, training the new output's row alone and {found.middle} are not told apart.",
            evidence=f"{n} {row.points()}",
            surprise=2,
        ),
    ]


def merging(found: Accuracies) -> claims.Claim:
    ratio = np.max(np.asarray(found.result["merging"])[..., 1], axis=(1, 2))
    return claims.every(
        "lora-merged",
        ratio <= 1,
        holds="Merging an adapter changes no logit by more than rounding allows.",
        fails="Merging an adapter changes some logit by more than rounding allows.",
        evidence=f"n = {ratio.size} digits, every LoRA arm; largest change ÷ bound {scientific(float(ratio.max()))}",
    )
