"""`pofx data FILE` shows how a file is read, before anything is trained."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pofx.cli.main import app


@pytest.fixture
def table(tmp_path):
    g = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": g.integers(18, 80, 90),
            "income": np.where(g.random(90) < 0.2, np.nan, g.normal(40, 9, 90).round(2)),
            "grade": g.choice(["low", "middle", "high"], 90),
            "day": pd.date_range("2024-01-01", periods=90),
            "ok": g.random(90) < 0.5,
            "user": [f"u{i}" for i in range(90)],
        }
    )
    frame.to_csv(tmp_path / "people.csv", index=False)
    return str(tmp_path / "people.csv")


@pytest.mark.filterwarnings("ignore")
def test_each_column_has_the_type_that_it_is_taken_for(table):
    shown = CliRunner().invoke(app, ["data", table], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    lines = {line.split()[0]: line for line in shown.output.splitlines() if line.strip()}
    assert "18 to 79" in lines["age"] or "whole" in lines["age"]
    assert "%" in lines["income"] and "2024-01-01 to 2024-03-30" in lines["day"]
    assert "left out" in lines["user"] and "category" in lines["grade"]
    options = ["-o", 'schema={"grade": ["low", "middle", "high"], "user": "category"}', "--drop", "day", "--json"]
    plain = json.loads(CliRunner().invoke(app, ["data", table, *options]).output)
    types = {row["column"]: row["type"] for row in plain["columns"]}
    assert types["grade"] == "ordered category" and types["user"] == "category" and "day" not in types


def test_other_items_are_described(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5, 8, 8), np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None])
    shown = CliRunner().invoke(app, ["data", str(tmp_path / "x.npy")]).output
    assert "5 images of 8 x 8" in " ".join(shown.split())
    assert "labels: 0, 1" in CliRunner().invoke(app, ["data", "digits"]).output
    assert "name the data" in str(CliRunner().invoke(app, ["data", "-o", "header=false"]).exception)
