"""Associative memories: recall of damaged items, capacity, exact densities and conditionals."""

import math

import numpy as np
import pytest
import torch

import pofx
from pofx.core.event import Discrete
from pofx.core.model import Batch, Density
from pofx.core.random import Streams
from pofx.families.energy.hopfield import Hopfield
from truth import enumerate_states


def storing(x, classes=2, **options):
    model = Hopfield(Discrete(tuple(x.shape[1:]), classes), memories=len(x), **options)
    model.prepare(lambda n: Batch(x[:n]))
    return model


def damaged(x, share, seed=0):
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(x.shape, generator=generator) < share
    return torch.where(wrong, 1 - x, x)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"interaction": "quadratic", "rule": "hebb"}, 8),
        ({"interaction": "quadratic", "rule": "projection"}, 20),
        ({"interaction": "exponential", "sharpness": 4.0}, 400),
    ],
)
def test_damaged_memories_are_recalled(options, count):
    x = torch.randint(2, (count, 100), generator=torch.Generator().manual_seed(1))
    model = storing(x, **options)
    assert torch.equal(model.recall(x), x)
    assert float((model.recall(damaged(x, 0.1)) == x).float().mean()) > 0.99


def test_hebbs_rule_forgets_beyond_its_capacity_and_projection_does_not():
    x = torch.randint(2, (30, 100), generator=torch.Generator().manual_seed(1))  # 0.138 × 100 is the limit
    kept = {}
    for rule in ("hebb", "projection"):
        model = storing(x, interaction="quadratic", rule=rule)
        kept[rule] = float((model.recall(x) == x).all(1).float().mean())
    assert kept["projection"] == 1.0 and kept["hebb"] < 0.5


def test_the_density_sums_to_one_and_any_marginal_is_its_sum():
    x = torch.randint(3, (9, 4), generator=torch.Generator().manual_seed(2))
    model = storing(x, 3, sharpness=1.3)
    states = enumerate_states(Discrete((4,), 3))
    p = model.log_prob(states).double().exp()
    assert model.density is Density.EXACT and float(p.sum()) == pytest.approx(1.0, abs=1e-5)
    known = torch.tensor([True, False, True, False]).expand(len(states), 4)
    inside = (states[:, [0, 2]] == torch.tensor([1, 2])).all(1)
    at = states[inside][:1]
    assert float(model.log_marginal(at, known[:1]).exp()) == pytest.approx(float(p[inside].sum()), abs=1e-5)
    drawn = model.complete(at.expand(4000, 4), known[:1].expand(4000, 4), generator=Streams(0, 4000))
    assert (drawn[:, [0, 2]] == at[:, [0, 2]]).all()
    share = torch.stack([(drawn == s).all(1).float().mean() for s in states[inside]])
    assert torch.allclose(share.double(), p[inside] / p[inside].sum(), atol=0.04)


def test_the_classical_energy_has_the_ratio_of_its_gibbs_moves():
    x = torch.randint(2, (3, 4), generator=torch.Generator().manual_seed(3))
    model = storing(x, interaction="quadratic", rule="hebb", sharpness=1.5)
    states = enumerate_states(Discrete((4,), 2))
    assert model.density is Density.RELATIVE
    p = model.log_prob(states).double().softmax(0)
    drawn = model.sample(4000, generator=Streams(0, 4000))
    share = torch.stack([(drawn == s).all(1).float().mean() for s in states])
    assert torch.allclose(share.double(), p, atol=0.04)


def test_the_rate_of_errors_is_found():
    generator = torch.Generator().manual_seed(4)
    centres = torch.randint(2, (5, 60), generator=generator)
    x = damaged(centres[torch.randint(5, (500,), generator=generator)], 0.1)
    found = 1 / (1 + math.exp(float(storing(x).beta)))
    assert 0.09 < found < 0.21  # two items of one centre differ in 18 % of their places
    assert math.isfinite(float(storing(x[:1].expand(20, 60)).beta))  # copies alone


def test_a_run_recalls_damaged_items_in_data_space():
    """`reconstruct` answered that a memory had no codes; it was to be had for tensors of the model alone."""
    x = np.random.default_rng(0).integers(0, 3, (40, 6, 6)).astype(np.uint8)
    run = pofx.fit(pofx.images(x, levels=3), "hopfield", steps=1, progress=False)
    stored = np.asarray(run.model.stored).reshape(-1, 6, 6)[:10]
    wrong = np.random.default_rng(1).random(stored.shape) < 0.15
    noisy = np.where(wrong, (stored + 1) % 3, stored).astype(np.uint8)
    assert np.array_equal(run.reconstruct(noisy), stored) and (noisy != stored).any((1, 2)).all()
