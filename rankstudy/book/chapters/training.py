"""Chapter 2: what its result looks like."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import rates
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, banner, conclude, over, table
from rankstudy.book.stats import estimate, number_text, percent
from rankstudy.study import questions

TARGET = 0.95  # what the assignment asks for, on the test set


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("training")
        self.history = self.result["history"]

    def banner(self) -> Markdown:
        return banner(self.result)

    @cached_property
    def text(self) -> dict[str, str]:
        history, settings = self.history, self.result.config
        final = {split: estimate(history[f"{split}_accuracy"][:, -1]) for split in ("train", "validation", "test")}
        return {
            **{name: value.percent() for name, value in final.items()},
            "worst": percent(history["test_accuracy"][:, -1].min(), 2),
            "gap": estimate(history["train_accuracy"][:, -1] - history["test_accuracy"][:, -1]).points(),
            "seeds": str(len(history["seeds"])),
            "epochs": str(settings["training"]["epochs"]),
            "batch": str(settings["training"]["batch_size"]),
            "widths": "–".join(map(str, settings["network"]["widths"])),
            "parameters": number_text(self.result["parameters"]),
            "learning_rate": f"{self.result['learning_rate']:g}",
            "seconds": estimate(history["seconds"][:, -1]).text(unit="s"),
            "over": over(len(history["seeds"])),
            "first_epoch_train": estimate(history["train_accuracy"][:, 1]).percent(),
            "first_epoch": estimate(history["test_accuracy"][:, 1]).percent(),
        }

    def curves(self) -> figures.Figure:
        return figures.learning_curves({f"ReLU {self.text['widths']}": self.history})

    def accuracies(self) -> Markdown:
        history = self.history
        rows = [
            [
                split,
                estimate(history[f"{split}_accuracy"][:, -1]).percent(),
                estimate(history[f"{split}_loss"][:, -1]).text(4),
            ]
            for split in ("train", "validation", "test")
        ]
        return table(["split", "accuracy", "cross-entropy (nats)"], rows)

    def tuning(self) -> Markdown:
        tried = self.result["tuning"]
        if not tried:
            return Markdown(f"The learning rate {self.text['learning_rate']} is taken as it is under this profile.")
        chosen = self.result["learning_rate"]
        taken = "taken" + rates.mark(rates.arm_at_edge(self.result))
        rows = [
            [f"{rate:g}", percent(accuracy.mean(), 2), f"{loss.mean():.4f}", taken if rate == chosen else ""]
            for rate, accuracy, loss in zip(
                tried["learning_rate"], tried["validation_accuracy"], tried["validation_loss"], strict=True
            )
        ]
        return table(["learning rate", "validation accuracy", "validation loss (nats)", "choice"], rows)

    def claims(self) -> list[claims.Claim]:
        accuracy = self.history["test_accuracy"][:, -1]
        worst = self.text["worst"]
        return [
            claims.every(
                "training-target",
                np.asarray(accuracy) >= TARGET,
                holds=f"Every one of Task 2's networks gets at least {percent(TARGET, 0)} of the test set right; the "
                f"worst, {worst}.",
                fails=f"Not every network reaches {percent(TARGET, 0)} on the test set; the worst stays at {worst}.",
                evidence=f"n = {len(accuracy)} networks, test accuracy {self.text['test']}",
            )
        ]

    def conclusion(self) -> Markdown:
        return conclude(self.claims())
