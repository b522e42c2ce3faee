"""Filters of style networks: precision on a processor, and that they commute with convolutions of single places."""

import torch

from pofx.nets.image.equalised import EqualisedConv, shrink


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
