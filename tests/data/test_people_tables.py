"""Tables as people write them: units in cells, dates of any form, titles and totals, names that come twice."""

import bz2
import gzip
import json
import lzma
import warnings
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import pofx
from pofx.core.errors import DataError
from pofx.data.dates import format_of, instants, restored_dates
from pofx.data.frames import parsed, read_frame
from pofx.data.kind import kind_of
from pofx.data.kinds.table import check_table
from pofx.data.schema import describe, numbers, restored
from pofx.data.sources import whole
from pofx.data.typed import typed
from pofx.evaluate.metrics.marginals import column_shapes
from pofx.evaluate.metrics.tree_two_sample import tree_auc


def read(text, **options):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        frame = parsed(text, "t.csv", options)
    return frame, " | ".join(str(w.message) for w in found)


def column(values, **options):
    frame, noted = read("k;a\n" + "".join(f"1;{v}\n" for v in values), **options)
    return frame["a"].tolist(), noted


CELLS = {
    "unit": (["9.6 kg", "12 kg"], [9.6, 12.0], "in kg"),
    "unit without a blank": (["181cm", "75cm"], [181, 75], "in cm"),
    "compound unit": (["3 m/s²", "4.5 m/s²"], [3.0, 4.5], "in m/s²"),
    "percent": (["86%", "7.5 %"], [86.0, 7.5], "in %"),
    "degrees": (["-3.5°C", "20°C"], [-3.5, 20.0], "in °C"),
    "currency": (["$1,200.50", "$-3", "-$7"], [1200.5, -3.0, -7.0], "in $"),
    "currency behind": (["3,50 €", "1.200,00 €"], [3.5, 1200.0], "in €"),
    "magnitudes": (["1.5K", "2M", "7"], [1500.0, 2e6, 7.0], ""),
    "losses": (["(3.5)", "4"], [-3.5, 4.0], ""),
    "minus behind": (["30-", "12"], [-30, 12], ""),
    "minus of typesetters": (["−15.2", "3"], [-15.2, 3.0], ""),
    "footnotes": (["9.5*", "3", "4†"], [9.5, 3.0, 4.0], ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CELLS)
def test_amounts_are_numbers_with_a_note_on_their_unit(case):
    texts, values, words = CELLS[case]
    found, noted = column(texts)
    assert found == pytest.approx(values) and words in noted


WORDS = {
    "several units": ["9 kg", "900 g"],
    "codes": ["A12", "B7"],
    "numbered": ["Q3", "Q4"],
    "zeros in front": ["007 kg", "012 kg"],
    "ranges": ["10-19", "20-29"],
    "versions": ["2.5.1", "2.10.0"],
    "fractions": ["1/4", "3/4"],
    "two minus": ["-(3)", "4"],
    "few numbers": ["1", "2", "three"],
    "feet": ["5'11\"", "6'1\""],
}


@pytest.mark.parametrize("case", WORDS)
def test_what_is_no_amount_stays_as_it_is_written(case):
    assert column(WORDS[case])[0] == WORDS[case]


def test_words_among_many_numbers_are_missing_with_a_note():
    found, noted = column([*range(20), "unknown", "<0.5"])
    assert found[:20] == list(range(20)) and np.isnan(found[20:]).all()
    assert "'unknown', '<0.5' as missing" in noted
    assert column([*range(20), "unknown"], tidy=False)[0][-1] == "unknown"


ROWS = {
    "titles": ("Sales\nmade 2024\n\na,b,c\n1,2,x\n3,4,y\n", [1, 3], "3 lines above the table"),
    "a title above two columns": ("Sales\n\nmonth,n\njan,2\nfeb,4\nmar,5\n", ["jan", "feb", "mar"], "2 lines above"),
    "units": ("a,b\nm/s,°C\n1,2\n3,4\n5,6\n", [1, 3, 5], "m/s, °C"),
    "second header": ("g,g\na,b\n1,2\n3,4\n5,6\n", [1, 3, 5], "below the header is joined to its names (g a, g b)"),
    "merged cells": ("g,,h\na,b,a\n1,2,x\n3,4,y\n5,6,z\n", [1, 3, 5], "(g a, g b, h a)"),
    "a total alone": ("a,b\nx,2\ny,4\nz,4\nTotal,\n", ["x", "y", "z"], "Total"),
    "header again": ("a,b\n1,2\na,b\n3,4\n", [1, 3], "1 rows repeat the header"),
    "total": ("a,b\nx,2\ny,4\nz,4\nTotal,10\n", ["x", "y", "z"], "Total"),
    "notes": ("a,b,c\n1,2,x\n3,4,y\n5,6,y\n\nSource: the agency\n* estimated\n", [1, 3, 5], "Source"),
    "names twice": ("a,a,a.1\n1,2,5\n3,4,6\n", [1, 3], "same name (a): numbered"),
    "blanks": ("a   b\n1   2.5\n3   4\n", [1, 3], ""),
}  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
def test_rows_that_are_no_items_are_left_out_with_a_note(case):
    text, values, words = ROWS[case]
    frame, noted = read(text)
    assert frame.iloc[:, 0].tolist() == values and words in noted and frame.columns.is_unique


KEPT = {
    "a table of totals": "a,b\nTotal,1\nTotal,2\nx,3\nTotal,4\n",
    "one typing error": "a,b\nunknown,x\n2,y\n3,z\n4,z\n",
    "a last field left out": "a,b\nx,1\ny,2\nz,3\nw\n",
    "names of rows": "a\nr1,1\nr2,2\nr3,3\n",
    "a column of texts": "first name\njohn smith\nmary jones\n",
    "words alone": "a,b\nx,y\nu,v\nz,w\nq,r\n",
}


@pytest.mark.parametrize("case", KEPT)
def test_rows_that_are_items_stay(case):
    assert len(read(KEPT[case])[0]) == KEPT[case].count("\n") - 1


def test_rows_stay_where_it_is_stated():
    assert len(read("a,b\nx,2\ny,4\nz,4\nTotal,10\n", tidy=False)[0]) == 4


DATES = {
    "%-m/%-d/%Y": ["1/5/2024", "12/25/2024"],
    "%-d/%-m/%Y": ["25/5/2024", "1/12/2024"],
    "%-d.%-m.%Y": ["10.1.2024", "9.12.2024"],
    "%Y-%m-%d %-I:%M %p": ["2024-04-16 8:09 PM", "2024-12-06 11:09 AM"],
    "%-m/%-d/%Y %H:%M": ["8/5/2024 09:05", "12/25/2024 13:05"],
    "%H:%M": ["11:08", "01:59"],
    "%-H:%M:%S": ["1:59:50", "11:00:00"],
    "%Y-%m": ["2020-09", "2021-12"],
    "%b %Y": ["Jan 2020", "May 2021"],
    "%-d-%b-%y": ["5-Jan-24", "17-Feb-23"],
    "%Y-%m-%dT%H:%M:%S+02:00": ["2024-04-15T01:00:00+02:00", "2024-04-16T01:00:00+02:00"],
}


@pytest.mark.parametrize("form", DATES)
def test_dates_come_back_letter_for_letter(form):
    words = pd.Series(DATES[form] * 3)
    assert format_of(words) == form
    x, unit = instants(words, form)
    back = restored_dates(x, np.zeros(len(x), bool), {"format": form, "unit": unit}, "object")
    assert back.tolist() == words.tolist()
    schema = describe(pd.DataFrame({"d": words}))
    values, reasons = numbers(pd.DataFrame({"d": words}), schema)
    assert not reasons and list(restored(values[:, 0], schema["d"], "object")) == words.tolist()


def test_months_are_months_apart():
    schema = describe(pd.DataFrame({"d": [f"2024-{m:02d}" for m in range(1, 13)]}))
    assert schema["d"]["unit"] == "M" and schema["d"]["step"] == 1


def test_dates_in_several_formats_and_offsets_are_dates():
    found, noted = column(["2024-05-31", "25/05/2024", "3 May 2024"])
    assert found == [pd.Timestamp("2024-05-31"), pd.Timestamp("2024-05-25"), pd.Timestamp("2024-05-03")]
    assert "several" in noted or "formats" in noted
    found, noted = column(["2024-04-15T01:00:00+02:00", "2024-12-15T01:00:00+01:00", "2024-04-15T01:00:00Z"])
    assert found[0] == pd.Timestamp("2024-04-14 23:00", tz="UTC") and "UTC" in noted
    assert column(["2024-05-31", "soon", "3 May 2024"])[0] == ["2024-05-31", "soon", "3 May 2024"]


def test_whole_numbers_that_are_ids_are_left_out_like_words():
    ids = pd.DataFrame({"id": 10**18 + np.arange(60) * 10**15, "v": np.arange(60)})
    assert describe(ids)["id"] == {"type": "id", "different": 60}
    with pytest.raises(DataError, match="2\\^53"):
        describe(pd.DataFrame({"id": [0, 2**60] * 20}))


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zip"])
def test_packed_tables_are_read(ending, tmp_path):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    path = tmp_path / f"t.csv{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("folder/t.csv", frame.to_csv(index=False))
    else:
        path.write_bytes({".gz": gzip, ".bz2": bz2, ".xz": lzma}[ending].compress(frame.to_csv(index=False).encode()))
    assert read_frame(path).equals(read_frame(path, {"separator": ","})) and list(read_frame(path)["a"]) == [1, 2, 3]
    assert whole(path).values.shape == (3, 2)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match="damaged"):
        read_frame(path)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as file:
        file.writestr("a.csv", "a\n1\n")
        file.writestr("b.csv", "a\n1\n")
    with pytest.raises(DataError, match="one table"):
        read_frame(tmp_path / "two.zip")


