"""Laws of membership inference: known AUCs, true intervals, an overfit density is exposed and a broad one is not."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from pofx.core.errors import UsageError
from pofx.data.digits import load
from pofx.evaluate.metrics.membership import SamplesOnly, attack, calibrated, lira, nearness


def normal(n, seed, shift=0.0):
    return np.random.default_rng(seed).normal(size=n) + shift


def test_auc_equals_the_definition_and_its_interval_covers():
    a, b = normal(300, 0, 0.5), np.round(normal(200, 1), 1)
    truth = roc_auc_score(np.r_[np.ones(300), np.zeros(200)], np.r_[a, b])
    assert attack(a, b).auc == pytest.approx(truth, abs=1e-12)
    area = 0.6382  # P(N(½, 1) > N(0, 1)) = Φ(½ / √2)
    found = [attack(normal(80, s, 0.5), normal(90, 500 + s)) for s in range(200)]
    covered = np.mean([abs(f.auc - area) < 1.96 * f.stderr for f in found])
    assert 0.90 <= covered <= 0.98
    assert 0.02 < np.mean([f.p < 0.05 for f in [attack(normal(80, s), normal(90, 900 + s)) for s in range(200)]]) < 0.1


def test_rates_at_few_false_positives_have_exact_intervals():
    found = attack(np.arange(100.0) + 1000, np.arange(100.0))
    assert found.tpr == 1 and found.high == 1 and found.low == pytest.approx(0.9638, abs=1e-3)
    assert attack(normal(1000, 0), normal(1000, 1)).tpr < 0.03
    with pytest.raises(UsageError, match="at least 2"):
        attack(np.zeros(1), np.zeros(5))


@pytest.fixture(scope="module")
def halves():
    data = load(0)
    values = np.concatenate([s.values for s in data.splits().values()]).reshape(1797, -1) / 16
    values = values + np.random.default_rng(0).uniform(0, 1 / 16, values.shape)
    order = np.random.default_rng(1).permutation(1797)
    return values[order[:400]], values[order[400:800]], values[order[800:]]


def test_an_overfit_kde_is_exposed_and_a_regular_mixture_is_not(halves):
    members, others, rest = halves
    sharp = KernelDensity(bandwidth=0.1).fit(members)
    assert attack(sharp.score_samples(members), sharp.score_samples(others)).auc >= 0.95
    broad = GaussianMixture(5, covariance_type="diag", reg_covar=0.05, random_state=0).fit(members)
    assert attack(broad.score_samples(members), broad.score_samples(others)).auc <= 0.6
    samples = members[:200] + 0.01 * np.random.default_rng(3).normal(size=(200, 64))
    read = SamplesOnly().read(samples, np.concatenate((others, rest)), members)
    assert read.values["mia_samples"] > 0.6 and read.extra["mia_samples"]["p"] < 1e-4
    fresh = SamplesOnly().read(rest[:200], np.concatenate((others, rest[200:])), members)
    assert fresh.extra["mia_samples"]["p"] > 0.001


def test_knowing_what_is_likely_anyway_makes_attacks_stronger(halves):
    members, others, rest = halves
    both = np.concatenate((members, others))

    def fit(items, seed):
        return GaussianMixture(10, covariance_type="diag", reg_covar=0.01, random_state=seed).fit(items)

    own = fit(members, 0).score_samples(both)
    out = np.stack(
        [fit(rest[np.random.default_rng(s).permutation(len(rest))[:400]], s).score_samples(both) for s in range(6)]
    )
    plain = attack(own[:400], own[400:]).auc
    better = calibrated(own, out.mean(0))
    assert attack(better[:400], better[400:]).auc > plain
    scored = lira(own, out)
    assert attack(scored[:400], scored[400:]).auc > plain
    with pytest.raises(UsageError, match="at least 4"):
        lira(own, out[:2])


def test_nearness_is_largest_for_copied_items():
    real = np.random.default_rng(0).normal(size=(50, 3))
    items = np.random.default_rng(1).normal(size=(20, 3))
    near = nearness(items, items[:5] + 1e-3, real)
    assert near[:5].min() > near[5:].max()
