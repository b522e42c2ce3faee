"""Files as people have them: what a viewer shows is what is read; what cannot be read is refused."""

import gzip
import io
import os
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import wavfile

import pofx
from pofx.core.errors import DataError, UsageError
from pofx.data.frames import parsed
from pofx.data.sources import load, whole

RNG = np.random.default_rng(0)


def picture(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def grey(height=6, width=6):
    return Image.fromarray(RNG.integers(0, 256, (height, width), dtype=np.uint8))


# --- pictures


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_sixteen_bits_are_refused_in_either_byte_order(tmp_path, order):
    mode = "I;16" if order == "<u2" else "I;16B"
    pixels = RNG.integers(0, 65536, (8, 8)).astype(order).tobytes()
    picture(tmp_path / "a.tif", Image.frombytes(mode, (8, 8), pixels))
    with pytest.raises(DataError, match="8 bits per channel"):
        whole(tmp_path)


@pytest.mark.parametrize("tag", range(1, 9))
def test_pictures_are_turned_as_their_tag_states(tmp_path, tag):
    shown = np.zeros((4, 6), np.uint8)
    shown[0] = 250  # the top row is bright
    undo = {1: (), 2: ("FLIP_LEFT_RIGHT",), 3: ("ROTATE_180",), 4: ("FLIP_TOP_BOTTOM",), 5: ("TRANSPOSE",),
            6: ("ROTATE_90",), 7: ("TRANSVERSE",), 8: ("ROTATE_270",)}  # fmt: skip
    stored = Image.fromarray(shown)
    for turn in undo[tag]:
        stored = stored.transpose(Image.Transpose[turn])
    exif = Image.Exif()
    exif[0x0112] = tag
    picture(tmp_path / "a.png", stored, exif=exif)
    assert np.array_equal(whole(tmp_path).values[0], shown)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_hidden_colours_are_not_read(tmp_path, mode):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., 0], pixels[:2, :, 3] = 200, 255
    image = Image.fromarray(pixels)
    if mode == "LA":
        image = image.convert("LA")
    elif mode == "P":
        image = Image.fromarray(np.repeat([[0] * 4, [1] * 4], 2, 0).astype(np.uint8), "P")
        image.putpalette([200, 0, 0, 10, 20, 30])
        image.info["transparency"] = 1
    picture(tmp_path / "a.png", image, **({"transparency": 1} if mode == "P" else {}))
    with pytest.warns(UserWarning, match="transparency"):
        values = whole(tmp_path).values
    assert (values[0, 2:] == 255).all() and values.shape[1:] == ((4, 4) if mode == "LA" else (4, 4, 3))
    if mode != "LA":
        assert values[0, 0, 0].tolist() == [200, 0, 0]


def test_animations_are_refused(tmp_path):
    frames = [grey(), grey(), grey()]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        path = picture(tmp_path / name / name, frames[0], save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match="3 frames"):
            whole(path.parent)


def test_palettes_and_printing_colours_become_colours(tmp_path):
    red = Image.new("RGB", (5, 5), (255, 0, 0))
    picture(tmp_path / "p" / "a.png", red.quantize(4))
    picture(tmp_path / "c" / "a.jpg", red.convert("CMYK"), quality=95)
    for folder in ("p", "c"):
        r, g, b = whole(tmp_path / folder).values[0, 2, 2].astype(int)
        assert r > 200 and g < 60 and b < 60


def test_another_program_is_never_started_for_a_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" + b" " * 400)
    with pytest.raises(DataError, match=r"a\.png"):
        whole(tmp_path)


def test_hidden_files_are_no_data(tmp_path):
    for name in ("a/1.png", "b/2.png", "a/.ipynb_checkpoints/1-checkpoint.png", "__MACOSX/a/1.png", ".trash/3.png"):
        picture(tmp_path / "set" / name, grey())
    (tmp_path / "set" / "a" / "._1.png").write_bytes(b"AppleDouble")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for path in (tmp_path / "set").rglob("*.png"):
            file.write(path, path.relative_to(tmp_path))  # below one folder, as zips often are
    for source in ("set", "set.zip"):
        items = whole(tmp_path / source)
        assert len(items) == 2 and items.facts["label_names"] == ["a", "b"]


