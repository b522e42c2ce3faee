"""Tables as people have them: types come back, grids need evidence, and a row unlike training has probability zero."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx.core.errors import DataError
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.data.kinds.points import points
from pofx.data.kinds.table import table
from pofx.data.sources import load
from pofx.represent.table import Points, Table

RNG = np.random.default_rng(0)
N = 300


def mixed() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": RNG.integers(18, 90, N),
            "income": RNG.normal(3e4, 1e4, N),
            "price": RNG.integers(100, 999, N) / 100,
            "member": RNG.random(N) < 0.3,
            "plan": RNG.choice(["free", "pro", "team"], N),
            "grade": pd.Categorical(RNG.choice(["a", "b"], N)),
            "gap": np.where(RNG.random(N) < 0.2, None, "x"),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 400, N), unit="D"),
        }
    )


def test_every_type_comes_back_exactly():
    x = mixed()
    fitted = Table.fit(table(x))
    event, ladj = fitted.encode(fitted.tensor(x), Streams(0, N))
    out = fitted.items(fitted.decode(event))
    assert out.dtypes.astype(str).tolist() == x.dtypes.astype(str).tolist()
    for name in x.columns.drop("income"):
        a, b = (f[name].astype(object).where(f[name].notna(), None).tolist() for f in (out, x))
        assert a == pytest.approx(b) if name == "price" else a == b
    assert torch.isfinite(event).all() and torch.isfinite(ladj).all() and not fitted.impossible(x)


def test_draws_are_valid_rows():
    x = mixed()
    fitted = Table.fit(table(x))
    wild = fitted.items(fitted.decode(10 * torch.randn(2000, fitted.width)))
    assert set(wild.member) == {True, False} and set(wild.plan) == {"free", "pro", "team"}
    assert wild.age.between(x.age.min(), x.age.max()).all() and wild.day.between(x.day.min(), x.day.max()).all()
    assert not fitted.impossible(wild)


def test_rows_that_cannot_occur_have_their_reason():
    x = mixed()
    fitted = Table.fit(table(x))
    bad = x.head(5).copy()
    bad["plan"] = ["free", "gold", "pro", "pro", "team"]
    bad["age"] = [20, 21, 22.5, 30, 31]
    bad["price"] = [1.25, 1.5, 2.0, 2.125, 3.0]
    reasons = fitted.impossible(bad)
    assert set(reasons) == {1, 2, 3}
    assert "gold" in reasons[1] and "age" in reasons[2] and "decimals" in reasons[3]
    assert len(fitted.tensor(bad)) == 5


def test_scores_answer_for_every_row():
    x = mixed()
    run = pofx.fit(pofx.table(x), "gmm", steps=1, progress=False)
    some = x.head(4).copy()
    some.loc[2, "plan"] = "gold"
    value = run.log_prob(some)
    assert np.isfinite(value[[0, 1, 3]]).all() and value[2] == -np.inf
    assert run.sample(5).dtypes.equals(x.dtypes)


@pytest.mark.parametrize("offset", [2459000.5, 5.4e6, 1.7e9, 3e12])
def test_large_reals_are_not_rounded(offset):
    x = pd.DataFrame({"t": offset + RNG.uniform(0, 1, 500), "b": RNG.normal(size=500)})
    fitted = Table.fit(table(x))
    assert fitted.volume is Density.EXACT and fitted.measure == "Lebesgue"
    out = fitted.items(fitted.decode(fitted.encode(fitted.tensor(x), Streams(0, 500))[0]))
    assert np.abs(out.t - x.t).max() < 1e-3


@pytest.mark.parametrize("scale", [1.0, 1 / 7, 1e-5, 0.37])
def test_lattices_of_any_step_are_dequantised(scale):
    k = RNG.integers(0, 9, 2000)
    x = pd.DataFrame({"a": (k - k.mean()) * scale, "b": RNG.normal(size=2000)})
    fitted = Table.fit(table(x))
    assert fitted.volume is Density.BOUND and "counting" in fitted.measure
    out = fitted.items(fitted.decode(fitted.encode(fitted.tensor(x), Streams(0, 2000))[0]))
    assert np.allclose(out.a, x.a, atol=1e-9 * scale) and not fitted.impossible(x)


def test_a_heavy_value_of_a_coordinate_is_reported_and_never_exact():
    x = RNG.normal(size=(1000, 2))
    x[RNG.random(1000) < 0.7, 0] = 0.0
    with pytest.warns(UserWarning, match="x0.*values repeat"):
        assert Points.fit(points(x)).volume is Density.ESTIMATE
    k = RNG.integers(0, 3, (1000, 2)).astype(float)
    with pytest.warns(UserWarning, match="values repeat"):
        assert Points.fit(points((k - k.mean(0)) / k.std(0))).volume is Density.ESTIMATE


def test_heavy_and_missing_values_of_a_column_are_values_of_their_own():
    x = pd.DataFrame({"a": RNG.normal(size=1000), "b": RNG.normal(size=1000), "c": RNG.integers(0, 50, 1000) * 1.0})
    x.loc[RNG.random(1000) < 0.5, "a"] = 0.0
    x.loc[RNG.random(1000) < 0.3, "a"] = 1.5
    x.loc[RNG.random(1000) < 0.3, ["b", "c"]] = np.nan
    fitted = Table.fit(table(x))
    assert (
        fitted.volume is Density.BOUND and "single values" in fitted.measure and (fitted.width, fitted.dims) == (6, 3)
    )
    event, ladj = fitted.encode(fitted.tensor(x), Streams(0, 1000))
    assert torch.isfinite(event).all() and torch.isfinite(ladj).all()
    out = fitted.items(fitted.decode(event))
    pd.testing.assert_frame_equal(out, x, atol=1e-5)
    assert (out.a == 0).sum() == (x.a == 0).sum() and not fitted.impossible(x)
    full = pd.DataFrame({"a": RNG.normal(size=100), "b": RNG.normal(size=100)})
    reasons = Table.fit(table(full)).impossible(full.assign(a=full.a.mask(full.index == 3)))
    assert list(reasons) == [3] and "missing" in reasons[3]


def test_the_state_and_the_number_make_a_density():
    """p(state) p(number | state) of a known law: the bound is within its noise of the truth, and never far above it."""
    n = 4000
    x = pd.DataFrame({"a": np.where(RNG.random(n) < 0.4, np.nan, RNG.normal(size=n)), "b": RNG.normal(size=n)})
    run = pofx.fit(pofx.table(x), "gmm", steps=1, progress=False)
    log_normal = [-0.5 * v**2 - 0.5 * np.log(2 * np.pi) for v in (x.a, x.b)]
    truth = np.where(x.a.isna(), np.log(0.4), np.log(0.6) + log_normal[0]) + log_normal[1]
    gap = truth - run.log_prob(x, draws=64)
    assert -0.02 < gap.mean() < 0.1


def test_continuous_columns_of_either_precision_have_no_atoms():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in (np.float32, np.float64):
            assert Points.fit(points(RNG.random((20000, 2)).astype(dtype))).volume is Density.EXACT
            assert Table.fit(table(RNG.normal(size=(20000, 2)).astype(dtype))).volume is Density.EXACT


def test_columns_are_described_from_all_splits():
    for row in range(0, 200, 23):
        flag = np.zeros(200, int)
        flag[row] = 1
        data = load(pofx.table(pd.DataFrame({"flag": flag, "v": np.round(RNG.normal(size=200), 6)})))
        fitted = Table.fit(data.train)
        assert fitted.constants == {} and not any(fitted.impossible(part.values) for part in data.splits().values())


def test_constants_are_compared_in_their_own_type():
    x = pd.DataFrame({"c": np.full(50, 0.1, np.float32), "v": RNG.normal(size=50)})
    fitted = Table.fit(table(x))
    assert not fitted.impossible(x) and set(fitted.constants) == {"c"}
    noise = pd.DataFrame({"c": 0.1 + RNG.choice([0, 1e-17], 50), "v": x.v})
    assert set(Table.fit(table(noise)).constants) == {"c"}


@pytest.mark.parametrize("scale", [1e160, 1e-200, 1e308])
def test_magnitudes_beyond_squares_are_refused(scale):
    x = RNG.uniform(-1, 1, (50, 2)) * scale
    for view, items in ((Table, table(x)), (Points, points(x))):
        with pytest.raises(DataError, match="magnitudes|whole"):
            view.fit(items)


def test_whole_numbers_beyond_two_to_53():
    near = pd.DataFrame({"id": 6 * 10**18 + np.arange(50), "v": RNG.normal(size=50)})
    fitted = Table.fit(table(near))
    assert fitted.items(fitted.tensor(near)).id.tolist() == near.id.tolist()
    unsigned = pd.DataFrame({"id": np.uint64(2**63) + np.arange(50, dtype=np.uint64), "v": near.v})
    fitted = Table.fit(table(unsigned))
    assert fitted.items(fitted.tensor(unsigned)).id.tolist() == unsigned.id.tolist()
    with pytest.raises(DataError, match="holds an id"):
        Table.fit(table(pd.DataFrame({"id": RNG.integers(0, 2**62, 50), "v": near.v})))


def test_a_condition_needs_no_density_and_repeats_without_a_warning():
    from pofx.core.event import Continuous
    from pofx.represent.choose import view_of_condition

    g = np.random.default_rng(0)
    hours = np.stack((np.sin(np.arange(400) % 24), g.normal(size=400)), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        view_of_condition(points(hours), (Continuous,), "it takes")
