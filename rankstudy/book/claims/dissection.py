"""What was expected of inputs alone, and of single directions: docs/hypotheses/03.md, control A, points 13 and 14."""

from __future__ import annotations

import numpy as np

from rankstudy.book.claims import hypothesis
from rankstudy.book.dissection import Dissection

INPUTS = "sec-evidence-rank-inputs"
NORM = "sec-evidence-rank-norm"
OUTLIERS = "sec-evidence-rank-outliers"
MIDDLE = (4, 5)  # the fifth and the sixth tenth


@hypothesis(
    "rank-update-beyond-inputs",
    "After training, the square layers' updates have a lower entropy rank than random errors on the same inputs make.",
    family="dissection",
    tier="primary",
    expects="below",
    matters=10.0,
    unit="directions",
    evidence=INPUTS,
)
def update_beyond_inputs(dissection: Dissection) -> np.ndarray:
    return (dissection.networks.baselines.update - dissection.lower)[:, dissection.square].mean(axis=1)


@hypothesis(
    "dissection-inputs-alone",
    "Random errors on the square layers' inputs alone make updates of lower entropy rank than the random start.",
    family="dissection",
    tier="secondary",
    expects="below",
    matters=10.0,
    unit="directions",
    evidence=INPUTS,
)
def inputs_alone(dissection: Dissection) -> np.ndarray:
    return (dissection.higher - dissection.networks.baselines.initial)[:, dissection.square].mean(axis=1)


@hypothesis(
    "dissection-first-layer",
    "The first layer's update has a lower entropy rank than random errors on the images make.",
    family="dissection",
    expects="below",
    matters=10.0,
    unit="directions",
    evidence=INPUTS,
)
def first_layer(dissection: Dissection) -> np.ndarray:
    return (dissection.networks.baselines.update - dissection.lower)[:, 0]


@hypothesis(
    "dissection-wider-inputs",
    "The share of full rank that random errors on the images fill in a first layer falls with every doubling of the "
    "width.",
    family="dissection",
    expects="every",
    evidence=INPUTS,
)
def wider_inputs(dissection: Dissection) -> np.ndarray:
    return (np.diff(dissection.wider_share, axis=0) < 0).T


@hypothesis(
    "dissection-left-out-start",
    "Of what truncation to an eighth of the directions leaves out of the square layers, more than half is the random "
    "start.",
    family="dissection",
    expects="above",
    scale=100.0,
    unit="points beyond a half",
    evidence=NORM,
)
def left_out_start(dissection: Dissection) -> np.ndarray:
    return dissection.networks.left_out.start[:, dissection.square].mean(axis=1) - 0.5


@hypothesis(
    "dissection-left-out-inputs",
    "The truncated square layers' outputs are less wrong than their weights.",
    family="dissection",
    expects="below",
    scale=100.0,
    matters=10.0,
    unit="points",
    evidence=NORM,
)
def left_out_inputs(dissection: Dissection) -> np.ndarray:
    found = dissection.networks.left_out
    return (found.outputs - found.weights)[:, dissection.square].mean(axis=1)


@hypothesis(
    "dissection-top-decile",
    "Deleting the largest tenth of the singular values costs more accuracy than any other tenth.",
    family="dissection",
    expects="below",
    scale=100.0,
    matters=1.0,
    unit="points",
    evidence=NORM,
)
def top_decile(dissection: Dissection) -> np.ndarray:
    found = dissection.without_tenth
    return found[:, 0] - found[:, 1:].min(axis=1)


@hypothesis(
    "dissection-last-decile",
    "Deleting the smallest tenth of the singular values costs more accuracy than a tenth of the middle.",
    family="dissection",
    expects="below",
    scale=100.0,
    matters=0.1,
    unit="points",
    evidence=NORM,
)
def last_decile(dissection: Dissection) -> np.ndarray:
    found = dissection.without_tenth
    return found[:, -1] - found[:, MIDDLE].mean(axis=1)


@hypothesis(
    "dissection-outliers-suffice",
    "The start with only the outlier directions of the updates reads more test digits than with as many of the next.",
    family="dissection",
    tier="secondary",
    expects="above",
    scale=100.0,
    matters=1.0,
    unit="points",
    evidence=OUTLIERS,
)
def outliers_suffice(dissection: Dissection) -> np.ndarray:
    return dissection.accuracy("update_kept_outliers") - dissection.accuracy("update_kept_next")


@hypothesis(
    "dissection-outliers-needed",
    "Without the outlier directions of the updates a network reads fewer test digits than without as many of the next.",
    family="dissection",
    expects="below",
    scale=100.0,
    matters=1.0,
    unit="points",
    evidence=OUTLIERS,
)
def outliers_needed(dissection: Dissection) -> np.ndarray:
    return dissection.accuracy("update_removed_outliers") - dissection.accuracy("update_removed_next")
