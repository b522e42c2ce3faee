"""Draws from prior × likelihood by particles that move from the one to the product through tempered likelihoods.

Sequential Monte Carlo (Del Moral, Doucet and Jasra, 2006): the next temperature is where half of the particles are
effective, then they are resampled and moved by random-walk Metropolis steps with the spread of the particles
(Haario et al., 2001), until every particle has moved often.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import brentq
from scipy.special import logsumexp

MOVES = 10  # Metropolis steps at a temperature, three times as many at the last
MOST = 200  # temperatures


def tempered(
    draw: Callable[[int, int], np.ndarray],
    log_prior: Callable[[np.ndarray], np.ndarray],
    log_likelihood: Callable[[np.ndarray], np.ndarray],
    n: int,
    *,
    particles: int = 1_000,
    seed: int = 0,
) -> np.ndarray:
    """n draws float64 (n, d), correlated only weakly.

    Args:
        draw: from (number, seed) to draws of the prior.
        log_prior: (m, d) → (m,), -inf outside.
        log_likelihood: the same, of parameters inside.
    """
    rng = np.random.default_rng(seed)
    count = max(n, particles)
    theta = np.asarray(draw(count, seed), np.float64)
    prior, fit = log_prior(theta), log_likelihood(theta)
    beta = 0.0
    for _ in range(MOST):
        step = tempering_step(fit, 1.0 - beta)
        weights = np.exp(step * fit - logsumexp(step * fit))
        chosen = systematic(weights, rng)
        theta, prior, fit, beta = theta[chosen], prior[chosen], fit[chosen], beta + step
        last = beta > 1 - 1e-12
        for k in range(MOVES * (3 if last else 1)):
            root = _root(theta) * 2.38 / theta.shape[1] ** 0.5 * (0.3 if k % 3 == 2 else 1.0)
            moved = theta + rng.standard_normal(theta.shape) @ root.T
            there = log_prior(moved)
            inside = np.isfinite(there)
            found = np.full(len(theta), -np.inf)
            if inside.any():
                found[inside] = log_likelihood(moved[inside])
            gain = there + beta * np.where(inside, found, 0.0) - prior - beta * fit
            accepted = inside & (np.log(rng.random(len(theta))) < gain)
            theta[accepted], prior[accepted], fit[accepted] = moved[accepted], there[accepted], found[accepted]
        if last:
            break
    return theta[rng.permutation(len(theta))[:n]]


def tempering_step(fit: Float[np.ndarray, "n"], left: float) -> float:
    """The largest step of the temperature, at most `left`, after which half of the particles are effective."""

    def lacking(step: float) -> float:
        logs = step * fit
        return float(np.exp(2 * logsumexp(logs) - logsumexp(2 * logs)) / len(fit) - 0.5)

    if lacking(left) >= 0:
        return left
    return float(brentq(lacking, 0.0, left, xtol=1e-9))


def systematic(weights: Float[np.ndarray, "n"], rng: np.random.Generator) -> Int[np.ndarray, "n"]:
    """Systematic resampling: positions of the particles that go on."""
    at = (rng.random() + np.arange(len(weights))) / len(weights)
    return np.searchsorted(np.cumsum(weights), at).clip(max=len(weights) - 1)


def _root(theta: np.ndarray) -> np.ndarray:
    spread = np.atleast_2d(np.cov(theta.T))
    return np.linalg.cholesky(spread + np.eye(len(spread)) * (1e-9 * np.trace(spread) / len(spread) + 1e-15))
