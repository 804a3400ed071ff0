"""Chapter 9: other networks in random subspaces, one change at a time, and over width and depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import intrinsic_figures, li2018, rates
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.common import Markdown, table
from rankstudy.book.chapters.crossings import dimension_text, log_ratio
from rankstudy.book.stats import Estimate, estimate, number_text, paired

SPLITS = ("train", "validation", "test")
NONE = Markdown("Not run under this profile.")
EQUAL = 0.01  # of accuracy: what a change may do and still be called small
SPREAD = 2  # the factor within which dimensions over width and depth are called the same


def final(curve: Mapping[str, Any], split: str) -> np.ndarray:
    """(seeds, dimensions) accuracy after the last epoch."""
    return curve["history"][f"{split}_accuracy"][:, :, -1].T.astype(float)


def d_int(curve: Mapping[str, Any], definition: str, split: str) -> str:
    """The intrinsic dimension with its interval, or on which side of the measured dimensions it lies."""
    level = 0.9 if definition == "absolute" else 0.9 * curve["direct"][f"{split}_accuracy"][:, -1]
    return dimension_text(curve["intrinsic"][split][definition], curve["dimension"], final(curve, split), level)


def learning(curves: Mapping[str, Mapping[str, Any]]) -> figures.Figure:
    """Learning curves of some curves' subspaces, and of training all parameters as dimension 0."""
    arms = {}
    for label, curve in curves.items():
        history, direct = curve["history"], curve["direct"]
        arms[label] = {
            "dimension": np.append(curve["dimension"], 0),
            "loss": {s: [*history[f"{s}_loss"], direct[f"{s}_loss"]] for s in SPLITS},
            "score": {s: [100 * v for v in (*history[f"{s}_accuracy"], direct[f"{s}_accuracy"])] for s in SPLITS},
        }
    return intrinsic_figures.learning(arms)


class Ablations:
    """Each is the main curve with one thing changed, at some of its dimensions."""

    def __init__(self, main: Mapping[str, Any], changed: Mapping[str, Mapping[str, Any]]) -> None:
        self.main, self.changed = main, changed

    def difference(self, name: str, split: str) -> dict[int, Estimate]:
        """Accuracy with the change minus without, paired by seed, at each dimension that both have."""
        with_it, without = final(self.changed[name], split), final(self.main, split)
        columns = {int(d): column for column, d in enumerate(self.main["dimension"])}
        return {
            int(d): paired(with_it[:, column], without[: len(with_it), columns[int(d)]])
            for column, d in enumerate(self.changed[name]["dimension"])
            if int(d) in columns
        }

    def accuracy(self, name: str, d: int, split: str) -> Estimate:
        """Of the changed networks, after the last epoch in a subspace of d dimensions."""
        curve = self.changed[name]
        return estimate(final(curve, split)[:, curve["dimension"].tolist().index(d)])

    def table(self) -> Markdown:
        rows = []
        for name, curve in self.changed.items():
            train = self.difference(name, "train")
            for d, test in self.difference(name, "test").items():
                column = curve["dimension"].tolist().index(d)
                rate, tried = float(curve["learning_rate"][column]), curve["tuning"]
                rate_text = f"{rate:g}" + rates.mark(rates.at_edge(rate, tried["learning_rate"] if tried else ()))
                own = [estimate(final(curve, split)[:, column]).percent() for split in ("train", "test")]
                differences = (each.text(None, 100.0, sign=True) for each in (train[d], test))
                rows.append([name, number_text(d), rate_text, *own, *differences])
        if not rows:
            return NONE
        return table(["change", "d", "rate", "train", "test", "change, train (points)", "change, test (points)"], rows)

    def learning(self) -> figures.Figure | Markdown:
        return learning(self.changed) if self.changed else NONE

    def claims(self) -> list[claims.Claim]:
        if "biases" not in self.changed:
            return []
        found = self.difference("biases", "test")
        d = max(found)
        effect, n = found[d], found[d].n
        if not np.isfinite(effect.half):
            verdict = "open"
        elif -EQUAL < effect.low and effect.high < EQUAL:
            verdict = "holds"
        else:
            verdict = "fails" if effect.low > EQUAL or effect.high < -EQUAL else "open"
        sentence = {
            "holds": f"Leaving out the biases changes the test accuracy at d = {d} by less than a point.",
            "fails": f"Leaving out the biases changes the test accuracy at d = {d} by more than a point.",
            "open": f"Whether leaving out the biases changes the test accuracy at d = {d} by a point is not decided.",
        }[verdict]
        evidence = f"with biases {effect.points()}, paired, n = {n} seeds"
        return [claims.Claim("intrinsic-biases", verdict, sentence, evidence)]


