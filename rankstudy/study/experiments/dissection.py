"""A control of chapter 3, on Task 2's networks: what inputs alone make of an update, and which directions matter.

Control A holds each update against random errors on the same inputs. The rest takes trained networks apart: what a
truncation leaves out, what each tenth of the spectrum is worth, what the outlying directions are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TypeVar

import numpy as np
from scipy.special import logsumexp

from rankstudy.spectrum import effective_rank
from rankstudy.study import engine, jobs
from rankstudy.study.experiments import chance, training
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Floats, Integers

TENTHS = 10
EIGHTH = 8  # truncated to this share of a layer's directions: rank 32 of 256, where chapter 5 looks
EXCHANGES = tuple(
    f"{matrix}_{action}_{which}"
    for matrix in ("update", "weights")
    for action in ("kept", "removed")
    for which in ("outliers", "next")
)

Part = TypeVar("Part")
Score = Callable[[Sequence[np.ndarray]], np.ndarray]  # of the first layers, replaced: loss and accuracy


@dataclass(frozen=True)
class Baselines:
    """Entropy ranks, (…, layers) each."""

    initial: Floats  # of W₀
    update: Floats  # of W − W₀
    before: Floats  # of random errors on the inputs of the untrained network
    after: Floats  # … of the trained one
    inputs_before: Floats  # of the inputs X (images, in) themselves
    inputs_after: Floats


@dataclass(frozen=True)
class LeftOut:
    """What is left out of W by its truncation to an eighth of its directions, R; (…, hidden layers) each."""

    start: Floats  # share of ‖R‖² that is the start's: ⟨R, R₀⟩/‖R‖², R₀ the start seen through the same directions
    weights: Floats  # ‖R‖/‖W‖
    outputs: Floats  # ‖R·X‖/‖W·X‖ over the test images
    unrelated: Floats  # the same of random matrices as large as R: what is left if R has nothing to do with X


@dataclass(frozen=True)
class Deleted:
    """(loss in nats, accuracy) on test images with a tenth of the singular values set to 0, largest tenth first.

    Column 0: in every hidden layer at once; then in each hidden layer alone.
    """

    tenths: Floats  # (…, 1 + hidden layers, TENTHS, 2)
    random: Floats  # (…, 1 + hidden layers, 2) without as many random directions


@dataclass(frozen=True)
class Probed:
    """Of one network, or of several along a first axis."""

    scores: Floats  # (…, 2) loss in nats and accuracy on test images, as trained
    start: Floats  # (…, 2) with every hidden layer at its start, and the last one as trained
    baselines: Baselines
    left_out: LeftOut
    deleted: Deleted
    outliers_update: Integers  # (…, layers) singular values above the largest one of entry-shuffled copies
    outliers_weights: Integers  # (…, layers)
    exchanged: dict[str, Floats]  # one of EXCHANGES -> (…, 2): directions kept or removed in every hidden layer


@dataclass(frozen=True)
class Dissection:
    """The control's result."""

    networks: Probed  # networks first
    widths: list[int]  # of the networks
    wider: Integers  # (widths,) units of a first layer
    wider_share: Floats  # (widths, draws) of full rank that random errors on the images fill there


@dataclass(frozen=True)
class Probe(Job[Probed]):
    """What is asked of one network."""

    NAME = "network-dissection"
    ANSWER = Probed

    run: engine.Run
    draws: int

    def selection(self) -> str:
        return self.run.data.name

    def compute(self) -> Probed:
        (found,) = engine.trained([self.run])
        dataset = engine.dataset_on_device(self.run.data)
        images, test = dataset.train.images.cpu().numpy(), dataset.test.images.cpu().numpy()
        return probed(found.initial, found.weights, images, test, dataset.test.labels.cpu().numpy(), self.draws)


@dataclass(frozen=True)
class Config(Job[Dissection]):
    NAME = "dissection"
    ANSWER = Dissection

    base: training.Config  # Task 2's networks
    draws: int  # of random errors
    wider: tuple[int, ...]  # units of a first layer

    def selection(self) -> str:
        return self.base.data.name

    def compute(self) -> Dissection:
        return compute(self)


FULL = Config(training.FULL, draws=9, wider=(64, 128, 256, 512, 1024))
CONFIGS = {
    "full": FULL,
    "quick": Config(training.CONFIGS["quick"], draws=3, wider=FULL.wider),
    "smoke": Config(training.CONFIGS["smoke"], draws=2, wider=(16, 32, 64)),
}


def plan(settings: Config) -> list[engine.Run]:
    return training.plan(settings.base)


def compute(settings: Config) -> Dissection:
    chosen, _ = training.runs(settings.base)
    engine.trained(chosen)
    networks = jobs.answers([Probe(run, settings.draws) for run in chosen])
    images = engine.dataset_on_device(settings.base.data).train.images.cpu().numpy()
    (spectrum,) = chance.inputs([np.zeros((1, images.shape[1]), np.float32)], images)
    shares = [
        [
            chance.random_errors(spectrum, width, 1, seed=draw) / min(width, images.shape[1])
            for draw in range(settings.draws)
        ]
        for width in settings.wider
    ]
    return Dissection(
        networks=stacked(networks),
        widths=list(settings.base.network.widths),
        wider=np.array(settings.wider),
        wider_share=np.array(shares),
    )


def stacked(parts: Sequence[Part]) -> Part:
    """The same results of several networks along a first axis."""
    first = parts[0]
    if is_dataclass(first):
        names = [field.name for field in fields(first)]
        return type(first)(**{name: stacked([getattr(each, name) for each in parts]) for name in names})  # type: ignore[misc]
    if isinstance(first, Mapping):
        return {name: stacked([each[name] for each in parts]) for name in first}  # type: ignore[index, return-value]
    return np.stack(parts)  # type: ignore[return-value, call-overload, arg-type]


