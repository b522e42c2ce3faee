"""Fairness: numbers by group, who is badly served, and that balanced training serves a minority better."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pofx
from pofx.apps.fairness import SCORED, _log_p, badly_served, beside, fairness_report
from pofx.cli.main import app
from pofx.core.errors import UsageError
from pofx.core.items import Items
from pofx.core.model import Density
from pofx.data.sources import load

pytestmark = pytest.mark.filterwarnings("ignore")


def people(n=1200, seed=0, few=0.12):
    g = np.random.default_rng(seed)
    minority = g.random(n) < few
    x = np.where(minority, 4.0 * np.sign(g.normal(size=n)), 0.0) + g.normal(size=n)
    y = np.where(minority, x < 0, x > 0)
    return pd.DataFrame({"x": x, "g": np.where(minority, "few", "many"), "y": np.where(y, "yes", "no")})


@pytest.fixture(scope="module")
def data():
    return load(pofx.table(people(4000)))


@pytest.fixture(scope="module")
def run(data):
    return pofx.fit(data, "circuit", steps=15, states=6, validations=1, progress=False)


def test_every_group_has_its_numbers_with_intervals(run, data):
    table = fairness_report(run, data, "g", target="y")
    assert list(table.index) == ["many", "few"] and table["items"].sum() == len(data.test)
    assert table["share"].sum() == pytest.approx(1) and table["drawn"].sum() == pytest.approx(1)
    groups = data.test.values["g"].to_numpy()
    assert table.loc["few", "log p"] == pytest.approx(run.log_prob(data.test)[groups == "few"].mean())
    for column in ("log p", "coverage", "precision", "TSTR", "drawn"):
        assert table[column].notna().all() and (table[f"{column} ±"] >= 0).all()


def test_costly_densities_are_taken_of_few_items_of_each_group(data):
    class Costly:
        density = Density.ESTIMATE

        def log_prob(self, items):
            self.scored = len(items)
            return np.zeros(len(items))

    run, groups = Costly(), np.repeat(["many", "few"], [len(data.test) - 50, 50])
    found = _log_p(run, data.test, groups, 0)
    assert run.scored == SCORED + 50 and np.isfinite(found[groups == "few"]).all()
    assert np.isfinite(found[groups == "many"]).sum() == SCORED


def test_a_group_that_is_left_out_is_named(run, data):
    only = people(3000, seed=4).query("g == 'many' or x > 4.5").reset_index(drop=True)
    table = fairness_report(run, data, "g", target="y", samples=Items("table", only))
    assert table.loc["few", "coverage"] + table.loc["few", "coverage ±"] < table.loc["many", "coverage"]
    found = " ".join(badly_served(table))
    assert "few: its items are covered less" in found and "few: drawn in" in found
    good = fairness_report(run, data, "g", target="y", samples=Items("table", people(3000, seed=5)))
    assert not any("covered" in s or "drawn" in s for s in badly_served(good))


def test_the_condition_is_a_column_of_groups_and_what_is_not_there_is_not_offered():
    frame = people(4000)
    run = pofx.fit(frame, "nsf", condition="g", steps=2, width=8, progress=False)
    data = load(frame, condition="g")
    table = fairness_report(run, data, "g")
    assert set(table.index) == {"many", "few"} and table["drawn"].sum() == pytest.approx(1)
    with pytest.raises(UsageError, match="choose one of: g, label, x, y$"):
        fairness_report(run, data, "nope")
    texts = load(pofx.texts(["ab", "ba", "abc"] * 20))
    with pytest.raises(UsageError, match="give a run of such items"):
        fairness_report(run, texts, "sex")
    plain = load(pofx.images(np.random.default_rng(0).integers(0, 256, (60, 3, 3), dtype=np.uint8)))
    with pytest.raises(UsageError, match="neither columns nor labels"):
        fairness_report(pofx.fit(plain, "gmm", steps=1, progress=False), plain, "sex")


def test_groups_of_few_items_are_listed_without_numbers():
    frame = people(600).assign(g=lambda f: np.where(f.index % 97 == 0, "rare", f["g"]))
    small = load(pofx.table(frame))
    made = pofx.fit(small, "circuit", steps=5, states=4, progress=False)
    table = fairness_report(made, small, "g")
    assert "rare" not in table.index or np.isnan(table.loc["rare", "coverage"])


def test_the_verb_reports_groups(tmp_path):
    people(700).to_csv(tmp_path / "people.csv", index=False)
    pofx.fit(str(tmp_path / "people.csv"), "circuit", steps=5, states=4, out=tmp_path / "run", progress=False)
    call = ["fairness", str(tmp_path / "run"), "--group", "g", "--target", "y", "--out", str(tmp_path / "o.csv")]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert "coverage" in done.output and "--balance g" in done.output
    assert len(pd.read_csv(tmp_path / "o.csv")) >= 1


def test_numbers_and_intervals_are_in_one_cell():
    table = pd.DataFrame(
        {"items": [1200, 5], "share": [0.9, np.nan], "log p": [-3.0, np.nan], "log p ±": [0.1, np.nan]}
    )
    shown = beside(table.set_axis(["a", "b"]))
    assert list(shown.columns) == ["a", "b"] and shown["a"].tolist() == ["1,200", "0.900", "-3.000 ± 0.100"]
    assert shown["b"].tolist() == ["5", "", ""]
    many = beside(pd.concat([table] * 4))
    assert list(many.columns) == ["items", "share", "log p"]


@pytest.mark.slow
def test_numbers_are_groups_by_quarters(tmp_path):
    frame = people(1500).assign(**{"the age": lambda f: (40 + 10 * f.x).round()})
    run = pofx.fit(frame, "circuit", steps=4, states=4, validations=1, progress=False)
    table = fairness_report(run, load(pofx.table(frame)), "the age")
    assert len(table) == 4 and table["share"].between(0.15, 0.35).all()


@pytest.mark.slow
def test_a_condition_with_gaps_is_one_of_groups():
    frame = people(900).assign(g=lambda f: f.g.where(f.index % 9 > 0))
    data = load(pofx.table(frame), condition="g")
    run = pofx.fit(data, "gmm", components=1, steps=1, progress=False)
    table = fairness_report(run, data, "g")
    assert {"many", "few", "missing"} <= set(table.index) and table["log p"].notna().any()
