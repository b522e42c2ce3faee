"""The divergence head: the rule along the flow where the divergence is known, and a head trained beside a run."""

import numpy as np
import pytest
import torch

import pofx
from families.diffusion.test_diffusion import MEAN, STD, oracle
from pofx.combine.around.divergence import DivergenceHead
from pofx.core.companion import Foundation
from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Batch, Density
from pofx.core.random import Streams
from pofx.families.diffusion.denoiser import Denoiser

RNG = np.random.default_rng(0)


class Known(Denoiser):
    """The diagonal for N(MEAN, STD²) data, times sin cos."""

    def estimate(self, x, angles, context=None, branch=None):
        cos, sin = (f(angles).reshape(-1, *[1] * (x.ndim - 1)) for f in (torch.cos, torch.sin))
        return (cos * sin) ** 2 * (1 - STD**2) / (cos**2 * STD**2 + sin**2) * torch.ones_like(x), None


def headed(steps=8):
    model = DivergenceHead(Continuous((3,)), run=Foundation(oracle((3,)), "oracle"), width=8, likelihood_steps=steps)
    model.head.__class__ = Known
    model.prepare(lambda n: Batch(MEAN + STD * torch.randn(n, 3, generator=torch.Generator().manual_seed(0))))
    return model.eval()


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_few_passes_are_the_gaussians_density_where_the_divergence_is_known(noise):
    spread = (STD**2 + noise**2) ** 0.5
    x = MEAN + spread * torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    wanted = torch.distributions.Normal(MEAN, spread).log_prob(x).sum(1)
    errors = [float((headed(k).log_prob_smoothed(x, noise)[0] - wanted).abs().max()) for k in (8, 16, 32)]
    assert errors[0] < 0.3 and errors[1] < 0.35 * errors[0] and errors[2] < 0.35 * errors[1], errors  # of order 2


def test_the_gap_of_a_head_that_is_off_is_stated():
    model = headed(16)
    model.head.__class__ = type("Off", (Known,), {"estimate": lambda *a: (Known.estimate(*a)[0] + 0.1, None)})
    assert model.gap()[0] > 1 and model.log_prob_error() > 1
    assert "from the adaptive solver" in model.log_prob_note()


def test_the_target_of_the_head_is_the_diagonal_of_the_jacobian_on_average():
    model, known = headed(), headed().head
    y, phi = torch.randn(5, 3), torch.full((5,), 0.4)
    velocity, diagonal = model._diagonal(y, phi, None, torch.ones(5, 3))
    assert torch.allclose(velocity, model.base.denoiser.velocity(y, phi), atol=1e-6)
    assert torch.allclose(diagonal, known.velocity(y, phi), atol=1e-5)  # the Jacobian is diagonal: any probe is exact


@pytest.fixture(scope="module")
def runs():
    side = RNG.random(600) < 0.5
    points = (0.4 * RNG.normal(size=(600, 2)) + np.where(side[:, None], [1.5, 0.0], [-1.5, 0.0])).astype(np.float32)
    quiet = {"progress": False, "batch_size": 256, "lr": 3e-3, "warmup": 10}
    run = pofx.fit(points, "flow-matching", steps=150, width=48, depth=1, noises=1, **quiet)
    return points, run, pofx.fit(points, "divergence-head", run=run, steps=250, width=48, depth=1, **quiet)


@pytest.mark.slow
def test_a_head_beside_a_run_is_near_the_adaptive_solver_and_states_how_near(runs, tmp_path):
    points, run, head = runs
    assert head.density is Density.ESTIMATE
    mine, true = head.log_prob(points[:200]), run.log_prob(points[:200])
    assert abs(float(np.mean(mine - true))) < 0.2 and float(np.std(mine - true)) < 0.35
    mean, std = head.model.gap(64)
    assert abs(mean) < 0.25 and std < 0.5
    assert 0 < head.model.log_prob_error() < 0.4
    assert "from the adaptive solver on 16 draws" in repr(head.score(points[:5]))
    finer = head.using(likelihood_steps=32)
    assert float(np.std(finer.log_prob(points[:200]) - true)) < 0.3
    assert np.array_equal(head.sample(20, seed=3), run.sample(20, seed=3))
    head.save(tmp_path / "head")
    assert np.array_equal(pofx.load(tmp_path / "head").log_prob(points[:9]), head.log_prob(points[:9]))


def test_grids_and_conditions():
    torch.manual_seed(0)
    base = oracle((1, 4, 4))
    base.event = Bounded((1, 4, 4))
    model = DivergenceHead(
        Bounded((1, 4, 4)), Discrete((), 3), run=Foundation(base, "oracle"), network="unet", width=16
    )
    x, labels = torch.rand(6, 1, 4, 4) * 2 - 1, torch.arange(6) % 3
    model.prepare(lambda n: Batch(x, labels))
    model.loss(Batch(x, labels)).backward()
    assert all(p.grad is not None for p in model.head.net.parameters())
    assert model.eval().log_prob(x, labels).shape == (6,) and np.isfinite(model.gap(4)).all()
    assert model.sample(6, labels, generator=Streams(0, 6)).shape == x.shape


def test_a_head_needs_a_diffusion_run():
    with pytest.raises(UsageError, match="run="):
        DivergenceHead(Continuous((2,)))
    exact = pofx.fit(RNG.normal(size=(50, 2)).astype(np.float32), "gmm", components=1, steps=1, progress=False)
    with pytest.raises(Unsupported, match="Diffusion"):
        pofx.fit(RNG.normal(size=(50, 2)).astype(np.float32), "divergence-head", run=exact, steps=1, progress=False)
