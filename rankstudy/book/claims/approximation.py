"""What was expected of trained matrices written as B·C.

Written before their result was seen: bound (then with another measure of the gap), half-point, weighted-below,
allocated, update-below, denoises, length; length-start when three networks a length had been looked at. The others
were written of the first edition's results, whose networks are pilots. `docs/hypotheses/05.md` names the one that was
stated anew for networks that nobody had looked at: weighted.
"""

from __future__ import annotations

import numpy as np

from rankstudy.book.approximation import Approximation, Scores
from rankstudy.book.claims import hypothesis

FITS = "sec-evidence-approximation-fits"
RANKS = "sec-evidence-approximation-ranks"
WAYS = "sec-evidence-approximation-ways"
LENGTH = "sec-evidence-approximation-length"
CLOSE = 1.001  # error / the smallest possible one


@hypothesis(
    "approximation-bound",
    "Alternating least squares ends at an error at most 0.1 % over the least one in every layer, at every rank tried.",
    family="approximation",
    expects="every",
    evidence=FITS,
)
def bound(approximation: Approximation) -> np.ndarray:
    ratio = approximation.fits["least_squares"].ratio
    return ratio.reshape(len(ratio), -1) <= CLOSE


@hypothesis(
    "approximation-half-point",
    "At the effective rank, which validation data chose, the test accuracy stays within half a point of the original "
    "network's.",
    family="approximation",
    expects="within",
    matters=0.5,
    unit="points",
    scale=100,
    evidence=RANKS,
)
def half_point(approximation: Approximation) -> np.ndarray:
    return approximation.truncated.test_accuracy[:, approximation.at] - approximation.full.test_accuracy


@hypothesis(
    "approximation-error-large",
    "At the effective rank, the matrices before the output differ from their approximations by more than half of their "
    "norm.",
    family="approximation",
    expects="above",
    matters=50,
    unit="%",
    scale=100,
    evidence=RANKS,
)
def error_large(approximation: Approximation) -> np.ndarray:
    return approximation.hidden_error[:, approximation.at]


@hypothesis(
    "approximation-update-error",
    "At the effective rank, the relative error of W − W₀ is lower than that of W, on the mean over the matrices before "
    "the output.",
    family="approximation",
    expects="below",
    unit="percentage points",
    scale=100,
    evidence=RANKS,
)
def update_error(approximation: Approximation) -> np.ndarray:
    at = approximation.at
    return (approximation.update_error - approximation.error)[:, at, :-1].mean(axis=1)


@hypothesis(
    "approximation-output-error",
    "At the effective rank, the activation-aware approximation changes the outputs of the hidden layers by a lower "
    "share than the truncated SVD changes their matrices.",
    family="approximation",
    expects="below",
    unit="percentage points",
    scale=100,
    evidence=RANKS,
)
def output_error(approximation: Approximation) -> np.ndarray:
    at = approximation.at
    return (approximation.output_error - approximation.error)[:, at, :-1].mean(axis=1)


@hypothesis(
    "approximation-weighted",
    "Averaged over the ranks compared, on a logarithmic axis, activation-aware truncation keeps more test accuracy "
    "than the truncated SVD.",
    family="approximation",
    expects="above",
    matters=0.1,
    tier="secondary",
    unit="points",
    scale=100,
    evidence=WAYS,
)
def weighted(approximation: Approximation) -> np.ndarray:
    return approximation.mean_gain("activation_aware")


@hypothesis(
    "approximation-weighted-below",
    "At the largest rank compared below the effective rank, activation-aware truncation keeps more test accuracy than "
    "the truncated SVD.",
    family="approximation",
    expects="above",
    unit="points",
    scale=100,
    evidence=WAYS,
)
def weighted_below(approximation: Approximation) -> np.ndarray:
    return approximation.gain("activation_aware")[:, approximation.below]


@hypothesis(
    "approximation-update",
    "Averaged over the ranks compared, on a logarithmic axis, truncating only W − W₀ keeps more test accuracy than "
    "truncating W.",
    family="approximation",
    expects="above",
    unit="points",
    scale=100,
    evidence=WAYS,
)
def update(approximation: Approximation) -> np.ndarray:
    return approximation.mean_gain("update")


@hypothesis(
    "approximation-update-below",
    "At the largest rank compared below the effective rank, truncating only W − W₀ keeps more test accuracy than "
    "truncating W.",
    family="approximation",
    expects="above",
    unit="points",
    scale=100,
    evidence=WAYS,
)
def update_below(approximation: Approximation) -> np.ndarray:
    return approximation.gain("update")[:, approximation.below]


@hypothesis(
    "approximation-allocated",
    "With the parameters of the largest rank compared below the effective rank, a rank per layer by the Frobenius norm "
    "keeps more test accuracy than one rank for all.",
    family="approximation",
    expects="above",
    unit="points",
    scale=100,
    evidence=WAYS,
)
def allocated(approximation: Approximation) -> np.ndarray:
    return approximation.gain("allocated")[:, approximation.below]


@hypothesis(
    "approximation-denoises",
    "Truncated to the rank with the best validation accuracy, the overfitted networks gain test accuracy.",
    family="approximation",
    expects="above",
    unit="points",
    scale=100,
    evidence=RANKS,
)
def denoises(approximation: Approximation) -> np.ndarray:
    return approximation.best_test_accuracy - approximation.full.test_accuracy


@hypothesis(
    "approximation-length",
    "The longest training needs a higher effective rank than the shortest.",
    family="approximation",
    expects="above",
    evidence=LENGTH,
)
def length(approximation: Approximation) -> np.ndarray:
    return approximation.own_rank.astype(float) - approximation.shorter[0].own_rank


@hypothesis(
    "approximation-length-start",
    "At the smallest common rank above the effective rank, keeping W₀ and truncating only W − W₀ saves more test "
    "accuracy after the shortest training than after the longest.",
    family="approximation",
    expects="above",
    unit="points",
    scale=100,
    evidence=LENGTH,
)
def length_start(approximation: Approximation) -> np.ndarray:
    short = approximation.shorter[0]
    common = sorted(set(short.update_ranks.tolist()) & set(approximation.compared.tolist()))
    rank = next((each for each in common if each > approximation.rank), common[-1])
    tried = list(approximation.ranks).index(rank)

    def saved(update: Scores, ranks: np.ndarray, truncated: Scores) -> np.ndarray:
        return update.test_accuracy[:, list(ranks).index(rank)] - truncated.test_accuracy[:, tried]

    after_short = saved(short.update, short.update_ranks, short.truncated)
    return after_short - saved(approximation.ways["update"], approximation.compared, approximation.truncated)
