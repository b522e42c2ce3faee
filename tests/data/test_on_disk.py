"""Data on the disk trains a model as data in memory does: the same batches, the same weights, a bounded memory."""

import numpy as np
import pytest
import torch
from PIL import Image

import pofx
from pofx.core.errors import DataError, UsageError
from pofx.core.random import Streams
from pofx.data import on_disk
from pofx.data.dataset import sampled
from pofx.data.kind import joined, take
from pofx.data.on_disk import OnDisk
from pofx.data.sources import load, whole
from pofx.represent.augment import Augmentation

SMALL = {"width": 8, "batch_size": 8, "progress": False}
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 4, 5), dtype=np.uint8)


@pytest.fixture
def array(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    return str(tmp_path / "x.npy")


def test_items_on_the_disk_are_those_in_memory(array):
    memory, disk = load(array), load(array, reading={"on_disk": True})
    assert isinstance(disk.train.values, OnDisk) and disk.card.sizes == memory.card.sizes
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(disk, part).values[:], getattr(memory, part).values)
    both = joined([disk.test, disk.train])
    assert isinstance(both.values, OnDisk) and np.array_equal(both.values[:6], memory.test.values)
    assert np.array_equal(take(disk.train, [3, 1]).values[:], memory.train.values[[3, 1]])
    assert np.array_equal(sampled(disk).test.values, memory.test.values)


def test_measures_take_a_sample_of_stated_size(array, monkeypatch):
    monkeypatch.setattr(on_disk, "SAMPLE", 100)
    monkeypatch.setattr(on_disk, "FEWEST", 20)
    data = load(array, reading={"on_disk": True})
    small = sampled(data, seed=1)
    assert small.card.facts["sampled"] == {"train": [20, 48], "validation": [6, 6], "test": [6, 6]}
    assert np.array_equal(small.train.values, sampled(data, seed=1).train.values)
    assert not np.array_equal(small.train.values, sampled(data, seed=2).train.values)
    assert small.card.hash == data.card.hash


def test_large_files_stay_on_the_disk(array, monkeypatch):
    assert isinstance(load(array).train.values, np.ndarray)
    monkeypatch.setattr(on_disk, "LARGE", 1000)
    assert isinstance(load(array).train.values, OnDisk)


def test_training_from_the_disk_is_bit_equal(array, tmp_path):
    runs = [pofx.fit(array, "made", steps=12, on_disk=where, **SMALL) for where in (False, True)]
    a, b = (run.model.state_dict() for run in runs)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert runs[1].sample(2).shape == (2, 4, 5)


def test_a_resumed_run_from_the_disk_equals_the_uninterrupted_one(array, tmp_path):
    options = {**SMALL, "on_disk": True, "flip": True, "shift": 1}
    whole_run = pofx.fit(array, "made", steps=10, out=tmp_path / "a", **options)

    def stop(p):
        if p.step >= 5 and p.phase == "training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pofx.fit(array, "made", steps=10, out=tmp_path / "b", **{**options, "progress": stop})
    resumed = pofx.fit(out=tmp_path / "b", resume=True, progress=False)
    a, b = whole_run.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_folders_of_pictures_are_read_when_needed(tmp_path):
    for i, pixels in enumerate(PIXELS[:12]):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "ab"[i % 2] / f"{i:02d}.png")
    disk, memory = whole(tmp_path, reading={"on_disk": True}), whole(tmp_path)
    assert isinstance(disk.values, OnDisk) and np.array_equal(disk.values[:], memory.values)
    assert np.array_equal(disk.labels, memory.labels)
    scaled = whole(tmp_path, reading={"on_disk": True, "size": 3, "grey": False})
    assert scaled.values.shape == (12, 3, 3, 3) and scaled.values[4].shape == (3, 3, 3)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a" / "zz.png")
    with pytest.raises(DataError, match="differ in size"):
        whole(tmp_path, reading={"on_disk": True})


