"""Chapter 3: the rank of the trained matrices, by elimination and by every other definition, beside its nulls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankstudy import config
from rankstudy.rank import eliminate, matrix_rank, rank_tolerance
from rankstudy.study import engine, jobs
from rankstudy.study.experiments import arms, battery, inputs, training
from rankstudy.study.experiments.arms import Arm, Arms, Measured
from rankstudy.study.experiments.inputs import Inputs
from rankstudy.study.jobs import Job
from rankstudy.study.profiles import QUICK, SMOKE, Scale, scaled
from rankstudy.study.typed import Floats, Integers


@dataclass(frozen=True)
class Textbook:
    """What elimination's pivots say of a matrix whose rank is known: a product of Gaussian factors."""

    shape: list[int]
    rank: int
    singular_values: Floats  # (k,) float32
    partial: Floats  # (k,) float32 sizes of the pivots, largest first
    complete: Floats
    tolerance: float
    rank_partial: int  # pivots above the tolerance
    rank_complete: int
    rank_ours: int  # `matrix_rank`
    rank_svd: int
    seconds_partial: float
    seconds_complete: float
    seconds_ours: float
    seconds_svd: float


@dataclass(frozen=True)
class Rank:
    """Chapter 3's result."""

    base: Measured  # Task 2's networks
    shallow: dict[str, Measured]  # by activation
    deep: dict[str, Measured]
    matched: dict[str, Measured]
    nulls: battery.Counts  # matrix -> "signs" or "shuffle" -> (networks, layers) outliers above that null
    products: dict[str, dict[str, battery.Products]]  # "shallow" or "deep" -> matrix; of the linear networks
    inputs: Inputs
    textbook: Textbook
    pivots: dict[str, dict[str, Integers]]  # "partial" or "complete" -> dtype of the tolerance -> (networks, layers)


@dataclass(frozen=True)
class Outliers:
    """Of one network."""

    counts: battery.Counts  # (1, layers) each


@dataclass(frozen=True)
class Exceeding(Job[Outliers]):
    """The outliers of one network above the nulls of `battery.outliers`."""

    NAME = "network-outliers"
    ANSWER = Outliers

    run: engine.Run

    def selection(self) -> str:
        return self.run.data.name

    def compute(self) -> Outliers:
        return Outliers(battery.outliers(engine.trained([self.run])))


@dataclass(frozen=True)
class Config(Job[Rank]):
    NAME = "rank"
    ANSWER = Rank

    base: training.Config  # Task 2's networks
    shallow: Arms  # Task 2's shape, one arm per activation
    deep: Arms  # six square hidden layers, so that depth is not confounded with shape
    matched: Arms  # the shallow arms again, with gains that suit each activation; no arm: not done
    inputs: inputs.Settings  # what the images alone say
    images: int  # whose features are measured, of each of training and test set
    textbook: tuple[int, int, int]  # rows, columns and rank of the matrix that the textbook's elimination is tried on
    null_seeds: int  # of Task 2's networks that are compared with random copies of themselves

    def selection(self) -> str:
        return self.base.data.name

    def compute(self) -> Rank:
        return compute(self)


DEEP = (784, 256, 256, 256, 256, 256, 256, 256, 10)
MNIST = config.Data("mnist")
TRAINING = config.Training(3, 128)
ACTIVATIONS = ("relu", "leaky_relu", "gelu", "tanh", "sigmoid", "identity")
FEW = ("relu", "tanh", "identity")  # where a second shape is asked; all of them in the smallest profile
SATURATING = ("relu", "tanh", "sigmoid")  # whose answer could be one of their initial weights
LOW, HIGH = engine.factor2(5e-4, 8e-3), engine.factor2(5e-4, 3.2e-2)
DEEP_RATES = tuple((name, LOW) for name in FEW)
# where the layers are few, sigmoid and no activation want more
RATES = tuple((name, HIGH if name in ("sigmoid", "identity") else LOW) for name in ACTIVATIONS)
SHALLOW = Arms(config.Network(training.WIDTHS), TRAINING, MNIST, RATES, seeds=10, observed=("relu",))
FULL = Config(
    base=training.FULL,
    shallow=SHALLOW,
    deep=replace(SHALLOW, network=config.Network(DEEP), rates=DEEP_RATES, seeds=10),
    matched=replace(
        SHALLOW, matched=True, rates=tuple(each for each in RATES if each[0] in SATURATING), seeds=5, observed=()
    ),
    inputs=inputs.Settings(
        config.Network((784, 1024, 10)), config.Training(1, 100, schedule="constant"), MNIST, (0.05, 1e-3), seeds=3
    ),
    images=2000,
    textbook=(1024, 784, 500),
    null_seeds=10,
)


GROUPS = ("shallow", "deep", "matched")


