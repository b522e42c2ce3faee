"""Stated supports: transforms invert to the edge, densities integrate to 1, samples stay inside, errors name values."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pofx
from pofx.artifact import Artifact, load
from pofx.core import config
from pofx.core.errors import DataError, UsageError
from pofx.core.event import Continuous
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.maths.transforms import contrasts, from_line, simplex_to_space, space_to_simplex, to_line
from pofx.represent.choose import choose
from pofx.represent.table import Points, Table

RNG = np.random.default_rng(0)
BOUNDS = {"line": (-math.inf, math.inf), "positive": (0.0, math.inf), "below": (-math.inf, 3.0), "box": (-2.0, 5.0)}
FAST = {"layers": 2, "bins": 8, "width": 32, "blocks": 1, "progress": False}


def ends(name: str, dtype=torch.float64):
    low, high = BOUNDS[name]
    return torch.tensor([low], dtype=dtype), torch.tensor([high], dtype=dtype)


# --- transforms


@pytest.mark.parametrize("name", BOUNDS)
@settings(max_examples=60, deadline=None)
@given(y=st.floats(-30, 30))
def test_intervals_invert_and_their_slopes_are_those_of_autograd(name, y):
    low, high = ends(name)
    z = torch.tensor([[y]], dtype=torch.float64, requires_grad=True)
    x, ladj = from_line(z, low, high)
    assert float(low) < x.item() < float(high)
    (slope,) = torch.autograd.grad(x.sum(), z)
    assert float(slope.log()) == pytest.approx(ladj.item(), abs=1e-9)
    if abs(y) < 20:
        back, there = to_line(x, low, high)
        assert back.item() == pytest.approx(y, rel=1e-6, abs=1e-6)
        assert there.item() == pytest.approx(-ladj.item(), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", BOUNDS)
def test_the_way_back_never_leaves_an_open_interval(name, dtype):
    low, high = ends(name, dtype)
    y = torch.tensor([[0.0], [40.0], [-40.0], [2e3], [-2e3], [1e30], [-1e30]], dtype=dtype, requires_grad=True)
    x, ladj = from_line(y, low, high)
    assert ((x > low) & (x < high)).all() and x.isfinite().all() and ladj.isfinite().all()
    (slope,) = torch.autograd.grad(x.sum() + ladj[:5].sum(), y)
    assert slope.isfinite().all()
    there, ladj = to_line(x.detach(), low, high)
    assert there.isfinite().all() and ladj.isfinite().all()


@pytest.mark.parametrize("d", [2, 3, 7])
def test_the_simplex_inverts_and_its_determinant_is_that_of_autograd(d):
    v = contrasts(d)
    assert torch.allclose(v.T @ v, torch.eye(d - 1, dtype=torch.float64)) and v.sum(0).abs().max() < 1e-12
    x = torch.from_numpy(RNG.dirichlet(np.ones(d), 5))
    y, ladj = simplex_to_space(x)

    def free(first):
        return simplex_to_space(torch.cat((first, 1 - first.sum(-1, keepdim=True)), -1)[None])[0][0]

    for i in range(5):
        jacobian = torch.autograd.functional.jacobian(free, x[i, :-1])
        assert float(jacobian.det().abs().log()) == pytest.approx(float(ladj[i]), abs=1e-9)
    again, back = space_to_simplex(y)
    assert torch.allclose(again, x) and torch.allclose(back, -ladj)


def test_the_simplex_is_the_same_whatever_the_order_of_its_parts():
    x = torch.from_numpy(RNG.dirichlet(np.ones(4), 9))
    one, two = simplex_to_space(x)[0], simplex_to_space(x[:, [2, 0, 3, 1]])[0]
    assert torch.allclose(torch.cdist(one, one), torch.cdist(two, two))  # isometric


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_points_stay_in_the_open_simplex(dtype):
    y = torch.tensor([[0.0, 0.0], [300.0, -700.0], [1e4, 1e4]], dtype=dtype)
    x, ladj = space_to_simplex(y)
    assert (x > 0).all() and ladj.isfinite().all() and torch.allclose(x.sum(-1), torch.ones(3, dtype=dtype))


# --- representations


def shares(n: int = 400, d: int = 3) -> np.ndarray:
    return RNG.dirichlet(np.linspace(1, 3, d), n)


def mixed(n: int = 400) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "income": RNG.lognormal(8, 2, n),
            "rate": RNG.beta(0.5, 0.7, n).clip(1e-12, 1 - 1e-12).astype(np.float32),
            "age": RNG.integers(0, 3, n),
            "score": RNG.integers(0, 21, n) / 20,
            "free": RNG.normal(size=n),
        }
    )


SUPPORT = {"income": "positive", "rate": (0, 1), "age": (0, None), "score": "unit"}


def test_a_table_round_trip_under_supports_is_exact_on_grids_and_close_elsewhere():
    x = mixed()
    fitted = Table.fit(pofx.table(x, support=SUPPORT))
    assert fitted.event == Continuous((5,)) and fitted.decimals == [-1, -1, 0, 2, -1]
    for seed in range(5):
        event, ladj = fitted.encode(fitted.tensor(x), Streams(seed, len(x)))
        out = fitted.items(fitted.decode(event))
        assert event.isfinite().all() and ladj.isfinite().all() and event.std() < 2
        assert np.array_equal(out["age"], x["age"]) and np.allclose(out["score"], x["score"], atol=1e-9)
        assert np.allclose(out["income"], x["income"], rtol=1e-5) and np.allclose(out["rate"], x["rate"], atol=1e-5)
        assert out["rate"].dtype == np.float32


def test_far_events_decode_inside_every_support():
    x = mixed()
    fitted = Table.fit(pofx.table(x, support=SUPPORT))
    far = torch.tensor([1e3, -1e3, 1e6, -1e6, 30.0, -30.0])[:, None].expand(6, 5).float()
    out = fitted.items(fitted.decode(far))
    assert (out["income"] > 0).all() and np.isfinite(out["income"]).all()
    assert ((out["rate"] > 0) & (out["rate"] < 1)).all() and out["rate"].dtype == np.float32
    assert (out["age"] >= 0).all() and ((out["score"] >= 0) & (out["score"] <= 1)).all()
    fitted.tensor(out.drop(columns=[]))  # what it decodes it takes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_of_a_simplex_have_one_dimension_less(dtype):
    x = shares().astype(dtype)
    fitted = Points.fit(pofx.points(x, support="simplex"))
    assert fitted.event == Continuous((2,)) and fitted.dims == 2 and "first 2" in fitted.measure
    assert fitted.volume is Density.EXACT
    out = fitted.items(fitted.decode(fitted.encode(fitted.tensor(x), Streams(0, len(x)))[0]))
    assert out.dtype == dtype and np.allclose(out, x, atol=1e-5) and np.allclose(out.sum(1), 1, atol=1e-6)
    far = fitted.items(fitted.decode(torch.tensor([[1e5, -1e5], [-1e5, 30.0]])))
    assert (far > 0).all() and np.allclose(far.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["table", "simplex"])
def test_log_determinants_are_those_of_autograd(kind):
    if kind == "simplex":
        fitted = Points.fit(pofx.points(shares(), support="simplex"))
        raw = fitted.tensor(shares(3))[:, :-1]
        whole = lambda v: torch.cat((v, 1 - v.sum(-1, keepdim=True)), -1)  # noqa: E731
    else:
        frame = mixed()[["income", "rate", "free"]]
        fitted = Table.fit(pofx.table(frame, support={"income": "positive", "rate": (0, 1)}))
        raw, whole = fitted.tensor(frame)[:3], lambda v: v
    _, ladj = fitted.encode(whole(raw), Streams(0, 3))
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(
            lambda v: fitted._opening.forward(whole(v[None]))[0][0] / fitted._scale, raw[i]
        )
        assert float(jacobian.det().abs().log()) == pytest.approx(float(ladj[i]), abs=1e-6)
    y = fitted.encode(whole(raw), Streams(0, 3))[0].double()
    again, back = fitted.back(y)
    assert torch.allclose(back, -ladj, atol=1e-4) and torch.allclose(again, whole(raw), rtol=1e-5)


def test_the_noise_of_a_grid_is_paid_for():
    """A uniform density on steps must score a mass of at most 1 per step even where float32 widens the noise's edge."""
    x = RNG.integers(0, 2**25, (4000, 1))
    fitted = Table.fit(pofx.table(x))
    _, ladj = fitted.encode(fitted.tensor(x), Streams(0, len(x)))
    per_step = ladj + math.log(fitted.std[0])
    assert (per_step < math.log(0.2) + 1e-3).all()  # only the middle fifth of each step is seen, and counted
    y, _ = fitted.encode(fitted.tensor(x), Streams(1, len(x)))
    assert np.abs(fitted.items(fitted.decode(y))["x0"] - x[:, 0]).max() <= 2


