"""Private trees: the noiseless tree is that of Chow and Liu, ε is what is claimed, and noise never goes negative."""

import math

import numpy as np
import pytest
import torch

from pofx.core.errors import UsageError
from pofx.core.event import Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.circuit.mst import MST
from pofx.maths.privacy import audited_epsilon, chosen, epsilon_of, noisy, on_simplex, rho_of


def chain(n, seed=0, classes=(3, 4, 2, 3)):
    """Classes in a chain: each depends on the one before."""
    g = np.random.default_rng(seed)
    x = [g.integers(0, classes[0], n)]
    for k in classes[1:]:
        x.append(np.where(g.random(n) < 0.7, x[-1] % k, g.integers(0, k, n)))
    return torch.from_numpy(np.stack(x, 1))


def fitted(x, classes, **options):
    model = MST(Discrete((len(classes),), tuple(classes)), **options)
    model.prepare(lambda n: Batch(x[:n]))
    return model


def everything(classes):
    return torch.cartesian_prod(*(torch.arange(k) for k in classes))


@pytest.mark.parametrize("options", [{}, {"target": 2}, {"target": 0, "tree": False}, {"groups": 2}])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 5.0])
def test_probabilities_sum_to_one_whatever_the_noise(options, epsilon):
    classes = (3, 4, 2, 3)
    model = fitted(chain(500), classes, epsilon=epsilon, **options)
    p = model.log_prob(everything(classes)).double().exp()
    assert float(p.sum()) == pytest.approx(1.0, abs=1e-4)
    assert (p > 0).all()


def test_without_noise_it_is_the_tree_of_chow_and_liu():
    classes = (3, 4, 2, 3)
    x = chain(4000)
    model = fitted(x, classes, epsilon=0.0)
    near = {frozenset((i, int(p))) for i, p in enumerate(model.parents.tolist()) if p >= 0}
    assert near == {frozenset((i, i + 1)) for i in range(3)}
    p = model.log_prob(everything(classes)).double().exp()
    for i in range(3):  # pairs along the chain are those of the data
        ours = torch.zeros(classes[i], classes[i + 1], dtype=torch.float64)
        ours.index_put_(tuple(everything(classes)[:, i : i + 2].T), p, accumulate=True)
        data = torch.zeros_like(ours).index_put_(tuple(x[:, i : i + 2].T), torch.ones(len(x)).double(), accumulate=True)
        assert (ours - data / len(x)).abs().max() < 2e-3


def test_samples_follow_the_density():
    classes = (3, 4, 2, 3)
    for target in (-1, 1):
        model = fitted(chain(800), classes, epsilon=2.0, target=target)
        x = model.sample(20000, generator=Streams(0, 20000))
        code = np.ravel_multi_index(x.T.numpy(), classes)
        share = np.bincount(code, minlength=math.prod(classes)) / len(x)
        assert np.abs(share - model.log_prob(everything(classes)).exp().numpy()).sum() < 0.06


def test_more_budget_is_nearer_to_the_data():
    classes, x = (8, 6, 5, 2), chain(3000, classes=(8, 6, 5, 2))
    held = chain(3000, seed=5, classes=(8, 6, 5, 2))
    nats = [np.mean([-fitted(x, classes, epsilon=e).log_prob(held).mean() for _ in range(5)]) for e in (0.05, 1.0, 50)]
    assert nats[0] > nats[1] + 0.05 > nats[2] + 0.02


def test_rare_classes_are_counted_together_and_still_drawn():
    g = np.random.default_rng(0)
    x = torch.from_numpy(np.stack([np.minimum(g.geometric(0.4, 2000) - 1, 30), g.integers(0, 2, 2000)], 1))
    model = fitted(x, (31, 2), epsilon=1.0)
    assert int(model.group_of[0].max()) < 12
    drawn = model.sample(5000, generator=Streams(0, 5000))[:, 0]
    assert abs(float((drawn == 0).float().mean()) - 0.4) < 0.08


def test_the_conversion_of_budgets_is_the_published_one():
    for epsilon, delta in ((0.1, 1e-9), (1.0, 1e-6), (10.0, 1e-5)):
        assert epsilon_of(rho_of(epsilon, delta), delta) == pytest.approx(epsilon, rel=1e-6)
        rho = rho_of(epsilon, delta)
        assert epsilon < rho + 2 * math.sqrt(rho * math.log(1 / delta)), "tighter than the simple conversion"
    assert epsilon_of(0.5, 1e-5) == pytest.approx(4.6226, abs=0.15)  # below 0.5 + 2 sqrt(0.5 log 1e5) = 5.30
    with pytest.raises(UsageError, match="delta"):
        rho_of(1.0, 0.0)


