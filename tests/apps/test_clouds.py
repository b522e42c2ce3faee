"""Clouds of points: sets without an order, copies in another order, floors that MMD flatters, files."""

import gzip
import io

import numpy as np
import pytest
from typer.testing import CliRunner

from pofx.apps.clouds import Clouds, check_clouds, compared, floors, matched, ply, read_clouds
from pofx.cli.main import app
from pofx.core.errors import DataError, UsageError
from pofx.data.components import Components

pytestmark = pytest.mark.filterwarnings("ignore")
G = np.random.default_rng(0)


def ellipsoids(n=60, k=24):
    """Points of ellipsoids of several axes, in a random order."""
    at = G.normal(size=(n, k, 3))
    return at / np.linalg.norm(at, axis=2, keepdims=True) * G.uniform(0.3, 1.5, (n, 1, 3))


@pytest.fixture(scope="module")
def model():
    return Clouds(steps=20, options={"width": 16, "validations": 1}).fit(ellipsoids())


def test_a_match_is_a_permutation_that_undoes_a_shuffle():
    cloud = ellipsoids(1)[0]
    shuffled = np.stack([cloud[G.permutation(len(cloud))] for _ in range(3)])
    assert np.allclose(matched(shuffled, cloud), cloud)


def test_clouds_are_each_taken_once_whatever_their_order_and_others_are_refused(tmp_path):
    every = ellipsoids(5)
    again = every[:2, ::-1]
    assert len(check_clouds(np.concatenate((every, again)))) == 5
    wrong = [
        np.zeros((3, 8, 4)),
        np.zeros((3, 2, 3)),
        np.zeros((0, 8, 3)),
        np.full((2, 8, 3), np.nan),
        np.ones((2, 8, 3)),
    ]
    for bad in [*wrong, np.array([["a"]])]:
        with pytest.raises(DataError):
            check_clouds(bad)
    stream = io.BytesIO()
    np.save(stream, every)
    (tmp_path / "x.npy.gz").write_bytes(gzip.compress(stream.getvalue()))
    assert np.allclose(read_clouds(tmp_path / "x.npy.gz"), every)
    with pytest.raises(DataError, match="at least 20"):
        Clouds().fit(every)


def test_components_have_unit_variance_and_undo_themselves():
    rows = G.normal(size=(80, 5)) @ G.normal(size=(5, 12)) + 3
    parts = Components.fit(rows, 20)
    codes = parts.encode(rows)
    assert codes[:, :5].std(0) == pytest.approx(np.ones(5)) and np.allclose(parts.decode(codes), rows, atol=1e-6)


def test_drawn_clouds_are_judged_beside_floors(model, tmp_path):
    with pytest.raises(UsageError, match="fit first"):
        Clouds().sample(1)
    train, test = ellipsoids(30), ellipsoids(20)
    drawn = model.sample(20)
    assert drawn.shape == (20, 24, 3) and np.isfinite(drawn).all()
    found = compared({"ours": drawn, **floors(train, 20, model)}, test, train)
    assert found["mean cloud"]["COV"] < 0.2 and found["mean cloud"]["1-NNA"] > 0.8 > found["real"]["1-NNA"]
    with pytest.raises(UsageError, match="chamfer or emd"):
        compared({"ours": drawn}, test, train, "euclid")
    with pytest.raises(DataError, match="must have shape"):
        model.encode(drawn[:, :5])
    again = Clouds.load(model.save(tmp_path / "m"))
    assert np.allclose(again.sample(3, seed=1), model.sample(3, seed=1))
    assert len(ply(drawn[0]).splitlines()) == 7 + 24


def test_two_budgets_are_refused_and_none_is_dropped():
    with pytest.raises(UsageError, match="give one of steps, minutes"):
        Clouds(minutes=1.0, steps=20).fit(ellipsoids())


@pytest.mark.slow
def test_the_verb_of_clouds(tmp_path):
    np.save(tmp_path / "x.npy", ellipsoids(60))
    call = ["shapes", str(tmp_path / "x.npy"), "--out", str(tmp_path / "out"), "--minutes", "0.02", "-n", "2"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert (
        "emd" in done.output and (tmp_path / "out" / "clouds.png").is_file() and (tmp_path / "out" / "1.ply").is_file()
    )
    assert CliRunner().invoke(app, [*call, "--overwrite", "--points", "9"]).exit_code == 2
    np.save(tmp_path / "s.npy", G.integers(0, 2, (60, 4, 4, 4)))
    call = ["shapes", str(tmp_path / "s.npy"), "--out", str(tmp_path / "s"), "--minutes", "0.02", "--points", "8"]
    assert CliRunner().invoke(app, [*call, "-n", "2"]).exit_code == 0
