"""The highest point of a function of few numbers by populations, which are evaluated at once.

Differential evolution (Storn and Price, 1997) of scipy, begun with the best of given draws: of several modes those that
are highest are searched.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.optimize import differential_evolution

MEMBERS, ROUNDS, CLOSE = (
    48,
    300,
    1e-8,
)  # of a population; populations, at most; spread of values at which it has arrived
WORST = 1e300  # in place of infinity, which has no mean


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
    best = draws[value(draws).argsort()[::-1][:MEMBERS]]
    room = np.ptp(draws, axis=0) + 1e-12
    bounds = np.stack([np.maximum(low, draws.min(0) - room), np.minimum(high, draws.max(0) + room)], 1)

    def depth(points: np.ndarray) -> np.ndarray:
        return np.nan_to_num(-value(points.T), nan=WORST, posinf=WORST, neginf=-WORST)

    found = differential_evolution(
        depth, bounds, init=best.clip(bounds[:, 0], bounds[:, 1]), vectorized=True, updating="deferred", polish=False,
        maxiter=ROUNDS, tol=CLOSE, rng=seed,
    )  # fmt: skip
    return np.asarray(found.x)
