"""Chapter 5: what its result says."""

from __future__ import annotations

import math
from functools import cached_property
from itertools import pairwise

import numpy as np

from rankstudy.book import figures
from rankstudy.book.chapters import (
    approximation_claims,
    approximation_figures,
    approximation_player,
    approximation_tables,
)
from rankstudy.book.chapters import statements as claims
from rankstudy.book.chapters.approximation_lengths import Lengths
from rankstudy.book.chapters.common import Markdown, banner, conclude, over
from rankstudy.book.chapters.lora_costs import scientific
from rankstudy.book.chapters.published import CLOSE, TRUNCATION_WHOLE
from rankstudy.book.stats import Estimate, estimate, number_text, paired, percent
from rankstudy.factorization import break_even_rank, eckart_young_error
from rankstudy.spectrum import Spectrum
from rankstudy.study import questions

TRAIN, VALIDATION, TEST = range(3)
USUAL = 0.1  # relative error that is commonly called a good approximation


class Chapter:
    def __init__(self) -> None:
        self.result = questions.result("approximation")
        self.settings = self.result.config
        self.rank = int(self.result["rank"])
        widths = self.settings["overfitting"]["network"]["widths"]
        self.shapes = [(out, inp) for inp, out in pairwise(widths)]
        self.full_rank = max(min(shape) for shape in self.shapes)
        self.networks = len(self.result["seeds"])
        self.lengths = Lengths(self)

    def banner(self) -> Markdown:
        return banner(self.result)

    # what is read off the stored spectra

    def spectra(self, kind: str) -> list[Spectrum]:
        """One batched spectrum (networks,) per layer; kind: weights, initial, update or weighted."""
        stored = self.result["spectra"][kind]
        return [Spectrum(stored[str(layer)], shape) for layer, shape in enumerate(self.shapes)]

    def bound(self, kind: str, layer: int, rank: int, relative: bool = True) -> np.ndarray:
        """Eckart–Young error of a layer (networks,), 0 where the rank is full."""
        return eckart_young_error(self.spectra(kind)[layer], min(rank, *self.shapes[layer]), relative)

    def average_error(self, ranks: np.ndarray, kind: str = "weights", relative: bool = True) -> np.ndarray:
        """Mean over layers of the smallest possible error at the same rank in every layer, (networks, ranks)."""
        total = np.zeros((self.networks, self.full_rank + 1))
        for spectrum in self.spectra(kind):
            tails = np.sqrt(spectrum.tails())  # (networks, own full rank + 1), as a share of σ₁
            scale = 1 / tails[:, :1] if relative else spectrum.largest[:, None]
            total[:, : tails.shape[1]] += tails * scale
        return total[:, np.minimum(ranks, self.full_rank)] / len(self.shapes)

    def error_of_cut(self, rank: int) -> np.ndarray:
        """Mean relative error of the layers that this rank does cut, (networks,); the others count as 0 above."""
        cut = [layer for layer, shape in enumerate(self.shapes) if rank < min(shape)]
        return np.mean([self.bound("weights", layer, rank) for layer in cut], axis=0)

    @cached_property
    def norms(self) -> np.ndarray:
        """‖W‖_F, (networks, layers)."""
        return np.stack([self.bound("weights", layer, 0, False) for layer in range(len(self.shapes))], axis=1)

    @cached_property
    def initial_share(self) -> np.ndarray:
        """‖W₀‖²/‖W‖², mean over the hidden square layers, (networks,)."""
        initial = np.stack([spectrum.values for spectrum in self.spectra("initial")[1:-1]], axis=0)
        trained = np.stack([spectrum.values for spectrum in self.spectra("weights")[1:-1]], axis=0)
        return ((initial**2).sum(axis=2) / (trained**2).sum(axis=2)).mean(axis=0)

    @property
    def validation_images(self) -> int:
        return int(self.settings["overfitting"]["data"]["validation_size"])

    @property
    def validation_error(self) -> float:
        """Standard error of a validation accuracy as high as the networks', from the number of images alone."""
        accuracy = self.original(VALIDATION).mean()
        return math.sqrt(accuracy * (1 - accuracy) / self.validation_images)

    @cached_property
    def threshold(self) -> float:
        """The average relative error at the effective rank, of the network where it is largest, rounded up."""
        return math.ceil(1000 * float(self.average_error(np.array([self.rank])).max())) / 1000

    def threshold_rank(self, threshold: float, kind: str = "weights") -> np.ndarray:
        """Smallest rank for all layers whose average relative error is within the threshold, (networks,)."""
        errors = self.average_error(np.arange(self.full_rank + 1), kind)
        return (errors > threshold).sum(axis=1)

    def share(self, rank: float) -> float:
        """Parameters of the factors at that rank in every layer, as a share of the dense network's."""
        dense = sum(m * n for m, n in self.shapes)
        return sum(rank * (m + n) for m, n in self.shapes) / dense

    # what the sweeps say

    def accuracy(self, way: str, rank: int, split: int = TEST) -> np.ndarray:
        """(networks,) at a rank that was tried."""
        sweep = self.settings["sweep"]
        tried = sweep["ranks"] if way == "truncated" else sweep["sequential" if way == "sequential" else "compared"]
        return self.result[way][:, list(tried).index(rank), 1, split]

    def original(self, split: int) -> np.ndarray:
        return self.result["original"][:, 1, split]

    def lost(self, split: int) -> Estimate:
        """Accuracy lost at the effective rank, paired by network."""
        return paired(self.original(split), self.accuracy("truncated", self.rank, split))

    def next_tried(self, rank: float) -> int:
        """The smallest rank of the sweep that is no smaller."""
        return next(tried for tried in self.settings["sweep"]["ranks"] if tried >= min(rank, self.full_rank))

    @cached_property
    def below(self) -> int:
        """The largest compared rank under the effective rank: where cutting starts to hurt and ways differ."""
        compared = self.settings["sweep"]["compared"]
        return max([rank for rank in compared if rank < self.rank], default=min(compared))

    @cached_property
    def best(self) -> np.ndarray:
        """(networks,) index of the rank with the best validation accuracy; the smallest of equals."""
        return self.result["truncated"][:, :, 1, VALIDATION].argmax(axis=1)

    @cached_property
    def gained(self) -> Estimate:
        """Test accuracy at the rank that validation likes best, above the whole network's."""
        rows = np.arange(self.networks)
        return paired(self.result["truncated"][rows, self.best, 1, TEST], self.original(TEST))

    @cached_property
    def text(self) -> dict[str, str]:
        sweep, tolerance = self.settings["sweep"], self.settings["tolerance"]
        usual = estimate(self.threshold_rank(USUAL).astype(float))
        fits = self.result["alternating"]
        hidden = self.shapes[1]
        at = np.array([self.rank])
        tried = np.asarray(sweep["ranks"])
        return {
            "rank": str(self.rank),
            "over": over(self.networks),
            "own_mean": estimate(np.asarray(self.result["own_rank"], dtype=float)).text(1),
            "iterations_mean": estimate(
                fits["least_squares"]["iterations"].reshape(self.networks, -1).mean(axis=1)
            ).text(),
            "curve": self._curve(),
            "own_ranks": ", ".join(str(int(rank)) for rank in self.result["own_rank"]),
            "n": str(self.networks),
            "widths": "–".join(map(str, self.settings["overfitting"]["network"]["widths"])),
            "layers": str(len(self.shapes)),
            "hidden": f"{hidden[0]} × {hidden[1]}",
            "close": f"{number_text(100 * CLOSE)} points",
            "tolerance": f"{number_text(100 * tolerance, 1)} points",
            "images": number_text(sweep["inputs"]),
            "pictures": str(len(self.result["pictures"]["rows"])),
            "tol": f"{sweep['tol']:g}",
            "limit": str(sweep["max_iterations"]),
            "threshold": number_text(self.threshold, 3),
            "published_whole": percent(TRUNCATION_WHOLE, 2),
            "error_relative": estimate(self.average_error(at)[:, 0]).text(3),
            "error_cut": estimate(self.error_of_cut(self.rank)).text(3),
            "error_absolute": estimate(self.average_error(at, relative=False)[:, 0]).text(1),
            "energy": percent(1 - (self.average_error(at) ** 2).mean(), 0),
            "usual": percent(USUAL, 0),
            "usual_rank": usual.text(0),
            "usual_share": percent(self.share(usual.mean), 0),
            "share": percent(self.share(self.rank), 1),
            "break_even": str(break_even_rank(*hidden)),
            "break_even_first": str(break_even_rank(*self.shapes[0])),
            **{
                f"{name}_{kind}": value
                for split, name in enumerate(("train", "validation", "test"))
                for kind, value in (
                    ("original", estimate(self.original(split)).percent()),
                    ("cut", estimate(self.accuracy("truncated", self.rank, split)).percent()),
                    ("lost", self.lost(split).points()),
                )
            },
            "excess": scientific(max(float(fits["least_squares"]["excess"].max()), 0.0)),
            "iterations_als": self._range(fits["least_squares"]["iterations"]),
            "iterations_gradient": self._range(fits["gradient"]["iterations"]),
            "unfinished": str(int((~fits["gradient"]["reached"]).sum() + (~fits["least_squares"]["reached"]).sum())),
            "fits": str(fits["gradient"]["reached"].size + fits["least_squares"]["reached"].size),
            "svd_seconds": f"{self.result['svd_seconds'][:, 1].mean():.2g}",
            "als_seconds": "; ".join(
                f"{seconds:.2g} s at r = {rank}"
                for rank, seconds in zip(
                    sweep["alternating"], fits["least_squares"]["seconds"][:, :, 1].mean(axis=0), strict=True
                )
            ),
            "initial_share": percent(self.initial_share.mean(), 0),
            "validation_images": number_text(self.validation_images),
            "validation_error": f"{number_text(100 * self.validation_error, 1)} points",
            "below": str(self.below),
            "best_ranks": ", ".join(str(rank) for rank in tried[self.best]),
            "gained": self.gained.points(),
            "allotted_where": approximation_tables.where_allotted(self),
            **self.lengths.text(),
            **{
                f"below_{way}": estimate(self.accuracy(way, self.below)).percent(1)
                for way in ("truncated", "weighted", "update", "allotted", "allotted_weighted")
            },
        }

    def _curve(self) -> str:
        """The average error from the smallest to the largest rank tried below full rank, absolute and relative."""
        tried = [rank for rank in self.settings["sweep"]["ranks"] if rank < self.full_rank]
        ends = np.array([tried[0], tried[-1]])
        absolute, relative = (
            [estimate(each) for each in self.average_error(ends, relative=flag).T] for flag in (False, True)
        )
        low, high = (
            f"{size.text(1)} ({share.text(3)} relative to the norms) at r = {rank}"
            for rank, size, share in zip(ends, absolute, relative, strict=True)
        )
        return f"from {low} to {high}"

    @staticmethod
    def _range(values: np.ndarray) -> str:
        low, high = int(values.min()), int(values.max())
        return str(low) if low == high else f"{low} to {high}"

    # figures

    def convergence(self) -> figures.Figure:
        return approximation_figures.convergence(self)

    def errors(self) -> figures.Figure:
        return approximation_figures.errors(self)

    def accuracies(self) -> figures.Figure:
        return approximation_figures.accuracies(self)

    def ways(self) -> figures.Figure:
        return approximation_figures.ways(self)

    def spectra_figure(self) -> figures.Figure:
        return approximation_figures.spectra(self)

    def player(self) -> Markdown:
        return approximation_player.player(self)

    def strip(self) -> figures.Figure:
        return approximation_player.strip(self)

    # tables

    def certificates(self) -> Markdown:
        return approximation_tables.certificates(self)

    def thresholds(self) -> Markdown:
        return approximation_tables.thresholds(self)

    def criteria(self) -> Markdown:
        return approximation_tables.criteria(self)

    def truncation(self) -> Markdown:
        return approximation_tables.truncation(self)

    def allotments(self) -> Markdown:
        return approximation_tables.allotments(self)

    def claims(self) -> list[claims.Claim]:
        return claims.corrected(approximation_claims.made(self))

    def conclusion(self) -> Markdown:
        return conclude(self.claims())
