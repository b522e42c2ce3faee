"""Laws of the classical densities, against scipy and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.mixture.gmm import GMM
from pofx.families.mixture.kde import KDE, choose_bandwidth


def two_bumps(n, size=2, seed=0):
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 2, n)
    x = rng.normal(size=(n, size)) * np.linspace(0.3, 2.0, size) + 3.0 * side[:, None]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(side)


def prepared(model, x, y=None):
    model.prepare(lambda n: Batch(x[:n], None if y is None else y[:n]))
    return model.eval()


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_gmm_agrees_with_scikit_learn(covariance):
    x, _ = two_bumps(400, 3)
    x = (x - x.mean(0)) / x.std(0, unbiased=False)  # in these units both use the same ridge
    peer = GaussianMixture(2, covariance_type=covariance, reg_covar=1e-3, random_state=0).fit(x.double().numpy())
    m = prepared(GMM(Continuous((3,)), components=2, covariance=covariance, ridge=1e-3), x)
    assert np.allclose(m.log_prob(x), peer.score_samples(x.double().numpy()), atol=1e-3)


def test_gmm_chooses_two_components_for_two_bumps_and_has_their_moments():
    x, _ = two_bumps(2000)
    m = prepared(GMM(Continuous((2,))), x)
    samples = m.sample(20_000, generator=Streams(0, 20_000))
    assert torch.allclose(samples.mean(0), x.mean(0), atol=0.1)
    assert torch.allclose(samples.T.cov(), x.T.cov(), atol=0.3)
    # samples scored by the model have its entropy, as have held-out items
    held = two_bumps(2000, seed=1)[0]
    assert float(m.log_prob(samples).mean()) == pytest.approx(float(m.log_prob(held).mean()), abs=0.1)


@pytest.mark.parametrize("make", [GMM, KDE])
def test_density_integrates_to_one(make):
    x, _ = two_bumps(200)
    m = prepared(make(Continuous((2,))), x)
    side = torch.linspace(-20, 24, 441)
    grid = torch.cartesian_prod(side, side)
    assert float(m.log_prob(grid).double().exp().sum() * (44 / 440) ** 2) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("make", [GMM, KDE])
def test_one_density_per_class(make):
    x, y = two_bumps(600)
    m = prepared(make(Continuous((2,)), Discrete((), 3)), x, y)
    alone = prepared(make(Continuous((2,))), x[y == 1])
    assert torch.allclose(m.log_prob(x[:50], torch.ones(50, dtype=torch.int64)), alone.log_prob(x[:50]), atol=1e-4)
    absent = m.sample(4000, torch.full((4000,), 2), generator=Streams(0, 4000))  # nothing seen: everything
    assert torch.allclose(absent.mean(0), x.mean(0), atol=0.3)
    condition = torch.arange(4000) % 2
    given = m.sample(4000, condition, generator=Streams(0, 4000))
    for k in range(2):
        assert torch.allclose(given[condition == k].mean(0), x[y == k].mean(0), atol=0.2)


@pytest.mark.parametrize("make", [GMM, KDE])
def test_sample_i_is_the_same_in_any_batch(make):
    m = prepared(make(Continuous((1, 3, 4))), torch.randn(60, 1, 3, 4))
    samples = m.sample(10, generator=Streams(3, 10))
    assert torch.equal(m.sample(2, generator=Streams(3, 10)[4:6]), samples[4:6])


@pytest.mark.parametrize("make", [GMM, KDE])
def test_saved_and_loaded_it_is_the_same(make):
    x, y = two_bumps(100)
    m = prepared(make(Continuous((2,)), Discrete((), 2)), x, y)
    again = make(Continuous((2,)), Discrete((), 2))
    again.load_state_dict(m.state_dict())
    assert torch.equal(again.log_prob(x, y), m.log_prob(x, y))


@pytest.mark.parametrize("make", [GMM, KDE])
def test_few_items_and_constant_columns(make):
    for n in (1, 2, 7):
        x = torch.randn(n, 3)
        x[:, 1] = 5.0
        assert torch.isfinite(prepared(make(Continuous((3,))), x).log_prob(x)).all()


def test_kde_agrees_with_scipy_and_scikit_learn():
    x, _ = two_bumps(300, 1)
    queries = torch.linspace(-4, 8, 50)[:, None]
    spread = float(x.std(0, unbiased=False))
    m = prepared(KDE(Continuous((1,)), bandwidth=0.2), x)
    peer = gaussian_kde(x[:, 0].numpy(), bw_method=0.2 * spread / float(x.std(0, unbiased=True)))
    assert np.allclose(m.log_prob(queries), peer.logpdf(queries[:, 0].numpy()), atol=1e-3)
    other = KernelDensity(bandwidth=0.2 * spread).fit(x.numpy())
    assert np.allclose(m.log_prob(queries), other.score_samples(queries.numpy()), atol=1e-3)


def test_kde_bandwidth_maximises_the_leave_one_out_likelihood():
    x = torch.randn(40, 2, dtype=torch.float64)

    def left_out(h):
        distances = torch.cdist(x, x).square().fill_diagonal_(math.inf)
        return float((-0.5 * distances / h**2).logsumexp(1).mean()) - 2 * math.log(h)

    best, _ = choose_bandwidth(x, torch.ones(40, dtype=torch.float64))
    assert all(left_out(best) >= left_out(best * f) for f in (0.5, 0.8, 1.25, 2.0))


def test_kde_keeps_no_more_than_its_capacity():
    x, _ = two_bumps(100)
    m = prepared(KDE(Continuous((2,)), capacity=30), x)
    assert m.points.shape == (30, 2)
    assert int(m.counts) == 30
    few = prepared(KDE(Continuous((2,)), capacity=300), x)
    assert few.points.shape == (300, 2)
    assert int(few.counts) == 100
    samples = few.sample(5000, generator=Streams(0, 5000))
    assert float(samples.abs().max()) < float(x.abs().max()) + 6 * float((few.widths.max() * few.local).max())


def clusters(n, seed):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 0.01, (n, 2)), rng.normal(10, 0.01, (n, 2))])


def line(n, seed, noise=0.01):
    a, b = np.random.default_rng(seed).normal(size=(2, n))
    return np.stack([a, 0.7 * a + noise * b], 1)


def unequal(n, seed):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 1e-3, (n, 2)), rng.normal(0, 3, (n, 2))])


@pytest.mark.parametrize(
    ("draw", "truth", "gmm", "kde"),
    [
        (clusters, 5.68, 0.05, 0.1),
        (line, 1.767, 0.05, 0.5),
        (lambda n, seed: line(n, seed, 1e-3), 4.07, 0.05, 2.5),
        pytest.param(
            *(unequal, -2.838 - math.log(2) + 0.5 * (math.log(1e6) - math.log(9)), 0.1, 0.3), marks=pytest.mark.slow
        ),
    ],
    ids=["clusters", "line", "thin line", "unequal"],
)
def test_narrow_densities_are_found_by_default(draw, truth, gmm, kde):
    """The baselines of every comparison: scikit-learn's mixture with a small enough ridge reads `truth` too."""
    x, held = (torch.tensor(draw(700, seed), dtype=torch.float32) for seed in (0, 1))
    for make, slack in ((GMM, gmm), (KDE, kde)):
        found = prepared(make(Continuous((x.shape[1],))), x).log_prob(held)
        assert truth - slack < float(found.mean()) < truth + 0.15, make.name


