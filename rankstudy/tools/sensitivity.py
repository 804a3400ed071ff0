"""What truncation does to the network, by the user's own metric: each matrix alone, then all together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankstudy import UsageError
from rankstudy.tools import choosing

if TYPE_CHECKING:
    from rankstudy.tools.compression import _Work

SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.08)  # of the highest rank that saves enough, tried from the gentlest on


def within(module: Any, work: _Work, evaluate: Callable[[Any], float], loss: float) -> float:
    """Set the ranks at which the network as a whole keeps its metric within `loss`; the metric of the whole network.

    Each matrix is truncated alone, further and further, until that alone costs more than `loss`; one that already does
    at its highest useful rank stays. Then the largest bound on the drops of single matrices is found at which all of
    them together are within `loss`, by bisection, since drops add up in no simple way. A metric that counts gives many
    the same drop, most often none at all; among equal ones the bound goes from the gentler truncation to the bolder.

    Raises:
        UsageError: the metric is no finite number, or `loss` not positive.
    """
    import torch

    from rankstudy.replace import copied

    if isinstance(loss, bool) or not isinstance(loss, (int, float)) or not 0 < loss < math.inf:
        raise UsageError(f"loss is {loss!r}; allowed is how far the metric may fall, a number > 0")
    model = copied(module)
    state = model.state_dict(keep_vars=True)

    def score() -> float:
        value = float(evaluate(model))
        if not math.isfinite(value):
            raise UsageError(f"evaluate gave {value}; a finite number is needed, higher is better")
        return value

    def put(w: Any, rank: int | None) -> None:
        """Truncate a matrix of the model to this rank; None puts it back."""
        work.ranks[w.name] = rank
        factors = work.factors(w) if rank is not None else None
        values = work.matrix(w) if factors is None else factors[0] @ factors[1]
        with torch.no_grad():
            state[w.name].copy_(torch.from_numpy(values.copy()).reshape(state[w.name].shape))

    before = score()
    drops: dict[str, list[tuple[tuple[float, int], int]]] = {}  # ((worst drop so far, step), rank), the gentlest first
    watched = [w for w in work.candidates if w.name in state and work.decomposed(w) is not None]
    for w in watched:
        limit = choosing.highest_rank(w.shape, work.min_saving)
        worst, drops[w.name] = 0.0, []
        for step, share in enumerate(SHARES):
            rank = max(1, int(share * limit))
            if drops[w.name] and drops[w.name][-1][1] == rank:
                continue
            put(w, rank)
            worst = max(worst, before - score())
            if not drops[w.name]:
                work.drops[w.name] = worst
            if worst > loss:
                break
            drops[w.name].append(((worst, step), rank))
        put(w, None)
    bounds = sorted({bound for each in drops.values() for bound, _ in each})

    def chosen(most: tuple[float, int]) -> dict[str, int | None]:
        return {name: min((rank for bound, rank in each if bound <= most), default=None)
                for name, each in drops.items()}  # fmt: skip

    best: dict[str, int | None] = dict.fromkeys(drops)
    low, high = 0, len(bounds)
    while low < high:
        middle = (low + high) // 2 if (low, high) != (0, len(bounds)) else high - 1  # the boldest first
        for w in watched:
            put(w, chosen(bounds[middle])[w.name])
        if before - score() <= loss:
            best, low = chosen(bounds[middle]), middle + 1
        else:
            high = middle
    work.ranks = best
    for w in watched:
        if best[w.name] is not None:
            work.drops[w.name] = next(drop for (drop, _), rank in drops[w.name] if rank == best[w.name])
        else:
            work.stays[w.name] = "together with others" if drops[w.name] else "alone"
            work.stays[w.name] += " it costs the metric too much:"
    return before
