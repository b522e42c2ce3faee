"""Do the feature spaces agree on the order? Ranks by measure and space, and Kendall's τ between the spaces.

A measure in a space that favours a family says more of the space than of the models (Stein et al., 2023, arXiv
2306.04675): an order is worth believing where two spaces, made in different ways, give it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy.stats import kendalltau, rankdata

from pofx.report.rows import Row

AGREE = 0.6  # τ from which the orders are said to agree


@dataclass(frozen=True)
class Ranks:
    """The ranks of rows by one measure in one space (1 is best); `values` as written in a tooltip."""

    metric: str
    space: str
    ranks: dict[str, float]
    values: dict[str, float]


@dataclass(frozen=True)
class Tau:
    """How far two spaces give one order: Kendall's τ-b over n rows, and its two-sided p-value."""

    metric: str
    first: str
    second: str
    tau: float
    p: float
    n: int


def ranks(rows: Sequence[Row]) -> list[Ranks]:
    """Every measure with a direction that two or more ranked rows have in two or more spaces."""
    ranked = [row for row in rows if row.ranked]
    found: list[Ranks] = []
    for metric in dict.fromkeys(metric for row in ranked for metric in row.numbers):
        spaces = dict.fromkeys(space for row in ranked for space in row.numbers.get(metric, {}) if space)
        own = []
        for space in spaces:
            numbers = {row.name: n for row in ranked if (n := row.number(metric, space)) is not None}
            better = {n.better for n in numbers.values()}
            if len(numbers) < 2 or better - {"lower", "higher"}:
                continue
            sign = -1 if better == {"higher"} else 1
            order = rankdata([sign * n.value for n in numbers.values()])
            own.append(Ranks(metric, space, dict(zip(numbers, map(float, order), strict=True)),
                             {name: n.value for name, n in numbers.items()}))  # fmt: skip
        found += own if len(own) > 1 else []
    return found


def taus(found: Sequence[Ranks]) -> list[Tau]:
    """τ for every measure and pair of spaces with three or more rows in both."""
    listed = []
    for a, b in combinations(found, 2):
        names = [name for name in a.ranks if name in b.ranks]
        if a.metric != b.metric or len(names) < 3:
            continue
        result = kendalltau([a.ranks[n] for n in names], [b.ranks[n] for n in names])
        if math.isfinite(result.statistic):
            tau, p = float(result.statistic), float(result.pvalue)
            listed.append(Tau(a.metric, a.space, b.space, tau, p, len(names)))
    return listed


def words(listed: Sequence[Tau], metric: str = "frechet_distance", title: str = "Fréchet distance") -> list[str]:
    """A sentence per pair of spaces for one measure: do they agree on the order?"""
    said = []
    for t in listed:
        if t.metric != metric:
            continue
        verdict = (
            "the same order" if t.tau > 0.999
            else "they largely agree" if t.tau >= AGREE
            else "they agree in part: the order depends on the feature space" if t.tau > 0.2
            else "they do not agree: the order depends on the feature space"
        )  # fmt: skip
        chance = f"; so few models give as much by chance (p = {t.p:.2f})" if t.tau >= AGREE and t.p > 0.05 else ""
        said.append(
            f"The order of {t.n} models by {title} in {t.first} and in {t.second}: Kendall's τ = {t.tau:.2f}, "
            f"{verdict}{chance}."
        )
    return said
