"""Classes by Bayes' rule: exact where densities are, one posterior where the model knows it."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pofx
from pofx.cli import main as cli
from pofx.core.errors import Unsupported


@pytest.fixture(scope="module")
def rows():
    g = np.random.default_rng(0)
    side = g.random(1200) < 0.25
    x = g.normal(size=(1200, 2)) + 2.5 * side[:, None]
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "side": np.where(side, "right", "left")})


def truth(x):
    right, left = (np.log(p) - 0.5 * np.square(x - m).sum(1) for p, m in ((0.25, 2.5), (0.75, 0.0)))
    return 1 / (1 + np.exp(left - right))


def test_densities_of_each_class_give_the_posterior(rows):
    run = pofx.fit(rows, "gmm", condition="side", steps=20, components=1, progress=False)
    x = rows[["a", "b"]].iloc[:200]
    found = pofx.classify(run, x)
    assert list(found.columns) == ["left", "right"] and np.allclose(found.sum(axis=1), 1)
    assert np.abs(found["right"] - truth(x.to_numpy())).mean() < 0.03
    even = pofx.classify(run, x, even=True)
    odds = (even["right"] / even["left"]) / (found["right"] / found["left"]).replace(0, np.nan)
    assert np.allclose(odds.dropna(), 3, rtol=0.2)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("circuit", {"steps": 15}),
        pytest.param("ebm", {"steps": 250, "width": 32, "lr": 5e-3}, marks=pytest.mark.slow),
    ],
)
def test_circuits_and_energies_answer_by_their_own_posterior(rows, model, options):
    x = rows[["a", "b"]].iloc[:200]
    run = pofx.fit(rows, model, condition="side", progress=False, **options)
    found = pofx.classify(run, x)
    right = (found["right"] > 0.5).to_numpy() == (truth(x.to_numpy()) > 0.5)
    assert right.mean() > 0.85
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)


def test_what_has_no_labels_or_no_density_is_refused(rows):
    with pytest.raises(Unsupported, match="the condition label"):
        pofx.classify(pofx.fit("moons", "gmm", steps=2, progress=False), np.zeros((2, 2)))
    run = pofx.fit(rows, "gan", condition="side", steps=2, progress=False)
    with pytest.raises(Unsupported, match="no density"):
        pofx.classify(run, rows[["a", "b"]])


def test_the_verb_reports_the_share_that_is_right(tmp_path):
    pofx.fit("digits", "circuit", condition="label", steps=8, states=8, progress=False, out=tmp_path / "run")
    out = tmp_path / "classes.csv"
    done = CliRunner().invoke(
        cli.app, ["classify", str(tmp_path / "run"), "digits", "--split", "test", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    share = float(done.output.split("items, ")[1].split("%")[0])
    assert share > 40
    found = pd.read_csv(out, dtype={"class": str})
    assert len(found) == 180 and np.allclose(found.iloc[:, 2:].sum(axis=1), 1, atol=1e-5)


def test_known_pixels_and_cells_decide_where_others_are_missing():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 300)
    x = (rng.random((300, 2, 2)) < np.where(label, 0.9, 0.2)[:, None, None]).astype(np.uint8)
    run = pofx.fit(
        pofx.images(x, levels=2, labels=label), "circuit", condition="label", steps=15, states=3, progress=False
    )
    gap = np.array([[[np.nan, 1], [np.nan, np.nan]]])
    every = np.stack([[[a, 1], [b, c]] for a in (0, 1) for b in (0, 1) for c in (0, 1)]).astype(np.uint8)
    p = (
        np.stack([np.exp(run.log_prob(every, condition=[k] * 8)).sum() for k in (0, 1)])
        * np.bincount(label[:240])
        / 240
    )
    assert pofx.classify(run, gap).to_numpy()[0] == pytest.approx(p / p.sum(), abs=0.05)
    frame = pd.DataFrame({"a": label + rng.normal(size=300), "b": np.where(label, "u", "v"), "y": label.astype(str)})
    rows = pofx.fit(frame, "circuit", condition="y", steps=15, states=3, progress=False)
    lacking = frame[["a", "b"]].iloc[:20].astype(object)
    lacking["a"] = None
    found = pofx.classify(rows, lacking)
    assert (found.to_numpy().argmax(1) == label[:20]).mean() > 0.9
