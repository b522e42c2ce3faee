"""compare: budgets, protocol, choice of models, resuming, crashes. The jobs are stand-ins, but for one real run."""

import json
import shlex
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

import pofx.report
from pofx.comparison import compare, frozen, jobs
from pofx.comparison.job import history, keep
from pofx.comparison.jobs import Job, done, launch, run_jobs
from pofx.comparison.request import PREFERRED, choose_models, default_folder, duration, refusal, settle, spoken
from pofx.core import config
from pofx.core.errors import UsageError
from pofx.core.representation import Items
from pofx.data.dataset import split
from pofx.data.sources import load
from pofx.report.rows import read
from report_fixture import measurements


def points(n=120):
    return Items("points", np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32))


@pytest.fixture
def stand_in(monkeypatch):
    """Jobs that only say that they were run; names in `failing` crash."""
    ran, failing = [], set()

    def pretend(place, limit, tick=lambda: None):
        job = json.loads((place / "job.json").read_text())
        ran.append(place.name)
        tick()
        if job["model"] in failing:
            return "TrainingError: no"
        if job["model"] is None:
            rows = {name: {"measurements": measurements(1.0, 0.9)} for name in ("real-test", "memoriser", "marginals")}
            plain = {"status": "done", "rows": rows, "files": {}}
        else:
            plain = {"status": "done", "measurements": measurements(2.0 + len(ran), 0.8, 2.0, "exact"), "cost": {}}
        (place / "result.json").write_text(json.dumps(plain))
        return None

    monkeypatch.setattr(jobs, "launch", pretend)
    return ran, failing


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("2m", 120), ("1.5 min", 90), ("1h", 3600), ("7", 7), (0.5, 0.5), (".5s", 0.5)]
)
def test_a_budget_is_a_time(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30x", "s", "-3s", "0s", "1:30", "nan", "inf", "1e9s", None, "3s 4s"])
def test_a_budget_that_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match="budget is a time such as 30s"):
        duration(text)


def test_durations_are_spoken_and_understood_again():
    for seconds in (0.5, 7.0, 60.0, 90.0, 3600.0):
        assert duration(spoken(seconds)) == seconds


def test_the_same_request_has_the_same_folder():
    dataset = split(points(), "my data/1")
    assert default_folder(dataset, 30, 0) == default_folder(dataset, 30, 0)
    assert len({default_folder(dataset, *a) for a in ((30, 0), (60, 0), (30, 1))}) == 3
    assert default_folder(dataset, 30, 0).parent.name == "runs"


def test_another_protocol_in_the_same_folder_is_refused_by_name(tmp_path):
    settle(tmp_path, {"budget": "30 s", "hash": "a"})
    settle(tmp_path, {"budget": "30 s", "hash": "a"})
    with pytest.raises(UsageError, match="budget was '30 s', now '60 s'.*another --out"):
        settle(tmp_path, {"budget": "60 s", "hash": "a"})


def test_one_model_per_family_by_preference_and_the_baseline_last():
    dataset = load("digits")
    chosen, skipped = choose_models(dataset, None, None)
    families = {row.traits.family for row in config.entries().values()}
    assert {config.entry(name).traits.family for name in chosen} | set(skipped) == families
    assert len(chosen) == len({config.entry(name).traits.family for name in chosen})
    for name in PREFERRED:
        if name in config.entries():
            assert name in chosen
    assert chosen[-1] == "gmm"


def test_a_family_gives_the_first_member_that_accepts_the_data():
    chosen, skipped = choose_models(split(points(), "points"), None, None)
    assert "pixelcnn" not in chosen and "nsf" in chosen
    assert all(refusal(name, split(points(), "points")) is None for name in chosen)
    assert all(reason for reason in skipped.values())


def test_models_and_families_are_checked():
    dataset = split(points(), "points")
    assert choose_models(dataset, ["nsf"], None)[0] == ["nsf", "gmm"]
    assert choose_models(dataset, None, ["flow"])[0] == ["nsf", "gmm"]
    with pytest.raises(UsageError, match="did you mean nsf"):
        choose_models(dataset, ["nfs"], None)
    with pytest.raises(UsageError, match="did you mean flow"):
        choose_models(dataset, None, ["flows"])
    with pytest.raises(UsageError, match="pixelcnn cannot model"):
        choose_models(dataset, ["pixelcnn"], None)


