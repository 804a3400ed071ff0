"""Measuring: counts agree with formulas and with what torch really allocates; times are times."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from torch import nn

from rankstudy import measure
from rankstudy.config import Network, Training
from rankstudy.data import Dataset, Split
from rankstudy.layers import build
from rankstudy.lora import add_lora, merged, trainable
from rankstudy.registry import OPTIMIZERS
from rankstudy.training import batch_loss, train

CONFIG = Training(epochs=1, batch_size=16)
M, N, K, RANK, BATCH = 30, 20, 10, 4, 16  # inputs, hidden units, outputs
DENSE = build(Network((M, N, K)), 0)
MODELS = {
    "dense": DENSE,
    "factorised": build(Network((M, N, K), rank=RANK), 0),
    "lora": add_lora(DENSE, RANK),
}
COUNTS = {
    "dense": (M * N + N * K, M * N + N * K),  # all, trained
    "factorised": (RANK * (M + N) + RANK * (N + K),) * 2,
    "lora": (M * N + N * K + RANK * (M + N) + RANK * (N + K), RANK * (M + N) + RANK * (N + K)),
}


def saved(*arguments) -> int:
    return measure.training_memory(*arguments).activations


IMAGES = torch.randn(BATCH, M, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", MODELS)
def test_parameters_are_what_the_formula_says(kind):
    model, (everything, trained) = MODELS[kind], COUNTS[kind]
    assert measure.parameters(model) == everything and measure.parameter_bytes(model) == 4 * everything
    assert measure.parameter_bytes(copy.deepcopy(model).double()) == 8 * everything
    assert trainable(model).parameters == trained


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("kind", MODELS)
def test_memory_is_predicted_to_the_byte(kind, optimizer):
    """Gradients and optimiser state as they are after a real step of torch's optimiser."""
    if not OPTIMIZERS[optimizer].there():
        pytest.skip("this torch has no such optimiser")
    config = replace(CONFIG, optimizer=optimizer)
    predicted = measure.training_memory(MODELS[kind], config, IMAGES)
    model = copy.deepcopy(MODELS[kind])
    used = OPTIMIZERS[optimizer].torch(
        [{"params": [p for p in model.parameters() if p.requires_grad]}], learning_rate=0.1, weight_decay=0.0
    )
    model(IMAGES).sum().backward()
    used.step()
    state = [v for values in used.state.values() for v in values.values() if isinstance(v, torch.Tensor)]
    assert predicted.optimizer == sum(t.nbytes for t in state)
    assert predicted.gradients == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    assert predicted.weights == 4 * COUNTS[kind][0]


