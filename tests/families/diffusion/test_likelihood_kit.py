"""Likelihood of diffusion: truncated normal noise of levels, Hutch++, fixed numbers of steps, densities under noise."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from typer.testing import CliRunner

from families.diffusion.test_diffusion import MEAN, STD, oracle
from pofx.artifact import Artifact
from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Bounded, Continuous
from pofx.core.model import Density
from pofx.families.diffusion.denoiser import Denoiser
from pofx.families.diffusion.diffusion import Diffusion
from pofx.families.flow.tarflow import TarFlow
from pofx.maths.dequantisation import REACH, truncated_normal
from pofx.maths.divergence import deflated_divergences, divergence, probed_divergences
from pofx.represent.image import Middles


def signs(*shape):
    return torch.randint(0, 2, shape).double() * 2 - 1


def test_hutch_plus_plus_is_exact_where_the_range_of_the_jacobian_is_small():
    torch.manual_seed(0)
    d, k = 12, 3
    matrix = torch.randn(d, 2, dtype=torch.float64) @ torch.randn(2, d, dtype=torch.float64)
    field = lambda x: torch.sin(x @ matrix.T)  # noqa: E731
    x = torch.zeros(4, d, dtype=torch.float64)  # where the Jacobian is the matrix, of rank 2
    value, each = deflated_divergences(field, x, signs(k, 4, d), signs(k, 4, d))
    assert torch.equal(value, field(x)) and torch.allclose(each, matrix.trace().expand(k, 4), atol=1e-9)


def test_hutch_plus_plus_is_unbiased_and_less_noisy():
    torch.manual_seed(0)
    d, n = 16, 500
    decay = 0.5 ** torch.arange(d, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64))[0]
    matrix = basis @ decay.diag() @ basis.T
    field = lambda x: torch.tanh(x @ matrix)  # noqa: E731
    x = 0.3 * torch.randn(1, d, dtype=torch.float64).expand(n, d)
    exact = float(divergence(field, x[:1])[1])
    plus = deflated_divergences(field, x, signs(4, n, d), signs(4, n, d))[1].mean(0)
    plain = probed_divergences(field, x, signs(12, n, d))[1].mean(0)
    assert abs(float(plus.mean()) - exact) < 4 * float(plus.std()) / n**0.5
    assert float(plus.std()) < 0.5 * float(plain.std())  # at as many gradients


def test_truncated_normal_noise_is_that_of_scipy():
    tau = torch.tensor([1.0, 3.0])
    u = torch.rand(5000, 2, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)
    noise, log_q = truncated_normal(u, tau)
    wanted = sum(scipy.stats.truncnorm(-t, t).logpdf(noise[:, i].numpy()) for i, t in enumerate(tau.tolist()))
    assert np.allclose(log_q.numpy(), wanted, atol=1e-4)
    assert noise.abs()[:, 0].max() <= 1 and noise[:, 1].std() == pytest.approx(
        float(scipy.stats.truncnorm(-3, 3).std()), rel=0.05
    )


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
def test_the_density_under_noise_is_the_gaussians(noise):
    model = oracle((3,))
    x = MEAN + torch.randn(5, 3) * STD
    value, _ = model.log_prob_smoothed(x, noise)
    spread = math.hypot(STD, noise * float(model.spread.flatten()[0]))
    wanted = scipy.stats.norm(MEAN, spread).logpdf(x.numpy()).sum(1)
    assert np.allclose(value.numpy(), wanted, atol=0.02)


class Levels(Denoiser):
    """The velocity of data that are the middles of 4 levels in [-1, 1], of unequal probability."""

    middles = torch.tensor([-0.75, -0.25, 0.25, 0.75])
    log_p = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()

    def estimate(self, x, angles, context=None, branch=None):
        phi = angles.reshape(-1, *[1] * (x.ndim - 1))
        cos, sin = phi.cos(), phi.sin()
        gap = x[..., None] - cos[..., None] * self.middles
        share = (self.log_p - 0.5 * (gap / sin[..., None]).square()).softmax(-1)
        data = (share * self.middles).sum(-1)
        return cos * (x - cos * data) / sin - sin * data, None


def test_truncated_noise_bounds_the_mass_of_levels_tightly():
    """Where the model is right, one draw is exact but for what is cut off: log erf(3 / sqrt 2) = -0.0027 a number."""
    model = oracle((1, 1, 1))
    model.event, model.denoiser.__class__ = Bounded((1, 1, 1)), Levels
    run = Artifact(Middles((1, 1, 1), 4, True), model, "flow-matching", {}, None)
    found = run.score(np.arange(4, dtype=np.uint8).reshape(-1, 1, 1), draws=2)
    assert np.allclose(found.value, Levels.log_p.numpy() + math.log(math.erf(REACH / math.sqrt(2))), atol=0.01)
    assert found.density is Density.ESTIMATE and found.measure == "counting"


def test_other_models_of_middles_have_no_density():
    run = Artifact(Middles((1, 2, 2), 4, True), TarFlow(Bounded((1, 2, 2)), blocks=1, width=32), "tarflow", {}, None)
    assert run.density is Density.NONE
    with pytest.raises(Unsupported):
        run.score(np.zeros((1, 2, 2), np.uint8))


def test_a_fixed_number_of_steps_is_near_the_adaptive_one_and_too_few_are_refused():
    x = MEAN + STD * torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    adaptive, _ = oracle((3,)).log_prob_estimate(x)
    value, error = oracle((3,), likelihood_steps=16).log_prob_estimate(x)
    assert float((value - adaptive).abs().max()) < 0.02 and bool((error > 0).all())
    for few in (2, 6, 9):
        with pytest.raises(UsageError, match="likelihood_steps=8"):
            Diffusion(Continuous((3,)), width=8, likelihood_steps=few)


def test_the_trace_by_hutch_plus_plus_is_the_exact_one_within_its_error():
    torch.manual_seed(0)
    x = torch.randn(2, 20)
    model = Diffusion(Continuous((20,)), width=16, depth=1, probes=6, trace="hutch++").eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    found = model.likelihood(x, tolerance=0.3)
    exact = model.likelihood(x, tolerance=0.3, exact=True).value
    assert found.sampling is not None
    assert ((found.value - exact).abs() < 5 * found.sampling + 0.2).all()
    model.probes = 1  # a single probe shows no error, and states none
    assert bool(model.log_prob_estimate(x)[1].isnan().all())


def test_scores_report_evaluations_bits_and_errors(tmp_path):
    import pofx
    from pofx.cli.main import app

    pofx.fit("digits", "flow-matching", steps=2, width=16, depth=1, progress=False, out=tmp_path / "run")
    options = ["-o", "likelihood_steps=8", "--split", "test", "--draws", "1", "--out", str(tmp_path / "scores.csv")]
    found = CliRunner().invoke(app, ["score", str(tmp_path / "run"), "digits", *options])
    assert found.exit_code == 0, found.output
    text = " ".join(found.output.split())
    assert "up to 48 evaluations of the network" in text and "bits per dimension" in text and "±" in text
    bound = CliRunner().invoke(app, ["score", str(tmp_path / "run"), "digits", *options[2:], "-o", "scoring=bound"])
    assert bound.exit_code == 0 and "bound, up to 32 evaluations" in " ".join(bound.output.split())