def test_a_second_call_trains_nothing_and_a_killed_job_is_run_again(tmp_path, stand_in):
    ran, _ = stand_in
    first = compare(points(), models=["nsf"], budget="1s", out=tmp_path, seeds=2)
    assert ran == ["controls", "nsf-seed0", "gmm-seed0", "nsf-seed1", "gmm-seed1"]
    assert first.report.exists() and set(first.table().index) >= {"nsf", "gmm", "real-test", "memoriser", "marginals"}
    again = compare(points(), models=["nsf"], budget="1s", out=tmp_path, seeds=2)
    assert len(ran) == 5
    pd.testing.assert_frame_equal(first.table(), again.table())
    (tmp_path / "nsf-seed1" / "result.json").unlink()  # as a kill leaves it
    (tmp_path / "nsf-seed1" / "half.txt").write_text("left over")
    compare(points(), models=["nsf"], budget="1s", out=tmp_path, seeds=2)
    assert ran[5:] == ["nsf-seed1"] and not (tmp_path / "nsf-seed1" / "half.txt").exists()
    compare(points(), models=["nsf"], budget="1s", out=tmp_path, seeds=3)
    assert ran[6:] == ["nsf-seed2", "gmm-seed2"]


def test_a_crash_costs_one_row_which_stays_and_is_tried_again(tmp_path, stand_in):
    ran, failing = stand_in
    failing.add("nsf")
    found = compare(points(), models=["nsf", "realnvp"], budget="1s", out=tmp_path)
    assert found.table().loc["nsf", "status"] == "failed" and found.table().loc["realnvp", "status"] == "done"
    assert "TrainingError: no" in found.report.read_text() and "failed: TrainingError: no" in str(found)
    failing.clear()
    found = compare(points(), models=["nsf", "realnvp"], budget="1s", out=tmp_path)
    assert found.table().loc["nsf", "status"] == "done" and ran[-1] == "nsf-seed0" and len(ran) == 5


def test_an_interruption_loses_the_job_under_way_alone(tmp_path, stand_in, monkeypatch):
    ran, _ = stand_in
    pretend = jobs.launch

    def interrupted(place, limit, tick=lambda: None):
        if place.name == "realnvp-seed0":
            raise KeyboardInterrupt
        return pretend(place, limit, tick)

    monkeypatch.setattr(jobs, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(points(), models=["nsf", "realnvp"], budget="1s", out=tmp_path)
    rows = {row["name"]: row["runs"][0]["status"] for row in read(tmp_path / "results.json")["rows"]}
    assert rows["nsf"] == "done" and rows["realnvp"] == "missing" and (tmp_path / "report.html").exists()
    monkeypatch.setattr(jobs, "launch", pretend)
    compare(points(), models=["nsf", "realnvp"], budget="1s", out=tmp_path)
    assert ran == ["controls", "nsf-seed0", "realnvp-seed0", "gmm-seed0"]


def test_other_data_in_the_same_folder_is_refused(tmp_path, stand_in):
    compare(points(), models=["nsf"], budget="1s", out=tmp_path)
    with pytest.raises(UsageError, match="hash was"):
        compare(points(130), models=["nsf"], budget="1s", out=tmp_path)
    with pytest.raises(UsageError, match="seeds must be at least 1"):
        compare(points(), models=["nsf"], budget="1s", out=tmp_path, seeds=0)


@pytest.fixture
def command(monkeypatch):
    """Let `launch` run a line of Python in place of the job."""

    def use(code):
        real = jobs.subprocess.Popen
        monkeypatch.setattr(jobs.subprocess, "Popen", lambda args, **rest: real([sys.executable, "-c", code], **rest))

    return use


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ValueError('bad')", "ValueError: bad"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("import time; time.sleep(60)", "time limit"),
        ("import sys; sys.exit(3)", "no message"),
    ],
)
def test_every_end_of_a_job_has_a_reason(tmp_path, command, code, reason):
    command(code)
    began = time.monotonic()
    assert reason in str(launch(tmp_path, 1.0))
    assert time.monotonic() - began < 20


