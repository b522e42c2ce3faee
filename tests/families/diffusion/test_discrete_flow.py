"""Discrete flow matching: bounds of exact predictions, marginals of the samplers, one formula for every process."""

import itertools

import pytest
import torch

from pofx.core.errors import UsageError
from pofx.core.event import Discrete
from pofx.core.random import Streams
from pofx.families.diffusion.discrete_flow import DiscreteFlow
from pofx.maths.discrete_paths import reversed_logits
from truth import enumerate_states

PROCESSES = [("masked", "flow"), ("uniform", "flow"), ("uniform", "diffusion")]
PLACES, CLASSES = 2, 3
WEIGHTS = torch.tensor([5.0, 1, 1, 1, 4, 2, 1, 1, 6]).double()
P = WEIGHTS / WEIGHTS.sum()  # of the states of two places, which depend on each other


class Exact(DiscreteFlow):
    """Predictions by Bayes' rule from the truth P."""

    def predicted(self, z, t, context):
        x = enumerate_states(self.event)
        t = t.double()[:, None, None]
        same = z[:, None] == x
        if self.noise == "masked":
            given = torch.where(z[:, None] < 0, t, (1 - t) * same)
        else:
            given = (1 - t) * same + t / CLASSES
        joint = given.prod(-1) * P  # (n, states)
        joint = joint / joint.sum(1, keepdim=True)
        hot = torch.nn.functional.one_hot(x, CLASSES).double()
        return torch.einsum("ns,sdk->ndk", joint, hot).log()


def exact(noise, rates, **values):
    model = DiscreteFlow(Discrete((PLACES,), CLASSES), noise=noise, rates=rates, width=32, layers=1, **values)
    model.__class__ = Exact
    return model.eval()


def rough(event, **values):
    torch.manual_seed(0)
    model = DiscreteFlow(event, width=32, layers=1, **values)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model.eval()


@pytest.mark.parametrize("noise, rates", PROCESSES)
@torch.no_grad()
def test_the_bound_of_exact_predictions_is_the_truth_on_average(noise, rates):
    """KL(P || model) = 0 for exact predictions and Markov paths: E of the bound is then minus the entropy."""
    model, draws = exact(noise, rates), 4000
    torch.manual_seed(0)
    share = (torch.arange(draws) + torch.rand(draws)) / draws
    each = []
    for x in enumerate_states(model.event):
        each.append(model._terms(x.expand(draws, -1), share, torch.rand(draws, 2, PLACES + 1), None).double())
    bound = -torch.stack([e.mean() for e in each])
    error = torch.stack([e.std() for e in each]) / draws**0.5
    assert (error < 0.05).all()
    gap, noise_of_it = float((P * (P.log() - bound)).sum()), float((P * error).norm())
    if (noise, rates) == ("uniform", "flow"):  # what a place was before tells more than what it is
        assert 0.1 < gap < 1.0
    else:
        assert abs(gap) < 4 * noise_of_it
    assert (bound < P.log() + 4 * error).all()  # on each of them, exact predictions or not


@pytest.mark.parametrize("noise, rates", PROCESSES)
@torch.no_grad()
def test_the_bound_of_any_network_sums_to_at_most_one(noise, rates):
    model = rough(Discrete((3,), 3), noise=noise, rates=rates, bound_draws=100)
    value, error = model.log_prob_estimate(enumerate_states(model.event))
    assert float((value.double() - 3 * error).exp().sum()) < 1


@pytest.mark.parametrize(
    "noise, rates, stochasticity", [(*p, 0.0) for p in PROCESSES] + [(*p, 5.0) for p in PROCESSES[:2]]
)
@torch.no_grad()
def test_exact_predictions_draw_the_truth(noise, rates, stochasticity):
    n = 8000
    model = exact(noise, rates, stochasticity=stochasticity, sampler_steps=40)
    drawn = model.sample(n, generator=Streams(0, n))
    found = torch.bincount((drawn * torch.tensor([CLASSES, 1])).sum(1), minlength=CLASSES**2).double() / n
    assert ((found - P).abs() < 4 * (P * (1 - P) / n).sqrt() + 0.02).all()  # steps of 0.025 move a little


def test_a_reversed_step_keeps_the_marginals():
    """Sum over z_t of q(z_t | x) q(z_s | z_t, x) = q(z_s | x)."""
    t, s, allowed = torch.tensor(0.7), torch.tensor(0.4), torch.ones(1, CLASSES, dtype=torch.bool)
    z, x = torch.arange(CLASSES)[:, None], torch.full((CLASSES, 1), 1)
    step = reversed_logits(z, x, t, s, allowed).softmax(-1)[:, 0]
    q = [torch.full((CLASSES,), float(v) / CLASSES).double() for v in (t, s)]
    for marginal, v in zip(q, (t, s), strict=True):
        marginal[1] += 1 - float(v)
    assert torch.allclose(q[0] @ step, q[1], atol=1e-6)


@pytest.mark.parametrize("noise, rates", PROCESSES)
@torch.no_grad()
def test_columns_may_differ_in_their_classes(noise, rates):
    model = rough(Discrete((3,), (2, 4, 3)), noise=noise, rates=rates, sampler_steps=8, bound_draws=60)
    x = torch.tensor(list(itertools.product(range(2), range(4), range(3))))
    value, error = model.log_prob_estimate(x)
    assert torch.isfinite(value).all() and float((value.double() - 3 * error).exp().sum()) < 1
    drawn = model.sample(500, generator=Streams(0, 500))
    assert (drawn < torch.tensor([2, 4, 3])).all() and (drawn.amax(0) == torch.tensor([1, 3, 2])).all()


def test_diffusion_rates_are_those_of_uniform_noise():
    with pytest.raises(UsageError, match="noise='uniform'"):
        DiscreteFlow(Discrete((3,), 2), rates="diffusion")
