"""What cannot be is refused when it is written down, by name; and the tables of what there is."""

from __future__ import annotations

import pytest
import torch

from rankstudy import registry
from rankstudy.config import Data, Network, Training
from rankstudy.study.store import Question

WRONG = [
    (Network, {"widths": 784}, "widths"),
    (Network, {"widths": (784,)}, "widths"),
    (Network, {"widths": (784, 0, 10)}, "widths"),
    (Network, {"widths": (784, 2.5, 10)}, "widths"),
    (Network, {"widths": (784, 10), "activation": "elu"}, "activation is 'elu'; allowed are relu"),
    (Network, {"widths": (784, 10), "rank": 0}, "rank"),
    (Network, {"widths": (784, 10), "initialisation": "he"}, "initialisation is 'he'"),
    (Network, {"widths": (784, 10), "gain": 0.0}, "gain"),
    (Training, {"epochs": -1}, "epochs"),
    (Training, {"epochs": True}, "epochs"),
    (Training, {"epochs": 1, "batch_size": 0}, "batch_size"),
    (Training, {"epochs": 1, "optimizer": "lion"}, "optimizer is 'lion'; allowed are adam"),
    (Training, {"epochs": 1, "learning_rate": float("nan")}, "learning_rate"),
    (Training, {"epochs": 1, "weight_decay": -1.0}, "weight_decay"),
    (Training, {"epochs": 1, "schedule": "linear"}, "schedule"),
    (Data, {"name": "letters"}, "name is 'letters'; allowed are mnist"),
    (Data, {"name": "mnist", "train_size": 0}, "train_size"),
    (Data, {"name": "mnist", "validation_size": 0}, "validation_size"),
    (Data, {"name": "mnist", "only": (11,)}, "only"),
    (Data, {"name": "mnist", "shuffled_labels": 2.0}, "shuffled_labels"),
]


@pytest.mark.parametrize("kind, given, message", WRONG)
def test_a_wrong_setting_is_named(kind, given, message):
    with pytest.raises(ValueError, match=message):
        kind(**given)


def test_lists_and_numpy_numbers_are_taken_as_what_they_are():
    import numpy as np

    assert Network([784, np.int64(20), 10]) == Network((784, 20, 10))  # type: ignore[arg-type]
    assert isinstance(Training(np.int32(3)).epochs, int)


@pytest.mark.parametrize("name", registry.ACTIVATIONS)
def test_an_activation_is_the_same_function_in_torch_and_numpy(name):
    entry = registry.ACTIVATIONS[name]
    z = torch.linspace(-4, 4, 101, dtype=torch.float64)
    assert torch.allclose(entry.torch()(z), torch.from_numpy(entry.numpy(z.numpy())), atol=1e-12)


@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_an_optimiser_has_what_its_entry_says(name):
    weight = torch.nn.Parameter(torch.ones(5, 3))
    weight.grad = torch.ones(5, 3)
    entry = registry.OPTIMIZERS[name]
    if not entry.there():
        pytest.skip(f"this torch has no {entry.label}")
    optimizer = entry.torch([{"params": [weight]}], learning_rate=0.5, weight_decay=0.01)
    optimizer.step()
    state = [value for value in optimizer.state[weight].values() if torch.is_tensor(value)]
    assert sum(value.shape == weight.shape for value in state) == entry.states
    assert any(value.dim() == 0 for value in state) == entry.counts
    assert not torch.equal(weight, torch.ones(5, 3))


def test_what_a_name_means_is_in_the_key_and_what_it_is_called_is_not(monkeypatch):
    def key() -> str:
        return Question("trained", "network", {"network": Network((784, 10), "tanh")}, "0").key

    before, entry = key(), registry.ACTIVATIONS["tanh"]
    monkeypatch.setitem(registry.ACTIVATIONS, "elu", entry)
    monkeypatch.setitem(registry.ACTIVATIONS, "tanh", registry.Activation("Tanh!", entry.function, entry.numpy))
    assert key() == before
    monkeypatch.setitem(registry.ACTIVATIONS, "tanh", registry.Activation("tanh", "torch.atan", entry.numpy))
    assert key() != before
