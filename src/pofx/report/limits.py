"""What a comparison cannot show, in sentences made from its own numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pofx.report.agreement import ranks, taus, words
from pofx.report.columns import COLUMNS, written
from pofx.report.rows import Row
from pofx.report.self_test import sentences, sights
from pofx.report.verdict import decide

FEW = 20  # optimiser steps below which a model counts as untrained


def limits(results: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """One sentence or two per limit, the gravest first."""
    found = [*_seeds(results, rows), *_frechet(rows), *_memoriser(rows), *_kinds(rows), *words(taus(ranks(rows)))]
    found += sentences(sights(results), {c.metric: c.title for c in COLUMNS})
    return found + _short(rows) + _budget(results) + _data(results) + _failures(rows)


def _seeds(results: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    seeds = len(results["protocol"].get("seeds", [0]))
    if seeds > 1:
        return [f"{seeds} trainings per model: the spread between them is in the intervals and in the verdict."]
    return [
        "One training seed per model: the intervals cover the drawing of samples and of test items, not the luck of "
        "training. Ask for more with --seeds."
    ]


def _frechet(rows: Sequence[Row]) -> list[str]:
    said = []
    real = next((r for r in rows if r.name == "real-test"), None)
    for space, floor in (real.numbers.get("frechet_distance", {}) if real else {}).items():
        value, error = written(floor.value, floor.stderr)
        dims, bias = floor.extra.get("dims"), floor.extra.get("floor")
        where = f"d = {dims:g}, n = {floor.n or '?'}" if dims else f"n = {floor.n or '?'}"
        expected = f" (a Gaussian of the data's spread would read {bias:.2g})" if bias is not None else ""
        said.append(
            f"In {space or 'its space'} with {where}, Fréchet distance reads {value}{' ± ' + error if error else ''} "
            f"on real held-out data{expected}: the floor of the estimator. Compare only within this report."
        )
    errors = [n.stderr for r in rows if r.ranked and (n := r.number("frechet_distance")) is not None and n.stderr]
    if errors:
        typical = sorted(errors)[len(errors) // 2]
        least = 2.8 * math.sqrt(2) * typical
        said.append(f"Differences in Fréchet distance below about {least:.2g} are not resolvable (80 % power at 5 %).")
    return said + _pairs(rows)


def _pairs(rows: Sequence[Row]) -> list[str]:
    """The pairs of models whose order is not known, axis by axis."""
    said = []
    for standing in decide(rows).standings:
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
            said.append(f"{standing.axis.title}: no test resolves {named}{more}.")
    return said


def _memoriser(rows: Sequence[Row]) -> list[str]:
    copy = next((r for r in rows if r.name == "memoriser"), None)
    fooled = []
    for metric, title in (("frechet_distance", "Fréchet distance"), ("coverage", "coverage"), ("c2st", "C2ST")):
        mine = copy.number(metric) if copy else None
        others = [n for r in rows if r.ranked and (n := r.number(metric)) is not None]
        if mine is None or not others:
            continue
        values = [n.value for n in others]
        better = mine.value > max(values) if mine.better == "higher" else mine.value < min(values)
        fooled += [title] if better else []
    if not fooled:
        return []
    return [
        f"The memoriser, which only repeats training items, beats every model on {', '.join(fooled)}: these numbers do "
        "not see copying. Read them together with the near-copy test and the neighbours."
    ]


def _kinds(rows: Sequence[Row]) -> list[str]:
    kinds: dict[str, list[str]] = {}
    for row in rows:
        number = row.number("bits_per_dim") if row.ranked else None
        if number is not None:
            kinds.setdefault(number.kind or "unknown", []).append(row.name)
    silent = [row.name for row in rows if row.ranked and row.number("bits_per_dim") is None]
    if not kinds:
        return ["No model here has a likelihood."]
    parts = [f"{kind} for {', '.join(names)}" for kind, names in kinds.items()]
    said = f"Likelihoods are {'; '.join(parts)}{'; none for ' + ', '.join(silent) if silent else ''}."
    return [said + (" Unlike kinds are not ranked against each other." if len(kinds) > 1 else "")]


def _budget(results: Mapping[str, Any]) -> list[str]:
    runs = [run for row in results["rows"] for run in row["runs"] if row.get("role") != "control"]
    trials = [int((run.get("cost") or {}).get("trials") or 1) for run in runs]
    most = max(trials, default=1)
    tuned = (
        f"after up to {most} trials of tuning" if most > 1 else "with its shipped settings; none was tuned on this data"
    )
    return [
        f"Every model had {results['protocol']['budget']} of training {tuned}. A family that learns slowly is judged "
        "early: a longer --budget may turn the order."
    ]


def _short(rows: Sequence[Row]) -> list[str]:
    """Models that hardly trained: their numbers say nothing of them. Mixtures are fitted without steps."""
    said = []
    for row in rows:
        steps = [run.get("cost", {}).get("steps") for run in row.runs if run.get("status") == "done"]
        few = [s for s in steps if isinstance(s, int | float) and s < FEW]
        if few and row.ranked and row.family != "mixture":
            said.append(
                f"{row.name} made {min(few):.0f} optimiser steps in {'a run' if len(steps) > 1 else 'its run'}: its "
                "numbers are those of an untrained model. Give a longer --budget."
            )
    return said


def _data(results: Mapping[str, Any]) -> list[str]:
    near = results["data"].get("near_duplicates") or {}
    count = near.get("train-test")
    if not count:
        return []
    return [f"{count} test items lie nearer to a training item than chance allows; they flatter models that memorise."]


def _failures(rows: Sequence[Row]) -> list[str]:
    return [f"{r.name} has no complete result: {r.reason or 'not run'}." for r in rows if r.status != "done"]