@pytest.mark.slow
def test_heavy_tails_are_no_outliers():
    x, held = np.random.default_rng(0).standard_cauchy((2, 2000, 1))
    held = held[np.abs(held) < 100]
    truth = -np.log(math.pi * (1 + held**2)).mean()
    for make in (GMM, KDE):
        m = prepared(make(Continuous((1,))), torch.tensor(x, dtype=torch.float32))
        found = float(m.log_prob(torch.tensor(held, dtype=torch.float32)[:, None]).mean())
        assert found > truth - 0.15, make.name


@pytest.mark.parametrize(
    "spoil",
    [
        "5 % are -999",
        *(
            pytest.param(s, marks=pytest.mark.slow)
            for s in ("one 1e4", "nothing", "one 1e2", "five 1e6", "both columns")
        ),
    ],
)
def test_outliers_and_sentinels_do_not_spoil_the_density_of_the_others(spoil):
    z, held = np.random.default_rng(0).normal(size=(2, 1000, 2))
    if spoil.startswith("one"):
        z[5, 0] = float(spoil.split()[1])
    elif spoil.startswith("five"):
        z[100:105, 1] = 1e6
    elif spoil.startswith("5 %"):
        z[:50, 0] = -999.0
    elif spoil.startswith("both"):
        z[7], z[8, 1] = 3e3, -1e5
    lost = -math.log(0.95) if spoil.startswith("5 %") else 0.0
    for make in (GMM, KDE):
        m = prepared(make(Continuous((2,))), torch.tensor(z, dtype=torch.float32))
        found = float(m.log_prob(torch.tensor(held, dtype=torch.float32)).mean())
        assert found > -2.84 - lost - 0.13, make.name