def test_separators_that_are_rare_and_spaces_behind_commas():
    assert read("a^b\n1^2\n3^4\n")[0].shape == (2, 2) and read("a:b\n1:x\n3:y\n")[0].shape == (2, 2)
    assert list(read("time\n10:30\n11:30\n")[0].columns) == ["time"]
    spaced = read("a, day, city\n1, 2020-01-01, Oslo\n2, 2020-01-02, Rome\n")[0]
    assert list(spaced["city"]) == ["Oslo", "Rome"] and list(spaced["day"]) == ["2020-01-01", "2020-01-02"]
    for none in ("0000-00-00", "NULL", "-"):
        days = read(f"day,a\n{none},1\n2020-01-01,2\n2020-01-02,3\n")[0]["day"]
        assert days.isna().tolist() == [True, False, False]


def test_dates_as_whole_numbers_are_dates():
    days = pd.date_range("2020-01-01", periods=60, freq="3D")
    whole_numbers = pd.DataFrame({"day": days.strftime("%Y%m%d").astype("int64"), "x": np.arange(60) / 7})
    about = describe(whole_numbers)["day"]
    assert about["type"] == "date" and about["step"] == 3 * 86400 * 10**6
    x, reasons = numbers(whole_numbers, {"day": about})
    assert (x[:, 0] == np.arange(60)).all() and not reasons
    back = restored(x[:, 0], about, "int64")
    assert back.tolist() == whole_numbers["day"].tolist() and back.dtype == np.int64
    gaps = whole_numbers.assign(day=whole_numbers["day"].where(whole_numbers.index > 0))
    back = restored(numbers(gaps, describe(gaps))[0][:, 0], describe(gaps)["day"], "float64")
    assert np.array_equal(back, gaps["day"], equal_nan=True)
    assert describe(whole_numbers, {"day": "number"})["day"]["type"] == "whole"
    assert describe(pd.DataFrame({"n": 20200000 + np.arange(60)}))["n"]["type"] == "whole", "no month is zero"


