"""By the user's own metric: what breaks is kept, the whole stays within the loss; and inputs decide where they help."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import rankstudy
from rankstudy import UsageError
from rankstudy.factorization import truncated_svd, weighted_svd
from rankstudy.tools.calibration import observed
from tests.small_networks import accuracy, digits, trained


@pytest.fixture(scope="module")
def model():
    return trained(0)


@pytest.mark.parametrize("loss", [0.005, 0.05])
def test_the_whole_is_within_the_loss(model, loss, tmp_path):
    done = rankstudy.compress(model, tmp_path / "a.safetensors", evaluate=accuracy, loss=loss, include=".")
    before, after = done.scores
    assert before == accuracy(model) and before - after <= loss + 1e-9
    assert after == accuracy(done.model) == accuracy(rankstudy.load_compressed(model, tmp_path / "a.safetensors"))
    assert done.parameters[1] < 0.5 * done.parameters[0]
    assert all(choice.drop is None or choice.drop <= loss for choice in done.choices if choice.rank)


def test_more_loss_never_costs_size(model):
    sizes = [rankstudy.compress(model, evaluate=accuracy, loss=loss).parameters[1] for loss in (0.002, 0.02, 0.2)]
    assert sizes[0] >= sizes[1] >= sizes[2]


class Delicate(nn.Module):
    """A layer whose weight error says nothing of its damage: the output is what it does to one small direction."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)
        with torch.no_grad():
            u, _, v = torch.linalg.svd(torch.randn(64, 64))
            s = torch.cat([torch.full((40,), 1.0), torch.full((24,), 0.02)])
            self.first.weight.copy_(u * s @ v)
            self.second.weight.copy_(u * s @ v)
            self.x = v[40:] * 10  # inputs live where the first layer is small

    def score(self, model: nn.Module) -> float:
        y = model.first(self.x)
        wanted = self.first(self.x)
        return 1 - float((y - wanted).norm() / wanted.norm())


def test_a_layer_that_breaks_alone_is_kept():
    model = Delicate()
    plain = rankstudy.compress(model, rank_error=0.2, min_saving=0, include=".")
    assert plain.ranks == {"first.weight": None, "second.weight": None}  # rank 40 of 64 saves nothing
    done = rankstudy.compress(model, evaluate=model.score, loss=0.05)
    assert done.ranks["first.weight"] is None and done.ranks["second.weight"] is not None
    (first, _) = done.choices
    assert first.drop > 0.05 and "drop" in done.table()


def test_a_metric_that_counts_still_finds_what_fits_together(model):
    """No matrix alone costs anything, all of them at their lowest ranks do: then they are truncated, but less."""

    def ranks(network: nn.Module) -> float:
        weights = [layer.weight.detach().numpy() for layer in network if hasattr(layer, "weight")][:3]
        return float(sum(np.linalg.matrix_rank(weight, tol=1e-3) for weight in weights) >= 150)

    done = rankstudy.compress(model, evaluate=ranks, loss=0.5)
    truncated = [choice.rank for choice in done.choices[:3]]
    assert all(truncated) and done.scores == (1, 1) and 150 <= sum(truncated) < 200

    def untouched(network: nn.Module) -> float:
        return float(all(torch.equal(a, b) for a, b in zip(network.parameters(), model.parameters(), strict=False)))

    stays = rankstudy.compress(model, evaluate=untouched, loss=0.5).choices[0]
    assert stays.rank is None and stays.why == "alone it costs the metric too much:" and stays.drop == 1


def test_errors_of_evaluate_and_calibration(model, tmp_path):
    with pytest.raises(UsageError, match="evaluate gave nan"):
        rankstudy.compress(model, evaluate=lambda _: math.nan)
    with pytest.raises(UsageError, match="loss is 0"):
        rankstudy.compress(model, evaluate=accuracy, loss=0)
    with pytest.raises(UsageError, match="chooses the ranks itself"):
        rankstudy.compress(model, evaluate=accuracy, keep=0.5)
    with pytest.raises(UsageError, match="at least two are needed"):
        rankstudy.compress(model, calibration=[digits()[0]])
    with pytest.raises(UsageError, match=r"need a torch\.nn\.Module"):
        rankstudy.compress({"w": np.ones((40, 40), np.float32)}, tmp_path / "a.safetensors", evaluate=accuracy)


