"""Scores of ensembles: closed forms for normals, propriety, and what is missing."""

import numpy as np
import pytest
from scipy.special import gamma
from scipy.stats import norm

from pofx.maths.proper_scores import covered, crps, energy_score, quantile_loss, ranks, variogram_score

G = np.random.default_rng(0)
X = G.normal(size=(20_000, 1))


@pytest.mark.parametrize("y", [-1.5, 0.0, 0.7])
def test_crps_and_energy_score_of_a_normal(y):
    exact = y * (2 * norm.cdf(y) - 1) + 2 * norm.pdf(y) - 1 / np.sqrt(np.pi)
    assert crps(X, np.array([y]))[0] == pytest.approx(exact, abs=0.02)
    few = X[:3000]
    assert energy_score(few, np.array([y])) == pytest.approx(crps(few, np.array([y]))[0], abs=1e-6)


def test_crps_of_few_members_has_no_bias():
    x = G.normal(size=(5, 40_000))
    assert crps(x, np.zeros(40_000)).mean() == pytest.approx(2 * norm.pdf(0) - 1 / np.sqrt(np.pi), abs=0.01)


def test_energy_score_of_a_normal_in_three_dimensions():
    x = G.normal(size=(3000, 3))
    chi = np.sqrt(2) * gamma(2) / gamma(1.5)
    assert energy_score(x, np.zeros(3)) == pytest.approx(chi - chi * np.sqrt(2) / 2, abs=0.03)


def test_variogram_score_of_a_normal():
    x = G.normal(size=(20_000, 2)) * [1, 2]
    expected = 5**0.25 * 2**0.25 * gamma(0.75) / np.sqrt(np.pi)  # E|N(0, 5)|^½
    assert variogram_score(x, np.array([0.0, 4.0])) == pytest.approx((2 - expected) ** 2, abs=0.01)


def test_quantile_loss_is_the_crps_over_the_size():
    y = np.full(1, 1.0)
    assert quantile_loss(X, y) == pytest.approx(crps(X, y)[0], rel=0.1)  # 19 quantiles of all


def test_dependence_is_seen_by_energy_and_variogram_alone():
    together = G.normal(size=(300, 100, 1)) * np.ones(4)
    alone = G.normal(size=(300, 100, 4))
    for name, score in {"energy": energy_score, "variogram": variogram_score}.items():
        right, wrong = (np.mean([score(x, t[0]) for x, t in zip(e, together, strict=True)]) for e in (together, alone))
        assert right < wrong, name
    y = together[:, 0]
    assert np.mean([crps(x, t) for x, t in zip(together, y, strict=True)]) == pytest.approx(
        np.mean([crps(x, t) for x, t in zip(alone, y, strict=True)]), abs=0.05
    )


def test_ranks_and_coverage_of_the_truth_itself():
    x, y = G.normal(size=(99, 5000)), G.normal(size=5000)
    p = ranks(x, y)
    assert np.abs(np.sort(p) - (np.arange(5000) + 0.5) / 5000).max() < 0.03
    assert covered(x, y, 0.9).mean() == pytest.approx(0.9, abs=0.02)
    assert covered(2 * x, y, 0.5).mean() > 0.7


def test_a_nan_never_improves_a_score():
    x, y = G.normal(size=(50, 4)), np.array([0.0, 9.0, 0.0, 0.0])
    broken = x.copy()
    broken[0, 1] = np.nan  # where the forecast is worst
    assert crps(broken, y)[1] == np.inf and np.isfinite(crps(broken, y)[[0, 2, 3]]).all()
    for score in (energy_score, variogram_score, quantile_loss):
        assert score(broken, y) == np.inf > score(x, y)
    assert not covered(broken, y, 0.9)[1] and np.isnan(ranks(broken, y)[1])
    unknown = np.array([0.0, np.nan, 0.0, 0.0])
    assert np.isnan(crps(broken, unknown)[1]) and np.isfinite(energy_score(broken, unknown))
