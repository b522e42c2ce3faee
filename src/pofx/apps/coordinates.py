"""Coordinates in which a conditional density is easy to learn: what a linear regression leaves, in units of its noise.

The numbers to condition on are standardised; those with a skew or long tails become normal scores by the quantiles of
the training simulations (van der Waerden, 1952). The numbers to model lose their bounds by a map that is linear but
near an end; then their ridge regression on those scores is subtracted and the rest is whitened. A linear Gaussian
problem is solved before a network is trained, and another one is begun from its best linear Gaussian answer.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.special import ndtr, ndtri
from sklearn.linear_model import RidgeCV

from pofx.core.errors import CorruptError
from pofx.data.arrays import write_arrays

KNOTS = 60  # quantiles of a column
SKEW, TAILS = 1.0, 3.0  # skewness and excess kurtosis up to which a column is standardised alone
EDGE = 0.05  # share of an interval over which its end is felt
NEAR = 0.02  # share of an interval: parameters this near to an end and nearer than all simulations are as the nearest
MOST = 400  # numbers of a condition that a regression may have
PENALTIES = tuple(10.0**k for k in range(-3, 5))


@dataclass(frozen=True, eq=False)
class Scores:
    """Flat numbers (n, k) → scores of mean 0 and variance 1, column by column, increasing everywhere.

    Attributes:
        knots: by column, increasing values; scores: those of the knots.
    """

    knots: tuple[np.ndarray, ...]
    scores: tuple[np.ndarray, ...]

    @classmethod
    def fit(cls, x: np.ndarray) -> Self:
        knots, scores = [], []
        for column in x.T:
            unit = (column - column.mean()) / max(column.std(), 1e-300)
            if column.std() > 0 and abs((unit**3).mean()) <= SKEW and (unit**4).mean() - 3 <= TAILS:
                knots.append(column.mean() + column.std() * np.array([-1.0, 1.0]))
                scores.append(np.array([-1.0, 1.0]))
                continue
            ordered = np.sort(column)
            end = ndtri(1 - 0.5 / len(ordered))
            at = np.unique((ndtr(np.linspace(-end, end, KNOTS)) * len(ordered) - 0.5).round().astype(int))
            values, first = np.unique(ordered[at], return_index=True)
            last = np.append(first[1:], len(at)) - 1  # of equal values the middle of their ranks
            middle = 0.5 * (at[first] + at[last])
            knots.append(values)
            scores.append(ndtri((middle + 0.5) / len(ordered)))
        return cls(tuple(knots), tuple(scores))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        columns = zip(x.T, self.knots, self.scores, strict=True)
        return np.stack([_along(*column) for column in columns], 1)


def continuous(x: np.ndarray) -> bool:
    """Whether nearly all values of every column (n, k) differ, so that it has a density."""
    return all(len(np.unique(column)) > 0.9 * len(column) for column in x.T)


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
        beyond = end + sign * np.exp((sign * z[:, one]).clip(-700, 700))
        least = np.nextafter(end, sign * np.inf)
        x[:, one] = np.maximum(beyond, least) if sign > 0 else np.minimum(beyond, least)
    return x


def _reached(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The ends of numbers (n, d) that lie between two bounds, and infinities elsewhere: (2, d)."""
    with np.errstate(invalid="ignore"):
        near = NEAR * (high - low)
        both = np.isfinite(low) & np.isfinite(high)
        first, last = x.min(0), x.max(0)
        return np.stack([np.where(both & (first - low < near), first, -np.inf),
                         np.where(both & (high - last < near), last, np.inf)])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Numbers (n, d) given others (n, k) ↔ whitened residuals (n, d).

    Attributes:
        low: bounds of the numbers, (d,); high: likewise.
        given: scores of the others.
        slope: (k, d) of the regression; shift: (d,).
        root: (d, d) lower triangular: residuals are `root` times coordinates.
        scores: of the numbers themselves, where they are data; None for parameters.
        ends: the least and the largest parameters of simulations where these are near an end, else the end: (2, d).
            Beyond them, where the map to the whole space is ever steeper, nothing was learned.
    """

    low: np.ndarray
    high: np.ndarray
    given: Scores
    slope: np.ndarray
    shift: np.ndarray
    root: np.ndarray
    scores: Scores | None = None
    ends: np.ndarray | None = None

    @classmethod
    def fit(cls, events: np.ndarray, given: np.ndarray, bounds: Sequence[tuple[float, float]] | None = None) -> Self:
        """Of simulations: events (n, d) and what they are conditioned on, (n, k).

        Args:
            bounds: of the events; None: they are data, and become scores.
        """
        scores, ends = Scores.fit(given), np.array(bounds or [(-np.inf, np.inf)] * events.shape[1], float).T
        own = Scores.fit(events) if bounds is None else None
        z, features = opened(events, *ends)[0] if own is None else own(events), scores(given)
        slope, shift = np.zeros((features.shape[1], z.shape[1])), z.mean(0)
        if features.shape[1] <= min(MOST, len(z) // 4):
            found = RidgeCV(PENALTIES, alpha_per_target=z.shape[1] > 1).fit(features, z)
            slope, shift = found.coef_.reshape(z.shape[1], -1).T, np.atleast_1d(found.intercept_)
        covariance = np.atleast_2d(np.cov((z - features @ slope - shift).T))
        least = 1e-6 * np.diag(covariance).clip(1e-12)
        root = np.linalg.cholesky(covariance + np.diag(least))
        return cls(ends[0], ends[1], scores, slope, shift, root, own, _reached(events, *ends) if own is None else None)

    def features(self, given: np.ndarray) -> np.ndarray:
        """What a model is conditioned on, (n, k)."""
        return self.given(given)

    def forward(self, events: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (n, d) of events under features (n, k), and log|det| (n,), of data without what depends on them
        alone."""
        if self.scores is None:
            near = events if self.ends is None else np.clip(events, *self.ends)
            z, ladj = opened(near, self.low, self.high)
        else:
            z, ladj = self.scores(events), np.zeros(len(events))
        rest = np.linalg.solve(self.root, (z - features @ self.slope - self.shift).T).T
        return rest, ladj - np.log(np.diag(self.root)).sum()

    def back(self, coordinates: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Parameters (n, d) of coordinates under features (n, k), strictly within their bounds."""
        z = coordinates.astype(np.float64) @ self.root.T + features @ self.slope + self.shift
        return closed(z, self.low, self.high)

    def save(self, path: Path) -> None:
        """Write the arrays into an .npz."""
        arrays = {"low": self.low, "high": self.high, "slope": self.slope, "shift": self.shift, "root": self.root}
        if self.ends is not None:
            arrays["ends"] = self.ends
        for name, scores in (("given", self.given), ("own", self.scores)):
            if scores is not None:
                arrays[f"{name}_lengths"] = np.array([len(k) for k in scores.knots])
                arrays[f"{name}_knots"] = np.concatenate(scores.knots)
                arrays[f"{name}_scores"] = np.concatenate(scores.scores)
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote.

        Raises:
            CorruptError: the file is damaged.
        """

        def scores(file: Any, name: str) -> Scores:
            cuts = file[f"{name}_lengths"].cumsum()[:-1]
            return Scores(*(tuple(np.split(file[f"{name}_{part}"], cuts)) for part in ("knots", "scores")))

        try:
            with np.load(path, allow_pickle=False) as file:
                own = scores(file, "own") if "own_knots" in file.files else None
                given, slope, shift, root = scores(file, "given"), file["slope"], file["shift"], file["root"]
                ends = file["ends"] if "ends" in file.files else None
                return cls(file["low"], file["high"], given, slope, shift, root, own, ends)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise CorruptError(f"{path} is missing or damaged ({error}): learn the posterior again") from error
