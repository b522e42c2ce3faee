"""Laws of bounds from both sides: they hold a known truth between them, and weights that are wrong are found out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import pofx
from pofx.core.errors import Unsupported
from pofx.core.event import Continuous
from pofx.core.model import Density, Weighted
from pofx.core.random import Streams
from pofx.data.sources import load
from pofx.evaluate.checks import bounds as checks
from pofx.evaluate.metrics.bounds import Bounds, curve, sandwich
from pofx.maths.distributions import normal_log_prob
from pofx.maths.sandwich import effective_samples, lower_bound, upper_bound


class Sum(Weighted):
    """x = z + noise, both standard normal, so p(x) = N(0, 2); q(z | x) = N(x / 2, spread²), exact at spread² = ½."""

    events = (Continuous,)
    best_density = Density.BOUND

    def __init__(self, spread, shift=0.0):
        super().__init__(Continuous((1,)))
        self.spread, self.shift = spread, shift

    def _weight(self, x, z):
        log_q = normal_log_prob(z, x / 2, torch.tensor(self.spread).log())
        return normal_log_prob(z) + normal_log_prob(x - z) - log_q

    def importance_weights(self, x, condition=None, *, particles, generator):
        return self._weight(x, x / 2 + self.spread * generator.normal(particles)) + self.shift

    def simulate(self, n, condition=None, *, generator):
        z = generator.normal(1)
        x = z + generator.normal(1)
        return x, self._weight(x, z)[:, 0]

    def log_prob(self, x, condition=None):
        return lower_bound(self.importance_weights(x, particles=16, generator=Streams(0, len(x))))

    def phases(self):
        return ()

    def sample(self, n, condition=None, *, generator):
        return self.simulate(n, generator=generator)[0]


def stand_in(model):
    return SimpleNamespace(model=model, device=torch.device("cpu"), name="sum", density=model.density)


@pytest.mark.parametrize("particles", [1, 4, 32])
def test_bounds_hold_the_truth_between_them_and_close_with_more_samples(particles):
    n, model = 20_000, Sum(1.0)
    x, own = model.simulate(n, generator=Streams(0, n))
    logs = model.importance_weights(x, particles=particles, generator=Streams(1, n))
    truth = normal_log_prob(x[:, 0] / 2**0.5) - 0.5 * np.log(2)
    below, above = truth - lower_bound(logs), upper_bound(logs, own) - truth
    for gap in (below, above):
        assert gap.mean() > 2 * gap.std() / n**0.5  # bounds on average
    assert float(below.mean()) < 0.2 / particles and float(above.mean()) < 0.3 / particles


def test_an_exact_posterior_leaves_nothing_between_the_bounds():
    both = sandwich(stand_in(Sum(0.5**0.5)), 50, 8)
    assert np.allclose(both["lower"], both["upper"], atol=1e-5) and np.allclose(both["effective"], 8, rtol=1e-4)
    assert effective_samples(torch.tensor([[0.0, -1e9], [1.0, 1.0]])).tolist() == pytest.approx([1, 2])


def test_wrong_weights_make_the_bounds_cross():
    results = {shift: next(checks._sandwich(stand_in(Sum(0.8, shift)), None, 0))["result"] for shift in (0.0, 3.0)}
    assert results == {0.0: "ok", 3.0: "failed"}  # weights that are e³ too high


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.mark.slow
def test_the_vae_is_bounded_from_both_sides(digits):
    run = pofx.fit(digits, "vae", steps=30, latent=2, width=32, depth=1, progress=False)
    both = sandwich(run, 60, 64)
    width = both["upper"] - both["lower"]
    assert width.mean() > -4 * width.std() / 60**0.5 and (both["effective"] >= 1).all()
    x, own = run.model.simulate(5, generator=Streams(3, 5))
    assert torch.equal(x, run.model.sample(5, generator=Streams(3, 5)))
    # two codes make a grid: the truth by quadrature
    axis = torch.linspace(-12, 12, 361)
    z = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        prior = run.model.log_prior(z[None])[0]
        z, prior = z[prior > -25], prior[prior > -25]
        raw = run.model.outputs(z)
        truth = torch.stack(
            [(run.model.likelihood.log_prob(raw, row.expand(len(z), *row.shape)) + prior).logsumexp(0) for row in x]
        ) + 2 * torch.log(axis[1] - axis[0])
        fine = lower_bound(run.model.importance_weights(x, particles=2000, generator=Streams(4, 5)))
    assert (truth - fine).abs().median() < 0.1 and (fine < truth + 0.5).all(), (truth, fine)
    read = Bounds().read(run, digits, seconds=20)
    about = read.extra["bound_gap"]
    assert [k for k, _ in about["curve"]] == [1, 8, 64] and about["curve"][0][1] < about["curve"][2][1]
    assert read.values["bound_gap"] == pytest.approx(about["curve"][2][1] - about["curve"][1][1])
    assert read.extra["sandwich"]["lower"] < read.extra["sandwich"]["upper"]


@pytest.mark.slow
def test_dequantised_densities_have_a_curve_and_exact_ones_are_not_asked(digits):
    flow = pofx.fit(digits, "realnvp", steps=2, progress=False)
    found = curve(flow, digits.test.values[:20], (1, 8))
    assert found[8].mean() > found[1].mean()
    assert next(checks._calibration(flow, digits, 0))["check"] == "calibration of the bound"
    made = pofx.fit(digits, "made", steps=2, width=32, progress=False)
    assert not Bounds().read(made, digits).values
    with pytest.raises(Unsupported, match="no importance weights"):
        sandwich(made)
    bent = pofx.fit(digits, "vae", steps=2, posterior="planar", progress=False)
    with pytest.raises(Unsupported, match="posterior=normal"):
        bent.model.simulate(2, generator=Streams(0, 2))
