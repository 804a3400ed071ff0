"""The splits, what is taken out of them, and what is said when MNIST cannot be had."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
import torch

from rankstudy import UsageError, config, data

DIGITS = config.Data("digits", validation_size=200)
HAVE_MNIST = data._files_there(data.folder())


@pytest.fixture
def no_mnist(monkeypatch, tmp_path):
    monkeypatch.setenv("RANKSTUDY_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("RANKSTUDY_DATASET", raising=False)
    monkeypatch.setattr(data, "_UNREACHABLE", set())
    data._source.cache_clear()
    yield tmp_path / "data"
    data._source.cache_clear()


def test_the_splits_are_disjoint_and_whole():
    dataset = data.load(DIGITS)
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [1237, 200, 360]
    rows = torch.cat([dataset.train.images, dataset.validation.images, dataset.test.images])
    pictures, _, test, _ = data._digits()
    everything = data._normalised(torch.cat([pictures, test]))
    assert torch.equal(rows.sort(0).values, everything.sort(0).values)
    assert dataset.train.images.dtype == torch.float32 and dataset.train.labels.dtype == torch.int64


def test_the_split_never_changes():
    a, b = data.load(DIGITS), data.load(DIGITS)
    assert torch.equal(a.validation.images, b.validation.images)
    smaller = data.load(config.Data("digits", validation_size=200, train_size=50))
    assert torch.equal(smaller.train.images, a.train.images[:50])
    assert torch.equal(smaller.validation.images, a.validation.images)


def test_removing_a_digit_keeps_the_other_labels():
    whole, without = data.load(DIGITS), data.load(config.Data("digits", validation_size=200, without=(3,)))
    for split in ("train", "validation", "test"):
        all_, rest = getattr(whole, split), getattr(without, split)
        keep = all_.labels != 3
        assert torch.equal(rest.labels, all_.labels[keep]) and torch.equal(rest.images, all_.images[keep])
    only = data.load(config.Data("digits", validation_size=200, only=(3, 4)))
    assert set(only.train.labels.tolist()) == {3, 4}


def test_shuffled_labels_keep_counts_and_images():
    whole, shuffled = data.load(DIGITS), data.load(config.Data("digits", validation_size=200, shuffled_labels=0.5))
    assert torch.equal(whole.train.images, shuffled.train.images)
    assert torch.equal(whole.train.labels.bincount(), shuffled.train.labels.bincount())
    assert torch.equal(whole.test.labels, shuffled.test.labels)
    changed = (whole.train.labels != shuffled.train.labels).float().mean().item()
    assert 0.40 < changed < 0.5  # half are permuted, a tenth of those keep their label


def test_loaders_give_the_images_of_the_split_in_the_order_of_the_seed():
    dataset = data.load(DIGITS)
    train, validation, test = data.loaders(dataset, 100, seed=5)
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(5))
    images = torch.cat([x for x, _ in train])
    assert torch.equal(images, dataset.train.images[order])
    assert torch.equal(torch.cat([y for _, y in test]), dataset.test.labels)
    assert [len(y) for _, y in validation] == [100, 100]
    assert not torch.equal(torch.cat([x for x, _ in train]), images), "a second epoch has another order"


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (config.Data("letters"), "selection.name"),
        (config.Data("digits", validation_size=0), "validation_size"),
        (config.Data("digits", validation_size=2000), "validation_size"),
        (config.Data("digits", validation_size=200, train_size=2000), "train_size"),
        (config.Data("digits", validation_size=200, train_size=0), "train_size"),
        (config.Data("digits", validation_size=200, shuffled_labels=2.0), "shuffled_labels"),
        (config.Data("digits", validation_size=200, only=(11,)), "empty"),
    ],
)
def test_a_wrong_selection_is_named(selection, message):
    with pytest.raises(ValueError, match=message):
        data.load(selection)


def test_without_mnist_and_network_the_stand_in_is_used_loudly(no_mnist, monkeypatch, capsys):
    monkeypatch.setattr(data, "_download", lambda root: (_ for _ in ()).throw(RuntimeError("no route")))
    assert data.prepare() == "digits"
    assert "STAND-IN" in capsys.readouterr().err
    assert data.prepare() == "digits"
    assert capsys.readouterr().err == "", "it is tried and said once"
    monkeypatch.setenv("RANKSTUDY_DATASET", "mnist")
    with pytest.raises(UsageError, match="RANKSTUDY_DATA"):
        data.prepare()
    monkeypatch.setenv("RANKSTUDY_DATASET", "digits")
    assert data.prepare() == "digits"
    monkeypatch.setenv("RANKSTUDY_DATASET", "letters")
    with pytest.raises(UsageError, match="letters"):
        data.prepare()


def test_a_broken_download_leaves_nothing_half_done(no_mnist, monkeypatch):
    def half(self, root, download):
        raw = os.path.join(root, "MNIST", "raw")
        os.makedirs(raw)
        with open(os.path.join(raw, "train-images-idx3-ubyte"), "wb") as file:
            file.write(b"half")
        raise RuntimeError("connection lost")

    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "__init__", half)
    assert data.prepare() == "digits"
    assert list(no_mnist.iterdir()) == []


def test_a_download_appears_whole_and_what_was_incomplete_is_kept(no_mnist, monkeypatch):
    (no_mnist / "MNIST" / "raw").mkdir(parents=True)
    (no_mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(b"old")

    def whole(self, root, download):
        raw = os.path.join(root, "MNIST", "raw")
        os.makedirs(raw)
        for name in data.MNIST_FILES:
            with open(os.path.join(raw, name), "wb") as file:
                file.write(b"new")

    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "__init__", whole)
    assert data.prepare() == "mnist"
    assert (no_mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte").read_bytes() == b"new"
    (kept,) = no_mnist.glob("MNIST-incomplete-*")
    assert (kept / "MNIST" / "raw" / "train-labels-idx1-ubyte").read_bytes() == b"old"


@pytest.mark.parametrize("damage", ["truncated", "other", "missing"])
def test_a_wrong_file_is_named_with_the_remedy(damage, no_mnist):
    raw = no_mnist / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in data.MNIST_FILES:
        (raw / name).write_bytes(struct.pack(">II", 2049, 3) + b"\0\1\2")
    if damage == "truncated":
        (raw / "train-images-idx3-ubyte").write_bytes(b"\0")
    if damage == "missing":
        (raw / "train-images-idx3-ubyte").unlink()
    with pytest.raises(UsageError, match=r"train-images-idx3-ubyte.*RANKSTUDY_DATA"):
        data.load(config.Data("mnist"))


@pytest.mark.skipif(not HAVE_MNIST, reason="MNIST is not here")
def test_mnist_is_mnist():
    dataset = data.load(config.Data("mnist"))
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [55000, 5000, 10000]
    assert dataset.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    both = torch.cat([dataset.train.images, dataset.validation.images])
    assert abs(both.mean().item()) < 1e-3 and abs(both.std().item() - 1) < 1e-3
    dark = np.float32(both.min())
    assert int((both == float(dark)).all(dim=0).sum()) == 67
