"""Runs on other runs: a model of another's codes, and companions; trained, saved alone, loaded elsewhere, resumed."""

import os
import shutil
import signal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pofx
from pofx.core.companion import Companion, Guide, Teacher
from pofx.core.config import config
from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Continuous
from pofx.core.model import Density, Explicit, OnePhase
from pofx.maths.distributions import normal_log_prob
from pofx.represent.learned import Learned
from pofx.train.ema import Average

RNG = np.random.default_rng(0)
POINTS = (RNG.normal(size=(600, 4)) @ RNG.normal(size=(4, 4))).astype(np.float32)
VAE = {"latent": 2, "width": 32, "depth": 1, "importance": 64, "prior": "normal"}
FLOW = {"width": 32, "depth": 1}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    pofx.fit(POINTS, "vae", steps=150, out=out, progress=False, options=VAE, trainer={"batch_size": 128})
    return out


@pytest.fixture(scope="module")
def second(first, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "second"
    run = pofx.fit(POINTS, "flow-matching", steps=40, on=first, out=out, progress=False, trainer={"batch_size": 128})
    return out, run


def test_a_model_of_codes_is_one_artifact_that_needs_no_other_run(first, second, tmp_path):
    out, run = second
    moved, alone = tmp_path / "moved", tmp_path / "first"
    shutil.copytree(out, moved)
    first.rename(alone)
    try:
        again = pofx.load(moved)
    finally:
        alone.rename(first)
    assert np.array_equal(again.sample(5, seed=3), run.sample(5, seed=3)) and run.sample(5).shape == (5, 4)
    assert np.allclose(run.sample(5, seed=3), run.sample(5, seed=3, batch_size=2), atol=1e-4)
    score, same = again.score(POINTS[:6], draws=3), run.score(POINTS[:6], draws=3)
    assert np.array_equal(score.value, same.value)
    assert score.density is min(run.model.density, Density.BOUND) and score.stderr is not None


def test_the_first_stage_is_frozen_and_named_in_the_card_by_path_and_hash(first, second):
    out, run = second
    view, before = run.representation, pofx.load(first)
    assert isinstance(view, Learned) and not any(p.requires_grad for p in view.first.parameters())
    for name, value in before.model.state_dict().items():
        assert torch.equal(view.first.state_dict()[name], value), name
    held = {p.data_ptr() for p in view.first.parameters()}
    assert not held & {p.data_ptr() for p in run.model.parameters()}
    origin = run.card["on"]
    assert origin["path"] == str(first.resolve()) and len(origin["hash"]) == 64 and origin["model"] == "vae"
    assert "on codes of vae" in repr(run) and "vae at" in pofx.info(out)["on"]


def test_codes_are_standardised_and_their_density_integrates_with_that_of_the_first(first):
    """With the first stage's own prior the pair is the first model: its bound is that of the VAE."""
    prior = pofx.fit(POINTS, StandardNormal, steps=1, on=first, progress=False, trainer={"lr": 1e-9})
    shift, scale = prior.representation._shift, prior.representation._scale
    with torch.no_grad():  # a standard normal of codes, in standardised units
        prior.model.mean.copy_(-shift / scale)
        prior.model.log_std.copy_(-scale.log())
    ours = prior.score(POINTS[:200], draws=256)
    theirs = pofx.load(first, importance=1024).score(POINTS[:200])
    assert ours.density is Density.BOUND
    gap = ours.value - theirs.value
    assert abs(gap.mean()) < 0.05 and np.abs(gap).max() < 1.0


@pytest.mark.slow
def test_an_invertible_first_stage_leaves_the_density_exact_and_normalised(tmp_path):
    x = POINTS[:, :2].copy()
    flow = pofx.fit(x, "realnvp", steps=60, progress=False, trainer={"batch_size": 128}, options={"width": 16})
    pair = pofx.fit(x, StandardNormal, steps=5, on=flow, progress=False)
    assert pair.density is Density.EXACT and pair.card["on"]["path"] == ""
    side = np.linspace(-9, 9, 181, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    total = np.exp(pair.log_prob(grid)).sum() * (side[1] - side[0]) ** 2
    assert total == pytest.approx(1.0, abs=0.02)
    pair.save(tmp_path / "pair")
    assert np.array_equal(pofx.load(tmp_path / "pair").log_prob(x[:9]), pair.log_prob(x[:9]))


def test_codes_without_a_density_say_why(first):
    class Autoencoder(StandardNormal, pofx.core.model.Encoding):
        """Codes that are x itself."""

        name, code, lossless = "toy-autoencoder", Continuous((4,)), True

        def encode(self, x, condition=None):
            return x

        def decode(self, z, condition=None):
            return z

    bare = pofx.fit(POINTS, Autoencoder, steps=1, progress=False)
    pair = pofx.fit(POINTS, StandardNormal, steps=1, on=bare, progress=False)
    assert pair.density is Density.NONE and pair.sample(3).shape == (3, 4)
    with pytest.raises(Unsupported, match="codes of toy-autoencoder do not carry a density"):
        pair.log_prob(POINTS[:2])


@pytest.mark.slow
def test_a_condition_of_the_first_stage_is_that_of_the_pair(tmp_path):
    labels = (POINTS[:, 0] > 0).astype(int)
    first = pofx.fit(POINTS, "vae", steps=20, condition=labels, progress=False, options=VAE)
    with pytest.raises(Unsupported, match="same one"):
        pofx.fit(POINTS, "flow-matching", steps=2, on=first, progress=False)
    pair = pofx.fit(POINTS, "flow-matching", steps=5, on=first, condition=labels, progress=False)
    a, b = pair.sample(6, 0, seed=1), pair.sample(6, 1, seed=1)
    assert not np.array_equal(a, b)
    assert not np.array_equal(pair.log_prob(POINTS[:5], 0), pair.log_prob(POINTS[:5], 1))
    pair.save(tmp_path / "pair")
    assert np.array_equal(pofx.load(tmp_path / "pair").sample(6, 1, seed=1), b)


def test_a_resumed_run_equals_the_uninterrupted_one_even_when_the_first_stage_is_gone(first, tmp_path, monkeypatch):
    def train(out, steps, **more):
        return pofx.fit(
            POINTS, "flow-matching", steps=steps, on=first, out=out, progress=False,
            trainer={"batch_size": 64}, **more,
        )  # fmt: skip

    whole = train(tmp_path / "whole", 12)
    original, calls = Average.update, []

    def interrupts(self, *args):
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, *args)

    monkeypatch.setattr(Average, "update", interrupts)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", 12)
    monkeypatch.undo()
    gone = first.rename(first.parent / "elsewhere")
    try:
        resumed = train(tmp_path / "parts", 12, resume=True)
    finally:
        gone.rename(first)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    assert resumed.card["on"] == whole.card["on"]


def test_what_cannot_be_built_on_is_refused(first):
    with pytest.raises(UsageError, match="does not exist"):
        pofx.fit(POINTS, "flow-matching", steps=1, on="no/such/run", progress=False)
    with pytest.raises(UsageError, match="has no codes"):
        pofx.fit(POINTS, "flow-matching", steps=1, on=pofx.fit(POINTS, "gmm", progress=False), progress=False)
    with pytest.raises(Unsupported, match="codes of vae are Continuous"):
        pofx.fit(POINTS, "gpt", steps=1, on=first, progress=False)
    with pytest.raises(UsageError, match="must be named"):
        pofx.fit(POINTS, steps=1, on=first, progress=False)
    with pytest.raises(UsageError, match="texts? items"):
        pofx.fit(["abc", "abd"] * 20, "flow-matching", steps=1, on=first, progress=False)


# ── companions ──


class StandardNormal(OnePhase, Explicit):
    """A diagonal normal; a guide pulls its samples away, a teacher gives its mean."""

    name, source, events, best_density = "toy-normal", "Gauss (1809)", (Continuous,), Density.EXACT
    adjustable = ("pull", "guide")

    def __init__(
        self, event, condition=None, *, pull: float = 0.0, guide: Guide | None = None, teacher: Teacher | None = None
    ) -> None:
        super().__init__(event, condition)
        self.pull, self.guide, self.teacher = pull, guide, teacher
        self.mean, self.log_std = nn.Parameter(torch.zeros(event.shape)), nn.Parameter(torch.zeros(event.shape))

    def log_prob(self, x: Tensor, condition=None) -> Tensor:
        return normal_log_prob(x, self.mean, self.log_std).flatten(1).sum(1)

    def loss(self, batch):
        if self.teacher is not None:
            return (self.mean - self.teacher.having(StandardNormal).mean).square().sum() + 0 * self.log_std.sum()
        return -self.log_prob(batch.x).mean()

    def sample(self, n, condition=None, *, generator):
        mean = self.mean if self.guide is None else self.mean + self.pull * self.guide.having(StandardNormal).mean
        return mean + self.log_std.exp() * generator.normal(*self.event.shape)


def test_a_guide_travels_and_a_teacher_stays(tmp_path):
    shifted = POINTS + 3
    out = tmp_path / "first"
    first = pofx.fit(shifted, StandardNormal, steps=50, out=out, progress=False, trainer={"lr": 0.1})
    run = pofx.fit(
        shifted, StandardNormal, steps=20, progress=False, trainer={"lr": 0.1}, out=tmp_path / "second",
        options={"guide": out, "teacher": str(out), "pull": 0.5},
    )  # fmt: skip
    assert run.card["companions"]["guide"]["hash"] == run.card["companions"]["teacher"]["hash"]
    assert run.card["companions"]["guide"]["path"] == str(out.resolve())
    assert isinstance(run.model.guide, Companion) and not [k for k in run.model.state_dict() if "guide" in k]
    assert config(run.model)["teacher"] is None and config(run.model)["guide"]["path"] == str(out.resolve())
    assert torch.equal(run.model.guide.module.mean, first.model.mean)
    shutil.rmtree(out)
    again = pofx.load(tmp_path / "second")
    assert again.model.teacher is None and not again.model.guide.module.mean.requires_grad
    assert np.array_equal(again.sample(4), run.sample(4))
    assert not np.array_equal(again.using(pull=0.0).sample(4), run.sample(4))
    assert np.array_equal(again.using(pull=0.5).sample(4), run.sample(4))
    assert "guide" in pofx.info(tmp_path / "second")


def test_a_guide_may_be_given_after_training_and_sees_the_same_events(tmp_path):
    run = pofx.fit(POINTS, StandardNormal, steps=5, progress=False)
    other = pofx.fit(POINTS, StandardNormal, steps=50, progress=False, trainer={"lr": 0.1})
    guided = run.using(guide=other, pull=1.0)
    assert not np.array_equal(guided.sample(3), run.sample(3))
    guided.save(tmp_path / "guided")
    assert np.array_equal(pofx.load(tmp_path / "guided").sample(3), guided.sample(3))
    with pytest.raises(Unsupported, match="same view"):
        run.using(guide=pofx.fit(2 * POINTS + 1, StandardNormal, steps=1, progress=False))
    with pytest.raises(UsageError, match="guide"):
        run.using(guide=3)


def test_a_resumed_run_finds_its_companions_by_itself(tmp_path):
    first, out = tmp_path / "first", tmp_path / "second"
    pofx.fit("digits", "vae", steps=2, out=first, progress=False, options=VAE)
    pofx.fit("digits", "flow-matching", steps=3, on=first, out=out, progress=False)
    resumed = pofx.fit(out=out, resume=True, steps=5, progress=False)
    assert resumed.card["training"]["steps"] == 5 and resumed.card["on"]["path"] == str(first.resolve())
