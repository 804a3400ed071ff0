"""What Li et al. 2018 (arXiv 1804.08838) measured, as published: cited data, none of it ours."""

from __future__ import annotations

import numpy as np

DIMENSION = np.array([10, 50, 100, 200, 300, 400, 500, 600, 700, 750, 800, 850, 900, 1000, 1250, 1500])
# Test accuracy of 784-200-200-10 with biases, from the authors' plotting notebook, seeds 1 to 3. Seeds 2 and 3 agree to
# 0.003 everywhere, less than the test set's sampling error, so they count as one run.
# fmt: off
SEEDS = np.array([
    [0.2023, 0.4345, 0.6124, 0.7551, 0.8189, 0.8516, 0.8693, 0.8860,
     0.8932, 0.9001, 0.9004, 0.9081, 0.9104, 0.9163, 0.9276, 0.9302],
    [0.1615, 0.4593, 0.5827, 0.7603, 0.8174, 0.8343, 0.8616, 0.8775,
     0.8882, 0.8912, 0.8991, 0.9000, 0.9040, 0.9019, 0.9146, 0.9227],
    [0.1618, 0.4593, 0.5826, 0.7598, 0.8189, 0.8316, 0.8628, 0.8771,
     0.8883, 0.8912, 0.8992, 0.9000, 0.9040, 0.9020, 0.9148, 0.9228],
])
# fmt: on
RUNS = np.stack([SEEDS[0], SEEDS[1:].mean(axis=0)])  # (2, dimensions)
DIRECT = np.array([0.9799, (0.9811 + 0.9824) / 2])  # all parameters trained
D_INT90 = 750  # test accuracy ≥ 0.90
BOOTSTRAP = (786, 66)  # the same, bootstrapped over the three seeds
PARAMETERS = 199_210  # with biases
GRID = (675, 900)  # d_int90 over width × depth …
GRID_PARAMETERS = (39_760, 959_610)  # … while D spans this
# shuffled labels, 784-400-400-400-400-400-10: fraction shuffled -> dimensions for 90 % of the training accuracy
SHUFFLED = {0.1: 90_000, 0.5: 130_000, 1.0: 190_000}


def at(dimension: np.ndarray) -> np.ndarray:
    """(2, R) their accuracy at each dimension; NaN where they have none."""
    found = np.full((len(RUNS), len(dimension)), np.nan)
    for column, d in enumerate(dimension):
        (where,) = np.nonzero(d == DIMENSION)
        if len(where):
            found[:, column] = RUNS[:, where[0]]
    return found
