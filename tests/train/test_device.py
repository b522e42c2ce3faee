"""Every verb runs on the device that is requested; of several processes only the first prints."""

import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import pofx
from pofx.cli import main as cli

VERBS = {
    "sample": ["-n", "4", "--out", "x.csv"],
    "score": ["data.npz", "--out", "s.csv"],
    "encode": ["data.npz", "--out", "z.npz"],
    "interpolate": ["--pairs", "1", "--steps", "3", "--out", "w.npz"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("device")
    x = np.random.default_rng(0).normal(size=(60, 2))
    np.savez(place / "data.npz", x=x)
    pofx.fit(pofx.points(x), "realnvp", steps=2, out=place / "run", progress=False, layers=2, width=8)
    return place


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_take_a_device(folder, monkeypatch, verb):
    monkeypatch.chdir(folder)
    for device in ("auto", "cpu"):
        done = CliRunner().invoke(cli.app, [verb, "run", *VERBS[verb], "--device", device])
        assert done.exit_code == 0, done.output


def test_a_device_that_is_not_here_is_named(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["pofx", "sample", "run", "--device", "abacus"])
    monkeypatch.setattr("signal.signal", lambda *a: None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2 and "got 'abacus'" in capsys.readouterr().err


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_one_process_speaks_for_all(folder, monkeypatch, rank, lines):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RANK", rank)  # as torchrun sets it; a group of one needs nothing else
    monkeypatch.setattr("pofx.runs.fitting.processes", _alone)
    asked = ["train", "data.npz", "-m", "gmm", "--steps", "1", "--out", f"other{rank}"]
    done = CliRunner().invoke(cli.app, asked)
    assert done.exit_code == 0, done.output
    assert len([line for line in done.output.splitlines() if "→" in line]) == lines


def _alone():
    from accelerate import Accelerator

    return Accelerator(cpu=True)
