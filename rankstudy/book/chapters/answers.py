"""Chapter 7's answers: what the other chapters found, put together, each sentence true of the data shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rankstudy.book.chapters.common import over
from rankstudy.book.chapters.crossings import NONE


def texts(chapters: Mapping[str, Any], check: Mapping[str, Any]) -> dict[str, str]:
    """`chapters`: every chapter by its experiment's name; `check`: what the Eckart–Young check of the page found."""
    return {
        "answer_rank": _rank(chapters["rank"].text, chapters["overfitting"].text),
        "answer_cut": _cut(chapters["approximation"].text, chapters["low_rank_training"].text),
        "answer_tuning": _tuning(chapters["lora"], chapters["intrinsic_dimension"].transfer.text),
        "answer_uses": _uses(chapters["low_rank_training"].text, chapters["lora"]),
        "answer_svd": _svd(check),
    }


def _rank(base: Mapping[str, str], big: Mapping[str, str]) -> str:
    return (
        f"The matrices of Task 2's network have a numerical rank of {base['average64']} of {base['full_rank']} on the "
        f"mean over layers, those of the big network {big['average64']} of {big['full_rank']}; the updates have an "
        f"effective rank (entropy) of {base['update_effective_rank']} and {big['big_update_effective_rank']} of full "
        f"rank. (Task 2: {base['over']}, training accuracy {base['train']}, test accuracy {base['test']}; big: "
        f"{big['over']}, {big['train']} and {big['test']}.)"
    )


def _cut(cut: Mapping[str, str], low: Mapping[str, str]) -> str:
    return (
        f"Cut to r = {cut['rank']} after training, the big network goes from {cut['train_original']} to "
        f"{cut['train_cut']} on training and from {cut['test_original']} to {cut['test_cut']} on test data "
        f"({cut['over']}). Trained at r = {low['rank']} from the start, it differs from the dense one by "
        f"{low['difference_train']} on training and {low['difference_test']} on test data ({low['over']}), with "
        f"{low['saved']} fewer parameters."
    )


def _tuning(lora: Any, transfer: Mapping[str, str]) -> str:
    """`transfer`: chapter 9's text on five new digits, from pre-trained weights and from scratch."""
    text = lora.text
    ratio = "" if transfer["times"] == NONE else f", paired {transfer['times']} times as many"
    return (
        f"{text['middle']}, fine-tuned on a left-out digit with replay, reaches {text['lora_replay_new_train']} on "
        f"training and {text['lora_replay_new']} on test images of that digit and keeps "
        f"{text['lora_replay_old_train']} and {text['lora_replay_old']} on the old ones; on test images full "
        f"fine-tuning reaches {text['full_replay_new']} and keeps {text['full_replay_old']}, the new output's row "
        f"alone {text['row_replay_new']} and {text['row_replay_old']}, of {text['base_test']} before ({text['over']}). "
        f"In random directions: {transfer['verdict']} Closing 90 % of the gap to training all parameters takes "
        f"{transfer['pre']} of them from pre-trained weights and {transfer['scratch']} from scratch on test "
        f"data{ratio} (training data: {transfer['pre_train']} and {transfer['scratch_train']}; "
        f"{over(int(transfer['seeds']), 'seeds')})."
    )


def _uses(low: Mapping[str, str], lora: Any) -> str:
    cost = lora.costs.text
    return (
        f"For compression (here {low['saved']} of the parameters saved, a count; a forward pass at batch "
        f"{low['last_batch']} is {low['many']} times as fast, quartiles {low['many_quartiles']} over n = "
        f"{low['turns']} turns) and for fine-tuning (at r = {cost['rank']} trainable parameters "
        f"{cost['trainable_share']} of all and training memory {cost['memory_share']} of full fine-tuning's, both "
        f"counts; a step takes {cost['step_ratio']} times as long over n = {cost['step_rounds']} rounds). "
        "The other uses of the list above were not measured here."
    )


def _svd(check: Mapping[str, Any]) -> str:
    beaten = int(np.sum(check["ratios"] < 1 - 1e-12))
    return (
        f"It finds the best approximation of every rank at once, and what that leaves: of n = {check['competitors']} "
        f"competitors on this page {beaten if beaten else 'none'} came closer. This is a theorem, checked and not "
        "estimated, so it has no interval."
    )
