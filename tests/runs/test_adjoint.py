"""Paths to a density known up to its constant: weights without bias, flat under the right steering, a short fit."""

import math

import numpy as np
import pytest
import torch

import pofx
from pofx.core.random import Streams
from pofx.maths.annealing import log_mean_weight
from pofx.maths.follmer import model_times, path_times, paths
from pofx.maths.importance import effective_share
from pofx.maths.paths import PATHS
from pofx.runs.path_sampler import PathSampler

SPREAD, STD = torch.ones(2), 0.5


def schedule(t):
    point = PATHS["linear"](t)
    return point.alpha.reshape(*t.shape, 1), point.sigma.reshape(*t.shape, 1) * SPREAD


def exact(x, t):
    """E[x | x_t] of N(0, STD²)."""
    alpha, sigma = schedule(t)
    return alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * x


def wrong(x, t):
    """That of N(0, 0.6²)."""
    alpha, sigma = schedule(t)
    return alpha * 0.36 / (alpha**2 * 0.36 + sigma**2) * x


def gaussian(x):
    return 2.0 - 0.5 * (x / STD).square().sum(1)


LOG_Z = 2.0 + 2 * math.log(STD * math.sqrt(2 * math.pi))


def test_times_of_the_denoiser_have_the_noise_of_the_path():
    times = path_times(20)[1:-1]
    alpha, sigma = schedule(model_times(schedule, SPREAD, times))
    assert torch.allclose((alpha / (alpha**2 + sigma**2).sqrt())[:, 0].double(), times.sqrt(), atol=1e-4)
    assert path_times(20)[0] == 0 and path_times(20)[-1] == 1 and bool((path_times(20).diff() > 0).all())


@pytest.mark.parametrize("denoise, steps, least", [(exact, 128, 0.9), (exact, 16, 0.3), (wrong, 64, 0.2)])
def test_weights_of_paths_have_the_mean_z_whatever_steers_them(denoise, steps, least):
    x, log_q = paths(denoise, schedule, SPREAD, (2,), steps, Streams(0, 4000))
    value, error = log_mean_weight(gaussian(x).double() - log_q)
    assert abs(value - LOG_Z) < 4 * error + 1e-3 and effective_share(gaussian(x).double() - log_q) > least
    part, _ = paths(denoise, schedule, SPREAD, (2,), steps, Streams(0, 4000)[5:8])
    assert torch.allclose(part, x[5:8], atol=1e-5)


@pytest.fixture(scope="module")
def fitted():
    centres = torch.tensor([[-2.0, 0.0], [2.0, 1.0]])

    def two(x):
        return (-(x[:, None] - centres).square().sum(-1) / 0.5 + torch.tensor([0.0, math.log(3.0)])).logsumexp(1)

    g = torch.Generator().manual_seed(0)
    samples = centres[(torch.rand(500, generator=g) < 0.75).long()] + 0.5 * torch.randn(500, 2, generator=g)
    options = {"steps": 100, "width": 48, "depth": 1, "samples": samples.numpy(), "batch_size": 128, "lr": 5e-3}
    return pofx.fit_density(two, 2, "flow-matching", progress=False, **options)


@pytest.mark.slow
def test_a_short_fit_finds_both_modes_their_shares_and_log_z(fitted):
    draws = fitted.weigh(3000, seed=1, path_steps=96)
    value, error = draws.log_z
    assert abs(value - math.log(4 * 0.5 * math.pi)) < 4 * error + 0.02 and draws.ess > 0.2
    share = float((draws.weights * (draws.x[:, 0] > 0)).sum())
    assert share == pytest.approx(0.75, abs=0.1)
    assert np.array_equal(fitted.sample(10, seed=1, path_steps=8), fitted.weigh(10, seed=1, path_steps=8).x)


@pytest.mark.slow
def test_the_sampler_is_stored_like_others(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    again = PathSampler.load(tmp_path / "run", fitted.log_target)
    assert np.array_equal(again.sample(5, path_steps=8), fitted.sample(5, path_steps=8))
