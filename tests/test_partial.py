"""Rows given some of their columns: against the conditional of a Gaussian, and by enumeration on a small table."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pofx
from pofx.cli.main import app
from pofx.core.errors import DataError, Unsupported, UsageError

RNG = np.random.default_rng(0)
N = 4000
SMALL = {"made": {"width": 32}, "gpt": {"width": 24, "layers": 2, "heads": 2}, "circuit": {"states": 6}}


def gaussian() -> pd.DataFrame:
    z = RNG.normal(size=(N, 3))
    return pd.DataFrame({"a": z[:, 0], "b": 0.8 * z[:, 0] + 0.6 * z[:, 1], "c": 2 * z[:, 2] - z[:, 0]})


def small() -> pd.DataFrame:
    x = pd.DataFrame({"u": RNG.choice(["x", "y", "z"], N, p=[0.5, 0.3, 0.2]), "v": RNG.random(N) < 0.4})
    agree = np.where(RNG.random(N) < 0.7, x.v, RNG.random(N) < 0.5)
    return x.assign(w=np.where(agree, RNG.integers(0, 2, N), 2))


@pytest.mark.parametrize(("known", "value"), [("b", 1.0), ("a", -0.7), ("c", 2.0)])
def test_the_copula_draws_from_the_conditional_of_a_gaussian(known, value):
    x = gaussian()
    run = pofx.fit(pofx.table(x), "copula", steps=1, progress=False)
    drawn = run.sample(3000, given={known: value})
    assert (drawn[known] == value).all()
    cov = np.array([[1, 0.8, -1], [0.8, 1, -0.8], [-1, -0.8, 5]])
    k, rest = "abc".index(known), [i for i in range(3) if "abc"[i] != known]
    mean = cov[rest, k] / cov[k, k] * value
    left = cov[np.ix_(rest, rest)] - np.outer(cov[rest, k], cov[k, rest]) / cov[k, k]
    values = drawn.to_numpy()[:, rest]
    assert np.allclose(values.mean(0), mean, atol=0.12) and np.allclose(np.cov(values.T), left, atol=0.25)


@pytest.mark.parametrize(("model", "known"), [("made", "u"), ("gpt", "u"), ("circuit", "w"), ("circuit", "v")])
def test_conditionals_equal_those_of_the_enumerated_table(model, known):
    x = small()
    run = pofx.fit(pofx.table(x), model, steps=30, progress=False, options=SMALL[model])
    every = pd.MultiIndex.from_product([["x", "y", "z"], [True, False], [0, 1, 2]], names=list("uvw")).to_frame(
        index=False
    )
    value = {"u": "y", "v": True, "w": 2}[known]
    part = every[every[known] == value]
    p = np.exp(run.log_prob(part))
    drawn = run.sample(4000, given={known: value}, seed=1)
    assert (drawn[known] == value).all()
    often = drawn.value_counts(list("uvw")).reindex(pd.MultiIndex.from_frame(part), fill_value=0).to_numpy() / 4000
    assert np.abs(often - p / p.sum()).sum() / 2 < 0.04


def test_a_copula_given_categories_and_missing_values():
    x = small().assign(t=RNG.normal(size=N))
    x.loc[x.v & (RNG.random(N) < 0.5), "t"] = np.nan
    run = pofx.fit(pofx.table(x), "copula", steps=1, progress=False)
    drawn = run.sample(2000, given={"v": True, "u": "y"})
    assert drawn.v.all() and (drawn.u == "y").all()
    every = run.sample(20_000, seed=1)
    alike = every[every.v & (every.u == "y")]  # the model's own conditional, by rejection
    assert abs(drawn.t.isna().mean() - alike.t.isna().mean()) < 0.05
    assert abs((drawn.w == 2).mean() - (alike.w == 2).mean()) < 0.06
    assert run.sample(20, given={"t": None}).t.isna().all()


def test_columns_that_are_to_be_known_come_first(tmp_path):
    x = small().assign(t=RNG.normal(size=N))
    run = pofx.fit(pofx.table(x), "made", steps=1, progress=False, width=32, leading=["t", "w"], out=tmp_path / "run")
    drawn = run.sample(5, given={"t": 0.25, "w": 1})
    assert (drawn.t == 0.25).all() and (drawn.w == 1).all() and list(drawn.columns) == list(x.columns)
    rows = run.sample(2, given=pd.DataFrame({"t": [0.1, 0.2]}))
    assert rows.t.tolist() == [0.1, 0.2]
    with pytest.raises(Unsupported, match="leading=u"):
        run.sample(2, given={"u": "x"})
    with pytest.raises(UsageError, match="did you mean|unknown known column"):
        run.sample(2, given={"tt": 1})
    with pytest.raises(DataError, match="cannot occur"):
        run.sample(2, given={"w": "many"})
    out = tmp_path / "s.csv"
    ran = CliRunner().invoke(
        app, ["sample", str(tmp_path / "run"), "-n", "4", "--given", "t=0.5,w=2", "--out", str(out)]
    )
    assert ran.exit_code == 0, ran.output
    assert (pd.read_csv(out).w == 2).all() and (pd.read_csv(out).t == 0.5).all()


def test_known_columns_may_be_those_of_the_condition():
    x = small().assign(t=RNG.normal(size=N))
    run = pofx.fit(x, "made", condition=["u"], steps=1, progress=False, width=32)
    drawn = run.sample(4, given={"u": "x", "v": True})
    assert (drawn.u == "x").all() and drawn.v.all()


def test_rows_may_lack_other_cells_each():
    x = small()
    run = pofx.fit(pofx.table(x), "circuit", steps=30, progress=False, options=SMALL["circuit"])
    known = pd.DataFrame({"u": ["y", None, "x", None], "v": [None, True, None, None], "w": [2, np.nan, np.nan, np.nan]})
    many = known.loc[np.repeat(np.arange(4), 1500)].reset_index(drop=True)
    drawn = run.sample(len(many), given=many, seed=1)
    for column in "uvw":
        there = many[column].notna()
        assert (
            drawn[column][there].astype(str) == many[column][there].astype(type(drawn[column][0])).astype(str)
        ).all()
    every = pd.MultiIndex.from_product([["x", "y", "z"], [True, False], [0, 1, 2]], names=list("uvw")).to_frame(
        index=False
    )
    for k, part in enumerate([every[(every.u == "y") & (every.w == 2)], every[every.v], every[every.u == "x"], every]):
        p = np.exp(run.log_prob(part))
        own = drawn.iloc[1500 * k : 1500 * (k + 1)].value_counts(list("uvw"))
        often = own.reindex(pd.MultiIndex.from_frame(part), fill_value=0).to_numpy() / 1500
        assert np.abs(often - p / p.sum()).sum() / 2 < 0.06
    again = run.sample(3, given=known.iloc[:3], seed=5, batch_size=2)
    assert again.equals(run.sample(3, given=known.iloc[:3], seed=5))


def test_a_gap_in_a_column_that_had_gaps_is_a_known_value():
    x = small().assign(t=RNG.normal(size=N))
    x.loc[RNG.random(N) < 0.3, "t"] = np.nan
    run = pofx.fit(pofx.table(x), "circuit", steps=5, progress=False, options=SMALL["circuit"])
    drawn = run.sample(2, given=pd.DataFrame({"t": [np.nan, 0.5], "u": ["x", None]}))
    assert np.isnan(drawn.t[0]) and drawn.t[1] == pytest.approx(0.5) and drawn.u[0] == "x"


def test_what_is_known_of_rows_is_a_prefix_too_and_a_mapping_for_each_row():
    x = small().assign(t=RNG.normal(size=N))
    x.loc[RNG.random(N) < 0.2, "t"] = np.nan
    run = pofx.fit(pofx.table(x), "circuit", steps=5, progress=False, options={"states": 4})
    same = run.sample(4, seed=1, given={"u": "y"})
    pd.testing.assert_frame_equal(run.sample(4, seed=1, prefix={"u": "y"}), same)
    pd.testing.assert_frame_equal(run.sample(4, seed=1, prefix=pd.Series({"u": "y"})), same)
    drawn = run.sample(40, seed=1, prefix=[{"u": "x"}, {"v": True}] * 20)
    assert (drawn.u[::2] == "x").all() and drawn.v[1::2].all() and drawn.u.nunique() == 3
    assert drawn.t[::2].notna().any() and drawn.t[1::2].notna().any()  # a column that no row names is drawn
    named = run.sample(40, seed=1, prefix=[{"u": "x", "t": 0.5}, {"v": True}] * 20)
    assert (named.t[::2] == 0.5).all() and named.t[1::2].notna().any()  # not named: unknown, though it may be missing
    with pytest.raises(UsageError, match="not both"):
        run.sample(2, prefix={"u": "x"}, given={"u": "x"})
