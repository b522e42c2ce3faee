"""Few-step maps: their density against closed forms, the inverse, folds that are seen, a short fit to a target."""

import math

import numpy as np
import pytest
import torch

import pofx
from pofx.core.event import Continuous
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.diffusion.flow_map import FlowMap
from pofx.maths.annealing import log_mean_weight
from pofx.maths.leading import led, led_back
from pofx.runs.few_step import FewStepMatching
from pofx.runs.map_sampler import MapSampler
from pofx.runs.walkers import Walkers
from pofx.train.options import Budget

MATRIX = torch.tensor([[0.5, 0.2], [0.0, 1.5]])


def linear(z, start, stop):
    """z of N(0, I) at time 1 → MATRIX z at time 0, and between."""
    gap = (start - stop)[:, None]
    return z + gap * (z @ (MATRIX - torch.eye(2)).T)


def test_the_density_of_linear_steps_is_that_of_their_product():
    z = Streams(0, 500).normal(2)
    y, log_q, folds = led(linear, z, 1)
    wanted = torch.distributions.MultivariateNormal(torch.zeros(2), MATRIX @ MATRIX.T).log_prob(y)
    assert torch.allclose(log_q, wanted, atol=1e-4) and not folds.any()
    back, again, found = led_back(linear, y, 1)
    assert torch.allclose(back, z, atol=1e-3) and torch.allclose(again, log_q, atol=1e-3) and bool(found.all())


def test_folds_are_seen_and_what_is_not_reached_is_not_found():
    def folded(z, start, stop):
        return z.square()

    z = torch.tensor([[-1.0], [2.0]])
    assert led(folded, z, 1)[2].tolist() == [True, False]
    assert led_back(folded, torch.tensor([[-4.0]]), 1)[2].tolist() == [False]


def rough():
    torch.manual_seed(0)
    model = FlowMap(Continuous((2,)), width=32, depth=1, octaves=0, sampler_steps=4)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return model.eval().requires_grad_(False)


def test_a_network_has_the_density_that_its_weights_prove():
    """The mean of f / q over draws of q is the integral of f, whatever the network."""
    model, n = rough(), 4000
    y, log_q, folds = led(model.lead, Streams(0, n).normal(2), model.steps)
    assert float(folds.float().mean()) < 0.01
    value, error = log_mean_weight((-0.5 * (y / 0.7).square().sum(1)).double() - log_q.double())
    assert abs(value - math.log(2 * math.pi * 0.49)) < 4 * error + 1e-3
    z, again, found = led_back(model.lead, y[:50], model.steps)
    assert bool(found.all()) and torch.allclose(again, log_q[:50], atol=2e-2)


def test_walkers_leave_their_density_and_adapt_their_steps():
    walkers = Walkers(lambda x: -0.5 * (x / torch.tensor([0.1, 1.0])).square().sum(1))
    x = Streams(0, 4000).normal(2) * torch.tensor([0.1, 1.0])
    for _ in range(40):
        moved = walkers.moved(x)
    assert torch.allclose(moved.std(0), torch.tensor([0.1, 1.0]), rtol=0.08) and 0.02 < float(walkers.size) < 0.2
    assert float((moved[:, 0] - x[:, 0]).abs().mean()) > 0.05


def test_every_loss_of_the_objective_reaches_the_network():
    model = rough().requires_grad_(True)
    objective = FewStepMatching(
        model, lambda x: -x.square().sum(1), Budget(steps=8), mix=0.5, fading=True, walkers=Walkers(lambda x: -x[:, 0])
    )
    batch, seen = Batch(torch.randn(16, 2)), set()
    for _ in range(4):  # the fourth has the reverse divergence too
        parts = objective.loss(batch)
        seen |= set(parts)
    assert seen == {"velocity", "identity", "cycle", "reverse"} and bool(objective.weights.any())
    for name in ("cycle", "reverse"):
        model.zero_grad()
        parts[name].backward(retain_graph=True)
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.denoiser.net.parameters())


@pytest.fixture(scope="module")
def fitted():
    def two(x):
        return (-(x[:, None] - torch.tensor([[-1.5, 0.0], [1.5, 0.5]])).square().sum(-1) / 0.5).logsumexp(1)

    g = torch.Generator().manual_seed(0)
    side = (torch.rand(400, 1, generator=g) < 0.5).float()
    samples = side * torch.tensor([3.0, 0.5]) + torch.tensor([-1.5, 0.0]) + 0.5 * torch.randn(400, 2, generator=g)
    options = {"steps": 120, "width": 48, "depth": 1, "samples": samples.numpy(), "batch_size": 128, "lr": 5e-3}
    return pofx.fit_density(two, 2, "split-mean-flow", sampler_steps=4, progress=False, **options)


@pytest.mark.slow
def test_a_short_fit_has_weights_whose_mean_is_z(fitted):
    draws = fitted.weigh(2000, seed=1)
    value, error = draws.log_z
    assert isinstance(fitted, MapSampler) and abs(value - math.log(2 * 0.5 * math.pi)) < 4 * error + 0.05
    assert draws.ess > 0.2
    assert np.allclose(fitted.sample(5, seed=1), draws.x[:5], atol=1e-4)


@pytest.mark.slow
def test_its_density_is_that_of_leading_back(fitted, tmp_path):
    draws = fitted.weigh(20, seed=2)
    log_f = fitted.log_target(torch.tensor(draws.x, dtype=torch.float32)).double().numpy()
    assert np.allclose(log_f - draws.log_weights, fitted.log_prob(draws.x), atol=0.05)
    fitted.save(tmp_path / "run")
    again = MapSampler.load(tmp_path / "run", fitted.log_target)
    assert np.array_equal(again.sample(5, map_steps=2), fitted.sample(5, map_steps=2))
