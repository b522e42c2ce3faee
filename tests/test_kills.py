"""A process that is killed at any moment leaves no half artifact, and the resumed run equals the uninterrupted one.

The moments are file operations: a child counts those in its folder by an audit hook (PEP 578) and kills itself at the
one that is to be tried, before it happens. Operations are spread evenly over a whole run, or over one `save`.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import pofx
from pofx import storage
from pofx.core.errors import CorruptError
from pofx.core.files import read_json

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "shutil.rmtree"}
POINTS = pofx.points(np.random.default_rng(0).normal(size=(80, 2)))
STEPS = 5


def train(folder: Path, **how) -> None:
    options = {"width": 16, "layers": 2, "blocks": 1, "batch_size": 16, "checkpoint_seconds": 0.0}
    pofx.fit(POINTS, "maf", steps=STEPS, out=folder, progress=False, **options, **how)


def child(action, folder: Path, kill_at: int | None) -> int | None:
    """Do something in a child that kills itself at an operation; without one, returns how many there are."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        count, root, me = [0], str(folder), os.getpid()

        def hook(event, args):
            if event in EVENTS and os.getpid() == me and isinstance(args[0], str | os.PathLike):
                if os.fspath(args[0]).startswith(root):
                    count[0] += 1
                    if count[0] == kill_at:
                        os.kill(me, signal.SIGKILL)

        sys.addaudithook(hook)
        code = 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                action()
            os.write(writing, str(count[0]).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    if kill_at is None:
        assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        return int(answer)
    return None


def weights(folder: Path) -> str:
    return read_json(folder / storage.FILE)["weights"]["sha256"]


def whole(folder: Path) -> bool:
    """Whether the folder has an artifact, which then is whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return len(pofx.load(folder).sample(2)) == 2
        except (CorruptError, pofx.PofxError) as error:
            assert "no weights yet" in str(error) or "does not exist" in str(error) or "is missing" in str(error)
            assert not (folder / storage.FILE).exists()
            return False


def leftovers(folder: Path) -> list[str]:
    return [str(p) for p in folder.rglob("*") if p.name.endswith((".part", ".old")) or p.name.startswith("weights.new")]


def kills_of_training(tmp_path: Path, moments: int) -> None:
    total = child(lambda: train(tmp_path / "whole"), tmp_path / "whole", None)
    expected = weights(tmp_path / "whole")
    loaded = 0
    for i in range(moments):
        folder = tmp_path / f"killed{i}"
        child(lambda folder=folder: train(folder), folder, 1 + i * total // moments)
        loaded += whole(folder)
        if i % 4 == 0:  # and once more while it resumes
            child(lambda folder=folder: train(folder, resume=True), folder, 1 + (i * 7) % total)
            loaded += whole(folder)
        child(lambda folder=folder: train(folder, resume=True), folder, None)
        assert weights(folder) == expected, f"killed at operation {1 + i * total // moments} of {total}"
        assert whole(folder) and not leftovers(folder)
        shutil.rmtree(folder)
    assert loaded > moments / 2, "most moments have an artifact of the last checkpoint"


def kills_of_saving(tmp_path: Path, moments: int) -> None:
    train(tmp_path / "old")
    old, new = weights(tmp_path / "old"), None
    run = pofx.load(tmp_path / "old")
    next(run.model.parameters()).data.add_(0.5)
    total = child(lambda: run.save(tmp_path / "new"), tmp_path / "new", None)
    new = weights(tmp_path / "new")
    assert old != new
    for i in range(moments):
        folder = Path(shutil.copytree(tmp_path / "old", tmp_path / f"k{i}"))
        child(lambda folder=folder: run.save(folder), folder, 1 + i * (total + 2) // moments)
        assert whole(folder) and weights(folder) in (old, new)
        run.save(folder)
        assert whole(folder) and weights(folder) == new and len(list(folder.glob("weights-*"))) == 1
        shutil.rmtree(folder)


def test_training_killed_at_some_moments_resumes_bit_equal(tmp_path):
    kills_of_training(tmp_path, 3)


def test_saving_killed_at_some_moments_leaves_the_old_or_the_new(tmp_path):
    kills_of_saving(tmp_path, 6)


@pytest.mark.slow
def test_training_killed_at_forty_moments_resumes_bit_equal(tmp_path):
    kills_of_training(tmp_path, 40)


@pytest.mark.slow
def test_saving_killed_at_every_moment_leaves_the_old_or_the_new(tmp_path):
    kills_of_saving(tmp_path, 25)


@pytest.mark.slow
def test_a_comparison_killed_at_some_moments_ends_as_the_uninterrupted_one(tmp_path):
    """Same jobs, same measurements but for speeds; nothing runs on after the kill."""
    command = [sys.executable, "-m", "pofx", "compare", "moons", "--models", "gmm,nsf", "--budget", "20steps", "--out"]

    def measured(folder):
        rows = read_json(folder / "results.json")["rows"]
        return {
            (row["name"], run.get("seed"), m["metric"], m.get("space")): m["value"]
            for row in rows
            for run in row["runs"]
            for m in run.get("measurements", [])
            if "per_second" not in m["metric"]
        }

    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    for i, seconds in enumerate((3.0, 8.0, 15.0, 25.0)):
        folder = tmp_path / str(i)
        process = subprocess.Popen([*command, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.kill()
        process.wait()
        subprocess.run([*command, str(folder)], check=True, capture_output=True)
        assert measured(folder) == measured(tmp_path / "whole")
