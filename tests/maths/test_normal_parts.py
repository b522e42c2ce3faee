"""Parts of mixtures of normals: marginals integrate out, conditionals are ratios, intervals hold."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from pofx.maths.normal_parts import PARTICLES, drawn_within, log_marginal, log_mass, normal_between

torch.manual_seed(0)
ROOT = torch.randn(2, 3, 3, dtype=torch.float64)
MIXTURE = (
    torch.tensor([0.3, 0.7], dtype=torch.float64).log(),
    torch.randn(2, 3, dtype=torch.float64),
    ROOT @ ROOT.mT + 0.2 * torch.eye(3, dtype=torch.float64),
)


def density(x, axes):
    """Of the mixture's dimensions `axes`, by torch's own normal."""
    w, means, covariances = MIXTURE
    parts = [w[m] + MultivariateNormal(means[m, axes], covariances[m][axes][:, axes]).log_prob(x) for m in range(2)]
    return torch.stack(parts).logsumexp(0)


def test_marginals_are_those_of_the_parts():
    for axes in ([0], [1, 2], [0, 1, 2]):
        known, a = torch.zeros(3, dtype=torch.bool), torch.randn(5, len(axes), dtype=torch.float64)
        known[axes] = True
        torch.testing.assert_close(log_marginal(MIXTURE, a, known), density(a, axes))
    none = torch.zeros(3, dtype=torch.bool)
    torch.testing.assert_close(log_marginal(MIXTURE, a[:, :0], none), torch.zeros(5, dtype=torch.float64))


def draws(low, high, n=20_000):
    known = (low.isfinite() | high.isfinite()).bool()
    g = torch.Generator().manual_seed(1)
    noise = torch.randn(n, 3, generator=g, dtype=torch.float64)
    u = torch.rand(n, 3, PARTICLES, generator=g, dtype=torch.float64)
    pick = torch.rand(n, 2, generator=g, dtype=torch.float64)
    return drawn_within(MIXTURE, known, low.expand(n, 3), high.expand(n, 3), noise, u, pick)


def whole(n=400_000):
    w, means, covariances = MIXTURE
    m = torch.multinomial(w.exp(), n, replacement=True, generator=torch.Generator().manual_seed(2))
    return MultivariateNormal(means[m], covariances[m]).sample()


def test_draws_given_a_value_or_an_interval_are_those_of_the_mixture_there():
    inf = torch.inf
    x = whole()
    for low, high in (([-inf, 0.5, -inf], [inf, 0.9, inf]), ([-inf, -inf, 1.0], [inf, 0.0, inf])):
        low, high = torch.tensor(low).double(), torch.tensor(high).double()
        near = x[((x >= low) & (x <= high)).all(1)]
        found = draws(low, high)
        assert ((found >= low) & (found <= high)).all()
        spread = near.std(0)
        assert ((found.mean(0) - near.mean(0)).abs() < 0.05 * spread + 0.02).all()
        assert ((found.std(0) / spread - 1).abs() < 0.06).all()
    value = torch.tensor([-inf, 0.7, -inf]).double(), torch.tensor([inf, 0.7, inf]).double()
    found, near = draws(*value), x[(x[:, 1] - 0.7).abs() < 0.05]
    assert (found[:, 1] == value[0][1]).all() and ((found.mean(0) - near.mean(0)).abs() < 0.1).all()


def test_an_interval_far_from_everything_is_drawn_inside_it():
    low, high = torch.tensor([1e3, -torch.inf, -torch.inf]).double(), torch.tensor([torch.inf] * 3).double()
    found = draws(low, high, 10)
    assert (found[:, 0] >= 1e3).all() and found.isfinite().all()


def test_normal_numbers_between_two_ends_have_their_mass_far_out_too():
    a = torch.tensor([-1.0, 0.5, 30.0, -torch.inf, -41.0, 2.0], dtype=torch.float64)
    b = torch.tensor([2.0, torch.inf, 31.0, -35.0, -40.0, 2.0], dtype=torch.float64)
    expected = [-0.20017, -1.17591, -454.32124, -616.97510, -804.60844]
    torch.testing.assert_close(log_mass(a, b)[:5], torch.tensor(expected, dtype=torch.float64), atol=1e-4, rtol=0)
    for u in (0.01, 0.5, 0.99):
        z = normal_between(a, b, torch.full_like(a, u))
        assert bool(((z >= a) & (z <= b)).all()) and z[5] == 2
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    many = normal_between(a[:1].expand_as(u), b[:1].expand_as(u), u)
    assert float(many.mean()) == pytest.approx(0.22964, abs=1e-3)