def test_supports_survive_json_and_folders(tmp_path):
    x = mixed()
    fitted = Table.fit(pofx.table(x, support={**SUPPORT, "income": (0, math.inf)}))
    assert fitted.support["income"] == [0.0, None] and fitted.support["rate"] == [0.0, 1.0]
    again = Table(**json.loads(json.dumps(config.config(fitted))))
    raw = fitted.tensor(x)
    assert all(
        torch.equal(a, b) for a, b in zip(*(v.encode(raw, Streams(0, 400)) for v in (fitted, again)), strict=True)
    )
    model = config.build("realnvp", fitted.event, layers=2, width=8).eval()
    run = Artifact(fitted, model, "realnvp", {})
    run.save(tmp_path)
    assert np.array_equal(load(tmp_path).log_prob(x), run.log_prob(x))


# --- densities


@pytest.mark.parametrize(
    "name", ["nsf", "gmm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("realnvp", "kde"))]
)
def test_densities_on_an_interval_and_a_half_line_integrate_to_one(name):
    x = np.stack((RNG.beta(0.6, 2, 1500), RNG.exponential(3, 1500)), 1)
    run = pofx.fit(pofx.points(x, support={"x0": (0, 1), "x1": "positive"}), name, steps=80, **options_of(name))
    assert run.density is Density.EXACT
    u, v = np.linspace(-16, 16, 300), np.linspace(-12, 9, 300)  # the grid is even on the line, the integral is not
    a, b = np.meshgrid(1 / (1 + np.exp(-u)), np.exp(v), indexing="ij")
    weight = (a * (1 - a) * (u[1] - u[0])) * (b * (v[1] - v[0]))
    total = (np.exp(run.log_prob(np.stack((a.ravel(), b.ravel()), 1))) * weight.ravel()).sum()
    assert total == pytest.approx(1, abs=5e-3)
    drawn = run.sample(2000)
    assert ((drawn > 0) & (drawn < [1, np.inf])).all() and np.isfinite(drawn).all()
    assert np.abs(np.median(drawn, 0) / np.median(x, 0) - 1).max() < 0.35


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nsf", "gmm"])
def test_a_density_on_the_simplex_integrates_to_one(name):
    run = pofx.fit(pofx.points(shares(1500), support="simplex"), name, steps=80, **options_of(name))
    k = 400
    axis = (np.arange(k) + 0.5) / k
    a, b = (v.ravel() for v in np.meshgrid(axis, axis, indexing="ij"))
    a, b = a * (1 - b), b  # the triangle, with the Jacobian 1 - b
    x = np.stack((a, b, 1 - a - b), 1)
    total = (np.exp(run.log_prob(x)) * (1 - b)).sum() / k**2
    assert total == pytest.approx(1, abs=1e-2)
    drawn = run.sample(1000)
    assert (drawn > 0).all() and np.allclose(drawn.sum(1), 1, atol=1e-9)
    assert np.allclose(drawn.mean(0), shares(20_000).mean(0), atol=0.05)


def options_of(name: str) -> dict:
    if name in ("gmm", "kde"):
        return {"progress": False}
    return FAST if name == "nsf" else {"layers": 4, "width": 32, "progress": False}


@pytest.mark.parametrize("name", ["flow-matching"])
def test_other_families_draw_inside_too(name):
    row = config.entry(name)
    view = choose(pofx.points(shares(), support="simplex"), row.model)
    model = row.model(view.event, **{**row.values, **row.model.small}).eval()
    drawn = Artifact(view, model, name, {}).sample(50)
    assert (drawn > 0).all() and np.allclose(drawn.sum(1), 1, atol=1e-6)


def test_sums_over_a_bounded_grid_stay_below_one():
    """The scores of whole numbers 0 to 20 are log-masses: they sum to at most one, and nearly."""
    x = RNG.binomial(20, 0.2, (2000, 1))
    run = pofx.fit(pofx.table(x), "nsf", steps=100, support={"x0": (0, 20)}, **FAST)
    assert run.density is Density.BOUND
    total = np.exp(run.score(pd.DataFrame({"x0": np.arange(21)}), draws=64).value).sum()
    assert 0.95 < total < 1.03
    assert run.sample(500)["x0"].between(0, 20).all()


# --- what is refused


def test_values_outside_are_named():
    with pytest.raises(DataError, match=r"x1 is -0.5 in row 2, outside its support \[0, inf\]"):
        pofx.points(np.array([[1, 1], [1, 1], [2, -0.5]]), support="positive")
    with pytest.raises(DataError, match=r"x0 is 0 in row 1, outside its support \(0, inf\): the ends"):
        Points.fit(pofx.points(np.array([[1.0], [0.0], [2.0]]), support="positive"))
    with pytest.raises(DataError, match="x2 is 0 in row 1, outside the open simplex"):
        pofx.points(np.array([[0.2, 0.3, 0.5], [0.5, 0.5, 0]]), support="simplex")
    with pytest.raises(DataError, match="row 0 sums to 1.1"):
        pofx.points(np.array([[0.3, 0.3, 0.5], [0.5, 0.25, 0.25]]), support="simplex")
    fitted = Points.fit(pofx.points(RNG.random((50, 1)), support="unit"))
    assert "x0 is 1.5 in row 0" in fitted.impossible(np.array([[1.5]]))[0]
    with pytest.raises(DataError, match="x0 of a simplex never varies"):
        Points.fit(pofx.points(np.array([[0.5, 0.2, 0.3], [0.5, 0.3, 0.2]]), support="simplex"))


@pytest.mark.parametrize(
    ("support", "words"),
    [
        ("positve", "did you mean positive"),
        ({"x9": "positive"}, "did you mean"),
        ({"x0": (1, 0)}, "must be an interval"),
        ({"x0": 3}, "must be a pair"),
        ({"x0": (0, 1, 2)}, "must be a pair"),
        ({"x0": "simplex"}, "unknown support"),
    ],
)
def test_supports_that_are_none_are_refused(support, words):
    with pytest.raises(UsageError, match=words):
        pofx.points(np.full((3, 2), 0.5), support=support)


def test_a_simplex_of_one_column_is_refused():
    with pytest.raises(UsageError, match="at least 2 columns"):
        pofx.points(np.ones((3, 1)), support="simplex")


def test_the_command_line_takes_a_support(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from pofx.cli.main import app

    monkeypatch.chdir(tmp_path)
    mixed(60)[["income", "rate"]].to_csv("data.csv", index=False)
    text = 'support={"income": "positive", "rate": [0, 1]}'
    asked = ["train", "data.csv", "-m", "realnvp", "--steps", "2", "-o", text, "-o", "layers=2", "--out", "run"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert load("run").representation.support == {"income": [0.0, None], "rate": [0.0, 1.0]}
