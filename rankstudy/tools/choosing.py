"""How much: one rank for all, an error or an energy for each matrix, or a budget of parameters that is allotted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstudy import UsageError
from rankstudy.factorization import smallest_rank
from rankstudy.spectrum import Spectrum

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
    """Ranks under a common number of parameters that leave the least Σ (relative error)², None for a dense matrix.

    The error of a matrix falls convexly with its rank, and a dense one costs m·n and has none; so the points (cost,
    error) of each have a lower convex hull, and going down the steepest hull edge first is best at every budget that it
    meets. Between two such budgets the edge is walked as far as the budget goes.

    Args:
        spectra: one matrix each.
        budget: numbers that all of them may hold; below rank 1 for each nothing is left to allot.
        min_saving: share of a matrix that its factors must save.
    """
    steps: list[tuple[float, int, int, int]] = []  # slope, matrix, from, to: indices into its points
    points: list[list[tuple[int, float, int | None]]] = []  # cost, error, rank
    for index, spectrum in enumerate(spectra):
        m, n = spectrum.shape
        tails = spectrum.tails()
        tails = tails / tails[0] if tails[0] > 0 else tails
        top = highest_rank(spectrum.shape, min_saving)
        if top < 1:
            points.append([(m * n, 0.0, None)])
            continue
        all_points = [(r * (m + n), float(tails[r]), r) for r in range(1, top + 1)] + [(m * n, 0.0, None)]
        first_whole = next((i for i, point in enumerate(all_points) if point[1] == 0.0), len(all_points) - 1)
        points.append(all_points[: first_whole + 1])
        hull = _lower_hull(points[-1])
        for a, b in zip(hull, hull[1:], strict=False):
            drop, cost = points[-1][a][1] - points[-1][b][1], points[-1][b][0] - points[-1][a][0]
            steps.append((drop / cost, index, a, b))
    place = [0] * len(points)
    left = budget - sum(each[0][0] for each in points)
    for _, index, a, b in sorted(steps, key=lambda step: (-step[0], step[1], step[2])):
        if place[index] != a:
            continue
        for target in range(b, a, -1):  # as far along the edge as the budget goes
            cost = points[index][target][0] - points[index][a][0]
            if cost <= left:
                place[index], left = target, left - cost
                break
    return [each[at][2] for each, at in zip(points, place, strict=True)]


def _lower_hull(points: Sequence[tuple[int, float, int | None]]) -> list[int]:
    """Indices of the lower convex hull, from the cheapest point on."""
    hull: list[int] = []
    for i, (x, y, _) in enumerate(points):
        while len(hull) > 1:
            (x0, y0, _), (x1, y1, _) = points[hull[-2]], points[hull[-1]]
            if (y1 - y0) * (x - x0) < (y - y0) * (x1 - x0):
                break
            hull.pop()
        hull.append(i)
    return hull


def sizes(spectra: Sequence[Spectrum], errors: Sequence[float], min_saving: float = 0.0) -> list[int]:
    """Parameters of all matrices together at each relative error, dense where factors do not pay."""
    found = []
    for each in errors:
        ranks = chosen_ranks(spectra, Amount(rank_error=each), min_saving)
        found.append(
            sum(math.prod(s.shape) if r is None else r * sum(s.shape) for s, r in zip(spectra, ranks, strict=True))
        )
    return found
