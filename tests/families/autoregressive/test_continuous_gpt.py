"""Laws of real tokens: the head is a density, tokens see those before them, draws by the cache follow the density."""

import math

import pytest
import torch

from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.autoregressive.continuous_gpt import ContinuousGPT
from pofx.maths.mixture_head import MixtureHead

SMALL = {"width": 32, "layers": 1, "components": 4}


def rough(shape, condition=None, **options):
    torch.manual_seed(0)
    model = ContinuousGPT(Continuous(shape), condition, **{**SMALL, **options}).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
        model.scale.uniform_(0.5, 2.0)
        model.center.uniform_(-1, 1)
    return model


def test_the_head_integrates_to_one_and_its_draws_follow_it():
    torch.manual_seed(0)
    head = MixtureHead(1, 5)
    raw, x = torch.randn(head.size), torch.linspace(-30, 30, 60_001)
    p = head.log_prob(x[:, None], raw.expand(len(x), -1)).exp()
    assert float(p.sum() * (x[1] - x[0])) == pytest.approx(1, abs=1e-3)
    n = 40_000
    drawn = head.draw(raw.expand(n, -1), torch.rand(n), torch.randn(n, 1))[:, 0]
    mean = float((p * x).sum() / p.sum())
    spread = float(((p * (x - mean) ** 2).sum() / p.sum()).sqrt())
    assert float(drawn.mean()) == pytest.approx(mean, abs=4 * spread / n**0.5)
    assert float(drawn.std()) == pytest.approx(spread, rel=0.03)


def test_a_token_of_several_numbers_is_the_mixture_of_their_products():
    head, raw, x = MixtureHead(3, 2), torch.randn(1, 14), torch.randn(1, 3)
    log_weight, means, log_std = head.parts(raw)
    parts = torch.distributions.Normal(means, log_std.exp()).log_prob(x[:, None]).sum(-1)
    assert torch.allclose(head.log_prob(x, raw), (log_weight + parts).logsumexp(-1))
    there = torch.tensor([True, False, True])
    marginal = torch.distributions.Normal(means, log_std.exp()).log_prob(x[:, None])[..., there].sum(-1)
    assert torch.allclose(head.log_prob(x, raw, there), (log_weight + marginal).logsumexp(-1))


@pytest.mark.parametrize("shape, patch", [((4,), 0), ((5,), 2), ((2, 5), 2), ((1, 3, 5), 2), ((2, 2, 2, 2), 1)])
def test_the_density_is_causal_and_draws_are_scored_by_their_own_factors(shape, patch):
    model, n = rough(shape, Discrete((), 3), patch=patch), 6
    c = torch.arange(n) % 3
    x = model.sample(n, c, generator=Streams(0, n))
    assert x.shape == (n, *shape) and bool(x.isfinite().all())
    terms = model.token_log_prob(x, c)
    last = x.flatten(1).clone()
    last[:, model.slots[-1][model.slots[-1] >= 0]] += 1.0
    moved = model.token_log_prob(last.reshape(x.shape), c)
    assert torch.allclose(moved[:, :-1], terms[:, :-1], atol=1e-5) and not torch.allclose(moved[:, -1], terms[:, -1])
    assert torch.allclose(model.log_prob(x, c), terms.sum(1) - model.scale.log().sum(), atol=1e-4)


def test_draws_have_the_entropy_of_the_density():
    model, n = rough((3,)), 2000
    with torch.no_grad():
        log_p = model.log_prob(model.sample(n, generator=Streams(0, n))).double()
        again = model.log_prob(model.sample(n, generator=Streams(1, n))).double()
        weight = (model.log_prob(x := 6 * torch.randn(30_000, 3)).double()).exp()
        base = torch.distributions.Normal(0.0, 6.0).log_prob(x).sum(1).double().exp()
    ratio = weight / base
    assert float(ratio.mean()) == pytest.approx(1, abs=4 * float(ratio.std()) / len(x) ** 0.5)
    entropy = float(-(ratio * weight.clamp(min=1e-300).log()).mean())
    assert abs(float(-log_p.mean()) - entropy) < 0.2 and abs(float((log_p - again).mean())) < 0.2


def test_data_of_any_scale_are_learned():
    torch.manual_seed(0)
    model = ContinuousGPT(Continuous((2,)), **SMALL)
    x = 100 + 50 * torch.randn(128, 1).expand(-1, 2) + torch.tensor([1.0, 5.0]) * torch.randn(128, 2)
    model.prepare(lambda n: Batch(x[:n]))
    descent = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = float(model.loss(Batch(x)).detach())
    for _ in range(15):
        descent.zero_grad()
        loss = model.loss(Batch(x))
        loss.backward()
        descent.step()
    assert float(loss.detach()) < first - 0.1
    assert float(model.log_prob(x[:1] + 1e30)[0].detach()) == -math.inf
