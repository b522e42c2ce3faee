"""Statistics of human judgements: every interval takes a rater, not an answer, as the independent unit.

Answers of one person resemble each other, so that intervals over answers are too narrow. Rates use the linearised
variance of a ratio over raters (Liang and Zeger, 1986); strengths of models are those of Bradley and Terry (1952) with
ties as half wins, a term for the side, a weak normal prior, and a sandwich covariance over raters. Sensitivity and bias
follow Green and Swets (1966), agreement Krippendorff (1970), the stopping rule Robbins (1970), errors of fakes and real
items separately HYPE (Zhou et al., 2019, arXiv 1904.01121).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import betaln, expit
from scipy.stats import norm, t

from pofx.core.errors import DataError, UsageError

PRIOR = 3.0  # standard deviation of the prior of a strength, in logits: odds of 20 to 1


@dataclass(frozen=True)
class Rate:
    """A share with its interval over raters; n answers of `raters` people."""

    value: float
    low: float
    high: float
    n: int
    raters: int


@dataclass(frozen=True)
class Strengths:
    """Bradley–Terry strengths in logits, centred at 0, with their covariance over raters.

    `side` is the logit in favour of the left item, `rank` counts the models that are certainly stronger, plus one, and
    `fragile` is the number of answers whose removal changes the strongest model.
    """

    models: tuple[str, ...]
    values: np.ndarray
    covariance: np.ndarray
    side: float
    raters: int
    level: float
    fragile: int | None

    @property
    def stderr(self) -> np.ndarray:
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def interval(self, model: str) -> tuple[float, float]:
        i, reach = self.models.index(model), _reach(self.raters, self.level)
        return float(self.values[i] - reach * self.stderr[i]), float(self.values[i] + reach * self.stderr[i])

    def difference(self, a: str, b: str) -> tuple[float, float, float]:
        """The strength of a less that of b with its interval."""
        i, j = self.models.index(a), self.models.index(b)
        gap = float(self.values[i] - self.values[j])
        deviation = math.sqrt(self.covariance[i, i] + self.covariance[j, j] - 2 * self.covariance[i, j])
        reach = _reach(self.raters, self.level) * deviation
        return gap, gap - reach, gap + reach

    def rank(self, model: str) -> int:
        return 1 + sum(self.difference(other, model)[1] > 0 for other in self.models if other != model)


def rate(hits: Sequence[Any], raters: Sequence[Any], level: float = 0.95) -> Rate:
    """The share of hits with an interval in which raters are the independent units.

    Args:
        hits: truth values or numbers in [0, 1], one per answer.
        raters: who gave it.

    Raises:
        DataError: no answers.
    """
    y, groups = np.asarray(hits, float), pd.factorize(np.asarray(raters))[0]
    if y.size == 0:
        raise DataError("a rate needs at least one answer (got 0): collect answers first")
    count = groups.max() + 1
    n, sums = np.bincount(groups, minlength=count), np.bincount(groups, y, minlength=count)
    value = sums.sum() / n.sum()
    if count < 2:
        return Rate(float(value), 0.0, 1.0, len(y), int(count))
    residuals = sums - value * n
    variance = count / (count - 1) * (residuals**2).sum() / n.sum() ** 2
    # never narrower than a single person's answers allow: all equal answers have no variance of their own
    floor = (value * (1 - value) or 1 / (n.sum() + 2)) / n.sum()
    reach = _reach(int(count), level) * math.sqrt(max(variance, floor if variance == 0 else 0.0))
    return Rate(float(value), max(float(value) - reach, 0.0), min(float(value) + reach, 1.0), len(y), int(count))


def sensitivity(answers: pd.DataFrame, level: float = 0.95) -> dict[str, tuple[float, float, float]]:
    """d′ and criterion c of "generated" answers, with jackknife intervals over raters.

    d′ = 0 means that generated and real items are not distinguished at all; c > 0 is a bias towards answering "real".

    Args:
        answers: columns `rater`, `generated` (the truth) and `answered` (whether the answer was "generated").
    """

    def measured(part: pd.DataFrame) -> np.ndarray:
        fake, real = part[part["generated"]], part[~part["generated"]]
        hit = (fake["answered"].sum() + 0.5) / (len(fake) + 1)  # log-linear correction (Hautus, 1995)
        alarm = (real["answered"].sum() + 0.5) / (len(real) + 1)
        z = norm.ppf([hit, alarm])
        return np.asarray([z[0] - z[1], -z.sum() / 2])

    whole = measured(answers)
    people = answers["rater"].unique()
    if len(people) < 2:
        return {name: (float(v), -math.inf, math.inf) for name, v in zip(("d_prime", "criterion"), whole, strict=True)}
    left = np.stack([measured(answers[answers["rater"] != person]) for person in people])
    n = len(people)
    deviation = np.sqrt((n - 1) / n * ((left - left.mean(0)) ** 2).sum(0)) * _reach(n, level)
    pairs = zip(("d_prime", "criterion"), whole, deviation, strict=True)
    return {name: (float(v), float(v - d), float(v + d)) for name, v, d in pairs}


def bradley_terry(votes: pd.DataFrame, level: float = 0.95) -> Strengths:
    """The strength of every model from answers to pairs.

    Args:
        votes: columns `rater`, `left`, `right` (names of models) and `choice` ("left", "right" or "tie").

    Raises:
        DataError: no votes, or models that no chain of votes connects.
    """
    if votes.empty:
        raise DataError("strengths need at least one vote (got 0): collect answers first")
    models = tuple(sorted({*votes["left"], *votes["right"]}))
    index = {m: i for i, m in enumerate(models)}
    left, right = votes["left"].map(index).to_numpy(), votes["right"].map(index).to_numpy()
    _connected(models, left, right)
    y = votes["choice"].map({"left": 1.0, "right": 0.0, "tie": 0.5}).to_numpy(float)
    if np.isnan(y).any():
        raise DataError(f"choice must be left, right or tie (got {votes['choice'][np.isnan(y)].iloc[0]!r})")
    x = np.zeros((len(votes), len(models) + 1))
    rows = np.arange(len(votes))
    x[rows, left] += 1
    x[rows, right] -= 1
    x[:, -1] = 1  # the side
    theta, hessian = _fit(x, y)
    people = pd.factorize(votes["rater"])[0]
    count = people.max() + 1
    slopes = np.zeros((count, x.shape[1]))
    np.add.at(slopes, people, (y - expit(x @ theta))[:, None] * x)
    middle = slopes.T @ slopes * count / max(count - 1, 1)
    inverse = np.linalg.inv(hessian)
    covariance = inverse @ middle @ inverse if count > 1 else inverse
    centre = np.eye(len(models)) - 1 / len(models)
    values = centre @ theta[:-1]
    return Strengths(
        models,
        values,
        centre @ covariance[:-1, :-1] @ centre.T,
        float(theta[-1]),
        int(count),
        level,
        _fragile(x, y, theta, inverse, len(models)),
    )


def agreement(answers: pd.DataFrame) -> float | None:
    """Krippendorff's alpha for nominal answers: 1 is perfect, 0 is chance; None where nothing was answered twice.

    Args:
        answers: columns `unit` (what was shown) and `answer`.
    """
    table = answers.groupby(["unit", "answer"]).size().unstack(fill_value=0).to_numpy(float)
    table = table[table.sum(1) > 1]
    if len(table) == 0:
        return None
    each = table.sum(1, keepdims=True)
    coincidences = (table.T @ (table / (each - 1))) - np.diag((table / (each - 1)).sum(0))
    totals = coincidences.sum(0)
    n = totals.sum()
    expected = (totals.sum() ** 2 - (totals**2).sum()) / (n - 1)
    observed = n - np.trace(coincidences)
    return 1.0 if expected == 0 else float(1 - observed / expected)


def confidence_sequence(hits: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """An interval of a rate that holds at all sample sizes at once, so that one may look after every answer.

    Robbins' mixture with a uniform prior: all p with B(1 + s, 1 + n - s) >= alpha p^s (1 - p)^(n - s). It takes
    answers as independent; end a study by it, report the interval over raters.
    """
    if not 0 <= hits <= n:
        raise UsageError(f"hits must be 0 to n (got {hits} of {n})")
    if n == 0:
        return 0.0, 1.0
    bar = betaln(1 + hits, 1 + n - hits) + math.log(alpha)

    def inside(p: float) -> bool:
        logs = (hits * math.log(p) if hits else 0.0) + ((n - hits) * math.log1p(-p) if n > hits else 0.0)
        return logs >= bar

    def edge(out: float, within: float) -> float:
        for _ in range(60):
            middle = (out + within) / 2
            out, within = (out, middle) if inside(middle) else (middle, within)
        return within

    peak = min(max(hits / n, 1e-12), 1 - 1e-12)
    return (0.0 if hits == 0 else edge(1e-12, peak)), (1.0 if hits == n else edge(1 - 1e-12, peak))


def _reach(raters: int, level: float) -> float:
    return float(t.ppf(0.5 + level / 2, max(raters - 1, 1)))


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton's iterations for a logistic regression under the prior: parameters and the negative Hessian."""
    theta, ridge = np.zeros(x.shape[1]), np.eye(x.shape[1]) / PRIOR**2
    for _ in range(100):
        p = expit(x @ theta)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(hessian, x.T @ (y - p) - ridge @ theta)
        theta = theta + step
        if np.abs(step).max() < 1e-10:
            break
    return theta, hessian


