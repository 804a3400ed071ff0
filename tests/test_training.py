"""The training loop: the same numbers as plain PyTorch, alone or in company, on either engine.

Bitwise where it can be had. Where two orders of summation meet, networks drift apart as two trainings do whose initial
weights differ by rounding; so the test measures how much a small known change of the initial weights grows over the
same training, and allows `steps · terms · eps` of it: one rounding for each term of each sum of each step.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from rankstudy import training
from rankstudy.config import Network, Training
from rankstudy.data import Dataset, Split, loaders
from rankstudy.layers import build, weights
from rankstudy.lora import add_lora
from rankstudy.study.store import Question, Store
from rankstudy.training import evaluate, train

EPS64 = float(np.finfo(np.float64).eps)
ENGINES = ("loop", "vmap")
DENSE, FACTORISED = Network((12, 10, 4)), Network((12, 10, 4), rank=3)
BASE = Training(epochs=3, batch_size=32, learning_rate=0.01)
CONFIGS = {
    "adam": replace(BASE, weight_decay=0.01),
    "adamw": replace(BASE, optimizer="adamw", weight_decay=0.1, schedule="constant"),
    "sgd": replace(BASE, optimizer="sgd", learning_rate=0.1, weight_decay=0.01),
    "momentum": replace(BASE, optimizer="momentum", learning_rate=0.05, weight_decay=0.01),
    "frobenius": replace(BASE, frobenius_decay=0.01),
}


def make_data(dtype: torch.dtype = torch.float64, train_size: int = 150) -> Dataset:
    """Four overlapping clusters; 150 images make four batches of 32 and one of 22."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 12, generator=generator, dtype=torch.float64)

    def split(n: int) -> Split:
        labels = torch.randint(0, 4, (n,), generator=generator)
        noise = torch.randn(n, 12, generator=generator, dtype=torch.float64)
        return Split((centres[labels] + noise).to(dtype), labels)

    return Dataset("synthetic", "0", split(train_size), split(60), split(70))


@pytest.fixture
def data() -> Dataset:
    return make_data()


def networks(config: Network, count: int) -> list[nn.Module]:
    return [build(config, seed).double() for seed in range(count)]


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def plain(config: Training, model: nn.Module, data: Dataset, seed: int) -> torch.Tensor:
    """The training that anyone would write, with an ordinary DataLoader; its final parameters."""
    trained = [p for p in model.parameters() if p.requires_grad]
    options = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "foreach": False, "fused": False}
    if config.optimizer in ("sgd", "momentum"):
        optimizer = torch.optim.SGD(trained, momentum=0.9 * (config.optimizer == "momentum"), **options)
    else:
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer](trained, **options)
    batches = loaders(data, config.batch_size, seed)[0]
    steps = config.epochs * math.ceil(len(data.train) / config.batch_size)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(config.epochs):
        for x, y in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            if config.frobenius_decay:
                loss = loss + config.frobenius_decay / 2 * sum(w.square().sum() for w in products(model))
            loss.backward()
            optimizer.step()
            if config.schedule == "cosine":
                cosine.step()
    return flat(model)


def products(model: nn.Module) -> list[torch.Tensor]:
    return [layer.weight for layer in model.layers if hasattr(layer, "c")]


def drift(config: Training, model: nn.Module, data: Dataset, seed: int) -> tuple[torch.Tensor, float]:
    """The final parameters of the plain training, and how far from them rounding may lead (see the module)."""
    changed, size = copy.deepcopy(model), 2.0**-30
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for p in changed.parameters():
            p.mul_(1 + size * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    expected = plain(config, copy.deepcopy(model), data, seed)
    growth = (plain(config, changed, data, seed) - expected).norm().item() / size
    steps = config.epochs * math.ceil(len(data.train) / config.batch_size)
    return expected, steps * config.batch_size * EPS64 * growth


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["dense", "factorised", "lora"])
@pytest.mark.parametrize("name", CONFIGS)
def test_training_is_what_a_plain_pytorch_loop_does(data, name, kind, engine):
    """Three seeds together, each as that seed alone in an ordinary loop over an ordinary DataLoader."""
    models = networks(FACTORISED if kind == "factorised" else DENSE, 3)
    if kind == "lora":
        models = [add_lora(model, 2, seed=seed) for seed, model in enumerate(models)]
    allowed = [drift(CONFIGS[name], model, data, seed) for seed, model in enumerate(models)]
    before = [flat(model) for model in models]
    train(CONFIGS[name], models, data, range(3), engine=engine)
    for model, start, (expected, bound) in zip(models, before, allowed, strict=True):
        assert (flat(model) - expected).norm() <= bound < 1e-6 * (expected - start).norm()