def test_inputs_improve_the_outputs_they_were_not_chosen_by(model):
    """At equal ranks: a lower output error on held-out images, layer by layer, and no lower accuracy."""
    x, _, judged, _ = digits()
    plain = rankstudy.compress(model, rank=10)
    weighted = rankstudy.compress(model, rank=10, calibration=list(x.split(100)))
    assert plain.ranks == weighted.ranks
    used = [choice.name for choice in weighted.choices if choice.method == "weighted"]
    assert used
    seen = model[0]
    with torch.no_grad():
        wanted = seen(judged)
        ours, theirs = (float((small.model[0](judged) - wanted).norm()) for small in (weighted, plain))
    assert ours < theirs
    assert accuracy(weighted.model) >= accuracy(plain.model)


def test_inputs_that_mislead_are_not_followed():
    """The batches that choose see one half of the coordinates, those that judge the other: plain factors are taken."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    half = torch.zeros(30, 64)
    half[:, :32] = torch.randn(30, 32)
    done = rankstudy.compress(model, rank=8, calibration=[half, half.flip(1)])
    assert done.choices[0].method == "svd"


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_weighted_factors_are_those_of_the_mathematics(shape):
    """By inputs or by outputs, whichever are fewer: `weighted_svd` of the inputs that chose."""
    torch.manual_seed(0)
    layer = nn.Linear(shape[1], shape[0], bias=False)
    x = torch.randn(200, shape[1]) * torch.linspace(0.1, 3, shape[1])
    inputs = observed(nn.Sequential(layer), [x, x], ["0.weight"])["0.weight"]
    w = layer.weight.detach().numpy()
    plain = truncated_svd(w, 8)
    b, c = inputs.better(w, 8, "F32", (plain.b, plain.c))
    wanted = weighted_svd(w, 8, x.numpy())
    assert np.allclose(b @ c, wanted.product(), atol=1e-4)
    for factors in ((b, c), (plain.b, plain.c)):
        lost = x.double().numpy() @ (w - factors[0] @ factors[1]).T
        assert inputs.loss(w, *factors) == pytest.approx((lost**2).sum(), rel=1e-4)


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv1d(6, 4, 3, 2, padding=2, dilation=2),
                                   nn.Conv2d(6, 4, (3, 2), 2, padding=1), nn.Conv2d(6, 4, 3, padding="same"),
                                   nn.Conv1d(6, 4, 4, padding="same")])  # fmt: skip
def test_what_a_layer_sees_is_what_its_matrix_multiplies(layer):
    """The Gram matrix of its inputs, or of its outputs where those are fewer, gives the norm of its outputs."""
    torch.manual_seed(0)
    layer.bias = None
    shape = {nn.Linear: (5, 6), nn.Conv1d: (2, 6, 11), nn.Conv2d: (2, 6, 9, 8)}[type(layer)]
    batches = [torch.randn(shape) for _ in range(2)]
    inputs = observed(nn.Sequential(layer), batches, ["0.weight"])["0.weight"]
    w = layer.weight.detach().flatten(1).double().numpy()
    for gram, batch in zip((inputs.chosen_by, inputs.judged_by), batches, strict=True):
        norm = np.trace(gram) if len(gram) == len(w) else np.trace(w @ gram @ w.T)
        assert norm == pytest.approx(float(layer(batch).double().square().sum()), rel=1e-5)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_what_a_recurrent_layer_sees(kind):
    """Every matrix of a two-layer bidirectional stack, by torch's cells run step by step."""
    torch.manual_seed(0)
    layer = kind(5, 4, 2, batch_first=True, bidirectional=True)
    batches = [torch.randn(3, 6, 5) for _ in range(2)]
    names = [f"0.{name}" for name, p in layer.named_parameters() if p.dim() > 1]
    seen = observed(Wrapped(layer), batches, names)
    assert set(seen) == set(names)
    cells = {nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell}
    x = batches[0]
    for level in range(2):
        outputs = []
        for end in ("", "_reverse"):
            cell = cells[kind](x.shape[-1], 4)
            cell.load_state_dict({leaf: getattr(layer, f"{leaf}_l{level}{end}") for leaf in cell.state_dict()})
            state, hidden = None, []
            steps = range(6)[::-1] if end else range(6)
            for step in steps:
                state = cell(x[:, step], state)
                hidden.append(state[0] if kind is nn.LSTM else state)
            starts = torch.stack(hidden[:-1], 1).reshape(-1, 4).double().detach()
            assert np.allclose(seen[f"0.weight_hh_l{level}{end}"].chosen_by, starts.T @ starts, atol=1e-5)
            rows = x.reshape(-1, x.shape[-1]).double().detach()
            assert np.allclose(seen[f"0.weight_ih_l{level}{end}"].chosen_by, rows.T @ rows, atol=1e-5)
            outputs.append(torch.stack(hidden[::-1] if end else hidden, 1))
        x = torch.cat(outputs, -1)


class Wrapped(nn.Sequential):
    """Of a recurrent layer, the outputs alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self[0](x)[0]
