"""How much: one rank for all, an error or an energy for each matrix, or a budget of parameters that is allotted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rankstudy import UsageError
from rankstudy.factorization import smallest_rank
from rankstudy.spectrum import FLOAT32_EPS as EPS
from rankstudy.spectrum import Spectrum

NEGLIGIBLE = 3e-4  # of σ₁: a direction that no parameters are spent on
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

    The next parameters always go to the matrix whose next direction has the largest √(σ_r/σ₁)/r. By 1/r alone all would
    end at one rank, by σ_r/σ₁ at one relative error in the spectral norm; trained networks keep their accuracy best in
    between, and far worse where Σ ‖W − BC‖²/‖W‖² is least (`factorization.allocate`, right for updates): most of ‖W‖²
    is what is left of the random start, and that objective spends a budget on it.

    Args:
        spectra: one matrix each.
        budget: numbers that all of them may hold; below rank 1 for each nothing is left to allot.
        min_saving: share of a matrix that its factors must save.
    """
    tops = [highest_rank(each.shape, min_saving) for each in spectra]
    ranks: list[int | None] = [1 if top else None for top in tops]
    left = budget - sum(sum(s.shape) if r else math.prod(s.shape) for s, r in zip(spectra, ranks, strict=True))
    steps = []
    for index, (spectrum, top) in enumerate(zip(spectra, tops, strict=True)):
        sigma = spectrum.scaled
        rank = int((sigma > max(NEGLIGIBLE, max(spectrum.shape) * EPS)).sum())
        steps += [(-math.sqrt(sigma[r - 1]) / r, index, r) for r in range(2, min(top, rank) + 1)]
    for _, index, rank in sorted(steps):
        cost = sum(spectra[index].shape)
        if ranks[index] == rank - 1 and cost <= left:
            ranks[index], left = rank, left - cost
    for index, (spectrum, top) in enumerate(zip(spectra, tops, strict=True)):
        more = math.prod(spectrum.shape) - top * sum(spectrum.shape)
        if ranks[index] == top and more <= left:
            ranks[index], left = None, left - more
    return ranks


def sizes(spectra: Sequence[Spectrum], errors: Sequence[float], min_saving: float = 0.0) -> list[int]:
    """Parameters of all matrices together at each relative error, dense where factors do not pay."""
    found = []
    for each in errors:
        ranks = chosen_ranks(spectra, Amount(rank_error=each), min_saving)
        found.append(
            sum(math.prod(s.shape) if r is None else r * sum(s.shape) for s, r in zip(spectra, ranks, strict=True))
        )
    return found
