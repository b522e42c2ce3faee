"""Do the feature spaces agree on the order? Ranks by measure and space, and Kendall's τ between the spaces.

A measure in a space that favours a family describes the space rather than the models (Stein et al., 2023, arXiv
2306.04675): trust an order where two spaces of different origin agree on it.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy.stats import kendalltau, rankdata

from pofx.report.numbers import plain
from pofx.report.results import Results
from pofx.report.rows import Row
from pofx.report.section import Section, fill

AGREE = 0.6  # τ from which the orders count as agreeing


class Agreement(Section):
    order, id, title, short = 50, "agreement", "Do the feature spaces agree?", "Spaces"

    def html(self, results: Results) -> str | None:
        found = ranks(results.rows)
        if not found:
            return None
        return fill(
            "sections/agreement.html.j2",
            results,
            ranks=found,
            taus=taus(found),
            agreement=sentences(results),
            shown=[row for row in results.ranked if any(row.name in k.ranks for k in found)],
            named={name: info.head for name, info in results.metrics.items()},
            plain=plain,
        )


def sentences(results: Results) -> list[str]:
    """Whether the spaces agree on the order by the first measure of the verdict that they all have."""
    listed = taus(ranks(results.rows))
    axes = sorted((i.axis for i in results.metrics.values() if i.axis), key=lambda axis: axis.order)
    first = next((axis for axis in axes if any(t.metric == axis.metric for t in listed)), None)
    return words(listed, first.metric, first.unit) if first else []


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
        differ = any(len(set(k.ranks.values())) > 1 for k in own)  # not where all rows share every place
        found += own if len(own) > 1 and differ else []
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


def _space(label: str) -> str:
    """The name of a space without its hash."""
    return re.sub(r"-[0-9a-f]{8}$", "", label)


def words(listed: Sequence[Tau], metric: str, title: str) -> list[str]:
    """A sentence per pair of spaces for one measure: do they agree on the order?"""
    found = []
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
        found.append(
            f"The order of {t.n} models by {title} in {_space(t.first)} and in {_space(t.second)}: "
            f"Kendall's τ = {t.tau:.2f}, "
            f"{verdict}{chance}."
        )
    return found
