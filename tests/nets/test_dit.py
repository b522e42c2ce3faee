"""The transformer of patches: any grid, a start at zero, items apart; patches and back."""

import pytest
import torch

from pofx.core.errors import UsageError
from pofx.nets.attention.dit import DiT
from pofx.nets.image.patches import gathered, spread


@pytest.mark.parametrize("shape, patch", [((2, 13), 4), ((1, 28, 28), 7), ((3, 9, 10), 4), ((1, 5, 6, 7), 2)])
def test_any_grid_starts_at_zero_and_items_stay_apart(shape, patch):
    torch.manual_seed(0)
    net = DiT(shape, shape[0], 8, width=32, layers=2, patch=patch, bottleneck=16)
    x, context = torch.randn(3, *shape), torch.randn(3, 8)
    out = net(x, context)
    assert out.shape == x.shape and (out == 0).all()
    out.sub(1).square().mean().backward()
    assert net.last.weight.grad.abs().sum() + net.last.bias.grad.abs().sum() > 0
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
        assert torch.allclose(net(x, context)[1:2], net(x[1:2], context[1:2]), atol=1e-4)
        assert not torch.allclose(net(x, context)[1], net(x, context.flip(0))[0])


@pytest.mark.parametrize("shape", [(2, 12), (1, 28, 28), (3, 9, 10), (2, 4, 6, 8), (1, 5, 5, 5)])
@pytest.mark.parametrize("patch", [1, 2, 3])
def test_patches_come_back(shape, patch):
    x = torch.randn(2, *shape)
    assert torch.equal(spread(gathered(x, patch), patch, shape[1:]), x)


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(UsageError):
        DiT((1, 8, 8), 1, 8, width=100, layers=1, patch=2)
