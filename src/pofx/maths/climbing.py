"""The highest point of a function of few numbers by populations, which are evaluated at once.

The cross-entropy method (Rubinstein, 1999, "The cross-entropy method for combinatorial and continuous optimization"):
normals are fitted to the best of each population, and the next one is drawn from them.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

ROUNDS, MEMBERS, BEST, NEAR = 60, 256, 40, 200  # populations, their members, those that are fitted; draws of the first
DONE = 1e-5  # spread of a population, in that of the draws, below which it has arrived


def climbed(
    value: Callable[[np.ndarray], np.ndarray],
    draws: Float[np.ndarray, "n d"],
    low: Float[np.ndarray, "d"],
    high: Float[np.ndarray, "d"],
    seed: int = 0,
) -> Float[np.ndarray, "d"]:
    """The best point found (d,), within bounds.

    Args:
        value: of points (m, d): (m,), -inf where there is none.
        draws: points among which the search begins, spread as wide as what is searched.
    """
    rng, d = np.random.default_rng([seed, 19]), draws.shape[1]
    unit = draws.std(0) + 1e-300
    found = value(draws)
    best, top = draws[found.argmax()], found.max()
    near = draws[np.square((draws - best) / unit).sum(1).argsort()[:NEAR]]  # of one mode, where there are several
    centre, root = best, np.diag(near.std(0) / unit + 1e-12)
    for _ in range(ROUNDS):
        points = (centre + rng.normal(size=(MEMBERS, d)) @ root.T * unit).clip(low, high)
        points[0] = best
        found = value(points)
        order = found.argsort()[::-1][:BEST]
        if found[order[0]] > top:
            best, top = points[order[0]], found[order[0]]
        chosen = points[order]
        centre = 0.5 * (chosen.mean(0) + best)  # at an edge the best has all others on one side
        covariance = np.atleast_2d(np.cov(((chosen - centre) / unit).T))
        if not np.sqrt(np.trace(covariance)) > DONE:
            break
        root = 1.15 * np.linalg.cholesky(covariance + 1e-9 * np.trace(covariance) * np.eye(d))
    return np.asarray(best)