@pytest.mark.parametrize("kind", [DENSE, FACTORISED])
def test_on_the_loop_five_seeds_are_each_alone_bit_for_bit(data, kind):
    together, alone = networks(kind, 5), networks(kind, 5)
    history = train(BASE, together, data, [3, 1, 4, 1, 5], engine="loop")
    for i, seed in enumerate([3, 1, 4, 1, 5]):
        own = train(BASE, [alone[i]], data, [seed], engine="loop")
        assert torch.equal(flat(together[i]), flat(alone[i]))
        assert np.array_equal(history.train_loss[i], own.train_loss[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_training_repeats_bit_for_bit(engine):
    data = make_data(torch.float32)
    runs = []
    for _ in range(2):
        models = [build(DENSE, seed) for seed in range(3)]
        history = train(BASE, models, data, [0, 1, 2], engine=engine).arrays()
        runs.append(([flat(model) for model in models], history))
    assert all(torch.equal(a, b) for a, b in zip(runs[0][0], runs[1][0], strict=True))
    assert all(np.array_equal(runs[0][1][name], runs[1][1][name]) for name in runs[0][1] if name != "seconds")


@pytest.mark.parametrize("engine", ENGINES)
def test_seeds_order_the_images(data, engine):
    """Equal networks, two equal seeds and another one."""
    models = [build(DENSE, 0).double() for _ in range(3)]
    train(BASE, models, data, [5, 5, 6], engine=engine)
    assert torch.equal(flat(models[0]), flat(models[1])) and not torch.equal(flat(models[0]), flat(models[2]))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "momentum"])
def test_every_model_has_its_own_learning_rate_and_decay(data, engine, optimizer):
    """As in a training of its own; neighbours that are equal share a group, others do not."""
    base = replace(BASE, optimizer=optimizer)
    configs = [replace(base, learning_rate=lr, weight_decay=wd) for lr, wd in ((1e-3, 0.0), (1e-3, 0.0), (1e-2, 0.3))]
    models, starts = networks(DENSE, 3), networks(DENSE, 3)
    train(configs, models, data, [7, 8, 9], engine=engine)
    for model, start, config, seed in zip(models, starts, configs, (7, 8, 9), strict=True):
        expected, bound = drift(config, start, data, seed)
        assert (flat(model) - expected).norm() <= bound < 1e-6 * expected.norm()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_diverged_seed_leaves_the_others_untouched(engine):
    """A planted learning rate of 1e30: recorded, ended, NaN from there; the others as without it, bit for bit."""
    data = make_data(torch.float32)

    def run(rate: float):
        models = [build(DENSE, seed) for seed in range(3)]
        base = replace(BASE, optimizer="momentum")
        configs = [base, replace(base, learning_rate=rate), base]
        history = train(configs, models, data, range(3), engine=engine, observe=lambda model, epoch: {"epoch": epoch})
        return models, history

    healthy, expected = run(0.02)
    models, history = run(1e30)
    assert history.diverged.tolist() == [False, True, False] and not expected.diverged.any()
    assert history.epochs_run.tolist() == [3, 1, 3]
    for name, values in history.arrays().items():
        if values.ndim == 2:
            assert np.isfinite(values[[0, 2]]).all() and np.isfinite(values[1, 0]), name
            assert np.isnan(values[1, 1:]).all(), name
    for i in (0, 2):
        assert torch.equal(flat(models[i]), flat(healthy[i]))
        assert np.array_equal(history.test_loss[i], expected.test_loss[i])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_that_cannot_be_evaluated_is_not_trained(data, engine):
    models = networks(DENSE, 2)
    with torch.no_grad():
        models[1].layers[0].weight[0, 0] = math.nan
    before = flat(models[1])
    history = train(BASE, models, data, [0, 1], engine=engine)
    assert history.diverged.tolist() == [False, True] and history.epochs_run.tolist() == [3, 0]
    assert np.isnan(history.test_loss[1]).all() and torch.equal(flat(models[1]).nan_to_num(), before.nan_to_num())


