"""Choices of the diffusion core: bounds, couplings, guidance, thresholds, learned variance, networks."""

import math

import pytest
import torch

from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Batch, Density
from pofx.core.random import Streams
from pofx.families.diffusion.diffusion import Diffusion
from pofx.families.diffusion.guided import GuidedWalk
from pofx.families.diffusion.training import noise_levels, variance_loss, weight_of
from pofx.maths.guidance import mixed, rescaled, steered, thresholded
from pofx.maths.noise_bound import FIRST, likelihood_angles, likelihood_bound
from pofx.maths.pairing import coupled
from pofx.maths.paths import PATHS, PREDICTIONS, angle

MEAN, STD = 0.3, 0.6


def gaussian_velocity(x, phi):
    """F of N(MEAN, STD²) data on the circle."""
    cos, sin = (f(phi).reshape(-1, *[1] * (x.ndim - 1)) for f in (torch.cos, torch.sin))
    z = (x - cos * MEAN) / (cos**2 * STD**2 + sin**2)
    return cos * (sin * z) - sin * (MEAN + cos * STD**2 * z)


def test_the_bound_of_the_exact_denoiser_is_the_entropy_of_a_gaussian():
    x = MEAN + STD * torch.randn(400, 3)
    value, error = likelihood_bound(gaussian_velocity, x, 256)
    exact = torch.distributions.Normal(MEAN, STD).log_prob(x).sum(1)
    assert (error > 0).all() and ((value - exact).abs() < 5 * error + 0.02).all()
    assert float((value - exact).mean()) == pytest.approx(0.0, abs=4 * float(error.mean()) / 20 + 0.01)
    alone, _ = likelihood_bound(gaussian_velocity, x[7:8], 256)
    assert torch.allclose(alone, value[7:8], atol=1e-4)


def test_likelihood_angles_cover_the_circle():
    u = torch.tensor([1e-6, 0.5, 1 - 1e-6])
    phi = likelihood_angles(u)
    assert phi[0] == pytest.approx(math.pi / 2, abs=0.01) and phi[2] == pytest.approx(FIRST, rel=1e-3)
    assert math.log(math.sin(float(phi[1]))) == pytest.approx(0.5 * math.log(math.sin(FIRST)), rel=1e-3)


@pytest.mark.parametrize("times", ["uniform", "logit-normal", "log-normal", "likelihood"])
@pytest.mark.parametrize("path", PATHS)
def test_levels_and_weights_are_finite_and_in_range(times, path):
    u = torch.linspace(0, 1, 101)
    phi, point = noise_levels(times, u, path)
    assert ((phi >= 0) & (phi <= math.pi / 2)).all()
    assert torch.allclose(angle(point), phi, atol=1e-6)
    for prediction in PREDICTIONS:
        for weight in ("prediction", "min-snr"):
            found = weight_of(weight, prediction, phi, point, path)
            assert torch.isfinite(found).all() and (found >= 0).all()


def test_coupling_is_a_permutation_within_classes_that_shortens_the_way():
    torch.manual_seed(0)
    x, noise, labels = torch.randn(40, 2) + 2, torch.randn(40, 2), torch.arange(40) % 3
    for given in (None, labels):
        paired = coupled(x, noise, given)
        assert torch.equal(paired.sort(0).values, noise.sort(0).values)
        assert (paired - x).square().sum() < (noise - x).square().sum()
        assert torch.equal(paired, coupled(x, noise, given))
    for c in range(3):
        mine = labels == c
        assert torch.equal(paired[mine].sort(0).values, noise[mine].sort(0).values)


def test_ot_flow_matching_refuses_random_samplers_and_other_conditions():
    for wrong in ({"sampler": "ancestral"}, {"eta": 0.5}, {"churn": 1.0}):
        with pytest.raises(UsageError):
            Diffusion(Continuous((2,)), coupling="ot", **wrong)
    with pytest.raises(UsageError):
        Diffusion(Continuous((2,)), Continuous((1,)), coupling="ot")


def test_guidance_functions():
    x = torch.randn(3, 2, 4, 4)
    y = 0.7 * x + 0.3
    assert torch.equal(mixed(x, y, 0.0), x) and torch.allclose(mixed(x, y, 1.0), y)
    big = 3 * y
    assert torch.allclose(rescaled(big, y, 1.0).flatten(1).std(1), y.flatten(1).std(1), rtol=1e-4)
    assert torch.allclose(rescaled(big, y, 0.0), big)
    inside = torch.rand(3, 5, 5) * 2 - 1
    assert torch.equal(thresholded(inside, dynamic=True), inside)
    wild = thresholded(4 * torch.randn(6, 8, 8), dynamic=True)
    assert wild.abs().max() <= 1
    z = 4 * torch.randn(6, 8, 8)
    assert torch.allclose(thresholded(z, dynamic=True)[2:3], thresholded(z[2:3], dynamic=True))


