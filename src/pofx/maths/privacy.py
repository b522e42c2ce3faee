"""Differential privacy: what noise costs, in zero-concentrated differential privacy (zCDP).

A release of sensitivity Δ with noise N(0, σ²) is Δ²/(2σ²)-zCDP, a choice by the exponential mechanism with parameter ε
is ε²/8-zCDP, and costs add up (Bun and Steinke, 2016, arXiv 1605.02065; Cesar and Rogers, 2021, arXiv 2004.07223). The
conversion to (ε, δ) is that of Canonne, Kamath and Steinke, 2020, arXiv 2004.00010, proposition 12. Neighbouring tables
differ in one row that is there or not. Noise is rounded to whole numbers, which are what is counted, so that the bits
of a float show nothing of the count (Mironov, 2012); its source is seeded by the operating system, never by a run.
Gradients with noise on Poisson samples are accounted by Rényi divergences (Mironov, Talwar and Zhang, 2019, arXiv
1908.10530, section 3.3), of whole orders.
"""

import math
import secrets

import numpy as np
from jaxtyping import Float, Shaped
from scipy.optimize import brentq, minimize_scalar
from scipy.special import betaincinv, gammaln, logsumexp

from pofx.core.errors import UsageError


def epsilon_of(rho: float, delta: float) -> float:
    """The ε for which ρ-zCDP implies (ε, δ)-differential privacy."""
    if rho <= 0:
        return 0.0

    def bound(log_excess: float) -> float:
        a = 1 + math.exp(log_excess)
        return rho * a + math.log(1 / (a * delta)) / (a - 1) + math.log1p(-1 / a)

    found = minimize_scalar(bound, bounds=(-12, 14), method="bounded", options={"xatol": 1e-9})
    return max(float(found.fun), 0.0)


def rho_of(epsilon: float, delta: float) -> float:
    """The ρ that (ε, δ) pays for.

    Raises:
        UsageError: ε is not positive or δ is no probability that is small.
    """
    if not epsilon > 0 or not 0 < delta < 0.5:
        raise UsageError(
            f"epsilon must be positive and delta between 0 and 0.5 (got {epsilon} and {delta}): pass delta=1e-6"
        )
    high = 1.0
    while epsilon_of(high, delta) < epsilon:
        high *= 2
    return float(brentq(lambda rho: epsilon_of(rho, delta) - epsilon, 1e-12, high, xtol=1e-14))


ORDERS = np.array([*range(2, 64), *range(64, 257, 8), 320, 512, 1024])  # of Rényi divergences


def renyi(rate: float, sigma: float) -> Float[np.ndarray, "orders"]:
    """The Rényi divergence, at every one of `ORDERS`, of a sum of vectors of norm at most 1 over a Poisson sample, with
    noise N(0, sigma²): log Σ_k C(α, k) (1 - q)^(α - k) q^k exp((k² - k) / 2σ²) / (α - 1)."""
    if rate >= 1:
        return ORDERS / (2 * sigma**2)
    found = []
    for order in ORDERS.tolist():
        k = np.arange(order + 1)
        binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        terms = binomial + (order - k) * math.log1p(-rate) + k * math.log(rate) + (k * k - k) / (2 * sigma**2)
        found.append(max(float(logsumexp(terms)), 0.0) / (order - 1))
    return np.array(found)


def spent(rate: float, sigma: float, steps: int, delta: float, *, simple: bool = False) -> float:
    """The ε of DP-SGD after so many steps, each item in a batch with probability `rate`.

    Args:
        simple: convert by log(1/δ) / (α - 1) alone (Mironov, 2017, arXiv 1702.07476), as early accountants did; else
            by Canonne et al., 2020, which is tighter.
    """
    if sigma <= 0:
        return math.inf
    divergence = steps * renyi(rate, sigma)
    extra = math.log(1 / delta) / (ORDERS - 1)
    if not simple:
        extra = extra + np.log1p(-1 / ORDERS) - np.log(ORDERS) / (ORDERS - 1)
    return max(float((divergence + extra).min()), 0.0)


