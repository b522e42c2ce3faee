"""Rows with missing cells have the density of their known ones, where the model answers for any subset."""

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.core.errors import Unsupported


@pytest.fixture(scope="module")
def rows():
    g = np.random.default_rng(0)
    kind = g.integers(0, 3, 900)
    return pd.DataFrame(
        {"x": g.normal(2.0 * kind, 1.0), "kind": np.array(list("abc"))[kind], "n": g.poisson(3 + 2 * kind)}
    )


@pytest.mark.parametrize("view", ["bins", "columns"])
def test_known_cells_have_the_density_that_the_others_sum_to(rows, view):
    run = pofx.fit(rows, "circuit", steps=8, states=4, represent=view, progress=False)
    row = rows.iloc[[0]]
    every = pd.concat([row.assign(kind=k) for k in "abc"])
    total = np.logaddexp.reduce(run.score(every, draws=64).value)
    lacking = row.assign(kind=None)
    scored = run.score(pd.concat([lacking, row]), draws=64)
    assert scored.value[0] == pytest.approx(total, abs=0.02) and np.isfinite(scored.value[1]) and not scored.reasons
    axis = np.linspace(-8, 14, 1500)
    line = pd.concat([row] * len(axis), ignore_index=True).assign(x=axis)
    whole = np.exp(run.log_prob(line)).sum() * (axis[1] - axis[0])
    assert run.log_prob(row.assign(x=np.nan))[0] == pytest.approx(np.log(whole), abs=0.08)
    assert run.log_prob(row.assign(x=np.nan, kind=None, n=np.nan))[0] == pytest.approx(0.0, abs=1e-6)


def test_what_cannot_occur_is_impossible_with_or_without_gaps(rows):
    run = pofx.fit(rows, "circuit", steps=3, states=2, progress=False)
    odd = rows.iloc[[0, 1]].assign(kind=["z", "z"], x=[np.nan, 1.0])
    scored = run.score(odd)
    assert np.isneginf(scored.value).all() and set(scored.reasons) == {0, 1}
    other = pofx.fit(rows, "made", steps=2, progress=False)  # no model of any subset
    assert np.isneginf(other.log_prob(rows.iloc[[0]].assign(kind=None)))[0]


def test_a_condition_is_given_row_by_row(rows):
    run = pofx.fit(rows, "circuit", condition="kind", steps=5, states=4, progress=False)
    both = pd.concat([rows.iloc[[0]].assign(kind=k, n=np.nan) for k in "ac"])
    first, second = run.log_prob(both)
    assert np.isfinite([first, second]).all() and first != second


@pytest.mark.slow
def test_an_autoencoder_bounds_the_density_of_known_cells(rows):
    run = pofx.fit(rows, "vae", steps=200, represent="columns", progress=False)
    lacking = rows.iloc[:40].assign(kind=None)
    every = np.stack([run.score(rows.iloc[:40].assign(kind=k), draws=16, importance=500).value for k in "abc"])
    found = run.score(lacking, draws=16, importance=500)
    assert not found.reasons
    assert np.abs(found.value - np.logaddexp.reduce(every)).mean() < 0.1


@pytest.mark.parametrize("model", ["circuit", "masked-diffusion", "vae"])
def test_pixels_may_be_missing(model):
    x = np.random.default_rng(0).integers(0, 2, (60, 2, 2), dtype=np.uint8)
    small = {"circuit": {"states": 3}, "masked-diffusion": {"width": 32, "layers": 1}, "vae": {"importance": 400}}[
        model
    ]
    run = pofx.fit(pofx.images(x, levels=2), model, steps=5, progress=False, options=small)
    one = np.full((2, 2, 2), np.nan)
    one[:, 0, 1] = 0, 1
    assert np.exp(run.log_prob(one)).sum() == pytest.approx(1.0, abs=1e-4 if model != "vae" else 0.1)
    assert run.score(one).density == run.density and (run.score(one).stderr is None) == (model == "circuit")
    if model == "circuit":
        both = np.array([[[a, 0], [1, b]] for a in (0, 1) for b in (0, 1)], np.uint8)
        known = np.ma.masked_array(both[:1], [[[True, False], [False, True]]])
        assert run.log_prob(known)[0] == pytest.approx(np.logaddexp.reduce(run.log_prob(both)), abs=1e-5)
    with pytest.raises(Unsupported, match="first pixels alone"):
        pofx.fit(pofx.images(x, levels=2), "made", steps=2, progress=False).log_prob(one)
    with pytest.raises(Unsupported, match="circuit, vae, masked-diffusion or gmm"):
        pofx.fit(pofx.images(x, levels=2), "nsf", steps=2, progress=False).log_prob(one)


