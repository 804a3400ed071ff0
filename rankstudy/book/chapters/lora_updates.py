"""Chapter 8's updates ΔW, and the variants of LoRA."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import lora_figures
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, table
from rankstudy.book.chapters.lora_accuracies import TEST, Accuracies, shares
from rankstudy.book.stats import Estimate, estimate, number_text, paired
from rankstudy.study.questions import Result

VARIANTS = {"lora": "α/r", "rslora": "α/√r (rsLoRA)", "pissa": "PiSSA start"}
HIDDEN = slice(0, -1)  # layers whose rank is not limited to ten by the ten outputs


class Updates:
    def __init__(self, result: Result, found: Accuracies) -> None:
        self.result, self.found = result, found
        self.top = f"LoRA r = {found.ranks[-1]}"

    def per_layer(self, name: str, label: str, replay: bool) -> np.ndarray:
        """(digits, layers, …), seeds averaged."""
        return np.asarray(self.result[name], dtype=float).mean(axis=1)[:, self.found.arm(label, replay)]

    @cached_property
    def chance(self) -> np.ndarray:
        """(digits, layers): share of full fine-tuning's ΔW along W's leading directions, over what chance gives."""
        share = self.per_layer("update_share", "full fine-tuning", True)
        return share[..., 0] / share[..., 1]

    @cached_property
    def text(self) -> dict[str, str]:
        full = self.per_layer("update_rank", "full fine-tuning", True)[:, HIDDEN].mean(axis=1)
        lora = self.per_layer("update_rank", self.top, True)[:, HIDDEN].mean(axis=1)
        return {
            "full_rank": estimate(full).text(),
            "lora_rank": estimate(lora).text(),
            "top": self.top,
            "one": self._few(),
            **self._alphas(),
            "width": str(min(self.result.config["network"]["widths"][:-1])),
            "chance": estimate(self.chance[:, HIDDEN].mean(axis=1)).text(),
            "share": estimate(self.per_layer("update_share", "full fine-tuning", True)[:, HIDDEN, 0].mean(1)).percent(),
        }

    def _few(self) -> str:
        """How many directions the adapters use of those they may, and that it is not known why."""
        means = {}
        for label, replay in zip(self.found.labels, self.found.replay, strict=True):
            rank = int(label.rpartition(" ")[2]) if "LoRA" in label else 0
            if rank > 1:
                used = self.per_layer("update_rank", label, bool(replay))[:, HIDDEN].mean()
                means[label, bool(replay)] = (float(used), rank)
        if not means:
            return "No adapter here may use more than one."
        low, high = (number_text(end(used for used, _ in means.values()), 1) for end in (min, max))
        said = (
            f"Over all adapters that may use several directions, with replay and without, the number is {low} to "
            f"{high} (means over digits)."
        )
        if all(2 * used < rank + 1 for used, rank in means.values()):
            said += (
                " Why they use so few of those they may is open: the start at B = 0, the number of steps and Adam are "
                "possible reasons, and no ablation here varies one of them alone."
            )
        return said

    def _alphas(self) -> dict[str, str]:
        """α of the two scales that are compared, and the rank at which the scales are the same."""
        arms = [arm for arm in self.result.config["ablation"] if arm["initialisation"] == "zero"]
        alphas = {arm["scaling"]: float(arm["alpha"]) for arm in arms}
        return {
            "alpha": f"{alphas['lora']:g}",
            "alpha_root": f"{alphas['rslora']:g}",
            "alpha_rank": f"{(alphas['lora'] / alphas['rslora']) ** 2:g}",
            "alpha_scales": ", ".join(
                f"{alphas['lora'] / rank:g} at rank {rank}"
                for rank in sorted({int(arm["rank"]) for arm in arms if arm["scaling"] == "lora"})
            ),
        }

    def spectra(self) -> figures.Figure:
        arms = ["full fine-tuning", self.top, self.found.middle]
        return lora_figures.spectra(
            {label: self.per_layer("update_spectrum", label, True) for label in dict.fromkeys(arms)}
        )

    def table(self) -> Markdown:
        """Per arm, mean over the hidden layers."""
        rows = []
        for index, label in enumerate(self.found.labels):
            if "LoRA" not in label and "full" not in label:
                continue
            replay = bool(self.found.replay[index])
            share = self.per_layer("update_share", label, replay)[:, HIDDEN]
            rows.append(
                [
                    label,
                    "yes" if replay else "no",
                    estimate(self.per_layer("update_norm", label, replay)[:, HIDDEN].mean(axis=1)).percent(1),
                    estimate(self.per_layer("update_rank", label, replay)[:, HIDDEN].mean(axis=1)).text(1),
                    estimate(share[..., 0].mean(axis=1)).percent(1),
                    number_text(100 * share[..., 1].mean(), 2) + " %",
                ]
            )
        headers = ["arm", "replay", "‖ΔW‖ ÷ ‖W‖", "directions for 90 %", "along W's leading ten", "by chance"]
        return table(headers, rows)

    # variants of LoRA

    @cached_property
    def variants(self) -> dict[str, np.ndarray]:
        """ "new", "old", "overall" -> (digits, variants), test accuracy where each stopped."""
        ablation = self.result["ablation"]
        return shares(ablation["confusion"], list(ablation["digits"]))

    def _variant(self, name: str, rank: int) -> np.ndarray:
        ablation = self.result["ablation"]
        index = next(
            i
            for i, (variant, own) in enumerate(zip(ablation["variant"], ablation["rank"], strict=True))
            if (variant, own) == (name, rank)
        )
        return self.variants["overall"][:, index]

    def at_one_rate(self, high: int, low: int) -> dict[str, Estimate]:
        """Scale -> test accuracy at rank `high` less that at rank `low`, with replay and at one rate; the scales of
        which both ranks were run."""
        runs = set(zip(self.result["ablation"]["variant"], map(int, self.result["ablation"]["rank"]), strict=True))
        return {
            scale: paired(self._variant(name, high), self._variant(name, low))
            for name, scale in (("lora", "α/r"), ("rslora", "α/√r"))
            if {(name, high), (name, low)} <= runs
        }

    def ablation(self) -> Markdown:
        found = self.result["ablation"]
        rows = [
            [
                VARIANTS[variant],
                str(rank),
                f"{rate:g}",
                *(estimate(self.variants[k][:, i]).percent(1) for k in self.variants),
            ]
            for i, (variant, rank, rate) in enumerate(
                zip(found["variant"], found["rank"], found["learning_rate"], strict=True)
            )
        ]
        return table(["variant", "rank", "learning rate", "new", "old", "all"], rows)

    def claims(self) -> list[claims.Claim]:
        rank, full = (
            self.found.ranks[-1],
            self.per_layer("update_rank", "full fine-tuning", True)[:, HIDDEN].mean(axis=1),
        )
        directions, chance = estimate(full), estimate(np.log(np.maximum(self.chance[:, HIDDEN].mean(axis=1), 1e-12)))
        ablation = self.result["ablation"]
        highest = int(max(ablation["rank"]))
        scaled = paired(self._variant("rslora", highest), self._variant("lora", highest))
        digits = list(ablation["digits"])
        control = self.found.reached["overall"][:, int(ablation["control"]), TEST]
        control = control[[self.found.digits.index(digit) for digit in digits]]
        pissa = paired(self._variant("pissa", int(ablation["rank"][-1])), control)
        return [
            claims.compare(
                "lora-update-low-rank",
                directions,
                float(rank),
                holds="With replay, full fine-tuning's update is of low rank by itself: 90 % of its energy is in fewer "
                f"than {rank} directions per hidden layer.",
                fails=f"With replay, full fine-tuning's update needs more than {rank} directions per hidden layer for "
                "90 % of its energy, in the mean: more than an adapter tried here can have.",
                open=f"With replay, whether 90 % of full fine-tuning's update fits into {rank} directions per layer is "
                "not decided.",
                evidence=f"n = {directions.n} digits, with replay, directions {directions.text()}",
                above=False,
                surprise=1,
            ),
            claims.compare(
                "lora-update-aligned",
                chance,
                holds="With replay, full fine-tuning changes a matrix along its own leading directions more than "
                "chance would.",
                fails="With replay, full fine-tuning avoids the leading directions of a matrix more than chance would.",
                open="With replay, whether full fine-tuning prefers or avoids a matrix's leading directions cannot be "
                "told.",
                evidence=f"n = {chance.n} digits, ten directions, hidden layers: {self.text['chance']} times chance",
            ),
            claims.compare(
                "lora-rslora",
                scaled,
                holds=f"At rank {highest}, with a rate tuned at rank 4, the scale α/√r does better than α/r.",
                fails=f"At rank {highest}, with a rate tuned at rank 4, the scale α/√r does worse than α/r.",
                open=f"At rank {highest}, with a rate tuned at rank 4, the scales α/√r and α/r are not told apart.",
                evidence=f"n = {scaled.n} digits, with replay, test accuracy on all ten {scaled.points()}",
            ),
            claims.compare(
                "lora-pissa",
                pissa,
                holds="To start the adapter at W's leading directions (PiSSA) does better than to start it at zero.",
                fails="To start the adapter at W's leading directions (PiSSA) does worse than to start it at zero.",
                open="Starting the adapter at W's leading directions (PiSSA) and at zero are not told apart.",
                evidence=f"n = {pissa.n} digits, rank {ablation['rank'][-1]}, with replay, own rates, test accuracy "
                f"on all ten {pissa.points()}",
            ),
        ]
