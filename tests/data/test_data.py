"""Data: sources yield what they say, splits are fixed and counted, densities are true, bad input is refused."""

import io
import math
import os
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.integrate import dblquad

from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.data import densities, overlap, shapes
from pofx.data.dataset import Card, dataset, split, take
from pofx.data.kinds.image import images
from pofx.data.kinds.points import points
from pofx.data.kinds.table import table
from pofx.data.kinds.tokens import tokens
from pofx.data.sources import catalogue, load, whole

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (30, 6, 5), dtype=np.uint8)


# --- splits and cards


def test_digits_have_a_fixed_stratified_split():
    one, two = load("digits"), load("digits")
    assert one.card == two.card and one.card.sizes == {"train": 1437, "validation": 180, "test": 180}
    assert one.train.values.dtype == np.uint8 and one.train.values.max() == 16 and one.card.facts["levels"] == 17
    assert (np.bincount(one.test.labels) >= 17).all() and (np.bincount(one.validation.labels) >= 17).all()
    assert load("digits", seed=1).card.hash != one.card.hash
    assert load(one) is one


def test_every_item_is_in_exactly_one_split():
    x = points(np.arange(101.0)[:, None])
    parts = split(x, "line").splits().values()
    assert np.array_equal(np.sort(np.concatenate([p.values[:, 0] for p in parts])), np.arange(101))


def test_split_does_not_depend_on_content():
    a = split(points(RNG.normal(size=(50, 2))), "a").test.values
    b = split(points(np.stack([np.arange(50.0)] * 2, 1)), "b").test.values
    x = np.stack([np.arange(50.0)] * 2, 1)
    c = split(points(x * 3), "c").test.values
    assert np.array_equal(b * 3, c) and len(a) == len(b)


def test_card_survives_json():
    import json

    card = load("digits").card
    assert Card.from_json(json.loads(json.dumps(card.to_json()))) == card


def test_hash_sees_values_labels_and_order():
    x, y = RNG.integers(0, 4, (20, 2, 2)), np.arange(20) % 2
    hashes = {
        split(images(v, 4, labels=w), "x").card.hash for v, w in ((x, y), (x[::-1], y), (x, 1 - y), (x + 0, y.copy()))
    }
    assert len(hashes) == 3


@pytest.mark.parametrize("kind", ["image", "points", "tokens"])
def test_copies_between_splits_are_counted(kind):
    if kind == "tokens":
        make = lambda n: tokens(["".join(RNG.choice(list("abcdef"), 12)) for _ in range(n)])  # noqa: E731
    elif kind == "image":
        make = lambda n: images(RNG.integers(0, 256, (n, 6, 6)))  # noqa: E731
    else:
        make = lambda n: points(RNG.normal(size=(n, 5)))  # noqa: E731
    train, validation, test = make(300), make(50), make(50)
    copied = list(range(7))
    if kind == "tokens":
        test.values[:7] = train.values[:7]
    else:
        test.values[:7] = take(train, copied).values
    card = dataset(train, validation, test, "x", source="", licence="").card
    assert card.facts["exact_duplicates"] == {"train-validation": 0, "train-test": 7, "validation-test": 0}
    assert card.near_duplicates["train-test"] == 7 and card.near_duplicates["train-validation"] == 0


def test_near_copies_are_found_where_exact_ones_are_not():
    train, validation, test = (images(RNG.integers(2, 254, (n, 8, 8))) for n in (400, 40, 40))
    test.values[:5] = train.values[:5] + RNG.integers(-2, 3, (5, 8, 8)).astype(np.int8).view(np.uint8)
    card = dataset(train, validation, test, "x", source="", licence="").card
    assert card.facts["exact_duplicates"]["train-test"] == 0 and card.near_duplicates["train-test"] == 5


@pytest.mark.parametrize("where", ["train", "test"])
def test_near_copies_are_counted_where_numbers_are_missing(where):
    rng, parts = np.random.default_rng(0), {}
    for part, n in (("train", 200), ("validation", 50), ("test", 50)):
        parts[part] = pd.DataFrame(rng.normal(size=(n, 3)), columns=list("abc"))
    parts[where].iloc[:10, 1] = np.nan
    parts["test"].iloc[20] = parts["train"].iloc[20] + 1e-7
    _, near, _ = overlap.overlaps({part: Items("table", rows) for part, rows in parts.items()})
    assert near == {"train-validation": 0, "train-test": 1, "validation-test": 0}


