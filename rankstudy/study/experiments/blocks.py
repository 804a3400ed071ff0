"""A network that lacks a digit, fine-tuned on it by every arm: what each arm learns and what it forgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rankstudy import data
from rankstudy.study import engine
from rankstudy.study.experiments import updates
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Floats, Integers

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rankstudy.layers import MLP


@dataclass(frozen=True)
class Arm:
    """What may move while the network is fine-tuned, and on what."""

    method: str  # "lora": adapters on every layer; "full"; "last": the last layer; "row": the digit's own output
    rank: int | None = None  # "lora" only
    replay: bool = False  # half of each batch comes from a small memory of the old digits
    alpha: float | None = None  # LoRA's α; None: the rank
    scaling: str = "lora"  # or "rslora"
    initialisation: str = "zero"  # or "pissa"

    def label(self) -> str:
        return f"LoRA r = {self.rank}" if self.method == "lora" else LABELS[self.method]

    def options(self) -> dict[str, Any]:
        """What `finetuning.adapt` is told."""
        if self.method != "lora":
            return {}
        return {name: getattr(self, name) for name in ("rank", "alpha", "scaling", "initialisation")}


LABELS = {"full": "full fine-tuning", "last": "last layer", "row": "new output row"}


@dataclass(frozen=True)
class Finetuning:
    """How a network is fine-tuned, and where and on what it is looked at meanwhile."""

    steps: int
    looks: int  # steps at which it is looked at, denser at the beginning; the start comes on top
    batch_size: int = 128  # images
    memory: int = 60  # images of each old digit that may be replayed
    watch: tuple[int, int] = (300, 60)  # images of the new digit, and of each old one, looked at, of each split
    train_size: int | None = None  # training images on which the stopped network is evaluated; None: all

    def at(self) -> list[int]:
        return [0, *np.unique(np.ceil(self.steps * np.linspace(0, 1, self.looks + 1)[1:] ** 1.5).astype(int)).tolist()]


@dataclass(frozen=True)
class FineTuned:
    """Every arm's fine-tuning of one network; with more axes in front of many networks. None: only validation data
    were looked at."""

    loss: Floats | None = None  # (…, arms; train, test, validation; looks; new, old digits) float32, nats
    accuracy: Floats | None = None  # the same, fraction
    stopped: Integers | None = None  # (…, arms) the look at which the validation score was best
    confusion: Integers | None = None  # (…, arms; train, test; 10, 10) where it stopped
    confusion_end: Integers | None = None  # (…, arms; 10, 10) of the test set, after the last step
    confusion_before: Integers | None = None  # (…; train, test; 10, 10) before fine-tuning
    merging: Floats | None = None  # (…, arms, 2) largest difference of an image's logits, largest ratio to its bound
    update_spectrum: Floats | None = None  # (…, arms, layers, KEPT) of ΔW, see `updates`
    update_norm: Floats | None = None  # (…, arms, layers)
    update_rank: Floats | None = None  # (…, arms, layers)
    update_share: Floats | None = None  # (…, arms, layers, [measured, by chance])
    validation_score: Floats | None = None  # (arms,) the best harmonic mean of new and old accuracy


@dataclass(frozen=True)
class Block(Job[FineTuned]):
    """One network that lacks a digit, fine-tuned by every arm."""

    NAME = "lora-block"
    ANSWER = FineTuned
    SENT = True

    base: engine.Run
    finetuning: Finetuning
    arms: tuple[tuple[Arm, float], ...]  # with the learning rate
    validation_only: bool = False  # looked at on validation data alone, as tuning needs it

    def selection(self) -> str:
        return self.base.data.name

    def needs(self) -> list[Job]:
        return [self.base]

    def compute(self) -> FineTuned:
        return _block(self)


SPLITS = ("train", "test")


def harmonic(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Harmonic mean of two accuracies; 0 where both are, and where a network has diverged."""
    new, old = np.nan_to_num(new), np.nan_to_num(old)
    return 2 * new * old / np.maximum(new + old, 1e-12)


