"""Chapter 9: what its result looks like."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import intrinsic_figures, intrinsic_published, li2018, low_rank_training, rates
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, banner, conclude, over, table
from rankstudy.book.chapters.crossings import NONE
from rankstudy.book.chapters.intrinsic_networks import SPLITS, SPREAD, Ablations, Grid, Shuffled, d_int, final, learning
from rankstudy.book.chapters.intrinsic_transfer import Transfer
from rankstudy.book.chapters.published import CLOSE
from rankstudy.book.stats import Estimate, estimate, listed, number_text, paired, percent
from rankstudy.study import questions
from rankstudy.study.experiments.crossing import crossing
from rankstudy.study.experiments.sizes import TOLERANCE

# sizes of one network: key -> label, and what the number counts
STORED, TRAINED, DIRECTIONS = "numbers stored", "numbers trained", "directions, summed over layers"
SIZES = {
    "parameters": ("all parameters, D", STORED),
    "low_rank": ("B·C at the rank that is enough", STORED),
    "lora": ("LoRA at rank 1 (no accuracy attached)", TRAINED),
    "absolute": ("intrinsic dimension, accuracy 0.90", TRAINED),
    "relative": ("intrinsic dimension, 90 % of its own", TRAINED),
    "numerical": ("numerical rank", DIRECTIONS),
    "energy_99": ("99 % energy rank", DIRECTIONS),
    "entropy": ("effective rank (entropy) of W", DIRECTIONS),
    "entropy_update": ("effective rank (entropy) of W − W₀", DIRECTIONS),
    "stable": ("stable rank of W", DIRECTIONS),
    "stable_update": ("stable rank of W − W₀", DIRECTIONS),
}


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("intrinsic_dimension")
        self.curve = self.result["curve"]
        settings = self.result.config
        self.transfer = Transfer(self.result["transfer"], settings["transfer"])
        self.left_out = Transfer(self.result["left_out"], settings["left_out"]) if self.result["left_out"] else None
        self.ablations = Ablations(self.curve, self.result["ablations"])
        self.shuffled = Shuffled(self.result["shuffled"])
        self.grid = Grid(self.curve, settings["curve"]["network"]["widths"], self.result["grid"])

    def banner(self) -> Markdown:
        return banner(self.result)

    @cached_property
    def text(self) -> dict[str, str]:
        curve, settings = self.curve, self.result.config["curve"]
        return {
            "widths": "–".join(map(str, settings["network"]["widths"])),
            "parameters": number_text(curve["parameters"]),
            "seeds": str(self.seeds),
            "over": over(self.seeds, "seeds"),
            "all": self._all(),
            "close": f"{number_text(100 * CLOSE)} points",
            "spread": str(SPREAD),
            "tolerance": f"{number_text(100 * TOLERANCE, 1)} points",
            "epochs": str(settings["training"]["epochs"]),
            "batch": str(settings["training"]["batch_size"]),
            "images": _images(settings["data"]["train_size"]),
            "direct_train": self._direct("train").percent(),
            "relative_threshold": percent(self.thresholds["relative"]),
            "absolute": d_int(curve, "absolute", "test"),
            "absolute_train": d_int(curve, "absolute", "train"),
            "relative": d_int(curve, "relative", "test"),
            "relative_train": d_int(curve, "relative", "train"),
            "share": _share(curve["intrinsic"]["test"]["absolute"], curve["parameters"]),
            "published_runs": " and ".join(number_text(each) for each in self.published_crossings),
            "best_train": estimate(final(curve, "train")[:, -1]).percent(),
            "learning_rates": self._learning_rates(),
            "enough": " to ".join(str(each) for each in sorted({*_ends(self.result["sizes"]["rank"])})),
            "low_rank": estimate(self.result["sizes"]["low_rank"]).text(0),
            "projection": self._projection(),
            "weights": intrinsic_published.weights(self.ablations),
            "beside": intrinsic_published.beside(self.differences, self.ablations, self.result.data),
            "sizes": self._sizes(),
            "memorised": self._memorised(),
        }

    def _sizes(self) -> str:
        """Which of the published widths and depths were run."""
        if not self.grid.others:
            return "Other widths and depths were not run under this profile."
        counts = [curve["parameters"] for curve in self.grid.curves.values()]
        smallest, largest = number_text(min(counts)), number_text(max(counts))
        larger = max(counts) < 0.9 * li2018.GRID_PARAMETERS[1]  # theirs have biases, so D is never the same
        return f"Ours are {len(counts)} sizes of network without biases, with D from {smallest} to {largest}" + (
            "; their largest was not run." if larger else "."
        )

    def _memorised(self) -> str:
        """On what the shuffled labels were learned."""
        if not self.shuffled.curves:
            return "Shuffled labels were not run under this profile."
        settings = self.result.config["shuffled"][0]
        size = settings["data"]["train_size"]
        return (
            f"We ask the same of the network above, with {number_text(size) if size else 'all'} images and "
            f"{settings['training']['epochs']} epochs, so only the direction can be compared and no number."
        )

    def _projection(self) -> str:
        """Another kind of P as the control: what it changes."""
        if "Fastfood" not in self.ablations.changed:
            return "This profile tries no other kind of P."
        found = self.ablations.difference("Fastfood", "test")
        n = min(each.n for each in found.values())
        changes = listed([f"{each.points()} at d = {d}" for d, each in found.items()])
        text = f"With Fastfood in place of the partition the test accuracy changes by {changes} (paired, n = {n} seeds)"
        moved = [d for d, each in found.items() if each.low > 0 or each.high < 0]
        if moved:
            return f"{text}: at d = {listed(moved)} the kind of P makes a difference."
        return f"{text}: we saw no difference between the two kinds of P."

    @property
    def _parts(self) -> list[Ablations | Grid | Shuffled | Transfer]:
        return [self.ablations, self.grid, self.shuffled, self.transfer]

    @property
    def seeds(self) -> int:
        return self.curve["history"]["test_accuracy"].shape[1]

    @property
    def thresholds(self) -> dict[str, float]:
        return {"absolute": 0.9, "relative": 0.9 * self._direct("test").mean}

    @property
    def published_crossings(self) -> np.ndarray:
        """Where their two runs cross 0.90 by our rule."""
        return crossing(li2018.DIMENSION, li2018.RUNS, np.full(2, 0.9))

    def _direct(self, split: str) -> Estimate:
        return estimate(self.curve["direct"][f"{split}_accuracy"][:, -1])

    def _all(self) -> str:
        """Whether the largest subspace reaches what training everything does, on test data, paired by seed."""
        direct = self.curve["direct"]["test_accuracy"][:, -1].astype(float)
        found = final(self.curve, "test")[:, -1]
        change = paired(found, direct)
        if change.high < 0:
            verdict = "No"
        else:
            verdict = "More than all, by this measure" if change.low > 0 else "This run cannot tell"
        d, reached = number_text(self.curve["dimension"][-1]), estimate(found).percent()
        return (
            f"{verdict}: {d} random directions reach {reached} on test data and all parameters "
            f"{estimate(direct).percent()}, a difference of {change.points()}."
        )

    def _learning_rates(self) -> str:
        if not self.curve["tuning"]:
            rate = self.curve["learning_rate"][0]
            return f"is {rate:g} at every dimension under this profile, so the curve measures the optimiser as well"
        tried = ", ".join(f"{rate:g}" for rate in self.curve["tuning"]["learning_rate"])
        return (
            f"is the best of {tried} on validation data, for each dimension by itself, with a seed of its own; with "
            "one rate for all, the curve would measure the optimiser as well"
        )

    def left_out_table(self) -> Markdown:
        return self.left_out.table() if self.left_out else Markdown("*This profile leaves the experiment out.*")

    def left_out_text(self) -> str:
        if self.left_out is None:
            return "This profile leaves the experiment out."
        text, (digit,) = self.left_out.text, self.left_out.settings["new"]
        return (
            f"The digit is {digit}, this one only, so nothing is said of the others. Pre-trained on the other nine, "
            f"the network closes 90 % of the gap with {text['pre']} dimensions on test data (training data: "
            f"{text['pre_train']}), from scratch with {text['scratch']} on test data (training data: "
            f"{text['scratch_train']})"
            + ("" if text["times"] == NONE else f"; the first is {text['times']} times the second on test data")
            + f"; n = {text['seeds']} seeds."
        )

    def left_out_learning(self) -> figures.Figure | Markdown:
        return self.left_out.learning() if self.left_out else Markdown("*This profile leaves the experiment out.*")

    def accuracy(self) -> figures.Figure:
        return intrinsic_figures.accuracy(self.curve, self.thresholds)

    def learning(self) -> figures.Figure:
        return learning({f"{self.text['widths']} in subspaces": self.curve})

    def sizes(self) -> figures.Figure:
        measured = {**self.result["sizes"], **self.curve["intrinsic"]["test"]}
        rows = {label: (np.asarray(measured[key]), kind) for key, (label, kind) in SIZES.items()}
        return intrinsic_figures.sizes({k: v for k, v in rows.items() if np.isfinite(v[0]).all()})

    def tuning(self) -> Markdown:
        tried = self.curve["tuning"]
        if not tried:
            return Markdown("No learning rates are compared under this profile.")
        rows = []
        for d, values in zip(tried["dimension"], tried["validation_accuracy"], strict=True):
            cells = [percent(value, 2) for value in values]
            best = int(values.argmax())
            cells[best] += rates.mark(rates.at_edge(tried["learning_rate"][best], tried["learning_rate"]))
            rows.append([number_text(d), *cells])
        return table(["d", *(f"rate {rate:g}" for rate in tried["learning_rate"])], rows)

    def points(self) -> Markdown:
        published = li2018.at(self.curve["dimension"])
        rows = []
        for column, d in enumerate(self.curve["dimension"]):
            cited = [f"{100 * value:.2f} %" if np.isfinite(value) else "–" for value in published[:, column]]
            ours = [estimate(final(self.curve, split)[:, column]).percent() for split in SPLITS]
            rows.append([number_text(d), *ours, *cited])
        direct = [self._direct(split).percent() for split in SPLITS]
        rows.append(["all", *direct, *(f"{100 * value:.2f} %" for value in li2018.DIRECT)])
        return table(["d", "ours, train", "validation", "test", "theirs, run 1, test", "runs 2 and 3"], rows)

    def dimensions(self) -> Markdown:
        rows = [
            [label, *(d_int(self.curve, kind, split) for split in ("train", "test")), published]
            for label, kind, published in (
                ("accuracy 0.90", "absolute", str(li2018.D_INT90)),
                ("90 % of its own accuracy", "relative", "–"),
            )
        ]
        return table(["threshold", "ours, train", "ours, test", "published, test"], rows)

    @cached_property
    def differences(self) -> dict[int, Estimate]:
        """Ours minus the mean of their two runs, at each dimension that both have."""
        theirs = li2018.at(self.curve["dimension"]).mean(axis=0)
        return {
            int(d): estimate(final(self.curve, "test")[:, column] - theirs[column])
            for column, d in enumerate(self.curve["dimension"])
            if np.isfinite(theirs[column])
        }

    def at(self, d: int, split: str) -> np.ndarray:
        """(seeds,) accuracy after the last epoch in a subspace of d dimensions."""
        return final(self.curve, split)[:, list(self.curve["dimension"]).index(d)]

    def li(self) -> Markdown:
        return intrinsic_published.li(self)

    def aghajanyan(self) -> Markdown:
        return intrinsic_published.aghajanyan(self.transfer, self.result.data)

    def kamalakara(self) -> Markdown:
        return intrinsic_published.kamalakara(low_rank_training.Chapter())

    def claims(self) -> list[claims.Claim]:
        own = [self._near_published(), self._small()]
        return own + [claim for part in self._parts for claim in part.claims()]

    def _near_published(self) -> claims.Claim:
        found = self.differences
        worst = max(found, key=lambda d: abs(found[d].mean), default=None)
        if worst is None or self.seeds < 2 or self.result.data != "mnist":
            return claims.Claim(
                "intrinsic-published-curve",
                "open",
                "Whether our curve lies near the published one is not asked of this data, or of so few seeds.",
                f"n = {self.seeds} seeds, {len(found)} dimensions in common",
            )
        within = all(-CLOSE <= each.low and each.high <= CLOSE for each in found.values())
        outside = [d for d, each in found.items() if each.low > CLOSE or each.high < -CLOSE]
        verdict = "holds" if within else "fails" if outside else "open"
        points = f"{100 * CLOSE:.0f} points"
        where = f" (surely so at d = {listed(outside)})" if outside else ""
        sentence = {
            "holds": f"At all dimensions that both have our test accuracy is within {points} of the published curve.",
            "fails": f"Our test accuracy differs from the published curve by more than {points}{where}.",
            "open": f"Our intervals do not decide whether the curve lies within {points} of the published one.",
        }[verdict]
        evidence = (
            f"n = {self.seeds} seeds, largest difference {found[worst].points()} at d = {worst}, of {len(found)} "
            f"dimensions from {min(found)} to {number_text(max(found))}"
        )
        return claims.Claim("intrinsic-published-curve", verdict, sentence, evidence)

    def _small(self) -> claims.Claim:
        share = estimate(self.curve["intrinsic"]["test"]["absolute"] / self.curve["parameters"])
        return claims.compare(
            "intrinsic-one-percent",
            share,
            0.01,
            above=False,
            holds="A random subspace of less than a hundredth of the parameters reaches 0.90 on the test set.",
            fails="A random subspace must have more than a hundredth of the parameters to reach 0.90 on the test set.",
            open="Whether a hundredth of the parameters is enough for 0.90 on the test set is not decided here.",
            evidence=f"d_int90 = {self.text['absolute']} of {self.text['parameters']}, n = {self.seeds} seeds",
            surprise=1,
        )

    def conclusion(self) -> Markdown:
        return conclude(self.claims())


def _images(train_size: Any) -> str:
    return f"the first {number_text(train_size)} training images" if train_size else "all training images"


def _share(found: np.ndarray, parameters: int) -> str:
    share = float(np.mean(found)) / parameters
    return f"{percent(share, 2)} of them" if np.isfinite(share) else "a share not found here"


def _ends(values: np.ndarray) -> tuple[int, int]:
    return int(values.min()), int(values.max())
