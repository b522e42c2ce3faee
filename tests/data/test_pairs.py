"""Pairs of images: two folders by name or in order, halves side by side, sets of unequal size."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import pofx
from pofx.cli.main import app
from pofx.cli.output import as_pictures
from pofx.conditioned import pictures_of_codes
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.data.sources import load
from pofx.evaluate.provenance import differences, trained_on


def write(folder, arrays, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{names[i] if names else i:03d}.png")


@pytest.fixture
def sides():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, 6, 8), dtype=np.uint8), rng.integers(0, 256, (40, 6, 8), dtype=np.uint8)


def test_folders_are_paired_by_name_and_halves_by_side(tmp_path, sides):
    a, b = sides
    write(tmp_path / "two" / "A", a)
    write(tmp_path / "two" / "B", b)
    items = pofx.pairs(tmp_path / "two")
    assert np.array_equal(items.values, b) and np.array_equal(items.condition.values, a)
    turned = pofx.pairs(tmp_path / "two", "B")
    assert np.array_equal(turned.values, a) and np.array_equal(turned.condition.values, b)
    write(tmp_path / "one", np.concatenate((a, b), 2))
    beside = pofx.pairs(tmp_path / "one", "left")
    assert np.array_equal(beside.values, b) and np.array_equal(beside.condition.values, a)
    data = load(tmp_path / "two", condition="A")
    whole = {v.tobytes(): c.tobytes() for v, c in zip(b, a, strict=True)}
    for split in data.splits().values():
        assert all(whole[v.tobytes()] == c.tobytes() for v, c in zip(split.values, split.condition.values, strict=True))


def test_sets_of_unequal_size_are_repeated_in_turn(tmp_path, sides):
    a, b = sides
    write(tmp_path / "A", a[:5])
    write(tmp_path / "B", b[:12])
    items = pofx.pairs(tmp_path)
    assert len(items) == len(items.condition) == 12
    assert np.array_equal(items.condition.values[5:10], a[:5])


def test_files_of_one_name_are_pairs_whatever_else_lies_beside_them(tmp_path, sides):
    a, b = sides
    write(tmp_path / "A", a[:20])
    write(tmp_path / "B", b[:20], names=range(2, 22))
    with pytest.warns(UserWarning, match="have 18 names in common: pictures of other names are left out"):
        items = pofx.pairs(tmp_path)
    assert np.array_equal(items.values, b[:18]) and np.array_equal(items.condition.values, a[2:20])
    write(tmp_path / "few" / "A", a[:4])
    write(tmp_path / "few" / "B", b[:6], names=(8, 3, 9, 10, 2, 7))  # in the order of names: b[4], b[1], b[5], b[0], …
    with pytest.warns(UserWarning, match="put together in order"):
        items = pofx.pairs(tmp_path / "few")
    assert np.array_equal(items.values, b[[4, 1, 5, 0, 2, 3]])
    assert np.array_equal(items.condition.values, a[[2, 3, 0, 1, 0, 1]])


def test_the_inputs_may_lie_in_a_folder_anywhere(tmp_path, sides, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a, b = sides
    write(tmp_path / "B", b)
    write(tmp_path / "of photos" / "in", a)
    items = load("B", condition="of photos/in").train
    whole = {v.tobytes(): c.tobytes() for v, c in zip(b, a, strict=True)}
    assert all(whole[v.tobytes()] == c.tobytes() for v, c in zip(items.values, items.condition.values, strict=True))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"has no folder 'empty' of pictures \(its folders: none\)"):
        load("B", condition="empty")


def test_wrong_folders_are_named(tmp_path, sides):
    a, _ = sides
    write(tmp_path / "A", a[:3])
    with pytest.raises(UsageError, match="one other"):
        pofx.pairs(tmp_path)
    write(tmp_path / "odd", a[:3, :, :7])
    with pytest.raises(DataError, match="even width"):
        pofx.pairs(tmp_path / "odd", "left")


def test_a_translation_is_trained_from_folders_and_drawn_for_new_images(tmp_path, sides):
    a, b = sides
    write(tmp_path / "data" / "A", a)
    write(tmp_path / "data" / "B", b)
    for name in ("pix2pix", "cyclegan"):
        run = pofx.fit(tmp_path / "data", name, steps=2, condition="A", width=16, out=tmp_path / name, progress=False)
        drawn = pofx.load(tmp_path / name).sample(3, condition=a[:3])
        assert drawn.shape == (3, 6, 8) and np.array_equal(drawn, run.sample(3, condition=a[:3]))


def test_a_translation_at_the_command_line_reads_folders_and_writes_both_directions(tmp_path, sides, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a, b = sides
    write(tmp_path / "data" / "A", a)
    write(tmp_path / "data" / "B", b)
    write(tmp_path / "new", a[:3])
    run = pofx.fit("data", "cyclegan", steps=1, condition="A", width=16, out="cycle", progress=False)
    assert differences(run, trained_on(run)) == []  # its folders are read again as they were
    assert run.card["training"]["condition"] == "A"
    calls = {
        "sample cycle --condition new --out there": (0, "3 samples"),
        "sample cycle --condition new -n 5 --out five": (0, "5 samples"),
        "encode cycle data/B --out back.png": (0, "40 codes"),
        "encode cycle data/B --out back.npz": (0, "40 codes"),
        "decode cycle back.npz --out forth.png": (0, "40 items"),
        "sample cycle --condition new -n 3 --beside --out beside.png": (0, "3 samples"),
        "sample cycle --beside --out beside2.png": (1, "--beside shows the pictures of --condition"),
        "sample cycle --condition nothing": (1, "no file or folder nothing"),
    }
    for call, (code, line) in calls.items():
        done = CliRunner().invoke(app, call.split())
        assert done.exit_code == code and line in done.output + str(done.exception), (call, done.output, done.exception)
    assert len(list((tmp_path / "there").glob("*.png"))) == 3
    assert Image.open("beside.png").size[0] > 3 * Image.open("beside.png").size[1]  # three pairs in a line
    write(tmp_path / "large", [np.zeros((30, 20), np.uint8), np.zeros((9, 9), np.uint8)])
    with pytest.warns(UserWarning, match="made 6 x 8, grey"):
        done = CliRunner().invoke(app, ["sample", "cycle", "--condition", "large", "--out", "of large"])
    assert done.exit_code == 0 and len(list((tmp_path / "of large").glob("*.png"))) == 2
    z = run.encode(b[:3])
    assert z.shape == (3, 1, 6, 8) and run.decode(z).shape == (3, 6, 8)
    paired = pofx.fit("data", "pix2pix", steps=1, condition="A", width=16, progress=False)
    with pytest.raises(Unsupported, match="one per item"):
        paired.encode(b[:3])
    with pytest.raises(UsageError, match="no pictures"):
        pictures_of_codes(paired, np.zeros((1, paired.model.code.shape[0]), np.float32))


def test_inputs_beside_what_is_drawn_have_its_sides_channels_and_levels():
    grey = pofx.images(np.array([[[0, 4], [4, 0]]], np.uint8), levels=5)
    drawn = pofx.images(np.zeros((1, 4, 4, 3), np.uint8), levels=17)
    shown = as_pictures(grey, drawn)
    assert shown.shape == (1, 4, 4, 3) and shown.dtype == np.uint8 and shown.max() == 16 and shown[0, 0, 0].max() < 3
    back = as_pictures(drawn, grey)
    assert back.shape == (1, 2, 2) and back.max() == 0