def _block(block: Block) -> FineTuned:
    from rankstudy import device, finetuning, layers

    dataset = engine.dataset_on_device(replace(block.base.data, without=(), train_size=None))
    (digit,) = block.base.data.without
    trained = engine.trained([block.base])[0]
    base = trained.model().to(device.choose())
    directions = updates.leading(trained.weights) if not block.validation_only else []
    watched = {
        split: finetuning.take(
            getattr(dataset, split), [block.finetuning.watch[int(other != digit)] for other in range(10)]
        )
        for split in ("validation", *(() if block.validation_only else SPLITS))
    }
    whole = {} if block.validation_only else {"train": dataset.train, "test": dataset.test}
    if whole and block.finetuning.train_size is not None:
        size = block.finetuning.train_size
        whole["train"] = data.Split(dataset.train.images[:size], dataset.train.labels[:size])
    memory = block.finetuning.memory
    new = finetuning.take(dataset.train, [None if other == digit else 0 for other in range(10)])
    old = finetuning.take(dataset.train, [0 if other == digit else memory for other in range(10)])
    found = []
    for arm, rate in block.arms:
        model, seen = _finetuned(base, arm, rate, block, digit, new, old if arm.replay else None, watched, whole)
        if whole:
            seen |= updates.measure(trained.weights, [w.cpu().numpy() for w in layers.weights(model)], directions)
        found.append(seen)
    value = FineTuned(**{name: np.stack([each[name] for each in found]) for name in found[0]})
    return replace(value, confusion_before=_confusions(base, whole)) if whole else value


def _finetuned(
    base: MLP,
    arm: Arm,
    rate: float,
    block: Block,
    digit: int,
    new: data.Split,
    old: data.Split | None,
    watched: Mapping[str, data.Split],
    whole: Mapping[str, data.Split],
) -> tuple[nn.Module, dict[str, np.ndarray]]:
    """One fine-tuning: the network where its validation score was best, and what was seen on the way and there."""
    from rankstudy import finetuning

    settings, seed = block.finetuning, block.base.seed
    model = finetuning.adapt(base, arm.method, digit, seed=seed, **arm.options())
    seen: dict[str, list[np.ndarray]] = {split: [] for split in watched}
    scores: list[float] = []
    best: dict[str, torch.Tensor] = {}

    def look(step: int) -> None:
        for split, images in watched.items():
            seen[split].append(finetuning.new_and_old(model, images, digit))
        score = float(harmonic(*seen["validation"][-1][1]))
        if whole and score > max(scores, default=-1.0):
            best.update({name: value.detach().clone() for name, value in model.state_dict().items()})
        scores.append(score)

    finetuning.finetune(
        model,
        new,
        old,
        learning_rate=rate,
        steps=settings.steps,
        batch_size=settings.batch_size,
        seed=seed,
        look=look,
        at=settings.at(),
    )
    if not whole:
        return model, {"validation_score": np.array(max(scores))}
    stopped = int(np.argmax(scores))
    end = finetuning.confusion(model, whole["test"])
    model.load_state_dict(best)
    looked = np.stack([np.stack(seen[split]) for split in (*SPLITS, "validation")])  # (3, looks, 2, 2)
    merging = np.zeros(2)
    if arm.method == "lora":
        difference, bound = finetuning.merging_error(model, watched["test"].images)
        merging = np.array([difference.max(), (difference / bound).max()])
    return model, {
        "loss": looked[:, :, 0].astype(np.float32),  # (train, test, validation; looks; new, old)
        "accuracy": looked[:, :, 1].astype(np.float32),
        "stopped": np.array(stopped),
        "confusion": _confusions(model, whole),  # (train, test; 10, 10) where it stopped
        "confusion_end": end.astype(np.int16),  # of the test set, after the last step
        "merging": merging,  # largest difference of an image's logits, and largest ratio to its bound
    }


def _confusions(model: nn.Module, whole: Mapping[str, data.Split]) -> np.ndarray:
    from rankstudy import finetuning

    return np.stack([finetuning.confusion(model, whole[split]) for split in SPLITS]).astype(np.int16)
