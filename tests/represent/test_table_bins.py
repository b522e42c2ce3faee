"""Rows as classes: exact both ways, a density that sums and integrates to 1, for every discrete model."""

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.data.kinds.table import table
from pofx.represent.intervals import Intervals, intervals_of
from pofx.represent.table import Table
from pofx.represent.table_bins import Bins
from pofx.represent.table_heads import Heads

RNG = np.random.default_rng(0)
N = 400


def mixed() -> pd.DataFrame:
    x = pd.DataFrame(
        {
            "age": RNG.integers(18, 90, N),
            "income": RNG.normal(3e4, 1e4, N),
            "price": RNG.integers(100, 99999, N) / 100,
            "member": RNG.random(N) < 0.3,
            "plan": RNG.choice(["free", "pro", "team"], N),
            "grade": pd.Categorical(RNG.choice(["b", "a"], N), categories=["b", "a", "c"], ordered=True),
            "visits": pd.array(RNG.integers(0, 5, N), dtype="Int64"),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 400, N), unit="D"),
            "written": (pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 9, N), unit="D")).strftime(
                "%d.%m.%Y"
            ),
        }
    )
    x.loc[:30, "income"] = np.nan
    x.loc[20:40, "visits"] = pd.NA
    x.loc[60:65, "plan"] = None
    x.loc[5:9, "day"] = pd.NaT
    return x


def test_every_value_comes_back_in_its_type():
    x = mixed()
    fitted = Bins.fit(table(x))
    raw = fitted.tensor(x)
    pd.testing.assert_frame_equal(fitted.items(raw), x, check_exact=False)
    event, log_f = fitted.encode(raw, Streams(0, N))
    assert torch.isfinite(log_f).all() and not fitted.impossible(x)
    again, _ = fitted.encode(fitted.drawn(event, Streams(1, N)), Streams(0, N))
    assert torch.equal(again, event), "a draw lies in the interval that it was drawn for"
    back = fitted.items(fitted.drawn(event, Streams(1, N)))
    assert back.dtypes.astype(str).tolist() == x.dtypes.astype(str).tolist()
    for name in ("member", "plan", "grade", "visits"):
        assert back[name].astype(object).where(back[name].notna(), None).tolist() == (
            x[name].astype(object).where(x[name].notna(), None).tolist()
        )
    assert back.income.isna().equals(x.income.isna()) and back.day.isna().equals(x.day.isna())


@pytest.mark.parametrize("kind", ["real", "whole", "support"])
def test_the_density_of_a_column_is_normalised_and_its_draws_follow_it(kind):
    x = RNG.gamma(2.0, 10.0, 3000)
    about = {"type": "real"} if kind != "whole" else {"type": "whole", "low": 0, "high": 500, "offset": 0}
    if kind == "whole":
        x = np.floor(x)
    part = intervals_of(x, about, 20, (0.0, None) if kind == "support" else None)
    view = Intervals([part])
    points = torch.arange(-500.0, 1000.0, 1.0 if kind == "whole" else 0.01, dtype=torch.float64)[:, None]
    classes, log_f = view.classes(points)
    step = 1.0 if kind == "whole" else 0.01
    for k in range(view.counts[0]):
        assert float(log_f[classes == k].exp().sum()) * step == pytest.approx(1, abs=0.02)
    drawn = view.values(torch.full((4000, 1), view.counts[0] - 1), Streams(0, 4000).uniform(1))
    assert float(view.classes(drawn)[0].min()) == view.counts[0] - 1
    density = log_f[classes == view.counts[0] - 1].exp() * step
    mean = float((density * points[:, 0][(classes == view.counts[0] - 1)[:, 0]]).sum())
    assert float(drawn.mean()) == pytest.approx(mean, rel=0.03)


@pytest.mark.parametrize("model", ["made", "nade", "gpt", "independent"])
def test_every_discrete_model_is_one_of_mixed_rows(model, tmp_path):
    x = mixed()
    run = pofx.fit(pofx.table(x), model, steps=2, progress=False)
    assert run.density is Density.EXACT and isinstance(run.representation, Bins)
    value = run.log_prob(x)
    assert np.isfinite(value).all()
    odd = x.head(3).copy()
    odd["plan"] = ["gold", "pro", "pro"]
    odd["income"] = [1e4, 9e9, -1e6]
    score = run.score(odd)
    assert score.value[0] == -np.inf and np.isfinite(score.value[1:]).all() and "gold" in score.reasons[0]
    run.save(tmp_path)
    again = pofx.load(tmp_path)
    assert np.array_equal(again.log_prob(x), value)
    drawn = run.sample(50, seed=3)
    pd.testing.assert_frame_equal(again.sample(50, seed=3), drawn)
    pd.testing.assert_frame_equal(run.sample(50, seed=3, batch_size=7), drawn)
    assert drawn.dtypes.astype(str).tolist() == x.dtypes.astype(str).tolist()