@pytest.mark.parametrize("model", ["made", "gpt"])
def test_autoregressive_models_know_what_comes_first_of_rows(model):
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"a": rng.choice(["u", "v"], 200), "b": rng.integers(0, 3, 200), "c": rng.random(200) < 0.4})
    small = {"made": {"width": 16}, "gpt": {"width": 24, "layers": 1, "heads": 2}}[model]
    run = pofx.fit(x, model, steps=5, progress=False, options=small)
    lacking = x.iloc[:6].astype(object).assign(c=None)
    found = run.score(lacking)
    every = np.stack([run.log_prob(x.iloc[:6].assign(c=value)) for value in (False, True)])
    assert not found.reasons and np.allclose(found.value, np.logaddexp.reduce(every), atol=1e-4)
    assert (run.log_prob(x.iloc[:6].astype(object).assign(a=None)) == -np.inf).all()  # not what comes last


def test_autoregressive_models_know_the_first_pixels():
    x = np.random.default_rng(0).integers(0, 2, (60, 2, 2), dtype=np.uint8)
    run = pofx.fit(pofx.images(x, levels=2), "pixelcnn", steps=5, progress=False, options={"width": 8, "layers": 1})
    one = np.full((2, 2, 2), np.nan)
    one[:, 0, 0] = 0, 1
    assert np.exp(run.log_prob(one)).sum() == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(Unsupported, match="first pixels alone"):
        run.log_prob(np.array([[[np.nan, 1.0], [0.0, 1.0]]]))


@pytest.mark.parametrize("name", ["gmm", "copula"])
def test_mixtures_know_the_cells_that_are_there_in_closed_form(name):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(600, 3)) @ np.linalg.cholesky([[1, 0.8, 0], [0.8, 1, 0], [0, 0, 1]]).T
    frame = pd.DataFrame(z, columns=["a", "b", "c"])
    run = pofx.fit(pofx.table(frame), name, progress=False)
    gap = pd.DataFrame({"a": [1.0, np.nan, np.nan], "b": [np.nan, 0.5, np.nan], "c": [np.nan, 0.0, 0.2]})
    one = -0.5 * np.square([1.0, 0.5, 0.2]) - 0.9189
    expected = [one[0], one[1] - 0.9189, one[2]]
    assert run.log_prob(gap) == pytest.approx(expected, abs=0.25)
    drawn = run.sample(4000, given={"a": 1.5}, seed=0)
    assert (drawn["a"] == 1.5).all() and drawn["b"].mean() == pytest.approx(1.2, abs=0.15)
    assert drawn["b"].std() == pytest.approx(0.6, abs=0.12) and abs(drawn["c"].mean()) < 0.15


@pytest.mark.parametrize(("name", "view"), [("gmm", "unit"), ("kde", "logit")])
def test_mixtures_know_some_pixels_and_draw_the_others(name, view):
    g = np.random.default_rng(0)
    first = g.integers(0, 4, (300, 1, 1))
    x = np.concatenate((first, np.where(g.random((300, 1, 1)) < 0.8, first, 3 - first)), 2).astype(np.uint8)
    run = pofx.fit(pofx.images(x, levels=4), name, progress=False, represent=view)
    every = np.array([[[a, b]] for a in range(4) for b in range(4)], np.uint8)
    p = np.exp(run.log_prob(every, draws=400)).reshape(4, 4)
    gap = np.array([[[a, np.nan]] for a in range(4)])
    assert np.exp(run.log_prob(gap, draws=400)) == pytest.approx(p.sum(1), rel=0.15, abs=0.01)
    known = np.array([[[2.0, np.nan]], [[np.nan, 1.0]]])
    drawn = run.sample(1000, given=np.repeat(known, 500, 0))
    assert (drawn[:500, 0, 0] == 2).all() and (drawn[500:, 0, 1] == 1).all()
    often = np.bincount(drawn[:500, 0, 1], minlength=4) / 500
    assert np.abs(often - p[2] / p[2].sum()).sum() / 2 < 0.1
    edited = pofx.edit(run, x[:20], mask=np.array([[False, True]]))
    assert (edited[..., 0] == x[:20, ..., 0]).all() and (edited != x[:20]).any()
