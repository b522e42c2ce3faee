"""Files and objects that a library reads without a note, but wrongly: each is read as it was meant, or refused."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

import pofx
from pofx.core.errors import DataError
from pofx.data.frames import rows_in
from pofx.data.series import series, several
from pofx.data.sources import whole
from pofx.data.times import after

N = 60
Y = np.random.default_rng(0).normal(size=N).cumsum()
DAYS = pd.date_range("2024-01-01", periods=N)


# --- times of a series


def frame(times, values=Y):
    return pd.DataFrame({"when": times, "y": values})


def written(path, table):
    table.to_csv(path, index=False)
    return path


UNLIKE = {
    "two frequencies": (frame([*DAYS[:30], *pd.date_range("2024-02-01", periods=30, freq="h")]), "must be equal"),
    "a few between": (frame(sorted([*DAYS[:58], *(DAYS[:2] + pd.Timedelta("9h"))])), "must be equal"),
    "a leap of centuries": (frame([*DAYS[:59], pd.Timestamp("2200-01-01")]), "would be missing"),
    "a leap of seconds over years": (
        frame([*pd.date_range("2024", periods=59, freq="s"), DAYS[0] + pd.Timedelta("999D")]), "would be missing"),
    "unsorted": (frame(DAYS[np.r_[1, 0, 2:N]]), "row 1: 2024-01-01"),
    "set back": (
        frame(pd.date_range("2024-10-27", periods=N, freq="h", tz="Europe/Oslo").tz_localize(None)), "set back"),
    "times of day": (frame([f"{i // 60:02d}:{i % 60:02d}" for i in range(N)]), "must be numbers"),
    "months without a year": (frame([f"{i % 28 + 1} May" for i in range(N)]), "must be numbers"),
    "one row": (frame(DAYS[:1], Y[:1]), "at least 16"),
    "a day without its date": (
        frame([*DAYS[:9].astype(str), None, *DAYS[10:].astype(str)]), "no time in 1 rows.*row 9"),
    "a day unknown": (frame([*DAYS[:58].astype(str), "unknown", None]), "no time in 2 rows.*row 58"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNLIKE)
def test_times_that_are_no_equal_steps_are_refused(case, tmp_path):
    table, words = UNLIKE[case]
    with pytest.raises(DataError, match=words):
        series(written(tmp_path / "s.csv", table))
    with pytest.raises(DataError, match=words):
        series(table)


def test_steps_without_a_row_are_missing_and_stated(tmp_path):
    months = pd.date_range("2010-01-31", periods=N, freq="ME")
    for times, flags in ((DAYS, False), (DAYS, True), (months, False)):
        table = frame(times, Y > 0 if flags else Y).drop(index=[5, 6, 30]).reset_index(drop=True)
        with pytest.warns(UserWarning, match="3 of 60 steps"):
            one = series(table)
        assert len(one) == N and np.flatnonzero(np.isnan(one.values[:, 0])).tolist() == [5, 6, 30]
        assert np.array_equal(np.delete(one.values[:, 0], [5, 6, 30]), table["y"].to_numpy(float))


def test_clocks_that_change_are_an_hour_apart(tmp_path):
    hours = pd.date_range("2024-10-26 12:00", periods=N, freq="h", tz="Europe/Oslo")
    with pytest.warns(UserWarning, match="times with offsets, read as UTC"):
        one = series(written(tmp_path / "s.csv", frame(hours)))
    assert len(one) == N and one.times.equals(
        pd.DatetimeIndex(hours.tz_convert("UTC"), freq=None).as_unit(one.times.unit)
    )
    assert len(series(pd.Series(Y, hours))) == N


@pytest.mark.parametrize("form", ["%Y%m%d", "%Y%m", "%s"])
def test_dates_written_as_whole_numbers_are_no_channel(form, tmp_path):
    times = pd.date_range("2020-01-01", periods=N, freq="MS" if form == "%Y%m" else "D")
    numbers = times.as_unit("s").asi8 if form == "%s" else times.strftime(form).astype(int)
    table = frame(numbers)
    with pytest.warns(UserWarning, match="read as dates"):
        one = series(written(tmp_path / "s.csv", table))
    assert one.names == ("y",) and one.times[-1] == times[-1]
    with pytest.warns(UserWarning, match="1 of 60 steps"):
        assert len(series(table.drop(index=7).reset_index(drop=True))) == N


@pytest.mark.parametrize("freq", ["ME", "MS", "QE", "YE", "W", "D", "28D", "h"])
def test_futures_follow_the_calendar(freq):
    every = pd.date_range("2015-01-01", periods=40, freq=freq)
    assert (after(every[:30], 10).as_unit("s").asi8 == every[30:].as_unit("s").asi8).all()


def test_a_series_of_pandas_keeps_its_times_and_a_mask_its_gaps():
    assert series(pd.Series(Y, DAYS)).times.equals(DAYS) and len(several([pd.Series(Y, DAYS)] * 2)) == 2
    with pytest.warns(UserWarning, match="from the last row to the first"):
        assert series(pd.Series(Y, DAYS[::-1])).values[0, 0] == Y[-1]
    assert several({"y": Y})[0].names == ("y",)
    assert np.isnan(series(np.ma.array(Y, mask=np.arange(N) == 4)).values[4, 0])


NO_SERIES = {
    "complex": Y * 1j, "words": ["a"] * N, "nothing": [], "ragged": {"target": [[1, 2], [3]]},
    "no target": {"target": None}, "no date": {"target": Y, "start": "xx", "freq": "D"},
    "no frequency": {"target": Y, "start": "2024", "freq": "QQ"},
    "short covariates": {"target": Y, "feat_dynamic_real": [[1, 2, 3]]},
}  # fmt: skip


@pytest.mark.parametrize("case", NO_SERIES)
def test_what_is_no_series_is_refused(case):
    with pytest.raises(DataError):
        several(NO_SERIES[case])


# --- arrays and tensors

TENSORS = {
    "on no device": torch.ones(3, 2, device="meta"),
    "nested": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged),
}
TAKERS = {"points": pofx.points, "images": pofx.images, "tokens": pofx.tokens, "audio": lambda x: pofx.audio(x, 8000)}


@pytest.mark.parametrize("case", TENSORS)
@pytest.mark.parametrize("taker", ["points", "images", "tokens"])
def test_tensors_without_numbers_are_refused(case, taker):
    with pytest.raises(DataError):
        TAKERS[taker](TENSORS[case])


@pytest.mark.filterwarnings("ignore")
def test_quantised_tensors_are_their_numbers():
    x = torch.quantize_per_tensor(torch.rand(4, 2), 0.1, 0, torch.quint8)
    assert np.array_equal(pofx.points(x).values, x.dequantize().numpy())


@pytest.mark.parametrize("taker", TAKERS)
def test_ragged_rows_are_refused(taker):
    with pytest.raises(DataError):
        TAKERS[taker]([[[1, 2], [3]], [[1]]] if taker == "audio" else [[1, 2], [3]])


def test_spans_of_time_are_no_numbers(tmp_path):
    for x in (np.ones((4, 2), "m8[s]"), pd.DataFrame({"a": pd.to_timedelta(range(4), unit="h")})):
        with pytest.raises(DataError, match="real numbers"):
            pofx.points(x)
    long = pofx.table(pd.DataFrame({"a": np.arange(4, dtype=np.longdouble) / 7})).values["a"]
    assert long.dtype == np.float64 and pofx.points(np.ones((4, 2), np.longdouble)).values.dtype == np.float64


ARRAYS = {
    "labels of training alone": ({"x_train": 1, "x_test": 1, "y_train": 0}, "some splits alone"),
    "several levels": ({"x": 1, "levels": np.array([4, 4])}, "one number"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_beside_the_items_are_used_or_named(case, tmp_path):
    given, words = ARRAYS[case]
    values = {1: np.random.default_rng(0).normal(size=(N, 2)), 0: np.arange(N) % 2}
    np.savez(tmp_path / "a.npz", **{k: v if isinstance(v, np.ndarray) else values[v] for k, v in given.items()})
    with pytest.raises(DataError, match=words):
        whole(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=values[1], w=values[0])
    with pytest.warns(UserWarning, match="w not used"):
        whole(tmp_path / "b.npz")


INDEXES = {
    "dates": DAYS,
    "names": pd.Index([f"p{i}" for i in range(N)]),
    "named": pd.RangeIndex(N, name="id"),
    "levels": pd.MultiIndex.from_product([range(6), range(10)]),
}


@pytest.mark.parametrize("case", INDEXES)
def test_an_index_with_a_meaning_is_not_dropped_in_silence(case, recwarn):
    pofx.table(pd.DataFrame({"y": Y}).iloc[::2])
    assert not recwarn
    with pytest.warns(UserWarning, match="reset_index"):
        pofx.table(pd.DataFrame({"y": Y}, index=INDEXES[case]))


# --- sound


def wav(samples):
    stream = io.BytesIO()
    wavfile.write(stream, 8000, samples)
    return stream.getvalue()


SOUND = wav((np.sin(np.arange(800) / 9) * 1e4).astype(np.int16))
WRONG = {
    "another coding": (b"fLaC" + bytes(99), r"rename it so that it ends in \.flac"),
    "three bits": (SOUND[:34] + b"\x03\0" + SOUND[36:], "3 bits"),
    "blocks of nothing": (SOUND[:32] + b"\0\0" + SOUND[34:], "blocks of 0 bytes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_headers_that_contradict_themselves_are_refused(case, tmp_path):
    (tmp_path / "a.wav").write_bytes(WRONG[case][0])
    with pytest.raises(DataError, match=WRONG[case][1]):
        whole(tmp_path / "a.wav")


def test_samples_that_fill_up_a_block_are_no_sound(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    tone = 0.5 * np.sin(np.arange(800) / 9)
    soundfile.write(tmp_path / "a.wav", tone, 8000, subtype="MS_ADPCM")
    (clip,) = whole(tmp_path / "a.wav").values
    assert len(clip) == 800 and np.abs(clip - tone).max() < 0.05


def test_samples_with_their_rate_are_no_clip():
    tone = np.zeros(90)
    for clip in ((tone, 8000), {"array": tone, "sampling_rate": 16000}):
        with pytest.raises(DataError, match="rate="):
            pofx.audio([clip] * 3, 8000)


# --- pictures


def png(kind, pixels):
    def part(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    h, w = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", w, h, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


@pytest.mark.parametrize("kind, channels", [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_of_colours_are_not_halved(kind, channels, tmp_path):
    (tmp_path / "a.png").write_bytes(png(kind, np.zeros((4, 4, channels), ">u2")))
    with pytest.raises(DataError, match="8 bits per channel"):
        whole(tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_of_windows_has_folders_and_no_name_twice(tmp_path):
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "PNG")
    for name, entries in (("a", ["cat\\1.png", "dog\\2.png"]), ("b", ["1.png", "1.png"])):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as file:
            for entry in entries:
                file.writestr(entry, stream.getvalue())
    assert whole(tmp_path / "a.zip").facts["label_names"] == ["cat", "dog"]
    with pytest.raises(DataError, match="more than once"):
        whole(tmp_path / "b.zip")


# --- texts


def test_marks_of_files_put_together_are_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfab\r\n\xef\xbb\xbfcd\n")
    assert list(whole(tmp_path / "a.txt").values) == ["ab", "cd"]


def test_what_a_list_of_texts_holds_is_named():
    for values, kind in ((["a", None], "NoneType"), ([b"a"], "bytes"), (["a", np.nan], "float")):
        with pytest.raises(DataError, match=kind):
            pofx.texts(values)


def test_nucleotides_are_no_residues_without_a_word():
    with pytest.warns(UserWarning, match="nucleotides"):
        pofx.proteins(["ACGT", "ACGG"])


def test_levels_of_several_sizes_are_named():
    with pytest.raises(DataError, match="lines of several lengths in number 1"):
        pofx.levels(["##\n##", "##\n#"])


@pytest.mark.parametrize("ending", ["png", "bmp", "gif", "tif"])
def test_a_palette_of_greys_is_grey(ending, tmp_path):
    levels = np.random.default_rng(0).integers(0, 4, (6, 6)).astype(np.uint8)
    for name, entry in (("grey", lambda v: (v, v, v)), ("red", lambda v: (v, 0, 0))):
        drawn = Image.fromarray(levels).convert("P")
        drawn.putpalette([c for k in range(256) for c in entry(80 * (3 - k) if k < 4 else 0)])
        (tmp_path / name).mkdir()
        drawn.save(tmp_path / name / f"a.{ending}")
    found = whole(tmp_path / "grey").values
    assert found.shape == (1, 6, 6) and (found[0] == 80 * (3 - levels)).all()
    assert whole(tmp_path / "red").values.shape == (1, 6, 6, 3)


@pytest.mark.parametrize("loose", ["stray.png", "cat/stray.png"])
def test_a_picture_beside_the_folders_of_classes_is_no_class(loose, tmp_path):
    for name in ("cat/1/a.png", "cat/2/a.png", loose) if "/" in loose else ("cat/a.png", "dog/a.png", loose):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    with pytest.raises(DataError, match=f"{loose} lies beside the folders"):
        whole(tmp_path)
    (tmp_path / loose).unlink()
    assert len(whole(tmp_path).facts["label_names"]) == 2


@pytest.mark.parametrize("name", ["a.txt", "a.npz", "a"])
def test_what_is_no_table_by_its_name_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"a,b\n1,2\n")
    with pytest.raises(DataError, match="is no table by its name"):
        rows_in(tmp_path / name)
