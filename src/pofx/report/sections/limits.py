"""What a comparison cannot show, in sentences made from its own numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pofx.report.metrics import Axis
from pofx.report.numbers import plain, written
from pofx.report.results import Results
from pofx.report.rows import Number, Row
from pofx.report.section import Section, fill
from pofx.report.sections import agreement
from pofx.report.self_test import sentences

FEW = 20  # optimiser steps below which a model counts as untrained


class Limits(Section):
    order, id, title = 190, "limits", "Limits"

    def html(self, results: Results) -> str | None:
        return fill("sections/limits.html.j2", results, limits=limits(results))


def limits(results: Results) -> list[str]:
    """One sentence or two per limit, the gravest first."""
    rows, plain_ = results.rows, results.plain
    found = [*_seeds(plain_, rows), *_floors(results), *_pairs(results), *_memoriser(results), *_kinds(results)]
    found += agreement.sentences(results)
    found += sentences(results.sights, {name: i.head for name, i in results.metrics.items() if i.headline})
    return found + _short(rows) + _budget(plain_) + _data(plain_) + _failures(rows)


def _seeds(results: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    seeds = len(results["protocol"].get("seeds", [0]))
    if seeds > 1:
        return [f"{seeds} trainings per model: the spread between them is in the intervals and in the verdict."]
    return [
        "One training seed per model: the intervals cover the drawing of samples and of test items, not the variance "
        "between trainings. Use --seeds 3 for that."
    ]


def _floors(results: Results) -> list[str]:
    """The value of a distance on real held-out data, and the differences that cannot be resolved."""
    found = []
    first = next((a for a in _axes(results) if a.need), None)
    real = results.row("real-test")
    if first is None:
        return []
    for space, floor in (real.numbers.get(first.metric, {}) if real else {}).items():
        value, error = written(floor.value, floor.stderr)
        dims, bias = floor.extra.get("dims"), floor.extra.get("floor")
        where = f"d = {dims:g}, n = {floor.n or '?'}" if dims else f"n = {floor.n or '?'}"
        expected = f" (a Gaussian of the data's spread would score {plain(bias, 2)})" if bias is not None else ""
        found.append(
            f"In {space or 'its space'} with {where}, the {first.unit} of real held-out data is {value}"
            f"{' ± ' + error if error else ''}{expected}: the floor of the estimator. Compare only within this report."
        )
    errors = [n.stderr for r in results.ranked if (n := r.number(first.metric)) is not None and n.stderr]
    if errors:
        typical = sorted(errors)[len(errors) // 2]
        least = 2.8 * math.sqrt(2) * typical
        found.append(
            f"Differences in {first.unit} below about {plain(least, 2)} are not resolvable (80 % power at 5 %)."
        )
    return found


def _axes(results: Results) -> list[Axis]:
    axes = [info.axis for info in results.metrics.values() if info.axis]
    return sorted((a for a in axes if any(r.number(a.metric) for r in results.rows)), key=lambda axis: axis.order)


def _pairs(results: Results) -> list[str]:
    """The pairs of models whose order is not known, axis by axis."""
    found = []
    for standing in results.verdict.standings:
        order = standing.order
        tied = [
            f"{a} and {b}"
            for i, a in enumerate(order)
            for b in order[i + 1 :]
            if (a, b) not in standing.beats and (b, a) not in standing.beats
        ]
        if tied and len(order) > 1:
            every = len(order) * (len(order) - 1) // 2
            named = "any of its models" if len(tied) == every else "; ".join(tied[:6])
            more = f"; and {len(tied) - 6} pairs more" if len(tied) > 6 and len(tied) < every else ""
            found.append(f"{standing.axis.title}: no test resolves {named}{more}.")
    return found


def _memoriser(results: Results) -> list[str]:
    copy = results.row("memoriser")
    fooled = []
    for axis in _axes(results):
        mine = copy.number(axis.metric) if copy else None
        others = [n for r in results.ranked if (n := r.number(axis.metric)) is not None]
        if mine is None or not others:
            continue
        values = [n.value for n in others]
        better = mine.value > max(values) if mine.better == "higher" else mine.value < min(values)
        fooled += [axis.unit] if better else []
    if not fooled:
        return []
    return [
        f"The memoriser, which only repeats training items, beats every model on {', '.join(fooled)}: these numbers do "
        "not detect copying. Read them together with the near-copy test and the neighbours."
    ]


def _kinds(results: Results) -> list[str]:
    """Which densities are of which kind."""
    axis = next((a for a in _axes(results) if any(n and n.kind for n in _numbers(results, a))), None)
    if axis is None:
        return ["No model here has a likelihood."]
    kinds: dict[str, list[str]] = {}
    for row, number in zip(results.ranked, _numbers(results, axis), strict=True):
        if number is not None:
            kinds.setdefault(number.kind or "unknown", []).append(row.name)
    silent = [row.name for row in results.ranked if row.number(axis.metric) is None]
    parts = "; ".join(f"{kind} for {', '.join(names)}" for kind, names in kinds.items())
    text = f"Likelihoods are {parts}{'; none for ' + ', '.join(silent) if silent else ''}."
    return [text + (" Unlike kinds are not ranked against each other." if len(kinds) > 1 else "")]


def _numbers(results: Results, axis: Axis) -> list[Number | None]:
    return [row.number(axis.metric) for row in results.ranked]


def _budget(results: Mapping[str, Any]) -> list[str]:
    runs = [run for row in results["rows"] for run in row["runs"] if row.get("role") != "control"]
    trials = [int((run.get("cost") or {}).get("trials") or 1) for run in runs]
    most = max(trials, default=1)
    tuned = (
        f"after up to {most} trials of tuning" if most > 1 else "with its shipped settings; none was tuned on this data"
    )
    return [
        f"Every model had {results['protocol']['budget']} of training {tuned}. A family that learns slowly is measured "
        "early: a longer --budget may turn the order."
    ]


def _short(rows: Sequence[Row]) -> list[str]:
    """Models that hardly trained: their numbers are not theirs. A model that takes no steps states none."""
    found = []
    for row in rows:
        steps = [run.get("cost", {}).get("steps") for run in row.runs if run.get("status") == "done"]
        few = [s for s in steps if isinstance(s, int | float) and s < FEW]
        if few and row.ranked and row.role != "baseline":
            found.append(
                f"{row.name} made {min(few):.0f} optimiser steps in {'a run' if len(steps) > 1 else 'its run'}: its "
                "numbers are those of an untrained model. Give a longer --budget."
            )
    return found


def _data(results: Mapping[str, Any]) -> list[str]:
    near = results["data"].get("near_duplicates") or {}
    count = near.get("train-test")
    if not count:
        return []
    return [f"{count} test items lie nearer to a training item than chance allows; they flatter models that memorise."]


def _failures(rows: Sequence[Row]) -> list[str]:
    return [f"{r.name} has no complete result: {r.reason or 'not run'}." for r in rows if r.status != "done"]
