"""The next steps of a series as a ridge regression on its past, chosen on later windows than it is fitted to.

What is chosen: the penalty, what is subtracted of a window before (nothing, its mean, its last values), and for few
inputs the degree of a polynomial. With normal residuals this is the linear-Gaussian floor of forecasts (a vector
autoregression that predicts all steps at once); a generative model of the residuals given the past starts here.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

JOINT = 32  # numbers of a past up to which every channel sees all of it
CURVED = 9  # numbers of a past up to which polynomials are tried
PENALTIES = (1e8, 1e5, 3000.0, 300.0, 30.0, 1.0, 1e-3, 1e-6)  # the simplest first
CENTRES = ("last", "mean", "none")
SLACK = 0.005  # share of the error by which a simpler regression may be worse
RIDGE = 1e-3  # share of the diagonal that is added to a covariance


@dataclass(eq=False)
class LinearForecast:
    """Futures (n, block, d) from pasts (n, context, d) and covariates (n, k), all in standard units.

    Attributes:
        weights: per channel (inputs, block), or of all channels at once, (inputs, block · d).
        root: Cholesky factor of the covariance of the residuals, (block · d, block · d).
    """

    centre: str
    degree: int
    penalty: float
    shape: tuple[int, int]
    middle: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    root: np.ndarray

    @classmethod
    def fit(
        cls, past: np.ndarray, given: np.ndarray, future: np.ndarray, later: tuple[np.ndarray, np.ndarray, np.ndarray]
    ) -> "LinearForecast":
        """Fit to windows, choose by the later ones."""
        small = past[0].size <= CURVED
        tried: list[tuple[float, LinearForecast]] = []
        for degree in (1, 2, 3) if small else (1,):
            for centre in CENTRES if degree == 1 else ("none",):
                path = cls._path(past, given, future, centre, degree)
                tried += [(float(np.square(later[2] - made(later[0], later[1])).mean()), made) for made in path]
        least = min(error for error, _ in tried)  # the simplest of those as good: the first
        found = next(made for error, made in tried if error <= (1 + SLACK) * least)
        parts = [(future - found(past, given)), (later[2] - found(later[0], later[1]))]
        residuals = np.concatenate(parts).reshape(len(past) + len(later[0]), -1)
        covariance = residuals.T @ residuals / len(residuals)
        covariance += np.diag(RIDGE * np.diag(covariance) + 1e-12)
        found.root = np.linalg.cholesky(covariance)
        return found

    @classmethod
    def _path(
        cls, past: np.ndarray, given: np.ndarray, future: np.ndarray, centre: str, degree: int
    ) -> "list[LinearForecast]":
        """A regression per penalty."""
        n, block, d = future.shape
        goal = future - centred(past, centre)[1]
        inputs = [inputs_of(past, given, centre, degree, channel) for channel in range(channels_of(past))]
        middle, scale = np.stack([x.mean(0) for x in inputs]), np.stack([x.std(0) + 1e-6 for x in inputs])
        found, solved = [], []
        for j, x in enumerate(inputs):
            z = np.concatenate(((x - middle[j]) / scale[j], np.ones((n, 1))), 1)
            y = goal.reshape(n, -1) if len(inputs) == 1 and d > 1 else goal[:, :, j]
            values, vectors = np.linalg.eigh(z[:, :-1].T @ z[:, :-1])
            solved.append((values, vectors, vectors.T @ (z[:, :-1].T @ (y - y.mean(0))), y.mean(0)))
        for penalty in PENALTIES:
            rows = []
            for values, vectors, projected, mean in solved:
                slope = vectors @ (projected / (np.maximum(values, 0)[:, None] + penalty))
                rows.append(np.concatenate((slope, mean[None])))
            found.append(cls(centre, degree, penalty, (block, d), middle, scale, np.stack(rows), np.eye(block * d)))
        return found

    def __call__(self, past: np.ndarray, given: np.ndarray) -> np.ndarray:
        """The mean of the future: (n, block, d)."""
        block, d = self.shape
        parts = []
        for j, weights in enumerate(self.weights):
            x = (inputs_of(past, given, self.centre, self.degree, j) - self.middle[j]) / self.scale[j]
            parts.append(x @ weights[:-1] + weights[-1])
        joint = len(parts) == 1 and d > 1
        mean = parts[0].reshape(-1, block, d) if joint else np.stack(parts, 2)
        return np.asarray(mean + centred(past, self.centre)[1])

    def standard(self, future: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Futures as uncorrelated residuals of unit variance: (n, block · d)."""
        from scipy.linalg import solve_triangular

        residuals = (future - mean).reshape(len(future), -1)
        return np.asarray(solve_triangular(self.root, residuals.T, lower=True).T)

    def inverse(self, residuals: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """The futures of `standard`."""
        return mean + (residuals @ self.root.T).reshape(mean.shape)


def channels_of(past: np.ndarray) -> int:
    """How many regressions there are: one per channel, or one of all."""
    return 1 if past[0].size <= JOINT else past.shape[2]


def centred(past: np.ndarray, centre: str) -> tuple[np.ndarray, np.ndarray]:
    """A past without its level, and the level (n, 1, d)."""
    if centre == "last":
        level = past[:, -1:]
    else:
        level = past.mean(1, keepdims=True) if centre == "mean" else np.zeros_like(past[:, :1])
    return past - level, level


def inputs_of(past: np.ndarray, given: np.ndarray, centre: str, degree: int, channel: int) -> np.ndarray:
    """What a regression sees: (n, inputs)."""
    moved, level = centred(past, centre)
    if past[0].size <= JOINT:
        flat = (
            np.concatenate((moved.reshape(len(past), -1), level[:, 0]), 1)
            if centre != "none"
            else (moved.reshape(len(past), -1))
        )
        powers = [
            np.prod(flat[:, list(which)], 1)
            for k in range(2, degree + 1)
            for which in combinations_with_replacement(range(flat.shape[1]), k)
        ]
        return np.concatenate((flat, np.array(powers).T.reshape(len(past), -1), given), 1)
    return np.concatenate((moved[:, :, channel], past[:, -1], given), 1)
