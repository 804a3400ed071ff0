"""The splits, what is taken out of them, and what is said when MNIST cannot be had."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from rankstudy import UsageError, config, data, pictures, registry, sources

DIGITS = config.Data("digits", validation_size=200)
HAVE_MNIST = sources.there("mnist")


@pytest.fixture
def no_mnist(monkeypatch, tmp_path):
    monkeypatch.setenv("RANKSTUDY_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("RANKSTUDY_DATASET", raising=False)
    monkeypatch.setattr(data, "_UNREACHABLE", set())
    pictures._read.cache_clear()
    yield tmp_path / "data"
    pictures._read.cache_clear()


def arrays(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return (
        generator.integers(0, 256, (images, 28, 28), dtype=np.uint8),
        generator.integers(0, 10, images).astype(np.uint8),
    )


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(place, name: str, dotted: bool = False, packed: bool = False, nested: bool = False) -> None:
    """A small data set in four idx files: 60 training and 20 test images."""
    place = Path(place)
    place.mkdir(parents=True, exist_ok=True)
    for file, array in zip(registry.DATASETS[name].files(), [*arrays(60), *arrays(20, 1)], strict=True):
        file = file.replace("-idx", ".idx") if dotted else file
        folder = place / file if nested else place
        folder.mkdir(exist_ok=True)
        content = idx(array)
        (folder / (file + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)


PLACES = {
    "torchvision": ("FashionMNIST/raw", {}),
    "packed": ("FashionMNIST/raw", {"packed": True}),
    "no raw folder": ("FashionMNIST", {"packed": True}),
    "dots": ("FashionMNIST/raw", {"dotted": True}),
    "Kaggle": ("FashionMNIST", {"dotted": True, "nested": True}),
    "one folder down": ("sets/FashionMNIST/raw", {}),
    "one folder up": ("../FashionMNIST/raw", {}),
}


@pytest.mark.parametrize("place", PLACES)
def test_files_are_found_where_people_have_them(no_mnist, place):
    where, spelling = PLACES[place]
    if place == "one folder down":
        no_mnist = no_mnist / "sets"
        where = "FashionMNIST"
    else:
        no_mnist.mkdir()
    write(no_mnist / where, "fashion", **spelling)
    dataset = data.load(config.Data("fashion", validation_size=10))
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [50, 10, 20]
    pixels, labels = arrays(20, 1)
    mean, std = data.scaling("fashion")
    expected = (torch.from_numpy(pixels.reshape(20, 784)) / 255 - mean) / std
    assert torch.allclose(dataset.test.images, expected, atol=1e-6)
    assert dataset.test.labels.tolist() == labels.tolist()
    assert not sources.there("mnist") and data.available() == "digits"


def test_files_that_are_not_mnist_are_never_taken_for_it(no_mnist):
    """FashionMNIST's files have the same names."""
    write(no_mnist, "mnist")
    assert not sources.there("mnist") and not sources.there("fashion")
    with pytest.raises(UsageError, match="looked for train-images-idx3-ubyte"):
        data.load("fashion")


@pytest.mark.parametrize("form", ["bytes", "floats", "rows", "with a test set"])
def test_own_pictures(tmp_path, form, monkeypatch):
    images, labels = arrays(60)
    given = {"images": images / 255 if form == "floats" else images, "labels": labels.astype(np.int64)}
    if form == "rows":
        given["images"] = images.reshape(60, 784)
    if form == "with a test set":
        given |= dict(zip(("test_images", "test_labels"), arrays(20, 1), strict=True))
    path = str(tmp_path / "letters.npz")
    np.savez(path, **given)
    dataset = data.load(config.Data(path, validation_size=10))
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == (
        [50, 10, 20] if form == "with a test set" else [40, 10, 10]
    )
    both = torch.cat([dataset.train.images, dataset.validation.images])
    assert abs(both.mean()) < 1e-5 and abs(both.std() - 1) < 1e-3
    monkeypatch.setenv("RANKSTUDY_DATASET", path)
    assert data.prepare() == data.available() == path and sources.label(path) == "letters.npz"


def test_own_pictures_that_were_written_anew_are_read_anew(tmp_path):
    path = str(tmp_path / "own.npz")
    for seed in (0, 1):
        images, labels = arrays(60, seed)
        np.savez(path, images=images, labels=labels)
        dataset = data.load(config.Data(path, validation_size=10))
        kept = torch.cat([dataset.train.labels, dataset.validation.labels, dataset.test.labels])
        assert torch.equal(kept.bincount(minlength=10), torch.from_numpy(labels).bincount(minlength=10))


