"""Marginals of the classical densities: all dimensions are the density itself, none are certain, by every class."""

import pytest
import torch

from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.families.mixture.copula import Copula
from pofx.families.mixture.gmm import GMM


@pytest.mark.parametrize(
    ("make", "options"), [(GMM, {"covariance": "full"}), (GMM, {"covariance": "diag"}), (Copula, {})]
)
def test_the_marginal_of_everything_is_the_density_and_that_of_nothing_is_one(make, options):
    torch.manual_seed(0)
    x, c = torch.randn(200, 3) @ torch.randn(3, 3), torch.randint(0, 2, (200,))
    x = x + 2 * c[:, None]
    model = make(Continuous((3,)), Discrete((), 2), **options)
    model.prepare(lambda n: Batch(x, c))
    every = torch.ones(200, 3, dtype=torch.bool)
    torch.testing.assert_close(model.log_marginal(x, every, c), model.log_prob(x, c), atol=1e-4, rtol=1e-4)
    assert (model.log_marginal(x, ~every, c).abs() < 1e-6).all()
    some = every.clone()
    some[::2, 1] = False  # other dimensions item by item
    mixed = model.log_marginal(x, some, c)
    assert torch.allclose(mixed[1::2], model.log_prob(x, c)[1::2], atol=1e-4)
    moved = x.clone()
    moved[::2, 1] += 5  # what is not known does not count
    assert torch.equal(model.log_marginal(moved, some, c)[::2], mixed[::2])
