"""Chapter 3: what its result looks like."""

from __future__ import annotations

from functools import cached_property

from rankstudy import claims, figures
from rankstudy.chapters import rank_figures, rank_views
from rankstudy.chapters.common import Markdown, banner, conclude, table
from rankstudy.chapters.rank_views import ACTIVATIONS, NAMES, average, did_train, ranks, slope
from rankstudy.experiments import study
from rankstudy.intervals import estimate, number_text, paired, percent


class Chapter:
    def __init__(self) -> None:
        self.result = study.result("rank")
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
            "square": str(len(rank_views.square(deep))),
            "arm_epochs": str(self.settings["shallow"]["training"]["epochs"]),
            "arm_images": number_text(self.settings["shallow"]["data"]["train_size"] or 0)
            if self.settings["shallow"]["data"]["train_size"]
            else "all",
            "images": number_text(base["features"]["images"]),
            "train": rank_views.final(base, "train_accuracy").percent(),
            "test": rank_views.final(base, "test_accuracy").percent(),
            "full_rank": number_text(float(base["ranks"]["limits"].mean()), 1),
            "average64": estimate(average(base, "weights", "elimination_float64")).text(),
            "average64_percent": estimate(average(base, "weights", "elimination_float64", normalised=True)).percent(),
            "average32": estimate(average(base, "weights", "elimination_float32")).text(),
            "average32_percent": estimate(average(base, "weights", "elimination_float32", normalised=True)).percent(),
            "initial64": estimate(average(base, "initial", "elimination_float64")).text(),
            "update64": estimate(average(base, "update", "elimination_float64")).text(),
            "update32": estimate(average(base, "update", "elimination_float32")).text(),
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
            "untrained": self._untrained(),
            "depth": self._depth(),
            "activations": self._activations(),
            "features": self._features(),
            "book_shape": f"{book['shape'][0]}×{book['shape'][1]}",
            "book_rank": str(book["rank"]),
            "book_partial": str(book["rank_partial"]),
            "book_complete": str(book["rank_complete"]),
            "book_ours": str(book["rank_ours"]),
            "book_svd": str(book["rank_svd"]),
        }

    def _disagreements(self) -> str:
        """Whether elimination and SVD count the same, over every matrix of every network shown."""
        total = different = 0
        for arm in (self.base, *self.shallow.values(), *self.deep.values()):
            for matrix in ("weights", "initial", "update"):
                for precision in ("float32", "float64"):
                    ours = ranks(arm, matrix, f"elimination_{precision}")
                    total += ours.size
                    different += int((ours != ranks(arm, matrix, f"numerical_rank_{precision}")).sum())
        if different == 0:
            return f"On all {number_text(total)} matrices and tolerances of this chapter the two counts agree."
        return f"On {different} of {number_text(total)} matrices and tolerances of this chapter the two counts differ."

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
        """Do the definitions agree on the direction in which rank changes with depth?"""
        deep = self.deep["relu"]
        phrases = []
        for name in ("effective_rank", "energy_rank_90", "stable_rank"):
            change = estimate(slope(deep, "update", name))
            word = "rises" if change.low > 0 else "falls" if change.high < 0 else "has no clear trend"
            phrases.append(f"the {NAMES[name]} {word} ({change.points()} of full rank per layer)")
        return "From layer to layer " + ", ".join(phrases[:-1]) + " and " + phrases[-1] + "."

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
            + "."
        )

    def _features(self) -> str:
        parts = []
        for split in ("train", "test"):
            found = self.base["features"][split]["centred"]["effective_rank"]
            parts.append(
                f"{estimate(found[:, 1]).text()} after the first layer and {estimate(found[:, -2]).text()} after the "
                f"last hidden one on {'training' if split == 'train' else 'test'} images"
            )
        return "The effective rank of the centred features of Task 2's networks is " + ", and ".join(parts) + "."

    # figures

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
        return {"Task 2's shape": self.shallow, "deep": self.deep}

    # tables

    def averages(self) -> Markdown:
        return rank_views.averages(self.base)

    def by_layer(self) -> Markdown:
        return rank_views.by_layer(self.base, self.shapes, "weights")

    def by_layer_of_update(self) -> Markdown:
        return rank_views.by_layer(self.base, self.shapes, "update")

    def by_activation(self) -> Markdown:
        return rank_views.by_activation(self.shallow)

    def by_activation_deep(self) -> Markdown:
        return rank_views.by_activation(self.deep)

    def methods(self) -> Markdown:
        book = self.result["textbook"]
        labels = {
            "partial": "textbook elimination, partial pivoting",
            "complete": "textbook elimination, complete pivoting",
            "ours": "`rankstudy.rank.matrix_rank`",
            "svd": "singular values",
        }
        rows = [
            [label, str(book[f"rank_{name}"]), f"{book[f'seconds_{name}']:.2g} s"] for name, label in labels.items()
        ]
        return table(["method", f"rank found (true: {book['rank']})", "time"], rows)

    # conclusions

    def claims(self) -> list[claims.Claim]:
        return claims.corrected([self._full_rank(), self._update_is_low(), self._outliers(), *self._compared()])

    def _full_rank(self) -> claims.Claim:
        found = ranks(self.base, "weights", "elimination_float64")
        full = (found == self.base["ranks"]["limits"]).all(axis=1)
        return claims.every(
            "rank-weights-full",
            full,
            holds="At the float64 tolerance every weight matrix of every trained network has full rank: the plain rank "
            "does not tell a trained matrix from a random one.",
            fails=f"At the float64 tolerance {int((~full).sum())} of {len(full)} networks have a matrix short of full "
            "rank.",
            evidence=f"n = {len(full)} networks, mean over layers {self.text['average64']} of {self.text['full_rank']}",
        )

    def _update_is_low(self) -> claims.Claim:
        update = average(self.base, "update", "effective_rank", normalised=True)
        initial = average(self.base, "initial", "effective_rank", normalised=True)
        effect = paired(update, initial)
        text = f"{estimate(update).percent()} of full rank against {estimate(initial).percent()}"
        return claims.compare(
            "rank-update-lower",
            effect,
            above=False,
            holds=f"What training adds has a lower effective rank than the random matrix it is added to: {text}.",
            fails=f"What training adds has no lower effective rank than the random matrix it is added to: {text}.",
            open=f"Whether what training adds has a lower effective rank than the initialisation is open: {text}.",
            evidence=f"n = {effect.n} networks, difference {effect.points()}",
            confirmatory=True,
        )

    def _outliers(self) -> claims.Claim:
        found = ranks(self.base, "weights", "outliers_initialisation")
        null = ranks(self.base, "initial", "outliers_initialisation")
        met = (found > null).all(axis=1)
        mean = estimate(found.mean(axis=1))
        return claims.every(
            "rank-outliers",
            met,
            holds="In every layer of every network training lifts singular values above the edge of the random "
            f"initialisation, {mean.text()} of them on the mean over layers.",
            fails="Not every layer of every network has more singular values above the edge of the random "
            f"initialisation than before training; on the mean over layers there are {mean.text()}.",
            evidence=f"n = {len(met)} networks",
        )

    def _compared(self) -> list[claims.Claim]:
        found = []
        deep = self.deep["relu"]
        change = estimate(slope(deep, "update", "effective_rank"))
        text = f"{change.points()} of full rank per layer"
        if did_train(deep):
            found.append(
                claims.compare(
                    "rank-depth-falls",
                    change,
                    above=False,
                    holds=f"The effective rank of the update falls with depth between equal square layers ({text}).",
                    fails=f"The effective rank of the update rises with depth between equal square layers ({text}).",
                    open=f"Between equal square layers the effective rank of the update has no sure trend ({text}).",
                    evidence=f"n = {change.n} networks of {len(rank_views.square(deep))} square layers",
                    confirmatory=True,
                )
            )
        relu = self.shallow["relu"]
        tanh = self.shallow["tanh"]
        if did_train(relu) and did_train(tanh):
            effect = paired(
                average(tanh, "update", "effective_rank", normalised=True),
                average(relu, "update", "effective_rank", normalised=True),
            )
            text = f"{effect.points()} of full rank"
            found.append(
                claims.compare(
                    "rank-tanh-relu",
                    effect,
                    above=False,
                    holds=f"tanh's update has a lower effective rank than ReLU's ({text}).",
                    fails=f"tanh's update has a higher effective rank than ReLU's ({text}).",
                    open=f"The effective ranks of tanh's and ReLU's updates do not differ for certain ({text}).",
                    evidence=f"n = {effect.n} pairs of networks with the same initial weights and order of images",
                    confirmatory=True,
                )
            )
        return found

    def conclusion(self) -> Markdown:
        return conclude(self.claims())
