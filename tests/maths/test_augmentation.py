"""Laws of differentiable augmentation: probability 0 changes nothing, gradients pass, items do not mix."""

import pytest
import torch

from pofx.core.errors import UsageError
from pofx.maths.augmentation import OPERATIONS, augment


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12), (5, 1, 16)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_probability_zero_is_the_identity_and_one_passes_gradients_item_by_item(name, shape):
    torch.manual_seed(0)
    x = torch.randn(6, *shape, requires_grad=True)
    assert torch.allclose(augment(x, [name], 0.0), x, atol=1e-5)
    y = augment(x, [name], 1.0)
    assert y.shape == x.shape and torch.isfinite(y).all()
    (slope,) = torch.autograd.grad(y[2].square().sum(), x)
    assert slope[2].abs().sum() > 0 and slope[[0, 1, 3, 4, 5]].abs().sum() == 0


def test_the_share_of_changed_items_is_the_probability():
    torch.manual_seed(0)
    x = torch.randn(4000, 1, 4, 4)
    for name, share in (("colour", 0.3), ("cutout", 0.3), ("flip", 0.15)):
        changed = (augment(x, [name], 0.3) - x).flatten(1).abs().amax(1) > 0
        assert float(changed.float().mean()) == pytest.approx(share, abs=0.03), name


def test_a_translation_moves_whole_cells_and_fills_with_zeros():
    torch.manual_seed(0)
    x = torch.ones(500, 1, 16, 16)
    y = augment(x, ["translation"], 1.0)
    kept = y.sum((1, 2, 3)) / 256
    assert set(y.unique().tolist()) <= {0.0, 1.0} and kept.min() >= (14 / 16) ** 2


def test_unknown_operations_are_named():
    with pytest.raises(UsageError, match="flip"):
        augment(torch.zeros(1, 1, 4, 4), ["flips"])
