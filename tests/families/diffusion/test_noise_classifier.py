"""Laws of the noise-level classifier: one pass is a density, its slope a denoiser, the two agree."""

import math

import pytest
import torch

from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.diffusion.noise_classifier import NoiseClassifier, _between

SMALL = {"levels": 12, "width": 32, "depth": 2}


class Gaussian(NoiseClassifier):
    """The right logits for N(0, s²) data that are standardised to themselves."""

    s = 0.5

    def logits(self, x, context):
        variance = (self.angles.cos() ** 2 * self.s**2 + self.angles.sin() ** 2)[None]
        square = x.float().flatten(1).square().sum(1, keepdim=True)
        d = x[0].numel()
        return -0.5 * square / variance - 0.5 * d * variance.log()


def test_right_logits_give_the_density_and_the_denoiser():
    model, s = Gaussian(Continuous((4,)), **SMALL), Gaussian.s
    x = torch.randn(6, 4)
    wanted = torch.distributions.Normal(0.0, s).log_prob(x).sum(1)
    assert torch.allclose(model.log_prob(x), wanted, atol=1e-4)
    for level in range(1, model.levels + 1):
        phi = model.angles[level]
        t = phi * 2 / math.pi
        a, sigma = model.schedule(t)
        expected = a * s**2 / (a**2 * s**2 + sigma**2) * x
        assert torch.allclose(model.denoise(x, t), expected, atol=2e-3)


def test_noisier_items_are_expected_to_be_noisier():
    model = Gaussian(Continuous((8,)), **SMALL)
    x, noise = Gaussian.s * torch.randn(400, 8), torch.randn(400, 8)
    levels = [float(model.expected_noise(x + s * noise).mean()) for s in (0.0, 0.5, 2.0)]
    assert levels == sorted(levels) and levels[0] < levels[2] - 2
    assert float(model.expected_noise(torch.full((1, 8), 1e30))[0]) == model.levels + 1


def test_draws_follow_the_density_of_right_logits():
    model, n = Gaussian(Continuous((2,)), levels=48, width=8, depth=1, sampler_steps=48), 4000
    with torch.inference_mode():
        x = model.sample(n, generator=Streams(0, n))
    assert x.std(0).mean() == pytest.approx(Gaussian.s, rel=0.06) and x.mean().abs() < 0.03


def test_between_levels_the_ratio_is_linear():
    logits = torch.tensor([[1.0, 3.0, 7.0]])
    assert _between(logits, torch.tensor([0.5])).item() == pytest.approx(2.0 - 7.0)
    assert _between(logits, torch.tensor([2.0])).item() == 0.0


def test_both_losses_reach_every_parameter_and_a_short_training_finds_a_gaussian():
    torch.manual_seed(0)
    model = NoiseClassifier(Continuous((2,)), **SMALL)
    x = 3 + 2 * torch.randn(2000, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]])
    model.prepare(lambda n: Batch(x[:n]))
    descent = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        descent.zero_grad()
        losses = model.loss(Batch(x[torch.randint(2000, (128,))]))
        sum(losses.values()).backward()
        descent.step()
    truth = torch.distributions.MultivariateNormal(torch.full((2,), 3.0), 4 * torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
    gap = (truth.log_prob(x) - model.eval().log_prob(x).detach()).mean()
    assert abs(float(gap)) < 0.2


def test_a_condition_is_seen_and_can_be_left_out():
    torch.manual_seed(0)
    model = NoiseClassifier(Continuous((2,)), Discrete((), 2), **SMALL).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    x = torch.randn(5, 2)
    zero, one = torch.zeros(5, dtype=torch.int64), torch.ones(5, dtype=torch.int64)
    assert not torch.allclose(model.log_prob(x, zero), model.log_prob(x, one))
    assert model.denoise(x, torch.tensor(0.5)).shape == x.shape