def test_floats_and_channels_first_stay_on_the_disk(tmp_path):
    x = np.random.default_rng(1).integers(0, 256, (20, 3, 6, 6), dtype=np.uint8)
    np.save(tmp_path / "x.npy", (x / 255).astype(np.float32))
    items = whole(tmp_path / "x.npy", reading={"on_disk": True})
    assert items.values.dtype == np.uint8 and np.array_equal(items.values[:], np.moveaxis(x, 1, -1))


def test_token_files_are_windows(tmp_path):
    stream = np.random.default_rng(2).integers(0, 11, 1000).astype(np.uint16)
    np.save(tmp_path / "t.npy", stream)
    for where in (True, False):
        items = whole(tmp_path / "t.npy", reading={"window": 16, "on_disk": where})
        assert items.kind == "tokens" and items.values.shape == (62, 16) and items.facts["classes"] == 11
        assert np.array_equal(items.values[:].ravel(), stream[:992])
    run = pofx.fit(
        str(tmp_path / "t.npy"), "gpt", steps=2, window=16, on_disk=True, **{**SMALL, "heads": 2, "layers": 1}
    )
    assert run.sample(2).shape == (2, 16)
    with pytest.raises(DataError, match="window=128"):
        whole(tmp_path / "t.npy")


def test_a_torch_data_set_stays_where_it_is():
    x = torch.from_numpy(PIXELS[:, None]).float() / 255
    items = whole(torch.utils.data.TensorDataset(x), reading={"on_disk": True})
    assert isinstance(items.values, OnDisk) and np.array_equal(items.values[:], PIXELS)


def test_what_cannot_stay_is_said(tmp_path):
    np.save(tmp_path / "p.npy", np.zeros((9, 3)))
    with pytest.raises(UsageError, match="on_disk"):
        whole(tmp_path / "p.npy", reading={"on_disk": True, "kind": "points"})
    np.save(tmp_path / "f.npy", np.asfortranarray(PIXELS))
    with pytest.raises(DataError, match="columns first"):
        whole(tmp_path / "f.npy", reading={"on_disk": True})


# --- augmentation


def raw(n=400):
    return torch.arange(n * 30).remainder(251).to(torch.uint8).reshape(n, 1, 5, 6)


def test_augmentation_is_off_by_default_and_belongs_to_the_position():
    assert torch.equal(Augmentation()(raw(), Streams(0, 400)), raw())
    change = Augmentation(flip=True, shift=2, rotate=20, zoom=0.7)
    together = change(raw(), Streams(0, 400))
    apart = torch.cat([change(raw()[i : i + 100], Streams(0, 100, first=i)) for i in range(0, 400, 100)])
    assert torch.equal(together, apart) and not torch.equal(together, raw())


def test_flips_and_shifts_are_what_they_are_called():
    x = raw()
    flipped = Augmentation(flip=True)(x, Streams(0, 400))
    same = (flipped == x).flatten(1).all(1)
    assert torch.equal(flipped[~same], x[~same].flip(-1)) and 150 < int(same.sum()) < 250
    moved = Augmentation(shift=1)(x, Streams(0, 400))
    inner = moved[:, 0, 2, 3].long()
    near = torch.stack([x[:, 0, 2 + dy, 3 + dx].long() for dy in (-1, 0, 1) for dx in (-1, 0, 1)], 1)
    hit = near == inner[:, None]
    assert hit.any(1).all() and (hit.float().mean(0) > 0.05).all()
    half = Augmentation(rotate=180)(x, Streams(1, 400))
    assert set(half[0].flatten().tolist()) <= set(x[0].flatten().tolist())


@pytest.mark.parametrize(
    "bad", [{"flip": 2}, {"shift": -1}, {"shift": 1.5}, {"rotate": 200}, {"zoom": 0}, {"zoom": "a"}]
)
def test_values_out_of_range_are_refused(bad):
    with pytest.raises(UsageError, match="must be"):
        Augmentation(**bad)


def test_augmentation_is_for_images():
    with pytest.raises(UsageError, match="change images"):
        pofx.fit("moons", "gmm", steps=1, flip=True, progress=False)
