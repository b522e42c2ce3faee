"""Paths, solvers, divergences and the diffusion core against closed forms: Gaussians and point masses."""

import math

import pytest
import torch

from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.diffusion.diffusion import Diffusion
from pofx.maths.divergence import divergence
from pofx.maths.paths import PATHS, PREDICTIONS, angle, loss_weight, split, target
from pofx.maths.solvers import SAMPLERS, ancestral, converged, ddim, dpmpp_2m, euler, heun, rk4
from pofx.nets.image.unet import UNet
from pofx.nets.vector.fourier import waves
from pofx.nets.vector.time import sinusoids

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


@pytest.mark.parametrize("name", PATHS)
def test_path_derivatives_are_autograds_and_ends_are_data_and_noise(name):
    path = PATHS[name]
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
    point = path(t)
    for value, slope in ((point.alpha, point.d_alpha), (point.sigma, point.d_sigma)):
        (wanted,) = torch.autograd.grad(value.sum(), t, retain_graph=True)
        assert torch.allclose(slope, wanted, atol=1e-10)
    first, last = path(torch.zeros(())), path(torch.ones(()))
    assert first.alpha == 1 and first.sigma == 0
    assert last.alpha.abs() < 7e-3 and (last.sigma - 1).abs() < 1e-4
    if name != "linear":
        assert torch.allclose(point.alpha**2 + point.sigma**2, torch.ones_like(t), atol=1e-12)
    assert (angle(point).diff() > 0).all()


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_prediction_gives_data_and_noise_back(name, prediction):
    torch.manual_seed(0)
    t = torch.linspace(0.05, 0.95, 64, dtype=torch.float64)
    x, noise = torch.randn(2, 64, dtype=torch.float64)
    point = PATHS[name](t)
    p, q = target(prediction, point)
    back = split(point.alpha * x + point.sigma * noise, p * x + q * noise, prediction, point)
    assert torch.allclose(back[0], x, atol=1e-9) and torch.allclose(back[1], noise, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_weight_is_the_squared_error_of_the_prediction(prediction):
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    point = PATHS["linear"](t)
    radius = (point.alpha**2 + point.sigma**2).sqrt()
    p, q = target(prediction, point)
    # an error e in v of the circle moves x by -sin e and the noise by cos e
    error = 0.3 * (q * point.alpha - p * point.sigma) / radius
    assert torch.allclose(error**2 / (p**2 + q**2), loss_weight(prediction, point) * 0.3**2)


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


class Oracle(Diffusion):
    """The velocity of N(MEAN, std²) data, on the circle."""

    std = STD

    def velocity(self, x, angles, context=None):
        phi = angles.reshape(-1, *[1] * (x.ndim - 1))
        cos, sin = phi.cos(), phi.sin()
        variance = cos**2 * self.std**2 + sin**2
        z = (x - cos * MEAN) / variance
        return cos * (sin * z) - sin * (MEAN + cos * self.std**2 * z)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("std", [0.1, 0.4, 1.0])
def test_a_hundred_ancestral_steps_spread_the_gaussian_as_it_should(name, std):
    torch.manual_seed(0)
    model, n = Oracle(Continuous((2,)), path=name, width=8, sampler="ancestral", steps=100), 20_000
    model.std = std
    x = model.sample(n, generator=Streams(0, n))
    assert float(x.std(0).mean()) == pytest.approx(std, rel=0.025)  # drawn with x held over a step, it is 0.93 std
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.02 * max(std, 0.2))


@pytest.mark.parametrize("shape, steps", [((2,), 16), ((5,), 64)])
def test_few_heun_steps_keep_a_narrow_mode_of_the_plane_as_wide_as_it_is(shape, steps):
    model, n = Oracle(Continuous(shape), width=8, steps=steps), 20_000
    model.std = 0.17
    x = model.sample(n, generator=Streams(0, n))
    assert float(x.std(0).mean()) == pytest.approx(0.17, rel=0.03)


def test_few_coordinates_are_seen_as_waves_and_more_as_they_are():
    x = torch.tensor([[0.0, 1.0]])
    seen = waves(x, 2)
    assert seen.shape == (1, 2, 5) and torch.allclose(seen[0, 0], torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]))
    assert torch.allclose(seen[0, 1], torch.tensor([1.0, 0.5**0.5, 1.0, 0.5**0.5, 0.0]), atol=1e-6)
    assert torch.equal(waves(x, 0)[..., 0], x)
    plane, digits = Diffusion(Continuous((2,))), Diffusion(Continuous((1, 8, 8)))
    assert (
        plane.net.first.in_features > 2 and digits.net.first.in_features == 64 and digits.net.first.out_features == 512
    )


def test_hutchinson_is_the_trace_on_average():
    torch.manual_seed(0)
    matrix = torch.randn(6, 6)
    field = lambda x: torch.tanh(x @ matrix)  # noqa: E731
    x = torch.randn(3, 6)
    value, exact = divergence(field, x)
    wanted = torch.stack([torch.autograd.functional.jacobian(field, row).trace() for row in x])
    assert torch.allclose(exact, wanted, atol=1e-5) and torch.equal(value, field(x))
    probes = torch.randint(0, 2, (4000, 3, 6)).float() * 2 - 1
    each = torch.stack([divergence(field, x, probe[None])[1] for probe in probes[:1500]])
    assert ((each.mean(0) - exact).abs() < 3 * each.std(0) / 1500**0.5).all()


