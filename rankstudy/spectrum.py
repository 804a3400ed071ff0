"""Soft ranks: how many directions a matrix uses, read off its singular values, and what noise alone would show.

Design choices:
- Every function takes a matrix or the `Spectrum` of one: singular values and shape, which is all they need. One SVD
  serves them all, and a spectrum read from a stored record can be judged again without its matrix.
- A soft rank is scale free, so it is computed from σ/σ₁: nothing overflows, nothing underflows that matters.
- Everything is batched over the leading axes. A zero or empty matrix has every rank 0.
- A null is simulated, not only looked up: the Marchenko–Pastur edge is a limit for large matrices, not a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import entr

from rankstudy._linalg.arrays import FLOAT64_EPS, matrices, non_negative, positive_number, ratio_of, whole_number
from rankstudy._linalg.nulls import (
    marchenko_pastur_edge,
    marchenko_pastur_median,
    null_largest,
    null_quantile,
    sides,
)
from rankstudy._linalg.rounding import FLOAT32_EPS, is_coarse, rounding_floor
from rankstudy.rank import relative_tolerance

__all__ = [
    "Spectrum",
    "battery",
    "effective_rank",
    "energy_rank",
    "input_baseline",
    "marchenko_pastur_edge",
    "noise_std",
    "null_largest",
    "null_quantile",
    "numerical_rank",
    "outlier_rank",
    "participation_ratio",
    "rank_above",
    "stable_rank",
]

ENERGIES = (0.90, 0.95, 0.99)  # shares of ‖A‖²_F that `battery` reports


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of matrices, the matrices' shape, and which of the values may be rounding and nothing else.

    Raises:
        ValueError: values that are not finite, negative, increasing along the last axis or not min(shape) many; floor
            not finite numbers ≥ 0, one or one per matrix.

    >>> spectrum = Spectrum.of(np.diag([3.0, 4.0]))
    >>> spectrum.values.tolist(), spectrum.shape
    ([4.0, 3.0], (2, 2))
    """

    values: np.ndarray  # (..., min(m, n)) float64, descending
    shape: tuple[int, int]  # (m, n) of one matrix
    floor: Any = 0.0  # (...,) or a number: no value up to it counts in any rank that counts (`rank.rounding_floor`)

    def __post_init__(self) -> None:
        values = self.values if hasattr(self.values, "ndim") else np.asarray(self.values)
        values = matrices(values[..., None], "values").values[..., 0]
        m, n = sides(self.shape)
        if values.shape[-1] != min(m, n):
            raise ValueError(f"values must have min(shape) = {min(m, n)} entries a matrix; found {values.shape[-1]}")
        if (values < 0).any() or (np.diff(values) > 0).any():
            raise ValueError("values must be non-negative and descending; found negative or increasing ones")
        object.__setattr__(self, "floor", non_negative(self.floor, "floor", values.shape[:-1]))
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "shape", (m, n))

    @classmethod
    def of(cls, a: Any, floor: Any = None) -> Spectrum:
        """The spectrum of `a` (..., m, n), by one SVD; a `Spectrum` is handed back as it is.

        Args:
            floor: of a difference `rounding_floor(w, w0)`; None: `rounding_floor(a)` where the dtype of `a` is coarser
                than float32, else 0.

        Raises:
            ValueError: `a` is not finite real matrices, `floor` not finite numbers ≥ 0; a `Spectrum` with a `floor`.
        """
        if isinstance(a, cls):
            if floor is not None:
                raise ValueError("floor must be part of the Spectrum that is handed over; found another one")
            return a
        checked = matrices(a)
        if floor is None:
            floor = rounding_floor(a) if is_coarse(checked.eps) else 0.0
        return cls(np.linalg.svd(checked.values, compute_uv=False), checked.values.shape[-2:], floor)

    @property
    def largest(self) -> np.ndarray:
        """σ₁ (...,); 0 for an empty matrix."""
        return self.values.max(-1, initial=0.0)

    @property
    def scaled(self) -> np.ndarray:
        """σ/σ₁ (..., min(m, n)); zeros for a zero matrix."""
        return ratio_of(self.values, self.largest[..., None])

    def tails(self) -> np.ndarray:
        """Energy beyond the first r singular values, Σ_{i>r} (σ_i/σ₁)², for r = 0..min(m, n): (..., min(m, n) + 1).

        Summed from the smallest up, so that a small tail is as precise as a large one.
        """
        squares = self.scaled[..., ::-1] ** 2
        sums = np.concatenate([np.zeros((*squares.shape[:-1], 1)), np.cumsum(squares, axis=-1)], axis=-1)
        return sums[..., ::-1]