def test_a_steered_denoiser_is_the_posterior_of_a_gaussian():
    """x ~ N(0, 1), y = x + N(0, s²): the corrected estimate is E[x | x_t, y] where the likelihood of x_t is exact."""
    path, s, y = PATHS["linear"], 0.5, 1.2

    def denoise(x, t):
        p = path(t)
        return p.alpha * x / (p.alpha**2 + p.sigma**2)

    t = torch.tensor(0.4)
    p = path(t)
    x_t = torch.randn(10, 1)
    left = p.sigma**2 / (p.alpha**2 + p.sigma**2)  # variance of x given x_t

    def log_likelihood(data):
        return -((y - data) ** 2).flatten(1).sum(1) / (2 * (s**2 + float(left)))

    found = steered(denoise, path, log_likelihood)(x_t, t)
    precision = 1 + p.alpha**2 / p.sigma**2 + 1 / s**2
    wanted = (p.alpha / p.sigma**2 * x_t + y / s**2) / precision
    assert torch.allclose(found, wanted, atol=1e-5)


def test_guidance_acts_in_its_interval_alone():
    torch.manual_seed(0)
    model = Diffusion(Bounded((1, 4, 4)), Discrete((), 3), network="mlp", width=16)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    c, x, path = torch.tensor([0, 1]), torch.randn(2, 1, 4, 4), PATHS["linear"]
    plain = GuidedWalk(model.denoiser, c, path)
    strong = GuidedWalk(model.denoiser, c, path, weight=3.0, interval=(0.2, 0.6))
    outside, inside = torch.tensor(0.7), torch.tensor(0.5)
    with torch.no_grad():
        assert torch.equal(plain(x, outside), strong(x, outside))
        assert not torch.allclose(plain(x, inside), strong(x, inside))


def test_the_variance_loss_is_least_at_the_posterior_variance_of_a_known_item():
    phi = torch.full((4,), 0.8)
    shares = torch.tensor([0.0, 0.3, 0.7, 1.0]).reshape(4, 1)
    losses = variance_loss(shares, torch.zeros(4, 1), phi, "vp-cosine")
    assert losses[0] == 0 and (losses.diff() > 0).all()
    wide = variance_loss(shares, torch.full((4, 1), 40.0), phi, "vp-cosine")
    assert (wide.diff() < 0).all()


@pytest.mark.parametrize(
    "shape, network",
    [
        ((2, 20), "unet"),
        ((2, 21), "dit"),
        ((1, 9, 7), "unet"),
        ((3, 10, 12), "dit"),
        ((1, 5, 6, 7), "unet"),
        ((2, 4, 6, 5), "dit"),
    ],
)
@pytest.mark.parametrize("variance", ["fixed", "learned"])
def test_networks_take_one_two_and_three_axes_of_any_size(shape, network, variance):
    torch.manual_seed(0)
    model = Diffusion(
        Continuous(shape),
        network=network,
        width=32,
        depth=1,
        variance=variance,
        output="data" if network == "dit" else "velocity",
    )
    x = torch.randn(4, *shape)
    model.prepare(lambda n: Batch(x))
    loss = model.loss(Batch(x))
    loss.backward()
    assert torch.isfinite(loss)
    with torch.no_grad():
        drawn = model.sample(2, generator=Streams(0, 2))
    assert drawn.shape == (2, *shape) and torch.isfinite(drawn).all()


def test_scoring_decides_the_kind_of_the_density():
    model = Diffusion(Continuous((2,)), width=16)
    assert model.density is Density.ESTIMATE
    bounded = Diffusion(Continuous((2,)), width=16, scoring="bound", bound_draws=8)
    assert bounded.density is Density.BOUND
    value, error = bounded.log_prob_estimate(torch.randn(5, 2))
    assert value.shape == error.shape == (5,) and (error > 0).all()


def test_far_items_are_scored_fast_and_are_improbable():
    torch.manual_seed(0)
    model = Diffusion(Continuous((3,)), width=16)
    with torch.no_grad():
        for p in model.denoiser.parameters():
            p.add_(0.05 * torch.randn_like(p))
    x = torch.zeros(4, 3)
    x[1:, 0] = torch.tensor([1e3, 1e6, -1e9])
    calls = []
    model.denoiser.net.register_forward_hook(lambda *a: calls.append(1))
    value = model.log_prob(x)
    assert torch.isfinite(value).all() and (value.diff()[:2] < 0).all() and (value[1:] < -1e4).all()
    assert len(calls) < 4 * (4 + 8 + 16 + 32) + 1


@pytest.mark.parametrize("network", ["mlp", "unet", "dit"])
def test_every_network_names_its_hidden_matrices(network):
    model = Diffusion(Continuous((1, 8, 8)), network=network, width=32, depth=1, patch=4)
    hidden = {id(p) for p in model.matrices()}
    mine = [(name, p) for name, p in model.named_parameters() if id(p) in hidden]
    assert len(mine) == len(hidden) >= 2 and all(p.ndim > 1 for _, p in mine)
    assert not any(part in name for name, _ in mine for part in ("first", "last", "time", "film", "steer"))


def test_a_bound_of_levels_is_learned_with_fine_waves():
    assert Diffusion(Bounded((1, 16, 16)), times="learned", width=32, depth=1).octaves == 9
    assert Diffusion(Bounded((1, 16, 16)), width=32, depth=1).octaves == 0
    assert Diffusion(Continuous((2,)), times="learned").octaves == 3
