"""Images per second delivered to the step, shuffled and normalised, against torchvision's data set in a DataLoader."""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from benchmarks import Row, _peer, alternate, mnist, ratio, report
from rankstudy import data, device


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks data", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="epochs of each")
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args(arguments)
    begun, where = time.perf_counter(), device.choose()
    dataset = mnist(where)
    n = len(dataset.train)
    generator = torch.Generator().manual_seed(0)

    def gather() -> None:
        """As `training` does it."""
        for index in torch.randperm(n, generator=generator).to(where).split(options.batch_size):
            dataset.train.images.index_select(0, index), dataset.train.labels.index_select(0, index)
        if where.type == "cuda":
            torch.cuda.synchronize()

    peer, _ = _peer.loaders(options.batch_size)
    ordinary = data.loaders(dataset, options.batch_size)[0]

    def torchvision() -> None:
        for x, y in peer:
            x.to(where), y.to(where)

    def loader() -> None:
        for _ in ordinary:
            pass

    seconds = alternate({"torchvision": torchvision, "gather": gather, "loader": loader}, options.repeats)
    rate = {name: f"{n / statistics.median(values) / 1e3:,.0f} k images/s" for name, values in seconds.items()}
    against = f"torchvision MNIST, transforms, DataLoader(num_workers=2), batch {options.batch_size}"
    rows = [
        Row(f"one gather a batch, {kind}", against, rate["gather"] if here else "", rate["torchvision"] if here else "",
            ratio(seconds["torchvision"], seconds["gather"]) if here else None, target, options.repeats if here else 0)
        for kind, target, here in (("CPU", "≥ 50", where.type == "cpu"), ("GPU", "≥ 100", where.type == "cuda"))
    ]  # fmt: skip
    rows.append(
        Row("our ordinary DataLoader", against, rate["loader"], rate["torchvision"],
            ratio(seconds["torchvision"], seconds["loader"]), "", options.repeats)
    )  # fmt: skip
    report("data", rows, time.perf_counter() - begun)