def test_a_job_that_leaves_no_result_has_failed(tmp_path, command):
    command("pass")
    run_jobs([Job("nsf", 0)], tmp_path, "digits", 1.0)
    assert not done(tmp_path / "nsf-seed0")
    assert "without a result" in (tmp_path / "nsf-seed0" / "result.json").read_text()


@pytest.mark.parametrize("kind", ["points", "table", "tokens", "image"])
def test_frozen_data_thaws_unchanged(tmp_path, kind):
    rng = np.random.default_rng(0)
    values = {
        "points": rng.normal(size=(40, 2)),
        "table": pd.DataFrame({"a": rng.normal(size=40), "b": list("xy") * 20}),
        "tokens": ["ab" + "c" * int(i % 5) for i in range(40)],
        "image": rng.integers(0, 17, (40, 8, 8)).astype(np.uint8),
    }[kind]
    facts = {"levels": 17} if kind == "image" else {}
    labels = np.arange(40) % 2 if kind == "image" else None
    dataset = split(Items(kind, values, labels, facts), kind)
    frozen.freeze(dataset, tmp_path / "data")
    again = frozen.thaw(tmp_path / "data")
    assert again.card == dataset.card
    for name, items in dataset.splits().items():
        back = again.splits()[name]
        if kind == "table":
            pd.testing.assert_frame_equal(back.values, items.values)
        else:
            assert np.array_equal(np.asarray(back.values), np.asarray(items.values))
        assert (back.labels is None) == (items.labels is None) and dict(back.facts) == dict(items.facts)


def test_samples_are_kept_beside_their_nearest_training_items(tmp_path):
    dataset = load("digits")
    name = keep(dataset.train.values[:70], dataset.train, tmp_path, "samples")
    with np.load(tmp_path / name) as arrays:
        assert arrays["samples"].shape == (70, *dataset.train.values.shape[1:3]) and arrays["samples"].max() == 255
        assert np.array_equal(arrays["samples"][:64], arrays["neighbours"]) and not arrays["distances"].any()


def test_learning_curves_are_thinned_but_keep_every_validation(tmp_path):
    lines = [{"step": i, "seconds": i / 10, "images": 1, "lr": 0.1, "loss": 2.0} for i in range(1, 2000)]
    lines += [{"step": 1000, "seconds": 100.0, "validation": 1.5}]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + '\n{"step": 5, "sec')
    points_ = history(tmp_path / "log.jsonl")
    assert len(points_) <= 250 and sum("validation" in p for p in points_) == 1
    assert points_ == sorted(points_, key=lambda p: p["seconds"]) and points_[0]["loss"] == 2.0


def test_a_real_comparison_of_unnamed_points(tmp_path):
    found = compare(points(400), models=["gmm"], budget="0.3s", out=tmp_path)
    table = found.table()
    assert list(table["status"]) == ["done"] * 4
    assert table.loc["gmm", "FD"] > 0 and table.loc["gmm", "kind"] == "exact"
    assert table.loc["memoriser", "Near-copy p"] < table.loc["real-test", "Near-copy p"]
    assert "<svg" in found.report.read_text()
    schema = json.loads((Path(pofx.report.__file__).parent / "results.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(found.results, schema)
    assert {"kid", "mind", "vendi", "clipped_density"} <= set(found.results["metrics"])
    assert any(row["faults"]["shifted"]["sees"] for row in found.results["self_test"])


def test_the_command_of_a_report_asks_for_the_same_again(tmp_path, stand_in):
    np.savetxt(
        tmp_path / "p.csv", np.random.default_rng(0).normal(size=(300, 2)), delimiter=",", header="a,b", comments=""
    )
    found = compare(tmp_path / "p.csv", models=["nsf"], budget="90s", out=tmp_path / "out", seeds=2)
    words = shlex.split(found.results["command"])
    assert words[3:] == [
        *("--models", "nsf", "--budget", "90s", "--seeds", "2", "--seed", "0", "--out", str(tmp_path / "out")),
    ]
