"""Logits of hidden places: the same whether many or few of them are wanted."""

import torch

from pofx.core.event import Discrete
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
