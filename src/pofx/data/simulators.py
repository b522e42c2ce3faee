"""Simulators with known reference posteriors: the tasks of the benchmark of Lueckmann et al. (2021, arXiv 2101.04653).

Written from their formulas. Each has a prior, as `pofx.infer` takes it, and a vectorised simulator (n, d), Generator →
(n, …).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.integrate import solve_ivp

Simulator = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Task:
    """A prior over parameters and the simulator of data from them."""

    prior: Any
    simulator: Simulator


def _uniform(d: int, reach: float) -> dict[str, Any]:
    return {f"θ{i + 1}": f"uniform({-reach}, {reach})" for i in range(d)}


def two_moons(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A crescent, moved by the parameters so that two of them explain each point."""
    a = rng.uniform(-np.pi / 2, np.pi / 2, len(theta))
    r = rng.normal(0.1, 0.01, len(theta))
    moon = np.stack([r * np.cos(a) + 0.25, r * np.sin(a)], 1)
    moved = np.stack([-np.abs(theta.sum(1)), theta[:, 1] - theta[:, 0]], 1) / np.sqrt(2)
    return moon + moved


def gaussian_linear(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The parameters with normal noise of variance 0.1."""
    return theta + np.sqrt(0.1) * rng.standard_normal(theta.shape)


def gaussian_mixture(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The parameters with noise of standard deviation 1 or 0.1, each half of the time."""
    spread = np.where(rng.random(len(theta)) < 0.5, 1.0, 0.1)
    return theta + spread[:, None] * rng.standard_normal(theta.shape)


def slcp(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Four points of a normal whose mean and covariance are simple in the parameters: a complex posterior."""
    first, second, rho = theta[:, 2] ** 2, theta[:, 3] ** 2, np.tanh(theta[:, 4])
    e = rng.standard_normal((len(theta), 4, 2))
    x = theta[:, None, 0] + first[:, None] * e[..., 0]
    y = theta[:, None, 1] + second[:, None] * (rho[:, None] * e[..., 0] + np.sqrt(1 - rho**2)[:, None] * e[..., 1])
    return np.stack([x, y], 2).reshape(len(theta), 8)


def sir(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An epidemic among 10⁶ people: at ten days, the infected among 1,000 people."""
    people, days = 1e6, np.arange(0, 170, 17.0)

    def infected(beta: float, gamma: float) -> np.ndarray:
        def slope(_: float, y: np.ndarray) -> list[float]:
            new = beta * y[0] * y[1] / people
            return [-new, new - gamma * y[1]]

        solved = solve_ivp(slope, (0, 160), [people - 1, 1], t_eval=days[days <= 160], rtol=1e-6, atol=1e-3)
        return np.asarray(solved.y[1])

    shares = np.stack([infected(*one) for one in theta]) / people
    return rng.binomial(1000, shares.clip(0, 1)).astype(np.float64)


def lotka_volterra(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Prey and predators at ten times, prey first, with lognormal noise."""
    times = np.arange(0, 20, 2.1)[:10]

    def populations(a: float, b: float, c: float, d: float) -> np.ndarray:
        def slope(_: float, y: np.ndarray) -> list[float]:
            return [a * y[0] - b * y[0] * y[1], -c * y[1] + d * y[0] * y[1]]

        solved = solve_ivp(slope, (0, 20), [30.0, 1.0], t_eval=times, rtol=1e-6, atol=1e-6, method="LSODA")
        return np.asarray(solved.y).reshape(-1) if solved.success else np.full(20, np.nan)

    clean = np.stack([populations(*one) for one in theta]).clip(1e-10)
    return clean * np.exp(0.1 * rng.standard_normal(clean.shape))


TASKS = {
    "two_moons": Task(_uniform(2, 1), two_moons),
    "gaussian_linear": Task({f"θ{i + 1}": stats.norm(0, np.sqrt(0.1)) for i in range(10)}, gaussian_linear),
    "gaussian_linear_uniform": Task(_uniform(10, 1), gaussian_linear),
    "gaussian_mixture": Task(_uniform(2, 10), gaussian_mixture),
    "slcp": Task(_uniform(5, 3), slcp),
    "sir": Task({"β": stats.lognorm(0.5, scale=0.4), "γ": stats.lognorm(0.2, scale=0.125)}, sir),
    "lotka_volterra": Task(
        {name: stats.lognorm(0.5, scale=np.exp(mean)) for name, mean in zip("αβγδ", (-0.125, -3, -0.125, -3),
                                                                            strict=True)},
        lotka_volterra,
    ),
}  # fmt: skip


def bernoulli_glm(design: np.ndarray, stimulus: np.ndarray) -> Task:
    """Spikes of a neuron with ten parameters, summarised; `design` (100, 10) and `stimulus` (100,) are the task's."""
    d = np.eye(9) - np.eye(9, k=-1)
    root = d @ d + np.diag(np.sqrt(np.arange(9) / 9))
    precision = np.zeros((10, 10))
    precision[0, 0], precision[1:, 1:] = 0.5, root.T @ root
    import torch

    mean = torch.zeros(10, dtype=torch.float64)
    prior = torch.distributions.MultivariateNormal(mean, precision_matrix=torch.from_numpy(precision))

    def simulator(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        y = (rng.random((len(theta), len(design))) < 1 / (1 + np.exp(-theta @ design.T))).astype(np.float64)
        padded = np.concatenate([np.zeros((len(y), 8)), y, np.zeros((len(y), 8))], 1)
        lags = np.stack([padded[:, k : k + len(stimulus)] @ stimulus for k in range(8, 17)], 1)
        return np.concatenate([y.sum(1, keepdims=True), lags], 1)

    return Task(prior, simulator)
