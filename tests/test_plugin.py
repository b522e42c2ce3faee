"""A family from somebody else's package, found by its entry point, used from the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the package installed in it."""
    target = tmp_path_factory.mktemp("site")
    toy = (Path(__file__).parent / "toy.py").read_text().split("class Plain")[0]
    (target / "pofx_plug.py").write_text(toy)
    installed = target / "pofx_plug-0.1.dist-info"  # what pip leaves of the table in the package's pyproject.toml
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: pofx-plug\nVersion: 0.1\n")
    (installed / "entry_points.txt").write_text("[pofx.families]\nplug = pofx_plug\n")
    return target


SCRIPT = """
import json
from typer.testing import CliRunner
from pofx.cli.main import app

def pofx(*words):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout

rows = {row["model"]: row for row in json.loads(pofx("models", "--json"))}
assert rows["toy-gaussian"]["density"] == "exact" and rows["toy-gaussian"]["source"] == "Gauss (1809)"
pofx(*"train moons --model toy-gaussian --steps 30 -o scale=1.0 --out run".split())
pofx(*"sample run -n 5 --out x.csv".split())
"""


def test_an_installed_family_is_listed_trained_and_sampled(site, tmp_path):
    paths = os.pathsep.join((str(site), str(Path(__file__).parents[1] / "src")))
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 6