@pytest.mark.parametrize("path", PATHS)
def test_log_prob_is_the_gaussians(path):
    model = Oracle(Continuous((3,)), path=path, width=8)
    x = MEAN + STD * torch.randn(50, 3)
    wanted = torch.distributions.Normal(MEAN, STD).log_prob(x).sum(1)
    with torch.inference_mode():
        value, error, evaluations = model.log_prob_within(x, tolerance=1e-4)
        assert (value - wanted).abs().max() < 1e-3 and error.max() <= 1e-4 and evaluations >= 48
        z = model.encode(x)
        assert torch.allclose(z, (x - MEAN) / STD, atol=0.02)
        assert torch.allclose(model.decode(z), x, atol=1e-4)
    estimate = model.log_prob_within(x, tolerance=1e-4, exact=False)[0]
    assert (estimate - wanted).abs().max() < 1e-3  # the Jacobian is diagonal: one probe is exact


def tiny(event=None, condition=None, **values):
    torch.manual_seed(0)
    model = Diffusion(event or Continuous((2,)), condition, **{"width": 16, "depth": 1, **values})
    with torch.no_grad():
        for p in model.net.parameters():
            p.add_(0.1 * torch.randn_like(p))
        for p in model.conditioner.parameters():
            p.add_(torch.randn_like(p))
    return model.eval()


@torch.no_grad()
def test_guidance_one_is_conditional_and_zero_is_unconditional():
    c = torch.tensor([0, 1, 2, 2])
    model = tiny(condition=Discrete((), 3))
    x, t = torch.randn(4, 2), torch.tensor(0.4)
    plain = model.denoiser(c)(x, t)
    everyone = torch.ones(4, dtype=torch.bool)
    phi = angle(PATHS["linear"](t))
    scaled = x / (0.6**2 + 0.4**2) ** 0.5
    for w, context in ((1.0, model.embed(c)), (0.0, model.embed(c, everyone))):
        model.guidance = w
        wanted = phi.cos() * scaled - phi.sin() * model.velocity(scaled, phi.expand(4), context)
        assert torch.allclose(model.denoiser(c)(x, t), wanted, atol=1e-6)
    free = model.denoiser(c)(x, t)
    assert torch.equal(free, model.denoiser(c.flip(0))(x, t)) and not torch.equal(free, plain)
    model.guidance = 2.0
    assert torch.allclose(model.denoiser(c)(x, t), free + 2 * (plain - free), atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
@torch.no_grad()
def test_sample_i_depends_on_its_stream_alone(sampler):
    model = tiny(Bounded((1, 9, 7)), network="unet", sampler=sampler, steps=4)
    whole = model.sample(6, generator=Streams(3, 6))
    assert torch.allclose(model.sample(2, generator=Streams(3, 6)[3:5]), whole[3:5], atol=1e-4)
    assert whole.shape == (6, 1, 9, 7) and torch.isfinite(whole).all()
    assert whole.abs().max() <= 1 + 1e-5


def test_times_far_apart_have_different_embeddings():
    a, b = sinusoids(torch.tensor([0.1, 0.9]), 128)
    assert float(torch.cosine_similarity(a, b, dim=0)) < 0.5


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (2, 5, 17), (1, 33, 31), (4, 1, 3)])
def test_the_unet_takes_any_size_starts_at_zero_and_keeps_items_apart(shape):
    torch.manual_seed(0)
    net = UNet(shape, shape[0], 8, width=16, blocks=1)
    x, context = torch.randn(3, *shape), torch.randn(3, 8)
    out = net(x, context)
    assert out.shape == x.shape and (out == 0).all()
    out.sub(1).square().mean().backward()
    assert net.last.weight.grad.abs().sum() > 0
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
        assert torch.allclose(net(x, context)[1:2], net(x[1:2], context[1:2]), atol=1e-4)


@pytest.mark.parametrize("width", [4, 20, 52, 100])
def test_the_unet_takes_every_width_that_is_a_multiple_of_four(width):
    assert UNet((1, 16, 16), 1, 8, width=width, blocks=1)(torch.randn(2, 1, 16, 16), torch.randn(2, 8)).shape[0] == 2


def test_the_network_sees_unit_variance_and_the_untrained_loss_is_its_weight():
    model = Diffusion(Continuous((4,)), path="cosine", prediction="v", width=16)
    data = 3 + 5 * torch.randn(4000, 4)
    model.prepare(lambda n: Batch(data[:n]))
    assert torch.allclose(model.center, data.mean(0)) and torch.allclose(model.scale, data.std(0), rtol=1e-3)
    torch.manual_seed(0)
    assert float(model.loss(Batch(data)).detach()) == pytest.approx(1.0, abs=0.03)
    assert model.validation(Batch(data)) == model.validation(Batch(data))


def test_constant_columns_and_wrong_options():
    model = Diffusion(Continuous((2,)), width=16)
    model.prepare(lambda n: Batch(torch.tensor([[1.0, 5.0], [2.0, 5.0]])))
    assert model.scale[1] == 1 and torch.isfinite(model.log_prob(torch.tensor([[1.5, 5.0]]))).all()
    for wrong in ({"path": "straight"}, {"sampler": "huen"}, {"steps": 0}, {"network": "unet"}):
        with pytest.raises(UsageError):
            Diffusion(Continuous((2,)), **wrong)