NAMES = [("train", "val", "test"), ("Train", "Validation", "Test"), ("training", "dev", "testing")]


@pytest.mark.parametrize("names", NAMES)
def test_stated_splits_are_kept(tmp_path, names):
    for split, n in zip(names, (9, 4, 5), strict=True):
        for i in range(n):
            picture(tmp_path / split / "ab"[i % 2] / f"{i}.png", grey())
    data = load(tmp_path)
    assert data.card.sizes == {"train": 9, "validation": 4, "test": 5} and data.card.facts["label_names"] == ["a", "b"]


def test_a_stated_test_split_leaves_every_class_in_training(tmp_path):
    for split, n in (("train", 40), ("val", 6)):
        for i in range(n):
            picture(tmp_path / split / "ab"[i >= n // 2] / f"{i:02d}.png", grey())
    data = load(tmp_path)
    assert data.card.sizes == {"train": 36, "validation": 4, "test": 6}
    assert np.bincount(data.train.labels).tolist() == [18, 18]


def test_photos_of_different_sizes_need_a_size(tmp_path):
    for i, (h, w) in enumerate([(40, 60), (60, 40), (50, 50)]):
        pixels = np.zeros((h, w, 3), np.uint8)
        pixels[:, :, i] = 255
        picture(tmp_path / f"{i}.png", Image.fromarray(pixels))
    with pytest.raises(DataError, match=r"0.png is 40 x 60, 1.png is 60 x 40.*size=40"):
        load(tmp_path)
    made = load(tmp_path, reading={"size": 16})
    assert made.train.values.shape[1:] == (16, 16, 3) and made.card.facts["reading"] == {"size": 16}
    assert whole(tmp_path, reading={"size": [8, 12], "grey": True, "crop": False}).values.shape == (3, 8, 12)
    for bad in ({"size": 0}, {"size": "a"}, {"size": [1, 2, 3]}, {"size": 8, "crop": 2}, {"grey": "yes"}):
        with pytest.raises(UsageError, match="must be"):
            load(tmp_path, reading=bad)
    with pytest.raises(UsageError, match="did you mean size"):
        load(tmp_path, reading={"siz": 8})


def test_options_of_reading_travel_with_a_run(tmp_path):
    for i in range(12):
        picture(tmp_path / "p" / f"{i}.png", grey(9 + i % 3, 9))
    small = {"width": 8, "batch_size": 4, "progress": False}
    run = pofx.fit(str(tmp_path / "p"), "made", steps=2, size=6, out=tmp_path / "r", **small)
    assert run.sample(2).shape == (2, 6, 6)
    from pofx.cli import arguments
    from pofx.evaluate.provenance import trained_on

    assert len(arguments.items(run, str(tmp_path / "p"), "test")) == 1
    assert trained_on(run).card.hash == run.card["data"]["hash"]
    assert run.card["data"]["facts"]["reading"] == {"size": 6}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", ["uint8", "int64", "float32", "float64"])
def test_arrays_of_images_in_every_order_and_type(first, kind):
    pixels = RNG.integers(0, 256, (5, 8, 7, 3), dtype=np.uint8)
    x = np.moveaxis(pixels, -1, 1) if first else pixels
    x = x.astype(kind) / np.array(255, kind) if kind.startswith("float") else x.astype(kind)
    assert np.array_equal(pofx.images(x).values, pixels)


def test_images_that_are_no_levels():
    assert pofx.images(RNG.random((4, 3, 3)) > 0.5).facts["levels"] == 2
    with pytest.warns(UserWarning, match="rounded"):
        assert pofx.images(RNG.random((4, 3, 3))).facts["levels"] == 256
    for x, words in (
        (RNG.random((4, 3, 3)) * 2 - 1, r"\(x \+ 1\) / 2"),
        (np.full((2, 3, 3), 47000, np.uint16), r"x // 184"),
        (np.full((2, 3, 3), -3), "subtract -3"),
        (np.full((2, 3, 3), np.nan), "not finite"),
    ):
        with pytest.raises(DataError, match=words):
            pofx.images(x)


# --- tables

NUMBERS = pd.DataFrame({"a": [20.63, -1.5, 1234567.25], "b": ["x; y", "z", "p, q"], "c": [1, 20, 300]})


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_every_dialect_gives_the_same_table(tmp_path, separator, decimal, encoding):
    frame = pd.concat([NUMBERS.assign(d=["é", "ü", "o"])] * 4, ignore_index=True)
    path = tmp_path / "t.csv"
    path.write_bytes(frame.to_csv(sep=separator, decimal=decimal, index=False, quoting=1).encode(encoding))
    from pofx.data.frames import read_frame

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_frame(path)
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)
    assert found["a"].dtype == np.float64 and found["c"].dtype == np.int64


TABLES = {
    "european": ("t;h\n20,63;43,37\n21;1.234,5\n", {"t": [20.63, 21.0], "h": [43.37, 1234.5]}),
    "thousands": ('a,b\n"1,234,567",2\n"12,345",3\n', {"a": [1234567, 12345], "b": [2, 3]}),
    "spaces": ("a;b\n1 234,5;2\n12 345;3\n", {"a": [1234.5, 12345.0], "b": [2, 3]}),
    "index": (",a\n0,1.5\n1,2.5\n2,4.5\n", {"a": [1.5, 2.5, 4.5]}),
    "index by name": ("Unnamed: 0,a\n0,1.5\n1,2.5\n", {"a": [1.5, 2.5]}),
    "names of rows": ("a\tb\nr1\t1\t2\nr2\t3\t4\n", {"a": [1, 3], "b": [2, 4]}),
    "no header": ("5.1,3.5,x\n4.9,3.0,y\n5,3.1,x\n", {"x0": [5.1, 4.9, 5.0], "x1": [3.5, 3, 3.1], "x2": list("xyx")}),
    "years": ("2019,2020,2021\n1.5,2.5,3.5\n1,2,3\n", {"2019": [1.5, 1], "2020": [2.5, 2], "2021": [3.5, 3]}),
    "quoted lines": ('a,b\n1,"x\ny, ""z"""\n2,w\n', {"a": [1, 2], "b": ['x\ny, "z"', "w"]}),
    "codes": ("zip,n\n01234,1\n10001,2\n", {"zip": ["01234", "10001"], "n": [1, 2]}),
    "2^53": ("id,n\n9007199254740993,1\n9007199254740995,2\n", {"id": [2**53 + 1, 2**53 + 3], "n": [1, 2]}),
    "2^64": ("id,n\n184467440737095516150,1\n3,2\n", {"id": ["184467440737095516150", "3"], "n": [1, 2]}),
    "truth": ("f,n\nTrue,1\nFalse,2\n", {"f": [True, False], "n": [1, 2]}),
    "words": ("f,n\nNA,1\nNone,2\n,3\n", {"f": ["NA", "None", np.nan], "n": [1, 2, 3]}),
    "missing": ("f,n\nNA,1\n?,2\n2.5,3\n", {"f": [np.nan, np.nan, 2.5], "n": [1, 2, 3]}),
    "excel": ("sep=;\na;b\n1;2\n3;4\n", {"a": [1, 3], "b": [2, 4]}),
    "comments": ("# by x\n# y\na,b\n1,2\n3,4\n", {"a": [1, 3], "b": [2, 4]}),
    "hash": ("#a,b\n1,2\n3,4\n", {"a": [1, 3], "b": [2, 4]}),
    "last separator": ("a,b,\n1,2,\n3,4,\n", {"a": [1, 3], "b": [2, 4]}),
    "last separator of rows": ("a,b\n1,2,\n3,4,\n", {"a": [1, 3], "b": [2, 4]}),
    "line ends": ("a;b\r\n1;2\r\n3;4\r\n", {"a": [1, 3], "b": [2, 4]}),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tables_as_programs_write_them(case):
    text, columns = TABLES[case]
    found = {name: [None if pd.isna(v) else v for v in column] for name, column in parsed(text, case).items()}
    assert found == {k: [None if pd.isna(v) else v for v in values] for k, values in columns.items()}


@pytest.mark.parametrize(
    "text, words",
    [
        ("a,b\n1,2\n1,2,3\n4,5\n4,5\n", "cannot be cut"),
        ('a,b\n1,"open\n2,3\n', "cannot be cut"),
        ("\n\n", "no columns"),
    ],
)
def test_tables_that_are_none(text, words):
    with pytest.raises(DataError, match=words):
        parsed(text, "x.csv")


def test_dialects_can_be_stated(tmp_path):
    text = "a;b\n1,234;x\n5,678;y\n"
    assert parsed(text, "x")["a"].tolist() == [1.234, 5.678]
    assert parsed(text, "x", {"decimal": "."})["a"].tolist() == [1234, 5678]
    assert parsed("1;2\n3;4\n", "x", {"header": True}).columns.tolist() == ["1", "2"]
    assert parsed("a:b\n1:2\n", "x", {"separator": ":"}).columns.tolist() == ["a", "b"]
    for bad in ({"separator": "ab"}, {"decimal": "x"}):
        with pytest.raises(UsageError, match="must be"):
            parsed(text, "x", bad)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62), min_size=4, max_size=20), st.sampled_from(",;\t|"), st.data())
