"""Deep belief networks and deep Boltzmann machines against enumeration, and the classifier of 2006."""

import itertools
import math

import pytest
import torch

from pofx.core.event import Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.energy.dbm import DBM
from pofx.families.energy.dbn import DBN
from pofx.families.energy.rbm import RBM
from truth import enumerate_states

EVENT = Discrete((4,), 3)
SMALL = {"chains": 32, "temperatures": 150, "runs": 200, "sweeps": 30}


def binary(n):
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)))


@torch.no_grad()
def stirred(model, scale=0.7, seed=0):
    torch.manual_seed(seed)
    x = torch.randint(model.event.largest, (200, *model.event.shape))
    model.prepare(lambda n: Batch(x[:n]))
    for p in model.parameters():
        p.copy_(scale * torch.randn(p.shape))
    return model.eval()


@torch.no_grad()
def test_a_network_of_one_layer_is_a_restricted_machine():
    deep = stirred(DBN(EVENT, hidden=5, layers=1, **SMALL))
    flat = RBM(EVENT, hidden=5, **SMALL)
    flat.load_state_dict(deep.top.state_dict())
    x = enumerate_states(EVENT)
    assert torch.allclose(deep.log_prob(x), flat.log_prob(x), atol=1e-5)
    assert deep.log_prob_estimate(x)[1] is None
    assert torch.equal(deep.sample(6, generator=Streams(0, 6)), flat.sample(6, generator=Streams(0, 6)))


@torch.no_grad()
@pytest.mark.parametrize("fine_tune", [False, True])
def test_the_bound_of_a_network_meets_enumeration(fine_tune):
    model = stirred(DBN(EVENT, hidden=4, layers=3, importance=300, fine_tune=fine_tune, **SMALL))
    x, h = enumerate_states(EVENT), binary(4)
    top, below = model.stack()[2], torch.zeros(len(h), dtype=torch.int64)
    log_top = (-top.free_energy(h.long(), below).double()).log_softmax(0)  # exact p of the layer that it models
    first = model.down(1, h).log_softmax(-1)  # h² given h³ … as classes of each unit
    log_h1 = torch.stack([(first * torch.nn.functional.one_hot(s.long(), 2)).sum((1, 2)) for s in h], 1)
    log_p_h1 = torch.logsumexp(log_top[:, None] + log_h1.double(), 0)
    given = model.down(0, h).log_softmax(-1)
    log_v = torch.stack([(given * torch.nn.functional.one_hot(v, 3)).sum((1, 2)) for v in x], 1)
    exact = torch.logsumexp(log_p_h1[:, None] + log_v.double(), 0)
    assert float(exact.exp().sum()) == pytest.approx(1.0, abs=1e-4)
    bound = model.log_prob(x).double()
    assert float((bound - exact).mean()) < 0.05
    assert float((bound - exact).abs().mean()) < 0.25  # 400 draws from an untrained recognition


@torch.no_grad()
def test_draws_of_a_network_follow_its_probabilities():
    model = stirred(DBN(Discrete((2,), 2), hidden=3, layers=2, importance=300, **{**SMALL, "sweeps": 60}), 0.8)
    x = enumerate_states(Discrete((2,), 2))
    drawn = model.sample(4000, generator=Streams(1, 4000))
    share = torch.tensor([float((drawn == row).all(1).float().mean()) for row in x])
    assert torch.allclose(share, model.log_prob(x).exp(), atol=0.04)


@torch.no_grad()
def test_log_z_of_a_deep_machine_is_that_of_enumeration_and_its_bound_is_one():
    model = stirred(DBM(EVENT, hidden=4, upper=3, **SMALL), 0.5)
    v = enumerate_states(EVENT)
    states = [(a, b) for a in binary(4) for b in binary(3)]
    energies = torch.stack([model.energy(v, g.expand(len(v), -1), h.expand(len(v), -1)) for g, h in states], 1)
    log_z = float(torch.logsumexp(-energies.double().flatten(), 0))
    found, error = model.anneal(0, 200, 300)
    assert found == pytest.approx(log_z, abs=5 * error + 0.01) and error < 0.1
    exact = torch.logsumexp(-energies.double(), 1) - log_z
    bound = model.log_prob(v).double()
    slack = 5 * error + 0.01
    assert (bound < exact + slack).all() and float((exact - bound).mean()) < 0.5


