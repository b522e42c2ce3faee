"""Laws of searches by populations: the top is found, within bounds, and of two the one that is higher."""

import numpy as np
import pytest

from pofx.maths.climbing import climbed

OPEN = np.full(5, np.inf)


def test_the_top_of_a_narrow_ridge():
    mix = np.random.default_rng(0).normal(size=(5, 5))
    precision, top = mix @ mix.T + 0.05 * np.eye(5), np.arange(5.0)
    draws = top + np.random.default_rng(1).normal(size=(1000, 5)) @ np.linalg.cholesky(np.linalg.inv(precision)).T
    found = climbed(lambda z: -0.5 * np.einsum("ni,ij,nj->n", z - top, precision, z - top), draws, -OPEN, OPEN)
    assert found == pytest.approx(top, abs=1e-3)


def test_bounds_and_places_without_value():
    draws = np.random.default_rng(1).uniform(0, 1, (500, 2))
    found = climbed(lambda z: np.where(z[:, 0] < 0.9, z.sum(1), -np.inf), draws, np.zeros(2), np.ones(2))
    assert found == pytest.approx([0.9, 1.0], abs=2e-3)


def test_the_higher_of_two_tops():
    draws = np.random.default_rng(2).normal(size=(1000, 1)) * 0.3 + np.repeat([-5.0, 5.0], 500)[:, None]

    def value(z):
        return np.logaddexp(-50 * (z[:, 0] - 5.1) ** 2 + 1, -0.5 * (z[:, 0] + 5) ** 2)

    assert climbed(value, draws, -OPEN[:1], OPEN[:1])[0] == pytest.approx(5.1, abs=0.01)
