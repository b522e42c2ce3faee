"""Masked models of real tokens: every order is a density, the bound is their mean, draws and infilling follow it."""

import itertools

import pytest
import torch

from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.diffusion.masked_real import MaskedReal
from pofx.maths.mixture_head import MixtureHead
from truth import grid


def rough(shape, condition=None, **options):
    torch.manual_seed(0)
    model = MaskedReal(Continuous(shape), condition, **{"width": 32, "layers": 1, "components": 3, **options})
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
        model.scale.uniform_(0.5, 1.5)
        model.center.uniform_(-0.5, 0.5)
    return model.eval().requires_grad_(False)


def test_every_order_integrates_to_one_and_the_bound_is_their_mean():
    model = rough((2,), bound_draws=200)
    x, area = grid(7.0, 71)
    orders = [torch.tensor(o) for o in itertools.permutations(range(2))]
    each = torch.stack([model.log_prob_in_order(x, order) for order in orders])
    assert torch.allclose(each.double().exp().sum(1) * area, torch.ones(2).double(), atol=2e-3)
    near = (x.norm(dim=1) < 2) & (torch.arange(len(x)) % 3 == 0)
    value, error = model.log_prob_estimate(x[near])
    assert ((value - each[:, near].mean(0)).abs() < 5 * error + 1e-2).all()


def test_draws_follow_the_mixture_over_orders():
    model, n = rough((2,)), 10_000
    x, area = grid(7.0, 71)
    p = torch.stack([model.log_prob_in_order(x, torch.tensor(o)).double().exp() for o in ((0, 1), (1, 0))]).mean(0)
    drawn = model.sample(n, generator=Streams(0, n)).double()
    p = p * area
    mean, second = p @ x.double(), p @ (x.double()[:, 0] * x.double()[:, 1])
    assert torch.allclose(drawn.mean(0), mean, atol=0.05)
    assert float((drawn[:, 0] * drawn[:, 1]).mean()) == pytest.approx(float(second), abs=0.08)


@pytest.mark.parametrize("shape, patch", [((5,), 2), ((1, 3, 5), 2), ((2, 5), 2)])
def test_outputs_come_from_known_tokens_alone(shape, patch):
    model, n = rough(shape, Discrete((), 3), patch=patch), 4
    x, c = torch.randn(n, *shape), torch.arange(n) % 3
    y, hidden = model.seen(x), torch.zeros(n, model.length, dtype=torch.bool)
    hidden[:, 0] = hidden[:, 2] = True
    changed = torch.where(hidden[..., None], y + 3.0, y)
    context = model.conditioner(c)
    assert torch.allclose(model.net(y, hidden, context, hidden), model.net(changed, hidden, context, hidden), atol=1e-6)
    shown = torch.where(hidden[..., None], y, y + 3.0)
    assert not torch.allclose(model.net(y, hidden, context, hidden), model.net(shown, hidden, context, hidden))
    assert model.sample(n, c, generator=Streams(0, n)).shape == x.shape


@pytest.mark.slow
def test_infilling_keeps_what_is_known_and_learns_what_follows_from_it():
    torch.manual_seed(0)
    z = torch.randn(1000, 1)
    x = torch.cat((z, z + 0.1 * torch.randn(1000, 1), -z + 0.1 * torch.randn(1000, 1)), 1)
    model = MaskedReal(Continuous((3,)), width=32, layers=1, components=2)
    model.prepare(lambda n: Batch(x[:n]))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        model.loss(Batch(x[torch.randint(1000, (256,))])).backward()
        optimiser.step()
    model.eval()
    known = torch.tensor([False, True, False]).expand(300, -1)
    made = model.complete(x[:300], known, generator=Streams(0, 300))
    assert torch.equal(made[:, 1], x[:300, 1])
    assert float((made[:, 0] - made[:, 1]).std()) < 0.4 and float((made[:, 2] + made[:, 1]).std()) < 0.4


def test_a_token_known_in_part_is_drawn_from_its_mixture_given_that_part():
    head = MixtureHead(2, 2)
    raw = torch.tensor([0.0, 0.0, -3, -3, 3, 3, -3, -3, -3, -3])  # two components, one low and one high in both numbers
    n = 500
    x, known = torch.tensor([3.0, 0.0]).expand(n, -1), torch.tensor([True, False]).expand(n, -1)
    drawn = head.draw_given(raw.expand(n, -1), torch.rand(n), torch.randn(n, 2), x, known)
    assert torch.equal(drawn[:, 0], x[:, 0]) and float(drawn[:, 1].min()) > 1.0
    model = rough((4,), patch=2)
    z = torch.randn(5, 4)
    known = torch.tensor([True, False, False, True]).expand(5, -1)
    made = model.complete(z, known, generator=Streams(0, 5))
    assert torch.equal(made[:, [0, 3]], z[:, [0, 3]]) and bool(made.isfinite().all())
