"""A data type that somebody else adds in one file goes the whole way: fit, sample, save, load, score, evaluate, audit,
compare and report, in Python and on the command line, with a feature space of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
POINTS = "[pofx.kinds]\nspectra = spectra\n\n[pofx.spaces]\nspectra = spectra\n"
SCRIPT = """
import numpy as np, pofx
from pofx.core.items import Items
from pofx.data.dataset import split

rng = np.random.default_rng(0)
values = np.exp(rng.normal(size=(300, 1)) + 0.3 * rng.normal(size=(300, 8)))
items = Items("spectrum", values, facts={"channels": 8})
run = pofx.fit(items, model="gmm", steps=1, out="run", progress=False)
assert run.density == pofx.Density.EXACT and (run.sample(50, seed=1) > 0).all()
again = pofx.load("run")
assert np.array_equal(again.sample(5, seed=1), run.sample(5, seed=1))
assert np.isfinite(again.log_prob(values[:9])).all()

from pofx.evaluate.audit import audit
from pofx.evaluate.suite import evaluate
data = split(items, "spectra")
found = evaluate(run, data, n=40, likelihood_seconds=0.5, force=True, progress=False)
assert found["protocol"]["primary_space"].startswith("bands-")
assert {"c2st", "frechet_distance", "nats"} <= {m["metric"] for m in found["measurements"]}
assert {row["check"] for row in audit(run, data, force=True, progress=False)} >= {"spread", "seeds", "support"}

from pofx.comparison import job, jobs
jobs.launch = lambda command, output, *rest: job.run(output.parent)  # processes of their own would import all again
found = pofx.compare(items, ["gmm"], budget="0.2s", spaces=["bands"], n=40, out="comparison", progress=False)
assert found.table().loc["gmm", "FD"] > 0
assert "brightest" in found.report.read_text()

np.savetxt("x.spec", values)
from typer.testing import CliRunner
from pofx.cli.main import app
words = "train x.spec --model gmm --steps 1 --out trained", "evaluate trained --spaces bands --all", "data"
for line in words:
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 0, done.output
    assert "bands" in done.output or not line.startswith("evaluate")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the file, and the entry points that pip would write for it."""
    folder = tmp_path_factory.mktemp("kind")
    (folder / "spectra.py").write_text((HERE / "plugins" / "spectra.py").read_text())
    (folder / "spectra-1.0.dist-info").mkdir()
    (folder / "spectra-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: spectra\nVersion: 1.0\n")
    (folder / "spectra-1.0.dist-info" / "entry_points.txt").write_text(POINTS)
    return folder


def python(folder, *arguments):
    paths = os.pathsep.join((str(folder), str(HERE.parent / "src")))
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_new_kind_is_one_file_from_fit_to_report(folder):
    said = python(folder, "-c", SCRIPT)
    assert "feature space" not in said  # progress=False is silent
