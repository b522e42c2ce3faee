"""Masked diffusion of an event of several parts: hidden part by part, drawn the smallest first, tables of runs."""

import pytest
import torch

from pofx.core.errors import UsageError
from pofx.core.event import Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.diffusion.masked import MaskedDiffusion
from pofx.nets.attention.masked_transformer import runs

EVENT = Discrete((21,), (*(3,) * 2, *(4,) * 16, *(2,) * 3))


def made(**options):
    torch.manual_seed(0)
    return MaskedDiffusion(EVENT, width=32, layers=1, **options)


def test_half_of_the_items_hide_one_part_alone(monkeypatch):
    model, seen = made(part_sizes=[2, 16, 3]), {}

    def terms(y, hidden, context, wanted, streams):
        seen.update(hidden=hidden, wanted=wanted)
        return torch.zeros(int(wanted.sum()))

    monkeypatch.setattr(model, "log_each", terms)
    model.loss(Batch(torch.zeros(400, 21, dtype=torch.int64)))
    hidden, wanted = seen["hidden"][::2], seen["wanted"][::2]
    assert bool((hidden | ~wanted).all())  # what is scored is hidden
    for row, of in zip(hidden, wanted, strict=True):
        parts = model.part[of].unique()
        assert len(parts) == 1 and of.any()
        others = [row[model.part == k] for k in range(3) if k != int(parts)]
        assert all(bool(o.all()) or not bool(o.any()) for o in others)  # known or hidden as a whole
    rest = seen["hidden"][1::2]
    assert torch.equal(rest, seen["wanted"][1::2]) and rest.any(1).all()


def test_the_smallest_part_is_drawn_first(monkeypatch):
    model, order = made(part_sizes=[2, 16, 3]), []
    turns = model.turns

    def watched(hidden, keys, generator):
        for now in turns(hidden, keys, generator):
            order.append(model.part[now.nonzero()[:, 1]])
            yield now

    monkeypatch.setattr(model, "turns", watched)
    with torch.inference_mode():
        x = model.sample(5, generator=Streams(0, 5))
    assert (x < torch.tensor(EVENT.counts)).all()
    drawn = torch.cat(order)
    assert drawn.tolist() == [0] * 10 + [2] * 15 + [1] * 80


def test_sizes_must_add_up_and_runs_are_long():
    with pytest.raises(UsageError, match="add up to 21"):
        made(part_sizes=[2, 16])
    with pytest.raises(UsageError, match="block must be 0"):
        made(part_sizes=[2, 16, 3], block=4)
    assert runs(EVENT.counts) == [(2, 18)] and runs((3,) * 15) == [] and runs((3,) * 16 + (2,)) == [(0, 16)]
    net = made().net
    assert len(net.shared) == 2 and not net.table[2:18].any() and net.table[:2].any()
