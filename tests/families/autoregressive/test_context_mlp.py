"""Context models of grids with two and three axes: masses sum to 1, the cache agrees, nothing sees the future."""

import itertools

import pytest
import torch

from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.autoregressive.context_mlp import ContextMLP

EVENTS = [Discrete((1, 2, 3), 2), Discrete((2, 2, 2), 2), Discrete((1, 2, 2, 2), 2), Discrete((1, 1, 2, 2), 3)]


def rough(event, condition=None, **options):
    """A model with weights that are far from small."""
    torch.manual_seed(0)
    model = ContextMLP(event, condition, **{"width": 12, "depth": 2, "reach": 1, "far": 2, **options})
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.7 * torch.randn_like(p))
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_masses_sum_to_one_and_the_cursor_agrees(event):
    model = rough(event)
    size = torch.Size(event.shape).numel()
    every = torch.tensor(list(itertools.product(range(event.largest), repeat=size))).reshape(-1, *event.shape)
    assert model.log_prob(every).exp().sum() == pytest.approx(1, abs=1e-4)
    x = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(1))[:6]]
    whole, cursor = model.logits(x).flatten(1, -2), model.cursor(6)
    for place in model.order().tolist():
        assert torch.allclose(cursor.logits(), whole[:, place], atol=1e-4)
        cursor.put(x.flatten(1)[:, place])


def test_the_future_is_not_seen_and_the_window_is():
    model = rough(Discrete((1, 4, 4, 4), 2), reach=1, far=3)
    x = torch.randint(2, (1, 1, 4, 4, 4), generator=torch.Generator().manual_seed(0))
    before = model.logits(x)[0, 0]
    other = x.clone()
    other[0, 0, 2, 1, 1] ^= 1
    changed = (model.logits(other)[0, 0] - before).abs().amax(-1) > 1e-6
    places = changed.flatten().nonzero()[:, 0]
    assert places.min() > 2 * 16 + 1 * 4 + 1
    assert changed[3, 1, 1] and changed[2, 2, 1] and changed[2, 1, 3] and changed[3, 0, 0] and not changed[3, 3, 3]


def test_some_cells_of_a_step_have_the_loss_of_all_on_average():
    model = rough(Discrete((1, 4, 4, 4), 2), Continuous((3,)), cells=16)
    x, c = torch.randint(2, (8, 1, 4, 4, 4)), torch.randn(8, 3)
    whole = model.loss(Batch(x, c))
    model.train()
    torch.manual_seed(0)
    with torch.no_grad():
        parts = torch.stack([model.loss(Batch(x, c)) for _ in range(200)])
    assert parts.mean() == pytest.approx(float(whole), abs=4 * float(parts.std()) / 200**0.5)


def test_a_code_of_the_item_changes_what_is_drawn():
    model = rough(Discrete((1, 3, 3, 3), 2), Continuous((2,)))
    drawn = [model.sample(40, torch.full((40, 2), v), generator=Streams(0, 40)) for v in (-3.0, 3.0)]
    assert not torch.equal(*drawn)