def probed(
    initial: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    images: np.ndarray,
    test: np.ndarray,
    labels: np.ndarray,
    draws: int,
) -> Probed:
    """A ReLU network before and after training, (out, in) a layer; its training images, test images and labels."""
    hidden = len(weights) - 1
    updates = [w - w0 for w, w0 in zip(weights, initial, strict=True)]
    counts = [np.array([chance.outliers(each) for each in matrices]) for matrices in (updates, weights)]
    parts = [np.linalg.svd(w, full_matrices=False) for w in weights[:hidden]]

    def score(changed: Sequence[np.ndarray]) -> np.ndarray:
        return scores([*changed, *weights[len(changed) :]], test, labels)

    return Probed(
        scores=score([]),
        start=score(initial[:hidden]),
        baselines=_baselines(initial, weights, updates, images, draws),
        left_out=_left_out(initial, weights, parts, test),
        deleted=_deleted(weights, parts, score),
        outliers_update=counts[0],
        outliers_weights=counts[1],
        exchanged=_exchanged(initial, weights, updates, counts, score),
    )


def scores(weights: Sequence[np.ndarray], images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(mean cross-entropy in nats, accuracy) of a ReLU network."""
    logits = outputs(weights, images)[-1]
    loss = logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    return np.array([loss.mean(dtype=np.float64), (logits.argmax(axis=1) == labels).mean()])


def outputs(weights: Sequence[np.ndarray], images: np.ndarray) -> list[np.ndarray]:
    """(images, out) of each layer before its activation."""
    found: list[np.ndarray] = []
    for w in weights:
        found.append((np.maximum(found[-1], 0) if found else images) @ w.T)
    return found


def _baselines(
    initial: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    updates: Sequence[np.ndarray],
    images: np.ndarray,
    draws: int,
) -> Baselines:
    before, after = (chance.inputs(each, images) for each in (initial, weights))

    def ranks(matrices: Sequence[object]) -> np.ndarray:
        return np.array([float(effective_rank(each)) for each in matrices])

    def errors(spectra: Sequence[object]) -> np.ndarray:
        return np.array([chance.random_errors(s, len(w), draws) for s, w in zip(spectra, weights, strict=True)])  # type: ignore[arg-type]

    return Baselines(ranks(initial), ranks(updates), errors(before), errors(after), ranks(before), ranks(after))


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]  # u, s, vᵀ


def _left_out(
    initial: Sequence[np.ndarray], weights: Sequence[np.ndarray], parts: Sequence[Parts], test: np.ndarray
) -> LeftOut:
    given = [test, *(np.maximum(each, 0) for each in outputs(weights, test))]
    rows = []
    for w0, w, (u, s, vt), x in zip(initial, weights, parts, given, strict=False):
        rank = len(s) // EIGHTH
        rest = (u[:, rank:] * s[rank:]) @ vt[rank:]
        start = u[:, rank:] @ (u[:, rank:].T @ w0 @ vt[rank:].T) @ vt[rank:]
        size, whole = np.linalg.norm(rest), np.linalg.norm(x @ w.T)
        unrelated = size * np.linalg.norm(x) / np.sqrt(x.shape[1]) / whole
        rows.append(
            [(rest * start).sum() / size**2, size / np.linalg.norm(w), np.linalg.norm(x @ rest.T) / whole, unrelated]
        )
    return LeftOut(*np.array(rows, dtype=np.float64).T)


def _deleted(weights: Sequence[np.ndarray], parts: Sequence[Parts], score: Score) -> Deleted:
    hidden, generator = len(parts), np.random.default_rng(0)
    places = [np.array_split(np.arange(len(s)), TENTHS) for _, s, _ in parts]
    tenths = [
        [w - (u[:, at] * s[at]) @ vt[at] for w, (u, s, vt), at in zip(weights, parts, each, strict=False)]
        for each in zip(*places, strict=True)
    ]
    random = []
    for w, each in zip(weights, places, strict=False):
        q = np.linalg.qr(generator.standard_normal((len(w), len(each[0]))))[0].astype(w.dtype)
        random.append(w - q @ (q.T @ w))

    def every(changed: Sequence[np.ndarray]) -> list[np.ndarray]:
        alone = [[*weights[:layer], changed[layer]] for layer in range(hidden)]
        return [score(changed), *(score(each) for each in alone)]

    return Deleted(np.stack([every(each) for each in tenths], axis=1), np.array(every(random)))


def _exchanged(
    initial: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    updates: Sequence[np.ndarray],
    counts: Sequence[np.ndarray],
    score: Score,
) -> dict[str, np.ndarray]:
    """Of every hidden layer only the outlying directions, or only the next as many; or all but these."""
    found: dict[str, np.ndarray] = {}
    zero = [np.zeros_like(w) for w in weights]
    for matrix, of, rest, number in (("update", updates, initial, counts[0]), ("weights", weights, zero, counts[1])):
        changed: dict[str, list[np.ndarray]] = {name: [] for name in EXCHANGES if name.startswith(matrix)}
        for layer in range(len(weights) - 1):
            u, s, vt = np.linalg.svd(of[layer], full_matrices=False)
            k = int(number[layer])
            for which, at in (("outliers", slice(0, k)), ("next", slice(k, 2 * k))):
                part = (u[:, at] * s[at]) @ vt[at]
                changed[f"{matrix}_kept_{which}"].append(rest[layer] + part)
                changed[f"{matrix}_removed_{which}"].append(weights[layer] - part)
        found |= {name: score(layers) for name, layers in changed.items()}
    return found
