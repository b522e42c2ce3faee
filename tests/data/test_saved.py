"""Folders of the library datasets are read as the objects that were saved there are."""

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.core.errors import DataError
from pofx.data.sources import load, whole

datasets = pytest.importorskip("datasets")


def frame(n=60):
    g = np.random.default_rng(0)
    return pd.DataFrame({"age": g.integers(18, 80, n), "plan": g.choice(["free", "pro"], n)})


@pytest.fixture
def folder(tmp_path):
    datasets.Dataset.from_pandas(frame()).save_to_disk(tmp_path / "people")
    return tmp_path / "people"


def test_a_saved_data_set_is_its_rows(folder, tmp_path):
    found = load(folder, condition="plan")
    assert len(found.train) + len(found.validation) + len(found.test) == 60 and list(found.train.values) == ["age"]
    assert found.card.name == str(folder) and found.card.facts["path"] == "people"
    assert whole(str(folder)).values.plan.tolist() == frame().plan.tolist()
    run = pofx.fit(str(folder), "copula", out=tmp_path / "run", progress=False)
    assert set(run.sample(20).plan) == {"free", "pro"}


def test_saved_splits_stay_as_they_are(tmp_path):
    parts = {"train": frame(50), "test": frame(20)}
    whole_ = datasets.DatasetDict({k: datasets.Dataset.from_pandas(v) for k, v in parts.items()})
    whole_.save_to_disk(tmp_path / "both")
    assert len(load(tmp_path / "both").test) == 20


def test_a_damaged_folder_is_named(folder):
    for file in folder.glob("*.arrow"):
        file.write_bytes(b"no")
    with pytest.raises(DataError, match="people"):
        load(folder)
