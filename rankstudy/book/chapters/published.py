"""What others measured beside what we did, and how a table says whether the two agree.

The rule, stated in the text of each chapter that has such a table: a published *direction* agrees if our whole
interval lies on its side; a published *accuracy* agrees if the whole interval of our difference from it is within
`CLOSE`, another *value* if our interval reaches into what was published and is narrow enough. It *differs* if the whole
interval lies outside, on the other side or of a narrow interval beyond the published range. What does not agree is
*explained* if an ablation of ours with one named change closes the gap. All else is *open*: our interval does not
decide, or it was not run, or not on MNIST.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rankstudy.book.chapters.common import Markdown, table
from rankstudy.book.stats import Estimate

AGREES, DIFFERS, OPEN = "agreeing", "differing", "open"
CLOSE = 0.02  # of accuracy: what two networks of different shape may differ by and still be said to agree
NARROW = 0.25  # of the mean: the widest half of an interval that can agree with a value

# Accuracy on MNIST's test set of 784-1024-1024-1024-1024-1024-10, see `rankstudy.book.published.TRUNCATION`
TRUNCATION_WHOLE = 0.9822  # printed there
TRUNCATION_TUNED = 0.9739  # printed there: D = 20 and 15 more epochs


def explained(by: str) -> str:
    return f"explained by {by}"


def direction(ours: Estimate | None, sign: int) -> str:
    """Does our interval lie wholly on the published side of zero?"""
    if ours is None or ours.n < 2 or not math.isfinite(ours.half):
        return OPEN
    low, high = sorted((sign * ours.low, sign * ours.high))
    return AGREES if low > 0 else DIFFERS if high < 0 else OPEN


def value(ours: Estimate | None, low: float, high: float) -> str:
    """Does our interval reach into [low, high], and is it narrow enough to say so?"""
    if ours is None or ours.n < 2 or not ours.half <= NARROW * abs(ours.mean):
        return OPEN
    return AGREES if ours.low <= high and ours.high >= low else DIFFERS


def accuracy(difference: Estimate | None) -> str:
    """Does the whole interval of ours − theirs lie within `CLOSE`?"""
    if difference is None or difference.n < 2 or not math.isfinite(difference.half):
        return OPEN
    if difference.low > CLOSE or difference.high < -CLOSE:
        return DIFFERS
    return AGREES if -CLOSE <= difference.low and difference.high <= CLOSE else OPEN


def less(found: Estimate, constant: float) -> Estimate:
    """Ours − theirs, where theirs has no interval."""
    return Estimate(found.mean - constant, found.half, found.n)


def compared(headers: Sequence[str], rows: Sequence[list[str]], data: str) -> Markdown:
    """The table, its verdict last: open throughout where the data are not MNIST."""
    return table([*headers, "verdict"], rows if data == "mnist" else [[*row[:-1], OPEN] for row in rows])