def test_files_that_come_later_are_found(no_mnist):
    """In a notebook one is told where they were looked for, puts them there, and asks again."""
    no_mnist.mkdir()
    assert not sources.there("fashion")
    write(no_mnist.parent / "FashionMNIST" / "raw", "fashion")  # a folder further up: the first one does not change
    assert sources.there("fashion")
    shutil.rmtree(no_mnist.parent / "FashionMNIST")
    assert not sources.there("fashion")


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"labels": None}, "has no array 'labels'"),
        ({"images": np.zeros((60, 5, 5), np.uint8)}, "shape"),
        ({"images": np.full((60, 784), 2.0)}, r"\[0, 1\]"),
        ({"labels": np.arange(60)}, "0 to 59"),
        ({"labels": np.zeros(60)}, "whole numbers"),
        ({"labels": np.zeros(5, int)}, "60 whole numbers"),
    ],
)
def test_own_pictures_that_are_none_are_named(tmp_path, changed, message):
    images, labels = arrays(60)
    given = {"images": images, "labels": labels, **changed}
    np.savez(tmp_path / "own.npz", **{name: array for name, array in given.items() if array is not None})
    with pytest.raises(UsageError, match=message):
        data.load(config.Data(str(tmp_path / "own.npz"), validation_size=10))
    (tmp_path / "own.npz").write_bytes(b"PK")
    with pytest.raises(UsageError, match="cannot be read"):
        data.load(config.Data(str(tmp_path / "own.npz"), validation_size=10))


@pytest.mark.parametrize("seeds", [(), (5,), (5, 6)])
def test_a_batch_of_several_seeds_has_what_each_has_alone(seeds):
    split = data.load(DIGITS).train
    batches = list(data.loader(split, 500, *seeds))
    together = [torch.cat(part, dim=int(len(seeds) > 1)) for part in zip(*batches, strict=True)]
    if len(seeds) < 2:
        together = [part[None] for part in together]
    for row, seed in enumerate(seeds or [None]):
        alone = list(data.loader(split, 500, *([] if seed is None else [seed])))
        assert torch.equal(together[1][row], torch.cat([y for _, y in alone]))
        assert torch.equal(together[0][row], torch.cat([x for x, _ in alone]))
    with pytest.raises(ValueError, match="batch_size"):
        data.loader(split, 0)


def test_the_splits_are_disjoint_and_whole():
    dataset = data.load(DIGITS)
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [1237, 200, 360]
    rows = torch.cat([dataset.train.images, dataset.validation.images, dataset.test.images])
    source = pictures.read("digits")
    grey = torch.from_numpy(np.concatenate([source.train_images, source.test_images]))
    everything = (grey / 255 - 0.1307) / 0.3081
    assert torch.allclose(rows.sort(0).values, everything.sort(0).values, atol=1e-6)
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
        (config.Data("digits", validation_size=2000), "validation_size"),
        (config.Data("digits", validation_size=200, train_size=2000), "train_size"),
        (config.Data("digits", validation_size=200, only=(3,), without=(3,)), "empty"),
    ],
)
def test_a_wrong_selection_is_named(selection, message):
    with pytest.raises(ValueError, match=message):
        data.load(selection)


def test_without_mnist_and_network_the_stand_in_is_used_loudly(no_mnist, monkeypatch, capsys):
    monkeypatch.setattr(sources, "download", lambda name, root: (_ for _ in ()).throw(RuntimeError("no route")))
    assert data.prepare() == "digits"
    assert "THE FALLBACK DATA SET" in capsys.readouterr().err
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
    (no_mnist / "FashionMNIST" / "raw").mkdir(parents=True)
    (no_mnist / "FashionMNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(b"old")

    def whole(self, root, download):
        write(os.path.join(root, "FashionMNIST", "raw"), "fashion")

    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(FashionMNIST, "__init__", whole)
    monkeypatch.setenv("RANKSTUDY_DATASET", "fashion")
    assert data.prepare() == "fashion"
    assert sources.there("fashion") and not sources.there("mnist")
    (kept,) = no_mnist.glob("FashionMNIST-incomplete-*")
    assert (kept / "FashionMNIST" / "raw" / "train-labels-idx1-ubyte").read_bytes() == b"old"


@pytest.mark.parametrize("damage", ["truncated", "other", "missing"])
def test_a_wrong_file_is_named_with_the_remedy(damage, no_mnist):
    raw = no_mnist / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in registry.DATASETS["mnist"].files():
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
