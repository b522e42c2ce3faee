"""Marginals of the classical densities: all dimensions are the density itself, none are certain, by every class."""

import pytest
import torch

from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.mixture.copula import Copula
from pofx.families.mixture.gmm import GMM
from pofx.families.mixture.independent import Independent
from pofx.families.mixture.kde import KDE


@pytest.mark.parametrize(
    ("make", "options"), [(GMM, {"covariance": "full"}), (GMM, {"covariance": "diag"}), (Copula, {}), (KDE, {})]
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


def test_kernels_within_intervals_are_as_often_as_draws_that_fall_there():
    torch.manual_seed(0)
    x = torch.randn(80, 2) @ torch.tensor([[1.0, 0.9], [0.0, 0.4]])
    model = KDE(Continuous((2,)))
    model.prepare(lambda n: Batch(x))
    every = model.sample(60_000, generator=Streams(0, 60_000))
    low, high = torch.tensor([0.4, -torch.inf]), torch.tensor([0.9, torch.inf])
    there = every[(every[:, 0] > 0.4) & (every[:, 0] < 0.9)]
    ends = (v.expand(4000, 2) for v in (low, high))
    drawn = model.sample(4000, generator=Streams(1, 4000), low=next(ends), high=next(ends))
    assert bool(((drawn >= low) & (drawn <= high)).all())
    torch.testing.assert_close(drawn.mean(0), there.mean(0), atol=0.04, rtol=0)
    torch.testing.assert_close(drawn.std(0), there.std(0), atol=0.04, rtol=0)
    at = torch.tensor([[0.5, -torch.inf]]).expand(4000, 2), torch.tensor([[0.5, torch.inf]]).expand(4000, 2)
    given = model.sample(4000, generator=Streams(1, 4000), low=at[0], high=at[1])
    axis = torch.linspace(-4, 5, 2000)
    line = torch.stack((torch.full_like(axis, 0.5), axis), 1)
    known = torch.tensor([True, False]).expand(2000, 2)
    p = (model.log_prob(line) - model.log_marginal(line, known)).exp()
    assert float(p.sum() * (axis[1] - axis[0])) == pytest.approx(1.0, abs=1e-3)
    assert bool((given[:, 0] == 0.5).all())
    assert float(given[:, 1].mean()) == pytest.approx(float((p * axis).sum() * (axis[1] - axis[0])), abs=0.04)


def test_independent_parts_are_known_by_themselves():
    torch.manual_seed(0)
    x = {"a": torch.randn(300, 2), "b": torch.randint(0, 3, (300, 2))}
    model = Independent({"a": Continuous((2,)), "b": Discrete((2,), 3)})
    model.prepare(lambda n: Batch(x))
    known = {"a": torch.tensor([[True, False]]).expand(300, 2), "b": torch.tensor([[False, True]]).expand(300, 2)}
    rest = {key: ~there for key, there in known.items()}
    both = model.log_marginal(x, known) + model.log_marginal(x, rest)
    torch.testing.assert_close(both, model.log_prob(x), atol=1e-4, rtol=1e-4)
    done = model.complete(x, known, generator=Streams(0, 300))
    assert all(torch.equal(done[key][known[key]], x[key][known[key]]) for key in x)
    assert not torch.equal(done["b"], x["b"])
    numbers = Independent(Continuous((2,)))
    numbers.prepare(lambda n: Batch(x["a"]))
    low = torch.tensor([[0.5, -torch.inf]]).expand(2000, 2)
    drawn = numbers.sample(2000, generator=Streams(0, 2000), low=low, high=torch.full_like(low, torch.inf))
    assert bool((drawn[:, 0] >= 0.5).all()) and abs(float(drawn[:, 1].mean())) < 0.15
    every = numbers.sample(20_000, generator=Streams(1, 20_000))[:, 0]
    assert float(drawn[:, 0].mean()) == pytest.approx(float(every[every > 0.5].mean()), abs=0.06)
