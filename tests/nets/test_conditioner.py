"""Conditions become vectors: what an embedding that is only added can say."""

import pytest
import torch

from pofx.core.event import Continuous, Discrete
from pofx.nets.vector.conditioner import Conditioner


@pytest.mark.parametrize(("curved", "low", "high"), [(True, 0.0, 0.005), (False, 0.06, 0.1)])
def test_a_linear_reader_of_the_embedding_learns_a_kink(curved, low, high):
    """|c| for c uniform on (-1, 1) has the variance 1/12, none of which a linear embedding can tell."""
    torch.manual_seed(0)
    embed, read = Conditioner(Continuous((1,)), 32), torch.nn.Linear(32, 1)
    assert embed.curved is not None
    if not curved:
        embed.curved.requires_grad_(False)
    trained = [p for p in (*embed.parameters(), *read.parameters()) if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=1e-2)
    c = torch.rand(512, 1) * 2 - 1
    for _ in range(300):
        loss = (read(embed(c)) - c.abs()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert low <= loss.item() < high


def test_widths_and_dropped_conditions():
    assert Conditioner(None, 8).width == 0 and Conditioner(None, 8)(None) is None
    for condition, value in (
        (Discrete((2,), 3), torch.zeros(4, 2, dtype=torch.int64)),
        (Continuous((2, 2)), torch.ones(4, 2, 2)),
    ):
        embed = Conditioner(condition, 8, null=True)
        out = embed(value, torch.tensor([True, False, False, True]))
        assert out.shape == (4, 8) and (out[0] == 0).all() and not (out[1] == 0).all()
