"""Objects of unusual types: each is read exactly, or refused in one sentence; none is changed in silence."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import pofx
from pofx.core.errors import DataError, UsageError
from pofx.data.frames import read_frame
from pofx.data.kinds.table import check_table

N = 40
DAYS = [datetime.date(2020, 1, 1 + i % 28) for i in range(N)]


def checked(values, dtype=None):
    return check_table(pd.DataFrame({"x": np.arange(N) / 7, "c": pd.Series(values, dtype=dtype)}), "t")["c"]


@pytest.mark.parametrize(
    "values,kind",
    [
        (pd.Series(DAYS, dtype=object), "M"),
        (pd.Series([*DAYS[1:], None], dtype=object), "M"),
        (pd.Series([datetime.datetime(2020, 1, 1, h % 24) for h in range(N)], dtype=object), "M"),
        (pd.Series(DAYS, dtype=pd.ArrowDtype(pa.date32())), "M"),
        (pd.Series(pd.date_range("2020", periods=N), dtype=pd.ArrowDtype(pa.timestamp("ns"))), "M"),
        (pd.Series([Decimal("1.10") * i for i in range(N)], dtype=object), "f"),
        (pd.Series([Decimal("1.1"), 2] * (N // 2), dtype=object), "f"),
        (pd.Series([Decimal("1.5")] * N, dtype=pd.ArrowDtype(pa.decimal128(5, 2))), "f"),
        (pd.Series([b"u", b"v"] * (N // 2), dtype=object), "O"),
        (pd.Series([True, False] * (N // 2), dtype=pd.ArrowDtype(pa.bool_())), "b"),
        (pd.Series([2**63 + 1, 5] * (N // 2), dtype=object), "u"),
    ],
)
def test_objects_become_what_they_are(values, kind):
    found = checked(values)
    assert found.dtype.kind == kind
    if kind == "O":
        assert set(found) == {"u", "v"}


def test_whole_numbers_stay_exact_beside_gaps():
    found = checked(pd.Series([2**53 + 1, None] * (N // 2), dtype=object))
    assert int(found.dropna().iloc[0]) == 2**53 + 1


@pytest.mark.parametrize(
    "values",
    [
        [[1], [2]] * (N // 2),
        [{"a": 1}, {}] * (N // 2),
        [torch.tensor(1.0)] * N,
        [10**25, 1] * (N // 2),
        [datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=i % 2))) for i in range(N)],
    ],
)
def test_objects_without_a_type_are_refused(values):
    with pytest.raises(DataError, match="c"):
        checked(pd.Series(values, dtype=object))


def test_names_of_columns_in_levels_are_refused():
    frame = pd.DataFrame(np.zeros((N, 2)), columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))
    with pytest.raises(DataError, match="levels"):
        pofx.table(frame)


@pytest.fixture(scope="module")
def run():
    x = np.random.default_rng(0).normal(size=(N, 2)).astype("f4")
    return pofx.fit(pofx.points(x, labels=np.arange(N) % 3), "gmm", condition="label", steps=1, progress=False), x


def test_tensors_of_any_type_and_layout_are_the_same_numbers(run):
    artifact, x = run
    labels, expected = np.arange(N) % 3, artifact.log_prob(x, condition=np.arange(N) % 3)
    grad = torch.tensor(x, requires_grad=True)
    for same in (
        grad,
        torch.tensor(x).to_sparse(),
        torch.tensor(x).t().contiguous().t(),
        pd.DataFrame(x).convert_dtypes(),
    ):
        assert np.array_equal(artifact.log_prob(same, condition=torch.tensor(labels, dtype=torch.uint8)), expected)
    half = torch.tensor(x).bfloat16()
    assert np.array_equal(artifact.log_prob(half, condition=labels), artifact.log_prob(half.float(), condition=labels))


def test_numbers_of_numpy_are_numbers(run):
    artifact, x = run
    given = np.ones(200, np.int8)
    drawn, again = (
        artifact.sample(n, condition=given, seed=s) for n, s in ((np.uint8(200), np.uint8(250)), (200, 250))
    )
    assert np.array_equal(drawn, again)
    pofx.fit(pofx.points(x), "gmm", steps=np.int16(1), seed=np.uint8(7), progress=False)
    with pytest.raises(UsageError, match="width"):
        pofx.fit(pofx.points(x), "nsf", steps=1, width=np.bool_(True), progress=False)


def test_a_home_in_a_path_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    made = pofx.fit(
        pofx.points(np.random.default_rng(0).normal(size=(N, 2))), "gmm", steps=1, out="~/r", progress=False
    )
    assert (tmp_path / "home" / "r" / "artifact.json").is_file() and not (tmp_path / "~").exists()
    assert pofx.load("~/r").name == made.name


def test_whole_numbers_of_sound_have_a_loudest_value():
    wave = np.round(8000 * np.sin(np.arange(400) / 9)).astype(np.int64)
    with pytest.raises(DataError, match="int64"):
        pofx.audio([wave] * 4, rate=8000)
    with pytest.warns(UserWarning, match="nearly silence"):
        pofx.audio([wave.astype(np.int32)] * 4, rate=8000)
    assert np.allclose(pofx.audio([wave.astype(np.int16)] * 4, rate=8000).values[0], wave / 32768)


@pytest.mark.parametrize("form", ["spans", "words", "gaps"])
def test_spans_of_time_come_back(form, tmp_path):
    g = np.random.default_rng(0)
    spans = pd.Series(pd.to_timedelta(g.integers(0, 90, 80) * 30, unit="min"))
    if form == "gaps":
        spans[3] = pd.NaT
    frame = pd.DataFrame({"x": g.normal(size=80), "t": spans.map(str) if form == "words" else spans})
    run = pofx.fit(pofx.table(frame), "circuit", steps=3, states=4, validations=1, progress=False)
    drawn = run.sample(60)
    assert drawn["t"].dtype == frame["t"].dtype
    lengths = pd.to_timedelta(drawn["t"]).dropna()
    assert (
        lengths.between(spans.min(), spans.max()).all() and (lengths % pd.Timedelta("30min") == pd.Timedelta(0)).all()
    )
    assert np.isfinite(run.log_prob(frame)).all()
    run.save(tmp_path / "run")
    frame.to_csv(tmp_path / "t.csv", index=False)
    again = pofx.load(tmp_path / "run")
    assert np.allclose(again.log_prob(read_frame(tmp_path / "t.csv")), run.log_prob(frame)), "from a file too"
