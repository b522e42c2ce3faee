"""Checkerboards: phases of a transposed convolution, what evens them out, and the peak they leave."""

import pytest
import torch
from torch import nn

from pofx.core.config import build
from pofx.core.event import Bounded
from pofx.core.model import Batch
from pofx.maths.checkerboard import evened, overlap_gains, overlap_imbalance, periodic_peak


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (3, 2), (5, 3), (6, 3), (2, 4)])
def test_gains_are_what_a_constant_input_makes_of_every_phase(kernel, stride):
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(1, 1, kernel, stride=stride, bias=False)
    y = layer(torch.ones(1, 1, 12, 12)).detach()[0, 0]
    first = stride * (kernel // stride + 1)
    period = y[first : first + stride, first : first + stride]
    gains = overlap_gains(layer.weight, layer.stride)[0, 0].reshape(stride, stride)
    torch.testing.assert_close(gains.detach(), period)


def test_imbalance_is_zero_for_equal_phases_and_falls_under_its_own_gradient():
    even = torch.ones(2, 3, 4, 4)
    assert float(overlap_imbalance(even, (2, 2))) == 0
    assert float(overlap_imbalance(torch.ones(2, 3, 3, 3), (2, 2))) > 0.1  # 3 is no multiple of 2
    torch.manual_seed(0)
    weight = torch.randn(4, 4, 4, 4, requires_grad=True)
    before = float(overlap_imbalance(weight, (2, 2)).detach())
    descent = torch.optim.Adam([weight], lr=0.05)
    for _ in range(100):
        descent.zero_grad()
        overlap_imbalance(weight, (2, 2)).backward()
        descent.step()
    assert float(overlap_imbalance(weight, (2, 2)).detach()) < 0.01 * before


def test_the_peak_sees_a_pattern_of_period_two_and_nothing_in_noise():
    torch.manual_seed(0)
    noise = torch.randn(200, 1, 16, 14)
    assert 0.7 < periodic_peak(noise) < 1.6
    board = (torch.arange(16)[:, None] + torch.arange(14)[None]) % 2
    assert periodic_peak(noise + 0.5 * board) > 3
    assert periodic_peak(noise[:, :, :3, :3]) == 1.0


def test_both_mends_even_out_a_duel():
    event = Bounded((1, 16, 16))
    torch.manual_seed(0)
    resized = build("dcgan", event, None, width=8, latent=4, upsampling="resize")
    assert not any(isinstance(m, nn.ConvTranspose2d) for m in resized.modules())
    balanced = build("dcgan", event, None, width=8, latent=4, overlap=1.0)
    parts = balanced("generator", Batch(torch.rand(4, 1, 16, 16)))
    layers = [m for m in balanced.generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    total = sum(float(overlap_imbalance(m.weight.detach(), m.stride)) for m in layers)
    assert float(parts["overlap"].detach()) == pytest.approx(total, rel=1e-4)
    assert "overlap" not in build("dcgan", event, None, width=8, latent=4)("generator", Batch(torch.rand(4, 1, 16, 16)))


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (3, 2), (5, 3)])
def test_evened_kernels_are_the_nearest_without_a_pattern(kernel, stride):
    torch.manual_seed(0)
    weight = torch.randn(3, 2, kernel, kernel)
    even = evened(weight, (stride, stride))
    assert float(overlap_imbalance(weight, (stride, stride))) > 0.1
    assert float(overlap_imbalance(even, (stride, stride))) < 1e-10
    torch.testing.assert_close(even, evened(even, (stride, stride)))
    torch.testing.assert_close(
        overlap_gains(even, (stride, stride)).mean(2), overlap_gains(weight, (stride, stride)).mean(2)
    )
    assert torch.isfinite(evened(torch.randn(1, 1, 2, 2), (4, 4))).all()


def test_generators_with_the_regulariser_begin_without_a_pattern():
    torch.manual_seed(0)
    for overlap in (0.0, 1.0):
        gan = build("dcgan", Bounded((1, 12, 12)), width=8, latent=4, overlap=overlap)
        layers = [m for m in gan.generator.modules() if isinstance(m, nn.ConvTranspose2d)]
        worst = max(float(overlap_imbalance(layer.weight.detach(), layer.stride)) for layer in layers)
        assert worst < 1e-9 if overlap else worst > 0.1
