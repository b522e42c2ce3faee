"""Proper scores of an ensemble against what happened, and its calibration. Lower is better for every score.

CRPS (Matheson and Winkler, 1976), energy score (Gneiting and Raftery, 2007), variogram score (Scheuerer and Hamill,
2015), and the weighted quantile loss of the sum of all series (Salinas et al., 2019, arXiv 1910.03002). An ensemble
with a NaN scores inf: what was not forecast is never better than what was. A truth that is NaN is not scored.
"""

import numpy as np
from jaxtyping import Bool, Float

QUANTILES = tuple(np.arange(1, 20) / 20)


def crps(x: Float[np.ndarray, "m *event"], y: Float[np.ndarray, "*event"]) -> Float[np.ndarray, "*event"]:
    """E|X - y| - E|X - X'| / 2 of each value, X and X' being different members; NaN where the truth is unknown."""
    m = len(x)
    ordered = np.sort(x, 0)
    factor = (2 * np.arange(1, m + 1) - m - 1).reshape(-1, *[1] * y.ndim)
    spread = (factor * ordered).sum(0) / (m * max(m - 1, 1))
    return _refused(np.abs(x - y).mean(0) - spread, np.isnan(x).any(0), np.isnan(y))


def energy_score(x: Float[np.ndarray, "m d"], y: Float[np.ndarray, "d"]) -> float:
    """E‖X - y‖ - E‖X - X'‖ / 2 over the known values: it sees dependence, CRPS does not."""
    known = ~np.isnan(y)
    if not known.any():
        return float("nan")
    x, y, m = x[:, known], y[known], len(x)
    if np.isnan(x).any():
        return float("inf")
    squares = (x**2).sum(1)
    between = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0))
    np.fill_diagonal(between, 0.0)
    return float(np.linalg.norm(x - y, axis=1).mean() - between.sum() / (2 * m * max(m - 1, 1)))


def variogram_score(x: Float[np.ndarray, "m d"], y: Float[np.ndarray, "d"], power: float = 0.5) -> float:
    """Mean over pairs of (|y_i - y_j|^p - E|X_i - X_j|^p)²: what the energy score hardly sees of dependence."""
    known = ~np.isnan(y)
    x, y = x[:, known], y[known]
    if len(y) < 2:
        return float("nan")
    if np.isnan(x).any():
        return float("inf")
    i, j = np.triu_indices(len(y), 1)
    parts = np.array_split(np.arange(len(i)), max(1, len(x) * len(i) // 10_000_000))
    errors = [
        (np.abs(y[i[p]] - y[j[p]]) ** power - (np.abs(x[:, i[p]] - x[:, j[p]]) ** power).mean(0)) ** 2 for p in parts
    ]
    return float(np.concatenate(errors).mean())


def quantile_loss(x: Float[np.ndarray, "m *event"], y: Float[np.ndarray, "*event"]) -> float:
    """Mean over 19 quantiles of 2 Σ loss / Σ |y|: of sums over series it is the CRPS-sum of the literature."""
    known = ~np.isnan(y)
    x, y = x[:, known], y[known]
    if np.isnan(x).any():
        return float("inf")
    q = np.quantile(x, QUANTILES, axis=0)
    level = np.array(QUANTILES).reshape(-1, 1)
    loss = 2 * np.where(y >= q, level * (y - q), (1 - level) * (q - y)).sum(1)
    return float(loss.mean() / max(np.abs(y).sum(), 1e-300))


def ranks(
    x: Float[np.ndarray, "m *event"], y: Float[np.ndarray, "*event"], seed: int = 0
) -> Float[np.ndarray, "*event"]:
    """The probability integral transform: the share of the ensemble below the truth, uniform if it is calibrated.

    Ties are broken at random; NaN where the truth or a member is unknown.
    """
    g = np.random.default_rng(seed)
    below, equal = (x < y).sum(0), (x == y).sum(0)
    found = (below + g.uniform(size=y.shape) * (equal + 1)) / (len(x) + 1)
    return np.where(np.isnan(y) | np.isnan(x).any(0), np.nan, found)


def covered(
    x: Float[np.ndarray, "m *event"], y: Float[np.ndarray, "*event"], level: float
) -> Bool[np.ndarray, "*event"]:
    """Whether the central interval of this level holds the truth; an ensemble with a NaN holds none."""
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(x, ((1 - level) / 2, (1 + level) / 2), axis=0, method="weibull")  # unbiased
        return np.asarray((low <= y) & (y <= high))


def _refused(
    score: Float[np.ndarray, "*event"], broken: Bool[np.ndarray, "*event"], unknown: Bool[np.ndarray, "*event"]
) -> Float[np.ndarray, "*event"]:
    return np.where(unknown, np.nan, np.where(broken, np.inf, score))
