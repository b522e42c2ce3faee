"""pofx info, and a run and its scores in a line."""

import json

import pytest
from typer.testing import CliRunner

import pofx
from pofx import summary
from pofx.cli import main as cli
from pofx.core.errors import UsageError
from pofx.runs.info import EVALUATION, info


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "nsf"
    pofx.fit("moons", "nsf", steps=3, out=folder, progress=False, width=8)
    return folder


def test_a_run_in_one_line(folder):
    assert summary.line(pofx.load(folder)) == "nsf on moons, exact, 3 steps"


def test_scores_in_one_line(folder):
    run = pofx.load(folder)
    line = summary.score_line(run.score(run.sample(5)))
    assert line.startswith("5 scores, mean ") and "nats" in line and "exact" in line and "\n" not in line


def test_html_is_escaped(folder):
    run = pofx.load(folder)
    run.card["data"]["name"] = "<script>x</script>"
    shown = summary.html(run)
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "exact" in shown
    assert "<table>" in summary.score_html(run.score(run.sample(20)))


def test_info_shows_model_data_budget_density_and_numbers(folder):
    found = info(folder)
    assert found["summary"] == "nsf on moons, exact, 3 steps" and "nsf (flow)" in found["model"]
    assert "width=8" in found["options"] and "3 steps" in found["training"] and "exact" in found["density"]
    shown = CliRunner().invoke(cli.app, ["info", str(folder)], env={"COLUMNS": "80"})
    assert shown.exit_code == 0 and "moons" in shown.output


def test_info_shows_the_last_evaluation(folder):
    row = {"metric": "nats", "value": 1.5, "stderr": 0.1, "better": "lower", "space": None, "n": 9, "note": ""}
    about = {"nats": {"title": "nats", "headline": True, "group": "likelihood", "better": "lower", "help": ""}}
    (folder / EVALUATION).write_text(json.dumps({"measurements": [row], "metrics": about, "protocol": {}}))
    shown = CliRunner().invoke(cli.app, ["info", str(folder)], env={"COLUMNS": "80"})
    assert "last evaluation" in shown.output and "1.5" in shown.output


def test_info_of_a_run_without_weights_says_how_to_continue(tmp_path):
    (tmp_path / "request.json").write_text(json.dumps({"model": "nsf", "data": "moons", "seed": 3}))
    found = info(tmp_path)
    assert "no weights yet" in found["summary"] and "--resume" in found["continue with"]


def test_info_of_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no run"):
        info(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds no run"):
        info(tmp_path)