def test_one_network_and_one_seed_need_no_lists(data):
    one, listed = networks(DENSE, 1)[0], networks(DENSE, 1)
    history = train(BASE, one, data, 4)
    expected = train(BASE, listed, data, [4])
    assert torch.equal(flat(one), flat(listed[0])) and history["test_accuracy"].shape == (1, BASE.epochs + 1)
    np.testing.assert_array_equal(history["test_loss"], expected.test_loss)
    with pytest.raises(KeyError):
        history["loss"]


@pytest.mark.parametrize(
    "config, data, message",
    [({"epochs": 3}, make_data(), "config must be a Training"), (BASE, [1, 2], "data must be a Dataset")],
)
def test_what_is_no_config_or_data_set_is_named(config, data, message):
    with pytest.raises(TypeError, match=message):
        train([config], networks(DENSE, 1), data, 0)


def test_an_epoch_is_what_a_reader_can_list(data):
    """At most 15 lines, and what `train` does: the same weights from a loop over it."""
    import inspect

    assert len(inspect.getsource(training.epoch).splitlines()) <= 15
    config = replace(BASE, schedule="constant")
    (trained,), (model,) = networks(DENSE, 1), networks(DENSE, 1)
    train(config, trained, data, 3, engine="loop")
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    batches, _, _ = loaders(data, config.batch_size, seed=3)
    for _ in range(config.epochs):
        training.epoch(lambda x, y: F.cross_entropy(model(x), y), batches, optimizer, schedule)
    assert torch.equal(flat(trained), flat(model))


@pytest.mark.parametrize("engine", ENGINES)
def test_history_is_measured_at_the_end_of_an_epoch_at_fixed_weights(data, engine):
    """Each entry is `evaluate` of the network as `observe` sees it, epoch 0 included."""
    calls, models = [], networks(DENSE, 2)

    def observe(model, epoch):
        calls.append((models.index(model), epoch))
        found = {name: evaluate(model, getattr(data, name)) for name in training.SPLITS}
        scores = np.array([found[name] for name in training.SPLITS])
        return {"scores": scores, "first": weights(model)[0].float(), "n": 3}

    history = train(BASE, models, data, [4, 2], engine=engine, observe=observe)
    assert sorted(calls) == [(i, epoch) for i in range(2) for epoch in range(4)]
    measured = [[getattr(history, f"{s}_{v}") for v in ("loss", "accuracy")] for s in training.SPLITS]
    assert np.array_equal(np.moveaxis(np.array(measured), (0, 1), (2, 3)), history.observed["scores"])
    assert history.observed["first"].shape == (2, 4, 10, 12) and history.observed["first"].dtype == np.float32
    assert history.observed["n"].dtype == np.float64 and (history.observed["n"] == 3).all()
    for i, model in enumerate(models):
        assert history.test_loss[i, -1] == evaluate(model, data.test)[0]
    assert history.seeds.tolist() == [4, 2] and history.epochs_run.tolist() == [3, 3]
    assert (history.seconds[:, 0] == 0).all() and (np.diff(history.seconds) > 0).all()
    assert (history.train_loss[:, -1] < history.train_loss[:, 0]).all()
    arrays = history.arrays()
    assert arrays["observed.n"] is history.observed["n"] and arrays["train_loss"] is history.train_loss
    assert len(arrays) == 10 + 3


