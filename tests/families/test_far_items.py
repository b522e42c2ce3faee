"""Items so far away that squares leave float32 have the probability zero in every model: -inf, never nan."""

import math

import pytest
import torch

from families.cases import is_core
from pofx.core import config
from pofx.core.event import Continuous
from pofx.core.model import Batch, Explicit

ROWS = {n: r for n, r in config.entries().items() if issubclass(r.model, Explicit) and Continuous in r.model.events}
NAMES = [pytest.param(n, marks=() if is_core(row) and n != "ebm" else pytest.mark.slow) for n, row in ROWS.items()]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
def test_far_items_have_probability_zero(name, shape):
    row = config.entry(name)
    if len(shape) not in row.model.ranks:
        pytest.skip("not an event of this model")
    torch.manual_seed(0)
    model = config.build(name, Continuous(shape), **row.model.small).eval()
    model.prepare(lambda n: Batch(torch.randn(100, *shape)))
    x = torch.zeros(7, *shape)
    x.flatten(1)[1:, 0] = torch.tensor([1e2, 1e20, -1e30, 3e38, math.inf, -math.inf])
    with torch.no_grad():
        log_p = model.log_prob(x)
    assert torch.isfinite(log_p[:2]).all()
    assert log_p[1] < log_p[0]
    assert (log_p[2:] == -math.inf).all()
