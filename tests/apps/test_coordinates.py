"""Coordinates of simulations: invertible, bounded, with the right Jacobian; linear Gaussian problems become normal."""

import numpy as np
import pytest
from scipy import stats

from pofx.apps.coordinates import Coordinates, Scores, closed, opened
from pofx.core.errors import CorruptError

LOW, HIGH = np.array([-1.0, 0.0, -np.inf, -np.inf]), np.array([1.0, np.inf, 2.0, np.inf])


@pytest.fixture
def simulated():
    rng = np.random.default_rng(0)
    theta = np.stack(
        [rng.uniform(-1, 1, 400), rng.lognormal(0, 2, 400), 2 - rng.exponential(1, 400), rng.normal(0, 3, 400)], 1
    )
    return theta, theta @ rng.normal(size=(4, 6)) + 0.1 * rng.standard_normal((400, 6))


def test_they_are_inverted_within_bounds_and_near_their_ends(simulated):
    theta, x = simulated
    theta[:2, 0] = -1 + 1e-6, 1 - 1e-6
    made = Coordinates.fit(theta, x, list(zip(LOW, HIGH, strict=True)))
    z, _ = made.forward(theta, made.features(x))
    assert np.abs(z.mean(0)).max() < 1e-6
    assert np.abs(np.cov(z.T) - np.eye(4)).max() < 1e-4
    assert np.abs(made.back(z, made.features(x)) / theta - 1).max() < 1e-6
    far = closed(np.linspace(-300, 300, 9)[:, None].repeat(4, 1), LOW, HIGH)
    assert ((far > LOW) & (far < HIGH)).all()


def test_the_log_determinant_is_that_of_differences(simulated):
    theta, x = simulated
    made = Coordinates.fit(theta, x, list(zip(LOW, HIGH, strict=True)))
    features = made.features(x)
    jacobian = np.empty((len(theta), 4, 4))
    for i in range(4):
        step = np.zeros(4)
        step[i] = 1e-7
        jacobian[:, :, i] = (made.forward(theta + step, features)[0] - made.forward(theta - step, features)[0]) / 2e-7
    inner = (theta[:, 1] > 0.01) & (theta[:, 2] < 1.99)
    inner &= ((theta > made.ends[0]) & (theta < made.ends[1])).all(1)  # at the outermost simulations it has a bend
    gap = np.linalg.slogdet(jacobian)[1] - made.forward(theta, features)[1]
    assert np.abs(gap[inner]).max() < 1e-3


def test_between_bounds_it_is_a_line_but_near_the_ends():
    x = np.linspace(0.2, 0.8, 50)[:, None]
    z = opened(x, np.zeros(1), np.ones(1))[0]
    assert np.abs(z - x).max() < 2e-3


def test_scores_are_normal_whatever_the_tails_and_increase_everywhere():
    rng = np.random.default_rng(0)
    x = np.stack([rng.standard_cauchy(3_000), np.exp(5 * rng.standard_normal(3_000)), rng.poisson(0.3, 3_000)], 1)
    scores = Scores.fit(x)
    found = scores(x)
    assert max(stats.kstest(found[:, i], "norm").statistic for i in range(2)) < 0.01
    wide = np.sort(np.concatenate([x, 3 * x, x - 1e3, np.zeros((1, 3))]), 0)
    assert (np.diff(scores(wide), axis=0)[np.diff(wide, axis=0) > 1e-9] > 0).all()
    assert (Scores.fit(np.ones((30, 2)))(np.zeros((2, 2))) == 0).all()  # constant columns state nothing


def test_a_linear_gaussian_problem_becomes_standard_normal():
    rng = np.random.default_rng(0)
    theta = rng.standard_normal((4_000, 3))
    x = theta @ rng.normal(size=(3, 3)) + 0.3 * rng.standard_normal((4_000, 3))
    made = Coordinates.fit(theta[:2_000], x[:2_000], [(-np.inf, np.inf)] * 3)
    z, _ = made.forward(theta[2_000:], made.features(x[2_000:]))
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(z.T, x[2_000:].T)[:3, 3:]).max() < 0.1


def test_they_are_saved(simulated, tmp_path):
    theta, x = simulated
    for bounds in (list(zip(LOW, HIGH, strict=True)), None):
        made = Coordinates.fit(theta, x, bounds)
        made.save(tmp_path / "c.npz")
        again = Coordinates.load(tmp_path / "c.npz")
        for a, b in zip(again.forward(theta, again.features(x)), made.forward(theta, made.features(x)), strict=True):
            assert np.array_equal(a, b)
    (tmp_path / "c.npz").write_bytes(b"no")
    with pytest.raises(CorruptError):
        Coordinates.load(tmp_path / "c.npz")