def tolerance(spectrum: Spectrum, eps: float = FLOAT64_EPS) -> np.ndarray:
    """max(m, n)·eps·σ₁ (...,), as `rankstudy.rank` defines it, or the spectrum's floor where that is higher."""
    return np.maximum(relative_tolerance(spectrum.shape, eps) * spectrum.largest, spectrum.floor)


def numerical_rank(a: Any, eps: float = FLOAT64_EPS) -> np.ndarray:
    """Singular values above max(m, n)·eps·σ₁ and the spectrum's floor; (...,) int.

    `rankstudy.rank.matrix_rank` takes eps from the dtype. A matrix in a format coarser than float32 brings its floor
    along, which then decides; so does a `Spectrum` that was made with one.

    Raises:
        ValueError: `a` is neither finite real matrices nor a `Spectrum`; eps no number > 0, or so coarse that no
            singular value of this shape could count.

    >>> int(numerical_rank(np.diag([1.0, 1e-10]))), int(numerical_rank(np.diag([1.0, 1e-10]), eps=1e-7))
    (2, 1)
    """
    spectrum = Spectrum.of(a)
    unit = relative_tolerance(spectrum.shape, positive_number(eps, "eps"))
    if unit >= 1:
        raise ValueError(
            f"eps must be below 1/max(m, n), or no singular value exceeds max(m, n)·eps·σ₁; found {eps!r} for shape "
            f"{spectrum.shape}. For a format as coarse as that: Spectrum.of(a, floor=rank.rounding_floor(a))"
        )
    return (spectrum.values > tolerance(spectrum, eps)[..., None]).sum(-1)


def stable_rank(a: Any) -> np.ndarray:
    """‖A‖²_F / σ₁² (...,): Rudelson & Vershynin 2007.

    Raises:
        ValueError: `a` is neither finite real matrices nor a `Spectrum`.

    >>> float(stable_rank(np.diag([2.0, 1.0, 1.0])))
    1.5
    """
    return (Spectrum.of(a).scaled ** 2).sum(-1)


def participation_ratio(a: Any) -> np.ndarray:
    """(Σλ)² / Σλ² (...,) over the eigenvalues λ = σ² of AᵀA.

    Raises:
        ValueError: `a` is neither finite real matrices nor a `Spectrum`.

    >>> float(participation_ratio(np.diag([2.0, 2.0, 0.0])))
    2.0
    """
    squares = Spectrum.of(a).scaled ** 2
    return squares.sum(-1) ** 2 / np.maximum((squares**2).sum(-1), 1.0)  # the sum is ≥ 1, or 0 for a zero matrix


def effective_rank(a: Any) -> np.ndarray:
    """exp of the Shannon entropy of p = σ/Σσ (...,): Roy & Vetterli 2007, definition 1.

    Raises:
        ValueError: `a` is neither finite real matrices nor a `Spectrum`.

    >>> round(float(effective_rank(np.eye(5))), 6)
    5.0
    """
    scaled = Spectrum.of(a).scaled
    total = scaled.sum(-1)  # ≥ 1, or 0 for a zero matrix
    return np.exp(entr(scaled / np.maximum(total, 1.0)[..., None]).sum(-1)) * (total > 0)