class Grid:
    """Networks of other widths and depths, the main one among them."""

    def __init__(self, main: Mapping[str, Any], widths: Sequence[int], others: Sequence[Mapping[str, Any]]) -> None:
        named = [("–".join(map(str, widths)), main)] + [("–".join(map(str, g["widths"])), g) for g in others]
        self.curves = dict(sorted(named, key=lambda pair: pair[1]["parameters"]))
        self.others = {name: curve for name, curve in self.curves.items() if curve is not main}

    def table(self) -> Markdown:
        if not self.others:
            return NONE
        rows = []
        for name, curve in self.curves.items():
            found = [d_int(curve, kind, split) for kind in ("absolute", "relative") for split in ("train", "test")]
            seeds = curve["history"]["test_accuracy"].shape[1]
            rows.append([name, number_text(curve["parameters"]), str(seeds), *found])
        headers = ["network", "D", "n", "0.90, train", "0.90, test", "90 % of own, train", "90 % of own, test"]
        return table(headers, rows)

    def learning(self) -> figures.Figure | Markdown:
        return learning({name.replace("–", " "): curve for name, curve in self.others.items()}) if self.others else NONE

    @property
    def found(self) -> list[Estimate]:
        """The dimension to 0.90 on test data, of each network."""
        return [estimate(curve["intrinsic"]["test"]["absolute"]) for curve in self.curves.values()]

    @property
    def seeds(self) -> str:
        fewest, most = min(each.n for each in self.found), max(each.n for each in self.found)
        return f"n = {fewest} to {most} seeds each" if fewest < most else f"n = {most} seeds each"

    def within(self) -> str:
        """Whether the dimensions stay within `SPREAD` of each other, by their intervals and not their means alone."""
        low, high = (np.array([getattr(each, end) for each in self.found]) for end in ("low", "high"))
        # an interval of two seeds may reach below one dimension; one seed has none, and its NaN decides nothing
        if high.max() / np.maximum(low.min(), 1.0) < SPREAD:
            return "holds"
        return "fails" if low.max() / high.min() > SPREAD else "open"

    def claims(self) -> list[claims.Claim]:
        if not self.others:
            return []
        means = [each.mean for each in self.found]
        sizes = [curve["parameters"] for curve in self.curves.values()]
        if not np.isfinite(means).all():
            return [
                claims.Claim(
                    "intrinsic-width-depth",
                    "open",
                    "Not every width and depth crosses 0.90 between the dimensions tried.",
                    f"{len(means)} sizes of network, {self.seeds}",
                )
            ]
        growth, spread = max(sizes) / min(sizes), max(means) / min(means)
        verdict = self.within()
        text = {
            "holds": f"stays within a factor of {SPREAD}.",
            "fails": f"varies {number_text(spread, 1)}-fold.",
            "open": f"varies {number_text(spread, 1)}-fold on the means; with so few networks of each size, whether it "
            f"stays within a factor of {SPREAD} is not decided.",
        }[verdict]
        low, high = (number_text(each) for each in li2018.GRID)
        return [
            claims.Claim(
                "intrinsic-width-depth",
                verdict,
                f"Over widths and depths the parameters grow {number_text(growth)}-fold and the intrinsic dimension "
                + text,
                f"{len(means)} sizes of network, {self.seeds}, mean d_int90 from {number_text(min(means))} to "
                f"{number_text(max(means))}; published: {low} to {high}",
                surprise=1,
            )
        ]


class Shuffled:
    """Labels shuffled for a fraction of the training images: nothing to learn there but the images themselves."""

    def __init__(self, curves: Sequence[Mapping[str, Any]]) -> None:
        self.curves = {f"{100 * curve['fraction']:.0f} % shuffled": curve for curve in curves}

    def table(self) -> Markdown:
        if not self.curves:
            return NONE
        rows = []
        for name, curve in self.curves.items():
            direct = [estimate(curve["direct"][f"{split}_accuracy"][:, -1]).percent() for split in ("train", "test")]
            largest = [estimate(final(curve, split)[:, -1]).percent() for split in ("train", "test")]
            rows.append([name, *direct, *largest, d_int(curve, "relative", "train")])
        d = number_text(next(iter(self.curves.values()))["dimension"][-1])
        headers = ["labels", "all, train", "all, test", f"d = {d}, train", f"d = {d}, test", "90 % of own, train"]
        return table(headers, rows)

    def learning(self) -> figures.Figure | Markdown:
        return learning(self.curves) if self.curves else NONE

    @property
    def fractions(self) -> list[float]:
        return [float(curve["fraction"]) for curve in self.curves.values()]

    def against(self, most: float, least: float) -> Estimate:
        """log₂ of the dimension at one fraction of shuffled labels over that at another, on training data."""
        by_fraction = dict(zip(self.fractions, self.curves.values(), strict=True))
        return log_ratio(*(by_fraction[each]["intrinsic"]["train"]["relative"] for each in (most, least)))

    @property
    def ratio(self) -> Estimate | None:
        """The same, of the most shuffled labels and the least."""
        return self.against(self.fractions[-1], self.fractions[0]) if len(self.curves) > 1 else None

    def claims(self) -> list[claims.Claim]:
        ratio = self.ratio
        if ratio is None:
            return []
        names = list(self.curves)
        least, most = self.curves[names[0]], self.curves[names[-1]]
        ends = [d_int(curve, "relative", "train") for curve in (least, most)]
        return [
            claims.compare(
                "intrinsic-shuffled",
                ratio,
                holds="Fitting shuffled labels takes more dimensions than fitting true ones.",
                fails="Fitting shuffled labels takes fewer dimensions than fitting true ones.",
                open="Whether fitting shuffled labels takes more dimensions than fitting true ones is not decided.",
                evidence=f"90 % of own training accuracy at d = {ends[1]} against {ends[0]}, n = {ratio.n} seeds, "
                f"{names[-1]} against {names[0]}",
            )
        ]
