"""Laws of patience: a training that finds nothing better ends, one that does goes on, and a resumed one stays ended."""

import torch

from pofx.core.event import Continuous
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from toy import Gaussian, Plain

DATA = torch.randn(600, 2, generator=torch.Generator().manual_seed(0))


def trained(budget=400, folder=None, resume=False, **options):
    feeds = (Feed(part, None, Plain(2), seed=0, device=torch.device("cpu")) for part in (DATA[:500], DATA[500:] + 3.0))
    feed, validation = feeds
    return train(
        Gaussian(Continuous((2,))), feed, options=TrainOptions(batch_size=32, **options), budget=Budget(steps=budget),
        validation=validation, progress=False, folder=folder, resume=resume,
        title="toy",
    ).state  # fmt: skip


def test_training_ends_where_nothing_gets_better():
    state = trained(lr=0.0, patience=3)
    assert (state.validations, state.vain, state.best_step < state.step < 400) == (4, 3, True)
    assert trained(lr=0.0).step == 400


def test_training_goes_on_where_it_gains():
    assert trained(lr=1e-3, budget=60, patience=8).step == 60


def test_a_training_that_ended_is_not_resumed(tmp_path):
    ended = trained(lr=0.0, patience=3, folder=tmp_path)
    assert trained(lr=0.0, patience=3, folder=tmp_path, resume=True).step == ended.step
