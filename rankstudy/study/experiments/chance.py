"""What chance makes of an update: random errors on the inputs of its layer, and its own entries in random order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rankstudy._linalg.gram import singular_values
from rankstudy.spectrum import Spectrum, effective_rank, input_baseline, null_quantile

COPIES = 19  # in random order: the fewest that test at 5 %


def inputs(weights: Sequence[np.ndarray], images: np.ndarray) -> list[Spectrum]:
    """Spectra of X (N, in), what each layer of a ReLU network with these weights is given of the (N, pixels) images."""
    found, given = [], images
    for w in weights:
        found.append(Spectrum(singular_values(given), given.shape))
        given = np.maximum(given @ w.T, 0)
    return found


def random_errors(spectrum: Spectrum, rows: int, draws: int, *, seed: int = 0) -> float:
    """Entropy rank that random errors on inputs with this spectrum give an update of so many rows, mean of the draws.

    It needs no size: an entropy rank has no scale.
    """
    return float(effective_rank(input_baseline(spectrum, rows, draws=draws, seed=seed)).mean())


def outliers(matrix: np.ndarray) -> int:
    """Singular values above the 95 % quantile of the largest one of copies with the entries in random order."""
    edge = null_quantile(matrix, "shuffle", level=0.95, draws=COPIES)
    return int((Spectrum.of(matrix).values > edge).sum())
