"""The training engine against the loop that most people write, and against the machine's own matrix products."""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import torch

from benchmarks import Row, _peer, alternate, mnist, processor_seconds, ratio, report
from rankstudy import config, data, device, training
from rankstudy.layers import build
from rankstudy.study import engine, parallel
from rankstudy.study.experiments.overfitting import WIDTHS as BIG
from rankstudy.study.experiments.training import WIDTHS as SMALL

BATCH = 128
LOOP = "torchvision MNIST, transforms, DataLoader(num_workers=2), nn.Sequential, torch.optim.Adam"
ONCE = config.Training(1, BATCH, schedule="constant")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks training", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="seeds, and turns, of each row")
    parser.add_argument("--epochs", type=int, default=15, help="at most, to reach the accuracy")
    parser.add_argument("--company-epochs", type=int, default=3, help="of each of the eight seeds")
    parser.add_argument("--accuracy", type=float, default=0.98, help="on the test set")
    options = parser.parse_args(arguments)
    begun, where = time.perf_counter(), device.choose()
    dataset = mnist(where)
    if where.type == "cuda":
        rows, tables = gpu_rows(dataset, options.repeats), {}
    else:
        rows = [
            time_to_accuracy(dataset, options.accuracy, options.epochs, options.repeats),
            eight_seeds(options.repeats, options.company_epochs),
            *rates(dataset, options.repeats),
            Row("one seed of the Task 2 network, GPU", "32 seeds, same engine", "", "", None, "< 3"),
            Row("5 seeds of the big network, GPU", "its matrix products alone", "", "", None, "≥ 0.5"),
        ]
        tables = {
            "Seconds an epoch and network, training alone": companies(dataset, options.repeats),
            **{
                f"Where the time of an epoch goes, {name} network (under the profiler, which adds some)": profile(
                    dataset, widths
                )
                for name, widths in (("Task 2", SMALL), ("big", BIG))
            },
        }
    report("training", rows, time.perf_counter() - begun, tables)


def built(widths: tuple[int, ...], count: int, where: torch.device | str = "cpu") -> list[torch.nn.Module]:
    return [build(config.Network(widths), seed).to(where) for seed in range(count)]


def part(dataset: data.Dataset, steps: int) -> data.Dataset:
    """The first images for so many steps, and next to nothing to evaluate on."""
    few = data.Split(dataset.test.images[:10], dataset.test.labels[:10])
    train = data.Split(dataset.train.images[: steps * BATCH], dataset.train.labels[: steps * BATCH])
    return replace(dataset, train=train, validation=few, test=few)


@contextmanager
def without_evaluation() -> Iterator[None]:
    """Training alone is timed where evaluation is not the question."""
    with mock.patch.object(training, "evaluate", lambda model, split: (0.0, 0.0)):
        yield


def time_to_accuracy(dataset: data.Dataset, accuracy: float, most: int, repeats: int) -> Row:
    """Wall time, evaluation included: the peer evaluates the test set each epoch, we all three splits."""
    train, test = _peer.loaders(BATCH)
    ours, theirs, processors, epochs = [], [], [], []
    training.train(ONCE, built(SMALL, 1), part(dataset, 20), [0])  # warm
    for seed in range(repeats):
        everything = training.train(replace(ONCE, epochs=most), built(SMALL, 1)[:1], dataset, [seed])
        enough = everything.test_accuracy[0] >= accuracy
        needed = int(enough.argmax()) if enough.any() else most
        start, busy = time.perf_counter(), processor_seconds()
        training.train(replace(ONCE, epochs=needed), built(SMALL, 1), dataset, [seed])
        ours.append(time.perf_counter() - start)
        between = processor_seconds()
        start = time.perf_counter()
        found = _peer.training(config.Network(SMALL), ONCE, seed, train, test)
        reached = next(i for i, value in enumerate(found, 1) if value >= accuracy or i == most)
        theirs.append(time.perf_counter() - start)
        processors.append((processor_seconds() - between) / (between - busy))
        epochs.append((needed, reached))
    note = f"epochs {epochs}; ratio of processor time {statistics.median(processors):.3g}"
    what = f"time to {accuracy:.0%} test accuracy, one seed, CPU"
    return compared(what, LOOP, ours, theirs, "≥ 5", note)