def test_whatever_pandas_writes_comes_back(ints, separator, data):
    n = len(ints)
    reals = data.draw(st.lists(st.floats(-1e15, 1e15), min_size=n, max_size=n))
    words = data.draw(st.lists(st.text("abc ;,|\"'\n", min_size=1), min_size=n, max_size=n))
    frame = pd.DataFrame({"whole": ints, "real": reals, "word": [f"w{w}" for w in words]})
    found = parsed(frame.to_csv(sep=separator, index=False), "x.csv")
    pd.testing.assert_frame_equal(found, frame, check_dtype=False, rtol=1e-15)


def test_a_header_is_no_title_above_words_with_other_separators():
    for words in (["|;|a", "|;|a", ",|", ",|"], ["|;|a", "||", "|;|a", "b"]):
        frame = pd.DataFrame({"whole": [0] * 4, "real": [0.5] * 4, "word": words})
        pd.testing.assert_frame_equal(parsed(frame.to_csv(index=False), "x.csv"), frame, check_dtype=False)


def test_other_formats_of_tables(tmp_path):
    frame = pd.DataFrame({"a": np.arange(12) * 0.5, "b": ["x", "y", "z"] * 4, "i": np.arange(12) + 2**60})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_feather(tmp_path / "t.feather")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    (tmp_path / "t.json").write_text(frame.to_json(orient="records"))
    frame.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    for name in ("t.parquet", "t.feather", "t.jsonl", "t.json", "t.tsv", "t.csv.gz"):
        pd.testing.assert_frame_equal(whole(tmp_path / name).values, frame, check_dtype=False)
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(DataError, match=r"t\.xlsx"):
        load(tmp_path / "t.xlsx")


