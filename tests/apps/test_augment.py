"""Oversampling: classes equal in number, filters, and a report that lists what costs less."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from pofx.apps.augment import GenerativeOversampler, rare_rows, report, smote
from pofx.apps.plain_rows import learnable
from pofx.cli.main import app
from pofx.core.errors import DataError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore")


def rare(n=300, few=40, seed=0):
    g = np.random.default_rng(seed)
    x = g.normal(size=(n + few, 2))
    x[n:] = 0.4 * x[n:] + [1.5, 1.5]
    return x, np.repeat([0, 1], [n, few])


def test_classes_are_equal_in_number_and_real_rows_stay():
    x, y = rare()
    made = GenerativeOversampler()
    more, labels = made.fit_resample(x, y)
    assert np.array_equal(more[: len(x)], x) and (labels == 0).sum() == (labels == 1).sum()
    drawn = more[made.generated_]
    assert np.abs(drawn.mean(0) - 1.5).max() < 0.3
    assert len(np.unique(drawn, axis=0)) == len(drawn)
    half, _ = GenerativeOversampler(ratio=0.5).fit_resample(x, y)
    assert len(half) == 450
    frame, series = GenerativeOversampler().fit_resample(pd.DataFrame(x, columns=["a", "b"]), pd.Series(y, name="c"))
    assert list(frame.columns) == ["a", "b"] and series.name == "c" and len(frame) == 600


@pytest.mark.parametrize("keep", ["dense", "confident", "near"])
def test_filters_choose_among_the_draws(keep):
    x, y = rare()
    made = GenerativeOversampler(keep=keep)
    more, _ = made.fit_resample(x, y)
    plain = GenerativeOversampler()
    usual = plain.fit_resample(x, y)[0][plain.generated_]
    assert len(more) == 600
    away = np.abs(more[made.generated_] - 1.5).mean()
    assert keep != "dense" or away < np.abs(usual - 1.5).mean()


def test_a_class_of_few_rows_is_repeated():
    x, y = rare(few=2)
    more, labels = GenerativeOversampler().fit_resample(x, y)
    assert (labels == 1).sum() == 300 and len(np.unique(more[labels == 1], axis=0)) == 2


def test_smote_stays_between_neighbours():
    own = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    drawn = smote(own, 50, 0, k=1)
    assert np.allclose(drawn[:, 0], drawn[:, 1]) and drawn.min() >= 0 and drawn.max() <= 2


def test_the_report_lists_what_costs_less():
    x, y = rare()
    table = report(x, y, GenerativeOversampler(), classifier=LogisticRegression(), folds=3)
    wanted = {"nothing", "class weights", "moved threshold", "repeated rows", "SMOTE", "generated"}
    assert set(table.index) == wanted
    assert table.loc["nothing", "gain"] == 0 and table.loc["moved threshold", "AP"] == table.loc["nothing", "AP"]
    assert ((table[["AP", "F1", "Brier"]] >= 0) & (table[["AP", "F1", "Brier"]] <= 1)).all(axis=None)


def test_columns_that_no_density_holds_and_names_that_are_numbers_come_back():
    """An id is drawn from those of its class; a column called 0 is called 0."""
    g = np.random.default_rng(0)
    frame = pd.DataFrame({0: g.normal(size=60), "id": [f"n{i}" for i in range(60)], 2: g.choice(["a", "b"], 60)})
    y = np.repeat([0, 1], [40, 20])
    rows, labels = GenerativeOversampler("circuit", steps=1, options={"states": 2}).fit_resample(frame, y)
    assert list(rows.columns) == [0, "id", 2] and len(rows) == len(labels) == 80
    assert set(rows["id"][60:]) <= set(frame["id"][40:])


def people(n=120, few=30):
    g = np.random.default_rng(0)
    y = np.repeat([0, 1], [n, few])
    frame = pd.DataFrame(
        {"age": g.integers(18, 80, n + few), "plan": np.where(y, "pro", g.choice(["free", None], n + few))}
    )
    frame["paid"] = np.where(g.random(n + few) < 0.2, np.nan, g.normal(10 * y, 1).round(1))
    frame["since"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(g.integers(0, 99, n + few), "D")
    return frame, y


@pytest.mark.parametrize("keep", ["all", "confident", "near"])
def test_rows_with_words_gaps_and_dates_come_back_as_such(keep):
    frame, y = people()
    rows, labels = GenerativeOversampler(steps=2, options={"states": 4}, keep=keep).fit_resample(frame, y)
    assert len(rows) == 240 and labels.sum() == 120 and rows.dtypes.astype(str).equals(frame.dtypes.astype(str))
    assert set(rows["plan"][150:].dropna()) == {"pro"}


@pytest.mark.parametrize("keep", ["all", "dense"])
def test_gaps_in_arrays_and_tables_of_numbers_are_drawn_too(keep):
    x, y = rare(60, 30)
    x[::7, 1] = np.nan
    made = GenerativeOversampler(steps=2, options={"states": 4}, keep=keep)
    rows, _ = made.fit_resample(x, y)
    assert isinstance(rows, np.ndarray) and rows.shape == (120, 2) and not np.isnan(rows[:, 0]).any()
    table, _ = made.fit_resample(pd.DataFrame(x, columns=["a", "b"]), y)
    assert table.a.notna().all() and len(table) == 120


def test_the_report_of_rows_with_words_lists_the_same_treatments():
    frame, y = people()
    table = report(frame, y, GenerativeOversampler(steps=1, options={"states": 2}), folds=2)
    assert len(table) == 6 and table.loc["nothing", "AP"] > 0.9  # words and gaps are seen
    mixed = smote(frame[y == 1].reset_index(drop=True), 50, 0)
    assert set(mixed["plan"]) == {"pro"} and mixed["paid"].between(6, 14).sum() > 25
    assert mixed["since"].dtype == frame["since"].dtype


@pytest.mark.parametrize("form", ["grey", "last", "first", "floats"])
def test_pictures_come_back_as_they_were(form):
    g = np.random.default_rng(0)
    x = g.integers(0, 256, (30, 6, 6, 3)).astype(np.uint8)
    x[20:] //= 8  # the rare class is dark
    x = {"grey": x[..., 0], "last": x, "first": np.moveaxis(x, -1, 1), "floats": x[..., 0] / np.float32(255)}[form]
    keep = {"grey": "all", "last": "near", "first": "all", "floats": "dense"}[form]
    more, y = GenerativeOversampler("kde", keep=keep).fit_resample(x, np.repeat([0, 1], [20, 10]))
    assert more.shape == (40, *x.shape[1:]) and more.dtype == x.dtype and (y == 1).sum() == 20
    assert more[30:].mean() < 0.4 * x[:20].mean()


@pytest.mark.slow
def test_the_report_of_pictures_lists_the_same_treatments():
    g = np.random.default_rng(0)
    x = g.integers(0, 100, (90, 4, 4)).astype(np.uint8)
    y = np.repeat([0, 1], [60, 30])
    x[60:, :2] += 100
    table = report(x, y, GenerativeOversampler("kde"), folds=2)
    assert {"SMOTE", "generated", "class weights"} <= set(table.index) and table["AP"].min() > 0.9
    made = smote(x[60:], 7, 0)
    assert made.shape == (7, 4, 4) and made.dtype == np.uint8


def test_the_verb_states_whether_it_helps(tmp_path):
    x, y = rare(120, 30)
    pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "fraud": y}).to_csv(tmp_path / "in.csv", index=False)
    out = tmp_path / "out.csv"
    done = CliRunner().invoke(app, ["augment", str(tmp_path / "in.csv"), "--label", "fraud", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "SMOTE" in done.output and ("help here" in done.output or "no gain" in done.output)
    assert len(pd.read_csv(out)) == 240


def test_the_rare_value_is_the_rarer_one_or_named():
    frame = pd.DataFrame({"x": range(90), "plan": ["free"] * 70 + ["pro"] * 20, "a=b": ["u", "v", "w"] * 30})
    column, y = rare_rows(frame, "plan")
    assert column == "plan" and y.sum() == 20 and y[-1] == 1
    assert rare_rows(frame, "plan=pro")[1].sum() == 20 and rare_rows(frame, "a=b=v")[0] == "a=b"
    assert rare_rows(frame.assign(plan=(frame.plan == "free").astype(int)), "plan")[1][-1] == 1, "0 is the rare one"
    for label, words in (
        ("a=b", "3 values: name"),
        ("plan=gold", "no row has"),
        ("plan=free", "must be rare"),
        ("x=3", "10 rows at least"),
    ):
        with pytest.raises(DataError, match=words):
            rare_rows(frame, label)
    with pytest.raises(DataError, match="missing in 1"):
        rare_rows(frame.assign(plan=frame.plan.where(frame.index > 0)), "plan")
    with pytest.raises(UsageError, match="label column"):
        rare_rows(frame, "fraud")


def test_trees_see_dates_in_words_as_numbers():
    days = pd.date_range("2020-01-01", periods=300).strftime("%d.%m.%Y")
    frame = pd.DataFrame({"day": days, "w": ["a", "b", None] * 100})
    found = learnable(frame.tail(5), frame)
    assert (
        found["day"].dtype == np.float64 and (np.diff(found["day"]) > 0).all() and str(found["w"].dtype) == "category"
    )
