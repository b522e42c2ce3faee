"""torch.set_default_dtype(float64), usual in physics, changes nothing: fits, saved runs, densities."""

import math

import numpy as np
import pytest
import torch

import pofx
from pofx.core import config
from pofx.core.entry import float32, theirs
from pofx.core.errors import PofxError

RNG = np.random.default_rng(0)
DATA = [
    pofx.points(RNG.normal(size=(40, 3))),
    pofx.images(RNG.integers(0, 4, (40, 8, 8)).astype(np.uint8), levels=4),
    pofx.tokens(RNG.integers(0, 3, (40, 6))),
]
ROWS = {}
for _row in config.entries().values():
    if _row.model.__module__.startswith("pofx."):
        ROWS.setdefault(_row.model, _row)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def fitted(row, data):
    small = {k: v for k, v in row.model.small.items() if k not in row.values}
    return pofx.fit(data, row.name, steps=2, batch_size=8, progress=False, options=small)


def uses(run, values):
    found = {"sample": np.asarray(run.sample(3))}
    for verb in ("log_prob", "encode", "reconstruct"):
        try:
            found[verb] = np.asarray(getattr(run, verb)(values[:5]))
        except PofxError:  # a model without
            continue
    return found


QUICK = {  # of each family the fastest, of each of its ways to compute
    *("gmm", "kde", "copula", "independent", "chow-liu", "circuit"),
    *("nsf", "residual-flow", "beta-tcvae", "fsq", "biggan", "drifting", "consistency", "hopfield"),
    *("made", "wavenet", "aim", "continuous-gpt"),
}


@pytest.mark.parametrize(
    "row", [pytest.param(r, id=r.name, marks=[] if r.name in QUICK else [pytest.mark.slow]) for r in ROWS.values()]
)
def test_every_model_fits_draws_and_scores_the_same(row, double):
    torch.set_default_dtype(torch.float32)
    for data in DATA:
        try:
            run = fitted(row, data)
            break
        except PofxError:  # a model of other data
            continue
    expected = uses(run, data.values)
    torch.set_default_dtype(torch.float64)
    for other in (run, fitted(row, data)):
        for verb, value in uses(other, data.values).items():
            np.testing.assert_array_equal(value, expected[verb], err_msg=verb)
    assert torch.get_default_dtype() is torch.float64


def test_runs_saved_before_are_read(tmp_path, double):
    torch.set_default_dtype(torch.float32)
    run = pofx.fit(DATA[0], "vae", steps=2, out=tmp_path / "v", progress=False)
    torch.set_default_dtype(torch.float64)
    np.testing.assert_array_equal(pofx.load(tmp_path / "v").log_prob(DATA[0].values), run.log_prob(DATA[0].values))


@pytest.mark.slow
def test_a_density_of_the_user_sees_the_dtype_of_the_user(double):
    seen, matrix = set(), torch.eye(2)

    def log_f(x):
        seen.add(x.dtype)
        return -0.5 * ((x @ matrix) ** 2).sum(1)

    found = pofx.fit_density(log_f, 2, steps=20, width=8, layers=2, progress=False)
    assert seen == {torch.float64}
    assert abs(found.weigh(500).log_z[0] - math.log(2 * math.pi)) < 0.3


def test_nested_entries_bring_the_default_back(double):
    with float32():
        with float32():
            assert torch.get_default_dtype() is torch.float32
        with theirs() as dtype:
            assert dtype is torch.get_default_dtype() is torch.float64
        assert torch.get_default_dtype() is torch.float32
    assert torch.get_default_dtype() is torch.float64