def test_arrays_keep_their_type_as_tables():
    assert pofx.table(np.array([[2**60 + 1, 2], [3, 4]])).values["x0"].tolist() == [2**60 + 1, 3]
    assert pofx.table(np.array([[True, False], [True, True]])).values.dtypes.astype(str).tolist() == ["bool", "bool"]


# --- sound


def wav(samples, rate=8000):
    stream = io.BytesIO()
    wavfile.write(stream, rate, samples)
    return stream.getvalue()


TONE = np.sin(np.arange(800) / 9).astype(np.float32)
SOUNDS = {
    "loud": (wav(TONE * 32767), "lie in"),
    "infinite": (wav(np.where(np.arange(800) == 3, np.inf, TONE).astype(np.float32)), "not finite"),
    "cut": (wav((TONE * 3e4).astype(np.int16))[:900], "not a whole recording"),
    "no channels": (wav(TONE)[:22] + b"\0\0" + wav(TONE)[24:], "0 channels"),
    "many channels": (wav(TONE)[:22] + b"\xff\xff" + wav(TONE)[24:], "65535 channels"),
    "no sound": (wav(TONE)[:36], "not a whole recording"),
}


@pytest.mark.parametrize("case", SOUNDS)
def test_sound_that_is_none_is_refused(tmp_path, case):
    content, words = SOUNDS[case]
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DataError, match=words):
        whole(tmp_path / "a.wav")


