"""Any table is fitted, scored on any split and compared without an error: generated ones, and those of POFX_DATA.

Jobs run in this process, which spares the start of several hundred.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pofx
from generated_tables import generated
from pofx.comparison import jobs
from pofx.comparison.compare import compare
from pofx.comparison.job import run

pytestmark = pytest.mark.filterwarnings("ignore")
OPTIONS = {"vae": {"width": 16, "importance": 8}, "circuit": {"states": 4}, "nsf": {"width": 8, "layers": 1}}
DATA = Path(os.environ.get("POFX_DATA", "/nowhere"))
OTHERS = {"adult": "people/adult.csv", "esol": "molecules/esol.csv", "etth1": "series/ETTh1.csv"}
OTHERS |= {"sachs": "cells/sachs_interventions.txt"}
ADBENCH = ("Waveform", "cardio", "cover", "http", "magic.gamma", "mammography", "optdigits", "pendigits", "satellite")
ADBENCH += ("thyroid", "vowels", "wine")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    def launch(command, output, limits, tick=lambda: None, held=()):
        try:
            run(output.parent)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    monkeypatch.setattr(jobs, "launch", launch)


def failures(data, folder, models):
    own = {k: v for k, v in OPTIONS.items() if k in models}
    made = compare(data, list(models), budget="2 steps", out=folder, options=own, progress=False)
    runs = [(row["name"], one) for row in made.results["rows"] for one in row["runs"]]
    return {name: one.get("reason") for name, one in runs if one["status"] != "done"}


def table_of(name: str) -> pd.DataFrame:
    path = DATA / OTHERS[name] if name in OTHERS else DATA / "tables" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{name} is not in POFX_DATA")
    if path.suffix == ".npz":
        x = np.load(path)
        return pd.DataFrame(x["X"], columns=[f"x{i}" for i in range(x["X"].shape[1])]).assign(y=x["y"])
    return pd.read_csv(path, sep="\t" if path.suffix == ".txt" else ",", skipinitialspace=True, na_values="?")


@pytest.mark.slow
def test_a_generated_table_is_compared(tmp_path):
    assert not failures(pofx.table(generated(3)), tmp_path, ("vae",))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_every_generated_table_is_compared(seed, tmp_path):
    assert not failures(pofx.table(generated(seed)), tmp_path, ("vae", "circuit", "independent"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ADBENCH, *OTHERS])
def test_every_table_of_the_data_folder_is_fitted_scored_and_compared(name, tmp_path):
    frame = table_of(name)
    some = frame.sample(min(len(frame), 800), random_state=0).reset_index(drop=True)
    assert not failures(some, tmp_path, ("vae", "circuit", "nsf", "independent"))
    fitted = pofx.fit(some.head(500), "circuit", steps=2, states=4, progress=False)
    rest = frame.sample(min(len(frame), 400), random_state=1).reset_index(drop=True)
    value = fitted.score(rest).value
    assert not np.isnan(value).any() and len(fitted.sample(5)) == 5