@pytest.mark.parametrize("orient", ["columns", "split", "records", "list"])
def test_tables_of_json_as_pandas_writes_them(orient, tmp_path):
    frame = pd.DataFrame({"a": range(30), "t": pd.date_range("2020", periods=30, freq="7h")})
    path = tmp_path / "t.json"
    if orient == "list":
        path.write_text(json.dumps({"a": list(range(30)), "t": [str(t) for t in frame["t"]]}))
    else:
        frame.to_json(path, orient=orient, date_format="iso")
    found = read_frame(path)
    assert list(found.columns) == ["a", "t"] and found["a"].tolist() == list(range(30))
    assert pd.to_datetime(found["t"]).dt.tz_localize(None).tolist() == frame["t"].tolist()
    assert describe(found)["t"]["type"] == "date"


def test_types_of_pandas_come_back_without_gaps_too():
    frame = pd.DataFrame({"a": pd.array(range(60), dtype="Int16"), "b": pd.array(np.arange(60) / 7, dtype="Float32")})
    checked = check_table(frame, "t")
    assert list(map(str, checked.dtypes)) == ["Int16", "Float32"]
    arrow = check_table(frame.convert_dtypes(dtype_backend="pyarrow"), "t")
    assert all("pyarrow" in str(dtype) for dtype in arrow.dtypes)
    with pytest.raises(DataError, match="the name"):
        check_table("t.csv", "t")


