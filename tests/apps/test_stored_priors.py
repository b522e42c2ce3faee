"""Laws of stored priors: what is made again from plain values is the same distribution, with the same draws."""

import json

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions as D

from pofx.apps.prior import Prior
from pofx.apps.stored_priors import source_of
from pofx.core.errors import CorruptError, UsageError

TWO, COV = torch.tensor([0.5, 2.0]), torch.tensor([[2.0, 0.5], [0.5, 1.0]])


@pytest.mark.parametrize(
    "given",
    [
        {"a": stats.norm(1, 2), "b": "uniform(0, 1)"},
        [stats.beta(2, 3, loc=1), stats.truncnorm(a=-1, b=2)],
        [stats.norm, stats.loguniform(1e-3, 1)],
        stats.multivariate_normal([0, 1], COV.numpy()),
        [D.Gamma(2.0, 3.0), D.HalfNormal(1.0)],
        D.Uniform(-TWO, TWO),
        D.HalfNormal(TWO),
        D.LogNormal(TWO, TWO),
        D.Independent(D.Beta(TWO, TWO), 1),
        D.MultivariateNormal(TWO, COV),
        D.MixtureSameFamily(D.Categorical(TWO), D.Independent(D.Normal(COV, COV), 1)),
    ],
)
def test_a_prior_is_its_plain_values(given):
    prior = Prior.of(given)
    again = Prior.of(json.loads(json.dumps(prior.written)))
    x = prior.sample(20, 1)
    assert (again.names, again.bounds) == (prior.names, prior.bounds)
    assert np.allclose(again.sample(20, 1), x)
    assert np.allclose(again.log_prob(x), prior.log_prob(x), atol=1e-5)
    low, high = np.array(prior.bounds).T
    assert ((x >= low) & (x <= high)).all()


def test_what_has_no_plain_values_is_not_stored():
    squashed = D.TransformedDistribution(D.Normal(0.0, 1.0), [D.SigmoidTransform()])
    assert Prior.of([squashed, stats.norm()]).written is None
    assert Prior.of([stats.rv_histogram(np.histogram(np.arange(10.0)))]).written is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (D.Dirichlet(TWO), "depend on one another"),
        (D.Poisson(TWO), "whole"),
        (stats.dirichlet([1, 1]), "joint prior must"),
        ({"a": stats.poisson(3)}, "whole numbers"),
        ({"a": stats.beta}, "beta without its numbers"),
        ({"a": 1.0}, "got 1.0"),
        ({"a": (0, 1)}, r"got \(0, 1\)"),
        ({"a": stats.norm([0, 1], 1)}, "distribution of its own"),
    ],
)
def test_no_density_over_free_numbers(given, message):
    with pytest.raises(UsageError, match=message):
        Prior.of(given)


@pytest.mark.parametrize(
    "plain", [{}, {"scipy": "norm"}, {"scipy": "describe", "args": [], "kwds": {}}, {"torch": "kl_divergence"},
              {"torch": "Normal", "loc": "x"}]
)  # fmt: skip
def test_damaged_ones_are_refused(plain):
    with pytest.raises(CorruptError, match="learn the posterior again"):
        source_of(plain)
