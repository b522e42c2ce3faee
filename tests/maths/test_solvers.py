"""Solvers against closed forms: Gaussians and point masses, orders of convergence."""

import math

import pytest
import torch

from pofx.maths.paths import PATHS
from pofx.maths.solvers import SAMPLERS, ancestral, converged, ddim, dpmpp_2m, euler, heun, rk4

MEAN, STD = 0.7, 0.4  # of the Gaussian whose denoiser is known


def gaussian_denoiser(path, mean=MEAN, std=STD):
    def denoise(x, t):
        p = path(t)
        return mean + p.alpha * std**2 * (x - p.alpha * mean) / (p.alpha**2 * std**2 + p.sigma**2)

    return denoise


def exact_flow(x, t, u, path, mean=MEAN, std=STD):
    """Where the probability flow takes x from time t to u: standard scores are kept."""
    a, b = path(t), path(u)
    return (
        b.alpha * mean
        + (b.alpha**2 * std**2 + b.sigma**2).sqrt() * (x - a.alpha * mean) / (a.alpha**2 * std**2 + a.sigma**2).sqrt()
    )


def order(sampler, path, steps=(20, 40)):
    x = torch.tensor([[-1.0], [0.3], [2.0]], dtype=torch.float64)
    start, stop = torch.tensor(0.9, dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64)
    wanted = exact_flow(x, start, stop, path)
    errors = []
    for n in steps:
        grid = torch.linspace(0.9, 0.2, n + 1, dtype=torch.float64)
        errors.append(float((sampler(gaussian_denoiser(path), x, grid, path) - wanted).abs().max()))
    return math.log2(errors[0] / errors[1])


@pytest.mark.parametrize("name", PATHS)
def test_solvers_show_their_order(name):
    path = PATHS[name]
    assert order(euler, path) == pytest.approx(1, abs=0.25)
    assert order(ddim, path) == pytest.approx(1, abs=0.25)
    assert order(heun, path) == pytest.approx(2, abs=0.35)
    assert order(dpmpp_2m, path, (80, 160)) == pytest.approx(2, abs=0.35)


def test_rk4_is_of_order_four_and_convergence_is_per_item():
    def solve(items, steps):
        start = torch.tensor([1.0, 2.0], dtype=torch.float64)[items]
        rate = torch.tensor([0.5, 1.0], dtype=torch.float64)[items]
        return rk4(lambda s, t: (rate * torch.cos(5 * t) * s[0],), (start,), 0.0, 1.0, steps)[0]

    wanted = torch.tensor([1.0, 2.0]) * (torch.tensor([0.5, 1.0]).double() * math.sin(5) / 5).exp()
    everyone = torch.arange(2)
    errors = [(solve(everyone, n) - wanted).abs() for n in (40, 80)]
    assert torch.allclose((errors[0] / errors[1]).log2(), torch.full((2,), 4.0).double(), atol=0.4)
    values, shown, steps = converged(solve, 2, 1e-6)
    assert torch.allclose(values, wanted, atol=1e-5) and (shown <= 1e-6).all() and steps > 12
    alone, _, _ = converged(lambda i, n: solve(i + 1, n), 1, 1e-6)
    assert alone[0] == values[1]


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("steps", [1, 3, 7, 50])
def test_deterministic_samplers_return_a_point_mass(name, steps):
    grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64)
    for sampler in (ddim, heun, dpmpp_2m):
        out = sampler(lambda x, t: torch.full_like(x, 0.25), x, grid, PATHS[name])
        assert torch.allclose(out, torch.full_like(out, 0.25), atol=1e-12)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_give_the_gaussian_its_mean_and_variance(name, sampler):
    generator = torch.Generator().manual_seed(0)
    n, steps = 20_000, 200
    x = torch.randn(n, 1, generator=generator)
    noise = lambda: torch.randn(n, 1, generator=generator)  # noqa: E731
    path = PATHS[name]
    out = SAMPLERS[sampler](gaussian_denoiser(path), x, torch.linspace(1, 0, steps + 1), path, noise)
    assert float(out.mean()) == pytest.approx(MEAN, abs=0.015)
    assert float(out.std()) == pytest.approx(STD, rel=0.03)


def test_one_ancestral_step_has_the_posterior_variance():
    path, n = PATHS["vp-linear"], 50_000
    t, u = torch.tensor(0.5), torch.tensor(0.4)
    here, there = path(t), path(u)
    beta = 1 - (here.alpha / there.alpha) ** 2
    wanted = beta * there.sigma**2 / here.sigma**2  # Ho et al., eq. 7
    torch.manual_seed(0)
    out = ancestral(lambda x, t: torch.zeros_like(x), torch.zeros(n), torch.stack((t, u)), path, lambda: torch.randn(n))
    assert float(out.var()) == pytest.approx(float(wanted), rel=0.03)
