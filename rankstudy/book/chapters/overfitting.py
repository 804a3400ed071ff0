"""Chapter 4: what its result looks like, beside chapter 3's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import bound, overfitting_claims, rank_figures, rank_views
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, banner, conclude, over, table
from rankstudy.book.chapters.rank_views import ACTIVATIONS, NAMES, Arm, average, did_train, slope
from rankstudy.book.chapters.sizes import Sizes
from rankstudy.book.stats import Estimate, estimate, number_text, paired, percent
from rankstudy.study import questions
from rankstudy.study.experiments import overfitting

COMPARED = ("elimination_float64", "elimination_float32", "energy_rank_90", "effective_rank", "stable_rank")


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("overfitting")
        self.settings = self.result.config
        self.big = self.result["big"]
        self.activations_found = rank_views.ordered(self.result["activations"])
        self.shuffled, self.unshuffled = (self.result[name]["relu"] for name in ("shuffled", "unshuffled"))
        # (with weight decay, without it), at a learning rate and perhaps at a higher one
        self.decays = [
            (self.result[f"{prefix}decay"]["relu"], self.result[f"{prefix}undecayed"]["relu"])
            for prefix in ("", "faster_")
            if f"{prefix}decay" in self.result.value
        ]
        other = questions.result("rank")
        self.base, self.shallow = other["base"], rank_views.ordered(other["shallow"])
        self.base_widths = other.config["base"]["network"]["widths"]
        self.widths = self.settings["network"]["widths"]
        self.sizes = Sizes(self.result["ladder"], self.big, self.widths)

    def banner(self) -> Markdown:
        return banner(self.result)

    # what the prose looks up

    @cached_property
    def text(self) -> dict[str, str]:
        history, arm = self.big["history"], self.settings["activations"]
        met = overfitting.overfitted(history)
        return {
            "memorised": percent(overfitting.MEMORISED, 1),
            "excess_asked": percent(overfitting.EXCESS, 0),
            "widths": "–".join(map(str, self.widths)),
            "base_widths": "–".join(map(str, self.base_widths)),
            "arm_widths": "–".join(map(str, arm["network"]["widths"])),
            "arm_images": _images(arm["data"]["train_size"]),
            "arm_epochs": str(arm["training"]["epochs"]),
            "arm_seeds": str(arm["seeds"]),
            "over": over(len(met)),
            "base_over": over(len(self.base["history"]["seeds"])),
            "arm_over": over(arm["seeds"]),
            "arm_accuracies": rank_views.accuracies(
                rank_views.trained(self.activations_found) or self.activations_found
            ),
            "base_train": rank_views.final(self.base, "train_accuracy").percent(),
            "base_test": rank_views.final(self.base, "test_accuracy").percent(),
            "trajectory_over": over(len(self._observed["history"]["seeds"])),
            "shuffled_epochs": str(self.settings["shuffled"]["training"]["epochs"]),
            "shuffled_rate": f"{self.shuffled['learning_rate']:g}",
            "decay_rates": " and ".join(f"{decay['learning_rate']:g}" for decay, _ in self.decays),
            "weight_decay": f"{self.settings['decay']['training']['weight_decay']:g}",
            "images": _images(self.settings["data"]["train_size"]),
            "epochs": str(self.settings["training"]["epochs"]),
            "seeds": str(len(met)),
            "met": str(int(met.sum())),
            "feature_images": number_text(self.big["features"]["images"]),
            "train": rank_views.final(self.big, "train_accuracy").percent(),
            "test": rank_views.final(self.big, "test_accuracy").percent(),
            "excess": estimate(overfitting.excess(history["test_loss"])).percent(),
            "best_epoch": estimate(_best_epoch(history)).text(1),
            "full_rank": number_text(float(self.big["ranks"]["limits"].mean()), 1),
            "average64": estimate(average(self.big, "weights", "elimination_float64")).text(1),
            "average32": estimate(average(self.big, "weights", "elimination_float32")).text(1),
            **{
                f"{prefix}_{matrix}_{name}": estimate(average(found, matrix, name, normalised=True)).percent()
                for prefix, found in (("big", self.big), ("base", self.base))
                for matrix in ("initial", "weights", "update")
                for name in COMPARED
            },
            "depth": self._depth(),
            "activations": self._activations(),
            "untrained": self._untrained(),
            "edges": rank_views.edges({"": self.activations_found}),
            "memorising": self._memorising(),
            "remedy": self._remedy(),
            "rate_alone": self._rate_alone(),
            "features": self._features(),
            "same_training": self._same_training(),
            "trajectory": self._trajectory(),
            "bound": bound.text(self.result["bound"]),
            "bound_widths": "–".join(map(str, self.settings["bound"]["network"]["widths"])),
            "bound_times": f"{self.settings['bound']['times']:g}",
            "trajectory_widths": self.text_of_trajectory,
        }

    @property
    def _observed(self) -> Arm:
        """The networks whose ranks were written down while they trained."""
        return self.big if self.big["trajectory"] else self.activations_found["relu"]

    @property
    def text_of_trajectory(self) -> str:
        found = self.widths if self.big["trajectory"] else self.settings["activations"]["network"]["widths"]
        return "–".join(map(str, found))

    def _depth(self) -> str:
        phrases = []
        for label, arm in (("the big network", self.big), ("Task 2's", self.base)):
            change = estimate(slope(arm, "update", "effective_rank"))
            phrases.append(f"{change.points()} of full rank in {label}")
        return (
            "From one square layer to the next the effective rank of the update changes by "
            + " and ".join(phrases)
            + "."
        )

    def _activations(self) -> str:
        found = {
            name: estimate(average(arm, "update", "effective_rank", normalised=True))
            for name, arm in self.activations_found.items()
            if did_train(arm)
        }
        if not found:
            return "No arm trained."
        order = sorted(found, key=lambda name: found[name].mean)
        parts = [
            f"{found[name].percent()} of full rank for {ACTIVATIONS[name]}"
            + _how_many_overfitted(overfitting.overfitted(self.activations_found[name]["history"]))
            for name in order
        ]
        return "From low to high, the effective rank of the update is " + ", ".join(parts) + "."

    def _untrained(self) -> str:
        arms = [ACTIVATIONS[name] for name, arm in self.activations_found.items() if not did_train(arm)]
        limit = percent(rank_views.TRAINED, 0)
        if not arms:
            return f"Every activation reached the {limit} training accuracy that chapter 3 asks of an arm."
        return f"Below the {limit} training accuracy that chapter 3 asks of an arm: {', '.join(arms)}."

    def _memorising(self) -> str:
        """Whether the network with shuffled labels did what it is there for, by the criterion's own number."""
        right = self.shuffled["history"]["train_accuracy"][:, -1]
        met = int((right >= overfitting.MEMORISED).sum())
        return (
            f"With shuffled labels {estimate(right).percent(2)} of them are told right; {met} of {len(right)} networks "
            f"reach the {percent(overfitting.MEMORISED, 1)} that we call memorised"
            + ("." if did_train(self.shuffled) else f"; below {percent(rank_views.TRAINED, 0)} nothing is concluded.")
        )

    def _remedy(self) -> str:
        """What shuffled labels and weight decay change, each against the arm that differs from it in that alone."""
        pairs = {"shuffled labels": (self.shuffled, self.unshuffled, ("update",))}
        for decay, none in self.decays:
            label = f"weight decay of {self.settings['decay']['training']['weight_decay']:g}"
            pairs[f"{label} at a learning rate of {decay['learning_rate']:g}"] = (decay, none, ("update", "weights"))
        said = []
        for label, (arm, control, matrices) in pairs.items():
            if not (did_train(arm) and did_train(control)):
                said.append(f"With {label} not every network learned enough to conclude from.")
                continue
            parts = []
            for matrix in matrices:
                change = paired(*(average(a, matrix, "effective_rank", normalised=True) for a in (arm, control)))
                word = "higher" if change.low > 0 else "lower" if change.high < 0 else "not surely another"
                which = "the update" if matrix == "update" else "the trained weights"
                parts.append(f"that of {which} is {word} ({change.points()} of full rank)")
            said.append(f"With {label} {' and '.join(parts)}; {rank_views.accuracies({label: arm})}.")
        return "Effective ranks, each against networks that differ in one thing alone. " + " ".join(said)

    def _rate_alone(self) -> str:
        """What the learning rate does to the rank where nothing decays, beside what decay does."""
        if len(self.decays) < 2:
            return "Under this profile there is one rate."
        ranks = [average(none, "weights", "effective_rank", normalised=True) for _, none in self.decays]
        alone = paired(ranks[1], ranks[0])
        by_decay = [overfitting_claims.by_decay(*pair).mean() for pair in self.decays]
        return (
            f"Without decay, the higher rate alone changes the effective rank of the trained weights by "
            f"{alone.points()} of full rank"
            + (", more than decay does at either." if abs(alone.mean) > max(map(abs, by_decay)) else ".")
        )

    def _same_training(self) -> str:
        """Task 2's networks were tuned, the big one was not: what is left of the difference at equal training."""
        rate, epochs = self.base["learning_rate"], self.base["history"]["train_loss"].shape[1] - 1
        own = self.settings["training"]
        said = (
            f"Task 2's networks were trained otherwise than the big one (learning rate {rate:g} against "
            f"{own['learning_rate']:g}, {epochs} epochs against {own['epochs']})"
        )
        met = overfitting.overfitted(self.base["history"])
        if met.any():
            said = (
                f"By the criterion {int(met.sum())} of {len(met)} of Task 2's networks are overfitted too, so this "
                f"compares sizes and trainings, not overfitted networks with others. {said}"
            )
        same = self.sizes.of(self.base_widths)
        if same is None:
            return f"{said}; under this profile no network of their shape was trained as the big one was."
        share = estimate(average(same, "update", "effective_rank", normalised=True))
        change, start = (
            overfitting_claims.difference(same, self.big, matrix, "effective_rank") for matrix in ("update", "initial")
        )
        return (
            f"{said}. A network of Task 2's shape trained as the big one is (among the sizes above) has an update of "
            f"{share.percent()} of full rank, by the effective rank, and from there to the big network the difference "
            f"is {change.points()}; between the random starts of the two it is {start.points()}."
            + (
                " So beyond what the shapes alone do, no effect of the size is shown."
                if change.low <= start.high and start.low <= change.high
                else ""
            )
        )

    def _features(self) -> str:
        parts = []
        for label, arm in (("the big network", self.big), ("Task 2's", self.base)):
            train, test = (arm["features"][split]["centred"]["effective_rank"][:, -2] for split in ("train", "test"))
            parts.append(f"{estimate(train).text()} on training and {estimate(test).text()} on test images in {label}")
        return "After the last hidden layer the effective rank of the centred features is " + ", and ".join(parts) + "."

    def _trajectory(self) -> str:
        arm = self._observed
        best = _best_epoch(arm["history"])
        change = _since_best(arm, "update.effective_rank")
        word = "rises" if change.low > 0 else "falls" if change.high < 0 else "shows no sure change"
        return (
            f"Between the epoch of lowest validation loss (epoch {estimate(best).text(1)}) and the last, the effective "
            f"rank of the update {word}: {change.points()} of full rank, on the mean over layers."
        )

    # figures

    def curves(self) -> figures.Figure:
        return figures.learning_curves({"Task 2's network": self.base["history"], "the big one": self.big["history"]})

    def spectra(self) -> figures.Figure:
        return rank_figures.spectra(self.big, rank_views.shapes(self.widths))

    def layers(self) -> figures.Figure:
        return rank_figures.layers({"Task 2": self.base, "big": self.big})

    def activations(self) -> figures.Figure:
        return rank_figures.activations({"chapter 3": self.shallow, "this chapter": self.activations_found})

    def features(self) -> figures.Figure:
        return rank_figures.features(self.activations_found)

    def trainings(self) -> figures.Figure:
        return rank_figures.trainings(
            {
                "activations": self.activations_found,
                "shuffled labels": {"relu": self.shuffled},
                "true labels, alike": {"relu": self.unshuffled},
            }
        )

    def decay_curves(self) -> figures.Figure:
        arms = {}
        for decay, none in self.decays:
            at = f"rate {decay['learning_rate']:g}"
            arms |= {f"decay, {at}": decay["history"], f"none, {at}": none["history"]}
        return figures.learning_curves(arms)

    def trajectory(self) -> figures.Figure:
        best = float(_best_epoch(self._observed["history"]).mean())
        return rank_figures.trajectory(self._observed, best)

    def bound(self) -> figures.Figure:
        return bound.figure(self.result["bound"])

    # tables

    def bounds(self) -> Markdown:
        return bound.rows(self.result["bound"])

    def bound_published(self) -> Markdown:
        return bound.published(self.result["bound"], self.result.data)

    def criterion(self) -> Markdown:
        arms: dict[str, Arm] = {"Task 2's network": self.base, "the big network": self.big}
        arms |= {f"{ACTIVATIONS[name]} arm": arm for name, arm in self.activations_found.items()}
        for decay, none in self.decays:
            at = f"rate {decay['learning_rate']:g}"
            arms[f"ReLU arm, weight decay, {at}"] = decay
            if none["learning_rate"] != arms["ReLU arm"]["learning_rate"]:  # else they are the same networks
                arms[f"ReLU arm, no decay, {at}"] = none
        arms["ReLU arm, shuffled labels"] = self.shuffled
        arms["ReLU arm, trained like that"] = self.unshuffled
        rows = []
        for label, arm in arms.items():
            history = arm["history"]
            met = overfitting.overfitted(history)
            rows.append(
                [
                    label,
                    rank_views.final(arm, "train_accuracy").percent(2),
                    rank_views.final(arm, "test_accuracy").percent(2),
                    estimate(history["test_loss"][:, 1:].min(axis=1)).text(3),
                    estimate(overfitting.excess(history["test_loss"])).percent(1),
                    f"{int(met.sum())} of {len(met)}",
                ]
            )
        headers = ["network", "train", "test", "lowest test loss", "excess"]
        return table([*headers, "overfitted"], rows)

    def side_by_side(self) -> Markdown:
        rows = []
        for matrix in ("initial", "weights", "update"):
            for name in COMPARED:
                pair = [average(arm, matrix, name, normalised=True) for arm in (self.base, self.big)]
                rows.append(
                    [
                        f"{NAMES[name]} of {rank_views.MATRICES[matrix]}",
                        *[estimate(found).percent(1) for found in pair],
                        overfitting_claims.difference(self.base, self.big, matrix, name).points(1),
                    ]
                )
        return table(["mean over layers, of full rank", "Task 2's network", "the big network", "difference"], rows)

    def by_layer(self) -> Markdown:
        return rank_views.by_layer(self.big, rank_views.shapes(self.widths), "weights")

    def averages(self) -> Markdown:
        return rank_views.averages(self.big)

    def by_activation(self) -> Markdown:
        return rank_views.by_activation(self.activations_found)

    def controls(self) -> Markdown:
        arms = [each for decay, none in self.decays for each in (("weight decay", decay), ("none", none))]
        arms += [("shuffled labels", self.shuffled), ("true labels, trained like those", self.unshuffled)]
        rows = []
        for label, arm in arms:
            rows.append(
                [
                    label,
                    f"{arm['learning_rate']:g}",
                    rank_views.final(arm, "train_accuracy").percent(2),
                    rank_views.final(arm, "test_accuracy").percent(2),
                    *[
                        estimate(average(arm, matrix, name, normalised=True)).percent(1)
                        for matrix in ("weights", "update")
                        for name in ("effective_rank", "stable_rank")
                    ],
                ]
            )
        headers = ["ReLU arm with", "rate", "training accuracy", "test accuracy"]
        headers += ["effective rank of W", "stable rank of W"]
        return table([*headers, "effective rank of W − W₀", "stable rank of W − W₀"], rows)

    # conclusions

    def claims(self) -> list[claims.Claim]:
        same = self.sizes.of(self.base_widths)
        stated = overfitting_claims.stated(self.base, same, self.big, self.unshuffled, self.shuffled, self.decays)
        return claims.corrected([*stated, *self.sizes.claims(), *bound.stated(self.result["bound"])])

    def conclusion(self) -> Markdown:
        return conclude(self.claims())


def _images(count: int | None) -> str:
    return "all training images" if count is None else f"{number_text(count)} training images"


def _best_epoch(history: Mapping[str, np.ndarray]) -> np.ndarray:
    """(seeds,) epoch of the lowest validation loss."""
    return history["validation_loss"].argmin(axis=1).astype(float)


def _since_best(arm: Arm, name: str) -> Estimate:
    """Change of an observed rank, as a fraction of full rank and mean over layers, from the best epoch to the last."""
    found = (arm["trajectory"][name] / arm["ranks"]["limits"]).mean(axis=2)  # (seeds, epochs + 1)
    best = _best_epoch(arm["history"]).astype(int)
    return estimate(found[:, -1] - found[np.arange(len(found)), best])


def _how_many_overfitted(met: np.ndarray) -> str:
    """Nothing where all are."""
    return "" if met.all() else f" ({int(met.sum())} of {len(met)} overfitted)"
