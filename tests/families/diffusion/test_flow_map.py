"""Average velocities: the identities hold for an exact flow, one step is many, denoising is that of the velocity."""

import pytest
import torch

from pofx.core import config
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.diffusion.flow_map import IDENTITIES, FlowMap

MEAN, STD = 0.5, 0.6


class Exact(FlowMap):
    """u of N(MEAN, STD²) data: the flow keeps standard scores."""

    def average(self, z, r, t, context):
        wide = (-1, *[1] * len(self.shape))
        r, t = r.reshape(wide), t.reshape(wide)
        size = [((1 - s) ** 2 * STD**2 + s**2).sqrt() for s in (r, t)]
        z_r = (1 - r) * MEAN + size[0] / size[1] * (z - (1 - t) * MEAN)
        near = ((t - 1) * STD**2 + t) / size[1] ** 2 * (z - (1 - t) * MEAN) - MEAN  # the velocity, where t = r
        return torch.where((t - r).abs() < 1e-6, near, (z - z_r) / (t - r).clamp(min=1e-6))


def exact(identity="split"):
    model = FlowMap(Continuous((2,)), identity=identity, width=8)
    model.__class__ = Exact
    return model


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_exact_map_draws_the_gaussian_in_any_number_of_steps(steps):
    model = exact()
    model.steps = steps
    x = model.sample(20_000, generator=Streams(0, 20_000))
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.02) and float(x.std()) == pytest.approx(STD, rel=0.02)
    model.steps = 1
    assert torch.allclose(x, model.sample(20_000, generator=Streams(0, 20_000)), atol=1e-4)


def test_split_and_mean_flow_leave_the_exact_map_as_it_is():
    n = 50
    torch.manual_seed(0)
    t = 0.2 + 0.7 * torch.rand(n)
    r = t * torch.rand(n) * 0.8
    z, share = torch.randn(n, 2), torch.rand(n)
    model = exact()
    wanted = model.average(z, r, t, None)
    v = model.average(z, t, t, None)
    assert torch.allclose(model._over(z, v, r, t, share, None), wanted, atol=1e-4)
    model.identity = "mean-flow"
    assert torch.allclose(model._over(z, v, r, t, share, None), wanted, atol=5e-3)


def test_denoise_is_the_estimate_of_the_gaussian():
    model = exact()
    x_t, t = torch.randn(9, 2), torch.tensor(0.4)
    alpha, sigma = 0.6, 0.4
    wanted = MEAN + alpha * STD**2 * (x_t - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
    assert torch.allclose(model.denoise(x_t, t), wanted, atol=1e-5)
    assert torch.allclose(model.denoise(x_t, t.expand(9)), wanted, atol=1e-5)


@pytest.mark.parametrize("identity", IDENTITIES)
def test_losses_are_finite_and_start_at_the_variance_of_the_velocity(identity):
    torch.manual_seed(0)
    model = FlowMap(Continuous((3,)), Discrete((), 2), identity=identity, width=16)
    x = torch.randn(3000, 3)
    batch = Batch(x, torch.randint(2, (3000,)))
    model.prepare(lambda n: batch)
    losses = model.loss(batch)
    assert float(losses["velocity"].detach()) == pytest.approx(0.5, abs=0.06)
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.validation(batch) is None  # draws are judged


def gap_of_the_change(rate):
    """How far the target of mean flow is from what the derivative of its network gives, as a share of the change."""
    torch.manual_seed(0)
    options = {**config.entry("mean-flow").values, "time_rate": rate, "width": 32, "depth": 1}
    model = FlowMap(Continuous((2,)), **options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    z, v = torch.randn(2, 64, 2)
    r, t = torch.full((64,), 0.1), torch.linspace(0.2, 0.9, 64)
    ones = torch.ones_like(t)
    _, change = torch.autograd.functional.jvp(lambda z, t: model.average(z, r, t, None), (z, t), (v, ones))
    wanted = v - (t - r)[:, None] * change
    with torch.no_grad():
        found = model._over(z, v, r, t, r, None)
    return float((found - wanted).abs().mean() / (wanted - v).abs().mean())


def test_the_change_that_mean_flow_regresses_on_is_the_derivative_of_its_network():
    """Times that the network sees at a thousand radians have no difference quotient over a hundredth."""
    assert gap_of_the_change(16.0) < 0.05 < gap_of_the_change(1000.0) / 4
    assert config.entry("mean-flow").values["time_rate"] == 16.0
