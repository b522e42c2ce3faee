"""Paths: derivatives, ends, and every prediction as data and noise."""

import pytest
import torch

from pofx.maths.paths import PATHS, PREDICTIONS, angle, loss_weight, min_snr, split, target


@pytest.mark.parametrize("name", PATHS)
def test_path_derivatives_are_autograds_and_ends_are_data_and_noise(name):
    path = PATHS[name]
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
    point = path(t)
    for value, slope in ((point.alpha, point.d_alpha), (point.sigma, point.d_sigma)):
        if not value.requires_grad:
            assert (slope == 0).all()
            continue
        (wanted,) = torch.autograd.grad(value.sum(), t, retain_graph=True)
        assert torch.allclose(slope, wanted, rtol=1e-8, atol=1e-10)
    first, last = path(torch.zeros(())), path(torch.ones(()))
    if name in ("ve", "edm"):  # noise on top of data that keep their size
        assert (point.alpha == 1).all() and 0 < first.sigma <= 0.011 and last.sigma >= 49.9
        assert (angle(point).diff() > 0).all()
        return
    assert first.alpha == 1 and first.sigma == 0
    assert last.alpha.abs() < 7e-3 and (last.sigma - 1).abs() < 1e-4
    if name not in ("vp-linear", "sub-vp"):
        assert last.alpha.abs() < 1e-6  # no signal is left: zero terminal signal-to-noise ratio
    if name not in ("linear", "sub-vp"):
        assert torch.allclose(point.alpha**2 + point.sigma**2, torch.ones_like(t), atol=1e-12)
    assert (angle(point).diff() > 0).all()


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_prediction_gives_data_and_noise_back(name, prediction):
    torch.manual_seed(0)
    t = torch.linspace(0.05, 0.95, 64, dtype=torch.float64)
    x, noise = torch.randn(2, 64, dtype=torch.float64)
    point = PATHS[name](t)
    p, q = target(prediction, point)
    back = split(point.alpha * x + point.sigma * noise, p * x + q * noise, prediction, point)
    assert torch.allclose(back[0], x, atol=1e-9) and torch.allclose(back[1], noise, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_weight_is_the_squared_error_of_the_prediction(prediction):
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    point = PATHS["linear"](t)
    radius = (point.alpha**2 + point.sigma**2).sqrt()
    p, q = target(prediction, point)
    # an error e in v of the circle moves x by -sin e and the noise by cos e
    error = 0.3 * (q * point.alpha - p * point.sigma) / radius
    assert torch.allclose(error**2 / (p**2 + q**2), loss_weight(prediction, point) * 0.3**2)


@pytest.mark.parametrize("name", PATHS)
def test_short_times_keep_their_digits(name):
    t = torch.tensor([1e-6, 1e-4, 1e-2])
    single, double = PATHS[name](t), PATHS[name](t.double())
    assert torch.allclose(single.sigma.double(), double.sigma, rtol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_weights_are_finite_at_the_ends(prediction):
    ends = torch.tensor([1e-5, 1 - 1e-5])
    for path in PATHS.values():
        assert torch.isfinite(loss_weight(prediction, path(ends))).all()
        assert torch.isfinite(min_snr(path(torch.tensor([0.0, 1.0])))).all()


def test_min_snr_bounds_the_weight_of_x0():
    point = PATHS["cosine"](torch.linspace(0.01, 0.99, 30, dtype=torch.float64))
    snr = (point.alpha / point.sigma) ** 2
    assert torch.allclose(min_snr(point), snr.clamp(max=5.0) * loss_weight("x0", point))