def test_the_gaussian_mechanism_is_as_private_as_its_exact_curve():
    from scipy.stats import norm

    for rho in (0.01, 0.1, 1.0):  # Balle and Wang, 2018: the exact δ of N(0, σ²) at ε, with Δ = 1
        sigma, delta = (2 * rho) ** -0.5, 1e-5
        e = epsilon_of(rho, delta)
        exact = norm.cdf(0.5 / sigma - e * sigma) - math.exp(e) * norm.cdf(-0.5 / sigma - e * sigma)
        assert exact <= delta


def test_noise_has_its_standard_deviation_and_is_whole():
    g = np.random.default_rng(0)
    values, sigma = noisy(np.zeros(20000), 0.005, g)
    assert sigma == pytest.approx(10.0) and values.std() == pytest.approx(10, rel=0.03)
    assert (values == np.round(values)).all()
    picks = np.array([chosen(np.array([0.0, 2.0]), 0.5, g) for _ in range(4000)])
    assert picks.mean() == pytest.approx(1 / (1 + math.exp(-2.0)), abs=0.03)  # ε = 2: ratio exp(ε · 2 / 2)


def test_the_nearest_point_of_the_simplex():
    g = np.random.default_rng(0)
    v = g.normal(size=(5, 7))
    found = on_simplex(v, np.full(5, 2.0))
    assert (found >= 0).all() and np.allclose(found.sum(1), 2.0)
    for _ in range(200):
        other = g.dirichlet(np.ones(7), 5) * 2.0
        assert (((found - v) ** 2).sum(1) <= ((other - v) ** 2).sum(1) + 1e-12).all()


def membership(noise_scale, runs, monkeypatch=None, epsilon=1.0):
    """A statistic of fits without and with one row that nobody else is like: its log-probability under the model."""
    classes = (4, 3)
    x = torch.zeros(30, 2, dtype=torch.int64)
    more = torch.cat((x, torch.tensor([[3, 2]])))
    found = []
    for rows in (x, more):
        each = [fitted(rows, classes, epsilon=epsilon * noise_scale, delta=1e-4) for _ in range(runs)]
        found.append(np.array([float(m.log_prob(more[-1:])) for m in each]))
    return found


@pytest.mark.slow
def test_an_attack_measures_less_than_the_claimed_epsilon():
    measured = audited_epsilon(*membership(1.0, 1500), delta=1e-4)
    assert measured <= 1.0
    broken = audited_epsilon(*membership(24.0, 300), delta=1e-4)  # claims 1 and spends 24
    assert broken > 1.0, "the attack would pass anything"


def test_the_attack_bounds_a_known_epsilon():
    g = np.random.default_rng(0)
    noise = g.laplace(size=(2, 6000))  # Laplace noise of scale 1: ε is exactly 1
    assert 0.3 < audited_epsilon(noise[0], noise[1] + 1.0, 0.0) <= 1.0
    assert audited_epsilon(noise[0], noise[1] + 5.0, 0.0) > 1.5


def test_secret_noise_is_not_repeated_by_a_seed():
    x = chain(200)
    values = []
    for noise in ("secret", "secret", "seeded", "seeded"):
        torch.manual_seed(3)
        values.append(float(fitted(x, (3, 4, 2, 3), noise=noise).log_prob(x).sum()))
    assert values[0] != values[1] and values[2] == values[3]


def test_a_target_makes_all_columns_depend_on_it():
    g = np.random.default_rng(0)
    y = g.integers(0, 2, 4000)
    x = torch.from_numpy(np.stack([*(np.where(g.random(4000) < 0.75, y, 1 - y) for _ in range(4)), y], 1))
    with_target, plain = (fitted(x, (2,) * 5, epsilon=3.0, target=t) for t in (4, -1))
    held = x[torch.from_numpy(g.permutation(4000))]
    assert -with_target.log_prob(held).mean() < -plain.log_prob(held).mean() + 0.02
    both = torch.cat((held[:, :4], 1 - held[:, 4:]), 1)
    right = (with_target.log_prob(held) > with_target.log_prob(both)).float().mean()
    assert right > 0.8
    with pytest.raises(UsageError, match="target"):
        MST(Discrete((2,), (2, 2)), target=2)
