"""What a comparison cannot show, in sentences made from its own numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import kendalltau

from pofx.report.columns import written
from pofx.report.rows import Row


def limits(results: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """One sentence or two per limit, the gravest first."""
    found = [*_seeds(results, rows), *_frechet(rows), *_memoriser(rows), *_kinds(rows), *_spaces(rows)]
    return found + _budget(results) + _data(results) + _failures(rows)


def _seeds(results: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    seeds = len(results["protocol"].get("seeds", [0]))
    if seeds > 1:
        return [f"{seeds} training seeds per model: the spread between runs is in the intervals, roughly."]
    return [
        "One training seed per model: the intervals cover the drawing of samples and of test items, not the luck of "
        "training. Ask for more with --seeds."
    ]


def _frechet(rows: Sequence[Row]) -> list[str]:
    said = []
    floor = next((r.number("frechet_distance") for r in rows if r.name == "real-test"), None)
    if floor is not None:
        value, error = written(floor.value, floor.stderr)
        said.append(
            f"Fréchet distance reads {value}{' ± ' + error if error else ''} on real held-out data (n = "
            f"{floor.n or '?'}): the floor of the estimator. It depends on n, so compare only within this report."
        )
    errors = [n.stderr for r in rows if r.ranked and (n := r.number("frechet_distance")) is not None and n.stderr]
    if errors:
        typical = sorted(errors)[len(errors) // 2]
        least = 2.8 * math.sqrt(2) * typical
        said.append(f"Differences in Fréchet distance below about {least:.2g} are not resolvable (80 % power at 5 %).")
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


def _spaces(rows: Sequence[Row]) -> list[str]:
    tables: dict[str, dict[str, float]] = {}
    for row in rows:
        for space, number in row.numbers.get("frechet_distance", {}).items() if row.ranked else ():
            tables.setdefault(space, {})[row.name] = number.value
    spaces = list(tables)
    said = []
    for i, a in enumerate(spaces):
        for b in spaces[i + 1 :]:
            names = sorted(set(tables[a]) & set(tables[b]))
            if len(names) > 2:
                tau = kendalltau([tables[a][n] for n in names], [tables[b][n] for n in names]).statistic
                if math.isfinite(tau):
                    said.append(
                        f"The order by Fréchet distance in {a} and in {b} agrees with Kendall's τ = {tau:.2f}"
                        f"{': it depends on the feature space' if tau < 0.6 else ''}."
                    )
    return said


def _budget(results: Mapping[str, Any]) -> list[str]:
    protocol = results["protocol"]
    return [
        f"Every model had {protocol['budget']} of training with its shipped settings; none was tuned on this "
        "data. A family that learns slowly is judged early: a longer --budget may turn the order."
    ]


def _data(results: Mapping[str, Any]) -> list[str]:
    near = results["data"].get("near_duplicates") or {}
    count = near.get("train-test")
    if not count:
        return []
    return [f"{count} test items lie nearer to a training item than chance allows; they flatter models that memorise."]


def _failures(rows: Sequence[Row]) -> list[str]:
    return [f"{r.name} has no complete result: {r.reason or 'not run'}." for r in rows if r.status != "done"]
