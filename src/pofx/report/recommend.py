"""What to use for which need, from the axes that were decided.

Several measures may serve one need (samples like the data: a distance of features, a classifier between real items and
samples). The one that saw most of the faults planted in this very data decides, the first in order among equals; a
measure that saw none decides nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pofx.report.numbers import short, write
from pofx.report.rows import Row
from pofx.report.self_test import Sight
from pofx.report.standing import ALPHA, Standing, difference


@dataclass(frozen=True)
class Advice:
    """What to use for a need, and why; `names` is empty when nothing measured here serves it."""

    need: str
    names: tuple[str, ...]
    reason: str


def recommend(
    rows: Sequence[Row], found: Sequence[Standing], sights: Mapping[str, Sight], copiers: set[str]
) -> list[Advice]:
    """One recommendation per need; models that copy are left out. Where real held-out data is better than the best,
    its number is given, too: the best may be far from good."""
    real = next((row for row in rows if row.name == "real-test"), None)
    given: list[Advice] = []
    by_need = deciding(found, sights)
    for need, standing in by_need.items():
        advice = _density(standing, found) if standing.axis.kind else _leaders(need, standing, sights, copiers, real)
        given.append(advice)
    fast = next((s for s in found if not s.axis.need and s.axis.resolution), None)
    best = next((s for s in by_need.values() if not s.axis.kind), None)
    if fast is not None and best is not None:
        good = [name for name in fast.order if name in best.leaders and name not in copiers]
        if good:
            speed = short(fast.numbers[good[0]].value)
            reason = f"{speed} {fast.axis.unit}, the fastest of the leaders in {best.axis.title.lower()}"
            given.append(Advice("good samples, fast", (good[0],), reason))
    coders = [row.name for row in rows if row.ranked and row.traits.get("encodes")]
    if coders and not any(advice.need.startswith("codes") for advice in given):
        order = [name for name in (best.order if best else ()) if name in coders] or coders
        only = (
            "the only model here with codes" if len(coders) == 1 else "first of the models with codes in sample quality"
        )
        given.append(Advice("codes of items", (order[0],), only))
    return given


def deciding(found: Sequence[Standing], sights: Mapping[str, Sight]) -> dict[str, Standing]:
    """By need the axis that decides it."""
    by_need: dict[str, Standing] = {}
    for standing in found:
        need = standing.axis.need
        if not need:
            continue
        now = by_need.get(need)
        if now is None or (not now.axis.kind and _seen(sights, standing) > _seen(sights, now)):
            by_need[need] = standing
    return by_need


def outdone(standing: Standing, found: Sequence[Standing], sights: Mapping[str, Sight]) -> bool:
    """Whether another axis for the same need saw more of the planted faults, so that this one states too much."""
    other = deciding(found, sights).get(standing.axis.need)
    return other is not None and not other.axis.kind and _seen(sights, other) > _seen(sights, standing)


def _seen(sights: Mapping[str, Sight], standing: Standing) -> int:
    sight = sights.get(standing.axis.metric)
    return len(sight.sees) if sight else 0


def _leaders(need: str, standing: Standing, sights: Mapping[str, Sight], copiers: set[str], real: Row | None) -> Advice:
    honest = [name for name in standing.leaders if name not in copiers]
    left_out = [name for name in standing.leaders if name in copiers]
    number = standing.numbers[standing.order[0]]
    text = write("number", number.value, number.stderr)[0]
    reason = f"{standing.axis.why or standing.axis.unit}, {text}"
    floor = real.number(standing.axis.metric) if real else None
    if floor is not None and floor.space == number.space:
        worse = number.value < floor.value if floor.better == "higher" else number.value > floor.value
        if worse and difference(number, floor) < ALPHA:
            reason += f", real held-out data {write('number', floor.value, floor.stderr)[0]}"
    sight = sights.get(standing.axis.metric)
    if sight is not None:
        reason += f" ({sight.text} planted faults)"
    if len(standing.leaders) > 1:
        reason += f"; no test separates the {len(standing.leaders)} leaders"
    if left_out:
        reason += f"; {', '.join(left_out)} left out for near-copies"
    return Advice(need, tuple(honest), reason)


def _density(standing: Standing, found: Sequence[Standing]) -> Advice:
    """The leaders of the best kind of density; an upper bound below an exact number is mentioned, never ranked."""
    axis = standing.axis
    names = standing.leaders if axis.kind == "exact" else standing.order[:1]
    best = standing.numbers[standing.order[0]]
    reason = f"{write('number', best.value, best.stderr)[0]} {axis.unit}, {axis.kind}, on held-out data"
    if len(names) > 1:
        reason += f"; no test separates the {len(names)} leaders"
    key = axis.key.removesuffix(f"-{axis.kind}")
    bounds = next((s for s in found if s.axis.kind == "bound" and s.axis.key == f"{key}-bound"), None)
    if axis.kind == "exact" and bounds is not None:
        name = bounds.order[0]
        other = bounds.numbers[name]
        if other.value < best.value and difference(other, best) < ALPHA:
            text = write("number", other.value, other.stderr)[0]
            reason += f"; yet the number of {name}, {text}, is lower, and an upper bound"
    return Advice(axis.need, tuple(names), reason)
