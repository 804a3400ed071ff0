"""Chapter 3: what its result looks like."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from rankstudy._linalg.inertia import _SMALL_GRAM, _SMALL_LU
from rankstudy.book import figures
from rankstudy.book.chapters import rank_claims, rank_figures, rank_views
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, banner, conclude, over, table
from rankstudy.book.chapters.rank_views import ACTIVATIONS, NAMES, average, did_train, ranks, slope
from rankstudy.book.stats import estimate, number_text, percent
from rankstudy.study import questions

PIVOTING = ("complete", "partial")
SMALL = {"float32": _SMALL_GRAM, "float64": _SMALL_LU}  # shorter side up to which `matrix_rank` asks the SVD


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("rank")
        self.settings = self.result.config
        self.base = self.result["base"]
        self.shallow, self.deep = (rank_views.ordered(self.result[name]) for name in ("shallow", "deep"))
        self.shapes = rank_views.shapes(self.settings["base"]["network"]["widths"])
        self.deep_shapes = rank_views.shapes(self.settings["deep"]["network"]["widths"])

    def banner(self) -> Markdown:
        return banner(self.result)

    # what the prose looks up

    @cached_property
    def text(self) -> dict[str, str]:
        base, deep = self.base, self.deep["relu"]
        book = self.result["textbook"]
        return {
            "seeds": str(len(base["history"]["seeds"])),
            "arm_seeds": str(len(self.shallow["relu"]["history"]["seeds"])),
            "deep_seeds": str(len(deep["history"]["seeds"])),
            "widths": "–".join(map(str, self.settings["base"]["network"]["widths"])),
            "deep_widths": "–".join(map(str, self.settings["deep"]["network"]["widths"])),
            "over": over(len(base["history"]["seeds"])),
            "arm_over": over(len(self.shallow["relu"]["history"]["seeds"])),
            "deep_over": over(len(deep["history"]["seeds"])),
            "deep_accuracies": rank_views.accuracies({"relu": deep}),
            "arm_accuracies": rank_views.accuracies(rank_views.trained(self.shallow) or self.shallow),
            "null64": rank_claims.null(self.base),
            "where": rank_claims.where(self.base),
            "square": str(len(rank_views.square(deep))),
            "arm_epochs": str(self.settings["shallow"]["training"]["epochs"]),
            "arm_images": number_text(self.settings["shallow"]["data"]["train_size"] or 0)
            if self.settings["shallow"]["data"]["train_size"]
            else "all",
            "images": number_text(base["features"]["images"]),
            "train": rank_views.final(base, "train_accuracy").percent(),
            "test": rank_views.final(base, "test_accuracy").percent(),
            "full_rank": number_text(float(base["ranks"]["limits"].mean()), 1),
            "average64": estimate(average(base, "weights", "elimination_float64")).text(1),
            "average64_percent": estimate(average(base, "weights", "elimination_float64", normalised=True)).percent(),
            "average32": estimate(average(base, "weights", "elimination_float32")).text(1),
            "average32_percent": estimate(average(base, "weights", "elimination_float32", normalised=True)).percent(),
            "initial64": estimate(average(base, "initial", "elimination_float64")).text(1),
            "update64": estimate(average(base, "update", "elimination_float64")).text(1),
            "update32": estimate(average(base, "update", "elimination_float32")).text(1),
            **{
                f"{matrix}_{name}": estimate(average(base, matrix, name, normalised=True)).percent()
                for matrix in ("initial", "weights", "update")
                for name in ("effective_rank", "stable_rank", "energy_rank_90")
            },
            **{
                f"slope_{matrix}_{name}": estimate(slope(deep, matrix, name)).points()
                for matrix in ("weights", "update")
                for name in ("effective_rank", "stable_rank", "energy_rank_90", "elimination_float64")
            },
            "disagreements": self._disagreements(),
            "pivots": self._pivots(),
            "small32": str(SMALL["float32"]),
            "small64": str(SMALL["float64"]),
            "untrained": self._untrained(),
            "edges": rank_views.edges(self._groups()),
            "depth": self._depth(),
            "activations": self._activations(),
            "features": self._features(),
            "nulls": self._nulls(),
            "products": self._products(),
            "matched": self._matched(),
            "same_rate": rank_claims.rates(self._groups()),
            "bulk": self._bulk(),
            **self._inputs(),
            "book_shape": f"{book['shape'][0]}×{book['shape'][1]}",
            "book_rank": str(book["rank"]),
            "book_partial": str(book["rank_partial"]),
            "book_complete": str(book["rank_complete"]),
            "book_ours": str(book["rank_ours"]),
            "book_svd": str(book["rank_svd"]),
        }

    def _pivots(self) -> str:
        """The count of pivots that the question asks for, and whether it is the numerical rank."""
        limits, different, total = self.base["ranks"]["limits"], 0, 0
        parts, full = [], True
        for dtype in ("float64", "float32"):
            numerical = ranks(self.base, "weights", f"numerical_rank_{dtype}")
            for pivoting in PIVOTING:
                found = np.asarray(self.result["pivots"][pivoting][dtype])
                total += found.size
                different += int((found != numerical).sum())
                full &= bool((found == limits).all())
                mean = estimate(found.mean(axis=1)).text(1)
                parts.append(f"{mean} ({pivoting} pivoting, {dtype} tolerance)")
        if full:
            told = "Gaussian elimination finds as many pivots as each shape allows, by either pivoting and tolerance"
        else:
            told = f"On the average over the layers Gaussian elimination finds this many pivots: {', '.join(parts)}"
        if not different:
            return f"{told}; that is the numerical rank of each."
        return f"{told}. {different} of {total} counts differ from the numerical rank: pivots are not singular values."

    def _disagreements(self) -> str:
        """Whether elimination and SVD count the same, over every matrix here that is large enough to be eliminated."""
        total = different = 0
        for arm in (self.base, *self.shallow.values(), *self.deep.values()):
            for matrix in ("weights", "initial", "update"):
                for precision, small in SMALL.items():
                    large = arm["ranks"]["limits"] > small
                    ours = ranks(arm, matrix, f"elimination_{precision}")[:, large]
                    total += ours.size
                    different += int((ours != ranks(arm, matrix, f"numerical_rank_{precision}")[:, large]).sum())
        if not total:
            return "Every matrix of this chapter is small enough for the SVD."
        if different == 0:
            return f"On all {number_text(total)} matrices of this chapter that it eliminates the SVD counts the same."
        return f"On {different} of {number_text(total)} matrices of this chapter that it eliminates the counts differ."

    def _untrained(self) -> str:
        arms = [
            f"{ACTIVATIONS[activation]} ({group})"
            for group, found in (("Task 2's shape", self.shallow), ("deep", self.deep))
            for activation, arm in found.items()
            if not did_train(arm)
        ]
        limit = percent(rank_views.TRAINED, 0)
        if not arms:
            return f"Every arm reached the {limit} training accuracy that we ask of an arm before we conclude from it."
        return (
            f"Below the {limit} training accuracy that we ask of an arm before we conclude from it, and so shown but "
            f"not used: {', '.join(arms)}."
        )

    def _depth(self) -> str:
        """Do the definitions agree on the direction in which rank changes with depth? Of the update, and of W."""
        sentences = []
        for matrix, label in (("update", "the update"), ("weights", "W")):
            phrases = []
            for name in ("effective_rank", "energy_rank_90", "stable_rank"):
                change = estimate(slope(self.deep["relu"], matrix, name))
                word = "rises" if change.low > 0 else "falls" if change.high < 0 else "has no clear trend"
                phrases.append(f"the {NAMES[name].replace(', ', ' at ')} {word} ({change.points()})")
            sentences.append(f"of {label}, " + ", ".join(phrases[:-1]) + " and " + phrases[-1])
        return f"From layer to layer, in points of full rank: {'; '.join(sentences)}."

    def _activations(self) -> str:
        """Arms in order of the effective rank of their update, of those that trained."""
        trained = {name: arm for name, arm in self.shallow.items() if did_train(arm)}
        if not trained:
            return "No arm trained."
        found = {
            name: estimate(average(arm, "update", "effective_rank", normalised=True)) for name, arm in trained.items()
        }
        order = sorted(found, key=lambda name: found[name].mean)
        return (
            "From low to high, the effective rank of the update is "
            + ", ".join(f"{found[name].percent()} of full rank for {ACTIVATIONS[name]}" for name in order)
            + f". {rank_claims.always_below(self._groups())}"
        ).rstrip()

    def _features(self) -> str:
        parts = []
        for split in ("train", "test"):
            found = self.base["features"][split]["centred"]["effective_rank"]
            parts.append(
                f"{estimate(found[:, 1]).text()} after the first layer and {estimate(found[:, -2]).text()} after the "
                f"last hidden one on {'training' if split == 'train' else 'test'} images"
            )
        return "The effective rank of the centred features of Task 2's networks is " + ", and ".join(parts) + "."

    def _nulls(self) -> str:
        """Outliers against copies of the matrices without their structure."""
        parts = []
        for matrix, label in (("initial", "before training"), ("weights", "in W"), ("update", "in W − W₀")):
            found = [estimate(self.result["nulls"][matrix][null].mean(axis=1)).text() for null in ("signs", "shuffle")]
            parts.append(f"{label} {found[0]} (signs) and {found[1]} (shuffled)")
        return "On the mean over layers we count " + ", ".join(parts) + "."

    def _products(self) -> str:
        found = self.result["products"]
        if "shallow" not in found:
            return "The linear network was not trained under this profile."
        initial, weights = (found["shallow"][name]["effective_rank"] for name in ("initial", "weights"))
        parts = [f"{estimate(weights[:, layer]).text()} after {layer + 1}" for layer in range(weights.shape[1] - 1)]
        return (
            "The effective rank of the product of the first layers of the linear network of Task 2's shape is "
            f"{', '.join(parts)} layers; before training the product of {weights.shape[1] - 1} has "
            f"{estimate(initial[:, -2]).text()}."
        )

    def _matched(self) -> str:
        arms = rank_views.ordered(self.result["matched"])
        if not arms:
            return "The arm with matched gains is left out under this profile."
        parts = [
            f"{estimate(average(arm, 'update', 'effective_rank', normalised=True)).percent()} for {ACTIVATIONS[name]}"
            + ("" if did_train(arm) else " (did not train)")
            for name, arm in arms.items()
        ]
        before, after = (self._order(group) for group in (self.shallow, arms))
        same = "the same as" if before == after else "another than"
        return (
            f"With matched gains the effective rank of the update is, of full rank, {', '.join(parts)}: from low to "
            f"high {', '.join(ACTIVATIONS[name] for name in after)}, {same} the order without."
        )

    def _order(self, arms: Mapping[str, rank_views.Arm]) -> list[str]:
        """The activations that trained with and without matched gains, by the effective rank of their update."""
        matched = self.result["matched"]
        return sorted(
            (n for n in self.shallow if n in matched and did_train(self.shallow[n]) and did_train(matched[n])),
            key=lambda name: average(arms[name], "update", "effective_rank", normalised=True).mean(),
        )

    def _bulk(self) -> str:
        """How far training moves the middle of the first network's spectra, beside their top."""
        spectra = self.base["ranks"]["spectra"]
        top, middle = (
            [
                number_text(float(part(spectra["weights"][layer]) / part(spectra["initial"][layer])), 2)
                for layer in sorted(spectra["weights"], key=int)
            ]
            for part in (np.max, np.median)
        )
        return (
            f"In the first network training multiplies the largest singular value by {', '.join(top)} (layer by layer) "
            f"and the median one by {', '.join(middle)}."
        )

    def _inputs(self) -> dict[str, str]:
        found = self.result["inputs"]
        images = found["images"]
        return {
            "inputs_count": number_text(images["count"]),
            "inputs_constant": number_text(images["constant"]),
            "inputs_distinct": number_text(images["distinct"]),
            "inputs_rank64": number_text(images["rank_float64"]),
            "inputs_rank32": number_text(images["rank_float32"]),
            "inputs_seeds": str(len(found["sgd_float64"]["rank_float64"])),
        }

    # figures

    def tolerance(self) -> figures.Figure:
        return rank_figures.tolerance(self.base, self.shapes)

    def inputs(self) -> figures.Figure:
        return rank_figures.inputs(self.result["inputs"])

    def inputs_curves(self) -> figures.Figure:
        labels = {"sgd": "SGD", "adam": "Adam"}
        return figures.learning_curves(
            {labels[name]: self.result["inputs"][f"{name}_float64"]["history"] for name in labels}
        )

    def trajectory(self) -> figures.Figure:
        return rank_figures.trajectory(self.shallow["relu"])

    def spectra(self) -> figures.Figure:
        return rank_figures.spectra(self.base, self.shapes)

    def layers(self) -> figures.Figure:
        return rank_figures.layers({"": self.base})

    def deep_layers(self) -> figures.Figure:
        return rank_figures.layers({"": self.deep["relu"]}, only_square=True)

    def deep_spectra(self) -> figures.Figure:
        return rank_figures.spectra(self.deep["relu"], self.deep_shapes)

    def activations(self) -> figures.Figure:
        return rank_figures.activations(self._groups())

    def features(self) -> figures.Figure:
        return rank_figures.features(self.shallow)

    def trainings(self) -> figures.Figure:
        return rank_figures.trainings({"Task 2": {"relu": self.base}, **self._groups()})

    def textbook(self) -> figures.Figure:
        return rank_figures.textbook(self.result["textbook"])

    def _groups(self) -> dict:
        return {"Task 2's shape": self.shallow, "deep": self.deep} | (
            {"matched gains": rank_views.ordered(self.result["matched"])} if self.result["matched"] else {}
        )

    # tables

    def averages(self) -> Markdown:
        return rank_views.averages(self.base)

    def by_layer(self) -> Markdown:
        pivots = {
            f"pivots ({pivoting}), {dtype}": np.asarray(self.result["pivots"][pivoting][dtype], dtype=float)
            for pivoting in PIVOTING
            for dtype in ("float64", "float32")
        }
        return rank_views.by_layer(self.base, self.shapes, "weights", pivots)

    def by_layer_of_update(self) -> Markdown:
        return rank_views.by_layer(self.base, self.shapes, "update")

    def by_activation(self) -> Markdown:
        return rank_views.by_activation(self.shallow)

    def by_activation_deep(self) -> Markdown:
        return rank_views.by_activation(self.deep)

    def by_precision(self) -> Markdown:
        return rank_views.by_precision(self.result["inputs"])

    def methods(self) -> Markdown:
        book = self.result["textbook"]
        labels = {
            "partial": "textbook elimination, partial pivoting",
            "complete": "textbook elimination, complete pivoting",
            "ours": "`rankstudy.rank.matrix_rank`",
            "svd": "singular values",
        }
        if min(book["shape"]) <= SMALL["float64"]:
            labels["ours"] += ", which leaves this matrix to the SVD"
        rows = [
            [label, str(book[f"rank_{name}"]), f"{book[f'seconds_{name}']:.2g} s"] for name, label in labels.items()
        ]
        return table(["method", f"rank found (true: {book['rank']})", "time"], rows)

    # conclusions

    def claims(self) -> list[claims.Claim]:
        matched = rank_views.ordered(self.result["matched"])
        return rank_claims.stated(
            self.base, self.shallow, self.deep, matched, self.result["inputs"], self.result["nulls"]
        )

    def conclusion(self) -> Markdown:
        return conclude(self.claims())
