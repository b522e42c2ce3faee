"""Is a conditional distribution calibrated? Ranks, expected coverage of regions, and a test with random references.

Simulation-based calibration (Talts et al., 2018, arXiv 1804.06788): the rank of the true value among posterior draws is
uniform. TARP (Lemos et al., 2023, arXiv 2302.03026): the share of draws nearer to a random point than the true value is
uniform too, if and only if the posterior is right. Expected coverage (Hermans et al., 2022, arXiv 2110.06581): regions
of highest density hold the true value as often as they claim.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest, chisquare, kstest, kstwo

LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Calibration:
    """What a check of n simulated cases found.

    Attributes:
        ranks: int (n, d), of the true values among `draws` draws.
        sbc: p-value of uniform ranks by dimension.
        tarp: largest distance of the coverage of random regions from its claim.
        tarp_noise: its 95 % quantile for a calibrated posterior at this n.
        coverage: by level, the share of true values inside the region of highest density, with a 95 % interval.
    """

    n: int
    draws: int
    ranks: np.ndarray
    sbc: tuple[float, ...]
    tarp: float
    tarp_noise: float
    coverage: dict[float, tuple[float, float, float]]

    @property
    def sound(self) -> bool:
        """Nothing found: ranks uniform at 1 % after Bonferroni, TARP within its noise or 0.03."""
        return min(self.sbc) * len(self.sbc) > 0.01 and self.tarp <= max(self.tarp_noise, 0.03)

    def __repr__(self) -> str:
        covered = f", 90 % regions hold {self.coverage[0.9][0]:.0%}" if 0.9 in self.coverage else ""
        return (
            f"<Calibration: {'sound' if self.sound else 'not sound'}, least p of ranks {min(self.sbc):.3f}, TARP "
            f"{self.tarp:.3f} (noise {self.tarp_noise:.3f}){covered}, {self.n} simulations>"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "draws": self.draws,
            "sbc": list(self.sbc),
            "tarp": self.tarp,
            "tarp_noise": self.tarp_noise,
            "coverage": {str(level): list(value) for level, value in self.coverage.items()},
            "sound": self.sound,
        }


def calibration(
    theta: np.ndarray,
    draws: np.ndarray,
    log_prob: Callable[[np.ndarray, int], np.ndarray] | None = None,
    *,
    seed: int = 0,
) -> Calibration:
    """Check posteriors of simulated cases.

    Args:
        theta: true values float (n, d).
        draws: posterior draws float (n, L, d).
        log_prob: from values (k, d) and the number of a case to their log-densities (k,); for expected coverage.
    """
    n, count, d = draws.shape
    rng = np.random.default_rng(seed)
    below = (draws < theta[:, None]).sum(1)
    equal = (draws == theta[:, None]).sum(1)
    ranks = below + rng.integers(0, equal + 1)
    bins = int(min(np.clip(n // 10, 4, 20), count + 1))
    sbc = tuple(uniform(ranks[:, i], count, bins) for i in range(d))
    covered: dict[float, tuple[float, float, float]] = {}
    if log_prob is not None:
        inside = np.empty(n)
        for i in range(n):
            values = log_prob(np.concatenate([theta[i : i + 1], draws[i]]), i)
            inside[i] = (values[1:] > values[0]).sum()
        inside = (inside + rng.random(n)) / (count + 1)  # uniform where it is right, at any number of draws
        for level in LEVELS:
            hit = binomtest(int((inside <= level).sum()), n)
            interval = hit.proportion_ci(method="wilson")
            covered[level] = (hit.statistic, float(interval.low), float(interval.high))
    return Calibration(n, count, ranks, sbc, tarp(theta, draws, seed), float(kstwo.ppf(0.95, n)), covered)


def uniform(ranks: np.ndarray, draws: int, bins: int) -> float:
    """The p-value that ranks 0 to `draws` are uniform, by a chi-squared test over bins of unequal but known size."""
    edges = np.linspace(0, draws + 1, bins + 1).round().astype(int)
    seen = np.histogram(ranks, edges)[0]
    return float(chisquare(seen, len(ranks) * np.diff(edges) / (draws + 1)).pvalue)


def tarp(theta: np.ndarray, draws: np.ndarray, seed: int = 0) -> float:
    """The largest distance between the coverage of random regions and its claim; 0 is calibrated.

    Dimensions are brought to the unit interval by the range of the true values, references are drawn there.
    """
    low, high = theta.min(0), theta.max(0)
    scale = np.where(high > low, high - low, 1.0)
    truth, points = (theta - low) / scale, (draws - low) / scale
    rng = np.random.default_rng([seed, 1])  # not that of whoever drew θ
    reference = rng.random(truth.shape)
    own = ((truth - reference) ** 2).sum(1)
    nearer = (((points - reference[:, None]) ** 2).sum(2) < own[:, None]).sum(1)
    share = (nearer + rng.random(len(theta))) / (draws.shape[1] + 1)  # uniform where calibrated, at any number of draws
    return float(kstest(share, "uniform").statistic)
