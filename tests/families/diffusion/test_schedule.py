"""The learned schedule: a bijection of times and levels that leaves the bound as it is and finds its least variance."""

import math

import pytest
import torch

from pofx.core.event import Continuous
from pofx.core.model import Batch
from pofx.families.diffusion.diffusion import Diffusion
from pofx.families.diffusion.schedule import NoiseSchedule
from pofx.maths.noise_bound import likelihood_bound, uniform_times


def rough():
    torch.manual_seed(0)
    schedule = NoiseSchedule()
    with torch.no_grad():
        schedule.heights += 1.5 * torch.randn_like(schedule.heights)
        schedule.slopes *= 2
    return schedule


def test_times_increase_from_0_to_1_and_levels_invert_them():
    schedule, r = rough(), torch.linspace(0, 1, 201)
    t = schedule.times(r)
    assert (t.diff() > 0).all() and float(t[0]) == pytest.approx(0, abs=1e-6) and float(t[-1]) == pytest.approx(1)
    assert torch.allclose(schedule.levels(t), r, atol=1e-4)
    r.requires_grad_()
    assert torch.allclose(torch.autograd.grad(schedule.times(r).sum(), r)[0], schedule.speed(r), atol=1e-4)
    assert torch.allclose(NoiseSchedule().speed(r), torch.ones(201), atol=0.2)  # about uniform at first


@pytest.mark.slow
def test_the_least_variance_is_found():
    """∫ E e(r)² / p(r) dr is least at p proportional to the root of E e²: here e is 8 times larger in a tenth."""
    torch.manual_seed(0)
    schedule = NoiseSchedule()
    optimizer = torch.optim.Adam(schedule.parameters(), 0.05)

    def integrand(r):
        return torch.where((r > 0.3) & (r < 0.4), 8.0, 1.0)

    for _ in range(300):
        r = schedule.levels(torch.rand(256))
        loss = schedule.surrogate(r, integrand(r) / schedule.speed(r))
        assert float(loss) == 0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        u = (torch.arange(20_000) + 0.5) / 20_000
        r = schedule.levels(u)
        each = integrand(r) / schedule.speed(r)
    assert float(each.mean()) == pytest.approx(1.7, rel=0.01)
    assert float(each.std()) < 0.45 * float(integrand(u).std())


@torch.no_grad()
def test_the_bound_of_the_normal_does_not_depend_on_the_schedule():
    """F = 0 is exact for standard normal items: the mean bound is minus the entropy, and hardly noisy near the data."""
    x = torch.randn(3000, 2, generator=torch.Generator().manual_seed(1))
    wanted = -math.log(2 * math.pi * math.e)
    for times, most in ((uniform_times, 1.5), (rough().drawn, 3.0)):
        value, error = likelihood_bound(lambda y, phi: torch.zeros_like(y), x, 16, times)
        assert float(value.mean()) == pytest.approx(wanted, abs=0.1)
        assert float(error.mean()) < most  # 3.4 with the noise that nobody can predict, at uniform times


def test_a_learned_schedule_trains_beside_the_denoiser():
    torch.manual_seed(0)
    model = Diffusion(Continuous((2,)), times="learned", scoring="bound", path="cosine", prediction="v", width=32)
    loss = model.loss(Batch(torch.randn(64, 2)))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.noise_schedule.heights.grad.abs().sum() > 0
    value, error = model.log_prob_estimate(torch.randn(5, 2))
    assert torch.isfinite(value).all() and (error > 0).all()


def test_a_unet_sees_waves_beside_its_channels():
    torch.manual_seed(0)
    model = Diffusion(Continuous((2, 16, 16)), network="unet", width=16, depth=1, octaves=3)
    assert model.denoiser.net.first.in_channels == 2 * 7 * 4
    assert model.loss(Batch(torch.randn(3, 2, 16, 16))).isfinite()