def energy_rank(a: Any, energy: float) -> np.ndarray:
    """Smallest r whose first r singular values hold the share `energy` of ‖A‖²_F; (...,) int.

    A tie within the rounding of the sum counts as reached: nine of ten equal singular values hold 0.9. At energy 1 it
    is the number of non-zero singular values.

    Raises:
        ValueError: `a` is neither finite real matrices nor a `Spectrum`, energy outside (0, 1].

    >>> int(energy_rank(np.diag([3.0, 1.0, 0.1]), 0.9))
    2
    """
    missing = 1.0 - positive_number(energy, "energy")
    if missing < 0:
        raise ValueError(f"energy must be at most 1; found {energy!r}")
    tails = Spectrum.of(a).tails()
    rounding = tails.shape[-1] * FLOAT64_EPS if missing > 0 else 0.0
    return (tails > (missing + rounding) * tails[..., :1]).sum(-1)


def noise_std(a: Any, estimator: Literal["entries", "bulk"]) -> np.ndarray:
    """Standard deviation of the noise in `a` (...,), estimated from its singular values.

    Args:
        estimator: "entries": root mean square of the entries, which signal inflates. "bulk": the std at which the
            median singular value is the Marchenko–Pastur median (Gavish & Donoho 2014, section III.E), which signal
            of rank well below min(m, n)/2 hardly moves; meaningless for a matrix of lower rank than that.

    Raises:
        ValueError: `a` is neither finite real matrices nor a `Spectrum`, an unknown estimator.

    >>> noise = np.random.default_rng(0).normal(scale=0.1, size=(200, 100))
    >>> round(float(noise_std(noise, "entries")), 2), round(float(noise_std(noise, "bulk")), 2)
    (0.1, 0.1)
    """
    spectrum = Spectrum.of(a)
    m, n = spectrum.shape
    if estimator not in ("entries", "bulk"):
        raise ValueError(f'std must be a number, "entries" or "bulk"; found {estimator!r}')
    if min(m, n) == 0:
        return np.zeros(spectrum.values.shape[:-1])
    if estimator == "entries":
        return spectrum.largest * np.sqrt(spectrum.tails()[..., 0] / (m * n))
    return np.median(spectrum.values, axis=-1) / np.sqrt(max(m, n) * marchenko_pastur_median(min(m, n) / max(m, n)))


def rank_above(a: Any, edge: Any) -> np.ndarray:
    """Singular values above `edge` (...,) int, of which one that rounding alone explains (float64 τ, the spectrum's
    floor) never counts: so it is `numerical_rank` at most.

    Args:
        edge: a number or one per matrix (...,): `marchenko_pastur_edge`, `null_quantile`.

    Raises:
        ValueError: `a` is neither finite real matrices nor a `Spectrum`; edge not finite numbers ≥ 0.

    >>> int(rank_above(np.diag([3.0, 2.0, 1.0]), 1.5))
    2
    """
    spectrum = Spectrum.of(a)
    edge = np.maximum(non_negative(edge, "edge"), tolerance(spectrum))
    return (spectrum.values > edge[..., None]).sum(-1)


def outlier_rank(a: Any, std: Any) -> np.ndarray:
    """Singular values above the Marchenko–Pastur edge (...,) int: more than noise of this std would show.

    The answer hangs on where std comes from, so it has no default and the call names it: see `noise_std`.

    Args:
        std: a number or one per matrix (...,), such as the initialisation's; or "entries" or "bulk" to estimate it.

    Raises:
        ValueError: `a` is neither finite real matrices nor a `Spectrum`; std no numbers ≥ 0, no estimator.

    >>> noise = np.random.default_rng(0).normal(size=(100, 100))
    >>> int(outlier_rank(noise + 1.0, std=1.0))
    1
    """
    spectrum = Spectrum.of(a)
    std = noise_std(spectrum, std) if isinstance(std, str) else std
    return rank_above(spectrum, marchenko_pastur_edge(spectrum.shape, std))