def _scaled(scale: Scale, activations: tuple[str, ...], batch: int, known: tuple[int, int, int]) -> Config:
    """The same on fewer images, in smaller batches so that there are as many steps. The first layer's bound needs more
    units than they have pixels, and fewer images than units."""
    few = scaled(FULL, scale)
    groups = {
        name: replace(
            group,
            training=replace(group.training, epochs=3, batch_size=batch // 2 if name == "deep" else batch),
            rates=tuple(each for each in group.rates if each[0] in activations),
        )
        for name in GROUPS
        for group in (getattr(few, name),)
    }
    wide = replace(FULL.inputs, data=replace(few.inputs.data, train_size=1000), seeds=1)
    return replace(few, **groups, inputs=wide, textbook=known)


CONFIGS = {
    "full": FULL,
    "quick": replace(
        _scaled(replace(QUICK, train_size=3000), ACTIVATIONS, 64, (512, 392, 250)),
        base=training.CONFIGS["quick"],
    ),
    "smoke": replace(_scaled(SMOKE, FEW, 32, (48, 40, 20)), base=training.CONFIGS["smoke"]),
}


def plan(settings: Config) -> list[engine.Run]:
    groups = [run for name in GROUPS for run in arms.plan(getattr(settings, name))]
    return training.plan(settings.base) + groups


def compute(settings: Config) -> Rank:
    chosen, _ = training.runs(settings.base)
    groups = {name: getattr(settings, name) for name in GROUPS}
    tuned = [each for group in groups.values() for each, _ in arms.runs(group).values()]
    # all at once, the longest first: no worker waits for the end of a group
    engine.trained([*chosen, *(run for each in tuned for run in each)])
    exceeding = [Exceeding(run) for run in chosen[: settings.null_seeds]]
    base = Arm(tuple(chosen), settings.images)
    jobs.prepare([*inputs.cases(settings.inputs), *exceeding, base, *(Arm(tuple(e), settings.images) for e in tuned)])
    return Rank(
        base=jobs.answer(base),
        **arms.compute(groups, settings.images),
        nulls=_stacked([found.counts for found in jobs.answers(exceeding)]),
        products=_products(settings),
        inputs=inputs.compute(settings.inputs),
        textbook=textbook(*settings.textbook),
        pivots=pivots(engine.trained(chosen)),
    )


def _stacked(found: Sequence[battery.Counts]) -> battery.Counts:
    """Of several networks."""
    return {
        matrix: {null: np.concatenate([each[matrix][null] for each in found]) for null in nulls}
        for matrix, nulls in found[0].items()
    }


def _products(settings: Config) -> dict[str, dict[str, battery.Products]]:
    """Of the linear networks."""
    chosen = {
        name: arms.runs(group)["identity"][0]
        for name, group in (("shallow", settings.shallow), ("deep", settings.deep))
        if "identity" in dict(group.rates)
    }
    return {name: battery.products(engine.trained(runs)) for name, runs in chosen.items()}


def pivots(found: Sequence[engine.Trained]) -> dict[str, dict[str, Integers]]:
    """The question as it is asked: how many pivots Gaussian elimination finds in each trained matrix.

    `matrix_rank` may answer by other means; here every matrix is eliminated, in double precision.

    Returns:
        {"partial" | "complete": {"float32" | "float64": (seeds, layers)}}, pivots above the tolerance of that dtype.
    """
    counts: dict[str, dict[str, Integers]] = {}
    for pivoting in ("partial", "complete"):
        counts[pivoting] = {}
        for dtype in ("float32", "float64"):
            ranks = [
                [
                    eliminate(w.astype(np.float64), pivoting=pivoting, tol=rank_tolerance(w.astype(dtype))).rank
                    for w in each.weights
                ]
                for each in found
            ]
            counts[pivoting][dtype] = np.array(ranks)
    return counts


def textbook(rows: int, columns: int, rank: int) -> Textbook:
    """Eliminate a matrix of that shape and rank."""
    generator = np.random.default_rng(0)
    a = generator.standard_normal((rows, rank)) @ generator.standard_normal((rank, columns)) / np.sqrt(rank)
    seconds: dict[str, float] = {}
    ranks: dict[str, int] = {}
    sizes: dict[str, Floats] = {}
    for pivoting in ("partial", "complete"):
        begun = time.perf_counter()
        elimination = eliminate(a, pivoting=pivoting)
        seconds[f"seconds_{pivoting}"] = time.perf_counter() - begun
        ranks[f"rank_{pivoting}"] = int(elimination.rank)
        sizes[pivoting] = np.sort(np.abs(eliminate(a, pivoting=pivoting, tol=0.0).pivots))[::-1].astype(np.float32)
    for method, name in (("elimination", "ours"), ("svd", "svd")):
        begun = time.perf_counter()
        ranks[f"rank_{name}"] = int(matrix_rank(a, method=method))
        seconds[f"seconds_{name}"] = time.perf_counter() - begun
    return Textbook(
        shape=[rows, columns],
        rank=rank,
        singular_values=np.linalg.svd(a, compute_uv=False).astype(np.float32),
        tolerance=float(elimination.tolerance),
        partial=sizes["partial"],
        complete=sizes["complete"],
        **ranks,  # type: ignore[arg-type]
        **seconds,  # type: ignore[arg-type]
    )