def test_independent_points_of_the_plane_are_no_near_copies():
    x = RNG.normal(size=(6000, 2))
    assert split(points(x), "x").card.near_duplicates["train-test"] <= 3


@pytest.mark.parametrize("dims", [12, 150])
def test_near_copies_listed_by_a_tree_and_found_by_products_are_the_same(dims, monkeypatch):
    a, b = RNG.normal(size=(900, dims)).astype(np.float32), RNG.normal(size=(80, dims)).astype(np.float32)
    b[:9] = a[:9] + 1e-3
    axes, radius = (
        overlap._axes(a),
        1.0001 * float(np.sort(np.linalg.norm(a[:, None] - b[None, 9:], axis=2).min(0))[30]),
    )
    truth = int((np.linalg.norm(a[:, None] - b[None], axis=2).min(0) <= radius).sum())
    found = []
    for most in (0, 10**9):
        monkeypatch.setattr(overlap, "CANDIDATES", most)
        found.append(overlap._near(a, a @ axes, b, b @ axes, radius))
    assert found == [truth, truth] and 9 < truth < 80


def test_take_keeps_kind_labels_and_frames():
    items = table(pd.DataFrame({"a": [1, 2, 3]}), labels=["x", "y", "x"])
    taken = take(items, [2, 0])
    assert taken.values["a"].tolist() == [3, 1] and taken.labels.tolist() == [0, 0] and taken.facts == items.facts
    assert take(tokens(["a", "b", "c"]), np.array([True, False, True])).values == ["a", "c"]


# --- built-in sets


def test_catalogue_lists_every_built_in():
    rows = {row["name"]: row for row in catalogue()}
    named = {"digits", "shapes", "captioned-shapes", "mnist", "fashion-mnist", "cifar10", "spoken-digits"}
    named |= {"moving-digits", "moving-sprites"}
    assert {*named, *densities.TRUTHS} == set(rows)
    assert rows["mnist"]["download"] and not rows["digits"]["download"] and all(row["summary"] for row in rows.values())


@pytest.mark.parametrize("name", densities.TRUTHS)
def test_densities_integrate_to_one_and_match_their_draws(name):
    truth, x = densities.truth(name), load(name).test.values
    log_p = truth.log_prob(x)
    assert abs(-log_p.mean() - truth.entropy) < 4 * max(log_p.std(), 1e-6) / math.sqrt(len(x))
    step = 0.05
    at = (np.arange(360) - 179.5) * step
    grid = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)
    near = grid[(np.abs(grid) < 4.5).all(1)] if name in ("spirals", "moons") else grid
    assert np.exp(truth.log_prob(near)).sum() * step**2 == pytest.approx(1, abs=2e-3)


def test_entropy_of_gaussians8_by_another_route():
    truth = densities.truth("gaussians8")
    apart = math.log(8) + math.log(2 * math.pi * math.e / 8)
    assert truth.entropy == pytest.approx(apart, abs=0.02) and truth.entropy < apart
    assert densities.truth("checkerboard").entropy == pytest.approx(math.log(32))
    one = densities.Mixture(np.ones(1), np.zeros((1, 2)), np.array([[[2.0, 0.6], [0.6, 0.5]]]), np.zeros(1))
    assert one.entropy == pytest.approx(math.log(2 * math.pi * math.e) + 0.5 * math.log(2 * 0.5 - 0.36), abs=1e-9)


def test_rings_log_prob_by_quadrature():
    ring = densities.Rings((1.0,), 0.5)
    total, _ = dblquad(lambda y, x: math.exp(ring.log_prob(np.array([[x, y]]))[0]), -4, 4, -4, 4, epsabs=1e-3)
    assert total == pytest.approx(1, abs=1e-3)


