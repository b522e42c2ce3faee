"""Distillation: the student starts as its teacher, the teacher stays as it is, few steps reach the teacher's draws."""

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
        loss = next(iter(objective.phases())).loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert torch.isfinite(loss)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert {id(p) for p in objective.parameters()} == {id(p) for p in objective.model.parameters()}


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


def test_a_guided_teacher_gives_a_guided_student():
    model = Diffusion(Continuous((2,)), Discrete((), 2), width=16)
    loss = Distilled(model, "consistency", guidance=3.0).loss(Batch(torch.randn(8, 2), torch.arange(8) % 2))
    assert torch.isfinite(loss)