def eight_seeds(repeats: int, epochs: int) -> Row:
    """So many epochs of each, evaluation included; ours as the study trains them, by workers that are there already."""
    train, test = _peer.loaders(BATCH)
    cores, seeds = parallel.cores(), itertools.count()

    def ours(count: int = 8) -> None:
        settings = replace(ONCE, epochs=epochs)
        runs = [engine.Run(config.Network(SMALL), settings, config.Data("mnist"), next(seeds)) for _ in range(count)]
        engine.trained(runs)

    def theirs() -> None:
        for seed in range(8):
            for _ in itertools.islice(_peer.training(config.Network(SMALL), ONCE, seed, train, test), epochs):
                pass

    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, RANKSTUDY_RESULTS=folder):
        start = time.perf_counter()
        with parallel.beside(cores):
            ours(cores)
            started = time.perf_counter() - start
            seconds = alternate({"ours": ours, "theirs": theirs}, repeats, warm=False)
    note = f"{epochs} epochs each; {cores} workers, whose start and first training take {started:.3g} s, not counted"
    what = "8 seeds of the Task 2 network, CPU"
    return compared(what, f"8 such loops: {LOOP}", seconds["ours"], seconds["theirs"], "≥ 8", note)


def rates(dataset: data.Dataset, repeats: int, steps: int = 40) -> list[Row]:
    """Floating-point operations a second of training steps, against their matrix products alone; and against these
    and the optimiser alone, which has no product to hide behind: it moves every weight's state through memory."""
    rows = []
    for name, widths, target in (("big", BIG, "≥ 0.85"), ("Task 2", SMALL, "")):
        few, models = part(dataset, steps), built(widths, 1)
        floor = products(models[0], steps), updates(built(widths, 1)[0], steps)
        jobs = {
            "step": lambda f=few, m=models: training.train(ONCE, m, f, [0]),
            "products": floor[0],
            "updates": floor[1],
        }
        with without_evaluation():
            seconds = alternate(jobs, 3 * repeats)
        both = [sum(pair) for pair in zip(seconds["products"], seconds["updates"], strict=True)]
        weights = sum(p.numel() for p in models[0].parameters())
        work = steps * 2 * BATCH * (3 * weights - widths[0] * widths[1])
        what = f"rate of a training step, {name} network {'-'.join(map(str, widths))}, CPU"
        rate = f"{work / statistics.median(seconds['products']) / 1e9:.0f} GFLOP/s in the products alone"
        # reads gradient, weight and two moments, writes all but the gradient, in float32
        moved = f"Adam moves {steps * 7 * 4 * weights / statistics.median(seconds['updates']) / 1e9:.1f} GB/s"
        against = "its matrix products alone"
        rows.append(compared(what, against, seconds["step"], seconds["products"], target, rate))
        rows.append(compared(what, f"{against}, and Adam's updates alone", seconds["step"], both, "", moved))
    return rows