def test_shapes_are_what_their_factors_say():
    data, values = load("shapes"), shapes.factors("test")
    assert np.array_equal(data.test.values, shapes.render(values)) and np.array_equal(data.test.labels, values[:, 0])
    assert data.card.facts["label_names"] == ["square", "ellipse", "heart"] and data.train.values.max() == 4
    moved = shapes.render(np.array([[0, 3, 0, 0, 15], [0, 3, 0, 31, 15]])).astype(float)
    column = (moved.sum(1) * np.arange(32)).sum(1) / moved.sum((1, 2))
    assert column[1] - column[0] == pytest.approx(0.84 * 16, abs=0.5)
    edges = data.train.values
    assert edges[:, 0].max() <= 4 and (edges.reshape(len(edges), -1).max(1) == 4).all()


@pytest.mark.skipif("POFX_DATA" not in os.environ, reason="POFX_DATA names no folder of data")
def test_mnist_keeps_the_official_split():
    data = load("mnist")
    assert data.card.sizes == {"train": 55_000, "validation": 5_000, "test": 10_000}
    assert data.test.labels[:5].tolist() != [] and data.train.values.shape == (55_000, 28, 28)
    assert data.card.facts["levels"] == 256 and data.card.facts["label_names"] == list("0123456789")


def test_a_named_set_without_data_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("POFX_DATA", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(DataError, match=r"pofx\[datasets\].*mnist.npz"):
        load("mnist")


# --- files and objects


def png(array) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def test_npz_and_npy(tmp_path):
    np.savez(tmp_path / "a.npz", x=PICTURES, y=np.arange(30) % 3)
    data = load(str(tmp_path / "a.npz"))
    assert data.train.kind == "image" and data.card.sizes["train"] == 24 and data.card.facts["levels"] == 256
    np.savez(tmp_path / "b.npz", x_train=PICTURES[:20], y_train=np.zeros(20), x_test=PICTURES[20:], y_test=np.ones(10))
    data = load(tmp_path / "b.npz")
    assert np.array_equal(data.test.values, PICTURES[20:]) and np.array_equal(data.validation.values, PICTURES[18:20])
    np.save(tmp_path / "c.npy", RNG.normal(size=(40, 3)))
    assert load(tmp_path / "c.npy").train.kind == "table"
    np.savez(tmp_path / "d.npz", X=RNG.normal(size=(40, 3)), y=np.arange(40) % 2)
    assert load(tmp_path / "d.npz").train.labels is not None


def test_folder_and_zip_of_pictures(tmp_path):
    for i, array in enumerate(PICTURES):
        folder = tmp_path / "set" / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:03}.png").write_bytes(png(array))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for path in sorted((tmp_path / "set").rglob("*.png")):
            file.write(path, path.relative_to(tmp_path / "set"))
    one, two = load(tmp_path / "set"), load(tmp_path / "set.zip")
    assert one.card.hash == two.card.hash and one.card.facts["label_names"] == ["cat", "dog"]
    assert one.train.values.shape[1:] == (6, 5)
    (tmp_path / "set" / "cat" / "colour.png").write_bytes(png(np.stack([PICTURES[0]] * 3, -1)))
    assert load(tmp_path / "set").train.values.shape[1:] == (6, 5, 3)


def test_tables_from_files_and_frames(tmp_path):
    frame = pd.DataFrame({"a": RNG.normal(size=40), "b": np.arange(40), "sex": ["f", "m"] * 20})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    one, two, three = (load(d, label="sex") for d in (tmp_path / "t.csv", tmp_path / "t.parquet", frame))
    assert one.card.hash == two.card.hash == three.card.hash
    assert list(one.train.values.columns) == ["a", "b"] and one.card.facts["label_names"] == ["f", "m"]
    assert load(frame).train.facts["schema"]["sex"] == {"type": "category", "categories": ["f", "m"]}
    with pytest.raises(UsageError, match="did you mean sex"):
        load(frame, label="seks")


def test_text_is_lines_or_pieces(tmp_path):
    (tmp_path / "names.txt").write_text("emma\nolivia\nava\nzoë\n" * 5, encoding="utf-8")
    assert set(load(tmp_path / "names.txt").train.values) <= {"emma", "olivia", "ava", "zoë"}
    (tmp_path / "book.txt").write_text("It was a long line, and it went on and on without an end in sight. " * 40)
    assert {len(v) for v in load(tmp_path / "book.txt").train.values[:-1]} == {64}