@pytest.mark.parametrize("engine", ENGINES)
def test_seconds_leave_evaluation_and_observation_out(data, engine, monkeypatch):
    """A clock that only `evaluate` moves stands still for training."""
    now = [0.0]
    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])

    def slow(model, split):
        now[0] += 100.0
        return 1.0, 0.5

    monkeypatch.setattr(training, "evaluate", slow)
    assert (train(BASE, networks(DENSE, 2), data, [0, 1], engine=engine).seconds == 0).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_no_epochs_is_a_measurement(data, engine):
    models = networks(DENSE, 2)
    before = [flat(model) for model in models]
    history = train(replace(BASE, epochs=0), models, data, [0, 1], engine=engine)
    assert history.test_loss.shape == (2, 1) and np.isfinite(history.test_loss).all()
    assert all(torch.equal(flat(model), start) for model, start in zip(models, before, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_models_keep_their_parameters_and_own_their_memory(data, engine):
    """The same Parameter objects, no longer views of each other; frozen ones bit for bit as before."""
    models = [add_lora(model, 2, seed=seed) for seed, model in enumerate(networks(DENSE, 2))]
    before = [list(model.parameters()) for model in models]
    values = [{name: p.detach().clone() for name, p in model.named_parameters()} for model in models]
    train(BASE, models, data, [0, 1], engine=engine)
    for model, parameters, start in zip(models, before, values, strict=True):
        assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
        for name, p in model.named_parameters():
            assert p.untyped_storage().nbytes() == p.nbytes
            assert torch.equal(p, start[name]) == (not p.requires_grad), name


def test_a_batch_larger_than_the_data_is_all_of_it(data):
    large, whole = networks(DENSE, 1), networks(DENSE, 1)
    train(replace(BASE, batch_size=10_000), large, data, [0], engine="loop")
    train(replace(BASE, batch_size=150), whole, data, [0], engine="loop")
    assert torch.equal(flat(large[0]), flat(whole[0]))


def test_the_engine_goes_by_the_device(data):
    models = networks(DENSE, 2)
    seen: list[int] = []
    train(BASE, models, data, [0, 1], progress=seen.append)
    assert seen == [150] * 6  # one network after the other
    seen.clear()
    train(BASE, models, data, [0, 1], engine="vmap", progress=seen.append)
    assert seen == [300] * 3


def test_models_of_different_shapes_train_one_after_the_other_only(data):
    models = [build(DENSE, 0).double(), build(FACTORISED, 1).double()]
    with pytest.raises(ValueError, match="same parameters, of the same shapes"):
        train(BASE, models, data, [0, 1], engine="vmap")
    history = train(BASE, models, data, [0, 1], engine="loop")
    assert np.isfinite(history.test_loss).all()


def test_evaluation_is_the_mean_over_the_split(data, monkeypatch):
    """In batches or at once; in float64 the same but for the order of 70 terms."""
    model = networks(DENSE, 1)[0]
    logits = model(data.test.images)
    loss, accuracy = evaluate(model, data.test)
    assert loss == pytest.approx(F.cross_entropy(logits, data.test.labels).item(), rel=70 * EPS64)
    assert accuracy == (logits.argmax(1) == data.test.labels).double().mean().item()
    monkeypatch.setattr(training, "EVALUATION_BATCH", 16)
    assert evaluate(model, data.test) == (pytest.approx(loss, rel=70 * EPS64), accuracy)
    with pytest.raises(ValueError, match="at least one image"):
        evaluate(model, Split(data.test.images[:0], data.test.labels[:0]))


def test_the_schedule_begins_at_the_peak_and_ends_at_zero():
    rates = [training.share_of_peak(BASE, 100)(step) for step in range(100)]
    assert rates[0] == 1 and rates[50] == pytest.approx(0.5) and rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(math.sin(math.pi / 200) ** 2)
    assert training.share_of_peak(replace(BASE, schedule="constant"), 3)(2) == 1


def test_an_ordinary_loader_gives_the_same_batches(data):
    """Seed 3's order, epoch after epoch, from whichever side one comes."""
    generator = torch.Generator().manual_seed(3)
    pairs = TensorDataset(torch.arange(150), data.train.labels)
    numbered = replace(data, train=Split(pairs.tensors[0], pairs.tensors[1]))
    batches: DataLoader = loaders(numbered, 32, 3)[0]
    for _ in range(3):
        seen = torch.cat([x for x, _ in batches])
        assert torch.equal(seen, torch.randperm(150, generator=generator))


def test_what_does_not_match_is_refused(data):
    models = networks(DENSE, 2)
    before = [flat(model) for model in models]
    with pytest.raises(ValueError, match="got 2, 1, 2"):
        train(BASE, models, data, [0])
    with pytest.raises(ValueError, match="got 0, 0, 0"):
        train(BASE, [], data, [])
    with pytest.raises(ValueError, match="got 2, 2, 1"):
        train([BASE], models, data, [0, 1])
    with pytest.raises(ValueError, match="learning_rate and weight_decay only"):
        train([BASE, replace(BASE, epochs=4)], models, data, [0, 1])
    with pytest.raises(ValueError, match="engine must be loop, vmap or None, got 'fast'"):
        train(BASE, models, data, [0, 1], engine="fast")
    with pytest.raises(ValueError, match=r"models\[1\] has no parameter that requires a gradient"):
        train(BASE, [models[0], copy.deepcopy(models[1]).requires_grad_(False)], data, [0, 1])
    with pytest.raises(ValueError, match=r"data\.train must hold at least one image"):
        train(BASE, models, replace(data, train=Split(data.train.images[:0], data.train.labels[:0])), [0, 1])
    assert all(torch.equal(flat(model), start) for model, start in zip(models, before, strict=True))


class Kept:
    """Snapshots in memory, through the same bytes as in the store."""

    def __init__(self, root) -> None:
        question = Question("unfinished", "network", BASE, "0")
        self.question, self.store, self.epochs = question, Store(root), []

    def load(self):
        record = self.store.find(self.question)
        return record and record.value

    def save(self, state) -> None:
        self.epochs.append(state["epoch"])
        record = self.store.put(self.question, "digest", {"created": len(self.epochs)}, state)
        self.store.discard(self.question, keep=record)


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_at", [1, 2, 3])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [*CONFIGS, "lora", "diverged"])
def test_a_killed_training_goes_on_to_the_same_bits(data, engine, name, killed_at, tmp_path, monkeypatch):
    """Weights, history and what was observed: also what an observer knows from epoch 0, and ended networks."""
    monkeypatch.setattr(training.snapshot, "SECONDS", 0.0)
    network = FACTORISED if name == "frobenius" else DENSE
    config = replace(CONFIGS.get(name, BASE), epochs=4)
    configs = [config] * (1 if engine == "loop" else 3)
    if name == "diverged":
        rates = [1e30, 0.01, 0.01]
        configs = [replace(config, optimizer="momentum", learning_rate=rate) for rate in rates[: len(configs)]]

    def make():
        models = networks(network, len(configs))
        return [add_lora(model, 2, seed=seed) for seed, model in enumerate(models)] if name == "lora" else models

    def observer(last):
        starts: dict[int, torch.Tensor] = {}

        def observe(model, epoch):
            if epoch == 0:
                starts[id(model)] = flat(model)
            if epoch == last:
                raise Killed
            return {"moved": flat(model) - starts[id(model)]}

        return observe

    def go(models, last, snapshots):
        seeds = range(len(models))
        return train(configs, models, data, seeds, engine=engine, observe=observer(last), snapshots=snapshots)

    whole = make()
    expected = go(whole, None, None)
    kept = Kept(tmp_path)
    if expected.epochs_run.max() >= killed_at and not expected.diverged.all():
        with pytest.raises(Killed):
            go(make(), killed_at, kept)
        assert kept.epochs == list(range(killed_at))
    resumed = make()
    seen: list[int] = []
    history = train(
        configs, resumed, data, range(len(resumed)), engine=engine, observe=observer(None), snapshots=kept,
        progress=seen.append,
    )  # fmt: skip
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(flat(one), flat(other)) or name == "diverged"
    for key, values in expected.arrays().items():
        if key != "seconds":
            assert np.array_equal(values, history.arrays()[key], equal_nan=True), key
    assert len(list(tmp_path.rglob("*.safetensors"))) <= 1
    assert sum(seen) == len(data.train) * len(resumed) * expected.epochs_run.max()


def test_snapshots_are_a_minute_apart(data, tmp_path):
    kept = Kept(tmp_path)
    train(BASE, networks(DENSE, 1), data, [0], snapshots=kept)
    assert kept.epochs == []
    with pytest.raises(ValueError, match="models must be one for the engine loop, got 2"):
        train(BASE, networks(DENSE, 2), data, [0, 1], engine="loop", snapshots=kept)
