"""Coordinates in which a conditional density is easy to learn: what a linear regression leaves, in units of its noise.

The numbers to condition on become normal scores by the quantiles of the training simulations, whatever their tails and
scales (van der Waerden, 1952). The numbers to model lose their bounds by a map that is linear but near an end; then
their ridge regression on those scores is subtracted and the rest is whitened. A linear Gaussian problem is solved
before a network is trained, and another one is begun from its best linear Gaussian answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import ndtri
from sklearn.linear_model import RidgeCV

KNOTS = 200  # quantiles of a column
EDGE = 0.05  # share of an interval over which its end is felt
MOST = 400  # numbers of a condition that a regression may have
PENALTIES = tuple(10.0**k for k in range(-3, 5))


@dataclass(frozen=True, eq=False)
class Scores:
    """Flat numbers (n, k) → normal scores, column by column, increasing everywhere.

    Attributes:
        knots: by column, increasing values; scores: those of the knots.
    """

    knots: tuple[np.ndarray, ...]
    scores: tuple[np.ndarray, ...]

    @classmethod
    def fit(cls, x: np.ndarray) -> Self:
        knots, scores = [], []
        for column in x.T:
            ordered = np.sort(column)
            at = np.unique(np.linspace(0, len(ordered) - 1, min(KNOTS, len(ordered))).round().astype(int))
            values, first = np.unique(ordered[at], return_index=True)
            last = np.append(first[1:], len(at)) - 1  # of equal values the middle of their ranks
            middle = 0.5 * (at[first] + at[last])
            knots.append(values)
            scores.append(ndtri((middle + 0.5) / len(ordered)))
        return cls(tuple(knots), tuple(scores))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.stack([_along(x[:, i], k, s) for i, (k, s) in enumerate(zip(self.knots, self.scores, strict=True))], 1)


def _along(x: np.ndarray, knots: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Linear between knots; beyond them on with the slope of the last tenth of the scores."""
    if len(knots) == 1:
        return np.zeros(len(x))
    found = np.interp(x, knots, scores)
    for end, inner in ((0, max(1, len(knots) // 20)), (-1, -1 - max(1, len(knots) // 20))):
        slope = (scores[end] - scores[inner]) / (knots[end] - knots[inner])
        beyond = x < knots[0] if end == 0 else x > knots[-1]
        found = np.where(beyond, scores[end] + slope * (x - knots[end]), found)
    return found


def opened(x: np.ndarray, low: np.ndarray, high: np.ndarray, edge: float = EDGE) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (n, d) strictly within their bounds → the whole space, and the logarithm of the slopes, summed: (n,).

    Between two bounds u = (x - low) / (high - low) goes to edge · log((e^(u/edge) - 1) / (1 - e^((u-1)/edge))): a line
    of slope 1 with exponential ends. From one bound on it is a logarithm.
    """
    z, log_slope = x.astype(np.float64).copy(), np.zeros(x.shape)
    both = np.isfinite(low) & np.isfinite(high)
    with np.errstate(divide="ignore", over="ignore"):
        width = (high - low)[both]
        u = ((x[:, both] - low[both]) / width).clip(1e-9, 1 - 1e-9)
        far = (u - 1) / edge
        z[:, both] = u + edge * (np.log(-np.expm1(-u / edge)) - np.log(-np.expm1(far)))
        log_slope[:, both] = np.log(1 / -np.expm1(-u / edge) + np.exp(far) / -np.expm1(far)) - np.log(width)
        for one, sign in ((np.isfinite(low) & ~both, 1.0), (np.isfinite(high) & ~both, -1.0)):
            end = (low if sign > 0 else high)[one]
            gap = (sign * (x[:, one] - end)).clip(1e-300)
            z[:, one], log_slope[:, one] = sign * np.log(gap), -np.log(gap)
    return z, log_slope.sum(1)


def closed(z: np.ndarray, low: np.ndarray, high: np.ndarray, edge: float = EDGE) -> np.ndarray:
    """The inverse of `opened`, strictly within the bounds."""
    x = z.astype(np.float64).copy()
    both = np.isfinite(low) & np.isfinite(high)
    inner = z[:, both]
    u = edge * (np.logaddexp(0, inner / edge) - np.logaddexp(0, (inner - 1) / edge))
    x[:, both] = low[both] + (high - low)[both] * u.clip(1e-9, 1 - 1e-9)
    for one, sign in ((np.isfinite(low) & ~both, 1.0), (np.isfinite(high) & ~both, -1.0)):
        end = (low if sign > 0 else high)[one]
        x[:, one] = end + sign * np.exp((sign * z[:, one]).clip(-700, 700))
    return x


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Numbers (n, d) given others (n, k) ↔ whitened residuals (n, d).

    Attributes:
        low, high: bounds of the numbers, (d,).
        given: scores of the others.
        slope: (k, d) and shift: (d,), of the regression.
        root: (d, d) lower triangular: residuals are `root` times coordinates.
    """

    low: np.ndarray
    high: np.ndarray
    given: Scores
    slope: np.ndarray
    shift: np.ndarray
    root: np.ndarray

    @classmethod
    def fit(cls, events: np.ndarray, given: np.ndarray, bounds: Sequence[tuple[float, float]] | None = None) -> Self:
        ends = np.array(bounds if bounds is not None else [(-np.inf, np.inf)] * events.shape[1], float).T
        scores = Scores.fit(given)
        z, features = opened(events, *ends)[0], scores(given)
        slope, shift = np.zeros((features.shape[1], z.shape[1])), z.mean(0)
        if features.shape[1] <= min(MOST, len(z) // 4):
            found = RidgeCV(PENALTIES, alpha_per_target=z.shape[1] > 1).fit(features, z)
            slope, shift = found.coef_.reshape(z.shape[1], -1).T, np.atleast_1d(found.intercept_)
        rest = z - features @ slope - shift
        covariance = np.atleast_2d(np.cov(rest.T))
        tiny = 1e-6 * np.diag(covariance).clip(1e-24)
        return cls(ends[0], ends[1], scores, slope, shift, np.linalg.cholesky(covariance + np.diag(tiny)))

    def forward(self, events: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates (n, d), the features of the condition (n, k), and log|det| (n,)."""
        z, ladj = opened(events, self.low, self.high)
        features = self.given(given)
        rest = np.linalg.solve(self.root, (z - features @ self.slope - self.shift).T).T
        return rest, features, ladj - np.log(np.diag(self.root)).sum()

    def back(self, coordinates: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Numbers of coordinates (n, d) under features (n, k)."""
        z = coordinates.astype(np.float64) @ self.root.T + features @ self.slope + self.shift
        return closed(z, self.low, self.high)