def test_copies_do_not_draw_the_bandwidth_to_zero():
    x = torch.randn(200, 2)
    once = prepared(KDE(Continuous((2,))), x).log_prob(x[:50]).mean()
    often = prepared(KDE(Continuous((2,))), x.repeat(5, 1)).log_prob(x[:50]).mean()
    assert float(often) == pytest.approx(float(once), abs=0.3)


def test_what_they_cannot_do_is_said():
    for make in (GMM, KDE):
        with pytest.raises(Unsupported, match="one class number"):
            make(Continuous((2,)), Discrete((2,), 3))
    with pytest.raises(UsageError, match="covariance"):
        GMM(Continuous((2,)), covariance="tied")


def nearly_constant(n, seed, d=16):
    """Whole numbers as scans of digits hold them: clusters in some columns, others 0 but in one row of two hundred."""
    g = np.random.default_rng(seed)
    centre = np.random.default_rng(7).integers(2, 15, (4, d // 2))
    x = np.zeros((n, d))
    x[:, : d // 2] = centre[np.arange(n) % 4] + g.binomial(4, 0.5, (n, d // 2)) - 2
    x[:, d // 2 :] = (g.random((n, d // 2)) < 0.005) * g.integers(1, 4, (n, d // 2))
    x[range(d // 2), range(d // 2, d)] = 1.0  # none is constant: views leave such columns out
    return torch.from_numpy(x)


def test_a_rare_value_of_a_nearly_constant_column_is_no_catastrophe():
    train, new = nearly_constant(600, 0), nearly_constant(600, 1)
    log_p = GMM(Continuous((16,))).fit(train).log_prob(new, torch.zeros(16, dtype=torch.float64))
    odd = (new[:, 8:] > 0).any(1)
    assert 8 < int(odd.sum()) < 100
    assert float(log_p[odd].median()) > float(log_p[~odd].median()) - 60
    assert float(log_p.mean()) > float(log_p.median()) - 10


def test_copies_of_items_do_not_narrow_a_density():
    g = np.random.default_rng(0)
    x, new = torch.from_numpy(g.normal(size=(120, 3))), torch.from_numpy(g.normal(size=(500, 3)))
    copies = x[torch.from_numpy(g.integers(0, 120, 600))]
    none = torch.zeros(3, dtype=torch.float64)
    once = GMM(Continuous((3,))).fit(x).log_prob(new, none).mean()
    often = GMM(Continuous((3,))).fit(copies).log_prob(new, none).mean()
    assert often > once - 0.3
