"""A comparison that is killed, called twice, damaged or hopeless: no work is lost, doubled or done in vain."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import psutil
import pytest
from typer.testing import CliRunner

import pofx
from pofx.cli.main import app
from pofx.comparison import jobs
from pofx.comparison.compare import compare
from pofx.comparison.jobs import Job, Orders, run_jobs
from pofx.comparison.process import Limits, launch
from pofx.comparison.status import writer
from pofx.core.errors import PofxError, TrainingError, UsageError
from pofx.core.lock import lock
from pofx.core.progress import Progress
from pofx.core.representation import Items
from pofx.train.options import Budget

SLEEPS = """
from pathlib import Path; import sys, time, os
from pofx.comparison.process import follow_caller
follow_caller()
Path(sys.argv[1], "pid").write_text(str(os.getpid()))
time.sleep(600)
"""
CALLER = """
import sys
from pathlib import Path
from pofx.comparison.process import Limits, launch
from pofx.core.lock import lock
place = Path(sys.argv[1])
with lock(place / "lock", "the job") as held:
    launch([sys.executable, "-c", sys.argv[2], str(place)], place / "output.txt", Limits(600.0, 1e12), held=(held,))
"""


def points(n=120):
    return Items("points", np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32))


def orders(folder, **changes):
    given = {"data": "digits", "budget": Budget(steps=1), "first_seed": 0, "limits": Limits(60.0, 1e12), **changes}
    return Orders(folder, **given)


def until(there, seconds=120.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := there():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.fixture
def trains_nothing(monkeypatch):
    """No job may be started."""

    def started(*anything):
        raise AssertionError("a job was started")

    monkeypatch.setattr(jobs, "launch", started)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_a_job_does_not_outlive_its_caller(tmp_path, end):
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(tmp_path), SLEEPS],
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # which nohup around the tests ignores
    )
    pid = tmp_path / "pid"
    try:
        job = int(until(lambda: pid.exists() and pid.read_text()))
        assert psutil.pid_exists(job)
        with pytest.raises(UsageError, match="the job is in use by process"), lock(tmp_path / "lock", "the job"):
            pass
        os.kill(caller.pid, end)
        until(lambda: not psutil.pid_exists(job) or psutil.Process(job).status() == "zombie")
        with lock(tmp_path / "lock", "the job", wait=10):
            pass
    finally:
        caller.kill()
        caller.wait()


def test_a_job_holds_its_lock_while_it_runs(tmp_path, monkeypatch):
    work, job = orders(tmp_path), Job("nsf", 0)

    def running(command, output, limits, tick, held):
        with pytest.raises(UsageError, match="in use"), lock(tmp_path / ".locks" / "nsf-seed0.lock", "x"):
            pass
        assert os.get_inheritable(held[0]) is False  # Popen passes on what is named, and nothing else

    monkeypatch.setattr(jobs, "launch", running)
    run_jobs([job], work)


def test_a_second_call_waits_for_the_process_of_a_killed_one_and_takes_its_result(tmp_path, monkeypatch):
    work = orders(tmp_path)
    job = Job("nsf", 0)
    started = []
    monkeypatch.setattr(jobs, "launch", lambda command, output, *rest: started.append(output))

    def orphan():
        with work.lock(job):
            time.sleep(0.5)
            work.begin(job)
            (tmp_path / job.name / "result.json").write_text('{"status": "done"}')

    other = threading.Thread(target=orphan)
    other.start()
    time.sleep(0.1)
    run_jobs([job], work)
    other.join()
    assert not started and work.done(job)


def test_two_calls_on_one_folder_do_not_work_at_once(tmp_path, trains_nothing):
    with lock(tmp_path / ".locks" / "comparison.lock", "the comparison"):
        with pytest.raises(UsageError, match=f"in use by process {os.getpid()} on .*another --out"):
            compare(points(), models=["nsf"], budget="1s", out=tmp_path)


def test_a_lock_is_freed_however_its_holder_ends(tmp_path):
    for code in ("import os; os._exit(1)", "import os; os.kill(os.getpid(), 9)", "raise SystemExit"):
        holder = (
            f"from pathlib import Path; from pofx.core.lock import lock\nwith lock(Path(r'{tmp_path}/l'), 'x'): {code}"
        )
        subprocess.run([sys.executable, "-c", holder], check=False)
        with lock(tmp_path / "l", "x"):
            pass


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"some": 1}', "\x00" * 100])
@pytest.mark.parametrize("name", ["result.json", "job.json"])
def test_a_damaged_result_is_one_that_is_missing(tmp_path, name, content):
    work, job = orders(tmp_path), Job("nsf", 0)
    work.begin(job)
    (tmp_path / job.name / "result.json").write_text('{"status": "done"}')
    assert work.done(job)
    (tmp_path / job.name / name).write_text(content)
    assert work.result(job)["status"] == "missing"


def test_results_of_other_data_or_another_budget_do_not_count_and_those_of_older_versions_do(tmp_path):
    work, job = orders(tmp_path, hash="a"), Job("nsf", 0)
    work.begin(job)
    (tmp_path / job.name / "result.json").write_text('{"status": "done"}')
    assert work.done(job)
    assert not orders(tmp_path, hash="b").done(job)
    assert not orders(tmp_path, hash="a", budget=Budget(steps=2)).done(job)
    place = tmp_path / job.name / "job.json"
    place.write_text(json.dumps({k: v for k, v in json.loads(place.read_text()).items() if k != "hash"}))
    assert work.done(job)


def write_csv(path, n):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"])
    frame.assign(kind=rng.choice(["x", "y"], n)).to_csv(path, index=False)
    return str(path)


HOPELESS = {
    "a mistyped space": (300, {"spaces": ["pac"]}, "did you mean pca"),
    "a classifier without labels": (300, {"spaces": ["classifier"], "label": None, "columns": 2}, "needs labels"),
    "weights that are not there": (300, {"spaces": ["inception=nowhere.pt"]}, "inception"),
    "too few items": (60, {}, "at least 20 items"),
    "an unknown label": (300, {"label": "kidn"}, "did you mean kind"),
    "an unknown model": (300, {"models": ["nfs"]}, "did you mean nsf"),
    "a mistyped option": (300, {"options": {"nsf": {"widht": 3}}}, "did you mean width"),
    "a trainer value out of range": (300, {"options": {"nsf": {"lr": -1}}}, "lr"),
    "a view that does not exist": (300, {"options": {"nsf": {"represent": "pixels"}}}, "pixels"),
    "a time limit below the budget": (300, {"budget": "30s", "time_limit": "10s"}, "time_limit must exceed"),
    "a run of other data": (300, {"runs": {"mine": "OTHER"}}, "models points items"),
    "a run that is none": (300, {"runs": {"mine": 5}}, "run must be"),
    "a run named as a model": (300, {"runs": {"nsf": "OTHER"}}, "another name"),
    "a run named as a control": (300, {"runs": {"memoriser": "OTHER"}}, "rename it"),
    "a time limit that is none": (300, {"time_limit": "abc"}, "time_limit must be a time"),
}


@pytest.mark.parametrize("case", HOPELESS)
def test_a_hopeless_request_is_refused_before_anything_is_trained(tmp_path, trains_nothing, case):
    n, changes, message = HOPELESS[case]
    path = write_csv(tmp_path / "m.csv", n)
    request = {"models": ["nsf"], "budget": "1s", "label": "kind", "out": tmp_path / "out", **changes}
    if "OTHER" in (request.get("runs") or {}).values():
        other = pofx.fit(points(), "gmm", steps=1, progress=False)
        request["runs"] = dict.fromkeys(request["runs"], other)
    if request.pop("columns", None):
        path = pd.read_csv(path)[["a", "b"]]
    with pytest.raises(PofxError, match=message):
        compare(path, **request)
    assert not (tmp_path / "out" / "protocol.json").exists()


def test_a_comparison_in_which_every_job_fails_says_why_and_exits_with_an_error(tmp_path, monkeypatch):
    def fails(command, output, *rest):
        return None if output.parent.name == "controls" and done(output) else "TrainingError: the loss is not finite"

    def done(output):
        (output.parent / "result.json").write_text('{"status": "done", "rows": {}}')
        return True

    monkeypatch.setattr(jobs, "launch", fails)
    path = write_csv(tmp_path / "m.csv", 300)
    with pytest.raises(TrainingError, match="nsf, gmm: TrainingError: the loss is not finite.*report.html"):
        compare(path, models=["nsf"], budget="1s", label="kind", out=tmp_path / "out")
    assert "the loss is not finite" in (tmp_path / "out" / "report.html").read_text()
    words = ["compare", path, "--models", "nsf", "--budget", "1s", "--label", "kind", "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 1


def test_where_the_controls_fail_nothing_is_trained_for_it(tmp_path, monkeypatch):
    ran = []

    def fails(command, output, *rest):
        ran.append(output.parent.name)
        return "stopped at 9 GB of memory"

    monkeypatch.setattr(jobs, "launch", fails)
    with pytest.raises(TrainingError, match="controls: stopped at 9 GB"):
        compare(points(), models=["nsf"], budget="1s", out=tmp_path)
    assert ran == ["controls"]


def test_progress_is_one_callback_with_the_share_of_the_whole(tmp_path, monkeypatch, capfd):
    def trains(command, output, limits, tick, held):
        place = output.parent
        writer(place)(Progress("training", 10, 0.5, {"loss": 1.0}, 3.0))
        tick()
        (place / "result.json").write_text('{"status": "done", "rows": {}, "measurements": [], "cost": {}}')

    monkeypatch.setattr(jobs, "launch", trains)
    found: list[Progress] = []
    compare(points(), models=["nsf"], budget="1s", out=tmp_path, progress=found.append)
    assert all(0 <= a.share <= b.share <= 1 for a, b in zip(found, found[1:], strict=False)) and found[-1].share == 1
    assert found[0].phase == "reading the data" and any("nsf-seed0: training" in now.phase for now in found)
    assert [now.note for now in found if now.note][-1].startswith("gmm-seed0: done")
    compare(points(), models=["nsf"], budget="1s", out=tmp_path, progress=False)
    assert capfd.readouterr().err == ""
    compare(points(), models=["nsf"], budget="1s", out=tmp_path / "b", progress=True)
    assert "nsf-seed0: done" in capfd.readouterr().err


def test_what_a_child_prints_last_is_its_reason_and_ctrl_c_ends_it(tmp_path):
    child = [sys.executable, "-c", "import time; open('started', 'w'); time.sleep(60)"]

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch(child, tmp_path / "output.txt", Limits(60.0, 1e12), interrupt)
    assert not [p for p in psutil.Process().children() if p.status() != "zombie" and "started" in " ".join(p.cmdline())]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_comparison_killed_at_any_moment_goes_on_and_reads_the_same(tmp_path):
    """Kill the command at random moments until it ends by itself; every number but the speeds equals that of one
    uninterrupted call."""
    command = [sys.executable, "-m", "pofx", "compare", "moons", "--models", "gmm", "--budget", "3steps", "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    rng = np.random.default_rng(0)
    for _ in range(40):
        call = subprocess.Popen([*command, str(tmp_path / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            call.wait(float(rng.uniform(2, 15)))
            assert call.returncode == 0, call.stderr.read()
            break
        except subprocess.TimeoutExpired:
            call.kill()
            call.wait()
    else:
        raise AssertionError("never ended")

    def numbers(folder):
        results = json.loads((folder / "results.json").read_text())
        return {
            (row["name"], m["metric"], m["space"]): m["value"]
            for row in results["rows"]
            for run in row["runs"]
            for m in run["measurements"]
            if "second" not in m["metric"]
        }

    assert numbers(tmp_path / "whole") == numbers(tmp_path / "killed")
    assert pofx.compare  # the public name is the one that was run