@pytest.mark.parametrize("batch", [16, 1024])
@pytest.mark.parametrize("kind", MODELS)
def test_peak_is_what_the_allocator_says(kind, batch):
    """A step as the profiler sees it, allocation by allocation; it rounds each of a few tensors to 16 bytes."""
    model, images = copy.deepcopy(MODELS[kind]), IMAGES[:1].repeat(batch, 1)

    def step():
        x, y = images.clone(), torch.zeros(batch, dtype=torch.int64)
        batch_loss(model, x, y, CONFIG).backward()

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    changes = [e.nbytes() for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    predicted = measure.training_memory(model, CONFIG, images)
    assert abs(max(accumulate(changes)) - (predicted.peak - predicted.weights - predicted.optimizer)) <= 16 * 32
    assert predicted.peak < predicted.weights + predicted.gradients + predicted.optimizer + 3 * predicted.activations


def test_saved_activations_are_those_of_the_layers():
    """Dense: the batch, the hidden activations, the log-probabilities, the labels and the sum of the class weights."""
    found = saved(MODELS["dense"], CONFIG, IMAGES)
    dense = 4 * BATCH * (M + N + K) + 8 * BATCH + 4
    assert found == dense
    # a factorised layer keeps its r numbers an image as well
    assert saved(MODELS["factorised"], CONFIG, IMAGES) == dense + 4 * BATCH * 2 * RANK
    # an adapter too, and α/r times its B; a frozen base needs the gradient of its input only from the second layer on
    adapters = 4 * (BATCH * 2 * RANK + RANK * (N + K))
    assert saved(MODELS["lora"], CONFIG, IMAGES) == dense + adapters


def test_saved_activations_grow_with_the_batch_and_not_with_the_weights():
    small, large = (saved(MODELS["dense"], CONFIG, IMAGES.repeat(k, 1)) for k in (1, 3))
    assert large - 4 == 3 * (small - 4)
    frobenius = replace(CONFIG, frobenius_decay=1.0)
    grams = saved(MODELS["factorised"], frobenius, IMAGES) - saved(MODELS["factorised"], CONFIG, IMAGES)
    assert grams == 2 * 2 * 4 * RANK**2  # two r × r products for each of two layers


@pytest.mark.parametrize("kind", MODELS)
def test_the_meta_device_gives_the_same_answers(kind):
    """Nothing is allocated, so the largest study can be asked about before it starts."""
    model, images = copy.deepcopy(MODELS[kind]).to("meta"), IMAGES.to("meta")
    assert measure.training_memory(model, CONFIG, images) == measure.training_memory(MODELS[kind], CONFIG, IMAGES)
    for backward in (False, True):
        assert measure.flops(model, images, backward=backward) == measure.flops(MODELS[kind], IMAGES, backward=backward)


@pytest.mark.parametrize("kind", MODELS)
def test_measuring_changes_nothing(kind):
    model = copy.deepcopy(MODELS[kind])
    before = copy.deepcopy(model.state_dict())
    measure.training_memory(model, CONFIG, IMAGES)
    measure.flops(model, IMAGES, backward=True)
    measure.latency(model, IMAGES, seconds=0.01)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(p.grad is None for p in model.parameters())


def test_flops_are_those_of_the_products():
    """2·batch·out·in a layer forwards; backwards the same for the weights, and for the input of all but the first."""
    first, last = 2 * BATCH * M * N, 2 * BATCH * N * K
    assert measure.flops(MODELS["dense"], IMAGES) == first + last
    assert measure.flops(MODELS["dense"], IMAGES, backward=True) == 2 * (first + last) + last
    factorised = 2 * BATCH * RANK * (M + N + N + K)
    assert measure.flops(MODELS["factorised"], IMAGES) == factorised
    assert measure.flops(merged(MODELS["lora"]), IMAGES) == first + last


def test_latency_is_the_time_of_a_call():
    class Sleep(nn.Module):
        def forward(self, x):
            assert not torch.is_grad_enabled()
            time.sleep(0.002)
            return x

    begun = time.perf_counter()
    found = measure.latency(Sleep(), IMAGES, seconds=0.2)
    assert 0.002 <= found.median < 0.02 and 0 <= found.iqr < 0.02 and found.n == measure.BLOCKS
    assert 0.08 <= time.perf_counter() - begun  # about 0.2 s, in whole calls


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_peak_of_a_training_is_the_predicted_one():
    """Within 5 % + 2 MB above a warmed baseline, for a training of at least 100 MB (one network on the loop)."""
    device, n = torch.device("cuda"), 4096
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randn(n, 784, generator=generator).to(device), torch.zeros(n, dtype=torch.int64, device=device))
    data = Dataset("random", "0", split, split, split)
    model = build(Network((784, 2048, 2048, 10)), 0).to(device)
    config = replace(CONFIG, batch_size=1024)
    train(config, [model], data, [0], engine="loop")
    predicted = measure.training_memory(model, config, split.images[:1024])
    peak = measure.peak_cuda_memory(lambda: train(config, [model], data, [0], engine="loop"), device)
    expected = predicted.peak - predicted.weights  # the weights are there before
    assert abs(peak - expected) <= 0.05 * expected + 2e6
