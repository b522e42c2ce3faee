"""Measuring refuses data that is not that of training, and names what changed; a stated wish overrides it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.core.errors import UsageError
from pofx.data.sources import load
from pofx.evaluate.audit import audit
from pofx.evaluate.provenance import check_same_data, differences
from pofx.evaluate.suite import evaluate


def rows(n, seed=0):
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(n, 4)), columns=list("abcd")).round(4)


@pytest.fixture(scope="module")
def run():
    return pofx.fit(pofx.table(rows(300)), "kde", steps=1, bandwidth=0.05, progress=False)


def test_the_data_of_training_passes_and_one_row_more_is_refused(run):
    same, more = load(pofx.table(rows(300))), pd.concat([rows(300), rows(1, 7)], ignore_index=True)
    assert check_same_data(run, same) == []
    grown = load(pofx.table(more))
    for measure in (evaluate, audit):
        with pytest.raises(UsageError, match=r"301 items, not 300.*--force"):
            measure(run, grown)
    found = audit(run, grown, force=True)
    assert found[0]["check"] == "data of training" and found[0]["result"] == "warning"
    result = evaluate(run, grown, force=True, n=20, spaces=["pca"], likelihood_seconds=1)
    assert "301 items" in result["protocol"]["data"]["differs"][0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (rows(300, 1), "values have changed"),
        (rows(300).iloc[::-1], "values have changed"),
        (rows(200), "200 items, not 300"),
    ],
)
def test_the_message_names_what_changed(run, changed, words):
    assert words in differences(run, load(pofx.table(changed)))[0]


def test_another_kind_or_name_is_named_and_a_model_made_by_hand_has_nothing_to_compare(run):
    found = differences(run, load("moons"))
    assert any("moons" in part for part in found) and any("points items, not table" in part for part in found)
    assert differences(SimpleNamespace(card={}), load("moons")) == []


def test_a_file_of_the_same_name_in_another_folder_is_another_data_set(tmp_path, monkeypatch):
    for folder, seed in (("one", 0), ("two", 1)):
        (tmp_path / folder).mkdir()
        rows(60, seed).to_csv(tmp_path / folder / "x.csv", index=False)
    monkeypatch.chdir(tmp_path / "one")
    trained = pofx.fit("x.csv", "kde", steps=1, progress=False)
    assert check_same_data(trained, load("x.csv")) == []
    monkeypatch.chdir(tmp_path / "two")
    with pytest.raises(UsageError, match="values have changed"):
        check_same_data(trained, load("x.csv"))


def test_the_command_line_refuses_too_and_can_be_forced(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from pofx.cli.main import app

    monkeypatch.chdir(tmp_path)
    rows(120).to_csv("x.csv", index=False)
    pofx.fit("x.csv", "kde", steps=1, progress=False).save("r")
    pd.concat([rows(120), rows(1, 3)]).to_csv("x.csv", index=False)
    call = CliRunner().invoke
    for verb in (["evaluate", "r"], ["audit", "r"], ["score", "r", "x.csv", "--split", "test", "--out", "s.csv"]):
        refused = call(app, verb)
        assert refused.exit_code != 0 and "121 items, not 120" in str(refused.exception or refused.output), verb
    assert call(app, ["score", "r", "x.csv", "--split", "test", "--force", "--out", "s.csv"]).exit_code == 0
