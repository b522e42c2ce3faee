"""Logits of hidden places: the same whether many or few of them are wanted; and they learn from places beside them."""

import math

import torch

from pofx.core.event import Discrete
from pofx.core.model import Batch
from pofx.families.diffusion.masked import MaskedDiffusion
from pofx.nets.attention.masked_transformer import MANY, MaskedTransformer


def test_logits_of_a_place_do_not_depend_on_how_many_are_wanted():
    torch.manual_seed(0)
    counts = (5,) * 16 + (3, 2, 7, 2)
    net = MaskedTransformer(Discrete((20,), counts), 32, 1, context=False)
    x = torch.stack([torch.randint(k, (4,)) for k in counts], 1)
    hidden = torch.rand(4, 20) < 0.6
    every = torch.zeros(4, 20, 7)
    every[hidden] = net(x, hidden, None, hidden)  # many: all places at once
    one = hidden & (torch.arange(20) == 18)
    assert len(one.nonzero()) * MANY <= one.numel() < len(hidden.nonzero()) * MANY
    torch.testing.assert_close(net(x, hidden, None, one), every[one])


def test_places_learn_from_those_beside_them_within_a_hundred_steps():
    """Squares of four equal places: known neighbours tell a hidden one, whose entropy given nothing is log 4."""
    torch.manual_seed(0)

    def drawn(n):
        return torch.randint(4, (n, 1, 4, 4)).repeat_interleave(2, 2).repeat_interleave(2, 3)

    model = MaskedDiffusion(Discrete((1, 8, 8), 4), width=32, layers=1)
    model.net.begin(drawn(256).reshape(-1, 64))
    descent = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(80):
        loss = model.loss(Batch(drawn(32)))
        descent.zero_grad()
        loss.backward()
        descent.step()
    with torch.no_grad():
        assert float(model.validation(Batch(drawn(100)))) < 0.6 * math.log(4)  # .98 from queries that are no keys