@torch.no_grad()
def test_draws_of_a_deep_machine_follow_enumeration():
    event = Discrete((2,), 2)
    model = stirred(DBM(event, hidden=3, upper=2, **{**SMALL, "sweeps": 60}), 0.8)
    v = enumerate_states(event)
    states = [(a, b) for a in binary(3) for b in binary(2)]
    energies = torch.stack([model.energy(v, g.expand(4, -1), h.expand(4, -1)) for g, h in states], 1)
    exact = torch.logsumexp(-energies, 1).softmax(0)
    drawn = model.sample(4000, generator=Streams(1, 4000))
    share = torch.tensor([float((drawn == row).all(1).float().mean()) for row in v])
    assert torch.allclose(share, exact, atol=0.04)


@torch.no_grad()
def test_a_known_unit_of_a_deep_machine_is_held_and_the_others_follow_enumeration():
    event = Discrete((2,), 2)
    model = stirred(DBM(event, hidden=3, upper=2, **{**SMALL, "sweeps": 40}), 1.6)
    v = enumerate_states(event)
    states = [(a, b) for a in binary(3) for b in binary(2)]
    energies = torch.stack([model.energy(v, g.expand(4, -1), h.expand(4, -1)) for g, h in states], 1)
    p = torch.logsumexp(-energies, 1).softmax(0)
    for held in (0, 1):
        x, known = torch.tensor([[held, 0]]).expand(3000, -1), torch.tensor([[True, False]]).expand(3000, -1)
        drawn = model.complete(x, known, generator=Streams(1, 3000))
        assert bool((drawn[:, 0] == held).all())
        alike = v[:, 0] == held
        exact = float(p[alike & (v[:, 1] == 1)].sum() / p[alike].sum())
        assert abs(float(drawn[:, 1].float().mean()) - exact) < 0.04


def test_the_contrast_is_the_slope_of_the_bound():
    """With as many chains as there are states, one of each by probability, the gradient is that of the exact bound."""
    event = Discrete((2,), 2)
    model = stirred(DBM(event, hidden=2, upper=2, chains=20000, moves=30, decay=0.0), 0.6)
    x = torch.tensor([[0, 1], [1, 1], [1, 0]])
    v, states = enumerate_states(event), [(a, b) for a in binary(2) for b in binary(2)]
    model.zero_grad()
    torch.manual_seed(1)
    sum(model.loss(Batch(x)).values()).backward()
    found = model.weight.grad.clone()
    model.zero_grad()
    energies = torch.stack([model.energy(v, g.expand(4, -1), h.expand(4, -1)) for g, h in states], 1)
    (model.energy(x, *model.mean_field(x)).mean() + torch.logsumexp(-energies.flatten(), 0)).backward()
    assert torch.allclose(found, model.weight.grad, atol=0.03)


@torch.no_grad()
@pytest.mark.parametrize("fine_tune", [False, True])
def test_a_classifier_starts_as_the_way_up(fine_tune):
    model = stirred(DBN(EVENT, hidden=5, layers=2, fine_tune=fine_tune, **SMALL))
    x = enumerate_states(EVENT)[:9]
    network = model.network(7)
    assert network(model.inputs(x)).shape == (9, 7)
    assert torch.allclose(network[:-1](model.inputs(x)), model.encode(x))
    assert model.decode(model.encode(x)).shape == x.shape


def test_fine_tuning_moves_on_to_wake_and_sleep():
    model = DBN(EVENT, hidden=5, layers=3, fine_tune=True, greedy_items=64, **SMALL)
    x = torch.randint(3, (64, 4))
    model.prepare(lambda n: Batch(x[:n]))
    assert set(model.loss(Batch(x))) >= {"contrast 1", "contrast 2", "contrast 3"} and not model.greedy
    assert {"wake 1", "wake 2", "contrast 3"} <= set(model.loss(Batch(x)))
    assert set(model.recognition_loss(Batch(x))) == {"sleep 1", "sleep 2"}
    assert all(math.isfinite(float(v)) for v in model.recognition_loss(Batch(x)).values())


def test_codes_of_a_deep_machine_are_its_mean_field_and_lead_back_to_the_item():
    torch.manual_seed(0)
    kinds = torch.randint(3, (4, 9))
    x = kinds[torch.randint(4, (300,))]
    m = DBM(Discrete((9,), 3), hidden=16, upper=6, chains=64)
    m.prepare(lambda n: Batch(x[:n]))
    descent = torch.optim.Adam(m.parameters(), 0.02)
    for _ in range(150):
        descent.zero_grad()
        sum(m.loss(Batch(x)).values()).backward()
        descent.step()
    with torch.no_grad():
        z = m.encode(x)
        assert torch.equal(z, m.mean_field(x)[0]) and z.shape == (300, *m.code.shape)
        assert float((m.decode(z) == x).float().mean()) > 0.95
