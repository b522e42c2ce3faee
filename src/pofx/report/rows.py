"""Rows of a comparison: one per model or control, each number with its standard error over the seeds.

Several training seeds are joined as mean ± s.e. with s.e.² = (variance between seeds) / k + mean(s.e.²) of the single
measurements. The measurements share their reference set, so the second part does not shrink with k: the sum is never
too narrow (a nested design would separate the parts; Efron and Tibshirani, 1993, chapter 8).
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pofx.core.errors import CorruptError, UsageError
from pofx.report.metrics import Info

SCHEMA = 1
COPIES = 0.01  # p-value of a test of novelty below which a row counts as copying its training data
SYMBOLS = {"exact": "=", "bound": "≤", "estimate": "≈", "relative": "∝", "none": "–"}


@dataclass(frozen=True)
class Number:
    """A measured value with its standard error (None: unknown) and its kind."""

    value: float
    stderr: float | None = None
    better: str = "none"  # higher, lower, or none: not to be ranked
    kind: str = ""  # of a density: exact, bound, estimate, relative
    space: str = ""
    n: int | None = None
    note: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1
    between: float | None = None  # the standard deviation between several trainings


@dataclass(frozen=True)
class Row:
    """A model or a control; `numbers[metric][space]` in the order they were measured."""

    name: str
    family: str
    role: str  # model, baseline or control
    status: str  # done, failed, missing
    reason: str
    traits: Mapping[str, Any]
    runs: tuple[Mapping[str, Any], ...]
    numbers: Mapping[str, Mapping[str, Number]]

    @property
    def ranked(self) -> bool:
        """Whether the row takes part in the verdict."""
        return self.role != "control" and bool(self.numbers)

    def least_p(self, metrics: Mapping[str, Info]) -> float:
        """The least p-value of the tests of novelty; 1 where there is none."""
        tests = [m for m, info in metrics.items() if info.group == "novelty" and info.writes == "p-value"]
        return min((n.value for m in tests if (n := self.number(m)) is not None), default=1.0)

    def number(self, metric: str, space: str | None = None) -> Number | None:
        """A number by metric; without a space the first one that was measured."""
        found = self.numbers.get(metric, {})
        if space is None:
            return next(iter(found.values()), None)
        return found.get(space)


def read(path: Path) -> dict[str, Any]:
    """The content of a results.json.

    Raises:
        CorruptError: missing, damaged, or of another schema.
        UsageError: a run is there instead.
    """
    if not path.is_file():
        at = path.parent
        if (at / "artifact.json").is_file():
            raise UsageError(f"{at} is a run: `pofx compare DATA --run {at} --out FOLDER` makes a report of it")
        raise CorruptError(f"there is no comparison at {at}: make one with `pofx compare DATA --out {at}`")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptError(f"{path} cannot be read ({error}): run the comparison again") from error
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        found = results.get("schema") if isinstance(results, dict) else "none"
        raise CorruptError(f"{path} has schema {found}, this version reads {SCHEMA}: run the comparison again")
    return results


def join(numbers: Iterable[Number]) -> Number:
    """The same number of several training seeds as one."""
    parts = list(numbers)
    first, k = parts[0], len(parts)
    if k == 1:
        return first
    mean = sum(p.value for p in parts) / k
    between = sum((p.value - mean) ** 2 for p in parts) / (k - 1)
    errors = [p.stderr for p in parts if p.stderr is not None]
    within = sum(e**2 for e in errors) / len(errors) if errors else 0.0
    kind = first.kind if len({p.kind for p in parts}) == 1 else "mixed"
    stderr = math.sqrt(between / k + within)
    return Number(
        mean, stderr, first.better, kind, first.space, first.n, first.note, first.extra, k, math.sqrt(between)
    )


def _least(p: list[Number]) -> Number:
    """One p-value of several tests (spaces, seeds): the least, times their number (Bonferroni)."""
    value = min(1.0, len(p) * min(n.value for n in p))
    return Number(value, n=p[0].n, note=f"least of {len(p)} tests, Bonferroni", seeds=p[0].seeds)


def _number(entry: Mapping[str, Any]) -> Number | None:
    value = entry.get("value")
    if value is None or not math.isfinite(float(value)):
        return None
    stderr = entry.get("stderr")
    extra = dict(entry.get("extra") or {})
    return Number(
        float(value),
        None if stderr is None or not math.isfinite(float(stderr)) else float(stderr),
        str(entry.get("better") or "none"),
        str(extra.get("density") or "").lower(),
        str(entry.get("space") or ""),
        entry.get("n"),
        str(entry.get("note") or ""),
        extra,
    )


def _row(entry: Mapping[str, Any], metrics: Mapping[str, Info]) -> Row:
    done = [run for run in entry["runs"] if run["status"] == "done"]
    gathered: dict[str, dict[str, list[Number]]] = {}
    for run in done:
        listed = list(run.get("measurements", ()))
        listed += [{"metric": k, "value": v} for k, v in run.get("cost", {}).items() if isinstance(v, int | float)]
        for measurement in listed:
            number = _number(measurement)
            if number is not None:
                spaces = gathered.setdefault(measurement["metric"], {})
                spaces.setdefault(number.space, []).append(number)
    numbers = {m: {s: join(ns) for s, ns in spaces.items()} for m, spaces in gathered.items()}
    for name in gathered:
        if name in metrics and metrics[name].writes == "p-value":
            numbers[name] = {"": _least([n for ns in gathered[name].values() for n in ns]), **numbers[name]}
    failed = [run for run in entry["runs"] if run["status"] == "failed"]
    reason = "; ".join(dict.fromkeys(str(run.get("reason", "")) for run in failed))
    status = "done" if done and not failed else "partly" if done else "failed" if failed else "missing"
    return Row(
        name=entry["name"],
        family=entry.get("family", ""),
        role=entry.get("role", "model"),
        status=status,
        reason=reason,
        traits=entry.get("traits") or {},
        runs=tuple(entry["runs"]),
        numbers=numbers,
    )


def copies(row: Row, metrics: Mapping[str, Info], real: Row | None = None) -> bool:
    """Whether a test of novelty finds training data among the samples, and none among real held-out items."""
    if row.least_p(metrics) >= COPIES:
        return False
    return real is None or real.least_p(metrics) >= COPIES


def rows(results: Mapping[str, Any], metrics: Mapping[str, Info]) -> list[Row]:
    """All rows in the order of the file: models first, controls last."""
    found = [_row(entry, metrics) for entry in results["rows"]]
    return sorted(found, key=lambda row: row.role == "control")
