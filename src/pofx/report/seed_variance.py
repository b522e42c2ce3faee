"""The variance between trainings of one model, and what a few seeds show of it.

A variance from two or three seeds is itself a guess. The rows of an axis lend each other strength: variances, in units
of each number's own error of measurement, are taken as draws from one scaled inverse chi-square distribution, whose
place and spread follow from their logarithms, and each row's is drawn towards it as their number warrants (Smyth, 2004,
"Linear models and empirical Bayes methods for assessing differential expression in microarray experiments"), but never
below itself: rows are few, and one whose trainings differ much seldom shows it. Differences are then compared with
Student's t with the degrees of freedom that both give (Satterthwaite, 1946).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import t as student

from pofx.report.rows import Number

_LEAST = 1e-4  # a variance that is smaller, in units of measurement error, counts as this


@dataclass(frozen=True)
class Error:
    """How far a row's number may lie from the mean of all its trainings: two variances, the second with its freedom."""

    measured: float
    trained: float = 0.0
    freedom: float = math.inf


def prior(ratios: Sequence[float], freedom: Sequence[int]) -> tuple[float, float]:
    """The common variance and its degrees of freedom (inf: no row differs) from variances with theirs."""
    d = np.asarray(freedom, dtype=float)
    e = np.log(np.maximum(ratios, _LEAST)) - digamma(d / 2) + np.log(d / 2)
    if len(e) < 2:
        return float(np.exp(e.mean())), 0.0
    excess = float(e.var(ddof=1) - polygamma(1, d / 2).mean())
    if excess <= 0:
        return float(np.exp(e.mean())), math.inf
    d0 = brentq(lambda v: float(polygamma(1, v / 2)) - excess, 1e-6, 1e9) if excess < polygamma(1, 5e-7) else 1e-6
    return float(np.exp(e.mean() + digamma(d0 / 2) - math.log(d0 / 2))), float(d0)


def errors(numbers: Mapping[str, Number], resolution: float = 0.0) -> dict[str, Error | None]:
    """The error of each row's number; None where it is unknown and nothing can be claimed.

    `resolution` is the least error of a measurement, as a share of the value. Rows of one training take the common
    variance of the others, if there are any with several.
    """
    unit = {name: _measured(n, resolution) for name, n in numbers.items()}
    several = [name for name, u in unit.items() if u and numbers[name].between is not None]
    ratios = {name: ((numbers[name].between or 0.0) / (unit[name] or 1.0)) ** 2 for name in several}
    freedom = {name: numbers[name].seeds - 1 for name in several}
    common, d0 = prior(list(ratios.values()), list(freedom.values())) if several else (0.0, 0.0)
    found: dict[str, Error | None] = {}
    for name, u in unit.items():
        d, k = freedom.get(name, 0), numbers[name].seeds
        between = numbers[name].between
        if u is not None and not u and between is not None:  # nothing is known of it but its trainings
            found[name] = Error(0.0, between**2 / k, k - 1)
            continue
        if u is None or d0 + d == 0:
            found[name] = None if u is None else Error(u * u)
            continue
        own = ratios.get(name, 0.0)
        drawn = common if math.isinf(d0) else (d0 * common + d * own) / (d0 + d)
        found[name] = Error(u * u, max(drawn, own) * u * u / k, min(d0 + d, sum(freedom.values())))
    return found


def p_value(gap: float, a: Error | None, b: Error | None) -> float:
    """Two-sided p-value of equal values that lie `gap` apart."""
    if a is None or b is None:
        return 1.0
    variance = a.measured + a.trained + b.measured + b.trained
    if variance == 0:
        return 1.0 if gap == 0 else 0.0
    loose = a.trained**2 / a.freedom + b.trained**2 / b.freedom
    score = abs(gap) / math.sqrt(variance)
    return float(2 * student.sf(score, variance**2 / loose)) if loose else math.erfc(score / math.sqrt(2))


def _measured(number: Number, resolution: float) -> float | None:
    """The error of a single measurement, which the seeds share."""
    if number.stderr is None and not resolution:
        return None
    within = number.stderr or 0.0
    if number.between is not None:
        left = within**2 - number.between**2 / number.seeds
        within = math.sqrt(left) if left > 1e-12 * within**2 else 0.0  # the rest is rounding
    return max(within, resolution * abs(number.value))
