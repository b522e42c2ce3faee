"""Laws of what is asked with known factors and with reference models."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pofx
from pofx.cli.main import app
from pofx.core.errors import DataError, UsageError
from pofx.core.representation import Items
from pofx.data.sources import load
from pofx.evaluate.disentanglement import disentanglement, factor_table, scores
from pofx.evaluate.metrics.path_length import PathLength
from pofx.evaluate.reference_models import exposure, positions, split_halves, suspects


def points(n, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


# reference models


def test_every_item_is_out_of_exactly_half_of_the_references():
    inside = split_halves(101, 8, 0)
    assert inside.shape == (8, 101) and (inside.sum(0) == 4).all()
    assert len({tuple(row) for row in inside}) == 8
    assert np.array_equal(split_halves(101, 8, 0), inside) and not np.array_equal(split_halves(101, 8, 1), inside)


def test_suspects_are_members_and_others_in_turn():
    data = load(pofx.points(points(300)))
    items, members = suspects(data, 0)
    assert len(items) == 2 * len(data.test) and members[::2].all() and not members[1::2].any()
    known = {tuple(v) for v in data.train.values}
    assert all((tuple(v) in known) == m for v, m in zip(items.values, members, strict=True))
    assert len(set(positions(data, 0).tolist())) == len(items)


def test_an_overfit_density_is_exposed_and_a_regular_one_is_not():
    data = load(pofx.points(points(600)))
    found = {}
    for name, options in (("kde", {}), ("gmm", {"components": 1})):
        run = pofx.fit(data, name, steps=5, progress=False, **options)
        found[name] = {f["check"]: f for f in exposure(run, data, options=options, seconds=2.0)}
    assert set(found["kde"]) == {"membership: score", "membership: calibrated", "membership: LiRA"}
    assert {f["result"] for f in found["kde"].values()} == {"warning"}
    assert {f["result"] for f in found["gmm"].values()} == {"ok"}
    assert found["kde"]["membership: score"]["seen"].startswith("AUC") and found["kde"]["membership: score"]["mend"]
    assert "TPR at 1 % FPR" in found["gmm"]["membership: LiRA"]["seen"]


def test_models_without_a_density_are_attacked_by_their_samples_and_bad_requests_refused():
    data = load(pofx.points(points(300, 2)))
    run = pofx.fit(data, "gan", steps=2, progress=False)
    found = exposure(run, data, references=2, seconds=0.2)
    assert [f["check"] for f in found] == ["membership: score", "membership: calibrated"]  # too few for LiRA
    assert "nearness to samples" in found[0]["seen"]
    with pytest.raises(UsageError, match="must be even"):
        exposure(run, data, references=3)


# factors


def test_factors_of_any_kind_become_classes():
    frame = pd.DataFrame({"shape": ["b", "a", "b"] * 10, "size": np.arange(30.0), "turn": [0, 5, 0] * 10})
    found = factor_table(frame)
    assert found[:3, 0].tolist() == [1, 0, 1] and found[:3, 2].tolist() == [0, 1, 0]
    assert len(set(found[:, 1])) == 10  # deciles
    with pytest.raises(DataError, match="without gaps"):
        factor_table(frame.assign(size=np.nan))


def test_codes_that_are_the_factors_read_high_and_random_ones_low():
    generator = np.random.default_rng(0)
    factors = generator.integers(0, 4, size=(800, 3))
    values = (factors + 0.05 * generator.normal(size=(800, 3))).astype(np.float32)

    flow = pofx.fit(pofx.points(points(100, 3)), "realnvp", steps=1, progress=False)
    straight = SimpleNamespace(model=flow.model, name="straight", encode=lambda x, condition=None: np.asarray(x))
    found = {m.metric: m for m in disentanglement(straight, Items("points", values), pd.DataFrame(factors))}
    assert set(found) == {"mig", "sap", "disentanglement", "completeness", "informativeness", "factor_vote"}
    for name, m in found.items():
        assert m.value > 0.6 and m.extra["chance"] < m.value - 0.3, name
        assert m.note and m.n == 800
    assert scores(values, factors)["mig"] == pytest.approx(found["mig"].value, abs=0.02)
    with pytest.raises(UsageError, match="one row of factors per item"):
        disentanglement(straight, Items("points", values), pd.DataFrame(factors[:5]))
    run = pofx.fit(pofx.points(points(100)), "gmm", steps=1, progress=False)
    with pytest.raises(UsageError, match="no codes"):
        disentanglement(run, Items("points", values), pd.DataFrame(factors))


# ways between codes


def test_ways_that_are_straight_in_the_data_read_one():
    data = load(pofx.points(points(800)))
    run = pofx.fit(data, "realnvp", steps=1, progress=False)
    straight = PathLength().read(run, data)
    found = straight.values["path_length"]
    assert 0.8 < found < 2.0  # nearly the identity; great circles are a little longer than chords

    class Leaping:
        model, card = run.model, run.card

        def interpolate(self, a, b, steps):
            half = (np.arange(steps) >= steps // 2)[None, :, None]
            return np.where(half, b[:, None], a[:, None]).reshape(-1, a.shape[1])

    assert PathLength().read(Leaping(), data).values["path_length"] > 4 * found
    bare = pofx.fit(data, "gmm", steps=1, progress=False)
    assert not PathLength().read(bare, data).values


# the command line


@pytest.mark.slow
def test_the_command_line_asks_for_membership_factors_and_spaces(tmp_path):
    x = points(240, 2)
    np.savez(tmp_path / "x.npz", x=x)
    run = tmp_path / "run"
    pofx.fit(str(tmp_path / "x.npz"), "realnvp", steps=2, width=16, out=run, progress=False)
    ask = CliRunner()
    found = ask.invoke(
        app, ["audit", str(run), "--membership", "--references", "2", "--reference-seconds", "0.2", "--json"]
    )
    rows = json.loads(found.stdout[found.stdout.index("[") :])
    assert {"membership: score", "membership: calibrated", "invertibility"} <= {row["check"] for row in rows}
    pd.DataFrame({"side": x[:, 0] > 0, "height": x[:, 1]}).to_csv(tmp_path / "factors.csv", index=False)
    asked = ["evaluate", str(run), "--factors", str(tmp_path / "factors.csv"), "--spaces", "pca", "--json"]
    result = json.loads(ask.invoke(app, asked).stdout)
    read = {m["metric"]: m for m in result["measurements"]}
    assert read["mig"]["extra"]["factors"] == ["side", "height"] and read["mig"]["n"] == 240
    assert [s["name"] for s in result["protocol"]["spaces"]] == ["pca"]
    refused = ask.invoke(app, ["evaluate", str(run), "--spaces", "inception"])
    assert refused.exception is not None and "one of images" in str(refused.exception)
