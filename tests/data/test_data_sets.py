"""🤗 Datasets and torch Datasets as their owners have them: what is read, and what is refused in words."""

import io
import wave

import numpy as np
import pytest
import torch
from PIL import Image

import pofx
from pofx.core.errors import DataError, PofxError, UsageError
from pofx.data.on_disk import OnDisk
from pofx.data.sources import load, whole

hf = pytest.importorskip("datasets", reason="needs the library datasets")

N = 24
RNG = np.random.default_rng(0)
LABELS = [0, 1, 2] * (N // 3)
CLASSES = hf.ClassLabel(names=["cat", "dog", "owl"])
TYPES = {"image": hf.Image(), "mask": hf.Image(), "label": CLASSES, "kind": CLASSES, "text": hf.Value("string")}


def grey(side=6):
    return Image.fromarray(RNG.integers(0, 256, (side, side)).astype(np.uint8))


def colour():
    return Image.fromarray(RNG.integers(0, 256, (6, 6, 3)).astype(np.uint8))


def deep():
    return Image.fromarray(RNG.integers(0, 65536, (6, 6)).astype(np.uint16))


def sound():
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes((RNG.normal(size=400) * 3000).astype("<i2").tobytes())
    return file.getvalue()


def rows(types=None, **columns):
    known = {c: {**TYPES, **(types or {})}[c] for c in columns if c in TYPES or c in (types or {})}
    made = hf.Dataset.from_dict({c: list(v) for c, v in columns.items()}, features=None)
    if set(known) == set(columns):
        return hf.Dataset.from_dict({c: list(v) for c, v in columns.items()}, features=hf.Features(known))
    return made


class Map(torch.utils.data.Dataset):
    def __init__(self, item):
        self.item = item

    def __len__(self):
        return N

    def __getitem__(self, i):
        return self.item(i)


def pictures(**more):
    return rows(image=[grey() for _ in range(N)], label=LABELS, **more)


def vectors():
    return {"a": RNG.normal(size=N).tolist(), "b": RNG.normal(size=N).tolist()}


def columns(form, names=None):
    return hf.Dataset.from_dict(vectors()).with_format(form, columns=names)


def array(feature, shape, high=256):
    return rows({"m": feature}, m=RNG.integers(0, high, (N, *shape)).tolist(), label=LABELS)


READ = {
    "pictures": (pictures, "image", (6, 6), True),
    "grey and colour": (lambda: rows(image=[colour() if i == 20 else grey() for i in range(N)]), "image", (6, 6, 3), 0),
    "undecoded": (lambda: pictures().cast_column("image", hf.Image(decode=False)), "image", (6, 6), True),
    "format torch": (lambda: pictures().with_format("torch"), "image", (6, 6), True),
    "format numpy": (lambda: pictures().with_format("numpy"), "image", (6, 6), True),
    "chosen columns": (lambda: pictures().with_format(columns=["image"]), "image", (6, 6), False),
    "chosen of a table": (lambda: columns("torch", ["a"]), "table", (1,), False),
    "format pandas": (lambda: columns("pandas"), "table", (2,), False),
    "format arrow": (lambda: rows(text=["ab", "cd"] * 12, label=LABELS).with_format("arrow"), "text", None, True),
    "transform": (
        lambda: pictures().with_transform(
            lambda b: {"pixel_values": [np.asarray(x) for x in b["image"]], "labels": b["label"]}
        ),
        "image",
        (6, 6),
        None,
    ),
    "column of pictures": (lambda: pictures()["image"], "image", (6, 6), False),
    "column of texts": (lambda: rows(text=["ab", "cd"] * 12)["text"], "text", None, False),
    "column of numbers": (lambda: columns(None)["a"], "table", (1,), False),
    "only training": (lambda: hf.DatasetDict({"train": pictures()}), "image", (6, 6), True),
    "Array2D": (lambda: array(hf.Array2D((4, 4), "uint8"), (4, 4)), "image", (4, 4), True),
    "Array3D": (lambda: array(hf.Array3D((3, 5, 5), "uint8"), (3, 5, 5)), "image", (5, 5, 3), True),
    "vectors": (lambda: array(hf.List(hf.Value("float32"), 5), (5,)), "points", (5,), True),
    "tokens": (lambda: array(hf.List(hf.Value("int64"), 5), (5,), 9), "tokens", (5,), True),
    "all unknown": (lambda: rows(image=[grey() for _ in range(N)], label=[-1] * N), "image", (6, 6), False),
    "torch text": (lambda: Map(lambda i: {"text": f"ab{i % 3}", "label": i % 2}), "text", None, None),
    "torch pixels": (
        lambda: Map(lambda i: {"pixel_values": torch.zeros(3, 4, 4), "labels": i % 2}), "image", (4, 4, 3), None
    ),
    "torch pictures": (lambda: Map(lambda i: {"image": grey(), "label": "ab"[i % 2]}), "image", (6, 6), None),
    "torch tokens": (lambda: Map(lambda i: {"input_ids": torch.arange(5)}), "tokens", (5,), False),
    "one-hot": (lambda: Map(lambda i: (torch.zeros(1, 4, 4), torch.eye(3)[i % 3])), "image", (4, 4), None),
    "loader": (lambda: torch.utils.data.DataLoader(Map(lambda i: (colour(), i % 3))), "image", (6, 6, 3), None),
    "list of mappings": (lambda: [{"image": grey(), "label": "ab"[i % 2]} for i in range(N)], "image", (6, 6), None),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", READ)
def test_data_sets_are_read_as_they_are(name):
    """labelled: True by the names of the classes, None by others, False not at all."""
    make, kind, shape, labelled = READ[name]
    found = load(make())
    assert found.card.kind == kind and sum(found.card.sizes.values()) == N
    assert shape is None or found.train.values.shape[1:] == shape
    assert (found.train.labels is None) == (labelled in (False, 0))
    if labelled is True:
        assert found.train.facts["label_names"] == CLASSES.names


REFUSED = {
    "16 bits": (lambda: rows(image=[deep() for _ in range(N)], label=LABELS), "more than 8 bits"),
    "16 bits in one row": (lambda: rows(image=[deep() if i == 20 else grey() for i in range(N)]), "row 20.*8 bits"),
    "16 bits in torch": (lambda: Map(lambda i: (deep(), 1)), "more than 8 bits"),
    "16 bits in a list": (lambda: [deep() for _ in range(N)], "more than 8 bits"),
    "floats as pictures": (lambda: [Image.fromarray(np.ones((4, 4), np.float32))] * N, "more than 8 bits"),
    "sizes": (lambda: rows(image=[grey(6 + i % 2) for i in range(N)]), "row 0 is 6 x 6.*size="),
    "some unknown": (lambda: rows(image=[grey() for _ in range(N)], label=[-1, *LABELS[1:]]), "-1.*unknown class"),
    "unknown of texts": (lambda: rows(text=["ab"] * N, label=[0, -1, *LABELS[2:]]), "the first: 1"),
    "missing label": (lambda: rows(image=[grey() for _ in range(N)], label=[None, *LABELS[1:]]), "got None"),
    "mapping label": (
        lambda: rows({"label": {"box": hf.Value("int64")}}, text=["a"] * N, label=[{"box": 1}] * N),
        "got dict",
    ),
    "several labels": (
        lambda: rows({"label": hf.List(CLASSES)}, text=["a"] * N, label=[[0, 1]] * N),
        "one class a row",
    ),
    "missing picture": (lambda: rows(image=[None if i == 3 else grey() for i in range(N)]), "row 3.*got None"),
    "missing first": (lambda: rows(image=[None if i == 0 else grey() for i in range(N)]), "row 0.*got None"),
    "missing text": (lambda: rows(text=[None if i == 3 else "ab" for i in range(N)]), "row 3.*got None"),
    "nested": (lambda: hf.Dataset.from_dict({"t": [{"a": 1}] * N, "b": [1.0] * N}), r"t \(dict\).*drop"),
    "words": (lambda: hf.Dataset.from_dict({"t": [["a", "b"]] * N, "b": [1.0] * N}), r"t \(lists of string\)"),
    "arrays in a table": (lambda: hf.Dataset.from_dict({"t": [[1, 2]] * N, "b": [1.0] * N}), r"t \(array\)"),
    "ragged": (lambda: hf.Dataset.from_dict({"input_ids": [[1] * (1 + i % 3) for i in range(N)]}), "differ in shape"),
    "only test": (lambda: hf.DatasetDict({"test": pictures()}), r"data\['test'\]"),
    "no splits": (lambda: hf.DatasetDict({}), "no splits"),
    "stream": (lambda: pictures().to_iterable_dataset(), "without random access"),
    "no rows": (lambda: hf.Dataset.from_dict({"text": []}), "empty"),
    "torch None": (lambda: Map(lambda i: None if i == 5 else (grey(), 1)), "item 5.*None"),
    "torch None picture": (lambda: Map(lambda i: (None if i == 5 else grey(), 1)), "item 5.*None"),
    "torch None label": (lambda: Map(lambda i: (grey(), None if i == 5 else 1)), "no label"),
    "torch mapping label": (lambda: Map(lambda i: (grey(), {"boxes": torch.ones(1, 4)})), "got dict"),
    "torch vector label": (lambda: Map(lambda i: (grey(), torch.randn(2))), "one label per item"),
    "torch ragged label": (lambda: Map(lambda i: (grey(), torch.ones(1 + i % 2, 4))), "shapes that differ"),
    "torch three": (lambda: Map(lambda i: (grey(), 1, 2)), "3 values"),
    "torch keys": (lambda: Map(lambda i: {"a": 1.0} if i else {"b": 1.0}), "must yield mappings"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_data_sets_that_cannot_be_read_are_refused_in_words(name):
    make, words = REFUSED[name]
    with pytest.raises(PofxError, match=f"(?s){words}"):
        load(make())


def test_classes_of_tables_have_names_and_unknown_ones_are_missing():
    data = rows({"a": hf.Value("float32")}, a=RNG.normal(size=N).tolist(), kind=[-1, *LABELS[1:]])
    frame = whole(data).values
    assert frame["kind"].isna().tolist() == [True, *[False] * (N - 1)] and frame["a"].dtype == np.float32
    assert set(frame["kind"].dropna()) == {"cat", "dog", "owl"}


def test_columns_condition_and_others_are_left_out_with_a_warning():
    data = pictures(text=[f"a b {i}" for i in range(N)], mask=[grey() for _ in range(N)])
    with pytest.warns(UserWarning, match="left out: text, mask"):
        assert load(data).train.condition is None
    with pytest.warns(UserWarning, match="left out: mask"):
        assert load(data, condition="text").train.condition.kind == "text"
    with pytest.warns(UserWarning, match="left out: text"):
        assert load(data, condition="mask").train.condition.values.shape[1:] == (6, 6)
    with pytest.raises(UsageError, match="unknown column"):
        load(data, condition="txt")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_splits_that_are_none_of_three_are_left_out():
    parts = hf.DatasetDict({k: rows(text=["ab", "cd"] * 12) for k in ("train", "test", "unsupervised")})
    with pytest.warns(UserWarning, match="unsupervised"):
        assert load(parts).card.sizes["test"] == N


def test_pictures_of_columns_stay_on_the_disk_and_are_what_files_are(tmp_path):
    turned = colour().resize((6, 3))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "a.jpg", exif=exif)
    data = rows(image=[str(tmp_path / "a.jpg")] * N)
    from_disk = whole(data, reading={"on_disk": True}).values
    assert isinstance(from_disk, OnDisk) and np.array_equal(from_disk[:], whole(tmp_path / "a.jpg").values.repeat(N, 0))
    opened = [Image.open(tmp_path / "a.jpg") for _ in range(N)]  # turned alike
    assert np.array_equal(whole(opened).values, from_disk[:])
    assert whole(opened, reading={"size": 4}).values.shape == (N, 4, 4, 3)


def test_recordings_of_a_column_are_read():
    made = hf.Dataset.from_dict({"audio": [{"bytes": sound(), "path": f"{i}.wav"} for i in range(N)], "label": LABELS})
    for decode in (False, True):
        found = whole(made.cast_column("audio", hf.Audio(decode=decode)), reading={"rate": 4000})
        assert found.kind == "audio" and found.facts["rate"] == 4000 and len(found.values[0]) == 200
        assert found.labels is not None


def test_runs_take_data_sets_as_fit_does():
    data = pictures()
    run = pofx.fit(data, "made", steps=1, width=8, condition="label", progress=False)
    plain = np.stack([np.asarray(x) for x in data["image"]])
    scored = run.log_prob(data)
    assert np.allclose(scored, run.log_prob(plain, condition=[CLASSES.names[k] for k in LABELS]))
    assert np.allclose(scored, run.log_prob(list(data["image"]), condition=[CLASSES.names[k] for k in LABELS]))
    numbers = columns("torch")
    table = pofx.fit(numbers, "gmm", steps=1, progress=False)
    assert np.allclose(table.log_prob(numbers), table.log_prob(numbers.with_format(None).to_pandas()))


def test_palettes_are_colours_where_a_torch_data_set_stays_where_it_is():
    shown = colour().convert("P")
    found = whole(Map(lambda i: (shown, 0)), reading={"on_disk": True}).values[:2]
    assert np.array_equal(found[0], np.asarray(shown.convert("RGB")))
    with pytest.raises(DataError, match="8 bits"):
        whole(Map(lambda i: (deep(), 0)), reading={"on_disk": True})
