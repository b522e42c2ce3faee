"""Laws of phases: rates, repeats on fresh batches, accumulation, losses handed on, and which parameters are touched."""

import pytest
import torch

from pofx.core.errors import UsageError
from pofx.core.event import Continuous
from pofx.core.model import Model, Phase
from pofx.core.objective import Frozen, Objective
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.optim import optimisers
from pofx.train.options import Budget, TrainOptions
from toy import Gaussian, Plain

DATA = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))


class Pair(Model):
    """Two numbers, each with its own phase; the batches and losses that it meets are written down."""

    name, events = "", (Continuous,)

    def __init__(self, **settings):
        super().__init__(Continuous((2,)))
        self.a, self.b = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
        self.fixed = torch.nn.Parameter(torch.ones(2), requires_grad=False)
        self.settings, self.met, self.losses = settings, [], []

    def phases(self):
        return (
            Phase("slow", (self.a,), self.loss_of("a"), after=self.losses.append),
            Phase("fast", (self.b,), self.loss_of("b"), **self.settings),
        )

    def loss_of(self, name):
        def loss(batch):
            self.met.append((name, batch.x.detach().clone()))
            return {"pull": (getattr(self, name) - batch.x).square().mean(), "rest": 0.0 * self.fixed.sum()}

        return loss

    def sample(self, n, condition=None, *, generator):
        return torch.zeros(n, 2)


def go(model, steps=3, folder=None, resume=False, **options):
    options = {"batch_size": 8, "lr": 0.1, "warmup": 0, "schedule": "constant", "clip": 0.0, **options}
    feed = Feed(DATA, None, Plain(2), seed=0, device=torch.device("cpu"))
    return train(
        model, feed, options=TrainOptions.of(options), budget=Budget(steps=steps), folder=folder, resume=resume,
        progress=False,
    )  # fmt: skip


def test_every_repeat_has_a_fresh_batch_and_the_other_phases_share_the_first():
    model = Pair(repeats=3)
    found = go(model, steps=4)
    slow = [x for name, x in model.met if name == "a"]
    fast = [x for name, x in model.met if name == "b"]
    assert len(slow) == 4 and len(fast) == 12
    assert all(torch.equal(slow[i], fast[3 * i]) for i in range(4))
    items = torch.cat(fast)  # 96 items, each with its own noise: no batch is met twice
    assert len(torch.unique(items, dim=0)) == 96
    assert found.state.images == 96


def test_the_rate_of_a_phase_scales_its_steps():
    model = Pair(rate=0.1)
    go(model, steps=1)
    ratio = float((model.b.abs().mean() / model.a.abs().mean()).detach())
    assert ratio == pytest.approx(0.1, rel=1e-3)  # the first step of Adam is as long as the rate


def test_after_is_called_with_the_losses_of_each_descent():
    model = Pair()
    go(model, steps=3)
    assert len(model.losses) == 3
    for losses in model.losses:
        assert set(losses) == {"pull", "rest"} and not losses["pull"].requires_grad and losses["pull"] > 0


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients_make_the_same_step(parts):
    whole, split = Pair(repeats=2), Pair(repeats=2)
    go(whole)
    go(split, accumulate=parts)
    assert torch.allclose(whole.a, split.a, atol=1e-6) and torch.allclose(whole.b, split.b, atol=1e-6)
    assert max(len(x) for _, x in split.met) == 8 // parts
    assert float(split.losses[0]["pull"]) == pytest.approx(float(whole.losses[0]["pull"]), abs=1e-6)


def test_a_batch_must_fall_into_its_parts():
    with pytest.raises(UsageError, match="multiple of accumulate × processes = 3"):
        go(Pair(), accumulate=3)


def test_a_run_with_repeats_and_parts_resumes_bit_equal(tmp_path):
    class Stops(Exception):
        pass

    def stops(step):
        def after(losses):
            count.append(1)
            if len(count) == step:
                raise Stops

        count = []
        return after

    def pair(after):
        return Pair(repeats=2, every=2, rate=0.5, after=after)

    options = {"steps": 9, "accumulate": 2, "checkpoint_seconds": 0.0}
    whole = go(pair(stops(-1)), **options)
    with pytest.raises(Stops):
        go(pair(stops(5)), folder=tmp_path, **options)
    resumed = go(pair(stops(-1)), folder=tmp_path, resume=True, **options)
    assert all(torch.equal(v, resumed.model.state_dict()[k]) for k, v in whole.model.state_dict().items())


def test_partly_overlapping_phases_are_refused():
    a, b = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    with pytest.raises(UsageError, match="'g' and 'path' share 1 of 2 and 1 parameters"):
        optimisers((Phase("g", (a, b), a.sum), Phase("path", (a,), a.sum, every=4)), TrainOptions())


@pytest.mark.parametrize("wrong", [{"every": 0}, {"repeats": 0}, {"rate": 0.0}, {"rate": float("nan")}])
def test_a_phase_that_cannot_be_is_refused(wrong):
    with pytest.raises(UsageError, match="phase 'x'"):
        Phase("x", (), torch.sum, **wrong)


def test_only_what_was_trainable_is_trainable_after_training():
    class Taught(Objective):
        def __init__(self):
            super().__init__(Pair())
            self.teacher = Frozen(Gaussian(Continuous((2,))))

        def phases(self):
            return self.model.phases()

    objective = Taught()
    before = {name: v.clone() for name, v in objective.teacher.module.state_dict().items()}
    go(objective)
    assert objective.model.a.requires_grad and not objective.model.fixed.requires_grad
    assert not any(p.requires_grad for p in objective.teacher.module.parameters())
    assert all(torch.equal(v, before[name]) for name, v in objective.teacher.module.state_dict().items())