def test_metrics_take_dates_in_words_as_days():
    g = np.random.default_rng(0)
    days = [pd.Timestamp("2020-01-01") + pd.to_timedelta(g.integers(0, 900, 400), unit="D") for _ in range(2)]
    frames = [pd.DataFrame({"day": d.strftime("%d.%m.%Y"), "x": g.normal(size=400)}) for d in days]
    assert column_shapes(*frames)["day"] > 0.85, "no day of one is among those of the other"
    late = frames[0].assign(day=(days[0] + pd.Timedelta("500D")).strftime("%d.%m.%Y"))
    assert column_shapes(late, frames[1])["day"] < 0.6
    assert tree_auc(frames[0], frames[1])[0] < 0.6 < 0.7 < tree_auc(late, frames[1])[0]
    items = pofx.table(frames[0])
    kind = kind_of(items)
    vectors = kind.raw(frames[0], json.loads(json.dumps(kind.plan(items))))
    assert vectors.shape == (400, 2) and np.array_equal(vectors[:, 0], (days[0] - pd.Timestamp(0)).days)


def test_rows_are_scored_in_whatever_holds_them():
    frame = pd.DataFrame({"a": np.arange(60) % 7, "b": np.arange(60) / 7})
    run = pofx.fit(frame, "independent", steps=1, progress=False)
    wanted = run.log_prob(frame)
    for rows in (pa.Table.from_pandas(frame), pa.RecordBatch.from_pandas(frame), frame.to_records(index=False)):
        assert np.allclose(run.log_prob(rows), wanted)


@pytest.mark.parametrize(
    "texts", [["1", "2"], ["1.5", "2"], ["-0", "7"], ["01", "2"], ["1e3", "2"], ["", "3.25"], [" 1", "2"], ["1_0", "2"]]
)
def test_plain_numbers_are_what_they_were(texts, monkeypatch):
    column = pd.Series(texts * 3, name="x")
    found = typed(column)
    monkeypatch.setattr("pofx.data.typed._plain", lambda column: None)
    pd.testing.assert_series_equal(found, typed(column))


def test_decimals_in_single_precision_are_decimals():
    g = np.random.default_rng(0)
    known = np.float64(np.float32(g.integers(-2000, 2000, 3000) / 1000))
    about = describe(pd.DataFrame({"x": known}))
    assert about["x"] == {"type": "decimal", "places": 3, "single": True}
    new = np.float64(np.float32(np.array([1.999, 2.345, -13.396])))
    steps, reasons = numbers(pd.DataFrame({"x": new}), about)
    assert steps[:, 0].tolist() == [1999, 2345, -13396] and not reasons
    off, reasons = numbers(pd.DataFrame({"x": [1.9995]}), about)
    assert reasons and "decimals" in reasons[0]


def test_levels_are_values_that_new_rows_have_too():
    g = np.random.default_rng(0)
    uneven = np.sqrt(np.arange(1, 400) + 0.3)
    often = pd.DataFrame({"x": g.choice(uneven[:12], 3000)})
    assert describe(often)["x"]["type"] == "levels"
    rare = pd.DataFrame({"x": uneven[np.minimum(g.geometric(0.02, 3000), 398)]})
    assert describe(rare)["x"]["type"] == "real", "a new row may well have another value"
