"""One axis of the verdict: every pair of rows tested, p-values adjusted, leaders that no test separates.

Every pair is compared by a two-sided test on the difference of the numbers, whose errors include the variance between
trainings (`seed_variance`); the p-values of an axis are adjusted together (Holm, 1979). Densities of unlike kinds are
never on one axis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pofx.report.metrics import Axis, Info
from pofx.report.rows import Number, Row
from pofx.report.seed_variance import errors, p_value

ALPHA = 0.05
KINDS = {"exact": "exact", "bound": "bounds", "estimate": "estimates"}


@dataclass(frozen=True)
class Standing:
    """An axis decided: rows in order, the ranks each may hold, and the leaders that no test separates."""

    axis: Axis
    order: tuple[str, ...]
    ranks: Mapping[str, tuple[int, int]]
    leaders: tuple[str, ...]
    numbers: Mapping[str, Number]
    beats: frozenset[tuple[str, str]] = frozenset()  # pairs that are separable, the better one first

    @property
    def winner(self) -> str | None:
        return self.leaders[0] if len(self.leaders) == 1 and len(self.order) > 1 else None

    @property
    def groups(self) -> list[list[str]]:
        """The order cut into ties: each group holds its first row and all that no test separates from it."""
        left, cut = list(self.order), []
        while left:
            group = [name for name in left if (left[0], name) not in self.beats]
            left = [name for name in left if name not in group]
            cut.append(group)
        return cut


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the family-wise error of all tests together stays at its level."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = running
    return adjusted


def difference(a: Number, b: Number) -> float:
    """Two-sided p-value of equal values; 1 where a standard error is unknown and nothing can be claimed."""
    found = errors({"a": a, "b": b})
    return p_value(a.value - b.value, found["a"], found["b"])


def stand(axis: Axis, numbers: Mapping[str, Number]) -> Standing:
    """Decide an axis."""
    better = next(iter(numbers.values())).better
    if axis.chance is not None:
        numbers = {name: replace(n, value=max(n.value, axis.chance)) for name, n in numbers.items()}
    order = sorted(numbers, key=lambda name: numbers[name].value, reverse=better == "higher")
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]  # a is ranked before b
    error = errors(numbers, axis.resolution)
    p = holm([p_value(numbers[a].value - numbers[b].value, error[a], error[b]) for a, b in pairs])
    beats = {pair for pair, value in zip(pairs, p, strict=True) if value < ALPHA}
    ranks = {
        name: (1 + sum((other, name) in beats for other in order), len(order) - sum((name, o) in beats for o in order))
        for name in order
    }
    leaders = tuple(n for n in order if (order[0], n) not in beats)
    return Standing(axis, tuple(order), ranks, leaders, dict(numbers), frozenset(beats))


def standings(rows: Sequence[Row], metrics: Mapping[str, Info]) -> list[Standing]:
    """Every axis of the measures on which a ranked row has a number; densities apart by their kind."""
    axes = sorted((info.axis for info in metrics.values() if info.axis), key=lambda axis: axis.order)
    found = []
    for axis in axes:
        numbers = {row.name: n for row in rows if row.ranked and (n := row.number(axis.metric)) is not None}
        if any(n.kind for n in numbers.values()):
            found += _densities(axis, numbers)
        elif len(numbers) > 1 and len({n.space for n in numbers.values()}) == 1:
            found.append(stand(axis, numbers))
    return found


def _densities(axis: Axis, numbers: Mapping[str, Number]) -> list[Standing]:
    """One order per kind of density and space: unlike kinds are never ranked."""
    alike: dict[tuple[str, str], dict[str, Number]] = {}
    for name, number in numbers.items():
        if number.kind in KINDS:
            alike.setdefault((number.kind, number.space), {})[name] = number
    order = list(KINDS)
    return [
        stand(replace(axis, key=f"{axis.key}-{kind}", title=f"{axis.title}, {KINDS[kind]}", kind=kind), own)
        for (kind, _), own in sorted(alike.items(), key=lambda item: order.index(item[0][0]))
    ]