def multiplier_of(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """The least noise multiplier whose ε after so many steps is at most this.

    Raises:
        UsageError: as `rho_of`.
    """
    rho_of(epsilon, delta)  # checks both
    high = 1.0
    while spent(rate, high, steps, delta) > epsilon:
        high *= 2
    low = high / 2
    while low > 1e-3 and spent(rate, low, steps, delta) <= epsilon:
        high, low = low, low / 2
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if spent(rate, middle, steps, delta) <= epsilon else (middle, high)
    return high


def secret_generator() -> np.random.Generator:
    """Random numbers that nobody can repeat."""
    return np.random.default_rng(secrets.randbits(256))


def sigma_of(rho: float, sensitivity: float = 1.0) -> float:
    """The standard deviation of the noise of a release that may cost ρ."""
    return sensitivity / math.sqrt(2 * rho)


def noisy(
    counts: Float[np.ndarray, "*shape"], rho: float, generator: np.random.Generator
) -> tuple[Float[np.ndarray, "*shape"], float]:
    """Counts, of which a row changes one by 1, with noise; and the standard deviation of the noise."""
    sigma = sigma_of(rho)
    return counts + np.round(generator.normal(0.0, sigma, counts.shape)), sigma


def chosen(scores: Float[np.ndarray, "n"], rho: float, generator: np.random.Generator, sensitivity: float = 1.0) -> int:
    """The position of a nearly largest score, by the exponential mechanism (McSherry and Talwar, 2007)."""
    epsilon = math.sqrt(8 * rho)
    return int(np.argmax(0.5 * epsilon / sensitivity * np.asarray(scores) + generator.gumbel(size=len(scores))))


def on_simplex(
    values: Float[np.ndarray, "*batch n"], total: Shaped[np.ndarray, "*batch"]
) -> Float[np.ndarray, "*batch n"]:
    """The nearest values along the last axis that are not negative and sum to `total`: (…, n).

    Cutting negative counts at zero would add the positive half of the noise; this takes it off again.
    """
    total = np.maximum(np.asarray(total, np.float64), 0.0)[..., None]
    ordered = -np.sort(-values, axis=-1)
    excess = ordered.cumsum(-1) - total
    number = np.arange(1, values.shape[-1] + 1)
    last = (ordered - excess / number > 0).sum(-1, keepdims=True).clip(min=1)
    shift = np.take_along_axis(excess, last - 1, -1) / last
    return np.maximum(values - shift, 0.0)


def audited_epsilon(
    without: Float[np.ndarray, "n"], within: Float[np.ndarray, "n"], delta: float, confidence: float = 0.95
) -> float:
    """A lower bound of ε by an attack: a statistic of releases from tables without and with one row.

    The threshold is chosen on one half of the releases; the rates on the other half have exact intervals (Clopper and
    Pearson). A true ε is below it with probability 1 - confidence (Jagielski et al., 2020, arXiv 2006.07709).
    """
    half = len(without) // 2
    best, threshold, sign = -math.inf, 0.0, 1.0
    for s in (1.0, -1.0):
        for t in np.quantile(s * np.concatenate((without[:half], within[:half])), np.linspace(0.02, 0.98, 49)):
            true, false = (s * within[:half] > t).mean(), (s * without[:half] > t).mean()
            value = math.log(max(true - delta, 1e-9) / max(false, 2 / half))
            if value > best:
                best, threshold, sign = value, float(t), s
    n = len(without) - half
    hits, alarms = (int((sign * x[half:] > threshold).sum()) for x in (within, without))
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(alarms + 1, n - alarms, 1 - tail)) if alarms < n else 1.0
    return max(math.log(max(low - delta, 1e-300) / high), 0.0)
