"""Rank-r approximation of trained layers: how near the Eckart–Young bound, and how long beside an SVD.

The times leave the certificate out of the alternating methods' account by handing them the singular values: with it
they cannot be faster than an SVD, for it needs one. Least squares is timed at every rank, the others at some.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median

import numpy as np
from sklearn.decomposition import TruncatedSVD

from benchmarks import Row, alternate, mnist, one_thread, ratio, report
from rankstudy import config, device, training
from rankstudy.factorization import Factors, Fit, alternating_gradient, alternating_least_squares, certify
from rankstudy.layers import build, weights
from rankstudy.spectrum import Spectrum
from rankstudy.study.experiments.overfitting import WIDTHS

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TIMED = (8, 32, 128, 256, 512)


def textbook(a: np.ndarray, rank: int, **options) -> Fit:
    return alternating_least_squares(a, rank, oversampling=0, **options)


METHODS: dict[str, tuple[Callable[..., Fit], float]] = {  # with the gap it is to reach: a share of the least error
    "least squares": (alternating_least_squares, 1e-4),
    "least squares, textbook": (textbook, 1e-4),
    "gradient": (alternating_gradient, 1e-2),
}

OURS = "least squares"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks factorization", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="turns of each timing")
    parser.add_argument("--epochs", type=int, default=3, help="of training before")
    parser.add_argument("--ranks", type=int, nargs="+", default=list(RANKS))
    parser.add_argument("--timed", type=int, nargs="+", default=list(TIMED), help="ranks where all methods are timed")
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    layers = trained(options.epochs)
    spectra = [Spectrum.of(layer) for layer in layers]
    reached = {name: sweep(name, layers, spectra, options.ranks) for name in METHODS}
    hidden = max(range(len(layers)), key=lambda i: min(layers[i].shape))
    ranks = [rank for rank in options.ranks if rank < min(layers[hidden].shape)]
    times, gaps = timings(layers[hidden], spectra[hidden], ranks, options.timed, options.repeats)
    rows = [quality(name, fits) for name, fits in reached.items()]
    size = "×".join(map(str, layers[hidden].shape))
    for rank, seconds in times.items():
        for peer in ("full SVD", "TruncatedSVD"):
            speed = ratio(seconds[peer], seconds[OURS])
            ours, theirs = (f"{1e3 * median(seconds[name]):.0f} ms" for name in (OURS, peer))
            verdict = "" if speed > 1 else f"; {peer} wins"
            note = f"gap {gaps[rank][OURS]:.0e} against {gaps[rank][peer]:.0e}{verdict}"
            rows.append(Row(f"{OURS}, r = {rank} of {size}", peer, ours, theirs, speed, "", options.repeats, note))
    tables = {
        f"Milliseconds, and gap to the least possible error, on the {size} layer": [
            ["rank", *(columns := max(times.values(), key=len))],
            *([rank, *(cell(seconds, gaps[rank], column) for column in columns)] for rank, seconds in times.items()),
        ],
        "Iterations by rank, one number a layer (as far as it has that rank)": [
            ["method", *options.ranks],
            *(
                [name, *(" ".join(str(f.iterations) for f in fits[r]) for r in options.ranks)]
                for name, fits in reached.items()
            ),
        ],
    }
    report("factorization", rows, time.perf_counter() - begun, tables, one_thread())


def trained(epochs: int) -> list[np.ndarray]:
    """The weight matrices of the big network of chapter 4 after a few epochs on MNIST, in float64."""
    where = device.choose()
    model = build(config.Network(WIDTHS), 0).to(where)
    training.train(config.Training(epochs), [model], mnist(where), [0])
    return [weight.cpu().double().numpy() for weight in weights(model)]


def sweep(name: str, layers: list[np.ndarray], spectra: list[Spectrum], ranks: list[int]) -> dict[int, list[Fit]]:
    """Every layer at every rank it has."""
    method, tol = METHODS[name]
    return {
        rank: [
            method(layer, rank, tol=tol, spectrum=spectrum)
            for layer, spectrum in zip(layers, spectra, strict=True)
            if rank <= min(layer.shape)
        ]
        for rank in ranks
    }


def cell(seconds: Mapping[str, Sequence[float]], gaps: Mapping[str, float], method: str) -> str:
    """Milliseconds and gap of a method; nothing where it was not timed."""
    return f"{1e3 * median(seconds[method]):.0f} ({gaps[method]:.0e})" if method in seconds else ""


def quality(name: str, reached: dict[int, list[Fit]]) -> Row:
    """The worst gap of the sweep, certified from A − BC itself."""
    fits = [fit for by_layer in reached.values() for fit in by_layer]
    worst, most = max(float(np.nan_to_num(fit.gap)) for fit in fits), max(int(fit.iterations) for fit in fits)
    tol = METHODS[name][1]
    late = sum(str(fit.stopped) != "tolerance" for fit in fits)
    note = f"at most {most} iterations" + (f"; {late} of {len(fits)} stopped before" if late else "")
    return Row(name, "Eckart–Young error", f"{worst:.2e}", f"{tol:g}", worst / tol, "≤ 1", len(fits), note)


def timings(
    a: np.ndarray, spectrum: Spectrum, ranks: list[int], timed: list[int], repeats: int
) -> tuple[dict[int, dict[str, list[float]]], dict[int, dict[str, float]]]:
    """Seconds, and gap to the least possible error, of ours and both peers at every rank, of every method at some."""
    times, gaps = {}, {}
    for rank in ranks:
        jobs: dict[str, Callable[[], Fit | Factors]] = {
            "full SVD": partial(cut_svd, a, rank),
            "TruncatedSVD": partial(scikit_learn, a, rank),
            **{
                name: partial(method, a, rank, tol=tol, spectrum=spectrum)
                for name, (method, tol) in METHODS.items()
                if name == OURS or rank in timed
            },
        }
        times[rank] = alternate(jobs, repeats, clock=one_thread())
        found = {name: job() for name, job in jobs.items()}
        certificates = {
            name: each.certificate if isinstance(each, Fit) else certify(a, each, spectrum=spectrum)
            for name, each in found.items()
        }
        gaps[rank] = {name: float(certificate.gap) for name, certificate in certificates.items()}
    return times, gaps


def cut_svd(a: np.ndarray, rank: int) -> Factors:
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    return Factors(u[:, :rank] * s[:rank], vt[:rank])


def scikit_learn(a: np.ndarray, rank: int) -> Factors:
    """Its default: a randomised SVD with 10 more columns and 5 iterations, to no stated tolerance."""
    peer = TruncatedSVD(rank, random_state=0)
    return Factors(peer.fit_transform(a), peer.components_)
