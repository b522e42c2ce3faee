"""Options of reading a table from the command line, and a model of another run's codes (`--on`)."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pofx
from pofx.cli import main as cli

RNG = np.random.default_rng(0)


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "80"})


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    n = 400
    frame = pd.DataFrame(
        {
            "age": RNG.integers(18, 80, n),
            "income": RNG.lognormal(3, 1, n),
            "code": RNG.choice([10, 20, 35], n),
            "note": [f"n{i}" for i in range(n)],
        }
    )
    frame.to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["-o", "drop=note"], ["age", "income", "code"]),
        (["-o", 'drop=["note","age"]'], ["income", "code"]),
        (["-o", 'columns=["code","age"]'], ["code", "age"]),
        (["--drop", "note, age"], ["income", "code"]),
        (["--columns", "code,age"], ["code", "age"]),
    ],
)
def test_columns_are_chosen_and_the_run_keeps_the_choice(rows, tmp_path, options, left):
    out = tmp_path / "run"
    done = invoke("train", rows, "-m", "independent", *options, "--out", out)
    assert done.exit_code == 0, done.output
    assert invoke("sample", out, "-n", "5", "--out", tmp_path / "new.csv").exit_code == 0
    assert list(pd.read_csv(tmp_path / "new.csv").columns) == left
    scored = invoke("score", out, rows, "--out", tmp_path / "scores.csv")  # the file has the other columns as well
    assert scored.exit_code == 0, scored.output


def test_columns_are_chosen_once_and_in_a_comparison_too(rows, tmp_path):
    twice = invoke("train", rows, "-m", "independent", "--drop", "note", "-o", "drop=age", "--out", tmp_path / "run")
    assert twice.exit_code != 0 and "drop" in twice.output + str(twice.exception)
    missing = invoke("compare", rows, "--models", "independent", "--columns", "salary", "--out", tmp_path / "c")
    assert missing.exit_code != 0 and "salary" in missing.output + str(missing.exception)


def test_a_schema_says_what_a_column_is(rows, tmp_path):
    out = tmp_path / "run"
    done = invoke(
        "train", rows, "-m", "independent", "-o", "drop=note", "-o", 'schema={"code":"category"}', "--out", out
    )
    assert done.exit_code == 0, done.output
    facts = json.loads((out / "artifact.json").read_text())["card"]["data"]["facts"]
    assert "code" in json.dumps(facts.get("schema", facts))
    assert set(pofx.load(out).sample(50)["code"]) <= {10, 20, 35}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("drop=salary", "salary"),
        ('columns=["salary"]', "salary"),
        ('schema={"code":"colour"}', "colour"),
        ("drop=3", "3"),
        ("drop=[[1]]", "drop"),
        ("header=5", "header"),
        ("decimal=;", "decimal"),
        ("schema=7", "schema"),
    ],
)
def test_a_wrong_choice_is_named(rows, tmp_path, option, message):
    done = invoke("train", rows, "-m", "independent", "-o", option, "--out", tmp_path / "run")
    assert done.exit_code != 0 and message in (done.output + str(done.exception)) and not (tmp_path / "run").exists()


def test_a_model_of_the_codes_of_a_run_is_trained_sampled_and_scored(tmp_path):
    points = tmp_path / "points.npz"
    np.savez(points, x=(RNG.normal(size=(400, 2)) @ RNG.normal(size=(2, 3))).astype(np.float32))
    small = ("-o", "latent=2", "-o", "width=16", "-o", "depth=1", "-o", "importance=8")
    assert invoke("train", points, "-m", "vae", *small, "--steps", "20", "--out", tmp_path / "vae").exit_code == 0
    flow = ("-o", "width=16", "-o", "depth=1", "--steps", "5")
    done = invoke("train", points, "-m", "flow-matching", "--on", tmp_path / "vae", *flow, "--out", tmp_path / "prior")
    assert done.exit_code == 0, done.output
    (tmp_path / "vae").rename(tmp_path / "elsewhere")
    assert invoke("sample", tmp_path / "prior", "-n", "3", "--out", tmp_path / "new.npz").exit_code == 0
    assert np.isfinite(np.load(tmp_path / "new.npz")["x"]).all()
    missing = invoke("train", points, "-m", "nsf", "--on", tmp_path / "nothing", "--out", tmp_path / "other")
    assert missing.exit_code != 0 and not (tmp_path / "other").exists()
