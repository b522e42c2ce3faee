"""Rows as numbers beside classes: exact both directions, a density that sums to 1, types that stay."""

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.data.kinds.table import table
from pofx.represent.table_heads import Heads

RNG = np.random.default_rng(0)
N = 400


def mixed() -> pd.DataFrame:
    x = pd.DataFrame(
        {
            "age": RNG.integers(18, 60, N),
            "income": RNG.lognormal(10, 1, N),
            "visits": np.where(RNG.random(N) < 0.6, 0, RNG.integers(1, 100_000, N)),
            "member": RNG.random(N) < 0.3,
            "plan.name": RNG.choice(["free", "pro", "team"], N),
            "grade": pd.Categorical(RNG.choice(["b", "a"], N), categories=["b", "a", "c"], ordered=True),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 400, N), unit="D"),
            "same": 3,
        }
    )
    x.loc[:30, "income"] = np.nan
    x.loc[60:65, "plan.name"] = None
    x.loc[5:9, "day"] = pd.NaT
    return x


def test_every_value_comes_back_in_its_type():
    x = mixed()
    view = Heads.fit(table(x))
    assert [m["column"] for m in view.margins] == ["income", "visits", "day"]
    raw = view.tensor(x)
    pd.testing.assert_frame_equal(view.items(raw), x, check_exact=False)
    event, ladj = view.encode(raw, Streams(0, N))
    assert torch.isfinite(ladj).all() and not view.impossible(x) and view.volume is Density.BOUND
    back = view.items(view.drawn(event, Streams(0, N)))
    pd.testing.assert_frame_equal(back, x, check_exact=False, rtol=1e-4)


def test_numbers_begin_at_the_independent_density():
    """A number has a standard normal margin, and its log-Jacobian is the derivative of the map."""
    x = pd.DataFrame({"a": RNG.gamma(1.0, 5.0, 4000), "b": RNG.normal(size=4000) ** 3})
    view = Heads.fit(table(x))
    event, ladj = view.encode(view.tensor(x), Streams(0, len(x)))
    z = event["numbers"]
    assert z.mean(0).abs().max() < 0.05 and (z.std(0) - 1).abs().max() < 0.05 and view.volume is Density.EXACT
    h = 1e-5
    more, _ = view.encode(view.tensor(x) + h, Streams(0, len(x)))
    slopes = ((more["numbers"].double() - z.double()) / h).log().sum(1)
    close = (slopes - ladj).abs() < 0.3  # float32 events
    assert close.float().mean() > 0.9


def test_the_mass_over_a_small_table_is_one():
    """A state that gives the value, a dequantised number and classes: the sum over all rows, by many draws of noise."""
    a = np.where(RNG.random(N) < 0.4, np.nan, RNG.integers(0, 12, N).astype(float))
    x = pd.DataFrame({"a": a, "b": RNG.random(N) < 0.4})
    run = pofx.fit(pofx.table(x), "independent", steps=1, represent="columns", as_classes=0, progress=False)
    assert set(run.model.event) == {"numbers", "classes"} and run.density is Density.BOUND
    every = pd.MultiIndex.from_product([[np.nan, *range(-8, 20)], [True, False]], names=["a", "b"])
    score = run.score(every.to_frame(index=False).astype({"a": float}), draws=100)
    assert np.exp(score.value).sum() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("model", ["vae", pytest.param("hvae", marks=pytest.mark.slow), "circuit"])
def test_models_of_product_events_take_a_table_column_by_column(model, tmp_path):
    x = mixed()
    options = {"vae": {"width": 16, "importance": 8}, "hvae": {"width": 16, "importance": 4}, "circuit": {"states": 4}}[
        model
    ]
    run = pofx.fit(pofx.table(x), model, steps=3, represent="columns", progress=False, **options)
    assert isinstance(run.representation, Heads) and run.density is Density.BOUND
    assert "counting" in run.score(x.head(3)).measure
    odd = x.head(3).copy()
    odd["plan.name"] = ["gold", "pro", "pro"]
    odd["income"] = [1e4, 9e12, -1e6]
    score = run.score(odd)
    assert score.value[0] == -np.inf and "gold" in score.reasons[0] and np.isfinite(score.value[1:]).all()
    run.save(tmp_path)
    again = pofx.load(tmp_path)
    assert np.array_equal(again.log_prob(x.head(20)), run.log_prob(x.head(20)))
    drawn = run.sample(50, seed=3)
    pd.testing.assert_frame_equal(again.sample(50, seed=3), drawn)
    pd.testing.assert_frame_equal(run.sample(50, seed=3, batch_size=7), drawn)
    assert drawn.dtypes.astype(str).tolist() == x.dtypes.astype(str).tolist() and (drawn.same == 3).all()


def test_known_columns_come_back_and_the_rest_follows_them():
    n = 3000
    b = RNG.random(n) < 0.5
    x = pd.DataFrame({"a": np.where(b, 5.0, -5.0) + RNG.normal(size=n), "b": b, "c": RNG.choice(["u", "v"], n)})
    run = pofx.fit(pofx.table(x), "circuit", steps=40, represent="columns", states=8, progress=False)
    drawn = run.sample(200, given={"b": True, "c": "u"})
    assert drawn.b.all() and (drawn.c == "u").all() and drawn.a.mean() > 3
    assert run.sample(200, given={"a": -5.0}).b.mean() < 0.1


def test_a_column_of_ten_thousand_categories_is_small():
    n = 30_000
    x = pd.DataFrame({"city": [f"w{i % 10_000}" for i in range(n)], "y": RNG.normal(size=n)})
    view = Heads.fit(table(x))
    assert view.event["classes"].largest <= 256
