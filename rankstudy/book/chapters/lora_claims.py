"""What chapter 8 asks of its data; each test was written before the result was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.lora_accuracies import MATCHED, TEST, Accuracies
from rankstudy.book.chapters.lora_costs import scientific
from rankstudy.book.stats import Estimate, estimate, listed, number_text, percent

FULL, FORGETS = "full fine-tuning", "lora-forgets-less"


def forgetting(found: Accuracies) -> list[claims.Claim]:
    """On the new digit alone."""
    moved = [index for index, name in enumerate(found.labels) if "LoRA" in name or "full" in name]
    alone = [index for index in moved if not found.replay[index]]
    labels = [found.labels[index] for index in alone]
    end, before = found.ended["overall"][:, alone], found.before["overall"][:, TEST]
    lora = found.matched_gain(found.middle, FULL, False)
    low, high = f"LoRA r = {found.ranks[0]}", f"LoRA r = {found.ranks[-1]}"
    rank = found.matched_gain(high, low, False)
    at = f"at the same accuracy on the new digit ({percent(MATCHED, 0)})"
    edge, rank_edge = _edges(found, found.middle, FULL), _edges(found, high, low)
    others = [rank for rank in found.ranks if f"LoRA r = {rank}" != found.middle]
    rest = f"; other ranks: {told(by_rank(found, others))}" if others else ""
    return [
        claims.every(
            "lora-collapse",
            end.max(axis=1) < before,
            holds="Trained to the last step on the new digit alone, LoRA at any rank and full fine-tuning all leave a "
            "worse classifier of the ten digits than there was before.",
            fails=collapse_exceptions(labels, end >= before[:, None]),
            evidence=f"n = {len(before)} digits; test accuracy {estimate(before).percent()} before, "
            f"{_range_over_arms(labels, end)} after",
            surprise=1,
        ),
        claims.compare(
            FORGETS,
            lora,
            holds=f"Without replay, {found.middle} forgets less than full fine-tuning {at}{edge}{rest}.",
            fails=f"Without replay, {found.middle} forgets more than full fine-tuning {at}{edge}{rest}.",
            open=f"Without replay, it is not decided whether {found.middle} or full fine-tuning forgets more {at}"
            f"{edge}{rest}.",
            evidence=f"n = {lora.n} digits, difference in old test accuracy {lora.points()}"
            f"{own_rates(found, found.middle, FULL, False)}",
            surprise=0 if edge else 2,  # a better rate might turn it: not for the home page
            confirmatory=True,
        ),
        claims.compare(
            "lora-rank-forgets",
            rank,
            holds=f"Without replay, {high} forgets less than {low} {at}{rank_edge}.",
            fails=f"Without replay, {high} forgets more than {low} {at}{rank_edge}.",
            open=f"Without replay, it is not decided whether {high} or {low} forgets more {at}{rank_edge}.",
            evidence=f"n = {rank.n} digits, difference in old test accuracy {rank.points()}"
            f"{own_rates(found, high, low, False)}",
            surprise=0 if rank_edge else 2,
        ),
    ]


def by_rank(found: Accuracies, ranks: Sequence[int]) -> dict[str, list[int]]:
    """At which ranks LoRA forgets "more" or "less" than full fine-tuning without replay at the same new accuracy.

    "Not decided" too where fewer than half the digits reach that accuracy in both arms, or the best rate of one of the
    two is at the edge of those tried.
    """
    groups: dict[str, list[int]] = {"more": [], "less": [], "not decided": []}
    for rank in ranks:
        label = f"LoRA r = {rank}"
        gain = found.matched_gain(label, FULL, False).printed()
        sure = 2 * gain.n >= len(found.digits) and not _edges(found, label, FULL)
        groups["more" if sure and gain.high < 0 else "less" if sure and gain.low > 0 else "not decided"].append(rank)
    return {said: those for said, those in groups.items() if those}


def told(groups: Mapping[str, Sequence[int]]) -> str:
    """More at r = 1, 8 and 16, not decided at r = 2."""
    return ", ".join(f"{said} at r = {listed(those)}" for said, those in groups.items())


def own_rates(found: Accuracies, arm: str, control: str, replay: bool) -> str:
    """What the evidence adds where the two arms' chosen rates differ."""
    a, b = found.rate(arm, replay), found.rate(control, replay)
    return "" if a == b else f", each at its own rate, {a:g} and {b:g}"


def _edges(found: Accuracies, *labels: str) -> str:
    """Which of these arms without replay might do better at a rate beyond those tried."""
    arms = [label for label in labels if found.at_edge(label, False)]
    return f" (the best rate of {' and of '.join(arms)} is at the edge of those tried)" if arms else ""


def collapse_exceptions(labels: list[str], kept: np.ndarray) -> str:
    """Which fine-tunings left no worse a classifier; `kept`: (digits, arms)."""
    count, of = int(kept.sum()), kept.size
    arms = [
        f"{label} ({int(own.sum())} of {len(own)} digits)"
        for label, own in zip(labels, kept.T, strict=True)
        if own.any()
    ]
    rest = f"the other {of - count} are worse" if count < of else "no fine-tuning made it worse"
    return (
        "Trained to the last step on the new digit alone, LoRA or full fine-tuning does not always leave a worse "
        f"classifier of the ten digits than there was before: {count} of {of} fine-tunings (arm × digit, seeds "
        f"averaged) are no worse, in {'arm' if len(arms) == 1 else 'arms'} {', '.join(arms)}; {rest}."
    )


def _range_over_arms(labels: list[str], values: np.ndarray) -> str:
    """The lowest and the highest mean over digits; `values`: (digits, arms)."""
    low, high = (int(at(values.mean(axis=0))) for at in (np.argmin, np.argmax))
    return " to ".join(f"{estimate(values[:, at]).percent()} ({labels[at]})" for at in (low, high))


