"""Laws of the hierarchical autoencoder: its bound, its groups, and gradients that are left out."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import pofx
from pofx.core.config import build
from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.vae.hierarchical import HVAE
from pofx.nets.image.ladder import Convolution, Normalised
from pofx.train.descent import MOST_SKIPPED, Descent
from pofx.train.state import State

SMALL = HVAE.small


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def moved(m):
    with torch.no_grad():
        for p in m.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return m.eval()


@torch.no_grad()
def test_the_mass_of_all_events_is_one():
    m = moved(HVAE(Discrete((3,), 2), **{**SMALL, "importance": 500}))
    every = torch.cartesian_prod(*[torch.arange(2)] * 3)
    assert float(m.log_prob(every).exp().sum()) == pytest.approx(1.0, abs=0.03)
    drawn = m.sample(4000, generator=Streams(0, 4000))
    share = torch.bincount((drawn * torch.tensor([4, 2, 1])).sum(1), minlength=8) / 4000
    assert float((share - m.log_prob(every).exp()).abs().sum()) < 0.08


@torch.no_grad()
def test_the_kl_term_of_the_groups_is_the_mean_log_ratio():
    m = moved(HVAE(Discrete((1, 6, 5), 4), **SMALL, network="conv"))
    x = torch.randint(4, (400, 1, 6, 5))
    path = m.descend(None, torch.randn(400, m.size), m.features(x, None))
    gap = path.log_q - path.log_prior - torch.stack(path.kl).sum(0)
    assert abs(float(gap.mean())) < 5 * float(gap.std()) / 20
    assert sum(map(math.prod, m.shapes)) == m.size and len(path.codes) == len(m.rungs)


@torch.no_grad()
def test_a_fresh_hierarchy_costs_nothing_and_says_nothing():
    m = HVAE(Discrete((3,), 2), **SMALL).eval()
    path = m.descend(None, torch.randn(8, m.size), m.features(torch.zeros(8, 3, dtype=torch.int64), None))
    for rung in m.rungs:
        assert float(rung.posterior.wide.weight.abs().sum()) == 0.0
    assert all(float(kl.std()) < 1e-5 for kl in path.kl)


@pytest.mark.parametrize("network", ["conv", "mlp"])
@torch.no_grad()
def test_codes_decode_to_the_same_numbers_by_which_they_were_drawn(network):
    m = moved(HVAE(Continuous((1, 6, 6)), Discrete((), 3), **SMALL, network=network))
    c = torch.arange(5) % 3
    x = torch.randn(5, 1, 6, 6)
    z, log_w = m.weigh_code(x, c, generator=Streams(2, 5))
    whole = m.importance_weights(x, c, particles=1, generator=Streams(2, 5))[:, 0]
    prior = m.descend(m.conditioner(c), z, codes=z).log_prior
    assert torch.allclose(whole, log_w + prior, atol=1e-3)
    assert m.decode(z, c).shape == x.shape and torch.equal(m.encode(x, c), m.encode(x, c))


def test_free_bits_leave_a_group_below_them_alone():
    x = Batch(torch.randn(32, 3))
    m = HVAE(Continuous((3,)), **SMALL, free_bits=50.0)
    assert float(m.loss(x)["rate"].detach()) == pytest.approx(50.0 * len(m.rungs))


def test_idle_groups_are_reported():
    m = HVAE(Continuous((3,)), **SMALL)
    m.train().loss(Batch(torch.randn(8, 3)))
    numbers = m.telemetry()
    assert len([k for k in numbers if k.startswith("KL of group")]) == len(m.rungs)
    assert "free_bits" in m.health({"active groups": 0.0, "share": 0.5})["collapse"]
    assert not m.health({"active groups": 2.0, "share": 0.5})


# gradients that are left out


class _Options:
    skip_above = 3.0


def test_a_gradient_far_above_the_usual_one_is_left_out_but_not_for_ever():
    descent, state = object.__new__(Descent), State()
    descent.options, descent.objective = _Options(), torch.nn.Linear(1, 1)

    def skips(norm: float) -> bool:
        return descent._skips("model", torch.tensor(norm), state)

    assert not skips(1.0) and not skips(1.2) and skips(50.0) and skips(math.nan) and not skips(1.0)
    assert [skips(50.0) for _ in range(MOST_SKIPPED + 1)] == [True] * MOST_SKIPPED + [False]
    assert not skips(60.0), "what is usual has changed"
    assert State.from_json(state.to_json()).typical == state.typical


def test_skipping_is_a_matter_of_the_trainer():
    run = pofx.fit("moons", "hvae", steps=3, width=16, halvings=1, groups=1, latent=2, progress=False)
    assert np.isfinite(run.score(run.sample(4)).value).all()
    assert build("hvae", Continuous((2,)), **SMALL).size == 2


def test_small_grids_have_perceptrons_and_large_ones_convolutions():
    small, large = (HVAE(Discrete((1, side, side), 2), **SMALL) for side in (28, 40))
    assert (small.network, large.network) == ("mlp", "conv")
    assert small.sample(2, generator=Streams(0, 2)).shape == (2, 1, 28, 28)
    with pytest.raises(UsageError, match="network=mlp"):
        HVAE(Discrete((3,), 2), **SMALL, network="conv")


@pytest.mark.parametrize("event", [Discrete((1, 6, 6), 2), Continuous((2,))], ids=["grid", "vector"])
def test_a_hierarchy_saved_before_there_was_a_choice_is_built_as_it_was(event):
    """Grids had convolutions, whatever their size, and every block two inner layers."""
    m = HVAE(event, **SMALL, network="conv" if len(event.shape) == 3 else "mlp", inner=2, normalised="all")
    weights = m.state_dict()
    options = HVAE.recognised(dict(SMALL), {key: tuple(value.shape) for key, value in weights.items()})
    HVAE(event, **options).load_state_dict(weights)


@pytest.mark.parametrize("layer", [Convolution(16, 8, 1), Normalised(4, 16)], ids=["convolution", "normalisation"])
def test_a_grid_of_one_place_gets_what_a_larger_one_gets(layer):
    x = torch.randn(5, 16, 1, 1)
    plain = nn.Conv2d.forward if isinstance(layer, nn.Conv2d) else nn.GroupNorm.forward
    assert torch.allclose(layer(x), plain(layer, x), atol=1e-5)