def test_torch_datasets():
    x = torch.from_numpy(PICTURES[:, None])
    one = load(torch.utils.data.TensorDataset(x, torch.arange(30) % 3))
    assert one.train.values.shape[1:] == (6, 5) and set(one.train.labels) == {0, 1, 2}
    two = load(torch.utils.data.TensorDataset(x / 255.0))
    assert two.train.values.dtype == np.uint8
    with pytest.raises(DataError, match="256 levels"):
        load(torch.utils.data.TensorDataset(torch.randn(9, 1, 4, 4)))
    assert load(torch.utils.data.TensorDataset(torch.randn(20, 3))).train.kind == "points"


def test_labels_of_every_kind():
    x = RNG.normal(size=(6, 2))
    assert points(x, labels=["b", "a", "b", "a", "b", "a"]).labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert points(x, labels=[2.0, 0, 2, 0, 2, 0]).facts["label_names"] == ["0", "1", "2"]
    assert points(x, labels=[-1, 1, -1, 1, -1, 1]).labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert points(x, labels=[True, False] * 3).labels.tolist() == [1, 0, 1, 0, 1, 0]


def test_whole_keeps_the_order_of_the_file(tmp_path):
    frame = pd.DataFrame({"a": [3.0, 1.0], "y": ["u", "v"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    for data in (tmp_path / "t.csv", str(tmp_path / "t.csv"), frame):
        found = whole(data, label="y")
        assert found.values["a"].tolist() == [3.0, 1.0] and found.labels.tolist() == [0, 1]
    assert len(whole("digits")) == 1797 and len(whole(load("digits"))) == 1797
    np.savez(tmp_path / "b.npz", x_train=PICTURES[:20], x_test=PICTURES[20:])
    assert np.array_equal(whole(tmp_path / "b.npz").values, PICTURES)
    card = load(tmp_path / "b.npz").card
    assert load(card.name).card == card


# --- bad input

BAD = {
    "unknown name": (lambda p: load("digit"), UsageError, "did you mean digits"),
    "missing file": (lambda p: load(str(p / "none.npz")), DataError, "none.npz"),
    "missing path": (lambda p: load(p / "none"), DataError, "none"),
    "empty file": (lambda p: load(write(p / "a.npz", b"")), DataError, "0 bytes"),
    "corrupt npz": (lambda p: load(write(p / "a.npz", b"PK\x03\x04 no zip")), DataError, "damaged"),
    "corrupt npy": (lambda p: load(write(p / "a.npy", b"\x93NUMPY no")), DataError, "damaged|cannot be read"),
    "text as npy": (lambda p: load(write(p / "a.npy", b"hello")), DataError, "a.npy"),
    "pickled npy": (lambda p: load(saved(p, np.array([{}, {}], dtype=object))), DataError, "never unpickled"),
    "no arrays": (lambda p: load(empty_npz(p)), DataError, "no arrays"),
    "corrupt zip": (lambda p: load(write(p / "a.zip", b"PK\x03\x04 broken")), DataError, "zip"),
    "corrupt png": (lambda p: load(write(p / "b" / "x.png", b"\x89PNG no").parent), DataError, "x.png"),
    "cut png": (lambda p: load(write(p / "b" / "x.png", png(PICTURES[0])[:60]).parent), DataError, "x.png"),
    "no pictures": (lambda p: load(write(p / "b" / "x.md", b"#").parent), DataError, "no files of items"),
    "ragged pictures": (lambda p: load(ragged(p)), DataError, "6 x 5"),
    "unknown suffix": (lambda p: load(write(p / "a.xyz", b"1")), DataError, "no reader for .xyz"),
    "empty csv": (lambda p: load(write(p / "a.csv", b"\n")), DataError, "a.csv"),
    "csv header only": (lambda p: load(write(p / "a.csv", b"x,y\n")), DataError, "empty"),
    "csv with inf": (lambda p: load(write(p / "a.csv", b"x,y\n1,2\ninf,4\n5,6\n")), DataError, "not finite"),
    "parquet damage": (lambda p: load(write(p / "a.parquet", b"PAR1xxxx")), DataError, "a.parquet"),
    "empty text": (lambda p: load(write(p / "a.txt", b" \n\n")), DataError, "no text"),
    "not utf-8": (lambda p: load(write(p / "a.txt", b"\xff\xfe\xfa")), DataError, "UTF-8"),
    "label of npz": (lambda p: load(saved_npz(p), label="z"), UsageError, "unknown array"),
    "two items": (lambda p: load(points(np.ones((2, 2)))), DataError, "at least 3"),
    "bare array": (lambda p: load(np.ones((9, 2), int)), UsageError, "pofx.points"),
    "bare tensor": (lambda p: load(torch.ones(9, 2, 3)), UsageError, "pofx.points"),
    "float images": (lambda p: images(np.full((3, 4, 4), 1.5)), DataError, "integer levels"),
    "levels 300": (lambda p: images(PICTURES, levels=300), UsageError, r"2 to 256 \(got 300\)"),
    "level too high": (lambda p: images(PICTURES, levels=17), DataError, "0 to 16"),
    "negative level": (lambda p: images(PICTURES.astype(int) - 1), DataError, "got -1"),
    "channels amid": (lambda p: images(np.ones((5, 8, 3, 8), int)), DataError, "move the channels last"),
    "flat images": (lambda p: images(np.ones((5, 64), int)), DataError, r"\(n, H, W\)"),
    "no images": (lambda p: images(np.ones((0, 8, 8), int)), DataError, "empty"),
    "ragged images": (lambda p: images([np.ones((2, 2), int), np.ones((3, 2), int)]), DataError, "shape"),
    "few labels": (lambda p: images(PICTURES, labels=[1, 2]), DataError, "one label per item"),
    "label fractions": (lambda p: points(np.ones((3, 1)), labels=[0.5, 1, 2]), DataError, "class numbers"),
    "label None": (lambda p: points(np.ones((3, 1)), labels=["a", None, "b"]), DataError, "missing"),
    "nan points": (lambda p: points(np.array([[1.0], [np.nan]])), DataError, "first in row 1"),
    "object points": (lambda p: points(np.array([["a"], [1]], dtype=object)), DataError, "object"),
    "complex points": (lambda p: points(np.ones((2, 2)) * 1j), DataError, "complex"),
    "same columns": (lambda p: table(pd.DataFrame(np.ones((3, 2)), columns=["a", "a"])), DataError, "same name"),
    "mixed tokens": (lambda p: tokens(["a", 1]), DataError, "list of strings"),
    "token range": (lambda p: tokens(np.array([[0, 9]]), classes=4), DataError, "0 to 3"),
}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def saved(p, array):
    np.save(p / "o.npy", array, allow_pickle=True)
    return p / "o.npy"


def saved_npz(p):
    np.savez(p / "a.npz", x=PICTURES, y=np.zeros(30))
    return p / "a.npz"


def empty_npz(p):
    np.savez(p / "e.npz")
    return p / "e.npz"


def ragged(p):
    write(p / "r" / "0.png", png(PICTURES[0]))
    return write(p / "r" / "1.png", png(PICTURES[0].T.copy())).parent


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_words(case, tmp_path):
    act, error, words = BAD[case]
    with pytest.raises(error, match=words):
        act(tmp_path)


def test_stated_splits_share_their_class_numbers(tmp_path):
    x = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    labels = np.array(["a", "b", "c", "a", "b", "c"])
    np.savez(tmp_path / "d.npz", x_train=x, y_train=labels, x_test=x[:2], y_test=labels[1:3])
    found = load(tmp_path / "d.npz")
    assert found.test.labels.tolist() == [1, 2]
    assert found.test.facts["label_names"] == ["a", "b", "c"]
    np.savez(tmp_path / "e.npz", x_train=x, x_test=x[:, :1])
    with pytest.raises(DataError, match="one shape"):
        load(tmp_path / "e.npz")
