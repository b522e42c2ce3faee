"""Simulators of the benchmark: moments that their formulas state, and data like that of the stored observations."""

import os
from pathlib import Path

import numpy as np
import pytest

from pofx.apps.prior import Prior
from pofx.data.simulators import TASKS, bernoulli_glm


@pytest.mark.parametrize("name", sorted(TASKS))
def test_data_are_finite_and_depend_on_the_parameters(name):
    task = TASKS[name]
    theta = Prior.of(task.prior).sample(20, 0)
    x = task.simulator(theta, np.random.default_rng(0))
    assert len(x) == 20
    assert np.isfinite(x).all()
    assert not np.allclose(x, task.simulator(theta[::-1], np.random.default_rng(0)))


def test_moments_of_the_formulas():
    rng, n = np.random.default_rng(0), 20_000
    theta = np.tile([0.7, -0.9, 1.1, -0.8, 0.5], (n, 1))
    x = TASKS["slcp"].simulator(theta, rng).reshape(n, 4, 2).reshape(-1, 2)
    assert np.allclose(x.mean(0), [0.7, -0.9], atol=0.02)
    assert np.allclose(x.std(0), [1.21, 0.64], atol=0.01)
    assert np.corrcoef(x.T)[0, 1] == pytest.approx(np.tanh(0.5), abs=0.01)
    moon = TASKS["two_moons"].simulator(np.zeros((n, 2)), rng) - [0.25, 0]
    assert np.linalg.norm(moon, axis=1).mean() == pytest.approx(0.1, abs=1e-3)
    assert (moon[:, 0] > -0.01).all()


def test_an_epidemic_without_recovery_reaches_everybody_and_populations_start_where_they_must():
    x = TASKS["sir"].simulator(np.array([[0.8, 1e-6]]), np.random.default_rng(0))
    assert x[0, -1] == 1000
    y = TASKS["lotka_volterra"].simulator(np.tile([[0.6, 0.04, 0.9, 0.04]], (50, 1)), np.random.default_rng(0))
    assert np.log(y[:, 0]).mean() == pytest.approx(np.log(30), abs=0.06)
    assert np.log(y[:, 10]).mean() == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.slow] if n in ("sir", "lotka_volterra") else [])
        for n in [*sorted(TASKS), "bernoulli_glm"]
    ],
)
def test_stored_observations_are_typical_of_their_parameters(name):
    folder = os.environ.get("POFX_DATA")
    if not folder or not (Path(folder) / "posteriors" / name).is_dir():
        pytest.skip("needs POFX_DATA with posteriors/")
    folder = Path(folder) / "posteriors" / name
    task = TASKS.get(name)
    if task is None:
        with np.load(folder / "design.npz") as file:
            task = bernoulli_glm(file["design_matrix"], file["stimulus_I"])
    for path in sorted(folder.glob("[0-9]*.npz")):
        with np.load(path) as file:
            theta, x = file["theta"].reshape(1, -1).astype(np.float64), file["x"].reshape(-1)
        made = task.simulator(np.repeat(theta, 200, 0), np.random.default_rng(0))
        low, high = made.min(0), made.max(0)
        reach = 0.5 * (high - low) + 1e-6
        assert made.shape[1] == len(x)
        assert ((x >= low - reach) & (x <= high + reach)).all()
