"""Clipped density and coverage: the share of good samples, and the share of the data that they cover.

Density and coverage after Naeem et al. (2020, arXiv 2002.09797), mended as by Salvy, Talbot and Thirion (2025, arXiv
2507.01761): no ball reaches farther than the median one, so that an outlier does not vouch for junk; a sample or ball
counts at most once; the density is divided by what real items score among themselves, and coverage is turned into the
share of good samples that would be expected to reach it. Both read 1 at equality at any n, and 0.5 for half junk.
"""

from functools import lru_cache
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy.special import betaln, gammaln

from pofx.core.errors import UsageError
from pofx.evaluate.distances import crowding, overlap
from pofx.evaluate.measurement import halved
from pofx.evaluate.metric import FeatureMetric, ScoreInfo

K = 5
SPLITS = 12  # of the standard error


@lru_cache(maxsize=64)
def expected_coverage(good: int, real: int, k: int) -> float:
    """What unturned coverage reads on average with `good` samples of the real distribution: E min(hits, k) / k.

    The mass of a ball that reaches to the k-th of the real - 1 other items is Beta(k, real - k).
    """
    j, b = np.arange(k), max(real - k, 1)  # beta-binomial probabilities, 20 times faster than scipy's object
    choices = gammaln(good + 1) - gammaln(j + 1) - gammaln(np.maximum(good - j, 0) + 1)
    below = np.where(j <= good, np.exp(choices + betaln(j + k, good - np.minimum(j, good) + b) - betaln(k, b)), 0)
    return float(1 - (below * (1 - np.arange(k) / k)).sum())


def share_of(coverage: float, samples: int, real: int, k: int) -> float:
    """The share of good samples at which `expected_coverage` is `coverage`: bisection, then between two counts."""
    low, high = 0, 4 * samples
    if coverage <= 0:
        return 0.0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if expected_coverage(middle, real, k) < coverage else (low, middle)
    a, b = expected_coverage(low, real, k), expected_coverage(high, real, k)
    return (low + (coverage - a) / max(b - a, 1e-12)) / samples


def clipped_scores(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], k: int = K) -> tuple[float, float]:
    """Clipped density and coverage of samples x (n, d) against real items y (m, d); about 1 at equality, or above.

    Raises:
        UsageError: a side has k items or fewer.
    """
    if min(len(x), len(y)) <= k:
        raise UsageError(f"k = {k} neighbours need more than {k} items on each side (got {len(x)} and {len(y)})")
    found = overlap(x, y, k)
    density = np.minimum(found.clipped / k, 1).mean() / max(np.minimum(crowding(y, k) / k, 1).mean(), 1e-12)
    covered = float(np.minimum(found.hits / k, 1).mean())
    return float(density), float(share_of(covered, len(x), len(y), k))


class Clipped(FeatureMetric):
    """`clipped_density` and `clipped_coverage`: calibrated shares of good samples and of covered data."""

    scores: ClassVar = {
        "clipped_density": ScoreInfo(
            "higher",
            "Clipped density",
            "share of samples that lie among real items",
            "samples",
            plane=("Clipped density and coverage", "fidelity"),
        ),
        "clipped_coverage": ScoreInfo(
            "higher",
            "Clipped coverage",
            "share of the data that samples cover",
            "samples",
            plane=("Clipped density and coverage", "diversity"),
        ),
    }
    source: ClassVar = "Salvy et al., 2025, arXiv 2507.01761"
    halves: ClassVar = 0

    def values(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return {name: min(value, 1.0) for name, value in self._shares(x, y).items()}

    def errors(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        """Those of the shares before they are cut at 1: two halves that both read 1 do not make a number certain."""
        return halved(self._shares, [(x, y)], SPLITS, seed)

    def _shares(self, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        density, coverage = clipped_scores(x, y, min(K, len(x) - 1, len(y) - 1))
        return {"clipped_density": density, "clipped_coverage": coverage}