def forgets_less(found: Accuracies, data: str) -> str:
    """What becomes here of "LoRA forgets less" (Biderman et al. 2024), over the ranks."""
    if data != "mnist":
        return "here that is open, as this is not MNIST"
    groups = by_rank(found, found.ranks)
    edge = _edges(found, *(f"LoRA r = {rank}" for rank in found.ranks), FULL)
    why, step = "", found.neighbours(found.middle, False)
    if "more" in groups:
        why = (
            ". Why it should forget more is open: network, task, ranks and the way of choosing rates all differ from "
            "theirs, and none was varied by itself"
        )
        if step is not None and step > abs(found.matched_gain(found.middle, FULL, False).mean):
            why += (
                f"; the rates tried lie far apart: to the next one the validation score of {found.middle} changes by "
                f"{number_text(100 * step, 1)} points or more, more than what is compared"
            )
    where = "here, without replay and at the same accuracy on the new digit,"
    if list(groups) == ["less"]:
        return f"{where} it does too at every rank tried: agreeing"
    if list(groups) == ["more"]:
        return f"{where} it forgets more at every rank tried: differing{why}"
    gains = {rank: found.matched_gain(f"LoRA r = {rank}", FULL, False) for rank in found.ranks}
    each = "; ".join(f"r = {rank}: {gain.points()}, n = {gain.n}" for rank, gain in gains.items())
    return f"{where} that is open over the ranks: its forgetting is {told(groups)}{edge}{why} ({each})"


def disadvantages(found: Accuracies, made: list[claims.Claim], activations: str) -> str:
    """The answer's disadvantages of LoRA, short: what the claims of those names say."""
    verdict = {claim.name: claim.verdict for claim in made}
    evidence = {claim.name: claim.evidence for claim in made}
    saves = (
        "LoRA saves activations at some rank only"
        if verdict["lora-activations"] == "fails"
        else f"LoRA does not save activations (bytes counted: {activations} of full fine-tuning's)"
    )
    step = {
        "holds": "a step with it takes longer here",
        "fails": "a step with it is faster here",
        "open": "whether a step with it takes longer here is not decided",
    }[verdict["lora-step-slower"]]
    forgets = (
        "what it forgets without replay, compared with full fine-tuning at the same accuracy on the new digit: "
        f"{told(by_rank(found, found.ranks))}{_edges(found, *(f'LoRA r = {rank}' for rank in found.ranks), FULL)}"
    )
    return f"{saves}; {step} ({evidence['lora-step-slower']}); {forgets} ({found.middle}: {evidence[FORGETS]})."


def with_replay(found: Accuracies, one_rate: Mapping[str, Estimate]) -> list[claims.Claim]:
    """`one_rate`: scale -> the highest rank's test accuracy less the lowest's, both at the same learning rate."""
    full = found.gain("overall", found.middle, FULL, True)
    row = found.gain("overall", "new output row", found.middle, True)
    low, high = f"LoRA r = {found.ranks[0]}", f"LoRA r = {found.ranks[-1]}"
    rank = found.gain("overall", high, low, True)
    own = own_rates(found, high, low, True)
    same = same_rate(one_rate) if own else ""
    at_one = ", ".join(f"{gain.points()} (scale {scale}, n = {gain.n})" for scale, gain in one_rate.items())
    evidence = f"; at one rate {at_one}" if own and at_one else ""
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
            evidence=f"{n} {full.points()}{own_rates(found, found.middle, FULL, True)}",
            confirmatory=True,
        ),
        claims.compare(
            "lora-rank",
            rank,
            holds=f"With replay, {high} ends above {low} on the whole test set{same}.",
            fails=f"With replay, {high} ends below {low} on the whole test set{same}.",
            open=f"With replay, {high} and {low} are not told apart on the whole test set{same}.",
            evidence=f"{n} {rank.points()}{own}{evidence}",
        ),
        claims.compare(
            "lora-row",
            row,
            holds=f"With replay, to train the new output's row alone does better than {found.middle} on the whole test "
            "set.",
            fails=f"With replay, {found.middle} does better than training the new output's row alone.",
            open=f"With replay, training the new output's row alone and {found.middle} are not told apart.",
            evidence=f"{n} {row.points()}{own_rates(found, 'new output row', found.middle, True)}",
            surprise=2,
        ),
    ]


def same_rate(gains: Mapping[str, Estimate]) -> str:
    """What is left of a difference between two ranks at one learning rate, by scale."""
    groups: dict[str, list[str]] = {}
    for scale, gain in gains.items():
        gain = gain.printed()
        groups.setdefault("above" if gain.low > 0 else "below" if gain.high < 0 else "not told apart", []).append(scale)
    parts = ", ".join(f"{said} with {' and with '.join(scales)} as scale" for said, scales in groups.items())
    return ", each at its own rate" + (f"; at one rate {parts}" if parts else "")


def merging(found: Accuracies) -> claims.Claim:
    change, ratio = np.moveaxis(np.max(np.asarray(found.result["merging"]), axis=(1, 2)), -1, 0)  # (digits,) each
    largest = f"changes the logits of an image by up to {scientific(float(change.max()))} (Euclidean norm)"
    return claims.every(
        "lora-merged",
        ratio <= 1,
        holds=f"Merging an adapter {largest}, no more than rounding allows.",
        fails=f"Merging an adapter {largest}, in some network by more than rounding allows.",
        evidence=f"n = {ratio.size} digits, every LoRA arm; largest change ÷ bound of rounding's worst case "
        f"{scientific(float(ratio.max()))}",
    )
