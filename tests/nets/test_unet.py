"""The U-Net: any size and width, a start at zero, items apart."""

import pytest
import torch

from pofx.nets.image.unet import UNet


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (2, 5, 17), (1, 33, 31), (4, 1, 3)])
def test_the_unet_takes_any_size_starts_at_zero_and_keeps_items_apart(shape):
    torch.manual_seed(0)
    net = UNet(shape, shape[0], 8, width=16, blocks=1)
    x, context = torch.randn(3, *shape), torch.randn(3, 8)
    out = net(x, context)
    assert out.shape == x.shape and (out == 0).all()
    out.sub(1).square().mean().backward()
    assert net.last.weight.grad.abs().sum() > 0
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
        assert torch.allclose(net(x, context)[1:2], net(x[1:2], context[1:2]), atol=1e-4)


@pytest.mark.parametrize("width", [4, 20, 52, 100])
def test_the_unet_takes_every_width_that_is_a_multiple_of_four(width):
    assert UNet((1, 16, 16), 1, 8, width=width, blocks=1)(torch.randn(2, 1, 16, 16), torch.randn(2, 8)).shape[0] == 2