def updates(model: torch.nn.Module, steps: int):
    """A function that makes so many of Adam's updates, and nothing else."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)

    def job() -> None:
        for _ in range(steps):
            optimizer.step()

    return job


def products(model: torch.nn.Module, steps: int):
    """A function that computes the products of so many steps: forwards, for the weights, for inputs but the first."""
    weights = [p.detach() for p in model.parameters()]
    widths = [weights[0].shape[1], *(w.shape[0] for w in weights)]
    hidden = [torch.randn(BATCH, width, device=weights[0].device) for width in widths]

    def job() -> None:
        for _ in range(steps):
            for i, w in enumerate(weights):
                torch.mm(hidden[i], w.T)
                torch.mm(hidden[i + 1].T, hidden[i])
                if i:
                    torch.mm(hidden[i + 1], w)
        if w.is_cuda:
            torch.cuda.synchronize()

    return job


def companies(dataset: data.Dataset, repeats: int, steps: int = 100) -> list[list]:
    """One training with one thread or with all, as many with one thread each as there are cores, four batched."""
    cores = torch.get_num_threads()
    table: list[list] = [["network", "1 thread", f"{cores} threads", f"{cores} at once, 1 thread each", "4 by vmap"]]
    few = part(dataset, steps)

    def train(widths: tuple[int, ...], threads: int, count: int = 1, engine: str = "loop") -> None:
        torch.set_num_threads(threads)
        training.train(ONCE, built(widths, count), few, range(count), engine=engine)

    def at_once(widths: tuple[int, ...]) -> None:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(lambda _: train(widths, 1), range(cores)))
        torch.set_num_threads(cores)

    with without_evaluation():
        for widths in ((784, 32, 32, 10), SMALL, BIG):
            jobs = {
                "one": lambda w=widths: train(w, 1),
                "all": lambda w=widths: train(w, cores),
                "at once": lambda w=widths: at_once(w),
                "vmap": lambda w=widths: train(w, cores, 4, "vmap"),
            }
            seconds = alternate(jobs, repeats)
            scale = len(dataset.train) / BATCH / steps
            counts = (1, 1, cores, 4)  # networks trained
            each = [statistics.median(s) * scale / n for s, n in zip(seconds.values(), counts, strict=True)]
            table.append(["-".join(map(str, widths)), *(f"{s:.3g}" for s in each)])
    torch.set_num_threads(cores)
    return table


PARTS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "optimiser": ("aten::_fused_adam_", "Optimizer.step#Adam.step", "Optimizer.zero_grad#Adam.zero_grad"),
    "gather": ("aten::index_select",),
    "activations": ("aten::relu", "aten::clamp_min", "aten::threshold_backward"),
    "loss": (
        *("aten::_log_softmax", "aten::_log_softmax_backward_data"),
        *("aten::nll_loss_forward", "aten::nll_loss_backward"),
    ),
    "order of the images": ("aten::randperm",),
}


def profile(dataset: data.Dataset, widths: tuple[int, ...]) -> list[list]:
    """Self time by kind of work; evaluation from a run without the profiler."""
    start = time.perf_counter()
    history = training.train(ONCE, built(widths, 1), dataset, [0])
    evaluation = (time.perf_counter() - start - history.seconds[0, -1]) / 2  # epochs 0 and 1
    with without_evaluation(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        start = time.perf_counter()
        training.train(ONCE, built(widths, 1), dataset, [0])
        whole = time.perf_counter() - start
    spent = {event.key: event.self_cpu_time_total / 1e6 for event in found.key_averages()}
    parts = {name: sum(spent.pop(key, 0.0) for key in keys) for name, keys in PARTS.items()}
    parts["other operations (views, autograd)"] = sum(spent.values())
    parts["Python, between operations"] = whole - sum(parts.values())
    rows = [[name, f"{seconds:.3f}", f"{seconds / whole:.1%}"] for name, seconds in parts.items()]
    note = "evaluation of all three splits, on top"
    return [["part", "seconds", "share"], *rows, [note, f"{evaluation:.3f}", f"{evaluation / whole:.1%}"]]


def gpu_rows(dataset: data.Dataset, repeats: int) -> list[Row]:
    """On one GPU: company, and the rate of the step."""
    where = dataset.train.images.device

    def train(widths: tuple[int, ...], count: int, some: data.Dataset) -> None:
        training.train(ONCE, built(widths, count, where), some, range(count))

    with without_evaluation():
        company = alternate({"one": lambda: train(SMALL, 1, dataset), "32": lambda: train(SMALL, 32, dataset)}, repeats)
        steps, few = 200, part(dataset, 200)
        alone = products(built(BIG, 1, where)[0], steps)
        jobs = {"step": lambda: train(BIG, 5, few), "products": lambda: [alone() for _ in range(5)]}
        rate = alternate(jobs, repeats)
    what, against = "5 seeds of the big network, GPU", "its matrix products alone"
    return [
        compared("one seed of the Task 2 network, GPU", "32 seeds, same engine", company["one"], company["32"], "< 3"),
        compared(what, against, rate["step"], rate["products"], "≥ 0.5"),
    ]


def compared(what: str, against: str, ours: list[float], theirs: list[float], target: str, note: str = "") -> Row:
    """A row of two times."""
    shown = [f"{statistics.median(values):.3g} s" for values in (ours, theirs)]
    return Row(what, against, *shown, ratio(theirs, ours), target, len(ours), note)