def input_baseline(inputs: Any, rows: int, *, draws: int = 19, seed: int = 0) -> Spectrum:
    """Spectra of what a layer's inputs alone make of an update: so many random (rows, in) matrices Δ·X/√N.

    A gradient step adds Σ δᵢ·xᵢᵀ to the weights, so an update inherits the spectrum of its layer's inputs X (N, in)
    even where the errors δᵢ are noise. With δ independent standard Gaussian the rows of Δ·X/√N are independent draws
    from N(0, XᵀX/N), the uncentred second moment; by rotation the singular values are those of G·diag(s), G Gaussian
    (rows, k) and s those of X/√N. A measure that does not depend on scale can be compared as it is: what an update has
    beyond this baseline is more than its inputs, what it has not beyond it need not be learning. Low-rank gradients
    from low-rank inputs: "Low Rank Gradients and Where to Find Them" (arXiv 2510.01303).

    Args:
        inputs: (N, in) what the layer is given, an image a row; or its `Spectrum`, of X or of X/√N, which for measures
            without scale is the same.
        rows: of the weight matrix, its outputs.
        draws: random matrices.
        seed: of the draws.

    Raises:
        ValueError: `inputs` is not one finite real matrix, rows or draws below 1, seed below 0.

    >>> flat, steep = np.eye(200), np.diag(0.9 ** np.arange(200))
    >>> [int(effective_rank(input_baseline(x, 100)).mean()) for x in (flat, steep)]
    [92, 24]
    """
    spectrum = Spectrum.of(inputs)
    if spectrum.values.ndim != 1:
        raise ValueError(f"inputs must be one matrix (N, in); found a batch of shape {spectrum.values.shape[:-1]}")
    rows, draws = whole_number(rows, "rows", 1), whole_number(draws, "draws", 1)
    rng = np.random.default_rng(whole_number(seed, "seed", 0))
    scaled = spectrum.scaled[spectrum.values > tolerance(spectrum)]  # what may be rounding makes nothing
    size = min(rows, spectrum.shape[1])
    values = np.zeros((draws, size))
    for draw in range(draws if len(scaled) else 0):
        found = np.linalg.svd(rng.standard_normal((rows, len(scaled))) * scaled, compute_uv=False)
        values[draw, : len(found)] = found
    return Spectrum(values * spectrum.largest, (rows, spectrum.shape[1]))


def battery(a: Any, *, edges: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
    """Every rank in this module from one SVD, or from a stored `Spectrum` without any.

    Args:
        a: (..., m, n), or their `Spectrum`.
        edges: further edges to count the singular values above, by name: {"initialisation":
            marchenko_pastur_edge(shape, std), "signs": null_quantile(a, "signs")}; numbers or one per matrix (...,).

    Returns:
        (...,) arrays by name: numerical_rank_float32, numerical_rank_float64, stable_rank, effective_rank,
        participation_ratio, energy_rank_90, _95, _99, outliers_entries, outliers_bulk, outliers_<edge>...

    Raises:
        ValueError: `a` is neither finite real matrices nor a `Spectrum`.

    >>> found = battery(np.diag([2.0, 1.0, 1.0]))
    >>> float(found["stable_rank"]), int(found["energy_rank_90"])
    (1.5, 3)
    """
    spectrum = Spectrum.of(a)
    return {
        "numerical_rank_float32": numerical_rank(spectrum, FLOAT32_EPS),
        "numerical_rank_float64": numerical_rank(spectrum, FLOAT64_EPS),
        "stable_rank": stable_rank(spectrum),
        "effective_rank": effective_rank(spectrum),
        "participation_ratio": participation_ratio(spectrum),
        **{f"energy_rank_{share:.0%}".rstrip("%"): energy_rank(spectrum, share) for share in ENERGIES},
        **{f"outliers_{name}": outlier_rank(spectrum, name) for name in ("entries", "bulk")},
        **{f"outliers_{name}": rank_above(spectrum, edge) for name, edge in (edges or {}).items()},
    }