def test_sound_is_changed_with_a_warning_only(tmp_path):
    for name, samples, words in (("over", TONE * 1.2, "clipped"), ("anti", np.stack([TONE, -TONE], 1), "cancel")):
        (tmp_path / f"{name}.wav").write_bytes(wav(samples.astype(np.float32)))
        with pytest.warns(UserWarning, match=words):
            whole(tmp_path / f"{name}.wav")
    with pytest.warns(UserWarning, match="cancel"):
        pofx.audio([np.stack([TONE, -TONE], 1)], 8000)


def test_recordings_of_several_rates_are_resampled_where_it_is_stated(tmp_path):
    time = np.arange(1600) / 16000
    (tmp_path / "a.wav").write_bytes(wav(np.sin(2 * np.pi * 440 * time[:800] * 2).astype(np.float32)))
    (tmp_path / "b.wav").write_bytes(wav(np.sin(2 * np.pi * 440 * time).astype(np.float32), 16000))
    with pytest.raises(DataError, match="rate=8000"):
        whole(tmp_path)
    items = whole(tmp_path, reading={"rate": 8000})
    assert items.facts["rate"] == 8000 and [len(c) for c in items.values] == [800, 800]
    assert np.abs(items.values[0][100:-100] - items.values[1][100:-100]).max() < 0.01


# --- texts


def test_texts_in_any_stated_encoding(tmp_path):
    for encoding, options in (("utf-8-sig", {}), ("utf-16", {}), ("latin-1", {"encoding": "latin-1"})):
        (tmp_path / "t.txt").write_bytes("ab\r\ncé\r\nd\r\n".encode(encoding))
        assert list(whole(tmp_path / "t.txt", reading=options).values) == ["ab", "cé", "d"]
    (tmp_path / "t.txt").write_bytes("é\nb\n".encode("latin-1"))
    with pytest.raises(DataError, match="encoding=latin-1"):
        whole(tmp_path / "t.txt")
    (tmp_path / "t.txt").write_bytes(b"a\x00b\nc\n")
    with pytest.raises(DataError, match="NUL"):
        whole(tmp_path / "t.txt")


# --- hostile files


def bomb(p):
    with zipfile.ZipFile(p / "b.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", bytes((1 << 28) + 1))
    return p / "b.zip"


def header(p):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 8)})
    (p / "h.npy").write_bytes(stream.getvalue())
    return p / "h.npy"


