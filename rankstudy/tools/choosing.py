"""How much: one rank for all, an error or an energy for each matrix, or a budget of parameters that is allotted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstudy import UsageError
from rankstudy.factorization import smallest_rank
from rankstudy.spectrum import FLOAT32_EPS as EPS
from rankstudy.spectrum import Spectrum, marchenko_pastur_edge, noise_std

NEGLIGIBLE = 3e-4  # of σ₁: a direction that no parameters are spent on
GUARD = 0.75  # of the rank that a budget gives to all alike: no matrix gets less
KEEP = 0.5  # what `compress` does where nothing is asked: half of the parameters of the matrices that it takes


@dataclass(frozen=True)
class Amount:
    """One of four ways to say how much; all None is `keep` at its default."""

    rank: int | None = None  # the same for every matrix
    rank_error: float | None = None  # relative Frobenius error of every matrix, at most
    energy: float | None = None  # share of ‖W‖² that every matrix keeps, at least
    keep: float | None = None  # share of the parameters of all chosen matrices together, at most

    def __post_init__(self) -> None:
        given = [name for name in ("rank", "rank_error", "energy", "keep") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(f"--{given[0]} and --{given[1]} say the same thing twice; give one".replace("_", "-"))
        if self.rank is not None and (not isinstance(self.rank, int) or isinstance(self.rank, bool) or self.rank < 1):
            raise UsageError(f"--rank is {self.rank!r}; allowed is a whole number of at least 1")
        check_rank_error(self.rank_error)
        _share(self.energy, "--energy", "a share of the energy")
        _share(self.keep, "--keep", "a share of the parameters")

    @property
    def tolerance(self) -> float | None:
        """The relative error that each matrix may have, where that is what was asked."""
        return math.sqrt(1 - self.energy) if self.energy is not None else self.rank_error

    def __str__(self) -> str:
        for name in ("rank", "rank_error", "energy", "keep"):
            if (value := getattr(self, name)) is not None:
                return f"--{name.replace('_', '-')} {value:g}"
        return f"--keep {KEEP:g}, the default"


def check_rank_error(rank_error: float | None) -> None:
    """Raises: UsageError if it is no relative error."""
    _share(rank_error, "--rank-error", "a relative error")


def _share(value: float | None, name: str, what: str) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1):
        raise UsageError(f"{name} is {value!r}; allowed is {what} between 0 and 1")


def highest_rank(shape: tuple[int, int], min_saving: float) -> int:
    """The largest rank whose factors hold at least the share `min_saving`, and one number, less than the matrix."""
    m, n = shape
    return max(0, min(math.floor((1 - min_saving) * m * n / (m + n)), (m * n - 1) // (m + n)))


def chosen_ranks(spectra: Sequence[Spectrum], amount: Amount, min_saving: float) -> list[int | None]:
    """A rank for each matrix, None where factors of it would save too little."""
    if amount.rank is not None:
        ranks: list[int] = [min(amount.rank, *each.shape) for each in spectra]
    elif amount.tolerance is not None:
        ranks = [int(smallest_rank(each, amount.tolerance)) for each in spectra]
    else:
        share = KEEP if amount.keep is None else amount.keep
        budget = int(share * sum(math.prod(each.shape) for each in spectra))
        return allocate(spectra, budget, min_saving)
    limits = [highest_rank(each.shape, min_saving) for each in spectra]
    return [max(rank, 1) if rank <= limit and limit else None for rank, limit in zip(ranks, limits, strict=True)]


def allocate(spectra: Sequence[Spectrum], budget: int, min_saving: float = 0.0) -> list[int | None]:
    """Ranks under a common number of parameters for whole networks, None for a matrix that stays dense.

    Every matrix gets `GUARD` of the rank that the budget would give to all alike. Then come directions that stand out
    of the noise in their matrix, in the order of √(share)/r, where the r-th holds this share of its matrix's energy
    above the noise; and what is left makes the ranks equal. What a random start leaves in a matrix is cheap to lose, in
    one as in another, and an objective on errors, Σ ‖W − BC‖²/‖W‖² (`factorization.allocate`, right for updates),
    spends a budget on just that. `python -m benchmarks allocation` has what this does to the study's networks.

    Args:
        spectra: one matrix each.
        budget: numbers that all of them may hold; below rank 1 for each nothing is left to allot.
        min_saving: share of a matrix that its factors must save.
    """
    tops = [highest_rank(each.shape, min_saving) for each in spectra]
    costs = [sum(each.shape) for each in spectra]
    worth = [min(top, _directions(each)) for each, top in zip(spectra, tops, strict=True)]
    left = budget - sum(math.prod(s.shape) for s, top in zip(spectra, tops, strict=True) if not top)
    alike = left // max(1, sum(cost for cost, top in zip(costs, tops, strict=True) if top))
    ranks: list[int | None] = [
        max(1, min(int(GUARD * alike), most)) if top else None for most, top in zip(worth, tops, strict=True)
    ]
    left -= sum(cost * (rank or 0) for cost, rank in zip(costs, ranks, strict=True))
    steps = []
    for index, (spectrum, rank) in enumerate(zip(spectra, ranks, strict=True)):
        share = signal(spectrum)
        for r in range((rank or 0) + 1, worth[index] + 1):
            steps.append((0, -math.sqrt(share[r - 1]) / r, index, r) if share[r - 1] else (1, r, index, r))
    for *_, index, rank in sorted(steps):
        if ranks[index] == rank - 1 and costs[index] <= left:
            ranks[index], left = rank, left - costs[index]
    for index, (spectrum, top) in enumerate(zip(spectra, tops, strict=True)):
        more = math.prod(spectrum.shape) - top * costs[index]
        if ranks[index] == top and more <= left:
            ranks[index], left = None, left - more
    return ranks


def signal(spectrum: Spectrum) -> np.ndarray:
    """(k,) each direction's share of the energy above the noise in its matrix, 0 for those within it. The edge counts
    as one direction, so that the hair by which noise alone may stand out has next to none.

    The noise is what its median singular value says (Gavish & Donoho 2014, section III.E). A strong signal raises that
    in a small matrix, so what stands out of the Marchenko–Pastur edge is taken out and the noise asked of the rest,
    until nothing more stands out.

    >>> planted = np.diag([3.0, 2.0, *np.zeros(98)]) + np.random.default_rng(0).normal(scale=0.05, size=(100, 100))
    >>> signal(Spectrum.of(planted)).round(1)[:3]
    array([0.6, 0.3, 0. ])
    """
    values, found = spectrum.scaled, 0
    while True:
        rest = (spectrum.shape[0] - found, spectrum.shape[1] - found)
        edge = max(float(marchenko_pastur_edge(rest, noise_std(Spectrum(values[found:], rest), "bulk"))), NEGLIGIBLE)
        more = min(int((values > edge).sum()), len(values) - 1)
        if more <= found:
            break
        found = more
    above = np.maximum((values / edge) ** 2 - 1, 0.0)
    return above / (1 + above.sum())


def _directions(spectrum: Spectrum) -> int:
    """Those that parameters are spent on."""
    return int((spectrum.scaled > max(NEGLIGIBLE, max(spectrum.shape) * EPS)).sum())


def sizes(spectra: Sequence[Spectrum], errors: Sequence[float], min_saving: float = 0.0) -> list[int]:
    """Parameters of all matrices together at each relative error, dense where factors do not pay."""
    found = []
    for each in errors:
        ranks = chosen_ranks(spectra, Amount(rank_error=each), min_saving)
        found.append(
            sum(math.prod(s.shape) if r is None else r * sum(s.shape) for s, r in zip(spectra, ranks, strict=True))
        )
    return found
