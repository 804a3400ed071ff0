"""Chapter 8's costs: memory is counted in bytes, times are measured, each method in its turn."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import lora_figures
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, table
from rankstudy.book.stats import estimate, number_text, percent

NAMES = {"full": "full fine-tuning", "last": "last layer", "row": "new output row"}


def thousands(count: float) -> str:
    return number_text(count / 1e3, 0 if count >= 1e4 else 1)


def kilobytes(count: float) -> str:
    return f"{thousands(count)} kB"


def scientific(value: float) -> str:
    """4.3×10⁻⁶."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


class Costs:
    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found = found
        self.methods: list[str] = list(found["methods"])
        self.labels = [NAMES.get(name, name.replace("lora-", "LoRA r = ")) for name in self.methods]
        self.seconds = np.asarray(found["step_seconds"])  # (methods, rounds)
        self.memory = sum(np.asarray(found[name]) for name in ("weights", "gradients", "optimizer", "activations"))

    def at(self, method: str) -> int:
        return self.methods.index(method)

    def ratio(self, method: str) -> np.ndarray:
        """(rounds,): step time over that of full fine-tuning in the same round."""
        return self.seconds[self.at(method)] / self.seconds[self.at("full")]

    @cached_property
    def text(self) -> dict[str, str]:
        found, full, lora = self.found, self.at("full"), self.at(f"lora-{self.found['rank']}")
        latency = np.asarray(found["latency"])[:, :, 0]  # (base, unmerged, merged; batches)
        widest = np.median(np.asarray(found["width_seconds"])[:, 1] / np.asarray(found["width_seconds"])[:, 0], axis=1)

        def share(name: str) -> str:
            values = self.memory if name == "memory" else np.asarray(found[name])
            return percent(values[lora] / values[full], 1)

        return {
            "rank": str(found["rank"]),
            "device": found["device"],
            "batch": str(found["batch_size"]),
            "trainable": number_text(found["trainable"][lora]),
            "trainable_full": number_text(found["trainable"][full]),
            "optimizer": kilobytes(found["optimizer"][lora]),
            "optimizer_full": kilobytes(found["optimizer"][full]),
            "gradients": kilobytes(found["gradients"][lora]),
            "gradients_full": kilobytes(found["gradients"][full]),
            "activations": kilobytes(found["activations"][lora]),
            "activations_full": kilobytes(found["activations"][full]),
            "checkpoint": kilobytes(found["checkpoint"][lora]),
            "checkpoint_full": kilobytes(found["checkpoint"][full]),
            "memory": kilobytes(self.memory[lora]),
            "memory_full": kilobytes(self.memory[full]),
            **{
                f"{name}_share": share(name)
                for name in ("trainable", "optimizer", "activations", "checkpoint", "memory")
            },
            "step": f"{1e3 * np.median(self.seconds[lora]):.2f} ms",
            "step_full": f"{1e3 * np.median(self.seconds[full]):.2f} ms",
            "step_ratio": self._spread(self.ratio(self.methods[lora])),
            "step_rounds": str(self.seconds.shape[1]),
            "unmerged_ratio": number_text(latency[1, 0] / latency[0, 0], 2),
            "merged_ratio": number_text(latency[2, 0] / latency[0, 0], 2),
            "unmerged_ratio_large": number_text(latency[1, -1] / latency[0, -1], 2),
            "merged_ratio_large": number_text(latency[2, -1] / latency[0, -1], 2),
            "unmerged": self._over_base(latency[1], latency[0]),
            "merged": self._over_base(latency[2], latency[0]),
            "rough": self._rough(),
            "small_batch": str(found["batches"][0]),
            "large_batch": str(found["batches"][-1]),
            "flops_share": share("flops"),
            "turn": self._turn(widest),
            "narrow": self._narrow(),
        }

    @staticmethod
    def _spread(values: np.ndarray) -> str:
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        return f"{number_text(median, 2)} (quartiles {number_text(low, 2)} to {number_text(high, 2)})"

    def _rough(self) -> str:
        """How far latencies at the smallest batch may be trusted: merged and base network do the same work."""
        (base, spread), (unmerged, _), (merged, _) = np.asarray(self.found["latency"])[:, 0]
        return (
            "A merged network does the work of the base network, so its ratio shows how rough these times are: at "
            f"batch {self.found['batches'][0]} the base network's interquartile range is {percent(spread / base, 0)} "
            f"of its median. Relative to the merged network, unmerged takes {number_text(unmerged / merged, 2)} times "
            "as long there."
        )

    def _over_base(self, seconds: np.ndarray, base: np.ndarray) -> str:
        """Latency relative to the base network, smallest and largest batch."""
        ratios, batches = seconds / base, self.found["batches"]
        ends = (
            f"{number_text(ratios[at], 2)} times as long at batch {number_text(int(batches[at]))}" for at in (0, -1)
        )
        return " and ".join(ends)

    def _narrow(self) -> str:
        """Whether LoRA's step is the slower one where layers are narrowest, by the quartiles over rounds."""
        seconds = np.asarray(self.found["width_seconds"])
        narrowest = int(np.argmin(self.found["widths"]))
        ratios = seconds[narrowest, 1] / seconds[narrowest, 0]
        low, high = np.quantile(ratios, [0.25, 0.75])
        verdict = (
            "On narrow layers a step takes longer than one of full fine-tuning"
            if low > 1
            else "On narrow layers too a step was the faster one here, so this is not seen"
            if high < 1
            else "On narrow layers a step is not measurably faster than one of full fine-tuning"
        )
        return f"{verdict} (at width {self.found['widths'][narrowest]}, relative to it: {self._spread(ratios)})."

    def _turn(self, ratios: np.ndarray) -> str:
        """In one sentence, from which width on LoRA's step is the faster one."""
        widths, rank = [int(width) for width in self.found["widths"]], self.found["rank"]
        faster = ratios < 1
        listed = ", ".join(f"{number_text(ratio, 2)} at {width}" for ratio, width in zip(ratios, widths, strict=True))
        if faster.all():
            verdict = f"a step with LoRA r = {rank} is the faster one at every width tried"
        elif not faster[-1]:
            verdict = f"even at width {widths[-1]} a step with LoRA r = {rank} is not faster than a full one"
        else:
            first = widths[int(np.flatnonzero(~faster)[-1]) + 1]
            verdict = f"a step with LoRA r = {rank} is faster than a full one from width {first} on"
        return (
            f"By the medians over rounds, {verdict} (time relative to full fine-tuning: {listed}). This sweep is a "
            "measurement of its own, so a ratio in it and one in the table need not be the same to the last digit, "
            "even where the layers are as wide."
        )

    def table(self) -> Markdown:
        found = self.found
        rows = [
            [
                label,
                number_text(found["trainable"][row]),
                thousands(found["gradients"][row]),
                thousands(found["optimizer"][row]),
                thousands(found["activations"][row]),
                thousands(self.memory[row]),
                thousands(found["checkpoint"][row]),
                f"{1e3 * np.median(self.seconds[row]):.2f}",
                number_text(float(np.median(self.ratio(self.methods[row]))), 2),
            ]
            for row, label in enumerate(self.labels)
        ]
        headers = [
            "method",
            "trained",
            "gradients",
            "optimiser",
            "activations",
            "in all",
            "checkpoint",
            "ms / step",
            "÷ full",
        ]
        return table(headers, rows)

    def latencies(self) -> Markdown:
        """Median and interquartile range of one forward pass, in microseconds."""
        latency = 1e6 * np.asarray(self.found["latency"])
        rows = [
            [name, *(f"{number_text(median, 0)} ({number_text(iqr, 0)})" for median, iqr in latency[row])]
            for row, name in enumerate(("base network", f"LoRA r = {self.found['rank']}, unmerged", "merged"))
        ]
        return table(["network", *(f"batch {batch}" for batch in self.found["batches"])], rows)

    def widths(self) -> figures.Figure:
        return lora_figures.widths(
            np.asarray(self.found["widths"]),
            np.asarray(self.found["width_seconds"]),
            np.asarray(self.found["width_flops"], dtype=float),
            self.found["rank"],
        )

    def claims(self) -> list[claims.Claim]:
        lora = f"lora-{self.found['rank']}"
        ratio, median = estimate(self.ratio(lora)), float(np.median(self.ratio(lora)))
        label = f"LoRA r = {self.found['rank']}"
        activations = np.asarray(self.found["activations"])
        return [
            claims.compare(
                "lora-step-slower",
                ratio,
                1.0,
                holds=f"On a network this small a step with {label} takes longer than one of full fine-tuning.",
                fails=f"A step with {label} is faster than one of full fine-tuning even on this small network.",
                open=f"Whether a step with {label} takes longer than one of full fine-tuning on this network is not "
                "decided.",
                evidence=f"n = {ratio.n} rounds on {self.found['device']}, mean of the time relative to full "
                f"fine-tuning {ratio.text()}; median, as in the table, {number_text(median, 2)}",
                surprise=1,
            ),
            claims.every(
                "lora-activations",
                [activations[self.at(name)] >= activations[self.at("full")] for name in self.methods if "lora" in name],
                holds="LoRA saves gradients and optimiser state, but no activation memory: autograd keeps at least as "
                "many bytes for it as for full fine-tuning, at every rank.",
                fails="LoRA also saves activation memory at some rank.",
                evidence=f"bytes counted at batch {self.found['batch_size']}",
                surprise=1,
            ),
        ]
