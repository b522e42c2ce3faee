"""Symmetries of images: inverses, and that the one which maps one set to the other is found from unpaired items."""

import pytest
import torch

from pofx.maths.symmetries import COUNT, nearest_symmetry, turned, turned_back


def strokes(n, seed, shape=(9, 9)):
    """Random images that look different from all sides: more light at the left and above."""
    x = torch.rand(n, 1, *shape, generator=torch.Generator().manual_seed(seed))
    x = x * torch.linspace(1, 0, shape[1])
    return 2 * x * torch.linspace(1, 0.4, shape[0])[:, None] - 1


@pytest.mark.parametrize("shape", [(9, 9), (5, 8)])
def test_all_symmetries_differ_and_are_undone(shape):
    x = torch.rand(2, 3, *shape)
    seen = [turned(x, k) for k in range(COUNT)]
    assert all(torch.equal(turned_back(y, k), x) for k, y in enumerate(seen))
    alike = [(i, j) for i in range(COUNT) for j in range(i) if seen[i].shape == seen[j].shape]
    assert not any(torch.equal(seen[i], seen[j]) for i, j in alike)


@pytest.mark.parametrize("symmetry", range(COUNT))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_symmetry_of_other_items_is_found(symmetry, sign):
    a, b = strokes(300, 0), sign * turned(strokes(300, 1), symmetry)
    assert nearest_symmetry(a, b) == (symmetry, sign)


def test_sets_that_look_the_same_are_left_as_they_are():
    x = torch.rand(200, 3, 8, 8) * 2 - 1
    assert nearest_symmetry(x, torch.rand(200, 1, 8, 8) * 2 - 1) == (0, 1.0)
    assert nearest_symmetry(strokes(200, 0, (6, 9)), -strokes(200, 1, (6, 9)), signed=False)[1] == 1.0
    assert nearest_symmetry(torch.rand(50, 1, 4, 12), torch.rand(50, 1, 20, 6)) == (0, 1.0)
