"""Precision "auto": bf16 on a processor that multiplies it, where products are large enough to gain."""

import pytest
import torch

from pofx.core.event import Continuous
from pofx.core.model import Batch, OnePhase
from pofx.train.devices import SMALL
from pofx.train.feed import Feed
from pofx.train.flops import mean_product
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from truth import Identity


class Watched(OnePhase):
    """A product of (items, inputs) and (inputs, outputs), which notes whether it is in bf16."""

    name, family, source, events = "watched", "test", "a test", (Continuous,)

    def __init__(self, outputs):
        super().__init__(Continuous((8,)), None)
        self.weight = torch.nn.Parameter(torch.zeros(8, outputs))
        self.seen = []

    def loss(self, batch):
        if self.training:
            self.seen.append(torch.is_autocast_enabled("cpu"))
        return (batch.x @ self.weight - 1).square().mean().float()

    def sample(self, n, condition=None, *, generator):
        return torch.zeros(n, 8)


def test_the_mean_product_counts_multiplications():
    model = Watched(5)
    assert mean_product(model, model.phases(), Batch(torch.ones(4, 8))) == 4 * 8 * 5


@pytest.mark.parametrize("large", [False, True])
def test_auto_is_bf16_where_products_are_large(monkeypatch, large):
    for module in ("loop", "devices"):
        monkeypatch.setattr(f"pofx.train.{module}.multiplies_bf16", lambda: True)
    outputs = SMALL // (32 * 8) if large else 16
    feed = Feed(torch.randn(64, 8), None, Identity(Continuous((8,))), seed=0, device=torch.device("cpu"))
    model = Watched(outputs)
    options = TrainOptions(precision="auto", batch_size=32, validations=0)
    train(model, feed, options=options, budget=Budget(steps=2), progress=False)
    assert set(model.seen) == {large}


@pytest.mark.parametrize("precision", [pytest.param("auto", marks=pytest.mark.slow), "bf16"])
def test_grids_that_shrink_to_one_column_stay_in_full_precision(monkeypatch, precision):
    """Kernels of bf16 on processors leave what a strided convolution makes of them partly unset."""
    for module in ("loop", "devices"):
        monkeypatch.setattr(f"pofx.train.{module}.multiplies_bf16", lambda: True)

    class Narrow(Watched):
        def loss(self, batch):
            x = batch.x.reshape(len(batch.x), 1, 4, 2)
            narrow = torch.nn.functional.conv2d(x, torch.ones(1, 1, 3, 3), stride=2, padding=1)
            return super().loss(batch) + 0 * narrow.mean()

    model = Narrow(SMALL if precision == "auto" else 16)  # by itself bf16 is chosen where products are large
    assert mean_product(model, model.phases(), Batch(torch.ones(4, 8))) == 0
    model.seen.clear()
    feed = Feed(torch.randn(64, 8), None, Identity(Continuous((8,))), seed=0, device=torch.device("cpu"))
    options = TrainOptions(precision=precision, batch_size=32, validations=0)
    train(model, feed, options=options, budget=Budget(steps=2), progress=False)
    assert set(model.seen) == {False}
