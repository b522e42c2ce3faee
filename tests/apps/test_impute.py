"""Imputation: the conditional of a Gaussian, hidden cells, densities of what is known, and any subset."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pofx.apps.impute import Imputer, compared, rows_of, usual_of
from pofx.cli.main import app
from pofx.core.errors import DataError, Unsupported

pytestmark = pytest.mark.filterwarnings("ignore")


def people(n=1500, seed=0):
    g = np.random.default_rng(seed)
    plan = g.choice(["free", "pro"], n, p=[0.6, 0.4])
    income = np.round(30 + 30 * (plan == "pro") + 5 * g.normal(size=n), 1)
    return pd.DataFrame({"income": income, "age": g.integers(18, 60, n), "plan": plan})


@pytest.fixture(scope="module")
def normal():
    g = np.random.default_rng(0)
    a = g.normal(size=2500)
    frame = pd.DataFrame({"a": a, "b": 0.9 * a + (1 - 0.81) ** 0.5 * g.normal(size=2500)})
    return Imputer(steps=50, options={"states": 24, "intervals": 24}).fit(frame)


@pytest.fixture(scope="module")
def imputer():
    return Imputer(steps=60, options={"states": 16}).fit(people())


@pytest.mark.parametrize("a", [-1.5, *(pytest.param(a, marks=pytest.mark.slow) for a in (0.0, 1.0))])
def test_draws_follow_the_conditional_of_a_gaussian(normal, a):
    b = np.array([d["b"][0] for d in normal.draws(pd.DataFrame({"a": [a], "b": [np.nan]}), 300)])
    assert b.mean() == pytest.approx(0.9 * a, abs=0.22)
    assert b.std() == pytest.approx(0.436, abs=0.22)  # a and b are known up to their quantile intervals


def test_the_density_of_known_cells_is_the_marginal(normal):
    x = pd.DataFrame({"a": [-1.0, 0.0, 0.5], "b": [np.nan] * 3})
    wanted = -0.5 * x["a"] ** 2 - 0.5 * np.log(2 * np.pi)
    assert np.allclose(normal.log_prob(x), wanted, atol=0.25)  # a histogram of 24 intervals
    whole = pd.DataFrame({"a": [0.3, 1.0], "b": [0.1, 0.8]})
    assert np.allclose(normal.log_prob(whole), normal.run_.log_prob(whole), atol=1e-4)


def test_known_cells_stay_and_missing_ones_are_filled_in_their_type(imputer):
    frame = people(50, seed=3)
    partial = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.4)
    for table in (imputer.transform(partial), *imputer.draws(partial, 2)):
        assert table.notna().all(axis=None)
        known = partial.notna()
        assert (table[known] == partial[known])[known].stack().all()
        assert set(table["plan"]) <= {"free", "pro"}
        assert (table["age"] == table["age"].round()).all()
    clear = pd.DataFrame({"income": [28.0, 65.0], "age": [30, 30], "plan": [None, None]})
    assert list(imputer.transform(clear)["plan"]) == ["free", "pro"]


def test_hidden_cells_are_found_better_than_by_simple_fills(imputer):
    table = compared(imputer, people(), rows_of(people(1200, seed=5)))
    ours, others = table.loc["circuit"], table.drop("circuit")
    assert (ours["accuracy"] > others["accuracy"]).all()
    assert (ours["CRPS"] < others["CRPS"]).all()


def test_rows_that_cannot_be_read_are_refused_with_a_reason(imputer):
    with pytest.raises(DataError, match="lacks the columns plan"):
        imputer.transform(people(3)[["income", "age"]])
    with pytest.raises(Unsupported, match="choose circuit"):
        Imputer("gmm", options={"components": 1}).fit(people(200)[["income", "age"]])


def test_nothing_is_concluded_from_a_word_that_was_never_seen(imputer):
    """Its row is filled as if the cell were empty, the cell stays, and the density of the known cells is zero."""
    rows = pd.DataFrame({"income": [np.nan, 61.0, np.nan], "age": [30.0, 30, 30], "plan": ["gold", None, None]})
    with pytest.warns(UserWarning, match="column plan: 'gold' was not seen"):
        filled, drawn = imputer.transform(rows), imputer.draws(rows, 2)[0]
    assert list(filled["plan"][:2]) == ["gold", "pro"] and drawn["plan"][0] == "gold"
    assert filled.notna().all(axis=None) and filled["income"][0] == pytest.approx(filled["income"][2], abs=8)
    log_p = imputer.log_prob(rows)
    assert np.isneginf(log_p[0]) and np.isfinite(log_p[1:]).all()


def test_types_and_columns_without_any_cell_stay():
    frame = people(200).assign(void=np.nan, nothing=None, n=pd.array([*range(199), None], "Int64"))
    frame["plan"] = frame["plan"].astype("category")
    frame.loc[3, "plan"] = np.nan
    filled = Imputer(steps=2, options={"states": 4}).fit(frame).transform(frame)
    assert list(filled.dtypes) == list(frame.dtypes)
    assert filled[["void", "nothing"]].isna().all(axis=None)
    assert filled.drop(columns=["void", "nothing"]).notna().all(axis=None)


@pytest.mark.slow
def test_the_verb_fills_a_file_and_reports_simple_fills_beside(tmp_path):
    frame = people(300)
    frame.mask(np.random.default_rng(1).random(frame.shape) < 0.1).to_csv(tmp_path / "in.csv", index=False)
    out = tmp_path / "out.csv"
    done = CliRunner().invoke(app, ["impute", str(tmp_path / "in.csv"), "--out", str(out), "--steps", "10"])
    assert done.exit_code == 0, done.output
    for name in ("circuit", "mean or mode", "5 nearest rows", "cells filled"):
        assert name in done.output
    assert pd.read_csv(out).notna().all(axis=None)


def test_arrays_have_as_many_columns_as_in_training():
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[::7, 1] = np.nan
    imputer = Imputer(steps=2, options={"states": 4}).fit(x)
    assert imputer.n_features_in_ == 3 and imputer.transform(x).notna().all(axis=None)
    for wrong in (x[:, :2], x[:, 0]):
        with pytest.raises(ValueError, match="features|1D"):
            imputer.transform(wrong)
    with pytest.raises(ValueError, match="1 sample"):
        Imputer(steps=2).fit(x[:1])
    named = Imputer(steps=2, options={"states": 4}).fit(pd.DataFrame(x, columns=list("abc")))
    assert list(named.feature_names_in_) == ["a", "b", "c"]


def test_dates_are_filled_by_the_median_of_their_draws():
    words = pd.DataFrame([["01.02.2020", "05.01.2021", "03.01.2020"], ["x", None, None]]).astype(object)
    assert usual_of(words, "%d.%m.%Y")[0] == "01.02.2020"
    moments = pd.to_datetime(words.iloc[:1].stack(), format="%d.%m.%Y").unstack()
    assert usual_of(moments, None)[0] == pd.Timestamp("2020-02-01")
    g = np.random.default_rng(0)
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.sort(g.integers(0, 300, 200)), unit="D")
    frame = pd.DataFrame({"day": day.strftime("%d.%m.%Y"), "n": np.arange(200)})
    imputer = Imputer(steps=20, options={"states": 8}).fit(frame.iloc[::2])
    found = compared(imputer, rows_of(frame.iloc[::2]), rows_of(frame.iloc[1::2]))
    assert found["accuracy"].isna().all() and found["CRPS"].notna().all(), "dates are numbers"
