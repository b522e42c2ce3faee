"""Laws of run folders: one writer, nothing overwritten without request, nothing lost without a word."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import pofx
from pofx import storage
from pofx.artifact import Artifact
from pofx.core import config
from pofx.core.errors import CorruptError, UsageError, WriteError
from pofx.core.files import read_json
from pofx.represent.choose import choose
from pofx.runs.folder import run_folder, status

POINTS = np.random.default_rng(0).normal(size=(20, 2))
REQUEST = {"data": "points", "model": "maf", "seed": 0}


def artifact(steps, seed=0):
    row = config.entry("maf")
    view = choose(pofx.points(POINTS), row.model)
    torch.manual_seed(seed)
    model = config.build("maf", view.event, **row.model.small).eval()
    with torch.no_grad():
        for p in model.parameters():  # many begin at zero
            p.add_(0.1 * torch.randn(p.shape))
    return Artifact(view, model, "maf", {"data": {"name": "points"}, "training": {"steps": steps}})


def train(folder, steps=5, stop=None, seed=0, **how):
    """A run as `fit` makes it; `stop` ends it after so many stored artifacts."""
    with run_folder(folder, REQUEST, **how) as run:
        run.begin()
        for i, step in enumerate((steps // 2, steps)):
            if i == stop:
                raise KeyboardInterrupt
            run.store(artifact(step, seed))
        return run.finish(artifact(steps, seed))


def stopped(folder, after, **how):
    with pytest.raises(KeyboardInterrupt):
        train(folder, stop=after, **how)


def test_the_state_of_a_folder_is_known_at_every_moment(tmp_path):
    folder = tmp_path / "run"
    assert status(folder).state == "empty"
    stopped(folder, 0)
    assert status(folder).state == "begun" and status(folder).model == "maf"
    stopped(folder, 1)
    found = status(folder)
    assert (found.state, found.steps, str(found)) == ("unfinished", 2, "an unfinished run (maf on points, 2 steps)")
    done = train(folder, resume=True)
    assert done.card["training"]["finished"] is True and status(folder).state == "finished"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pofx.load(folder).card["training"]["finished"] is True


def test_a_run_is_never_replaced_without_overwrite(tmp_path):
    folder = tmp_path / "run"
    train(folder, seed=1)
    before = pofx.load(folder).sample(3)
    with pytest.raises(UsageError, match=r"holds a finished run \(maf on points, 5 steps\): choose another --out, or"):
        train(folder)
    assert np.array_equal(pofx.load(folder).sample(3), before)
    train(folder, seed=2, overwrite=True)
    assert not np.array_equal(pofx.load(folder).sample(3), before)
    other = tmp_path / "other"
    stopped(other, 1)
    with pytest.raises(UsageError, match="holds an unfinished run .*pass --resume to continue it"):
        train(other)
    with pytest.raises(UsageError, match="exclude each other"):
        train(other, resume=True, overwrite=True)


def test_a_run_that_replaces_another_is_never_mistaken_for_it(tmp_path):
    folder = tmp_path / "run"
    train(folder)
    (folder / "checkpoints" / "step-000000005").mkdir(parents=True)
    (folder / "log.jsonl").write_text("{}")
    stopped(folder, 0, overwrite=True)
    assert status(folder).state == "begun" and not (folder / "checkpoints").exists()
    with pytest.raises(CorruptError, match="no weights yet"):
        pofx.load(folder)
    (folder / storage.PREVIOUS).rename(folder / storage.FILE)
    assert len(pofx.load(folder).sample(2)) == 2, "as the message states, the run before is there until the first save"


def test_another_request_is_not_resumed(tmp_path):
    stopped(tmp_path / "run", 1)
    with pytest.raises(UsageError, match="model was 'maf'"):
        with run_folder(tmp_path / "run", {**REQUEST, "model": "nsf"}, resume=True):
            pass


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_damaged_request_does_not_block_a_resume(tmp_path, content):
    folder = tmp_path / "run"
    stopped(folder, 1)
    (folder / "request.json").write_text(content)
    with pytest.warns(UserWarning, match="is damaged"):
        train(folder, resume=True)
    assert read_json(folder / "request.json") == REQUEST and status(folder).state == "finished"


def test_a_second_writer_is_refused_by_pid_and_host_until_the_first_is_gone(tmp_path):
    folder = tmp_path / "run"
    code = f"""
import sys, time
from pofx.runs.folder import run_folder
with run_folder({str(folder)!r}, {REQUEST!r}) as run:
    run.begin()
    print("ready", flush=True)
    time.sleep(600)
"""
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "ready\n"
        with pytest.raises(UsageError, match=rf"{first.pid} on {os.uname().nodename}"):
            train(folder, overwrite=True)
    finally:
        first.kill()
        first.communicate()
    train(folder)  # nobody has to remove a lock


def test_leftovers_of_a_kill_are_removed_at_the_next_start(tmp_path):
    folder = tmp_path / "run"
    stopped(folder, 1)
    (folder / "checkpoints").mkdir()
    for name in (".artifact.json.1@h.part", "weights.new.77.safetensors", "checkpoints/.step-000000009.88.part"):
        (folder / name).write_text("half")
    train(folder, resume=True)
    assert {p.name[:7] for p in folder.rglob("*")} == {"artifac", "request", "weights", "checkpo", ".lock"}


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "afile").write_text("x")
    for out in (tmp_path / "afile", tmp_path / "afile" / "run"):
        with pytest.raises(UsageError, match="afile is a file"):
            train(out)


def test_without_a_folder_nothing_is_stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train(None).card["training"]["finished"] is True and not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="needs the folder"):
        train(None, resume=True)


def full_disk(monkeypatch, allowed):
    def full(tensors, path, real=safetensors.torch.save_file):
        if not allowed(Path(path)):
            raise OSError(28, "No space left on device")
        return real(tensors, path)

    monkeypatch.setattr("safetensors.torch.save_file", full)


def test_on_a_full_disk_the_trained_model_goes_elsewhere_and_the_message_says_where(tmp_path, monkeypatch):
    folder, spare = tmp_path / "run", tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spare))
    full_disk(monkeypatch, lambda path: spare in path.parents)
    with pytest.warns(UserWarning, match="has no weights of this run"), pytest.raises(WriteError) as error:
        train(folder)
    (other,) = spare.iterdir()
    assert f"The trained model is in {other}" in str(error.value) and "nothing was lost" not in str(error.value)
    assert np.array_equal(pofx.load(other).sample(3), artifact(5).sample(3))


def test_what_is_lost_is_stated(tmp_path, monkeypatch):
    folder, room = tmp_path / "run", [1]
    full_disk(monkeypatch, lambda path: room[0] > 0 and room.__setitem__(0, room[0] - 1) is None)
    with pytest.warns(UserWarning, match="Training goes on"), pytest.raises(WriteError) as error:
        train(folder)
    assert "The weights after step 5 are lost" in str(error.value) and "those after step 2" in str(error.value)
    with pytest.warns(UserWarning, match="unfinished"):
        assert pofx.load(folder).card["training"]["steps"] == 2


def test_room_that_checkpoints_take_is_used_first(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with run_folder(folder, REQUEST) as run:
        run.begin()
        (folder / "checkpoints" / "step-000000005").mkdir(parents=True)
        full_disk(monkeypatch, lambda path: not (folder / "checkpoints").exists())
        with pytest.warns(UserWarning, match="Training goes on"):
            run.store(artifact(5))
        run.finish(artifact(5))
    assert status(folder).state == "finished" and len(pofx.load(folder).sample(2)) == 2
