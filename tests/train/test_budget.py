"""Laws of budgets of time: met within a fifth whatever a step and a validation cost, and what they buy is stated."""

import time
import warnings

import pytest
import torch

from pofx.core.event import Continuous
from pofx.core.progress import Progress
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from toy import Gaussian, Plain

DATA = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0))


class Clock:
    """Time that passes only where a model spends it."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Costly(Gaussian):
    """A Gaussian whose step takes `step` seconds for a batch of 64, and its validation `each` seconds an item."""

    name = "toy-costly"

    def __init__(self, clock, step, each=0.0, first=0.0, stalls=()):
        super().__init__(Continuous((2,)))
        self.clock, self.cost, self.each, self.first = clock, step, each, first
        self.stalls, self.trials = stalls, 0

    def __deepcopy__(self, memo):
        made = Costly(self.clock, self.cost, self.each, stalls=self.stalls)
        made.load_state_dict(self.state_dict())
        return made

    def loss(self, batch):
        share = 1 if self.training else 1 / 3  # a forward pass alone
        self.clock.now += share * self.cost * len(batch) / 64 + (self.first if self.training else 0)
        self.first = 0.0
        if not self.training:
            self.trials += 1
            self.clock.now += 0.4 * (self.trials in self.stalls)
        return super().loss(batch)

    def validation(self, batch):
        self.clock.now += self.each * len(batch)
        return -self.log_prob(batch.x).mean()


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


def go(clock, seconds, seen=None, least=64, enough=2400, **costs):
    feed = Feed(DATA, None, Plain(2), seed=5, device=torch.device("cpu"))
    began = clock.now
    found = train(
        Costly(clock, **costs),
        feed,
        options=TrainOptions(batch_size=64, least_batch=least, enough_steps=enough, checkpoint_seconds=1e6),
        budget=Budget(minutes=seconds / 60),
        validation=feed,
        progress=seen.append if seen is not None else False,
        title="toy-costly",
    )
    return found, clock.now - began


@pytest.mark.parametrize("seconds", [10.0, 40.0])
@pytest.mark.parametrize("step", [0.2, 2.0])
@pytest.mark.parametrize("each", [0.0, 1e-3, 0.02])
def test_a_budget_of_time_is_met_within_a_fifth(clock, seconds, step, each):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, spent = go(clock, seconds, step=step, each=each)
    assert 0.8 * seconds <= spent <= 1.2 * seconds
    assert found.state.validating <= 0.2 * seconds and found.state.best is not None
    assert found.state.step >= 0.7 * seconds / step - 2


def test_validation_uses_all_its_items_where_they_are_cheap(clock):
    assert go(clock, 60.0, step=0.5, each=1e-6)[0].state.items == 2000
    assert 200 <= go(clock, 60.0, step=0.5, each=2e-3)[0].state.items < 2000


def test_the_steps_that_a_budget_buys_are_stated_at_the_start(clock):
    seen: list[Progress] = []
    with pytest.warns(
        UserWarning, match=r"the budget of 1 min buys about 3\d steps of toy-costly, too few.*1,000 steps"
    ):
        go(clock, 60.0, seen, step=1.7)
    notes = [(p.note, p.step) for p in seen if p.note]
    assert len(notes) == 1 and notes[0][0].startswith("toy-costly: one step takes 1.7 s, about 3")
    assert notes[0][1] <= 3


def test_a_fast_training_gives_no_warning(clock):
    seen: list[Progress] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(clock, 40.0, seen, step=0.2)
    assert [p.note for p in seen if p.note] == ["toy-costly: 5 steps/s, about 200 steps in 40 s"]


def test_a_first_step_with_what_is_made_once_does_not_count(clock):
    seen: list[Progress] = []
    go(clock, 60.0, seen, step=0.2, first=1.0)
    assert "5 steps/s, about 29" in next(p.note for p in seen if p.note)


def test_a_step_that_is_longer_than_the_budget_is_named_before_it_is_made(clock):
    at = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *rest: at.append((clock.now, str(message)))
        found, spent = go(clock, 5.0, step=30.0)
    assert found.state.step == 1
    assert (
        at[0][0] < 1000.0 + 5.0 and "one step of toy-costly takes about 30 s here, longer than the budget" in at[0][1]
    )


def test_remaining_time_falls_and_shares_rise(clock):
    seen: list[Progress] = []
    go(clock, 60.0, seen, step=0.25)
    training = [p for p in seen if p.step]
    assert [p.share for p in training] == sorted(p.share for p in training) and training[-1].share == 1.0
    assert all(abs(p.remaining - 60 * (1 - p.share)) < 1.0 for p in training[1:-2])
    assert training[3].rate == pytest.approx(4.0, rel=0.01)


@pytest.mark.parametrize("stall", [2, 3, 4, 5, 6, 8])
def test_a_trial_that_something_else_interrupts_does_not_decide_the_batch(clock, stall):
    assert go(clock, 50.0, least=16, step=0.9, stalls=(stall,))[0].state.batch_size == 16


@pytest.mark.parametrize(
    ("step", "enough", "size"),
    [
        pytest.param(0.02, 2400, 64, marks=pytest.mark.slow),
        pytest.param(0.04, 2400, 32, marks=pytest.mark.slow),
        pytest.param(0.2, 2400, 16, marks=pytest.mark.slow),
        (0.9, 2400, 16),
        (0.9, 40, 64),
    ],
)
def test_batches_become_smaller_where_the_budget_buys_too_few_steps(clock, step, enough, size):
    found, spent = go(clock, 50.0, least=16, enough=enough, step=step)
    assert found.state.images == size * found.state.step
    assert found.state.batch_size == (size if size < 64 else 0)
    assert 0.8 * 50 <= spent <= 1.2 * 50


def test_a_stated_batch_size_is_kept():
    assert TrainOptions.of({"batch_size": 48}).least_batch == 48
    assert TrainOptions.of({"batch_size": 48, "least_batch": 8}).least_batch == 8
    assert TrainOptions.of({}).least_batch < TrainOptions.of({}).batch_size
    usual = {"batch_size": 64, "least_batch": 16}
    assert TrainOptions.of({"batch_size": 32}, usual).least_batch == 32
    assert TrainOptions.of({"lr": 1e-3}, usual).least_batch == 16
    assert TrainOptions.of({"batch_size": 32, "least_batch": 8}, usual).least_batch == 8


def test_a_resumed_run_has_the_batches_of_the_interrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr("pofx.train.pace.Pace.batch", lambda *given: 24)
    feed = Feed(DATA, None, Plain(2), seed=5, device=torch.device("cpu"))

    def some(steps, folder):
        made = Gaussian(Continuous((2,)))
        found = train(made, feed, options=TrainOptions(schedule="constant"), budget=Budget(steps=steps), folder=folder,
                      resume=True, progress=False)  # fmt: skip
        return found.state, found.model.state_dict()

    some(5, tmp_path / "a")
    monkeypatch.setattr("pofx.train.pace.Pace.batch", lambda *given: 96)  # the machine is idle now
    (resumed, again), (_, _) = some(9, tmp_path / "a"), some(1, tmp_path / "c")
    assert resumed.images == 9 * 24
    monkeypatch.setattr("pofx.train.pace.Pace.batch", lambda *given: 24)
    whole, weights = some(9, tmp_path / "b")
    assert whole.images == resumed.images and all(torch.equal(weights[k], again[k]) for k in weights)
