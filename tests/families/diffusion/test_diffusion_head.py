"""The diffusion of a token: its bound against closed forms, padded numbers, draws that follow what it learned."""

import math

import pytest
import torch

from pofx.core import config
from pofx.core.event import Continuous
from pofx.core.model import Batch, Density
from pofx.core.random import Streams
from pofx.families.autoregressive.continuous_gpt import ContinuousGPT
from pofx.families.diffusion.masked_real import MaskedReal
from pofx.maths.distributions import normal_log_prob
from pofx.nets.vector.diffusion_head import DiffusionHead


def head(numbers, **options):
    torch.manual_seed(0)
    return DiffusionHead(numbers, 16, 1, **options).eval().requires_grad_(False)


def test_the_bound_of_a_diffusion_that_knows_nothing_is_the_normal_density():
    """Of a residual of unit variance the best velocity is 0, and the bound has no gap."""
    net, n = head(2), 4000
    raw = 0.5 * torch.randn(1, net.size).expand(n, 1, -1)
    _, mean, log_std = net.parts(raw)
    x = mean + log_std.exp() * torch.randn(n, 1, 2)
    each = net.estimates(x, raw, None, Streams(0, n), 8)
    exact = normal_log_prob(x, mean, log_std).sum(-1)
    assert float((each.mean(0) - exact).mean()) == pytest.approx(0, abs=0.1)
    assert float(each.mean(0).std()) < 3


def test_numbers_that_a_token_has_not_change_nothing():
    net, n = head(3), 5
    for p in net.net.last.parameters():
        p.normal_()
    raw, x = torch.randn(n, net.size), torch.randn(n, 3)
    there = torch.tensor([True, True, False]).expand(n, -1)
    u, noise = torch.rand(n), torch.randn(n, 3)
    moved, louder = x.clone(), noise.clone()
    moved[:, 2], louder[:, 2] = 7.0, 5.0
    assert torch.allclose(net.bound(x, raw, there, u, noise), net.bound(moved, raw, there, u, louder))
    assert not torch.allclose(net.bound(x, raw, there, u, noise), net.bound(x, raw, torch.ones_like(there), u, noise))


def test_known_numbers_of_a_token_stay_and_draws_have_the_normal_of_a_rough_head():
    net, n = head(2), 5000
    raw = torch.randn(1, net.size).expand(n, -1)
    _, mean, log_std = net.parts(raw[:1])
    drawn = net.draw(raw, torch.rand(n), torch.randn(n, 2))
    assert torch.allclose(drawn.mean(0), mean[0], atol=0.1) and torch.allclose(
        drawn.std(0), log_std.exp()[0], rtol=0.05
    )
    known = torch.tensor([True, False]).expand(n, -1)
    assert torch.equal(net.draw_given(raw, torch.rand(n), torch.randn(n, 2), drawn, known)[:, 0], drawn[:, 0])


@pytest.mark.parametrize("name, kind", [("mar", Density.BOUND), ("diffusion-gpt", Density.BOUND)])
def test_rows_of_models_state_the_kind_of_their_density(name, kind):
    row = config.entry(name)
    model = row.model(Continuous((2,)), **{**row.values, **row.model.small})
    assert row.traits.density is kind and model.density is kind
    plain = row.model(Continuous((2,)), **row.model.small)
    assert plain.density is config.entry(row.model.name).traits.density


@pytest.mark.parametrize("cls", [ContinuousGPT, MaskedReal])
def test_two_modes_of_a_token_are_learned_which_no_normal_has(cls):
    """x1 is ± 1 by chance and x0 its sign: a normal of x1 has no gap between the modes."""
    torch.manual_seed(0)
    sign = torch.randint(2, (2000, 1)).float() * 2 - 1
    x = torch.cat((sign + 0.1 * torch.randn(2000, 1), -sign + 0.1 * torch.randn(2000, 1)), 1)
    model = cls(Continuous((2,)), width=32, layers=1, head="diffusion", denoiser_width=48, denoiser_depth=1)
    model.prepare(lambda n: Batch(x[:n]))
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(200):
        optimiser.zero_grad()
        model.loss(Batch(x[torch.randint(2000, (128,))])).backward()
        optimiser.step()
    model.eval()
    drawn = model.sample(400, generator=Streams(0, 400))
    assert float(((drawn.abs() - 1).abs() < 0.5).all(1).float().mean()) > 0.85
    assert float((drawn[:, 0] * drawn[:, 1] < 0).float().mean()) > 0.85
    value, error = model.log_prob_estimate(x[:200])
    normal = -(0.5 * math.log(2 * math.pi * math.e) + math.log(0.1 * 1.5))  # as if one of the two were known to 0.15
    assert float(value.mean()) > normal and float(error.mean()) > 0
