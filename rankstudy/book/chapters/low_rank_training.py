"""Chapter 6: what its result says."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import low_rank_training_claims, low_rank_training_figures, low_rank_training_tables, rates
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, banner, conclude, over
from rankstudy.book.stats import Estimate, estimate, number_text, paired, percent
from rankstudy.factorization import break_even_rank
from rankstudy.study import questions
from rankstudy.study.experiments.inference import BLOCKS, moved, operations
from rankstudy.study.experiments.low_rank_training import DENSE, PLAIN


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("low_rank_training")
        self.settings = self.result.config
        self.rank = int(self.result["rank"])
        arms = self.result["arms"]  # a stored mapping has its names sorted
        self.arms: dict[str, Any] = {arm["name"]: arms[arm["name"]] for arm in self.result.config["arms"]}
        widths = self.settings["approximation"]["overfitting"]["network"]["widths"]
        self.shapes = [(out, inp) for inp, out in pairwise(widths)]
        self.widths = "–".join(map(str, widths))
        self.break_even = break_even_rank(*self.shapes[1])
        self.networks = len(self.arms[PLAIN]["history"]["seeds"])

    def banner(self) -> Markdown:
        return banner(self.result)

    def label(self, name: str) -> str:
        return f"low rank, r = {self.rank}" if name == PLAIN else name

    # trainings

    def history(self, name: str) -> dict[str, np.ndarray]:
        return self.arms[name]["history"]

    def final(self, name: str, split: str) -> np.ndarray:
        """Accuracy after the last epoch, (networks,)."""
        return self.history(name)[f"{split}_accuracy"][:, -1]

    def against(self, name: str, control: str = DENSE, split: str = "test") -> Estimate:
        """Difference in final accuracy, paired by seed; the arms share their first seeds."""
        arm, other = self.final(name, split), self.final(control, split)
        count = min(len(arm), len(other))
        return paired(arm[:count], other[:count])

    def before(self, name: str) -> dict[str, float]:
        """Dense training that an arm begins with: epochs, seconds and operations."""
        arm = self._arm(name)
        source = self.settings["approximation"]["overfitting"]["training"]["epochs"]
        epochs = {"warm": self.settings["warm_epochs"], "trained": source}.get(arm["start"], 0)
        return {
            "epochs": epochs,
            "seconds": float(self.arms[name]["before"].mean()),
            "flops": epochs * self.epoch_flops(DENSE),
        }

    def epochs(self, name: str) -> tuple[int, int]:
        """Of dense training that an arm begins with, and of its own."""
        return int(self.before(name)["epochs"]), self.history(name)["seconds"].shape[1] - 1

    def epoch_flops(self, name: str) -> float:
        """Floating-point operations of one epoch."""
        rank = self.arms[name]["rank"]
        return self.result["images"] * self.result["memory"]["dense" if rank is None else f"rank {rank}"]["flops"]

    def epoch_seconds(self, name: str) -> np.ndarray:
        seconds = self.history(name)["seconds"]
        return seconds[:, -1] / (seconds.shape[1] - 1)

    @cached_property
    def ladder(self) -> list[tuple[int, str]]:
        """(rank, arm) of the standard initialisation, ascending."""
        plain = {"initialisation": "default", "frobenius_decay": 0.0, "start": ""}
        names = [name for name in self.arms if all(self._arm(name)[key] == value for key, value in plain.items())]
        return sorted((self.arms[name]["rank"], name) for name in names if self.arms[name]["rank"] is not None)

    def _arm(self, name: str) -> dict[str, Any]:
        return next(arm for arm in self.settings["arms"] if arm["name"] == name)

    @cached_property
    def floor(self) -> float:
        """Lower end of accuracy axes, in per cent."""
        return max(0.0, 10 * np.floor(10 * min(self.final(name, "test").min() for name in self.arms)) - 10)

    def reached(self, name: str, level: float) -> tuple[list[int], list[float]]:
        """Per network that got there: the first epoch with that validation accuracy, and the seconds until then, both
        with the dense training that the arm begins with."""
        epochs, seconds, begun = [], [], self.before(name)
        for row, accuracy in enumerate(self.history(name)["validation_accuracy"]):
            if (there := np.flatnonzero(accuracy >= level)).size:
                epochs.append(int(there[0] + begun["epochs"]))
                seconds.append(float(self.history(name)["seconds"][row, there[0]] + begun["seconds"]))
        return epochs, seconds

    # memory and inference

    def saved(self, key: str) -> float:
        """How many times less the factorised network holds."""
        return self.result["memory"]["dense"][key] / self.result["memory"][f"rank {self.rank}"][key]

    @property
    def latency_ranks(self) -> list[int]:
        """At most six ranks for a figure, the effective rank among them."""
        ranks = sorted(int(rank) for rank in self.result["inference"]["ranks"])
        chosen = {self.rank, *ranks[:: max(1, -(-len(ranks) // 5))], ranks[-1]}
        return sorted(chosen)

    def median(self, what: str, variant: str) -> np.ndarray:
        return self.result["inference"][what][variant]["median"]

    def speedup(self, what: str, variant: str) -> np.ndarray:
        """How many times as fast as dense, per batch size."""
        return self.result["inference"][what][variant]["speedup"]

    def operations_ratio(self, what: str, rank: int) -> float:
        shapes = self.shapes if what == "network" else [self.shapes[1]]
        return operations(shapes, None, 1) / operations(shapes, rank, 1)

    @cached_property
    def text(self) -> dict[str, str]:
        memory, variant = self.result["memory"], f"rank {self.rank}"
        held, timing = memory[variant], self.result["inference"]
        speed, layer = self.speedup("network", variant), self.speedup("layer", variant)
        batches = timing["batches"]
        seconds = (self.epoch_seconds(DENSE).mean(), self.epoch_seconds(PLAIN).mean())

        def ratio(value: float) -> str:
            return number_text(value, 1 if value < 20 else 0)

        return {
            "rank": str(self.rank),
            "n": str(self.networks),
            "widths": self.widths,
            "epochs": str(self.settings["training"]["epochs"]),
            "edges": rates.warning(
                [name for name, arm in self.arms.items() if rates.arm_at_edge(arm)],
            ),
            "over": over(self.networks),
            "convergence": low_rank_training_claims.convergence(self),
            "dense_parameters": number_text(memory["dense"]["parameters"]),
            "parameters": number_text(held["parameters"]),
            "counted": number_text(held["parameters"])
            + (
                " parameters, as the formula says,"
                if held["parameters"] == held["formula"]
                else f" parameters (by formula {number_text(held['formula'])})"
            ),
            "sum": " + ".join(f"({m} + {n})" for m, n in self.shapes),
            "saved": percent(1 - 1 / self.saved("parameters"), 1),
            "times": ratio(self.saved("parameters")),
            "dense_file": number_text(memory["dense"]["file"] / 1e6, 2),
            "file": number_text(held["file"] / 1e6, 2),
            "training_times": ratio(self._total("dense") / self._total(variant)),
            "batch": str(self.settings["training"]["batch_size"]),
            "break_even": str(self.break_even),
            "last_break_even": str(break_even_rank(*self.shapes[-1])),
            "last_shape": f"{self.shapes[-1][0]} × {self.shapes[-1][1]}",
            **{
                f"{short}_{split}": estimate(self.final(name, split)).percent()
                for short, name in (("dense", DENSE), ("low", PLAIN))
                for split in ("train", "validation", "test")
            },
            "difference_train": self.against(PLAIN, split="train").points(),
            "difference_test": self.against(PLAIN).points(),
            "dense_rate": f"{self.arms[DENSE]['learning_rate']:g}",
            "low_rate": f"{self.arms[PLAIN]['learning_rate']:g}",
            "dense_epoch": number_text(seconds[0], 2),
            "low_epoch": number_text(seconds[1], 2),
            "epoch_times": ratio(seconds[0] / seconds[1]),
            "flops_times": ratio(self.epoch_flops(DENSE) / self.epoch_flops(PLAIN)),
            "one": ratio(speed[0]),
            "speed_range": low_rank_training_claims.speed_range(batches, speed),
            "small_batch": low_rank_training_claims.small_batch(
                int(batches[0]), *(timing["network"][variant][key][0] for key in ("speedup", "low", "high"))
            ),
            "largest_batch": low_rank_training_claims.largest_batch(
                batches,
                timing["network"][variant],
                moved(self.shapes, None, int(batches[-1])) / moved(self.shapes, self.rank, int(batches[-1])),
                self.operations_ratio("network", self.rank),
            ),
            "one_quartiles": self._quartiles(variant, 0),
            "many_quartiles": self._quartiles(variant, -1),
            "turns": str(BLOCKS),
            "first_batch": number_text(int(batches[0])),
            "many": ratio(speed[-1]),
            "last_batch": number_text(int(batches[-1])),
            "layer_many": ratio(layer[-1]),
            "network_operations": ratio(self.operations_ratio("network", self.rank)),
            "layer_operations": ratio(self.operations_ratio("layer", self.rank)),
            "throughput_dense": number_text(batches[-1] / self.median("network", "dense")[-1]),
            "throughput_low": number_text(batches[-1] / self.median("network", variant)[-1]),
            "merged": number_text(self.speedup("network", "merged")[-1], 2),
            "device": str(timing["device"]),
            "hidden": f"{self.shapes[1][0]} × {self.shapes[1][1]}",
        }

    def _quartiles(self, variant: str, batch: int) -> str:
        found = self.result["inference"]["network"][variant]
        return f"{number_text(found['low'][batch], 2)} to {number_text(found['high'][batch], 2)}"

    def _total(self, variant: str) -> int:
        held = self.result["memory"][variant]
        return sum(held[part] for part in ("weights", "gradients", "optimizer", "activations"))

    # figures

    def curves(self) -> figures.Figure:
        return low_rank_training_figures.curves(self)

    def arms_figure(self) -> figures.Figure:
        return low_rank_training_figures.arms(self)

    def costs(self) -> figures.Figure:
        return low_rank_training_figures.costs(self)

    def ladder_figure(self) -> figures.Figure:
        return low_rank_training_figures.ladder(self)

    def inference(self) -> figures.Figure:
        return low_rank_training_figures.inference(self)

    def speed(self) -> figures.Figure:
        return low_rank_training_figures.speed(self)

    def memory_figure(self) -> figures.Figure:
        return low_rank_training_figures.memory(self)

    # tables

    def memory(self) -> Markdown:
        return low_rank_training_tables.memory(self)

    def accuracies(self) -> Markdown:
        return low_rank_training_tables.accuracies(self)

    def meanings(self) -> Markdown:
        return low_rank_training_tables.meanings(self)

    def convergence(self) -> Markdown:
        return low_rank_training_tables.convergence(self)

    def tuning(self) -> Markdown:
        return low_rank_training_tables.tuning(self)

    def published(self) -> Markdown:
        return low_rank_training_tables.published(self)

    def latencies(self) -> Markdown:
        return low_rank_training_tables.latencies(self)

    def claims(self) -> list[claims.Claim]:
        return claims.corrected(low_rank_training_claims.made(self))

    def conclusion(self) -> Markdown:
        return conclude(self.claims())