@pytest.mark.parametrize("model", ["made", "gpt"])
def test_the_mass_of_a_small_table_is_one(model):
    x = pd.DataFrame({"a": RNG.choice(["u", "v", "w"], N), "b": RNG.random(N) < 0.4})
    x["c"] = np.where(x.b, RNG.integers(0, 3, N), 2)
    run = pofx.fit(pofx.table(x), model, steps=20, progress=False)
    every = pd.MultiIndex.from_product(
        [["u", "v", "w"], [True, False], range(-40, 40)], names=["a", "b", "c"]
    ).to_frame(index=False)
    assert np.exp(run.log_prob(every)).sum() == pytest.approx(1, abs=1e-4)


def test_ten_thousand_categories_need_no_table_of_their_size():
    n = 30_000
    words = np.array([f"w{i}" for i in range(10_000)])
    x = pd.DataFrame({"city": words[np.minimum(RNG.zipf(1.2, n) - 1, 9999)], "y": RNG.normal(size=n)})
    x.loc[: len(words) - 1, "city"] = words
    run = pofx.fit(pofx.table(x), "made", steps=3, progress=False, width=64)
    assert sum(p.numel() for p in run.model.parameters()) < 200_000
    assert run.representation.event.largest <= 256 and np.isfinite(run.log_prob(x.head(50))).all()
    assert set(run.sample(200).city) <= set(words)


def test_ids_and_free_text_are_left_out_and_columns_chosen():
    x = mixed().assign(key=[f"k{i}" for i in range(N)], note=[f"a long remark, number {i}" for i in range(N)])
    with pytest.warns(UserWarning, match=r"key .* an id|note .* free text"):
        items = table(x)
    assert set(items.facts["left_out"]) == {"key", "note"} and not {"key", "note"} & set(items.values.columns)
    run = pofx.fit(items, "made", steps=1, progress=False, width=32)
    assert np.array_equal(run.log_prob(x), run.log_prob(x.drop(columns=["key", "note"])))
    kept = table(x, schema={"key": "category"}, drop="note")
    assert "key" in kept.values.columns and "note" not in kept.values.columns
    assert list(table(x, columns=["plan", "age"]).values.columns) == ["plan", "age"]
    ordered = Bins.fit(table(x, columns="plan,age", schema={"plan": ["pro", "free", "team"], "age": "category"}))
    assert ordered.schema["plan"]["categories"] == ["pro", "free", "team", None]
    assert ordered.items(ordered.tensor(x[["plan", "age"]])).age.tolist() == x.age.tolist()


def test_bits_are_divided_by_columns_in_every_view():
    """A view with a number for each gap had more dimensions, and so fewer bits in each, than one without."""
    items = table(mixed())
    views = [of.fit(items) for of in (Table, Bins, Heads)]
    assert {view.dims for view in views} == {9} and views[0].width > 9


def test_rare_values_beside_many_frequent_ones_have_intervals_of_their_own():
    g = np.random.default_rng(0)
    x = np.sort(np.concatenate((g.integers(17, 52, 8300), 52 + np.minimum(g.geometric(0.08, 1700) - 1, 38)))).astype(
        float
    )
    edges = np.array(intervals_of(x, {"type": "whole"}, 59)["edges"])
    assert 40 <= len(edges) - 1 <= 59 and {17, 18, 51, 52} <= set(edges.tolist())
    held = np.histogram(x, edges)[0][edges[:-1] >= 52] / len(x)
    assert held.max() < 0.03  # the tail was one interval, with a sixth of the rows


def test_single_values_of_whole_numbers_return():
    frame = pd.DataFrame({"age": 17 + np.random.default_rng(0).integers(0, 74, 20_000), "x": np.linspace(0, 1, 20_000)})
    view = Bins.fit(pofx.table(frame))
    raw = view.tensor(frame)
    back = view.drawn(view.encode(raw, Streams(0, len(raw)))[0], Streams(1, len(raw)))
    assert bool((raw == back)[:, view.varying.index("age")].all())