def _connected(models: tuple[str, ...], left: np.ndarray, right: np.ndarray) -> None:
    reached, ahead = {0}, [0]
    while ahead:
        here = ahead.pop()
        near = {*right[left == here].tolist(), *left[right == here].tolist()} - reached
        reached |= near
        ahead += near
    if len(reached) < len(models):
        missing = ", ".join(m for i, m in enumerate(models) if i not in reached)
        raise DataError(f"no chain of votes connects {models[0]} with {missing}: compare them, directly or by others")


def _fragile(x: np.ndarray, y: np.ndarray, theta: np.ndarray, inverse: np.ndarray, models: int) -> int | None:
    """How many votes, those of most influence on the lead, have to go for another model to lead; None: over a fifth.

    Influences are those of one Newton step (Broderick, Giordano and Meager, 2020, arXiv 2011.14999), then refitted.
    """
    order = np.argsort(-theta[:models])
    if models < 2:
        return None
    first, second = int(order[0]), int(order[1])
    direction = inverse[first] - inverse[second]
    influence = ((y - expit(x @ theta))[:, None] * x) @ direction
    ranked = np.argsort(-influence)
    gap = theta[first] - theta[second]
    needed = int(np.searchsorted(np.cumsum(influence[ranked]), gap)) + 1
    for k in (needed, needed + 1, needed + max(2, needed // 5)):
        if k > len(y) / 5:
            return None
        rest = np.setdiff1d(np.arange(len(y)), ranked[:k])
        again, _ = _fit(x[rest], y[rest])
        if int(np.argmax(again[:models])) != first:
            return k
    return None