def header_in_npz(p):
    with zipfile.ZipFile(p / "h.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.write(header(p), "x.npy")
    return p / "h.npz"


def damaged(p, place, name="d.npz"):
    np.savez_compressed(p / name, x=RNG.normal(size=(200, 3)))
    content = bytearray((p / name).read_bytes())
    content[place : place + 40] = bytes(40)
    (p / name).write_bytes(content)
    return p / name


def encrypted(p):
    with zipfile.ZipFile(p / "e.zip", "w") as file:
        file.writestr("a.png", b"x" * 50)
    content = bytearray((p / "e.zip").read_bytes())
    at = content.index(b"PK\x01\x02")
    content[6] |= 1
    content[at + 8] |= 1
    (p / "e.zip").write_bytes(content)
    return p / "e.zip"


def method(p):
    with zipfile.ZipFile(p / "m.zip", "w") as file:
        file.writestr("a.png", b"x" * 50)
    content = bytearray((p / "m.zip").read_bytes())
    at = content.index(b"PK\x01\x02")
    content[8] = content[at + 10] = 99
    (p / "m.zip").write_bytes(content)
    return p / "m.zip"


def written(p, name, content):
    (p / name).parent.mkdir(parents=True, exist_ok=True)
    (p / name).write_bytes(content)
    return p / name


def linked(p, target):
    (p / "l").mkdir()
    picture(p / "l" / "a.png", grey())
    os.symlink(target, p / "l" / "b.png")
    return p / "l"


def fifo(p, name):
    (p / name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(p / name)
    return p / name


def huge_png(p):
    content = bytearray((picture(p / "x" / "a.png", grey())).read_bytes())
    content[16:24] = (30000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return written(p, "x/a.png", content).parent


HOSTILE = {
    "zip bomb": (bomb, "limit is"),
    "header of petabytes": (header, "states shape"),
    "header of petabytes, packed": (header_in_npz, "states shape"),
    "damaged npz": (lambda p: damaged(p, 300), "d.npz"),
    "damaged start of npz": (lambda p: damaged(p, 0), "d.npz"),
    "encrypted zip": (encrypted, "encrypted"),
    "unknown method": (method, "m.zip"),
    "cut gzip": (lambda p: written(p, "a.npy.gz", gzip.compress(bytes(99))[:-9]), "a.npy.gz"),
    "no gzip": (lambda p: written(p, "a.csv.gz", b"a,b\n1,2\n"), "a.csv.gz"),
    "pipe": (lambda p: fifo(p, "f.npy"), "no regular file"),
    "pipe in a folder": (lambda p: fifo(p, "d/f.png").parent, "no regular file"),
    "link outside": (lambda p: linked(p, "/etc/hostname"), "outside the folder"),
    "dangling link": (lambda p: linked(p, "/nowhere"), "b.png"),
    "huge png": (huge_png, "a.png"),
    "levels nan": (lambda p: _npz(p, levels=np.nan), "levels must be"),
    "levels in words": (lambda p: _npz(p, levels="seventeen"), "levels must be"),
    "feather": (lambda p: written(p, "a.feather", b"ARROW1"), "a.feather"),
    "json": (lambda p: written(p, "a.jsonl", b'{"a": 1}\n{"a"'), "line 2"),
}


def _npz(p, **more):
    np.savez(p / "n.npz", x=RNG.integers(0, 3, (9, 4, 4)), **more)
    return p / "n.npz"


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_end_in_one_sentence(tmp_path, case):
    make, words = HOSTILE[case]
    with pytest.raises(DataError, match=words):
        load(make(tmp_path))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_no_damage_ends_in_a_foreign_error(tmp_path_factory, data):
    folder, rng = tmp_path_factory.mktemp("damage"), np.random.default_rng(0)
    kind = data.draw(st.sampled_from(["npz", "npy", "png", "wav", "parquet", "csv"]))
    path = folder / "p" / f"a.{kind}" if kind == "png" else folder / f"a.{kind}"
    path.parent.mkdir(exist_ok=True)
    if kind == "npz":
        np.savez_compressed(path, x=rng.normal(size=(20, 3)), y=np.arange(20) % 2)
    elif kind == "npy":
        np.save(path, rng.integers(0, 9, (9, 4, 4)))
    elif kind == "png":
        picture(path, Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8)))
    elif kind == "wav":
        path.write_bytes(wav((TONE * 3e4).astype(np.int16)))
    elif kind == "parquet":
        pd.DataFrame({"a": rng.normal(size=20), "b": ["x", "y"] * 10}).to_parquet(path)
    else:
        path.write_text("a;b\n" + "1,5;x\n2,5;y\n" * 8)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load(path.parent if kind == "png" else path)
        except (DataError, UsageError) as error:
            assert len(str(error)) < 600


# --- objects as they are


def test_objects_are_taken_as_they_are():
    import torch

    y = np.arange(30) % 3
    pairs = torch.utils.data.TensorDataset(torch.rand(30, 3), torch.tensor(y))
    cases = {
        "rows of numbers": ([[1, 2.0], [3, 4], [5, 6]], "points", None),
        "columns": ({"a": [1, 2, 3.5], "b": ["x", "y", "x"]}, "table", None),
        "x and y": ({"x": RNG.integers(0, 9, (30, 4, 4)), "y": y}, "image", 3),
        "generator": ((f"t{i}" for i in range(9)), "text", None),
        "generator of arrays": ((RNG.normal(size=3) for _ in range(9)), "points", None),
        "tensor": (torch.randn(9, 2), "points", None),
        "tensor of images": (torch.randint(0, 256, (9, 3, 4, 4), dtype=torch.uint8), "image", None),
        "series": (pd.Series(["a", "b", "c"]), "text", None),
        "pictures": ([grey() for _ in range(9)], "image", None),
        "mappings": ([{"a": 1, "b": 2.5}] * 5, "table", None),
        "numbers": ([1.5, 2.5, 3.5, 4.0], "points", None),
        "loader": (torch.utils.data.DataLoader(pairs), "points", 3),
        "splits": ({"train": RNG.normal(size=(30, 2)), "test": RNG.normal(size=(9, 2))}, "points", None),
    }  # fmt: skip
    for name, (data, kind, classes) in cases.items():
        found = load(data)
        assert found.card.kind == kind, name
        assert (found.train.labels is None) == (classes is None), name
    assert load(cases["splits"][0]).card.sizes == {"train": 27, "validation": 3, "test": 9}


@pytest.mark.parametrize(
    "data, words",
    [
        ([], "empty"),
        (iter([]), "yields nothing"),
        (["a", 1], "mixes"),
        ([[1, 2], [3]], "differ in length"),
        ([b"a", b"b", b"c"], "decode"),
        ({"a": [1, 2], "b": [1]}, "differ in length"),
        ([np.zeros(3), np.zeros(4)], "differ in shape"),
        (np.ma.array(np.ones((4, 2)), mask=np.eye(4, 2)), "masked"),
        ([None, None, None], "NoneType"),
    ],
)
def test_objects_without_a_kind_are_refused_in_words(data, words):
    with pytest.raises((DataError, UsageError), match=words):
        load(data)


def test_masked_labels_are_missing():
    with pytest.raises(DataError, match="masked"):
        pofx.points(np.ones((3, 1)), labels=np.ma.array([0, 1, 1], mask=[0, 0, 1]))


class Rows:
    """What `datasets.Dataset` offers, without the library."""

    __module__ = "datasets.arrow_dataset"

    def __init__(self, **columns):
        self.columns, self.column_names, self.features = columns, list(columns), {}

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        return self.columns[key] if isinstance(key, str) else {k: v[key] for k, v in self.columns.items()}

    def to_pandas(self):
        return pd.DataFrame(self.columns)


def test_datasets_of_hugging_face_are_taken_as_they_are():
    from pofx.data.on_disk import OnDisk

    pictures = [grey(6, 6) for _ in range(12)]
    rows = Rows(image=pictures, label=[0, 1] * 6)
    found = load(rows)
    assert found.card.kind == "image" and found.train.labels is not None
    disk = whole(rows, reading={"on_disk": True, "size": 4})
    assert isinstance(disk.values, OnDisk) and disk.values[:].shape == (12, 4, 4)
    assert load({"train": rows, "test": rows}).card.sizes["test"] == 12
    assert load(Rows(text=["a", "b", "c", "d"], label=[0, 1, 0, 1])).card.kind == "text"
    assert load(Rows(a=[1.5, 2, 3, 4], b=["x", "y", "x", "y"])).card.kind == "table"


def test_a_prefix_of_unknown_characters_is_refused():
    run = pofx.fit(["abc", "bca", "cab"] * 5, "gpt", steps=1, width=8, heads=2, layers=1, batch_size=4, progress=False)
    assert all(text.startswith("ab") for text in run.sample(2, prefix="ab"))
    with pytest.raises(DataError, match="'z', 'É'"):
        run.sample(1, prefix="azÉ")
