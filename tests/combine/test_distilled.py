"""Distillation: the student starts as its teacher, the teacher stays as it is, few steps reach the teacher's draws."""

import numpy as np
import pytest
import torch

import pofx
from pofx.combine.distilled import METHODS, Distilled, student_of
from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.families.diffusion.diffusion import Diffusion


def teacher(**values):
    torch.manual_seed(0)
    model = Diffusion(Continuous((2,)), **{"width": 32, "depth": 1, "path": "vp-linear", **values})
    with torch.no_grad():
        for p in model.denoiser.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


@torch.no_grad()
def test_the_student_starts_as_its_teacher():
    model = teacher()
    student, x_t = student_of(model), torch.randn(5, 2)
    for t in (0.2, 0.7):
        level = torch.tensor(t)
        alpha, sigma = student.schedule(level)
        size = float(sigma.mean() / alpha)
        from pofx.maths.paths import PATHS, time_at

        same = time_at(PATHS["vp-linear"], torch.tensor(size).atan())
        theirs = PATHS["vp-linear"](same)
        there = x_t * (theirs.alpha / alpha)
        assert torch.allclose(student.denoise(x_t, level), model.denoise(there, same), atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_losses_train_the_student_alone(method):
    model = teacher()
    objective = Distilled(model, method)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    batch = Batch(torch.randn(64, 2))
    optimiser = torch.optim.Adam(objective.model.parameters(), 1e-3)
    for _ in range(2):
        phase = next(phase for phase in objective.phases() if phase.name == "student")
        loss = phase.loss(batch)
        loss = sum(loss.values()) if isinstance(loss, dict) else loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert torch.isfinite(loss)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert {id(p) for p in phase.parameters} == {id(p) for p in objective.model.parameters()}
    critic = set() if objective.critic is None else {id(p) for p in objective.critic.parameters()}
    assert {id(p) for p in objective.parameters()} == {id(p) for p in phase.parameters} | critic


def test_distributions_that_match_leave_no_gradient():
    """A critic that is the teacher finds nothing to change; each phase has its own parameters."""
    objective = Distilled(teacher(), "matching", sampler_steps=2)
    batch = Batch(torch.randn(64, 2))
    critic, student = objective.phases()
    student.loss(batch).backward()
    assert all(p.grad is None or float(p.grad.abs().max()) < 1e-6 for p in objective.model.parameters())
    assert all(p.grad is None for p in objective.critic.parameters())
    critic.loss(batch).backward()
    assert any(float(p.grad.abs().max()) > 0 for p in objective.critic.parameters() if p.grad is not None)
    assert not {id(p) for p in critic.parameters} & {id(p) for p in student.parameters}


def test_a_consistency_student_of_several_steps_learns_the_ends_of_its_steps():
    objective, seen = Distilled(teacher(), "consistency", sampler_steps=4), []
    average = objective.student.average
    objective.model.average = lambda z, r, t, c: seen.append((r, t)) or average(z, r, t, c)
    objective.loss(Batch(torch.randn(256, 2)))
    r, t = seen[-1]
    assert set((4 * r).tolist()) == {0.0, 1.0, 2.0, 3.0}
    assert bool((r < t).all()) and bool((t - r <= 0.25 + 1e-6).all())


@pytest.fixture(scope="module")
def far():
    """Points far from the noise, and a teacher of them."""
    x = 0.5 * torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([3.0, -1.0])
    return x.numpy(), pofx.fit(x.numpy(), "flow-matching", steps=200, width=32, depth=1, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_student_in_one_step_follows_its_teacher(method, far):
    x, taught = far
    plain = {"ema_images": 0.0, "lr": 2e-3, "warmup": 0}
    run = pofx.distill(taught, x, method=method, steps=400, sampler_steps=1, progress=False, **plain)
    ours, theirs = run.sample(1500, seed=1), taught.sample(1500, seed=1)
    assert abs(ours.mean(0) - theirs.mean(0)).max() < 0.15
    assert ours.std(0) == pytest.approx(theirs.std(0), rel=0.3)


def test_what_cannot_be_distilled_is_refused():
    with pytest.raises(UsageError):
        Distilled(teacher(), "magic")
    with pytest.raises(Unsupported):
        student_of(teacher(variance="learned"))
    with pytest.raises(Unsupported):
        student_of(pofx.fit("moons", "gmm", steps=1, progress=False).model)


def test_a_distilled_run_is_a_run(tmp_path):
    taught = pofx.fit("moons", "flow-matching", steps=20, width=16, depth=1, progress=False)
    run = pofx.distill(taught, "moons", method="progressive", steps=5, progress=False, out=tmp_path / "student")
    assert run.sample(3, seed=1).shape == (3, 2)
    again = pofx.load(tmp_path / "student")
    assert (again.sample(3, seed=1) == run.sample(3, seed=1)).all()
    assert again.card["training"]["distilled"]["method"] == "progressive"


def test_the_command_distils(tmp_path):
    from typer.testing import CliRunner

    from pofx.cli.main import app

    pofx.fit("moons", "flow-matching", steps=5, width=16, depth=1, progress=False, out=tmp_path / "run")
    called = ["distill", str(tmp_path / "run"), "--sampler-steps", "2", "--steps", "3", "--out", str(tmp_path / "fast")]
    found = CliRunner().invoke(app, called)
    assert found.exit_code == 0, found.output
    run = pofx.load(tmp_path / "fast")
    assert run.model.sampler_steps == 2 and run.card["training"]["distilled"]["method"] == "progressive"
    wrong = CliRunner().invoke(app, [*called, "--overwrite", "-o", "method=x"])
    assert isinstance(wrong.exception, UsageError)


def test_a_guided_teacher_gives_a_guided_student():
    model = Diffusion(Continuous((2,)), Discrete((), 2), width=16)
    loss = Distilled(model, "consistency", guidance=3.0).loss(Batch(torch.randn(8, 2), torch.arange(8) % 2))
    assert torch.isfinite(loss)


def between(x):
    """The share of points that lie in neither of the two blobs."""
    return float((np.abs(np.abs(x[:, 0]) - 2) > 0.9).mean())


@pytest.mark.slow
def test_a_duel_leaves_fewer_points_between_two_blobs_than_its_targets_alone():
    """What the mean of a regression blurs is sharp under a critic; both blobs stay, as the teacher has them."""
    rng = np.random.default_rng(0)
    x = (0.3 * rng.normal(size=(2000, 2)) + np.where(rng.random((2000, 1)) < 0.7, 2.0, -2.0) * [1.0, 0.0]).astype("f")
    taught = pofx.fit(x, "flow-matching", steps=400, width=64, depth=1, progress=False)
    plain = {"ema_images": 20_000, "lr": 1e-3, "warmup": 0, "progress": False, "steps": 400}
    alone, sharp = (pofx.distill(taught, x, method=m, **plain).sample(2000) for m in ("consistency", "adversarial"))
    assert between(sharp) < 0.75 * between(alone)
    assert (sharp[:, 0] > 0).mean() == pytest.approx(0.7, abs=0.1)
    assert sharp[sharp[:, 0] > 0].std(0) == pytest.approx(taught.sample(2000).std(0)[1] * np.ones(2), rel=0.5)


def test_a_guided_teacher_is_the_real_side_of_a_duel():
    """Data are not what a guided teacher draws; without guidance they are the real side."""
    model = Diffusion(Continuous((2,)), Discrete((), 2), width=16)
    batch = Batch(torch.randn(8, 2), torch.arange(8) % 2)
    plain, strong = (Distilled(model, "adversarial", guidance=w) for w in (1.0, 3.0))
    assert torch.equal(plain._real(batch), plain.student.denoiser.standardised(batch.x))
    assert not torch.equal(strong._real(batch), plain._real(batch))
    assert all(torch.isfinite(v) for v in strong.loss(batch).values())
