"""Filters of style networks: precision on a processor, and that they commute with convolutions of single places."""

import torch

from pofx.nets.image.equalised import (
    GAIN,
    EqualisedConv,
    MinibatchDeviation,
    ModulatedConv,
    activate,
    activated,
    shrink,
)


def test_halving_is_in_full_precision_on_a_processor():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 10).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = shrink(x)
    assert torch.equal(y, shrink(x.float()).bfloat16())  # rounded once
    y.sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.bfloat16


def test_halving_and_a_convolution_of_single_places_commute():
    torch.manual_seed(0)
    x, conv = torch.randn(2, 3, 7, 10), EqualisedConv(3, 4, 1, bias=False)
    torch.testing.assert_close(conv(shrink(x)), shrink(conv(x)), rtol=1e-5, atol=1e-6)


def test_gains_in_the_weights_are_those_after_the_activation():
    torch.manual_seed(0)
    x, w = torch.randn(3, 4, 5, 6), torch.randn(3, 7)
    conv = EqualisedConv(4, 8)
    torch.nn.init.normal_(conv.bias)
    torch.testing.assert_close(activated(conv, x), activate(conv(x)), rtol=1e-4, atol=1e-5)
    bias = torch.randn(8)
    for demodulate in (True, False):
        styled = ModulatedConv(4, 8, 7, demodulate=demodulate)
        wanted = GAIN * (styled(x, w) + bias[:, None, None])
        torch.testing.assert_close(styled(x, w, bias, GAIN), wanted, rtol=1e-4, atol=1e-5)


def test_the_deviation_of_a_minibatch():
    torch.manual_seed(0)
    x = torch.randn(8, 3, 4, 5)
    y = MinibatchDeviation(4)(x)
    wanted = (x.reshape(4, 2, 3, 4, 5).var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat(4)
    torch.testing.assert_close(y[:, 3:], wanted[:, None, None, None].expand(8, 1, 4, 5))
    assert torch.equal(y[:, :3], x)
