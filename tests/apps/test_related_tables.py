"""Two tables with one key: counts, keys, and children that follow their parents and those before them."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pofx.apps.related_tables import RelatedSynthesizer, before, related_quality
from pofx.cli.main import app
from pofx.core.errors import DataError, UsageError


def tables(n=400, seed=0):
    g = np.random.default_rng(seed)
    plan = g.choice(["free", "pro"], n)
    parents = pd.DataFrame({"id": [f"c{i}" for i in range(n)], "plan": plan, "age": g.integers(18, 80, n)})
    counts = g.binomial(np.where(plan == "pro", 5, 1), 0.8)
    of = np.repeat(np.arange(n), counts)
    kind = np.where((plan[of] == "pro") ^ (g.random(len(of)) < 0.1), "large", "small")
    first = pd.Series(of).groupby(of).cumcount().to_numpy()
    price = np.round(np.where(kind == "large", 50.0, 10.0) + 5 * first + g.normal(size=len(of)), 2)
    children = pd.DataFrame({"id": parents.id.to_numpy()[of], "kind": kind, "price": price})
    return parents, children


@pytest.fixture(scope="module")
def fitted():
    options = {"options": {"width": 64}, "parent": {"options": {"represent": "bins", "width": 64}}}
    return RelatedSynthesizer("id", steps=250, **options).fit(*tables())


@pytest.mark.slow
def test_children_belong_to_parents_and_follow_them(fitted):
    parents, children = fitted.sample(500)
    assert list(parents.columns) == ["id", "plan", "age"] and list(children.columns) == ["id", "kind", "price"]
    assert parents.id.is_unique and children.id.isin(parents.id).all()
    counts = parents.id.map(children.id.value_counts()).fillna(0)
    assert counts[parents.plan == "pro"].mean() == pytest.approx(4.0, abs=0.5)
    assert counts[parents.plan == "free"].mean() == pytest.approx(0.8, abs=0.3) and (counts == 0).any()
    of = children.join(parents.set_index("id"), on="id")
    assert (of[of.plan == "pro"].kind == "large").mean() > 0.75 > 0.35 > (of[of.plan == "free"].kind == "large").mean()
    assert children.price.dtype == np.float64 and parents.age.dtype == np.int64
    again = fitted.sample(500)
    pd.testing.assert_frame_equal(again[1], children)


@pytest.mark.slow
def test_the_report_is_beside_children_at_random(fitted):
    numbers = related_quality(fitted.sample(400), tables(400, 1), "id")
    assert numbers["pairs"] < numbers["pairs, children at random"] and numbers["counts"] < 0.25


def test_the_child_before_is_of_the_same_parent():
    rows, keys = pd.DataFrame({"a": [1, 2, 3, 4]}), np.array(["x", "y", "x", "x"])
    found = before(rows, keys)
    assert found["before: a"].fillna(-1).tolist() == [-1, -1, 1, 3]
    assert found["first of its parent"].tolist() == [True, True, False, False]


def test_keys_that_do_not_join_are_refused():
    parents, children = tables(30)
    maker = RelatedSynthesizer("id", steps=2)
    with pytest.raises(DataError, match="must have the key"):
        maker.fit(parents.drop(columns="id"), children)
    with pytest.raises(DataError, match="twice"):
        maker.fit(pd.concat((parents, parents)), children)
    with pytest.raises(DataError, match="no parent"):
        maker.fit(parents.iloc[5:], children)
    with pytest.raises(UsageError, match="leave epsilon out"):
        RelatedSynthesizer("id", parent={"epsilon": 1.0})


def test_the_verb_writes_both_tables(tmp_path):
    parents, children = tables(60)
    parents.to_csv(tmp_path / "p.csv", index=False)
    children.to_csv(tmp_path / "c.csv", index=False)
    call = ["synthesize", str(tmp_path / "p.csv"), "--child", str(tmp_path / "c.csv"), "--steps", "5", "-n", "20"]
    call += ["--out", str(tmp_path / "sp.csv"), "--child-out", str(tmp_path / "sc.csv")]
    found = CliRunner().invoke(app, [*call, "--key", "id"])
    assert found.exit_code == 0, found.output
    assert "children at random" in found.output
    made = pd.read_csv(tmp_path / "sp.csv"), pd.read_csv(tmp_path / "sc.csv")
    assert len(made[0]) == 20 and made[1].id.isin(made[0].id).all()
    assert CliRunner().invoke(app, call).exit_code != 0


def test_the_key_may_have_another_name_in_each_table(tmp_path):
    parents, children = tables(60)
    orders = children.rename(columns={"id": "customer"}).assign(id=np.arange(len(children)) % 7)  # an id of its own
    made = RelatedSynthesizer("id", child_key="customer", steps=5).fit(parents, orders).sample(30)
    assert list(made[1].columns) == ["customer", "kind", "price", "id"]
    assert made[1].customer.isin(made[0].id).all()
    numbers = related_quality(made, (parents, orders), "id", child_key="customer")
    assert all(np.isfinite(v) for v in numbers.values())
    with pytest.raises(DataError, match="child table must have the key 'client'"):
        RelatedSynthesizer("id", child_key="client", steps=5).fit(parents, orders)
    paths = [tmp_path / name for name in ("p.csv", "o.csv", "sp.csv", "so.csv")]
    parents.to_csv(paths[0], index=False)
    orders.to_csv(paths[1], index=False)
    call = ["synthesize", str(paths[0]), "--child", str(paths[1]), "--key", "id=customer", "--steps", "5", "-n", "20"]
    found = CliRunner().invoke(app, [*call, "--out", str(paths[2]), "--child-out", str(paths[3])])
    assert found.exit_code == 0, found.output
    assert pd.read_csv(paths[3]).customer.isin(pd.read_csv(paths[2]).id).all()


def test_dates_in_words_of_both_tables_are_numbers_between_them():
    parents, children = tables(120)
    g = np.random.default_rng(1)
    since = pd.Timestamp("2020-01-01") + pd.to_timedelta(g.integers(0, 300, 120), unit="D")
    parents["since"] = since.strftime("%d.%m.%Y")
    days = pd.Timestamp("2021-01-01") + pd.to_timedelta(g.integers(0, 90, len(children)), unit="D")
    children["day"] = days.strftime("%Y-%m-%d")
    options = {"options": {"width": 16}, "parent": {"options": {"represent": "bins", "width": 16}}}
    made = RelatedSynthesizer("id", steps=4, **options).fit(parents, children)
    new, more = made.sample(60)
    assert pd.to_datetime(new["since"], format="%d.%m.%Y").dt.year.eq(2020).all()
    assert pd.to_datetime(more["day"], format="%Y-%m-%d").dt.year.eq(2021).all()
    assert set(made.dates) == {"since", "before: day"}
    numbers = related_quality((new, more), (parents, children), "id")
    assert np.isfinite(list(numbers.values())).all()
