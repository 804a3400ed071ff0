"""What random errors on a layer's own inputs make of its update, in trained networks: `spectrum.input_baseline`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankstudy._linalg.gram import singular_values
from rankstudy.spectrum import Spectrum, effective_rank, input_baseline
from rankstudy.study import engine
from rankstudy.study.engine import Run
from rankstudy.study.jobs import Job
from rankstudy.study.typed import Floats

DRAWS = 3  # random matrices: their entropy ranks differ by less than those of two networks


@dataclass(frozen=True)
class Baseline:
    """Entropy ranks of random updates from each layer's inputs, (networks, layers), means over the draws."""

    before: Floats  # from the inputs that the untrained network gives the layer
    after: Floats  # from those of the trained one


@dataclass(frozen=True)
class Baselines(Job[Baseline]):
    """Those of equal networks."""

    NAME = "input-baselines"
    ANSWER = Baseline

    runs: tuple[Run, ...]
    images: int  # of the training split whose features are taken

    def selection(self) -> str:
        return self.runs[0].data.name

    def compute(self) -> Baseline:
        import torch

        from rankstudy import layers

        pictures = engine.dataset_on_device(self.runs[0].data).train.images[: self.images].cpu()
        found: dict[str, list[np.ndarray]] = {"before": [], "after": []}
        for each in engine.trained(self.runs):
            models = {"before": layers.build(each.run.network, each.run.seed), "after": each.model()}
            for name, model in models.items():
                with torch.no_grad():
                    inputs = [pictures, *model.features(pictures)[:-1]]
                outputs = [out for out, _ in each.run.network.shapes()]
                found[name].append(np.array([_entropy(x, out) for x, out in zip(inputs, outputs, strict=True)]))
        return Baseline(**{name: np.stack(values) for name, values in found.items()})


def _entropy(inputs: object, rows: int) -> float:
    values = np.asarray(inputs, dtype=np.float64)
    spectrum = Spectrum(singular_values(values), values.shape)  # known to float32's precision: a Gram matrix will do
    return float(effective_rank(input_baseline(spectrum, rows, draws=DRAWS)).mean())
